//! Short lives of a container, made for an interpreter: some seconds each, in memory or
//! on the simulated disk, no file, no map, no fork. What has to do with those is tried
//! by the crate's other tests, and by the sanitizers.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use cloakroom::storage::MemoryStorage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Change, Durability, MapPolicy, Options, Outcome, Updated};

/// An interpreted save takes seconds: nobody is to be told Busy for that.
fn options() -> Options {
    Options::new().durability(Durability::Never).lock_deadline(Duration::from_secs(600))
}

/// An empty container; to make one here would take the interpreter longest of all.
fn in_memory() -> (MemoryStorage, ByteContainer) {
    let bytes = include_bytes!("../../tests/data/v0-empty.room").to_vec();
    let storage = MemoryStorage::from_bytes(bytes);
    let opened = ByteContainer::open_on(Box::new(storage.share()), options()).unwrap();
    (storage, opened)
}

fn loaded(container: &ByteContainer, id: &str) -> Option<Vec<u8>> {
    container.load(id).unwrap().map(|session| session.value)
}

/// Files of any machine are read on any other: these were made on a little-endian one.
#[test]
fn a_file_of_another_machine_is_read_and_written() {
    let bytes = include_bytes!("../../tests/data/v0-small.room").to_vec();
    let storage = MemoryStorage::from_bytes(bytes);
    let container = ByteContainer::open_on(Box::new(storage.share()), options()).unwrap();
    assert_eq!(loaded(&container, "alice").unwrap(), br#"{"visits":3}"#);
    container.save("alice", b"4").unwrap();
    container.sync().unwrap();
    assert_eq!(loaded(&container, "alice").unwrap(), b"4");
}

#[test]
fn a_session_is_saved_changed_touched_and_removed() {
    let (storage, container) = in_memory();
    let first = container.save("one", b"1").unwrap();
    assert!(matches!(container.save_if("one", first, b"2").unwrap(), Outcome::Saved(_)));
    assert_eq!(container.save_if("one", first, b"3").unwrap(), Outcome::Conflict);
    let updated =
        container.update("one", |session| Change::Save([session.unwrap().value, b"+"].concat()));
    assert!(matches!(updated.unwrap(), Updated::Saved(_)));
    assert_eq!(loaded(&container, "one").unwrap(), b"2+");
    assert!(container.set_deadline("one", Some(1)).unwrap());
    assert_eq!(loaded(&container, "one"), None);
    container.save("two", &[2; 3000]).unwrap();
    container.sync().unwrap();
    assert!(container.remove("two").unwrap());
    drop(container);
    let reader = ByteContainer::open_read_only_on(Box::new(storage), options()).unwrap();
    assert_eq!(loaded(&reader, "two"), None);
}

#[test]
fn a_large_value_comes_back_whole() {
    let (_storage, container) = in_memory();
    let value: Vec<u8> = (0..33_000_u32).map(|number| (number % 251) as u8).collect();
    container.save("large", &value).unwrap();
    assert_eq!(loaded(&container, "large").unwrap(), value);
}

#[test]
fn a_power_cut_leaves_what_was_synced_and_a_writer_recovers() {
    let disk = SimulatedDisk::new(1);
    let open = || Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::create_on(open(), options()).unwrap();
    container.save("one", b"1").unwrap();
    container.sync().unwrap();
    container.save("one", b"2").unwrap();
    let mut rng = SimulatedRng::new(1);
    disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
    let container = ByteContainer::open_on(open(), options()).unwrap();
    let value = loaded(&container, "one").unwrap();
    assert!(value == b"1" || value == b"2", "{value:?}");
    container.save("one", b"3").unwrap();
    container.sync().unwrap();
    assert_eq!(loaded(&container, "one").unwrap(), b"3");
}

/// A map of the simulated disk, and reads that find another writer's changes.
#[test]
fn a_mapped_reader_follows_a_writer() {
    let disk = SimulatedDisk::new(1);
    let open = || Box::new(disk.open(disk.spawn()));
    let writer = ByteContainer::create_on(open(), options()).unwrap();
    let mapped = options().map(MapPolicy::AfterLoads(0));
    let reader = ByteContainer::open_read_only_on(open(), mapped).unwrap();
    for number in 0..4 {
        writer.save("one", &[number; 9]).unwrap();
        assert_eq!(loaded(&reader, "one").unwrap(), [number; 9]);
    }
}

/// Threads with a handle in common and one of their own: the interpreter switches
/// between them at any instruction, differently with each seed.
#[test]
fn threads_lose_no_update() {
    let (storage, container) = in_memory();
    let container = Arc::new(container);
    let start = Arc::new(Barrier::new(3));
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let (shared, start) = (Arc::clone(&container), Arc::clone(&start));
            let own = Box::new(storage.share());
            thread::spawn(move || {
                let own = ByteContainer::open_on(own, options()).unwrap();
                let container = if number == 2 { &own } else { &*shared };
                start.wait();
                for _ in 0..2 {
                    let updated = container.update("count", |session| {
                        let count = session.map_or(0, |session| session.value[0]);
                        Change::Save(vec![count + 1])
                    });
                    assert!(matches!(updated, Ok(Updated::Saved(_))), "{updated:?}");
                    assert!(container.load("count").unwrap().is_some());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(loaded(&container, "count").unwrap(), [6]);
}
