//! Several processes on one file: nothing is lost by updates, kills and forks.
//!
//! The other processes are this binary once more, with a role to play: [`play`] does nothing
//! unless the environment names one.

#![allow(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::session::SessionManager;
use cloakroom::{Change, Session};
use serde_json::{Value, json};

use super::{kind, opened, place};

const ROLE: &str = "CLOAKROOM_TEST_ROLE";
const FILE: &str = "CLOAKROOM_TEST_FILE";
const JOURNAL: &str = "CLOAKROOM_TEST_JOURNAL";
const JOURNALS: [&str; 2] = ["wal", "delete"];

#[test]
fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = PathBuf::from(std::env::var(FILE).unwrap());
    let journal = std::env::var(JOURNAL).unwrap();
    match role.as_str() {
        "open and count" => {
            (0..100).for_each(|_| count_up(&*with(&file, &journal), "shared"));
        }
        "count" => {
            let it = with(&file, &journal);
            (0..100).for_each(|_| count_up(&*it, "shared"));
        }
        "save" => drop(with(&file, &journal).save("a", &json!(1), None).unwrap()),
        "die in an update" => die_in_an_update(&file, &journal),
        "fork" => fork(&file, &journal),
        "fork and outlive" => fork_and_outlive(&file, &journal),
        "fork in an update" => fork_in_an_update(&file, &journal),
        other => panic!("no role {other:?}"),
    }
}

fn with(file: &Path, journal: &str) -> Box<dyn SessionManager> {
    let options = json!({ "file": file, "ids": "plain", "journal": journal,
        "busyTimeoutMs": 60_000 });
    opened(options).unwrap()
}

fn start(role: &str, file: &Path, journal: &str) -> Child {
    command(role, file, journal).spawn().unwrap()
}

fn command(role: &str, file: &Path, journal: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "sqlite::processes::play", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FILE, file)
        .env(JOURNAL, journal)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Waits for the end of a role, which must have gone well.
fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
}

pub(super) fn count_up(it: &dyn SessionManager, id: &str) {
    let mut add = |session: Option<Session<Value>>| {
        let before = session.map_or(0, |session| session.value.as_u64().unwrap());
        Change::Save(json!(before + 1))
    };
    it.update(id, &mut add).unwrap();
}

fn counter(it: &dyn SessionManager, id: &str) -> u64 {
    it.load(id).unwrap().unwrap().value.as_u64().unwrap()
}

#[test]
fn four_processes_lose_no_update_though_all_of_them_make_the_file() {
    for journal in JOURNALS {
        for role in ["count", "open and count"] {
            let (_folder, file) = place();
            let writers: Vec<_> = (0..4).map(|_| start(role, &file, journal)).collect();
            writers.into_iter().for_each(finish);
            assert_eq!(counter(&*with(&file, journal), "shared"), 400, "{journal}, {role}");
        }
    }
}

#[test]
fn a_name_that_means_memory_or_an_address_elsewhere_is_a_file_here() {
    let (folder, _) = place();
    for name in [":memory:", "file:x?mode=memory", "a b%20c"] {
        let mut save = command("save", Path::new(name), "delete");
        finish(save.current_dir(folder.path()).spawn().unwrap());
        let file = folder.path().join(name);
        assert!(file.is_file(), "{name}");
        assert_eq!(with(&file, "delete").len().unwrap(), 1);
    }
}

/// Role: saves, and is killed by itself while an update is under way.
fn die_in_an_update(file: &Path, journal: &str) {
    let it = with(file, journal);
    it.save("before", &json!("acknowledged"), None).unwrap();
    let killed = it.update("shared", &mut |_| {
        signal_self();
        Change::Save(json!(7))
    });
    panic!("it lives on: {killed:?}");
}

#[test]
fn a_process_that_is_killed_in_an_update_has_changed_nothing_and_holds_nothing() {
    for journal in JOURNALS {
        let (_folder, file) = place();
        let it = with(&file, journal);
        count_up(&*it, "shared");
        let mut child = start("die in an update", &file, journal);
        assert!(!child.wait().unwrap().success());
        count_up(&*it, "shared");
        assert_eq!(counter(&*it, "shared"), 2);
        assert_eq!(it.load("before").unwrap().unwrap().value, json!("acknowledged"));
    }
}

#[test]
fn parent_and_forked_child_count_on_with_the_manager_they_share() {
    for journal in JOURNALS {
        let (_folder, file) = place();
        finish(start("fork", &file, journal));
        let it = with(&file, journal);
        assert_eq!(counter(&*it, "both"), 300, "{journal}");
        assert_eq!(it.load("child").unwrap().unwrap().value, json!("was here"));
    }
}

/// Role: forks; parent and child count on, with the same manager.
fn fork(file: &Path, journal: &str) {
    let it = ManuallyDrop::new(with(file, journal));
    (0..100).for_each(|_| count_up(&**it, "both"));
    let child = fork_child(|| {
        (0..100).for_each(|_| count_up(&**it, "both"));
        it.save("child", &json!("was here"), None).unwrap();
        // SAFETY: the child ends without using or dropping the original again.
        unsafe { std::ptr::read(&*it) }.close().unwrap();
    });
    (0..100).for_each(|_| count_up(&**it, "both"));
    wait_for(child);
    assert_eq!(counter(&**it, "both"), 300);
    ManuallyDrop::into_inner(it).close().unwrap();
}

/// SQLite believed that the child held the locks that its parent had: when the parent closed
/// the file, or died, the log was removed or cut short under the child.
#[test]
fn a_forked_child_holds_locks_of_its_own_when_its_parent_is_gone() {
    for journal in JOURNALS {
        let (_folder, file) = place();
        let mut parent = start("fork and outlive", &file, journal);
        let said = BufReader::new(parent.stderr.take().unwrap());
        let mut lines = said.lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line == "alone"), "the child did not come so far");
        assert!(parent.wait().unwrap().success());
        // The child has the file open; others come and go.
        for _ in 0..20 {
            let it = with(&file, journal);
            count_up(&*it, "shared");
            it.close().unwrap();
        }
        std::fs::write(file.with_extension("go"), "").unwrap();
        assert!(lines.any(|line| line == "done"), "the child has failed");
        assert_eq!(counter(&*with(&file, journal), "shared"), 42, "{journal}");
    }
}

/// Role: forks a child that goes on when this process has closed the file and is gone.
fn fork_and_outlive(file: &Path, journal: &str) {
    let it = ManuallyDrop::new(with(file, journal));
    count_up(&**it, "shared");
    let go = file.with_extension("go");
    let told = file.with_extension("closed");
    fork_child(|| {
        count_up(&**it, "shared");
        eventually("closed", || told.exists());
        (0..10).for_each(|_| count_up(&**it, "shared"));
        eprintln!("alone");
        eventually("told to go on", || go.exists());
        (0..10).for_each(|_| count_up(&**it, "shared"));
        assert_eq!(counter(&**it, "shared"), 42);
        eprintln!("done");
    });
    eventually("counted by the child", || counter(&**it, "shared") == 2);
    ManuallyDrop::into_inner(it).close().unwrap();
    std::fs::write(told, "").unwrap();
}

#[test]
fn a_child_forked_in_an_update_has_no_part_in_it() {
    for journal in JOURNALS {
        let (_folder, file) = place();
        finish(start("fork in an update", &file, journal));
        let it = with(&file, journal);
        assert_eq!(it.load("visitor").unwrap().unwrap().value, json!("parent"));
        assert!(it.load("child").unwrap().is_none());
        assert_eq!(it.load("after").unwrap().unwrap().value, json!(1));
    }
}

/// Role: forks in an update, from which both return.
fn fork_in_an_update(file: &Path, journal: &str) {
    let it = ManuallyDrop::new(with(file, journal));
    let mut child = -1;
    let updated = it.update("visitor", &mut |_| {
        // SAFETY: as in `fork_child`.
        child = unsafe { libc::fork() };
        Change::Save(if child == 0 { json!("child") } else { json!("parent") })
    });
    if child == 0 {
        let refused = kind(updated) == "Reentered";
        let saved = kind(it.save("child", &json!(1), None)) == "Reentered";
        // SAFETY: the child ends without using or dropping the original again.
        let closed = unsafe { std::ptr::read(&*it) }.close().is_ok();
        // SAFETY: as in `fork_child`.
        unsafe { libc::_exit(i32::from(!(refused && saved && closed))) }
    }
    updated.unwrap();
    wait_for(child);
    count_up(&**it, "after");
    ManuallyDrop::into_inner(it).close().unwrap();
}

/// Waits until `done`, for a time that nothing here should need.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `body` in a child made by fork; it fails if that panics.
fn fork_child(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child uses only what glibc keeps usable after a fork (memory
    // allocation included), and the role has no other thread that matters.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let done = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    pid
}

fn wait_for(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

fn signal_self() {
    let pid = libc::pid_t::try_from(std::process::id()).unwrap();
    // SAFETY: a signal to this very process.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}
