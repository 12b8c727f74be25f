//! No space: the operation fails as full, all that was saved is still there,
//! the file does not grow with every failure, and with space again everything
//! goes on.

use std::fs;
use std::io::Write;
use std::process::Command;

use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Change, Durability, ErrorKind, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fixture::{Fixture, assert_sound, bytes, quick, refusal, value};
use crate::role;

const LEN: usize = 3000;

/// Saves new sessions until one does not fit, and says how many did.
fn fill(container: &ByteContainer) -> u64 {
    for number in 0..100_000u64 {
        if let Err(error) = container.save(number.to_le_bytes(), &bytes(number, LEN)) {
            assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}");
            return number;
        }
    }
    panic!("it is never full");
}

fn assert_all_there(container: &ByteContainer, count: u64) {
    for number in 0..count {
        assert!(value(container, number.to_le_bytes()) == bytes(number, LEN));
    }
    assert!(!container.contains(count.to_le_bytes()).unwrap());
    assert_sound(container);
}

/// What has to hold of a container that is full.
fn is_full_and_well(container: &ByteContainer, count: u64) {
    assert!(count > 20, "only {count}");
    assert_all_there(container, count);
    for _ in 0..3 {
        let kind = refusal(container.save("large", &bytes(1, 1 << 20)));
        assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
        let update = container.update("large", |_| Change::Save(bytes(1, 1 << 20)));
        assert!(matches!(refusal(update), ErrorKind::Full(_)));
    }
    assert!(!container.contains("large").unwrap());
    // Removing needs no space, and makes some.
    for number in count / 2..count {
        assert!(container.remove(number.to_le_bytes()).unwrap());
    }
    container.sync().unwrap();
    for number in count / 2..count - 3 {
        container.save(number.to_le_bytes(), &bytes(number, LEN)).unwrap();
    }
    assert_all_there(container, count - 3);
}

#[test]
fn full_memory_is_an_error_and_nothing_more() {
    let storage = MemoryStorage::new();
    for durability in [Durability::Never, Durability::Durable] {
        let storage = storage.share();
        let options = Options::new().durability(durability);
        let container = match durability {
            Durability::Never => ByteContainer::create_on(Box::new(storage.share()), options),
            _ => ByteContainer::open_on(Box::new(storage.share()), options),
        }
        .unwrap();
        let limit = storage.to_bytes().len() as u64 + 1_000_000;
        storage.set_limit(Some(limit));
        let count = fill(&container);
        is_full_and_well(&container, count);
        assert!(storage.to_bytes().len() as u64 <= limit);
        storage.set_limit(None);
        container.save("large", &bytes(1, 1 << 20)).unwrap();
        assert_all_there(&container, count - 3);
        assert!(container.remove("large").unwrap());
    }
}

#[test]
fn overwriting_goes_on_when_nothing_new_fits() {
    let storage = MemoryStorage::new();
    let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
    storage.set_limit(Some(2_000_000));
    let count = fill(&container);
    // A new version needs room beside the old one: that of one session will do.
    for number in count - 4..count {
        assert!(container.remove(number.to_le_bytes()).unwrap());
    }
    for round in 1..4u64 {
        for number in 0..count - 4 {
            let new = bytes(number + round, LEN);
            container.save(number.to_le_bytes(), &new).unwrap();
            assert!(value(&container, number.to_le_bytes()) == new);
        }
    }
    assert_sound(&container);
}

/// Requests of a CGI program, each a process of its own that never syncs by hand.
#[test]
fn what_a_removal_frees_is_there_for_the_next_process() {
    for durability in [Durability::Never, Durability::Durable] {
        let storage = MemoryStorage::new();
        let visit = || {
            let options = Options::new().durability(durability);
            ByteContainer::open_on(Box::new(storage.share()), options).unwrap()
        };
        drop(ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap());
        storage.set_limit(Some(2_000_000));
        let large = bytes(1, 20_000);
        let full = |number: u64| visit().save(number.to_le_bytes(), &large).is_err();
        let count = (0..1000).find(|number| full(*number)).unwrap();
        assert!(count > 20, "only {count}");
        for number in 0..6u64 {
            assert!(visit().remove(number.to_le_bytes()).unwrap());
        }
        for _ in 0..3 {
            visit().save("tiny", b"1").unwrap();
            visit().save("large", &large).unwrap();
        }
        assert_sound(&visit());
    }
}

/// A search for the last free extent takes as long as the file is large: on a disk that is
/// full, each save of each process must not begin it anew.
#[test]
fn who_finds_the_disk_full_again_does_not_search_everything_again() {
    let storage = MemoryStorage::new();
    let options = Options::new().durability(Durability::Never);
    let container = ByteContainer::create_on(Box::new(storage.share()), options.clone()).unwrap();
    storage.set_limit(Some(storage.to_bytes().len() as u64 + 1_000_000));
    let count = fill(&container);
    let synced = || container.info().unwrap().synced_epoch;
    let before = synced();
    for number in 0..20_u64 {
        // Another process each time.
        let other = ByteContainer::open_on(Box::new(storage.share()), options.clone()).unwrap();
        let kind = refusal(other.save((count + number).to_le_bytes(), &bytes(1, LEN)));
        assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
    }
    assert_eq!(synced(), before, "a search syncs");
    assert!(container.remove(0_u64.to_le_bytes()).unwrap());
    let other = ByteContainer::open_on(Box::new(storage.share()), options).unwrap();
    other.save(count.to_le_bytes(), &bytes(count, LEN)).unwrap();
}

#[test]
fn failures_do_not_make_the_file_grow() {
    let storage = MemoryStorage::new();
    let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
    storage.set_limit(Some(1_000_000));
    let count = fill(&container);
    let len = storage.to_bytes().len();
    for _ in 0..200 {
        let kind = refusal(container.save("large", &bytes(1, 500_000)));
        assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
    }
    assert!(storage.to_bytes().len() <= len + 65536);
    assert_all_there(&container, count);
}

#[test]
fn a_container_does_not_come_to_be_where_there_is_no_space() {
    let storage = MemoryStorage::new();
    storage.set_limit(Some(100_000));
    let kind = refusal(ByteContainer::create_on(Box::new(storage.share()), quick()));
    assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
    storage.set_limit(None);
    let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
    container.save("visitor", b"a hat").unwrap();
}

#[test]
fn a_full_file_system_is_an_error_and_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
        .arg(directory.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        // Past what the test runner keeps to itself.
        let words = b"not run: a full file system: only root may mount a small one\n";
        return std::io::stdout().write_all(words).unwrap();
    }
    let unmount = || Command::new("umount").arg("-l").arg(directory.path()).status();
    let result = std::panic::catch_unwind(|| {
        let path = directory.path().join("sessions.room");
        let container = ByteContainer::create(&path, quick()).unwrap();
        // Something else takes part of the space, and gives it back.
        let other = directory.path().join("other");
        fs::write(&other, vec![1; 1 << 20]).unwrap();
        let count = fill(&container);
        is_full_and_well(&container, count);
        fs::remove_file(&other).unwrap();
        container.save("large", &bytes(1, 400_000)).unwrap();
        assert_sound(&container);
        let again = directory.path().join("again.room");
        fs::write(&other, vec![1; 3 << 20]).unwrap_err();
        let kind = refusal(ByteContainer::create(&again, quick()));
        assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
        assert!(!again.exists());
    });
    assert!(unmount().unwrap().success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_no_signal() {
    let fixture = Fixture::file();
    let path = fixture.path();
    let child = role::command("limited", &[path.as_os_str()]).spawn().unwrap();
    role::finish(child);
}

/// Role: has a file size limit, later a wider one.
pub(crate) fn limited() {
    let path = &role::arguments()[0];
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = |current| {
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    limit(Some(100_000));
    let kind = refusal(ByteContainer::create(path, quick()));
    assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
    // More space on the disk would not help.
    let text = kind.to_string();
    assert!(text.contains("ulimit -f") && !text.contains("free some space"), "{text}");
    limit(Some(1_500_000));
    let container = ByteContainer::create(path, quick()).unwrap();
    let count = fill(&container);
    is_full_and_well(&container, count);
    assert!(fs::metadata(path).unwrap().len() <= 1_500_000);
    limit(maximum);
    container.save("large", &bytes(1, 1 << 20)).unwrap();
    assert_all_there(&container, count - 3);
    // Another process meets a file that is larger already than it may write.
    limit(Some(4096));
    let late = ByteContainer::open(path, quick()).unwrap();
    let kind = refusal(late.save("visitor", b"a hat"));
    assert!(matches!(kind, ErrorKind::Full(_)), "{kind:?}");
    assert!(value(&late, 0u64.to_le_bytes()) == bytes(0, LEN));
    limit(maximum);
    late.save("visitor", b"a hat").unwrap();
}
