//! What becomes of open handles when the file is replaced or removed, and what
//! two handles in one process are to each other.

use std::fs;
use std::sync::Arc;
use std::thread;

use cloakroom::{ByteContainer, ErrorKind, MapPolicy, Options};

use crate::fixture::{Fixture, quick, refusal, value};

#[test]
fn the_next_save_goes_to_the_file_that_was_renamed_over() {
    let (fixture, other) = (Fixture::file(), Fixture::file());
    let container = fixture.create(Options::new());
    container.save("old", b"a hat").unwrap();
    for _ in 0..50 {
        // Long enough a life to have a map.
        assert!(container.contains("old").unwrap());
    }
    let replacement = other.create(quick());
    replacement.save("new", b"a coat").unwrap();
    let uuid = replacement.info().unwrap().uuid;
    drop(replacement);
    fs::rename(other.path(), fixture.path()).unwrap();

    container.save("visitor", b"a cane").unwrap();
    assert_eq!(container.info().unwrap().uuid, uuid);
    assert_eq!(value(&container, "new"), b"a coat");
    assert!(!container.contains("old").unwrap());
    let again = fixture.open(quick());
    assert_eq!(value(&again, "visitor"), b"a cane");
    assert_eq!(again.len().unwrap(), 2);
}

/// A sync of a file that had been replaced said that all was on the disk.
#[test]
fn a_sync_goes_to_the_file_that_was_renamed_over_and_fails_where_there_is_none() {
    let (fixture, other) = (Fixture::file(), Fixture::file());
    let container = fixture.create(quick());
    container.save("old", b"a hat").unwrap();
    let replacement = other.create(quick());
    replacement.save("new", b"a coat").unwrap();
    fs::rename(other.path(), fixture.path()).unwrap();
    container.sync().unwrap();
    let info = replacement.info().unwrap();
    assert!(info.synced_epoch + 1 == info.write_epoch && info.write_epoch > 1, "{info:?}");
    drop(replacement);
    fs::remove_file(fixture.path()).unwrap();
    assert!(matches!(refusal(container.sync()), ErrorKind::Io { .. }));
    drop(container);
    drop(fixture.create(quick()));
}

#[test]
fn a_file_may_be_replaced_again_and_again_under_many_threads() {
    let fixture = Fixture::file();
    let container = Arc::new(fixture.create(quick()));
    thread::scope(|scope| {
        for thread in 0..3u8 {
            let container = Arc::clone(&container);
            scope.spawn(move || {
                for round in 0..300u16 {
                    container.save([thread], &round.to_le_bytes()).unwrap();
                    container.load([thread]).unwrap();
                }
            });
        }
        for _ in 0..10 {
            let other = Fixture::file();
            drop(other.create(quick()));
            fs::rename(other.path(), fixture.path()).unwrap();
        }
    });
    container.save("visitor", b"a hat").unwrap();
    assert_eq!(value(&fixture.open(quick()), "visitor"), b"a hat");
}

/// A long-lived handle kept each file that was ever replaced under it, with the space that
/// it takes, until the handle was closed.
#[test]
fn a_file_that_was_replaced_is_let_go_of_with_the_next_change() {
    let fixture = Fixture::file();
    let container = fixture.create(Options::new().map(MapPolicy::AfterLoads(0)));
    for _ in 0..5 {
        container.save("visitor", b"a hat").unwrap();
        assert_eq!(value(&container, "visitor"), b"a hat");
        let other = Fixture::file();
        drop(other.create(quick()));
        fs::rename(other.path(), fixture.path()).unwrap();
        container.save("visitor", b"a coat").unwrap();
    }
    let gone = format!("{} (deleted)", fixture.path().display());
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    assert_eq!(open.filter(|link| link.as_os_str() == gone.as_str()).count(), 0);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.lines().filter(|line| line.ends_with(&gone)).count(), 0);
}

#[test]
fn a_save_into_a_removed_file_is_an_error_and_makes_no_new_one() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    fs::remove_file(fixture.path()).unwrap();
    let refusals =
        [refusal(container.save("visitor", b"a coat")), refusal(container.remove("visitor"))];
    for kind in refusals {
        let ErrorKind::Io { source, .. } = kind else {
            panic!("{kind:?}");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    }
    assert!(!fixture.path().exists());
}

#[test]
fn something_else_under_the_name_is_refused_and_left_alone() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    fs::remove_file(fixture.path()).unwrap();
    fs::write(fixture.path(), "not a container at all").unwrap();
    let kind = refusal(container.save("visitor", b"a coat"));
    assert!(matches!(kind, ErrorKind::NotAContainer(_)), "{kind:?}");
    let text = fs::read_to_string(fixture.path()).unwrap();
    assert_eq!(text, "not a container at all");
    fs::remove_file(fixture.path()).unwrap();
    drop(container);
}

#[test]
fn two_handles_in_one_process_are_two_writers() {
    let fixture = Fixture::file();
    let one = fixture.create(quick());
    let two = fixture.open(quick().lock_deadline(std::time::Duration::from_millis(20)));
    one.save("visitor", b"a hat").unwrap();
    two.save("visitor", b"a coat").unwrap();
    assert_eq!(value(&one, "visitor"), b"a coat");
    one.update("visitor", |_| {
        let kind = refusal(two.save("visitor", b"a cane"));
        assert!(matches!(kind, ErrorKind::Busy { .. }), "{kind:?}");
        cloakroom::Change::Keep
    })
    .unwrap();
    // Closing one does not take the other's lock.
    one.update("visitor", |_| {
        drop(fixture.open_read_only(quick()));
        let third = fixture.open(quick().lock_deadline(std::time::Duration::ZERO));
        drop(third);
        let kind = refusal(two.save("visitor", b"a cane"));
        assert!(matches!(kind, ErrorKind::Busy { .. }), "{kind:?}");
        cloakroom::Change::Keep
    })
    .unwrap();
}

#[test]
fn a_copied_file_is_a_container_of_its_own() {
    let (fixture, other) = (Fixture::file(), Fixture::file());
    let container = fixture.create(quick());
    for number in 0..900u32 {
        container.save(number.to_le_bytes(), b"x").unwrap();
    }
    fs::copy(fixture.path(), other.path()).unwrap();
    let copy = ByteContainer::open(other.path(), quick()).unwrap();
    for number in 0..900u32 {
        assert_eq!(value(&copy, number.to_le_bytes()), b"x");
        copy.save(number.to_le_bytes(), b"y").unwrap();
    }
    assert_eq!(value(&container, 0u32.to_le_bytes()), b"x");
}

#[test]
fn a_symbolic_link_may_be_opened_through_and_removed() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let link = fixture.directory().join("link");
    std::os::unix::fs::symlink(fixture.path(), &link).unwrap();
    // Opened through a symbolic link, which `open` follows.
    let through = ByteContainer::open(&link, quick()).unwrap();
    through.save("visitor", b"a hat").unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
    fs::remove_file(&link).unwrap();
    through.save("visitor", b"a coat").unwrap();
    assert_eq!(value(&container, "visitor"), b"a coat");
}
