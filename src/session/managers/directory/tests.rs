//! What needs a clock of its own, or a look into the files: ends of sessions, sweeps, and
//! what is not a session.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::storage::wall_clock_ms;
use crate::{IdForm, SweepEnd, Timeouts};

const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

thread_local! {
    /// How far the clock of this test is ahead.
    static AHEAD_MS: Cell<u64> = const { Cell::new(0) };
    static STARTED_MS: u64 = wall_clock_ms();
}

/// It stands still, until a test moves it.
fn clock() -> u64 {
    STARTED_MS.with(|started_ms| *started_ms) + AHEAD_MS.get()
}

fn open_with(dir: &TempDir, customs: Customs) -> DirectoryManager {
    let names = Names::new(PREFIX, SUFFIX, customs.ids).unwrap();
    DirectoryManager::with(dir.path(), Missing::Refused, customs, names, LOCK_DEADLINE).unwrap()
}

fn hourly(dir: &TempDir) -> DirectoryManager {
    let timeouts = Timeouts::NONE.idle(Duration::from_millis(HOUR));
    open_with(dir, Customs { clock, timeouts, ..Customs::new() })
}

fn path_of(manager: &DirectoryManager, id: &str) -> std::path::PathBuf {
    manager.folder.path().join(manager.file_name(id).unwrap())
}

fn set_modified(path: &Path, ms: u64) {
    let time = UNIX_EPOCH + Duration::from_millis(ms);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Sweeps all, and tells who was shown.
fn sweep(manager: &DirectoryManager) -> (Swept, Vec<String>) {
    let mut shown = Vec::new();
    let swept = manager.sweep(u64::MAX, &mut |kept_id, _| {
        shown.push(kept_id.to_owned());
        ControlFlow::Continue(())
    });
    (swept.unwrap(), shown)
}

#[test]
fn a_session_ends_to_the_millisecond_and_goes_with_the_next_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    for id in ["one", "two"] {
        manager.save(id, &json!(id), None).unwrap();
    }
    AHEAD_MS.set(HOUR - 1);
    assert!(manager.load("one").unwrap().is_some());
    assert_eq!(sweep(&manager).0.removed, 0);
    manager.save("two", &json!("again"), None).unwrap();
    AHEAD_MS.set(HOUR);
    assert!(manager.load("one").unwrap().is_none() && manager.load("two").unwrap().is_some());
    assert!(!manager.touch("one").unwrap());
    assert_eq!(manager.replace("one", &json!(1)).unwrap(), Outcome::Conflict);
    assert_eq!(manager.len().unwrap(), 2, "it is still there");
    let (swept, shown) = sweep(&manager);
    assert_eq!(
        (swept, shown),
        (Swept { removed: 1, end: SweepEnd::Done }, vec![manager.kept_id("one").unwrap()])
    );
    assert!(!path_of(&manager, "one").exists() && path_of(&manager, "two").exists());
}

#[test]
fn the_time_of_a_file_is_a_hint_and_the_session_in_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    manager.save("lives", &json!(1), None).unwrap();
    let found = fs::metadata(path_of(&manager, "lives")).unwrap();
    let hint = ms_since_1970(found.modified().unwrap());
    assert_eq!(hint, clock() + HOUR, "its deadline");
    set_modified(&path_of(&manager, "lives"), 0);
    assert_eq!(sweep(&manager), (Swept { removed: 0, end: SweepEnd::Done }, vec![]));
    assert!(manager.load("lives").unwrap().is_some());

    // One without a deadline is not even read.
    let for_ever = open_with(&dir, Customs { clock, ..Customs::new() });
    for_ever.save("for ever", &json!(1), None).unwrap();
    let name = for_ever.file_name("for ever").unwrap();
    assert!(!for_ever.folder.may_be_over(OsStr::new(&name), clock() + 100 * 365 * DAY));
}

fn ms_since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn who_is_refreshed_after_being_shown_stays() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    manager.save("visitor", &json!("before"), None).unwrap();
    AHEAD_MS.set(2 * HOUR);
    let swept = manager.sweep(u64::MAX, &mut |_, session| {
        assert_eq!(session.value, json!("before"));
        manager.save("visitor", &json!("back"), None).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unwrap(), Swept { removed: 0, end: SweepEnd::Done });
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, json!("back"));
}

#[test]
fn a_sweep_ends_at_its_limit_and_before_one_that_is_to_stay() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    for id in ["one", "two", "three"] {
        manager.save(id, &json!(id), None).unwrap();
    }
    AHEAD_MS.set(2 * HOUR);
    let broken = manager.sweep(u64::MAX, &mut |_, _| ControlFlow::Break(())).unwrap();
    assert_eq!(broken, Swept { removed: 0, end: SweepEnd::Broken });
    let limited = manager.sweep(2, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(limited, Swept { removed: 2, end: SweepEnd::Limit });
    assert_eq!(manager.len().unwrap(), 1);
}

#[test]
fn a_clock_far_ahead_is_doubted_for_a_minute_by_all_who_use_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    hourly(&dir).save("visitor", &json!(1), None).unwrap();
    AHEAD_MS.set(10 * DAY);
    assert_eq!(sweep(&hourly(&dir)).0.end, SweepEnd::ClockInDoubt);
    AHEAD_MS.set(10 * DAY + 59_999);
    assert_eq!(sweep(&hourly(&dir)).0.end, SweepEnd::ClockInDoubt);
    assert_eq!(hourly(&dir).len().unwrap(), 1);
    AHEAD_MS.set(10 * DAY + 60_000);
    assert_eq!(sweep(&hourly(&dir)).0, Swept { removed: 1, end: SweepEnd::Done });
}

#[test]
fn saves_tell_the_time_so_that_a_late_sweep_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    for day in 0..4 {
        AHEAD_MS.set(day * DAY);
        manager.save("visitor", &json!(day), None).unwrap();
    }
    AHEAD_MS.set(4 * DAY);
    assert_eq!(sweep(&manager).0, Swept { removed: 1, end: SweepEnd::Done });
}

#[test]
fn a_lock_file_that_was_lost_or_mangled_makes_a_sweep_doubt_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let lock = dir.path().join(names::LOCK_NAME);
    for mangle in [
        (|lock| fs::remove_file(lock).unwrap()) as fn(&Path),
        |lock| fs::write(lock, b"").unwrap(),
        |lock| fs::write(lock, [0xff; 100]).unwrap(),
    ] {
        manager.save("visitor", &json!(1), None).unwrap();
        mangle(&lock);
        assert_eq!(sweep(&manager).0.end, SweepEnd::ClockInDoubt);
        manager.save("visitor", &json!(2), None).unwrap();
        AHEAD_MS.set(AHEAD_MS.get() + 60_000);
        assert_eq!(sweep(&manager).0.end, SweepEnd::Done);
    }
}

#[test]
fn what_a_killed_writer_left_goes_after_an_hour_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let left = dir.path().join(names::temporary_name().unwrap());
    let foreign = dir.path().join(".cloakroom-notes.tmp");
    for path in [&left, &foreign] {
        fs::write(path, "half a sess").unwrap();
        // It says when the session would have ended.
        set_modified(path, clock() + 1000 * DAY);
    }
    assert_eq!(manager.len().unwrap(), 0);
    AHEAD_MS.set(HOUR / 2);
    sweep(&manager);
    assert!(left.exists(), "somebody may be at it");
    AHEAD_MS.set(HOUR + 60_000);
    assert_eq!(sweep(&manager).0.removed, 0);
    assert!(!left.exists() && foreign.exists());
}

#[test]
fn a_touch_writes_only_where_a_share_of_the_idle_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let version = manager.save("visitor", &json!(1), None).unwrap();
    let inode = || fs::metadata(path_of(&manager, "visitor")).unwrap().ino();
    let first = inode();
    AHEAD_MS.set(HOUR / 10);
    assert!(manager.touch("visitor").unwrap());
    assert_eq!(inode(), first, "it was not written");
    AHEAD_MS.set(HOUR / 2);
    assert!(manager.touch("visitor").unwrap());
    assert_ne!(inode(), first);
    let session = manager.load("visitor").unwrap().unwrap();
    assert_eq!(session.times.deadline_ms, Some(clock() + HOUR));
    assert_eq!((session.value, session.version), (json!(1), version));
    assert!(!manager.touch("nobody").unwrap());
}

#[test]
fn timeouts_of_its_own_stay_with_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let day = Duration::from_millis(DAY);
    for (id, own) in [
        ("none", Timeouts::NONE),
        ("idle", Timeouts::NONE.idle(day)),
        ("both", Timeouts::NONE.idle(day).absolute(day * 2)),
    ] {
        let own = Properties::new().timeouts(own);
        let _ = manager.create(id, &json!(1), Some(&own)).unwrap();
        manager.save(id, &json!(2), None).unwrap();
        AHEAD_MS.set(AHEAD_MS.get() + DAY / 2);
        assert!(manager.touch(id).unwrap());
        let session = hourly(&dir).load(id).unwrap().unwrap();
        assert_eq!(session.properties, own, "{id}");
        let ends = |timeouts: Timeouts| timeouts.idle_timeout().map(|_| clock() + DAY);
        assert_eq!(session.times.deadline_ms, ends(own.own_timeouts().unwrap()), "{id}");
    }
    manager.save("usual", &json!(1), None).unwrap();
    assert_eq!(manager.load("usual").unwrap().unwrap().properties, Properties::new());
}

#[test]
fn no_id_leaves_the_directory_or_shares_a_name() {
    let names = Names::new("", "", IdForm::Plain).unwrap();
    let ids = [
        ".",
        "..",
        "/",
        "../x",
        "/etc/passwd",
        "a",
        "A",
        "%61",
        "%",
        "%%",
        "a.b",
        "a/b",
        "a\0b",
        "\n",
        " ",
        "-",
        "_",
        "\u{e9}",
        "\u{1f9e5}",
        ".cloakroom-lock",
        "%2e",
        ".json",
        "a%",
    ];
    let mut taken = std::collections::HashSet::new();
    for id in ids {
        let name = names.name_of(id).unwrap();
        assert!(!name.contains(['/', '\0', '.']), "{name}");
        assert_eq!(names.kept_id_of(OsStr::new(&name)).as_deref(), Some(id));
        assert!(taken.insert(name.to_lowercase()), "{name} is taken");
    }
    for other in ["", ".", "%6", "%", "%zz", "%61", "%2F", "A", "a.b", "%+1", "%ff"] {
        assert_eq!(names.kept_id_of(OsStr::new(other)), None, "{other}");
    }
    assert_eq!(names.name_of(&"x".repeat(255)).unwrap().len(), 255);
    let refused = names.name_of(&"X".repeat(86)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidId { len: 258 }));
    assert!(refused.to_string().contains("258 bytes is too long"), "{refused}");
}

#[test]
fn only_whole_names_are_of_sessions() {
    let names = Names::new("session-", ".json", IdForm::Sha256).unwrap();
    let digits = "0123456789abcdef".repeat(4);
    let is_one = |name: String| names.kept_id_of(OsStr::new(&name)).is_some();
    assert!(is_one(format!("session-{digits}.json")));
    for other in [
        format!("session-{digits}"),
        format!("{digits}.json"),
        format!("session-{digits}.json.bak"),
        format!("session-{}.json", digits.to_uppercase()),
        format!("session-{}.json", &digits[1..]),
        "session-.json".to_owned(),
        "session-abc.json".to_owned(),
    ] {
        assert!(!is_one(other.clone()), "{other}");
    }
    assert!(is_temporary_text(&names::temporary_name().unwrap()));
    assert!(!is_temporary_text(names::LOCK_NAME) && !is_temporary_text(".cloakroom-.tmp"));
}

fn is_temporary_text(name: &str) -> bool {
    names::is_temporary(OsStr::new(name))
}

#[test]
fn a_file_that_was_cut_short_or_mangled_is_no_session_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let own = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(9)));
    manager.save("visitor", &json!({ "coats": [1, "two"] }), Some(&own)).unwrap();
    let whole = fs::read(path_of(&manager, "visitor")).unwrap();
    let kept = Kept::decode(&whole).unwrap();
    // All but the end of the line.
    for len in 0..whole.len() - 1 {
        let refused = Kept::decode(&whole[..len]).unwrap_err();
        assert!(refused.is_damage(), "{len}: {refused}");
    }
    for at in 0..whole.len() {
        for byte in [0, b'"', b'}', b'9', 0xff] {
            let mut mangled = whole.clone();
            mangled[at] = byte;
            let _ = Kept::decode(&mangled).map(Kept::session);
        }
    }
    let text = String::from_utf8(whole).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Kept::decode(text.replace(from, to).as_bytes())
    };
    let newer = with("_session\":1", "_session\":2").unwrap_err();
    assert!(matches!(newer.kind(), ErrorKind::Newer { .. }), "{newer}");
    for (from, to) in [
        ("_session\":1", "_session\":0"),
        ("cloakroom_session", "cloakroom"),
        ("\"value\"", "\"values\""),
        ("{\"coats", "0,\"more\":{\"coats"),
        ("\"created_ms\":", "\"created_ms\":-"),
        ("\"idle_ms\":9000", "\"idle_ms\":\"9000\""),
        ("\"absolute_ms\":null", "\"absolute\":null"),
        (kept.life.version.to_string().as_str(), "a version"),
    ] {
        assert!(with(from, to).is_err_and(|error| error.is_damage()), "{to}");
    }
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let deep = with("{\"coats\":[1,\"two\"]}", &nested).and_then(Kept::session);
    assert!(deep.is_err_and(|error| error.is_damage()));
}

#[test]
fn the_deepest_value_that_may_be_saved_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let mut value = json!(1);
    for _ in 0..127 {
        value = json!([value]);
    }
    manager.save("visitor", &value, None).unwrap();
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, value);
    let large = json!("x".repeat((4 << 20) - 2));
    manager.save("visitor", &large, None).unwrap();
    assert!(manager.load("visitor").unwrap().unwrap().value == large);
}

#[test]
fn times_that_no_file_system_keeps_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let manager = hourly(&dir);
    let kept_id = manager.kept_id("visitor").unwrap();
    manager.save("visitor", &json!(1), None).unwrap();
    let mut session = manager.load("visitor").unwrap().unwrap();
    for deadline_ms in [u64::MAX, (1 << 48) - 1, clock() + 1] {
        session.times.deadline_ms = Some(deadline_ms);
        manager.restore(&kept_id, &session).unwrap();
        assert_eq!(sweep(&manager).0.removed, 0);
        let found = manager.load("visitor").unwrap().unwrap().times;
        assert_eq!(found.deadline_ms, Some(deadline_ms.min((1 << 48) - 1)), "as `Times` says");
    }
    session.times.deadline_ms = Some(0);
    manager.restore(&kept_id, &session).unwrap();
    assert!(manager.load("visitor").unwrap().is_none());
    assert_eq!(sweep(&manager).0.removed, 1);
}
