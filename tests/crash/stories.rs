//! Single stories, each of a loss or a growth that was once possible, told step
//! by step: what happened, and what must hold now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloakroom::storage::MemoryStorage;
use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, Durability, ErrorKind, IdForm, Options, Session};

use crate::stage::{create, open};

fn cut(disk: &SimulatedDisk) {
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(1));
}

/// A durable removal failed to sync and was tried again: the second call found
/// the session gone already, and said so although that was not on the disk.
#[test]
fn a_durable_removal_that_finds_the_work_done_waits_for_the_disk_all_the_same() {
    let disk = SimulatedDisk::new(1);
    drop(create(&disk));
    let container = open(&disk, Durability::Durable);
    container.save("x", b"x").unwrap();
    disk.fail_syncs(1);
    container.remove("x").unwrap_err();
    assert!(!container.remove("x").unwrap());
    cut(&disk);
    assert!(open(&disk, Durability::Never).load("x").unwrap().is_none());

    let disk = SimulatedDisk::new(1);
    drop(create(&disk));
    let durable = open(&disk, Durability::Durable);
    durable.save("x", b"x").unwrap();
    open(&disk, Durability::Never).remove("x").unwrap();
    assert!(!durable.remove("x").unwrap());
    cut(&disk);
    assert!(open(&disk, Durability::Never).load("x").unwrap().is_none());
}

/// Logins and logouts within one epoch left lines of removed sessions behind,
/// and the index doubled without end though nobody was logged in.
#[test]
fn visitors_who_come_and_go_leave_no_growing_index_behind() {
    let storage = Box::new(MemoryStorage::new());
    let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
    let container = ByteContainer::create_on(storage, options).unwrap();
    for number in 0..40_000u64 {
        let id = number.to_le_bytes();
        container.save(id, b"login").unwrap();
        container.remove(id).unwrap();
        if number % 100 == 99 {
            container.sync().unwrap();
        }
    }
    let info = container.info().unwrap();
    assert!(info.segments <= 4, "{info:?}");
    assert_eq!(info.sessions, 0);
}

/// Where each process sees the file through a mount of its own, or cannot tell
/// boots apart, each recovers, and no pass ever came to its end.
#[test]
fn processes_that_each_recover_do_not_make_the_file_grow() {
    for mount in [None, Some(100)] {
        let disk = SimulatedDisk::new(1);
        drop(create(&disk));
        for number in 0..300u64 {
            let process = disk.spawn();
            disk.set_mount(process, mount.map(|mount| mount + number));
            let storage = Box::new(disk.open(process));
            let container = ByteContainer::open_on(storage, Options::new()).unwrap();
            container.save("x", &number.to_le_bytes()).unwrap();
            drop(container);
            disk.kill(process);
        }
        assert!(disk.len() < 60 * 65536, "{} bytes for one session", disk.len());
    }
}

/// A cut left the root line of a split without the table entry of the segment
/// being filled, and a sync of before was in doubt: a writer without a boot id
/// stumbled over the missing segment for ever.
#[test]
fn a_cut_in_a_split_is_no_obstacle_where_boots_cannot_be_told_apart() {
    let splits_at = {
        let disk = SimulatedDisk::new(1);
        let container = create(&disk);
        let saved = (0u64..).find(|number| {
            container.save(number.to_le_bytes(), b"v").unwrap();
            container.info().unwrap().splitting
        });
        saved.unwrap()
    };
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    for number in 0..splits_at {
        container.save(number.to_le_bytes(), b"v").unwrap();
    }
    container.sync().unwrap();
    container.save(splits_at.to_le_bytes(), b"v").unwrap();
    assert!(container.info().unwrap().splitting);
    let process = disk.spawn();
    let storage = Box::new(disk.open(process));
    let dying = ByteContainer::open_on(storage, Options::new()).unwrap();
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        let ends = call.process == process && call.operation == Operation::SyncEnd;
        if ends { Verdict::Kill } else { Verdict::Proceed }
    })));
    dying.sync().unwrap_err();
    drop((dying, container));
    disk.set_hook(None);
    let table_line = (4096 + 1024) / 64;
    disk.power_cut_with(&mut |line, images| if line == table_line { 0 } else { images - 1 });
    let process = disk.spawn();
    disk.set_mount(process, None);
    let storage = Box::new(disk.open(process));
    let container = ByteContainer::open_on(storage, Options::new()).unwrap();
    container.save("k", b"v").unwrap();
    assert_eq!(container.load("k").unwrap().unwrap().value, b"v");
}

/// One rotten entry of the segment table kept every session from being saved.
#[test]
fn a_rotten_table_entry_harms_only_the_sessions_behind_it() {
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    for number in 0..1500u64 {
        container.save(number.to_le_bytes(), b"v").unwrap();
    }
    for _ in 0..3 {
        container.sync().unwrap();
    }
    assert!(container.info().unwrap().segments > 2);
    drop(container);
    let mut bytes = disk.bytes();
    bytes[4096 + 1024 + 8] ^= 0xff;
    let disk = SimulatedDisk::with_bytes(2, &bytes);
    disk.set_inode(9);
    let container = open(&disk, Durability::Never);
    let ids = || (0..1500u64).map(u64::to_le_bytes);
    let saved = ids().filter(|id| container.save(id, b"w").is_ok()).count();
    let readable = ids().filter(|id| matches!(container.load(id), Ok(Some(_)))).count();
    assert!(saved > 700 && readable == saved, "{saved} saved, {readable} readable");
    container.sync().unwrap();
}

/// Processes that are killed leak the extents that they had taken; the handle
/// that noticed died before it could have them found again.
#[test]
fn what_killed_processes_leaked_is_found_again() {
    for durability in [Durability::Never, Durability::Interval(Duration::from_secs(1))] {
        let disk = SimulatedDisk::new(1);
        drop(create(&disk));
        for number in 0..24_000u64 {
            let process = disk.spawn();
            let options = Options::new().durability(durability);
            let storage = Box::new(disk.open(process));
            let container = ByteContainer::open_on(storage, options).unwrap();
            if number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0 {
                // Killed when the bit is set and the record about to be written.
                disk.set_hook(Some(Arc::new(move |call: &Call| match call.operation {
                    Operation::Write { len: 100..2000, .. } if call.process == process => {
                        Verdict::Kill
                    }
                    _ => Verdict::Proceed,
                })));
            }
            let _ = container.save((number % 50).to_le_bytes(), &[1; 1000]);
            disk.set_hook(None);
            drop(container);
            disk.kill(process);
            disk.advance(Duration::from_millis(20));
            if number % 1000 == 0 {
                disk.write_back();
            }
        }
        assert!(disk.len() < 200 * 65536, "{durability:?}: {} bytes for 50 KB", disk.len());
    }
}

/// A cut between the first writes and the headers left a file that neither `open`
/// nor `create` took; somebody had to remove it by hand.
#[test]
fn a_creation_that_ended_anywhere_can_be_begun_anew() {
    let mut rng = SimulatedRng::new(7);
    let (mut unfinished, mut finished) = (0, 0);
    for call in 0.. {
        let disk = SimulatedDisk::new(call);
        let process = disk.spawn();
        disk.kill_at(process, call);
        let storage = Box::new(disk.open(process));
        let survived = ByteContainer::create_on(storage, Options::new()).is_ok();
        let before = disk.snapshot();
        for round in 0..20 {
            disk.restore(&before);
            if round > 0 {
                let policy = CutPolicy::draw(&mut rng);
                disk.power_cut(policy, &mut rng);
            }
            let reopened =
                ByteContainer::open_on(Box::new(disk.open(disk.spawn())), Options::new());
            let container = match reopened {
                Ok(container) => {
                    finished += 1;
                    container
                }
                Err(_) => {
                    unfinished += 1;
                    create(&disk)
                }
            };
            container.save("x", b"x").unwrap();
            assert_eq!(container.load("x").unwrap().unwrap().value, b"x");
            let report = container.check().unwrap();
            assert!(report.is_sound(), "call {call}, round {round}: {:?}", report.damage);
            let again = Box::new(disk.open(disk.spawn()));
            ByteContainer::create_on(again, Options::new()).unwrap_err();
        }
        if survived {
            break;
        }
    }
    assert!(unfinished > 100 && finished > 50, "{unfinished} {finished}");
}

/// After a cut had taken the newest version, a load fell back to the next older
/// one, which was superseded and overwritten in that moment; the load took the
/// one before that, which no load had returned for long.
#[test]
fn a_load_that_falls_back_never_goes_back_in_time() {
    let long = |byte: u8| vec![byte; 700];
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    container.save("x", b"4").unwrap();
    container.sync().unwrap();
    container.save("x", &long(5)).unwrap();
    let syncer = open_killed_in_sync(&disk);
    syncer.sync().unwrap_err();
    disk.set_hook(None);
    let before: Vec<_> = disk.dirty_lines();
    container.save("x", &long(6)).unwrap();
    // Of the last save only the entry is on the disk.
    let entry = before.iter().map(|(line, _)| *line).find(|line| *line >= 1024).unwrap();
    drop((container, syncer));
    disk.power_cut_with(&mut |line, images| {
        let old = before.iter().find(|(other, _)| *other == line);
        if line == entry { images - 1 } else { old.map_or(0, |(_, images)| images - 1) }
    });
    let mut fell_back = false;
    for (call, loaded) in loads_with(&disk, supersede).into_iter().enumerate() {
        let value = loaded.unwrap().unwrap().value;
        fell_back |= value == long(5);
        assert!(value.len() == 700, "{value:?} at call {call}");
    }
    assert!(fell_back);
}

/// Loads of "x" by a process that has just opened the file, with something done by
/// others before its first call, its second, and so on; each from the same state.
fn loads_with(
    disk: &SimulatedDisk,
    done: fn(&SimulatedDisk),
) -> Vec<cloakroom::Result<Option<Session<Vec<u8>>>>> {
    let dead = disk.snapshot();
    let load = |call| {
        disk.restore(&dead);
        let process = disk.spawn();
        let storage = Box::new(disk.open(process));
        let reading = Options::new().map(cloakroom::MapPolicy::Never);
        let reader = ByteContainer::open_read_only_on(storage, reading).unwrap();
        let (others, calls) = (disk.clone(), AtomicU32::new(0));
        disk.set_hook(Some(Arc::new(move |made: &Call| {
            if made.process == process && calls.fetch_add(1, Ordering::Relaxed) == call {
                done(&others);
            }
            Verdict::Proceed
        })));
        let loaded = reader.load("x");
        disk.set_hook(None);
        loaded
    };
    (0..24).map(load).collect()
}

/// A load looked at an entry whose only version a cut had taken; before it
/// compared epochs a pass had dropped that version and a second recovery settled
/// its epoch, and the load called it damage.
#[test]
fn a_load_of_what_a_cut_took_raises_no_false_alarm() {
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    container.save("other", b"1").unwrap();
    container.sync().unwrap();
    let before: Vec<_> = disk.dirty_lines().iter().map(|(line, _)| *line).collect();
    container.save("x", &[6; 700]).unwrap();
    let index = 65536 / 64..2 * 65536 / 64;
    drop(container);
    disk.power_cut_with(&mut |line, images| {
        if before.contains(&line) || index.contains(&line) { images - 1 } else { 0 }
    });
    for (call, loaded) in loads_with(&disk, settle).into_iter().enumerate() {
        assert!(matches!(loaded, Ok(None)), "{loaded:?} at call {call}");
    }
}

/// A recovery ran beside the sync of a process with another view of the same boot, and
/// called durable what that sync lost.
#[test]
fn a_recovery_waits_until_nobody_syncs() {
    let disk = SimulatedDisk::new(1);
    drop(create(&disk));
    let syncer = disk.spawn();
    disk.set_mount(syncer, Some(1));
    let options = Options::new().durability(Durability::Never);
    let container = ByteContainer::open_on(Box::new(disk.open(syncer)), options.clone()).unwrap();
    container.save("x", b"x").unwrap();

    let newcomer = disk.spawn();
    disk.set_mount(newcomer, Some(2));
    let hasty = options.lock_deadline(Duration::from_millis(2));
    let other = Arc::new(ByteContainer::open_on(Box::new(disk.open(newcomer)), hasty).unwrap());
    let (meanwhile, tries) = (Arc::clone(&other), Arc::new(AtomicU32::new(0)));
    let tried = Arc::clone(&tries);
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.process == syncer && call.operation == Operation::SyncEnd {
            let refused = meanwhile.save("y", b"y").unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::Busy { .. }), "{refused}");
            tried.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Proceed
    })));
    container.sync().unwrap();
    disk.set_hook(None);
    assert_eq!(tries.load(Ordering::Relaxed), 1);

    let before = container.info().unwrap().write_epoch;
    other.save("y", b"y").unwrap();
    let after = container.info().unwrap().write_epoch;
    assert!(after >= before + 16, "it did not recover: epoch {before}, then {after}");
}

/// Somebody recovers and finds free space again; then somebody who sees the file
/// otherwise recovers once more.
fn settle(disk: &SimulatedDisk) {
    let container = open(disk, Durability::Durable);
    find_free_space(&container);
    container.sync().unwrap();
    let process = disk.spawn();
    disk.set_mount(process, Some(9));
    let storage = Box::new(disk.open(process));
    ByteContainer::open_on(storage, Options::new()).unwrap().save("other", b"2").unwrap();
}

/// A process that is killed when its sync is done, before it can say so.
fn open_killed_in_sync(disk: &SimulatedDisk) -> ByteContainer {
    let process = disk.spawn();
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        let ends = call.process == process && call.operation == Operation::SyncEnd;
        if ends { Verdict::Kill } else { Verdict::Proceed }
    })));
    ByteContainer::open_on(Box::new(disk.open(process)), Options::new()).unwrap()
}

/// Recovers where there is need, and lets the pass come to its end.
fn find_free_space(container: &ByteContainer) {
    container.set_deadline("nobody", None).unwrap();
    while container.info().unwrap().rebuilding {
        container.set_deadline("nobody", None).unwrap();
    }
}

/// Somebody recovers, finds free space again, and saves until the extent of what
/// was there before is used again.
fn supersede(disk: &SimulatedDisk) {
    let container = open(disk, Durability::Durable);
    find_free_space(&container);
    for byte in 7..12 {
        container.save("x", &[byte; 700]).unwrap();
    }
}

/// A process kept extents for its next saves, and ended when another one had recovered
/// under another view and given them to others: it must not give them back.
#[test]
fn what_a_process_kept_before_a_recovery_it_does_not_give_back_after_it() {
    let disk = SimulatedDisk::new(1);
    drop(create(&disk));
    let enter = |mount| {
        let process = disk.spawn();
        disk.set_mount(process, Some(mount));
        let options = Options::new().durability(Durability::Never);
        ByteContainer::open_on(Box::new(disk.open(process)), options).unwrap()
    };
    let first = enter(1);
    // Of each session two versions are nobody's, and kept.
    for session in (0..40u32).flat_map(|session| [session; 4]) {
        first.save(session.to_le_bytes(), &[1; 1000]).unwrap();
    }
    let second = enter(2);
    for _ in 0..1000 {
        second.set_deadline("nobody", None).unwrap();
    }
    assert!(!second.info().unwrap().rebuilding);
    let save = |sessions: std::ops::Range<u32>| {
        for session in sessions {
            second.save(session.to_le_bytes(), &session.to_le_bytes().repeat(250)).unwrap();
        }
    };
    save(1000..1200);
    drop(first);
    save(2000..2200);
    for session in (1000..1200).chain(2000..2200u32) {
        let found = second.load(session.to_le_bytes()).unwrap().expect("a session is lost");
        assert_eq!(found.value, session.to_le_bytes().repeat(250));
    }
}
