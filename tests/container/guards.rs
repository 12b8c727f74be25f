//! Guards: a session for oneself, between threads and between processes.
#![allow(unsafe_code)]

use std::thread;
use std::time::Duration;

use cloakroom::{Awaited, ByteContainer, ErrorKind};

use crate::fixture::{Fixture, bytes, quick, refusal, value};
use crate::role;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn assert_guarded(container: &ByteContainer, id: &str) {
    match refusal(container.guard(id, SOON)) {
        ErrorKind::Busy { awaited: Awaited::Guard, holder: None, waited_ms } => {
            assert!((20..2000).contains(&waited_ms), "{waited_ms} ms");
        }
        other => panic!("{other:?}"),
    }
}

fn fixtures() -> [Fixture; 3] {
    [Fixture::file(), Fixture::memory(), Fixture::simulated()]
}

#[test]
fn a_guarded_session_is_guarded_by_nobody_else_and_others_can_be() {
    for fixture in fixtures() {
        let container = fixture.create(quick());
        let other = fixture.open(quick());
        let guard = container.guard("visitor", SOON).unwrap();
        assert_guarded(&container, "visitor");
        assert_guarded(&other, "visitor");
        let beside: Vec<_> =
            (0..100).map(|number| other.guard(format!("id {number}"), SOON).unwrap()).collect();
        drop(guard);
        let guard = other.guard("visitor", SOON).unwrap();
        assert_guarded(&container, "visitor");
        assert_guarded(&container, "id 7");
        drop((guard, beside));
        drop(container.guard("id 7", SOON).unwrap());
    }
}

#[test]
fn a_guard_hinders_nobody_who_asks_for_none() {
    for fixture in fixtures() {
        let container = fixture.create(quick());
        let guard = container.guard("visitor", SOON).unwrap();
        let other = fixture.open(quick());
        other.save("visitor", b"a hat").unwrap();
        other.save("another", b"a coat").unwrap();
        assert_eq!(value(&container, "visitor"), b"a hat");
        other.sync().unwrap();
        assert!(other.remove("visitor").unwrap());
        drop(guard);
    }
}

#[test]
fn a_guard_outlives_the_handle_it_was_made_by() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let guard = container.guard("visitor", SOON).unwrap();
    drop(container);
    let other = fixture.open(quick());
    assert_guarded(&other, "visitor");
    drop(guard);
    drop(other.guard("visitor", SOON).unwrap());
}

#[test]
fn nothing_is_written_for_a_guard() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let before = std::fs::read(fixture.path()).unwrap();
    let guard = container.guard("visitor", SOON).unwrap();
    assert!(std::fs::read(fixture.path()).unwrap() == before);
    drop(guard);
    assert!(std::fs::read(fixture.path()).unwrap() == before);
}

#[test]
fn who_may_not_write_may_not_guard_and_a_wrong_id_is_refused() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let reader = fixture.open_read_only(quick());
    assert!(matches!(refusal(reader.guard("visitor", SOON)), ErrorKind::ReadOnly(_)));
    assert!(matches!(refusal(container.guard("", SOON)), ErrorKind::InvalidId { len: 0 }));
    let long = refusal(container.guard([b'x'; 256], SOON));
    assert!(matches!(long, ErrorKind::InvalidId { len: 256 }));
}

#[test]
fn what_takes_the_files_name_is_guarded_from_then_on() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let old = container.guard("visitor", SOON).unwrap();
    let other = Fixture::file();
    drop(other.create(quick()));
    std::fs::copy(other.path(), fixture.directory().join("beside")).unwrap();
    std::fs::rename(fixture.directory().join("beside"), fixture.path()).unwrap();
    let new = container.guard("visitor", SOON).unwrap();
    drop(old);
    assert_guarded(&fixture.open(quick()), "visitor");
    drop(new);
}

/// Nobody else tells a handle that the name is another file's by now.
#[test]
fn a_guard_is_of_the_file_that_is_used_though_the_old_one_keeps_a_name() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"the old one").unwrap();
    let other = Fixture::file();
    other.create(quick()).save("visitor", b"the new one").unwrap();
    let (kept, new) = (other.directory().join("kept"), fixture.directory().join("new"));
    std::fs::copy(other.path(), &new).unwrap();
    std::fs::hard_link(fixture.path(), &kept).unwrap();
    std::fs::rename(new, fixture.path()).unwrap();
    let guard = container.guard("visitor", SOON).unwrap();
    assert_eq!(value(&container, "visitor"), b"the new one");
    assert_guarded(&fixture.open(quick()), "visitor");
    drop(guard);
    std::fs::remove_file(kept).unwrap();
}

/// Loads, thinks, and saves: without a guard some of it would be lost.
fn visit(container: &ByteContainer, id: &str) {
    let _guard = container.guard(id, LONG).unwrap();
    let count = container.load(id).unwrap().map_or(0, |session| number(&session.value));
    thread::sleep(Duration::from_micros(200));
    container.save(id, &(count + 1).to_le_bytes()).unwrap();
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

const VISITS: u64 = 60;

#[test]
fn no_update_is_lost_between_the_threads_of_guarded_requests() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..VISITS).for_each(|visitor| visit(&container, id(visitor))));
        }
    });
    let total: u64 = (0..2).map(|visitor| number(&value(&container, id(visitor)))).sum();
    assert_eq!(total, 4 * VISITS);
}

fn id(visitor: u64) -> &'static str {
    if visitor.is_multiple_of(2) { "ada" } else { "bob" }
}

#[test]
fn no_update_is_lost_between_processes_of_guarded_requests() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let path = fixture.path();
    let children: Vec<_> = (0..4)
        .map(|_| role::command("guarded visits", &[path.as_os_str()]).spawn().unwrap())
        .collect();
    children.into_iter().for_each(role::finish);
    let total: u64 = (0..2).map(|visitor| number(&value(&container, id(visitor)))).sum();
    assert_eq!(total, 4 * VISITS);
}

/// Role: a process for some requests.
pub(crate) fn visits() {
    let container = ByteContainer::open(&role::arguments()[0], quick()).unwrap();
    (0..VISITS).for_each(|visitor| visit(&container, id(visitor)));
}

#[test]
fn a_guard_dies_with_its_process_and_not_with_a_child_of_it() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", &bytes(1, 100)).unwrap();
    let path = fixture.path();
    let mut holder = role::command("guard", &[path.as_os_str()]).spawn().unwrap();
    let mut heard = role::heard(&mut holder);
    role::wait_for("guarding", &mut heard);
    assert_guarded(&container, "visitor");
    drop(container.guard("another", SOON).unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    // Its child lives on, and has inherited what it had open.
    drop(container.guard("visitor", Duration::from_millis(150)).unwrap());
    role::wait_for("the child ends", &mut heard);
}

/// Role: guards a session, forks, and waits to be killed; the child waits for that.
pub(crate) fn guard() {
    let container = ByteContainer::open(&role::arguments()[0], quick()).unwrap();
    let _guard = container.guard("visitor", SOON).unwrap();
    let parent = std::process::id();
    // SAFETY: the child calls nothing that another thread could have locked.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: asks for a number.
        let orphaned = || unsafe { libc::getppid() } as u32 != parent;
        role::eventually("the parent is killed", orphaned);
        thread::sleep(Duration::from_millis(300));
        role::tell("the child ends");
        std::process::exit(0);
    }
    role::tell("guarding");
    thread::sleep(LONG);
}
