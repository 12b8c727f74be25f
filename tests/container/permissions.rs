//! Another user, who may read the file and nothing else, or may write the file
//! but not its directory: a shared host's usual case.
//!
//! Root becomes `nobody` for it, in a process of its own; anybody else has no
//! more rights than the modes give anyway.

#![allow(unsafe_code)]

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

#[cfg(target_os = "linux")]
use cloakroom::storage::{Access, FileStorage, Storage};
use cloakroom::{ByteContainer, Durability, ErrorKind, Options, ReadOnly};

use crate::fixture::{Fixture, assert_sound, bytes, quick, refusal, value};
use crate::role;

const NOBODY: u32 = 65534;

/// Lets a stranger do something to the container.
fn let_stranger(what: &str, fixture: &Fixture, file_mode: u32) {
    if fixture.path().exists() {
        let mode = Permissions::from_mode(file_mode);
        fs::set_permissions(fixture.path(), mode).unwrap();
    }
    fs::set_permissions(fixture.directory(), Permissions::from_mode(0o555)).unwrap();
    let arguments = [fixture.path().into_os_string(), what.into()];
    let arguments = arguments.each_ref().map(|argument| argument.as_os_str());
    let child = role::command("stranger", &arguments).spawn().unwrap();
    role::finish(child);
    fs::set_permissions(fixture.directory(), Permissions::from_mode(0o700)).unwrap();
}

/// Role: someone without rights.
pub(crate) fn stranger() {
    give_up_rights();
    let arguments = role::arguments();
    let path = &arguments[0];
    match arguments[1].as_str() {
        "read" => read(path),
        "write" => write(path),
        "initialise" => {
            ByteContainer::create(path, quick()).unwrap();
            write(path);
        }
        "be refused" => {
            for result in [
                ByteContainer::open(path, quick()),
                ByteContainer::open_read_only(path, quick()),
                ByteContainer::create(path, quick()),
            ] {
                assert_denied(&refusal(result));
            }
        }
        "mark" => mark(path),
        "not create" => assert_denied(&refusal(ByteContainer::create(path, quick()))),
        other => panic!("{other:?}"),
    }
}

fn give_up_rights() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // SAFETY: no groups are passed, so the null pointer is not read.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: takes numbers only.
    let group = unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) };
    // SAFETY: takes numbers only.
    let user = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
    assert_eq!((groups, group, user), (0, 0, 0), "{}", io::Error::last_os_error());
}

fn assert_denied(kind: &ErrorKind) {
    let ErrorKind::Io { source, .. } = kind else {
        panic!("{kind:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
}

fn read(path: &str) {
    assert_denied(&refusal(ByteContainer::open(path, quick())));
    let container = ByteContainer::open_read_only(path, Options::new()).unwrap();
    for number in 0..100u64 {
        assert_eq!(value(&container, number.to_le_bytes()), bytes(number, 500));
    }
    assert_eq!(container.iter().count(), 100);
    assert_sound(&container);
    let kind = refusal(container.save("visitor", b""));
    assert!(matches!(kind, ErrorKind::ReadOnly(ReadOnly::Handle)), "{kind:?}");
}

/// Sets what the engine takes for a mark, as far as the system lets a reader do so:
/// since Linux 6.13 it does not.
fn mark(path: &str) {
    const SET_WRITE_HINT: libc::c_int = 1024 + 12;
    let file = fs::File::open(path).unwrap();
    let hint = 2_u64;
    // SAFETY: `file` keeps the descriptor open; the call reads one u64.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), SET_WRITE_HINT, &raw const hint) };
    assert!(result == 0 || io::Error::last_os_error().kind() == io::ErrorKind::PermissionDenied);
}

fn write(path: &str) {
    let options = Options::new().durability(Durability::Durable);
    let container = ByteContainer::open(path, options).unwrap();
    for number in 0..50u64 {
        container.save(number.to_le_bytes(), b"durable").unwrap();
    }
    drop(container);
    let container = ByteContainer::open(path, quick()).unwrap();
    for number in 0..2000u64 {
        container.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
    }
    container.save("large", &bytes(1, 300_000)).unwrap();
    assert!(container.remove(3u64.to_le_bytes()).unwrap());
    let kind = refusal(ByteContainer::create(path, quick()));
    assert!(matches!(kind, ErrorKind::Exists), "{kind:?}");
}

#[test]
fn a_file_that_may_only_be_read_in_a_directory_that_may_only_be_read_is_readable() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    for number in 0..100u64 {
        container.save(number.to_le_bytes(), &bytes(number, 500)).unwrap();
    }
    // Its writer has it open still, and never closed it.
    let before = fs::read(fixture.path()).unwrap();
    let_stranger("read", &fixture, 0o444);
    assert!(before == fs::read(fixture.path()).unwrap());
}

/// Whether the next save through a new handle recovers first, where the file has this
/// mode and is a marked copy of a container, which nobody has seen.
#[cfg(target_os = "linux")]
fn recovers_in_a_marked_copy(mode: u32) -> bool {
    let fixture = Fixture::file();
    fixture.create(quick()).save("visitor", b"a hat").unwrap();
    let copy = fixture.directory().join("copy");
    fs::copy(fixture.path(), &copy).unwrap();
    fs::rename(&copy, fixture.path()).unwrap();
    let_stranger("mark", &fixture, mode);
    FileStorage::open(fixture.path(), Access::ReadWrite).unwrap().mark();
    let container = fixture.open(quick());
    let before = container.info().unwrap().write_epoch;
    container.save("visitor", b"a coat").unwrap();
    container.info().unwrap().write_epoch >= before + 16
}

#[test]
#[cfg(target_os = "linux")]
fn a_mark_of_a_file_that_strangers_may_read_and_not_write_is_not_believed() {
    assert!(recovers_in_a_marked_copy(0o644));
    assert!(recovers_in_a_marked_copy(0o664));
    assert!(!recovers_in_a_marked_copy(0o666));
}

#[test]
fn a_file_that_may_be_written_in_a_directory_that_may_not_works() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    let_stranger("write", &fixture, 0o666);
    let container = fixture.open(quick());
    assert_eq!(container.len().unwrap(), 2000);
    assert_eq!(value(&container, "large"), bytes(1, 300_000));
}

#[test]
fn an_empty_file_that_may_be_written_can_be_initialised() {
    let fixture = Fixture::file();
    fs::write(fixture.path(), "").unwrap();
    let_stranger("initialise", &fixture, 0o666);
    assert_eq!(fixture.open(quick()).len().unwrap(), 2000);
}

#[test]
fn a_file_that_may_not_be_touched_is_refused_and_left_alone() {
    let fixture = Fixture::file();
    fixture.create(quick()).save("visitor", b"a hat").unwrap();
    let before = fs::read(fixture.path()).unwrap();
    let_stranger("be refused", &fixture, 0o000);
    assert!(before == fs::read(fixture.path()).unwrap());
}

#[test]
fn a_directory_that_may_not_be_written_takes_no_new_container() {
    let fixture = Fixture::file();
    let_stranger("not create", &fixture, 0o600);
    assert!(!fixture.path().exists());
}
