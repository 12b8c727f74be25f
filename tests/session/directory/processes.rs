//! Several processes on one directory, some of which are killed.

#![allow(unsafe_code)]

use std::io::BufRead;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::session::{DirectoryManager, SessionManager};
use cloakroom::{Awaited, Change, ErrorKind};
use serde_json::{Value, json};

use super::role;

const WRITERS: u64 = 3;
const ROUNDS: u64 = 8;
const SAVES_PER_ROUND: u64 = 15;
const COUNTERS: u64 = 4;
const UPDATES: u64 = 100;

fn open(directory: impl AsRef<Path>) -> DirectoryManager {
    DirectoryManager::open(directory).unwrap()
}

/// A value that tells whether it is whole, of one or of many pages.
fn value(number: u64) -> Value {
    let len = if number.is_multiple_of(3) { 70_000 } else { number % 50 };
    json!({ "number": number, "padding": "x".repeat(len as usize), "len": len })
}

fn number(value: &Value) -> u64 {
    let number = value["number"].as_u64().unwrap();
    assert!(*value == self::value(number), "session {number} is torn");
    number
}

/// Role: saves its own session and one of all, until it is killed.
pub(crate) fn save_until_killed(directory: &str, name: &str) {
    let manager = open(directory);
    let before = manager.load(name).unwrap().unwrap();
    for next in number(&before.value) + 1.. {
        manager.save(name, &value(next), None).unwrap();
        role::tell(&format!("saved {next}"));
        manager.save("all", &value(next), None).unwrap();
    }
}

#[test]
fn kill_9_while_saving_tears_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let names: Vec<String> = (0..WRITERS).map(|writer| format!("writer {writer}")).collect();
    for name in names.iter().map(String::as_str).chain(["all"]) {
        manager.save(name, &value(0), None).unwrap();
    }
    let (over, loads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = vec![0; names.len()];
            while !over.load(Ordering::Relaxed) {
                for (name, last) in names.iter().zip(&mut last) {
                    let session = manager.load(name).unwrap().expect("it is always there");
                    let found = number(&session.value);
                    assert!(found >= *last, "{name} went back");
                    *last = found;
                }
                number(&manager.load("all").unwrap().expect("it is always there").value);
                loads.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Ends the reader when an assertion fails.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&over);
        for round in 0..ROUNDS {
            let writers: Vec<_> = names
                .iter()
                .map(|name| role::start("save until killed", dir.path(), name))
                .collect();
            for (index, (mut writer, name)) in writers.into_iter().zip(&names).enumerate() {
                let mut acknowledged = 0;
                let mut lines = role::heard(&mut writer).lines();
                let mut hear = |line: std::io::Result<String>| {
                    let line = line.unwrap();
                    let saved = line.strip_prefix("saved ").map(|saved| saved.parse().unwrap());
                    acknowledged = saved.unwrap_or_else(|| panic!("a writer said: {line}"));
                };
                lines.by_ref().take(SAVES_PER_ROUND as usize).for_each(&mut hear);
                thread::sleep(Duration::from_micros((round * 977 + index as u64 * 331) % 5000));
                writer.kill().unwrap();
                writer.wait().unwrap();
                lines.for_each(&mut hear);
                let found = number(&manager.load(name).unwrap().unwrap().value);
                assert!(
                    (acknowledged..=acknowledged + 1).contains(&found),
                    "{name} is at {found}, {acknowledged} was acknowledged"
                );
            }
        }
    });
    assert!(loads.load(Ordering::Relaxed) > 20);
    assert_eq!(manager.len().unwrap(), WRITERS + 1);
    manager.save("all", &value(1), None).unwrap();
}

/// Role: counts.
pub(crate) fn count(directory: &str) {
    let manager = open(directory);
    for _ in 0..UPDATES {
        count_up(&manager);
    }
}

fn count_up(manager: &DirectoryManager) {
    let updated = manager.update("counter", &mut |session| {
        Change::Save(json!(session.map_or(0, |session| session.value.as_u64().unwrap()) + 1))
    });
    updated.unwrap();
}

#[test]
fn four_processes_lose_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let counters: Vec<_> = (0..COUNTERS).map(|_| role::start("count", dir.path(), "")).collect();
    counters.into_iter().for_each(role::finish);
    let counted = open(dir.path()).load("counter").unwrap().unwrap().value;
    assert_eq!(counted, json!(COUNTERS * UPDATES));
}

#[test]
fn threads_of_one_manager_lose_no_update_either() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| count_up(&manager)));
        }
    });
    assert_eq!(manager.load("counter").unwrap().unwrap().value, json!(100));
}

/// Role: guards a session until it is killed.
pub(crate) fn guard(directory: &str) {
    let _guard = open(directory).guard("visitor", Duration::ZERO).unwrap();
    role::tell("guarded");
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_guard_keeps_other_processes_off_until_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let mut guard = role::start("guard", dir.path(), "");
    role::wait_for("guarded", &mut role::heard(&mut guard));
    let refused = manager.guard("visitor", Duration::from_millis(20)).unwrap_err();
    let ErrorKind::Busy { awaited: Awaited::Guard, waited_ms, .. } = refused.kind() else {
        panic!("{refused}");
    };
    assert!((20..5000).contains(waited_ms), "{waited_ms}");
    // It keeps off nobody else.
    manager.save("visitor", &json!(1), None).unwrap();
    let _other = manager.guard("another", Duration::ZERO).unwrap();
    guard.kill().unwrap();
    guard.wait().unwrap();
    let own = manager.guard("visitor", Duration::ZERO).unwrap();
    assert!(manager.guard("visitor", Duration::ZERO).is_err(), "nor does it share with itself");
    drop(own);
    let _again = manager.guard("visitor", Duration::ZERO).unwrap();
}

/// Role: updates a session until it is killed.
pub(crate) fn hold(directory: &str) {
    let updated = open(directory).update("visitor", &mut |_| {
        role::tell("holding");
        thread::sleep(Duration::from_secs(600));
        Change::Keep
    });
    panic!("it lives on: {updated:?}");
}

#[test]
fn who_waits_for_a_session_gives_up_in_time_and_the_lock_dies_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let options = json!({ "sessionDriver": "directory", "dir": dir.path(), "lockDeadlineMs": 50 });
    let configuration = json!({ "session": { "manager": "it", "managers": { "it": options } } });
    let manager = cloakroom::session::open(&configuration).unwrap().manager;
    manager.save("visitor", &json!(1), None).unwrap();
    let mut holder = role::start("hold", dir.path(), "");
    role::wait_for("holding", &mut role::heard(&mut holder));
    let began = Instant::now();
    let refused = manager.save("visitor", &json!(2), None).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Busy { awaited: Awaited::Lock, .. }), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(4));
    assert!(manager.remove("visitor").is_err());
    assert_eq!(
        manager.load("visitor").unwrap().unwrap().value,
        json!(1),
        "a load waits for nobody"
    );
    manager.save("another", &json!(1), None).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    manager.save("visitor", &json!(2), None).unwrap();
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, json!(2));
}

#[test]
fn a_child_forked_in_an_update_does_not_go_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    role::finish(role::start("fork in update", dir.path(), ""));
    let manager = open(dir.path());
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, json!("parent"));
    assert_eq!(manager.load("child").unwrap().unwrap().value, json!("later"));
}

/// Role: forks in an update, from which both return.
pub(crate) fn fork_in_update(directory: &str) {
    let manager = open(directory);
    let mut child = -1;
    let updated = manager.update("visitor", &mut |_| {
        // SAFETY: the child uses only what glibc keeps usable after a fork, and the role has
        // no other thread that matters.
        child = unsafe { libc::fork() };
        Change::Save(json!(if child == 0 { "child" } else { "parent" }))
    });
    if child == 0 {
        let refused = updated.is_err_and(|error| matches!(error.kind(), ErrorKind::Reentered));
        let saved = manager.save("child", &json!("later"), None).is_ok();
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(i32::from(!(refused && saved))) }
    }
    updated.unwrap();
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}
