//! Sessions in a table of an SQLite file: one's own and others' databases, the names that a
//! configuration may choose, whole changes, and several processes.

mod foreign;
mod processes;

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cloakroom::session::{self, Capability, SessionManager};
use cloakroom::{
    Change, ErrorKind, Outcome, Properties, Result, Session, Timeouts, Times, Updated,
};
use rusqlite::Connection;
use serde_json::{Value, json};

fn opened(options: Value) -> Result<Box<dyn SessionManager>> {
    let session = json!({ "manager": "sqlite", "managers": { "sqlite": options } });
    session::open(&json!({ "session": session })).map(|opened| opened.manager)
}

fn manager(file: &Path) -> Box<dyn SessionManager> {
    opened(json!({ "file": file, "ids": "plain" })).unwrap()
}

/// A folder, and a file in it that is not there yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.sqlite3");
    (folder, file)
}

fn kind<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("it is to be refused") };
    format!("{:?}", error.kind())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn each_operation_does_what_the_trait_says() {
    for journal in ["wal", "delete"] {
        let (_folder, file) = place();
        let options = json!({ "file": file, "ids": "plain", "journal": journal });
        let it = opened(options).unwrap();
        assert_eq!(it.replace("a", &json!(0)).unwrap(), Outcome::Conflict);
        let Outcome::Saved(first) = it.create("a", &json!({ "n": 1.5 }), None).unwrap() else {
            panic!("there is none yet");
        };
        assert_eq!(it.create("a", &json!(0), None).unwrap(), Outcome::Conflict);
        let session = it.load("a").unwrap().unwrap();
        assert_eq!((session.value, session.version), (json!({ "n": 1.5 }), first));
        let days = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(86_400)));
        let second = it.save("a", &json!(2), Some(&days)).unwrap();
        assert_eq!(it.save_if("a", first, &json!(0)).unwrap(), Outcome::Conflict);
        assert!(it.save_if("a", second, &json!(3)).unwrap().saved().is_some());
        let session = it.load("a").unwrap().unwrap();
        assert_eq!((session.value, session.properties), (json!(3), days));
        let times = session.times;
        assert_eq!(times.deadline_ms, Some(times.saved_ms + 86_400_000));
        assert_eq!(it.update("a", &mut |_| Change::Keep).unwrap(), Updated::Kept);
        let mut add = |session: Option<Session<Value>>| {
            Change::Save(json!(session.unwrap().value.as_u64().unwrap() + 1))
        };
        assert!(matches!(it.update("a", &mut add).unwrap(), Updated::Saved(_)));
        assert_eq!(it.load("a").unwrap().unwrap().value, json!(4));
        assert_eq!(it.update("a", &mut |_| Change::Remove).unwrap(), Updated::Removed);
        assert!(!it.remove("a").unwrap() && it.is_empty().unwrap());
        it.save("b", &json!("\u{0}\u{1f600}"), None).unwrap();
        it.sync().unwrap();
        assert!(it.remove("b").unwrap());
        assert!(!it.capabilities().has(Capability::Guards));
        assert!(kind(it.guard("b", Duration::ZERO)).contains("Unsupported"));
        assert!(kind(it.load("")).contains("InvalidId"));
        assert!(kind(it.save("b", &json!("x".repeat(4 << 20)), None)).contains("TooLarge"));
        it.save("b", &json!("x".repeat((4 << 20) - 2)), None).unwrap();
        assert!(it.load("b").unwrap().is_some());
        it.close().unwrap();
        let again = opened(json!({ "file": file, "ids": "plain", "journal": journal })).unwrap();
        assert_eq!(again.len().unwrap(), 1);
    }
}

#[test]
fn ids_are_kept_as_sha256_unless_told_otherwise() {
    let (_folder, file) = place();
    let it = opened(json!({ "file": file })).unwrap();
    it.save("ticket-17", &json!(1), None).unwrap();
    let kept: String = Connection::open(&file)
        .unwrap()
        .query_row("SELECT id FROM cloakroom_sessions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, it.kept_id("ticket-17").unwrap());
    assert_eq!(kept.len(), 64);
}

#[test]
fn a_new_file_is_its_owners_alone_and_so_is_its_journal() {
    let (folder, file) = place();
    let it = manager(&file);
    it.save("a", &json!(1), None).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["sessions.sqlite3", "sessions.sqlite3-shm", "sessions.sqlite3-wal"]);
    it.close().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "all is in one file again");
}

#[test]
fn a_session_is_loaded_until_its_deadline_and_not_from_then_on() {
    let (_folder, file) = place();
    let it = manager(&file);
    let end_ms = now_ms() + 300;
    let times = Times { created_ms: 1, saved_ms: 2, deadline_ms: Some(end_ms) };
    let version = it.save("b", &json!(1), None).unwrap();
    let properties = Properties::new();
    let session = Session { value: json!(1), version, times, properties };
    it.restore("a", &session).unwrap();
    assert_eq!(it.load("a").unwrap().unwrap().times, times);
    loop {
        let before_ms = now_ms();
        let lives = it.load("a").unwrap().is_some();
        let after_ms = now_ms();
        assert!(lives || after_ms >= end_ms, "it ended early");
        assert!(!lives || before_ms < end_ms, "it was loaded late");
        if before_ms > end_ms {
            break;
        }
    }
    assert_eq!(it.len().unwrap(), 2, "it was not swept yet");
}

#[test]
fn times_are_kept_up_to_a_limit() {
    let (_folder, file) = place();
    let it = manager(&file);
    let version = it.save("a", &json!(1), None).unwrap();
    let times = Times { created_ms: u64::MAX, saved_ms: u64::MAX, deadline_ms: Some(u64::MAX) };
    let properties = Properties::new().timeouts(Timeouts::NONE);
    let session = Session { value: json!(1), version, times, properties: properties.clone() };
    it.restore("a", &session).unwrap();
    let loaded = it.load("a").unwrap().unwrap();
    let most = (1 << 48) - 1;
    let times = Times { created_ms: most, saved_ms: most, deadline_ms: Some(most) };
    assert_eq!((loaded.times, loaded.properties), (times, properties));
}

#[test]
fn a_walk_shows_who_lives_throughout_exactly_once() {
    let (_folder, file) = place();
    let it = manager(&file);
    for number in 0..500 {
        it.save(&format!("stays {number}"), &json!(number), None).unwrap();
        it.save(&format!("goes {number}"), &json!(number), None).unwrap();
    }
    let (mut seen, mut step) = (Vec::new(), 0);
    it.walk(&mut |walked| {
        let (id, _) = walked.unwrap();
        // Whoever is shown a session may change others, and this one.
        it.save(&id, &json!("changed"), None).unwrap();
        it.remove(&format!("goes {step}")).unwrap();
        it.save(&format!("goes {step}"), &json!("again"), None).unwrap();
        it.save(&format!("new {step}"), &json!(0), None).unwrap();
        step += 1;
        seen.push(id);
        ControlFlow::Continue(())
    })
    .unwrap();
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "one was shown twice");
    assert_eq!(seen.iter().filter(|id| id.starts_with("stays")).count(), 500);
    let mut first = 0;
    it.walk(&mut |_| {
        first += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(first, 1);
}

#[test]
fn a_panic_in_an_update_leaves_no_transaction_and_no_lock() {
    let (_folder, file) = place();
    let (it, other) = (manager(&file), manager(&file));
    it.save("a", &json!(1), None).unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| it.update("a", &mut |_| panic!("as it must"))));
    assert!(caught.is_err());
    other.save("a", &json!(2), None).unwrap();
    it.save("b", &json!(3), None).unwrap();
    assert_eq!(it.load("a").unwrap().unwrap().value, json!(2));
}

#[test]
fn an_update_that_saves_too_much_changes_nothing() {
    let (_folder, file) = place();
    let it = opened(json!({ "file": file, "maxBytes": 10 })).unwrap();
    it.save("a", &json!(1), None).unwrap();
    let large = || Change::Save(json!("more than ten bytes"));
    assert!(kind(it.update("a", &mut |_| large())).contains("TooLarge"));
    assert_eq!(it.load("a").unwrap().unwrap().value, json!(1));
}

#[test]
fn an_update_is_not_entered_again_through_its_manager() {
    let (_folder, file) = place();
    let it = manager(&file);
    let mut kinds = Vec::new();
    it.update("a", &mut |_| {
        kinds = vec![
            kind(it.load("a")),
            kind(it.save("b", &json!(1), None)),
            kind(it.update("a", &mut |_| Change::Keep)),
            kind(it.sync()),
        ];
        Change::Save(json!(1))
    })
    .unwrap();
    assert_eq!(kinds, ["Reentered"; 4]);
    assert_eq!(it.len().unwrap(), 1);
}

#[test]
fn threads_take_turns_and_lose_nothing() {
    let (_folder, file) = place();
    let it = manager(&file);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| processes::count_up(&*it, "shared")));
        }
    });
    assert_eq!(it.load("shared").unwrap().unwrap().value, json!(200));
}

#[test]
fn who_waits_too_long_for_another_writer_is_told_so() {
    let (_folder, file) = place();
    let it = manager(&file);
    it.save("a", &json!(1), None).unwrap();
    let hasty = opened(json!({ "file": file, "ids": "plain", "busyTimeoutMs": 100 })).unwrap();
    it.update("a", &mut |_| {
        let Err(error) = hasty.save("b", &json!(1), None) else { panic!("it is locked") };
        let ErrorKind::Busy { waited_ms, .. } = error.kind() else { panic!("{error}") };
        assert!((90..5000).contains(waited_ms), "{waited_ms}");
        assert!(hasty.load("a").unwrap().is_some(), "nobody who reads has to wait");
        Change::Keep
    })
    .unwrap();
    hasty.save("b", &json!(1), None).unwrap();
    hasty
        .update("b", &mut |_| {
            // The same manager, from another thread.
            let other = std::thread::scope(|scope| {
                scope.spawn(|| kind(hasty.save("c", &json!(1), None))).join().unwrap()
            });
            assert!(other.contains("Busy"), "{other}");
            Change::Keep
        })
        .unwrap();
}
