//! A medium that cannot give back some page (EIO), told as stories: nobody is stopped who
//! has nothing there, and the file stays small.

use std::io;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng, SimulatedStorage};
use cloakroom::{ByteContainer, Durability};

use crate::rewriting::{options, with_sessions};
use crate::wrapped::{Wrapped, Wrapper};

/// A file on a medium that cannot give back the page at some place.
#[derive(Debug)]
struct BadSector {
    storage: SimulatedStorage,
    place: u64,
}

impl Wrapper for BadSector {
    fn below(&self) -> &dyn Storage {
        &self.storage
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        const EIO: i32 = 5;
        if (offset..offset + bytes.len() as u64).contains(&self.place) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.storage.read_at(bytes, offset)
    }
}

/// A bad sector that nobody needed kept the rewriting from its end, and with it every
/// durable save; or the pass after a reboot, and with it every change.
#[test]
fn a_bad_sector_stops_nobody_else() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 1000, &[7; 1000]);
    let blocks = container.info().unwrap().length >> 16;
    container.save("x", b"x").unwrap();
    disk.fail_syncs(1);
    container.sync().unwrap_err();
    drop(container);
    let save = |place, number| {
        let storage = BadSector { storage: disk.open(disk.spawn()), place };
        let durable = options(Durability::Durable);
        let other = ByteContainer::open_on(Box::new(Wrapped(storage)), durable).unwrap();
        other.save(format!("new {number}"), &[1; 100])
    };
    for number in 0..20 {
        save(9 << 16, number).unwrap();
    }
    // Heads of blocks and what is in them, the last one too, and entries of the index.
    for place in (3..blocks).flat_map(|block| [block << 16, (block << 16) + 4096]) {
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
        let refused = (0..40).filter(|number| save(place, 100 + number).is_err()).count();
        // Some are on it themselves.
        assert!(refused < 20, "{refused} of 40 saves failed, bad at {place}");
    }
}

/// What a failed sync left in doubt cannot all be read any more. A recovery that began then
/// failed at it for ever, and with it every save.
#[test]
fn a_bad_sector_keeps_no_recovery_from_its_end() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 200, &[7; 1000]);
    for session in 0..200u32 {
        container.save(session.to_le_bytes(), &[8; 1000]).unwrap();
    }
    disk.fail_syncs(1);
    container.sync().unwrap_err();
    let blocks = container.info().unwrap().length >> 16;
    drop(container);
    let visit = |place, mount, durability| {
        let process = disk.spawn();
        disk.set_mount(process, mount);
        let storage = Box::new(Wrapped(BadSector { storage: disk.open(process), place }));
        ByteContainer::open_on(storage, options(durability)).unwrap()
    };
    // Some are on it themselves.
    let live = |place, mount, durability| {
        let refused = (0..40).filter(|number| {
            visit(place, mount, durability).save(format!("new {number}"), &[1; 100]).is_err()
        });
        let refused = refused.count();
        assert!(refused < 20, "{refused} of 40 saves failed, bad at {place}");
    };
    for place in (1..blocks).flat_map(|block| [0, 5, 15].map(|page| (block << 16) + 4096 * page)) {
        let here = disk.snapshot();
        live(place, None, Durability::Never);
        disk.restore(&here);
        live(place, Some(2), Durability::Never);
        live(place, Some(1), Durability::Never);
        for _ in 0..2 {
            disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
            live(place, None, Durability::Durable);
        }
        disk.restore(&here);
    }
}

/// No page is bad.
const NOWHERE: u64 = u64::MAX;

/// A handle of a process that sees the bad page.
fn visit(disk: &SimulatedDisk, place: u64, durability: Durability) -> ByteContainer {
    let storage = BadSector { storage: disk.open(disk.spawn()), place };
    ByteContainer::open_on(Box::new(Wrapped(storage)), options(durability)).unwrap()
}

/// Where the newest record of a session lies: its value is 1000 times this byte.
fn place_of(disk: &SimulatedDisk, byte: u8) -> u64 {
    disk.bytes().windows(600).position(|window| window == [byte; 600]).unwrap() as u64
}

fn reboot(disk: &SimulatedDisk) {
    disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
}

/// After a reboot the record of one session had to be read whenever its segment was
/// trimmed, and most newcomers of that segment were refused.
#[test]
fn one_bad_record_refuses_no_newcomers() {
    for durability in [Durability::Never, Durability::Durable] {
        let disk = SimulatedDisk::new(1);
        let container = with_sessions(&disk, 500, &[7; 100]);
        container.save(3u32.to_le_bytes(), &[9; 1000]).unwrap();
        container.sync().unwrap();
        drop(container);
        let place = place_of(&disk, 9);
        reboot(&disk);
        for number in 0..3000u32 {
            let id = format!("new {number}");
            visit(&disk, place, durability).save(&id, b"1").unwrap();
            visit(&disk, place, durability).remove(&id).unwrap();
        }
    }
}

/// A page of the index that cannot be read keeps the index from growing, since what is in
/// it cannot be moved. But a session was refused after it had been saved.
#[test]
fn a_bad_page_of_the_index_refuses_nobody_who_was_saved() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 3600, &[7; 100]);
    let segments = container.info().unwrap().segments;
    drop(container);
    let place = (1 << 16) + 5 * 4096;
    let len = disk.len();
    let mut refused = 0;
    for number in 0..2000u32 {
        let id = format!("new {number}");
        if visit(&disk, place, Durability::Never).save(&id, b"1").is_err() {
            refused += 1;
            assert!(visit(&disk, u64::MAX, Durability::Never).load(&id).unwrap().is_none());
        }
        if number % 100 == 0 {
            visit(&disk, place, Durability::Never).sync().unwrap();
        }
    }
    let info = visit(&disk, u64::MAX, Durability::Never).info().unwrap();
    assert_eq!(info.segments, segments);
    // Those whose probe comes to the page.
    assert!(refused < 150, "{refused} of 2000");
    assert!(disk.len() < len + (20 << 16), "{len} bytes have become {}", disk.len());
}

/// The heap of bounds goes through the first page of each segment: where one could not be
/// read, nobody could save any more once something had expired.
#[test]
fn a_bad_page_stops_nobody_from_saving_while_something_is_due() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 3600, &[7; 100]);
    assert!(container.info().unwrap().segments > 4);
    for session in 0..50u32 {
        container.set_deadline(session.to_le_bytes(), Some(1_000 + u64::from(session))).unwrap();
    }
    drop(container);
    // Of segment 0, whose head is the root of the heap.
    let place = (1 << 16) + 3 * 64;
    let mut refused = 0;
    for session in 100..300u32 {
        let id = session.to_le_bytes();
        let visitor = visit(&disk, place, Durability::Never);
        refused += u32::from(visitor.set_deadline(id, Some(4_000_000_000_000)).is_err());
        refused += u32::from(visitor.save(id, b"1").is_err());
    }
    // Those that are in the page.
    assert!(refused < 40, "{refused} of 400 changes failed");
    let container = visit(&disk, u64::MAX, Durability::Never);
    disk.advance(std::time::Duration::from_secs(2 * 3600));
    container.sweep(u64::MAX).unwrap();
    assert_eq!(container.check().unwrap().expired, 0);
}

/// After a reboot a session whose record cannot be read could neither be saved nor removed,
/// and the pass came to no end because of it: the file grew with each reboot.
#[test]
fn a_bad_record_can_be_replaced_and_holds_up_nothing() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 500, &[7; 1000]);
    let id = 3u32.to_le_bytes();
    container.save(id, &[9; 1000]).unwrap();
    container.sync().unwrap();
    drop(container);
    let place = place_of(&disk, 9);
    for reboots in 0..3 {
        let here = disk.snapshot();
        visit(&disk, place, Durability::Durable).load(id).unwrap_err();
        assert!(visit(&disk, place, Durability::Durable).remove(id).unwrap());
        assert_eq!(visit(&disk, place, Durability::Durable).load(id).unwrap(), None);
        disk.restore(&here);
        visit(&disk, place, Durability::Durable).save(id, b"new").unwrap();
        let session = visit(&disk, place, Durability::Durable).load(id).unwrap();
        assert_eq!(session.unwrap().value, b"new", "after {reboots} reboots");
        disk.restore(&here);
        visit(&disk, place, Durability::Durable).update(id, |_| unreachable!()).unwrap_err();
        reboot(&disk);
    }
    let grown = |place| {
        let here = disk.snapshot();
        for reboots in 0..20u8 {
            for number in (0..1500u32).filter(|number| number % 500 != 3) {
                let session = (number % 500).to_le_bytes();
                visit(&disk, place, Durability::Never).save(session, &[reboots; 1000]).unwrap();
                if number % 100 == 0 {
                    visit(&disk, place, Durability::Never).sync().unwrap();
                }
            }
            reboot(&disk);
        }
        // What could not be read is there, once it can be again.
        let session = visit(&disk, u64::MAX, Durability::Never).load(id).unwrap();
        assert_eq!(session.unwrap().value, [9; 1000]);
        let len = disk.len();
        disk.restore(&here);
        len
    };
    let (len, len_bad) = (grown(u64::MAX), grown(place));
    assert!(len_bad < len + (6 << 16), "{len} bytes, with a bad record {len_bad}");
}

/// The version that a failed sync left in doubt cannot be read any more. Nobody could save
/// durably until the next reboot, even after that session had been saved again or removed.
#[test]
fn a_bad_version_that_was_saved_over_is_waited_for_by_nobody() {
    for removed in [false, true] {
        let disk = SimulatedDisk::new(1);
        let container = with_sessions(&disk, 500, &[7; 1000]);
        let id = 3u32.to_le_bytes();
        container.save(id, &[9; 1000]).unwrap();
        disk.fail_syncs(1);
        container.sync().unwrap_err();
        drop(container);
        let place = place_of(&disk, 9);
        let durably = |id: [u8; 4]| visit(&disk, place, Durability::Durable).save(id, b"new");
        durably(4u32.to_le_bytes()).unwrap_err();
        if removed {
            assert!(visit(&disk, place, Durability::Never).remove(id).unwrap());
        } else {
            visit(&disk, place, Durability::Never).save(id, &[1; 100]).unwrap();
        }
        durably(5u32.to_le_bytes()).unwrap();
        reboot(&disk);
        let after = visit(&disk, place, Durability::Never).load(id).unwrap();
        let expected = (!removed).then_some(vec![1; 100]);
        assert_eq!(after.map(|session| session.value), expected);
    }
}

/// The pass after a cut could not read what the cut had taken, for a moment, and was done all
/// the same; the next recovery then took it for damage, and the durable version was lost.
#[test]
fn what_a_cut_took_is_not_taken_for_damage_since_nobody_could_read_it() {
    for moment in [1, 3] {
        let disk = SimulatedDisk::new(1);
        let container = with_sessions(&disk, 20, &[7; 1000]);
        container.save("session", &[8; 1000]).unwrap();
        container.sync().unwrap();
        container.save("session", &[9; 1000]).unwrap();
        drop(container);
        let place = place_of(&disk, 9);
        let lines = place / 64 - 2..place / 64 + 20;
        disk.power_cut_with(&mut |line, images| if lines.contains(&line) { 0 } else { images - 1 });
        for number in 0..moment {
            let bad = visit(&disk, place, Durability::Durable);
            bad.save(format!("another {number}"), &[1; 100]).unwrap();
        }
        let other = visit(&disk, NOWHERE, Durability::Never);
        while other.info().unwrap().rebuilding {
            other.save("somebody", b"1").unwrap();
        }
        other.sync().unwrap();
        drop(other);
        for _ in 0..2 {
            reboot(&disk);
            let container = visit(&disk, NOWHERE, Durability::Never);
            assert_eq!(container.load("session").unwrap().unwrap().value, [8; 1000]);
            container.save("somebody", b"2").unwrap();
            container.sync().unwrap();
        }
    }
}
