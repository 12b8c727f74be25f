//! Stories of marks, boots and views: who believes that nothing was lost, and who
//! recovers.

use std::collections::BTreeSet;
use std::time::Duration;

use cloakroom::storage::simulated::{
    CutPolicy, Operation, SimulatedDisk, SimulatedRng, SimulatedStorage,
};
use cloakroom::storage::{Storage, View};
use cloakroom::{ByteContainer, Durability, IdForm, Options};

use crate::stage;

use crate::wrapped::{Wrapped, Wrapper};

/// A process whose /proc names another boot than that of the disk's machine, or none.
#[derive(Debug)]
struct Elsewhere {
    storage: SimulatedStorage,
    boot: Option<u8>,
}

impl Wrapper for Elsewhere {
    fn below(&self) -> &dyn Storage {
        &self.storage
    }

    fn view(&self) -> std::io::Result<Option<View>> {
        let view = self.storage.view()?;
        Ok(view.zip(self.boot).map(|(view, boot)| View { boot: [boot; 16], ..view }))
    }

    fn reopen(&self) -> std::io::Result<Option<Box<dyn Storage>>> {
        let storage = self.storage.disk().open(self.storage.process());
        Ok(Some(Box::new(Wrapped(Elsewhere { storage, boot: self.boot }))))
    }
}

fn here(disk: &SimulatedDisk) -> ByteContainer {
    let storage = Box::new(disk.open(disk.spawn()));
    ByteContainer::open_on(storage, Options::new().durability(Durability::Never)).unwrap()
}

/// Somebody who sees the file through this mount and is told this boot. Takes the mark
/// away.
fn through(disk: &SimulatedDisk, mount: u64, boot: Option<u8>) -> ByteContainer {
    let process = disk.spawn();
    disk.set_mount(process, Some(mount));
    let storage = Box::new(Wrapped(Elsewhere { storage: disk.open(process), boot }));
    ByteContainer::open_on(storage, Options::new().durability(Durability::Never)).unwrap()
}

fn save(container: &ByteContainer, value: &str) {
    container.save("x", value.as_bytes()).unwrap();
}

/// A disk with a container, on which a day has passed since the system was started.
fn disk() -> SimulatedDisk {
    disk_of(5)
}

/// The same, with something else left to chance.
fn disk_of(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.keep_inode();
    disk.advance(Duration::from_secs(86_400));
    let storage = Box::new(disk.open(disk.spawn()));
    drop(ByteContainer::create_on(storage, Options::new().ids(IdForm::Plain)).unwrap());
    disk
}

/// A power cut, a minute after all that was done and a minute before all that comes.
fn cut(disk: &SimulatedDisk, policy: CutPolicy) {
    disk.advance(Duration::from_secs(60));
    disk.power_cut(policy, &mut SimulatedRng::new(1));
    disk.advance(Duration::from_secs(60));
}

/// How many recoveries a save takes.
fn recoveries(disk: &SimulatedDisk, container: &ByteContainer, value: &str) -> u64 {
    let before = disk.syncs_under_lock();
    container.save("x", value.as_bytes()).unwrap();
    disk.syncs_under_lock() - before
}

/// What `check` notes when it looks from a mount of its own.
fn notes_from_another_mount(disk: &SimulatedDisk, inode: Inode) -> Vec<String> {
    let process = disk.spawn();
    disk.set_mount(process, Some(2));
    let storage = disk.open(process);
    if inode == Inode::Marked {
        storage.mark();
    }
    let container = ByteContainer::open_read_only_on(Box::new(storage), Options::new()).unwrap();
    let report = container.check().unwrap();
    stage::assert_sound(&report);
    report.notes.into_iter().map(|note| note.what).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inode {
    Marked,
    Unmarked,
}

/// A check that saw the file through another mount than its writers told of a crash
/// that nobody had had, and left the free space unchecked.
#[test]
fn a_check_that_looks_through_another_mount_believes_the_mark_as_writers_do() {
    let disk = disk();
    save(&here(&disk), "1");
    assert_eq!(notes_from_another_mount(&disk, Inode::Marked), Vec::<String>::new());
    let notes = notes_from_another_mount(&disk, Inode::Unmarked);
    assert!(notes.iter().any(|note| note.contains("nobody has written")), "{notes:?}");
}

/// Each of many mounts of one file (those of containers, say) would have to recover,
/// were it not for the mark.
#[test]
fn a_mark_spares_a_recovery_through_a_mount_that_nobody_has_seen() {
    let disk = disk();
    save(&here(&disk), "1");
    for mount in 2..6 {
        let through = through(&disk, mount, Some(1));
        disk.open(disk.spawn()).mark();
        assert_eq!(recoveries(&disk, &through, "2"), 0, "mount {mount}");
    }
    assert_eq!(recoveries(&disk, &through(&disk, 6, Some(1)), "3"), 1, "without a mark");
}

/// The container was last synced before the system was started: whoever marked its
/// inode saw another file there.
#[test]
fn a_mark_is_believed_only_of_a_container_that_was_synced_since_the_system_started() {
    let disk = disk();
    save(&here(&disk), "1");
    let synced_ms = here(&disk).info().unwrap().synced_at_ms;
    let started_ms = disk.open(disk.spawn()).booted_ms();
    assert!(synced_ms > started_ms);
    // As a clock set forward by this, it looks as if it had been synced by then.
    for (after_ms, recovered) in [(0, 0), (1, 1), (86_400_000, 1)] {
        let before = disk.snapshot();
        let now_ms = disk.open(disk.spawn()).now_ms();
        disk.set_now_ms(now_ms + synced_ms - started_ms + after_ms);
        let who = through(&disk, 2, Some(1));
        disk.open(disk.spawn()).mark();
        assert_eq!(recoveries(&disk, &who, "2"), recovered, "{after_ms} ms after the sync");
        // A recovery syncs: the next one believes what it has marked.
        assert_eq!(recoveries(&disk, &through(&disk, 3, Some(1)), "3"), 1, "unmarked by the test");
        let who = through(&disk, 4, Some(1));
        disk.open(disk.spawn()).mark();
        assert_eq!(recoveries(&disk, &who, "4"), 0, "synced by now");
        drop(who);
        disk.restore(&before);
    }
}

/// Containers of one machine may all be told the same boot id; their mounts tell them
/// apart, and each recovers once.
#[test]
fn views_with_the_same_boot_id_are_told_apart_by_their_mounts() {
    let disk = disk();
    for round in 0..3 {
        for mount in 1..=3 {
            let recovered = recoveries(&disk, &through(&disk, mount, Some(7)), "1");
            assert_eq!(recovered, u64::from(round == 0), "mount {mount} in round {round}");
        }
    }
}

/// A place where /proc names the same boot for ever (a file of its own there, say): a
/// power cut is noticed all the same.
#[test]
fn a_boot_id_that_stays_the_same_hides_no_cut() {
    for boot in [Some(7), None] {
        let disk = disk();
        let who = through(&disk, 1, boot);
        save(&who, "1");
        who.sync().unwrap();
        save(&who, "2");
        drop(who);
        cut(&disk, CutPolicy::Newest);
        assert_eq!(recoveries(&disk, &through(&disk, 1, boot), "3"), 1, "boot {boot:?}");
        // Once: the recovery has synced in this boot. Who is told no boot cannot know.
        let again = recoveries(&disk, &through(&disk, 1, boot), "4");
        assert_eq!(again, u64::from(boot.is_none()), "boot {boot:?}");
    }
}

/// Without a boot id nothing but the mark says that nothing was lost.
#[test]
fn who_is_told_no_boot_recovers_unless_the_inode_is_marked() {
    let disk = disk();
    save(&here(&disk), "1");
    for round in 0..4 {
        let who = through(&disk, 1, None);
        assert_eq!(recoveries(&disk, &who, "2"), 1, "round {round}");
        // One handle, once.
        assert_eq!(recoveries(&disk, &who, "3"), 0, "round {round}");
    }
    let who = through(&disk, 1, None);
    disk.open(disk.spawn()).mark();
    assert_eq!(recoveries(&disk, &who, "4"), 0);
}

/// A sync failed, and then somebody came whose container has a boot id of its own: no
/// reboot has emptied the cache, so what the sync did not write is written again.
#[test]
fn another_boot_id_without_a_reboot_leaves_a_failed_sync_in_doubt() {
    for seed in 0..20 {
        let disk = disk_of(seed);
        let who = here(&disk);
        save(&who, "1");
        who.sync().unwrap();
        // So long that nothing else is in most of its pages, and has them written.
        let long = "2".repeat(20_000);
        save(&who, &long);
        disk.fail_syncs(1);
        who.sync().unwrap_err();
        drop(who);
        let other = through(&disk, 1, Some(7));
        other.save("other", b"1").unwrap();
        other.sync().unwrap();
        drop(other);
        cut(&disk, CutPolicy::Oldest);
        let found = here(&disk).load("x").unwrap().unwrap().value;
        assert!(found == long.as_bytes(), "seed {seed}");
    }
}

/// The same after a reboot: the doubt is over, since nothing is in any cache that was
/// not read from the disk.
#[test]
fn a_reboot_ends_the_doubt_of_a_failed_sync() {
    let disk = disk();
    let who = here(&disk);
    save(&who, "1");
    disk.fail_syncs(1);
    who.sync().unwrap_err();
    drop(who);
    cut(&disk, CutPolicy::Newest);
    disk.record(true);
    save(&here(&disk), "2");
    let log = disk.take_log();
    let places: BTreeSet<u64> = log.iter().filter_map(|call| place_of(call.operation)).collect();
    assert!(places.len() < 20, "everything was written again: {places:?}");
    assert!(!here(&disk).info().unwrap().suspect_sync);
}

fn place_of(operation: Operation) -> Option<u64> {
    match operation {
        Operation::Write { offset, .. } => Some(offset),
        _ => None,
    }
}
