//! What a process may be like: without /proc, without standard streams, forked
//! before it serves, under a limit that shrinks; and what readers feel of a lock
//! holder that is stopped.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::mem::ManuallyDrop;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Change, Durability, ErrorKind, MapPolicy, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{assert_sound, bytes, not_run, quick, role, value};

fn count_up(container: &ByteContainer, id: &str) {
    container
        .update(id, |session| {
            let before = session.map_or(0, |session| counter(session.value));
            Change::Save((before + 1).to_le_bytes().to_vec())
        })
        .unwrap();
}

fn counter(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// Role: sees nothing but the directory that the file is in.
pub(crate) fn in_a_chroot(path: &OsStr) {
    let path = Path::new(path);
    std::os::unix::fs::chroot(path.parent().unwrap()).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert!(!Path::new("/proc").exists());
    let options = Options::new().durability(Durability::Durable);
    let container = ByteContainer::open("/sessions.room", options).unwrap();
    for number in 0..30 {
        count_up(&container, &format!("counter {}", number % 3));
    }
    container.save("large", &bytes(1, 50_000)).unwrap();
    assert_eq!(container.info().unwrap().lock_holder, None);
    // A second handle: another recovery, since nothing tells it that none is needed.
    let again = ByteContainer::open("/sessions.room", quick()).unwrap();
    count_up(&again, "counter 0");
    count_up(&container, "counter 0");
}

#[test]
fn processes_in_a_chroot_without_proc_save_and_lose_nothing() {
    if !rustix::process::geteuid().is_root() {
        return not_run("a chroot without /proc", "only root may chroot");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let outside = ByteContainer::create(&path, quick()).unwrap();
    const PROCESSES: u64 = 12;
    for _ in 0..PROCESSES {
        role::finish(role::start("in a chroot", path.as_os_str()));
        // In turn with one that is told its boot, and need not recover.
        count_up(&outside, "counter 1");
    }
    assert_eq!(counter(&value(&outside, "counter 0")), 12 * PROCESSES);
    assert_eq!(counter(&value(&outside, "counter 1")), 11 * PROCESSES);
    assert_eq!(value(&outside, "large"), bytes(1, 50_000));
    assert_sound(&outside);
    // Each recovery begins the free space anew; the file must not grow with each.
    let len = fs::metadata(&path).unwrap().len();
    assert!(len < 24 << 16, "{len} bytes");
}

/// Role: a server that opens, forks its workers, and works on itself.
pub(crate) fn prefork(path: &OsStr) {
    const WORKERS: u64 = 4;
    const UPDATES: u64 = 400;
    for map in [MapPolicy::Never, MapPolicy::AfterLoads(0)] {
        let options = Options::new()
            .durability(Durability::Interval(Duration::from_millis(20)))
            .map(map)
            .background_sync();
        let container = ManuallyDrop::new(ByteContainer::open(path, options).unwrap());
        let before = container.load("all").unwrap().map_or(0, |session| counter(&session.value));
        // It has spares, a map and a thread when it forks.
        for _ in 0..UPDATES {
            count_up(&container, "all");
        }
        let work = |worker: u64| {
            for step in 0..UPDATES {
                count_up(&container, "all");
                let id = format!("{worker} {step}");
                container.save(&id, &bytes(step, 700)).unwrap();
                assert!(value(&container, &id) == bytes(step, 700));
            }
        };
        let mut workers = Vec::new();
        for worker in 1..=WORKERS {
            // SAFETY: the child uses what glibc keeps usable after a fork; the one other
            // thread is the engine's own, which does without locks of ours.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(worker)));
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            workers.push(pid);
        }
        work(0);
        for pid in workers {
            let mut status = 0;
            // SAFETY: a child of ours, and a place for the answer.
            let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!((waited, status), (pid, 0));
        }
        let total = before + UPDATES * (WORKERS + 2);
        assert_eq!(counter(&value(&container, "all")), total);
        for worker in 0..=WORKERS {
            for step in 0..UPDATES {
                assert!(value(&container, format!("{worker} {step}")) == bytes(step, 700));
            }
        }
        assert_sound(&container);
        drop(ManuallyDrop::into_inner(container));
    }
}

#[test]
fn workers_that_were_forked_after_the_server_opened_lose_no_update() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    drop(ByteContainer::create(&path, quick()).unwrap());
    role::finish(role::start("prefork", path.as_os_str()));
    assert_sound(&ByteContainer::open(&path, quick()).unwrap());
}

/// Role: has closed its standard streams, opens, and then prints.
pub(crate) fn without_descriptors(path: &OsStr) {
    for descriptor in 0..3 {
        // SAFETY: nothing of this process relies on them any more.
        unsafe { libc::close(descriptor) };
    }
    let container = ByteContainer::open(path, Options::new()).unwrap();
    let made = Path::new(path).with_extension("made");
    let second = ByteContainer::create(made, Options::new()).unwrap();
    let read = ByteContainer::open_read_only(path, Options::new()).unwrap();
    for descriptor in 0..3 {
        let noise = b"not for the container";
        // SAFETY: a buffer with its length; that the descriptor is closed is the point.
        let written = unsafe { libc::write(descriptor, noise.as_ptr().cast(), noise.len()) };
        assert_eq!(written, -1, "something was opened as {descriptor}");
    }
    for number in 0..50u64 {
        container.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
        second.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
        assert!(value(&read, number.to_le_bytes()) == bytes(number, 300));
    }
    // What a save after a replacement opens is no standard stream either.
    let other = Path::new(path).with_extension("other");
    drop(ByteContainer::create(&other, Options::new()).unwrap());
    fs::rename(&other, path).unwrap();
    container.save("moved", b"a hat").unwrap();
    for descriptor in 0..3 {
        // SAFETY: as above.
        let written = unsafe { libc::write(descriptor, b"x".as_ptr().cast(), 1) };
        assert_eq!(written, -1, "something was reopened as {descriptor}");
    }
    // Without streams a test cannot tell; its end does.
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(value(&container, "moved") != b"a hat") + 40) }
}

#[test]
fn a_process_without_standard_streams_never_prints_into_a_container() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    drop(ByteContainer::create(&path, quick()).unwrap());
    let child = role::start("without descriptors", path.as_os_str());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(40), "{output:?}");
    for path in [path.clone(), path.with_extension("made")] {
        assert_sound(&ByteContainer::open(path, quick()).unwrap());
    }
}

/// Role: says when it holds the lock, and keeps it.
pub(crate) fn hold(path: &OsStr) {
    let container = ByteContainer::open(path, quick()).unwrap();
    container
        .update("held", |_| {
            role::tell("holding");
            std::thread::sleep(Duration::from_secs(20));
            Change::Keep
        })
        .unwrap();
}

#[test]
fn readers_never_notice_that_a_lock_holder_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let container = ByteContainer::create(&path, quick()).unwrap();
    for number in 0..100u64 {
        container.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
    }
    let mut holder = role::start("hold", path.as_os_str());
    role::wait_for("holding", &mut holder);
    let pid = libc::pid_t::try_from(holder.id()).unwrap();
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let mapped = Options::new().map(MapPolicy::AfterLoads(0));
    let readers = [
        ByteContainer::open_read_only(&path, quick()).unwrap(),
        ByteContainer::open_read_only(&path, mapped).unwrap(),
    ];
    let begun = Instant::now();
    for round in 0..50 {
        for reader in &readers {
            for number in 0..100u64 {
                assert!(value(reader, number.to_le_bytes()) == bytes(number, 300));
            }
            assert_eq!(reader.iter().count(), 100);
            assert_sound(reader);
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "round {round}: they wait");
    }
    // A writer gives up when its time is over, and not much later.
    let hasty = quick().lock_deadline(Duration::from_millis(200));
    let hasty = ByteContainer::open(&path, hasty).unwrap();
    let begun = Instant::now();
    let error = hasty.save("visitor", b"a hat").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error}");
    assert!((200..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    holder.kill().unwrap();
    holder.wait().unwrap();
    container.save("visitor", b"a hat").unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
}

/// Role: lowers its own file size limit after its first writes.
pub(crate) fn lowered_limit(path: &OsStr) {
    let container = ByteContainer::open(path, quick()).unwrap();
    container.save("visitor", b"a hat").unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(4096), maximum }).unwrap();
    for number in 0..1000u64 {
        if let Err(error) = container.save(number.to_le_bytes(), &bytes(number, 1000)) {
            assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}");
            return;
        }
    }
    panic!("the limit is not kept");
}

#[test]
fn a_limit_lowered_after_the_first_write_ends_in_an_error_or_the_signal_and_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let container = ByteContainer::create(&path, quick()).unwrap();
    let child = role::start("lowered limit", path.as_os_str());
    let output = child.wait_with_output().unwrap();
    // The limit is asked for once and when the file grows: a write within the file
    // that meets a lower one is ended by the system.
    let signal = output.status.signal();
    assert!(output.status.success() || signal == Some(libc::SIGXFSZ), "{output:?}");
    assert_eq!(value(&container, "visitor"), b"a hat");
    container.save("visitor", b"a coat").unwrap();
    assert_sound(&container);
}
