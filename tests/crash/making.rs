//! Stories of containers that are made, interrupted, made anew or copied over.

use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, Options};

fn open(disk: &SimulatedDisk, durability: Durability) -> cloakroom::Result<ByteContainer> {
    let options = Options::new().durability(durability);
    ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options)
}

/// The first recovery took the making line away before the headers were on the disk,
/// its sync failed, and the next one rewrote everything but the headers: a cut left
/// acknowledged sessions in a file that `create` would have begun anew.
#[test]
fn the_making_line_stays_until_the_headers_are_on_the_disk() {
    let mut recovered = 0;
    for call in 0..200 {
        let disk = SimulatedDisk::new(call);
        let process = disk.spawn();
        disk.kill_at(process, call);
        let storage = Box::new(disk.open(process));
        let survived = ByteContainer::create_on(storage, Options::new()).is_ok();
        disk.clear_script();
        if let Ok(container) = open(&disk, Durability::Durable) {
            disk.fail_syncs(1);
            container.save("x", b"1").unwrap_err();
            container.save("x", b"2").unwrap();
            drop(container);
            for policy in [CutPolicy::Oldest, CutPolicy::Newest, CutPolicy::Lines] {
                let before = disk.snapshot();
                disk.power_cut(policy, &mut SimulatedRng::new(call));
                let container = open(&disk, Durability::Never).unwrap();
                assert_eq!(container.load("x").unwrap().unwrap().value, b"2", "call {call}");
                drop(container);
                disk.restore(&before);
            }
            recovered += 1;
        }
        if survived {
            assert!(recovered > 2, "{recovered}");
            return;
        }
    }
    panic!("a creation makes more than 200 calls");
}

/// An image of before the last start of the system was copied over the container in
/// place: the inode keeps its mark, but what is in it has not been looked at.
#[test]
fn a_mark_is_not_believed_for_what_was_copied_over_it() {
    let disk = SimulatedDisk::new(3);
    let storage = Box::new(disk.open(disk.spawn()));
    drop(ByteContainer::create_on(storage, Options::new()).unwrap());
    let container = open(&disk, Durability::Durable).unwrap();
    container.save("x", b"1").unwrap();
    drop(container);
    let image = disk.bytes();
    disk.advance(Duration::from_secs(60));
    disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
    disk.advance(Duration::from_secs(60));
    open(&disk, Durability::Durable).unwrap().save("x", b"2").unwrap();
    let copier = disk.open(disk.spawn());
    copier.mark();
    disk.allow_unlocked_writes(true);
    copier.write_at(&image, 0).unwrap();
    disk.allow_unlocked_writes(false);
    let recoveries = disk.syncs_under_lock();
    open(&disk, Durability::Never).unwrap().save("y", b"1").unwrap();
    assert_eq!(disk.syncs_under_lock(), recoveries + 1, "nobody recovered");
}

/// A container was cut to nothing and made anew in the same inode, which kept its
/// mark: the first writer has to complete the making all the same.
#[test]
fn a_making_of_a_file_that_was_marked_is_looked_at() {
    let disk = SimulatedDisk::new(4);
    let storage = disk.open(disk.spawn());
    storage.mark();
    drop(ByteContainer::create_on(Box::new(storage), Options::new()).unwrap());
    let recoveries = disk.syncs_under_lock();
    open(&disk, Durability::Never).unwrap().save("x", b"1").unwrap();
    assert_eq!(disk.syncs_under_lock(), recoveries + 1, "nobody recovered");
}
