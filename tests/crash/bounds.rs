//! Invariant 22: the file stays small, whoever is killed and whatever fails.
//!
//! Each story does the same for so long that what grows with each request is seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, Durability, Options};

use crate::stage::{create, open};

/// A container of so many sessions of 1000 bytes, synced.
fn with_sessions(disk: &SimulatedDisk, sessions: u32) {
    let container = create(disk);
    for session in 0..sessions {
        container.save(session.to_le_bytes(), &[7; 1000]).unwrap();
    }
    container.sync().unwrap();
}

/// Syncers died and left in doubt what was on the disk; whoever began to write it again
/// died, too, and the next one began at the beginning. Meanwhile nothing was freed, and
/// the file grew without end. Nor did a pass come to its end that had to be done at once.
#[test]
fn endless_kills_leave_the_file_small() {
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    for session in 0..3000u32 {
        container.save(session.to_le_bytes(), &[7; 500]).unwrap();
    }
    container.sync().unwrap();
    let len_before = container.info().unwrap().length;
    let saves = kill_endlessly(&disk, 40_000, 140);
    assert!(saves > 1000, "{saves} saves by 40000 processes");
    let len = open(&disk, Durability::Never).info().unwrap().length;
    assert!(len < 3 * len_before, "{len_before} bytes have become {len}");
}

/// The same where values are in doubt that take longer to write again than all others,
/// or to look through after a cut. Here a call is what a call does to one page.
#[test]
fn endless_kills_leave_the_file_small_with_large_values_in_it() {
    for cut_first in [false, true] {
        let disk = SimulatedDisk::new(1);
        let container = create(&disk);
        for session in 0..1000u32 {
            container.save(session.to_le_bytes(), &[7; 500]).unwrap();
        }
        for session in 0..12 {
            container.save([session], &vec![7; 300_000]).unwrap();
        }
        container.sync().unwrap();
        let len_before = container.info().unwrap().length;
        for session in 0..12 {
            container.save([session], &vec![8; 300_000]).unwrap();
        }
        if cut_first {
            container.sync().unwrap();
            drop(container);
            disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(1));
        } else {
            disk.fail_syncs(1);
            container.sync().unwrap_err();
        }
        let saves = kill_endlessly(&disk, 12_000, 600);
        assert!(saves > 4000, "{saves} saves by 12000 processes");
        let info = open(&disk, Durability::Never).info().unwrap();
        assert!(info.length < 3 * len_before, "{len_before} bytes have become {}", info.length);
    }
}

/// So many processes save short sessions until they are killed, within so many calls.
/// Says how often they saved.
fn kill_endlessly(disk: &SimulatedDisk, processes: u32, calls: usize) -> u32 {
    let (mut random, mut saves) = (SimulatedRng::new(140), 0);
    for _ in 0..processes {
        let process = disk.spawn();
        disk.kill_at(process, 1 + random.below(calls) as u64);
        let options = Options::new().durability(Durability::Interval(Duration::ZERO));
        if let Ok(container) = ByteContainer::open_on(Box::new(disk.open(process)), options) {
            let mut save =
                || container.save((random.below(1000) as u32).to_le_bytes(), &[8; 500]).is_ok();
            while save() {
                saves += 1;
            }
        }
    }
    saves
}

/// Each process saw the file through a mount of its own, and nobody synced: every first
/// save recovered, and found room in a new block only, until each session had one.
#[test]
fn a_new_view_for_each_request_leaves_the_file_small() {
    let disk = SimulatedDisk::new(1);
    drop(create(&disk));
    for number in 0..3000u64 {
        let process = disk.spawn();
        disk.set_mount(process, Some(number));
        let options = Options::new().durability(Durability::Never);
        let container = ByteContainer::open_on(Box::new(disk.open(process)), options).unwrap();
        container.save((number * 7919 % 500).to_le_bytes(), &[7; 1000]).unwrap();
    }
    let len = open(&disk, Durability::Never).info().unwrap().length;
    assert!(len < 8 << 20, "{len} bytes for 500 sessions of 1000");
}

/// After one sync had failed nothing was released until another succeeded, and nobody
/// asked for one.
#[test]
fn one_failed_sync_is_made_good_by_who_never_syncs() {
    for one_handle in [true, false] {
        let disk = SimulatedDisk::new(1);
        with_sessions(&disk, 100);
        let first = open(&disk, Durability::Never);
        first.save("x", b"x").unwrap();
        disk.fail_syncs(1);
        first.sync().unwrap_err();
        for number in 0..20_000u32 {
            let visitor = (!one_handle).then(|| open(&disk, Durability::Never));
            let container = visitor.as_ref().unwrap_or(&first);
            container.save((number % 100).to_le_bytes(), &[8; 1000]).unwrap();
        }
        assert!(disk.len() < 6 << 20, "{} bytes for 100 sessions of 1000", disk.len());
        assert!(!first.info().unwrap().suspect_sync, "nobody synced");
    }
}

/// Everybody dies in the sync: no version ever becomes durable, and no old one is
/// released. Then nobody's save is done either, before the file has grown much.
#[test]
fn syncers_that_all_die_leave_the_file_small() {
    for at in [Operation::SyncBegin, Operation::SyncEnd] {
        let disk = SimulatedDisk::new(1);
        with_sessions(&disk, 100);
        for number in 0..20_000u32 {
            let process = disk.spawn();
            let died = AtomicBool::new(false);
            disk.set_hook(Some(Arc::new(move |call: &Call| {
                let dies = call.process == process && call.operation == at;
                let dead = dies || died.load(Ordering::Relaxed) && call.process == process;
                died.fetch_or(dies, Ordering::Relaxed);
                if dead { Verdict::Kill } else { Verdict::Proceed }
            })));
            let options = Options::new().durability(Durability::Durable);
            let storage = Box::new(disk.open(process));
            if let Ok(container) = ByteContainer::open_on(storage, options) {
                container.save((number % 100).to_le_bytes(), &[8; 1000]).unwrap_err();
            }
            disk.set_hook(None);
        }
        assert!(disk.len() < 6 << 20, "{} bytes for 100 sessions of 1000", disk.len());
        let container = open(&disk, Durability::Durable);
        container.save("x", b"x").unwrap();
        assert!(container.check().unwrap().is_sound());
    }
}

/// Whoever died when a block was just added left it behind, and the next one added
/// another: 64 KiB a kill.
#[test]
fn deaths_at_the_same_call_leave_the_file_small() {
    for durability in [Durability::Durable, Durability::Interval(Duration::ZERO)] {
        for call in 1..60 {
            let disk = SimulatedDisk::new(1);
            with_sessions(&disk, 100);
            for number in 0..1500u32 {
                let process = disk.spawn();
                disk.kill_at(process, call);
                let options = Options::new().durability(durability);
                let storage = Box::new(disk.open(process));
                if let Ok(container) = ByteContainer::open_on(storage, options) {
                    let _ = container.save((number % 100).to_le_bytes(), &[8; 1000]);
                }
                disk.clear_script();
                disk.kill(process);
            }
            let len = disk.len();
            assert!(len < 6 << 20, "{len} bytes for 100 sessions of 1000, killed at {call}");
        }
    }
}

/// Visitors come and log out, and nobody syncs: the lines of the index that they had are
/// of use to the next ones only when that is durable, and the index grew instead.
#[test]
fn logouts_that_nobody_syncs_leave_the_index_small() {
    for staying in [0, 1000] {
        let disk = SimulatedDisk::new(1);
        with_sessions(&disk, staying);
        let container = open(&disk, Durability::Never);
        let mut lens = Vec::new();
        for visitor in 0..60_000u32 {
            let id = format!("visitor {visitor}");
            container.save(&id, b"logged in").unwrap();
            assert!(container.remove(&id).unwrap());
            if visitor % 20_000 == 19_999 {
                lens.push(disk.len());
            }
        }
        let [first, _, last] = lens[..] else { unreachable!() };
        assert!(last < first + (8 << 16), "{staying} stay: {lens:?}");
        assert!(container.check().unwrap().is_sound());
    }
}
