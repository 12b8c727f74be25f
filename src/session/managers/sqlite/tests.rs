//! What can only be seen from inside: the plans of statements, and what a clock of the
//! test's own brings about.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::Timeouts;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const BEGIN_MS: u64 = 20_000 * DAY_MS;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(BEGIN_MS) };
}

fn now_ms() -> u64 {
    NOW_MS.get()
}

fn pass(ms: u64) {
    NOW_MS.set(now_ms() + ms);
}

fn chosen(folder: &Path) -> Chosen {
    let options = json!({ "ids": "plain", "idleMinutes": 1 });
    let mut settings = Settings::new("it", options.as_object().unwrap());
    let file = folder.join("sessions.sqlite3");
    let mut chosen = Chosen::read(&mut settings, file.to_str().unwrap(), "visitors").unwrap();
    settings.finish().unwrap();
    chosen.customs.clock = now_ms;
    chosen
}

fn manager(folder: &Path) -> SqliteManager {
    SqliteManager::with(chosen(folder)).unwrap()
}

fn plan(manager: &SqliteManager, sql: &str, arguments: impl rusqlite::Params) -> String {
    let turn = manager.gate.enter().unwrap();
    let connection = turn.connection().unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.query_map(arguments, |row| row.get::<_, String>(3)).unwrap();
    steps.map(|step| step.unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_sweep_and_a_walk_find_the_next_one_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let due = plan(&manager, &manager.statements.next_due, rusqlite::params![1, 2, "3"]);
    assert!(due.starts_with("SEARCH main.visitors USING INDEX visitors_deadline ("), "{due}");
    assert!(!due.contains(';') && !due.contains("TEMP"), "{due}");
    let next = plan(&manager, &manager.statements.next, ["1"]);
    assert!(next.starts_with("SEARCH main.visitors USING INDEX sqlite_autoindex_"), "{next}");
    assert!(!next.contains(';') && !next.contains("TEMP"), "{next}");
}

#[test]
fn a_session_ends_at_its_deadline_to_the_millisecond() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    manager.save("visitor", &json!(1), None).unwrap();
    pass(59_999);
    assert!(manager.load("visitor").unwrap().is_some());
    pass(1);
    assert!(manager.load("visitor").unwrap().is_none());
    assert_eq!(manager.replace("visitor", &json!(2)).unwrap(), Outcome::Conflict);
    assert!(!manager.touch("visitor").unwrap() && !manager.remove("visitor").unwrap());
    manager.save("visitor", &json!(3), None).unwrap();
    let times = manager.load("visitor").unwrap().unwrap().times;
    assert_eq!((times.created_ms, times.deadline_ms), (now_ms(), Some(now_ms() + 60_000)));
}

#[test]
fn a_touch_is_written_when_a_share_of_the_idle_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let version = manager.save("visitor", &json!(1), None).unwrap();
    let deadline = || manager.load("visitor").unwrap().unwrap().times.deadline_ms.unwrap();
    pass(12_000);
    assert!(manager.touch("visitor").unwrap());
    assert_eq!(deadline(), BEGIN_MS + 60_000);
    pass(1);
    assert!(manager.touch("visitor").unwrap());
    assert_eq!(deadline(), now_ms() + 60_000);
    assert_eq!(manager.load("visitor").unwrap().unwrap().version, version);
}

#[test]
fn a_sweep_shows_each_one_first_and_spares_who_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    for id in ["a", "b", "c", "d"] {
        manager.save(id, &json!(id), None).unwrap();
        pass(1);
    }
    let for_ever = Properties::new().timeouts(Timeouts::NONE);
    manager.save("e", &json!("e"), Some(&for_ever)).unwrap();
    pass(60_000);
    let mut seen = Vec::new();
    let swept = manager.sweep(2, &mut |id, session| {
        assert_eq!(session.value, json!(id));
        seen.push(id.to_owned());
        if id == "b" {
            manager.save("b", &json!("back"), None).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unwrap(), Swept { removed: 2, end: SweepEnd::Limit });
    assert_eq!(seen, ["a", "b", "c"]);
    let broken = manager.sweep(9, &mut |_, _| ControlFlow::Break(())).unwrap();
    assert_eq!(broken, Swept { removed: 0, end: SweepEnd::Broken });
    let rest = manager.sweep(9, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(rest, Swept { removed: 1, end: SweepEnd::Done });
    assert_eq!(manager.load("b").unwrap().unwrap().value, json!("back"));
    assert_eq!(manager.len().unwrap(), 2);
}

#[test]
fn a_sweep_of_several_batches_leaves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let count = 2 * BATCH as u64 + 7;
    for number in 0..count {
        manager.save(&number.to_string(), &json!(number), None).unwrap();
    }
    pass(60_000);
    let mut seen = 0;
    let mut see = |_: &str, _| {
        seen += 1;
        ControlFlow::Continue(())
    };
    let swept = manager.sweep(u64::MAX, &mut see).unwrap();
    assert_eq!(swept, Swept { removed: count, end: SweepEnd::Done });
    assert_eq!((seen, manager.len().unwrap()), (count, 0));
}

#[test]
fn a_clock_that_jumps_ahead_removes_nobody_before_it_has_told_so_for_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let first = manager(folder.path());
    first.save("visitor", &json!(1), None).unwrap();
    let sweep =
        |manager: &SqliteManager| manager.sweep(9, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let doubted = Swept { removed: 0, end: SweepEnd::ClockInDoubt };
    pass(100 * DAY_MS);
    assert_eq!(sweep(&first), doubted);
    pass(59_999);
    // It is known to whoever opens the file next.
    drop(first);
    let second = manager(folder.path());
    assert_eq!(sweep(&second), doubted);
    pass(1);
    assert_eq!(sweep(&second), Swept { removed: 1, end: SweepEnd::Done });
}

#[test]
fn what_is_not_committed_is_undone_at_the_end_of_a_turn() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    manager.save("visitor", &json!(1), None).unwrap();
    let begun = manager.changing().unwrap();
    begun.remove(&manager.statements, "visitor").unwrap();
    drop(begun);
    assert!(manager.load("visitor").unwrap().is_some(), "it was not committed");
    let turn = manager.gate.enter().unwrap();
    assert!(turn.connection().unwrap().is_autocommit());
}

#[test]
fn a_sync_writes_something_and_leaves_the_setting_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let number = |sql: &str| -> i64 {
        let turn = manager.gate.enter().unwrap();
        turn.connection().unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let before = number("SELECT syncs FROM visitors_clock");
    assert_eq!(number("PRAGMA synchronous"), 1);
    manager.sync().unwrap();
    assert_eq!(number("PRAGMA synchronous"), 1);
    assert_eq!(number("SELECT syncs FROM visitors_clock"), before + 1);
    let wal = folder.path().join("sessions.sqlite3-wal");
    let frames = number("PRAGMA wal_checkpoint(PASSIVE)");
    assert_eq!(frames, 0, "nobody was in the way");
    assert!(wal.exists());
}
