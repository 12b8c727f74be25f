//! Several processes on one file: counters stay exact, a stopped lock holder
//! makes others wait and give up in time, and a forked child may use what it
//! inherited without harm to its parent.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::{Awaited, ByteContainer, Change, Durability, ErrorKind, MapPolicy, Options};

use crate::fixture::{Fixture, quick, refusal, value};
use crate::role;

const WRITERS: u64 = 4;
const UPDATES: u64 = 2000;
const COUNTERS: u64 = 6;

fn count_up(container: &ByteContainer, id: &str) {
    container
        .update(id, |session| {
            let text = session
                .map_or("0".into(), |session| String::from_utf8(session.value.to_vec()).unwrap());
            let next = text.parse::<u64>().unwrap() + 1;
            Change::Save(next.to_string().into_bytes())
        })
        .unwrap();
}

fn counter(container: &ByteContainer, id: &str) -> u64 {
    let value = value(container, id);
    String::from_utf8(value).unwrap().parse().unwrap()
}

fn start(role: &str, fixture: &Fixture, argument: &str) -> Child {
    let arguments = [fixture.path().into_os_string(), argument.into()];
    let arguments = arguments.each_ref().map(|argument| argument.as_os_str());
    role::command(role, &arguments).spawn().unwrap()
}

/// Role: updates shared counters in turn.
pub(crate) fn count() {
    let arguments = role::arguments();
    let container = ByteContainer::open(&arguments[0], Options::new()).unwrap();
    let first: u64 = arguments[1].parse().unwrap();
    for round in 0..UPDATES {
        count_up(&container, &format!("counter {}", (first + round) % COUNTERS));
    }
}

#[test]
fn four_processes_lose_no_update() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let writers: Vec<_> =
        (0..WRITERS).map(|first| start("count", &fixture, &first.to_string())).collect();
    writers.into_iter().for_each(role::finish);
    let total: u64 = (0..COUNTERS).map(|id| counter(&container, &format!("counter {id}"))).sum();
    assert_eq!(total, WRITERS * UPDATES);
}

/// Role: says when it holds the lock, and keeps it for a moment.
pub(crate) fn hold() {
    let container = ByteContainer::open(&role::arguments()[0], quick()).unwrap();
    container
        .update("held", |_| {
            role::tell("holding");
            thread::sleep(Duration::from_millis(200));
            Change::Save(b"released".to_vec())
        })
        .unwrap();
}

#[test]
fn others_give_up_in_time_while_a_lock_holder_is_stopped_and_go_on_after_it() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let mut holder = start("hold", &fixture, "");
    let mut heard = role::heard(&mut holder);
    role::wait_for("holding", &mut heard);
    let pid = holder.id();
    signal(pid, libc::SIGSTOP);

    let hasty = fixture.open(quick().lock_deadline(Duration::from_millis(150)));
    let began = Instant::now();
    let kind = refusal(hasty.save("visitor", b"a coat"));
    let waited = began.elapsed();
    let ErrorKind::Busy { awaited: Awaited::Lock, holder: told, waited_ms } = kind else {
        panic!("{kind:?}");
    };
    assert_eq!(told, Some(pid));
    assert_eq!(hasty.info().unwrap().lock_holder, Some(pid));
    assert!((150..2000).contains(&waited_ms), "{waited_ms} ms");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    // Nobody who reads has to wait.
    assert_eq!(value(&hasty, "visitor"), b"a hat");

    signal(pid, libc::SIGCONT);
    container.save("visitor", b"a coat").unwrap();
    assert_eq!(value(&container, "held"), b"released");
    role::finish(holder);
}

#[test]
fn a_lock_dies_with_its_holder() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let mut holder = start("hold", &fixture, "");
    let mut heard = role::heard(&mut holder);
    role::wait_for("holding", &mut heard);
    signal(holder.id(), libc::SIGSTOP);
    signal(holder.id(), libc::SIGKILL);
    holder.wait().unwrap();
    container.save("visitor", b"a hat").unwrap();
    assert!(!container.contains("held").unwrap());
}

#[test]
fn a_forked_child_saves_through_the_handle_it_inherited() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    role::finish(start("fork", &fixture, ""));
    let container = fixture.open(quick());
    assert_eq!(counter(&container, "both"), 600);
    assert_eq!(value(&container, "child"), b"was here");
}

/// Role: forks; parent and child count on, with the same handle.
pub(crate) fn fork() {
    let path = &role::arguments()[0];
    let options = Options::new()
        .durability(Durability::Interval(Duration::from_millis(20)))
        .background_sync();
    let container = ManuallyDrop::new(ByteContainer::open(path, options).unwrap());
    for _ in 0..200 {
        count_up(&container, "both");
    }
    let child = fork_child(|| {
        for _ in 0..200 {
            count_up(&container, "both");
        }
        container.save("child", b"was here").unwrap();
        container.sync().unwrap();
        drop(ManuallyDrop::into_inner(copy_of(&container)));
    });
    for _ in 0..200 {
        count_up(&container, "both");
    }
    wait_for(child);
    // The parent's handle is none the worse for the child's having dropped it.
    assert_eq!(counter(&container, "both"), 600);
    count_up(&container, "after");
    drop(ManuallyDrop::into_inner(container));
}

#[test]
fn a_forked_child_releases_no_lock_that_its_parent_holds() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    role::finish(start("fork while locked", &fixture, ""));
    assert_eq!(value(&fixture.open(quick()), "parent"), b"still here");
}

/// Role: forks while it holds the lock. The child drops what it inherited, and
/// must find the lock still held.
pub(crate) fn fork_while_locked() {
    let path = &role::arguments()[0];
    let options = quick().lock_deadline(Duration::from_millis(50));
    let container = ManuallyDrop::new(ByteContainer::open(path, options.clone()).unwrap());
    container
        .update("parent", |_| {
            let child = fork_child(|| {
                let kind = refusal(container.save("child", b""));
                assert!(matches!(kind, ErrorKind::Busy { .. }), "{kind:?}");
                drop(ManuallyDrop::into_inner(copy_of(&container)));
                let own = ByteContainer::open(path, options.clone()).unwrap();
                let kind = refusal(own.save("child", b""));
                assert!(matches!(kind, ErrorKind::Busy { .. }), "{kind:?}");
            });
            wait_for(child);
            Change::Save(b"still here".to_vec())
        })
        .unwrap();
    assert!(!container.contains("child").unwrap());
}

/// The child of a fork within an update went on with it: without the lock.
#[test]
fn a_child_forked_in_an_update_does_not_go_on_with_it() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    role::finish(start("fork in update", &fixture, ""));
    let container = fixture.open(quick());
    assert_eq!(value(&container, "visitor"), b"parent");
    assert_eq!(value(&container, "child"), b"later");
}

/// Role: forks in an update, from which both return.
pub(crate) fn fork_in_update() {
    let container = ByteContainer::open(&role::arguments()[0], quick()).unwrap();
    let mut child = -1;
    let updated = container.update("visitor", |_| {
        // SAFETY: as in `fork_child`.
        child = unsafe { libc::fork() };
        if child == 0 {
            thread::sleep(Duration::from_millis(50));
        }
        Change::Save(if child == 0 { b"child".to_vec() } else { b"parent".to_vec() })
    });
    if child == 0 {
        let refused = matches!(refusal(updated), ErrorKind::Reentered);
        let saved = container.save("child", b"later").is_ok();
        // SAFETY: as in `fork_child`.
        unsafe { libc::_exit(i32::from(!(refused && saved))) }
    }
    updated.unwrap();
    container.save("parent", b"went on").unwrap();
    wait_for(child);
}

/// A worker that only read kept the locks of a server that was killed: they belong to
/// the open file description, which the two had in common, and the worker's map.
#[test]
fn a_worker_that_only_reads_keeps_no_lock_of_a_dead_server() {
    let fixture = Fixture::file();
    fixture.create(quick()).save("visitor", b"0").unwrap();
    let mut server = start("die before a reader", &fixture, "");
    let mut said = role::heard(&mut server);
    role::wait_for("forked", &mut said);
    assert!(!server.wait().unwrap().success());
    let begun = Instant::now();
    let hasty = quick().lock_deadline(READING / 4);
    fixture.open(hasty.clone()).save("visitor", b"1").unwrap();
    fixture.open(hasty).sync().unwrap();
    assert!(begun.elapsed() < READING / 2, "the worker was no longer alive");
    role::wait_for("read and walked", &mut said);
}

/// How long the worker lives.
const READING: Duration = Duration::from_secs(4);

/// Role: forks a worker that only reads, and is killed under the lock.
pub(crate) fn die_before_a_reader() {
    let path = &role::arguments()[0];
    let options = Options::new().map(MapPolicy::AfterLoads(0));
    let container = ByteContainer::open(path, options).unwrap();
    assert!(container.load("visitor").unwrap().is_some());
    let sessions = container.iter();
    fork_child(|| {
        let begun = Instant::now();
        while begun.elapsed() < READING {
            assert!(container.load("visitor").unwrap().is_some());
            thread::sleep(Duration::from_millis(5));
        }
        // A walk goes on though the child opens the file anew to write.
        container.save("worker", b"").unwrap();
        let ids: Vec<_> = sessions.map(|session| session.unwrap().0).collect();
        assert!(ids.contains(&b"visitor".to_vec()), "{ids:?}");
        role::tell("read and walked");
    });
    role::tell("forked");
    let killed = container.update("visitor", |_| {
        signal(std::process::id(), libc::SIGKILL);
        Change::Keep
    });
    panic!("the server lives on: {killed:?}");
}

/// The child's own copy of what fork has copied: its drop is the child's.
fn copy_of(container: &ManuallyDrop<ByteContainer>) -> ManuallyDrop<ByteContainer> {
    // SAFETY: the child ends without using or dropping the original again.
    unsafe { std::ptr::read(container) }
}

/// Runs `body` in a child made by fork; it fails if that panics.
fn fork_child(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child uses only what glibc keeps usable after a fork (memory
    // allocation included), and the role has no other thread that matters.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
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

fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
