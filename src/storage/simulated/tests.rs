//! The simulated disk against the rules it is to keep, each by a sentence; and its
//! cuts against a plain model. It must never depend on how histories are stored.
//! (Where chance is involved, the seed is fixed.)

#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{
    Call, CutPolicy, Failing, LENGTH, Operation, ProcessId, SimulatedDisk, SimulatedRng,
    SimulatedStorage, Verdict,
};
use crate::storage::{Fill, LockName, Pause, Storage};

/// A disk with a file of zeros, and a process that may write to it.
fn disk_with(pages: usize) -> (SimulatedDisk, ProcessId, SimulatedStorage) {
    let disk = SimulatedDisk::with_bytes(1, &vec![0; pages * 4096]);
    let process = disk.spawn();
    let storage = disk.open(process);
    assert!(storage.try_lock(LockName::Writer).unwrap());
    (disk, process, storage)
}

/// The first byte of a line.
fn first(disk: &SimulatedDisk, line: usize) -> u8 {
    disk.bytes()[line * 64]
}

fn put(storage: &SimulatedStorage, line: u64, byte: u8) {
    storage.write_at(&[byte; 64], line * 64).unwrap();
}

#[test]
fn a_cut_may_lose_or_keep_what_was_not_synced() {
    let (disk, _, storage) = disk_with(1);
    put(&storage, 3, 1);
    put(&storage, 3, 2);
    assert_eq!(disk.dirty_lines(), [(3, 3)]);
    let before = disk.snapshot();
    for (choice, left) in [(0, 0), (1, 1), (2, 2), (99, 2)] {
        disk.restore(&before);
        disk.power_cut_with(&mut |line, images| {
            assert_eq!((line, images), (3, 3));
            choice
        });
        assert_eq!(first(&disk, 3), left);
        assert!(disk.dirty_lines().is_empty());
    }
}

#[test]
fn a_cut_keeps_what_was_synced() {
    let (disk, _, storage) = disk_with(1);
    put(&storage, 0, 1);
    put(&storage, 1, 1);
    storage.sync().unwrap();
    put(&storage, 1, 2);
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!((first(&disk, 0), first(&disk, 1)), (1, 1));
    assert_eq!(disk.syncs(), 1);
    assert_eq!(disk.syncs_under_lock(), 1);
}

#[test]
fn what_is_written_during_a_sync_is_not_synced_by_it() {
    let (disk, process, storage) = disk_with(1);
    put(&storage, 0, 1);
    let other = disk.open(process);
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.operation == Operation::SyncEnd {
            put(&other, 0, 2);
            put(&other, 1, 2);
        }
        Verdict::Proceed
    })));
    storage.sync().unwrap();
    disk.set_hook(None);
    assert_eq!(disk.dirty_lines(), [(0, 2), (1, 2)]);
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!((first(&disk, 0), first(&disk, 1)), (1, 0));
}

#[test]
fn a_sync_whose_process_is_killed_credits_nothing() {
    let (disk, process, storage) = disk_with(1);
    put(&storage, 0, 1);
    disk.kill_at(process, 1);
    assert_eq!(storage.sync().unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(disk.dirty_lines(), [(0, 2)]);
    assert_eq!(disk.syncs(), 0);
}

/// A disk of which a failed sync lost line 3; the seed is looked for.
fn disk_that_lost_line_3() -> (SimulatedDisk, SimulatedStorage) {
    for seed in 0.. {
        let disk = SimulatedDisk::with_bytes(seed, &[0; 8192]);
        let storage = disk.open(disk.spawn());
        assert!(storage.try_lock(LockName::Writer).unwrap());
        put(&storage, 3, 1);
        disk.fail_syncs(1);
        storage.sync().unwrap_err();
        assert!(disk.dirty_lines().is_empty());
        let before = disk.snapshot();
        disk.evict_clean();
        if first(&disk, 3) == 0 {
            disk.restore(&before);
            return (disk, storage);
        }
    }
    unreachable!()
}

#[test]
fn a_failed_sync_loses_silently_though_the_next_one_succeeds() {
    let (disk, storage) = disk_that_lost_line_3();
    assert_eq!(first(&disk, 3), 1, "the cache still shows it");
    storage.sync().unwrap();
    put(&storage, 64, 1);
    storage.sync().unwrap();
    disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(0));
    assert_eq!((first(&disk, 3), first(&disk, 64)), (0, 1));
}

#[test]
fn a_write_makes_its_whole_page_dirty_again() {
    let (disk, storage) = disk_that_lost_line_3();
    put(&storage, 9, 1);
    assert_eq!(disk.dirty_lines(), [(3, 2), (9, 2)]);
    storage.sync().unwrap();
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!((first(&disk, 3), first(&disk, 9)), (1, 1));
}

#[test]
fn a_lost_line_written_as_it_was_is_dirty_again() {
    let (disk, storage) = disk_that_lost_line_3();
    put(&storage, 3, 1);
    assert_eq!(disk.dirty_lines(), [(3, 2)]);
    storage.sync().unwrap();
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!(first(&disk, 3), 1);
}

#[test]
fn a_page_written_while_a_failing_sync_ran_may_stay_dirty_or_be_lost() {
    let (mut stayed, mut lost) = (0, 0);
    for seed in 0..100 {
        let disk = SimulatedDisk::with_bytes(seed, &[0; 8192]);
        disk.allow_unlocked_writes(true);
        let storage = disk.open(disk.spawn());
        let other = disk.open(disk.spawn());
        put(&storage, 0, 1);
        put(&storage, 64, 1);
        disk.fail_syncs(1);
        disk.set_hook(Some(Arc::new(move |call: &Call| {
            if call.operation == Operation::SyncEnd {
                put(&other, 1, 2);
            }
            Verdict::Proceed
        })));
        storage.sync().unwrap_err();
        match disk.dirty_lines()[..] {
            [] => lost += 1,
            [(0, 2), (1, 2)] => stayed += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!(stayed > 20 && lost > 20, "{stayed} {lost}");
}

#[test]
fn a_length_not_synced_may_roll_back() {
    let (disk, _, storage) = disk_with(1);
    storage.extend(4096, 8192, Fill::Zeros).unwrap();
    put(&storage, 64, 1);
    assert_eq!(disk.dirty_lines(), [(64, 2), (LENGTH, 2)]);
    let before = disk.snapshot();
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!(disk.len(), 4096);
    disk.restore(&before);
    disk.power_cut_with(&mut |line, _| usize::from(line == LENGTH));
    assert_eq!((disk.len(), first(&disk, 64)), (8192, 0));
    disk.restore(&before);
    disk.power_cut_with(&mut |line, _| usize::from(line != LENGTH));
    assert_eq!(disk.bytes(), [0; 4096]);
    disk.restore(&before);
    storage.sync().unwrap();
    disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
    assert_eq!((disk.len(), first(&disk, 64)), (8192, 1));
}

#[test]
fn a_length_that_rolled_back_within_a_line_leaves_zeros_behind_it() {
    let disk = SimulatedDisk::with_bytes(1, b"abc");
    disk.allow_unlocked_writes(true);
    let storage = disk.open(disk.spawn());
    storage.extend(3, 64, Fill::Reserve).unwrap();
    put(&storage, 0, b'x');
    disk.power_cut_with(&mut |line, _| usize::from(line != LENGTH));
    assert_eq!(disk.bytes(), b"xxx");
    disk.open(disk.spawn()).extend(3, 8, Fill::Zeros).unwrap();
    assert_eq!(disk.bytes(), b"xxx\0\0\0\0\0");
}

#[test]
fn a_kill_frees_locks_and_so_does_a_drop() {
    let (disk, process, storage) = disk_with(1);
    let next = disk.open(disk.spawn());
    assert!(storage.try_lock(LockName::Sync).unwrap());
    assert!(storage.try_lock(LockName::Sync).unwrap(), "it is ours already");
    assert!(!next.try_lock(LockName::Writer).unwrap());
    next.unlock(LockName::Writer).unwrap();
    assert_eq!(disk.holder(LockName::Writer), Some(process));
    assert_eq!(next.lock_holder(), Some(storage.process_id()));
    let sibling = storage.reopen().unwrap().unwrap();
    assert!(!sibling.try_lock(LockName::Sync).unwrap(), "a lock belongs to one open");
    disk.kill(process);
    assert!(next.try_lock(LockName::Writer).unwrap());
    assert!(next.try_lock(LockName::Sync).unwrap());
    drop(storage);
    assert!(disk.holder(LockName::Writer).is_some(), "the dead give back nothing of others");
    drop(next);
    assert_eq!(disk.holder(LockName::Writer), None);
}

#[test]
fn a_dead_process_has_no_effect() {
    let (disk, process, storage) = disk_with(1);
    let map = storage.map(4096).unwrap().unwrap();
    disk.kill(process);
    let (calls, now) = (disk.calls(), storage.now_ms());
    assert!(storage.write_at(&[1; 64], 0).is_err());
    assert!(storage.extend(4096, 8192, Fill::Zeros).is_err());
    assert!(storage.sync().is_err());
    assert!(storage.try_lock(LockName::Sync).is_err());
    assert!(storage.unlock(LockName::Sync).is_err());
    assert!(storage.status().is_err());
    assert!(storage.reopen().is_err());
    assert!(storage.view().is_err());
    assert!(!map.copy_out(&mut [0; 8], 0));
    storage.pause(Pause::Sleep(Duration::from_secs(9)));
    assert_eq!((disk.calls(), storage.now_ms()), (calls, now));
    assert_eq!(disk.bytes(), [0; 4096]);
    assert!(!disk.is_alive(process));
}

#[test]
fn a_process_killed_within_its_hook_has_no_effect() {
    let (disk, process, storage) = disk_with(1);
    let shared = disk.clone();
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        shared.kill(call.process);
        Verdict::Proceed
    })));
    assert!(storage.write_at(&[1; 64], 0).is_err());
    assert!(disk.dirty_lines().is_empty());
    assert!(!disk.is_alive(process));
}

#[test]
fn a_cut_within_a_hook_ends_the_call() {
    let (disk, _, storage) = disk_with(2);
    put(&storage, 0, 1);
    let shared = disk.clone();
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.operation == Operation::SyncEnd {
            shared.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(0));
        }
        Verdict::Proceed
    })));
    assert!(storage.sync().is_err());
    assert_eq!(disk.bytes(), [0; 8192]);
    assert_eq!(disk.holder(LockName::Writer), None);
}

#[test]
fn a_write_over_several_pages_may_stop_between_them() {
    let (disk, process, storage) = disk_with(3);
    disk.record(true);
    disk.kill_at(process, 1);
    assert!(storage.write_at(&[1; 8192], 2048).is_err());
    let bytes = disk.bytes();
    assert_eq!(bytes.iter().filter(|byte| **byte == 1).count(), 2048);
    assert_eq!((bytes[4095], bytes[4096]), (1, 0));
    let log: Vec<_> = disk.take_log().iter().map(|call| call.operation).collect();
    let first = Operation::Write { offset: 2048, len: 2048 };
    assert_eq!(log, [first, Operation::Write { offset: 4096, len: 4096 }]);
}

#[test]
fn a_snapshot_can_be_returned_to() {
    let (disk, process, storage) = disk_with(1);
    put(&storage, 0, 1);
    let before = disk.snapshot();
    put(&storage, 0, 2);
    put(&storage, 1, 2);
    disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(0));
    let later = disk.spawn();
    assert_ne!(later, process);
    disk.restore(&before);
    assert_eq!((first(&disk, 0), first(&disk, 1)), (1, 0));
    assert_eq!(disk.dirty_lines(), [(0, 2)]);
    assert!(disk.is_alive(process));
    assert!(!disk.is_alive(later));
    put(&storage, 1, 3);
    assert_eq!(first(&disk, 1), 3, "it lives on, and has its lock");
    drop(storage);
    disk.restore(&before);
    assert_eq!(disk.holder(LockName::Writer), None, "its storage is gone");
}

#[test]
fn a_sector_is_left_as_it_was_at_one_moment() {
    let (disk, _, storage) = disk_with(1);
    for byte in 1..=3 {
        put(&storage, 0, byte);
        put(&storage, 1, byte);
        put(&storage, 8, byte);
    }
    let before = disk.snapshot();
    let mut rng = SimulatedRng::new(7);
    let (mut within, mut across, mut torn) = (0, 0, 0);
    for _ in 0..500 {
        disk.restore(&before);
        disk.power_cut(CutPolicy::Sectors, &mut rng);
        let (a, b, c) = (first(&disk, 0), first(&disk, 1), first(&disk, 8));
        assert!(a == b || a == b + 1, "{a} {b}");
        within += u32::from(a != b);
        across += u32::from(c > a);
        disk.restore(&before);
        disk.power_cut(CutPolicy::Pages, &mut rng);
        let (a, b, c) = (first(&disk, 0), first(&disk, 1), first(&disk, 8));
        assert!(a >= b && b >= c && c + 1 >= a, "{a} {b} {c}");
        disk.restore(&before);
        disk.power_cut(CutPolicy::Lines, &mut rng);
        torn += u32::from(first(&disk, 0) < first(&disk, 1));
    }
    assert!(within > 0 && across > 0 && torn > 0);
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed: u64| {
        let disk = SimulatedDisk::with_bytes(seed, &[0; 16384]);
        disk.set_sync_failure(1, 3);
        disk.allow_unlocked_writes(true);
        let mut rng = SimulatedRng::new(seed);
        let mut seen = Vec::new();
        for round in 0..200 {
            let storage = disk.open(disk.spawn());
            for _ in 0..rng.below(20) {
                put(&storage, rng.below(256) as u64, round);
            }
            let synced = storage.sync().is_ok();
            put(&storage, rng.below(256) as u64, round);
            let mut key = [0; 16];
            storage.random(&mut key).unwrap();
            disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
            seen.push((synced, key, digest(&disk.bytes())));
        }
        seen
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

#[test]
fn any_choice_of_a_cut_is_an_image_since_the_last_sync() {
    // Against a plain model: per line a list of all its images, as in the papers.
    let mut rng = SimulatedRng::new(3);
    for seed in 0..300 {
        let disk = SimulatedDisk::with_bytes(seed, &[0; 8192]);
        disk.allow_unlocked_writes(true);
        let mut images = vec![vec![0u8]; 128];
        for _ in 0..3 {
            let storage = disk.open(disk.spawn());
            for _ in 0..rng.below(60) {
                if rng.chance(1, 10) {
                    storage.sync().unwrap();
                    for line in &mut images {
                        *line = line.split_off(line.len() - 1);
                    }
                } else {
                    let (line, byte) = (rng.below(128), rng.below(4) as u8);
                    put(&storage, line as u64, byte);
                    images[line].push(byte);
                }
            }
            disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
            for (line, images) in images.iter_mut().enumerate() {
                let left = first(&disk, line);
                assert!(images.contains(&left), "line {line}: {left} of {images:?}");
                *images = vec![left];
            }
        }
    }
}

#[test]
fn calls_fail_as_the_script_says() {
    let (disk, _, storage) = disk_with(1);
    disk.fail_at(1, ErrorKind::Interrupted, Failing::Once);
    assert!(storage.status().is_ok());
    assert_eq!(storage.status().unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(storage.status().is_ok());
    disk.fail_at(0, ErrorKind::StorageFull, Failing::FromThenOn);
    for _ in 0..3 {
        assert_eq!(storage.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    }
    disk.clear_script();
    storage.write_at(&[1], 0).unwrap();
}

#[test]
fn a_file_does_not_grow_beyond_the_capacity() {
    let (disk, _, storage) = disk_with(1);
    disk.set_capacity(Some(8192));
    storage.extend(4096, 8192, Fill::Reserve).unwrap();
    let error = storage.extend(8192, 8193, Fill::Reserve).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(storage.status().unwrap().len, 8192);
}

#[test]
fn reads_end_where_the_file_ends_and_maps_show_the_cache() {
    let (disk, process, storage) = disk_with(2);
    let map = storage.map(8192).unwrap().unwrap();
    storage.write_at(&[7; 100], 4046).unwrap();
    let mut bytes = [0; 200];
    assert!(map.copy_out(&mut bytes, 4040));
    assert_eq!((bytes[5], bytes[6], bytes[105], bytes[106]), (0, 7, 7, 0));
    assert!(!map.copy_out(&mut bytes, 8000));
    assert_eq!(storage.read_at(&mut bytes, 8092).unwrap(), 100);
    assert_eq!(storage.read_at(&mut bytes, 8192).unwrap(), 0);
    assert_eq!(storage.read_at(&mut bytes, 9000).unwrap(), 0);
    assert_eq!(storage.read_at(&mut [], 8192).unwrap(), 0);
    storage.write_at(&[], 8192).unwrap();
    assert_eq!(storage.read_at(&mut bytes, 4000).unwrap(), 200);
    assert_eq!((bytes[45], bytes[46], bytes[145], bytes[146]), (0, 7, 7, 0));
    disk.set_maps(process, false);
    assert!(storage.map(8192).unwrap().is_none());
}

#[test]
#[should_panic(expected = "but the file ends at 4096")]
fn a_write_beyond_the_end_is_a_bug() {
    let (_disk, _, storage) = disk_with(1);
    let _ = storage.write_at(&[1; 64], 4064);
}

#[test]
#[should_panic(expected = "without the writer lock")]
fn a_write_without_the_lock_is_a_bug() {
    let (disk, _, _storage) = disk_with(1);
    let _ = disk.open(disk.spawn()).write_at(&[1; 64], 0);
}

#[test]
#[should_panic(expected = "makes calls without end")]
fn a_dead_process_may_not_call_for_ever() {
    let (disk, process, storage) = disk_with(1);
    disk.kill(process);
    while storage.try_lock(LockName::Sync).is_err() {}
}

#[test]
fn the_view_tells_boots_and_mounts_apart() {
    let disk = SimulatedDisk::new(1);
    let (a, b) = (disk.spawn(), disk.spawn());
    let (one, two) = (disk.open(a), disk.open(b));
    assert_eq!(one.view().unwrap(), two.view().unwrap());
    disk.set_mount(b, Some(2));
    assert_ne!(one.view().unwrap(), two.view().unwrap());
    disk.set_mount(b, None);
    assert_eq!(two.view().unwrap(), None);
    let before = one.view().unwrap();
    disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(0));
    let after = disk.open(disk.spawn()).view().unwrap();
    assert!(before != after && after.is_some());
}

#[test]
fn a_mark_is_seen_by_others_and_never_outlives_a_cut() {
    let mut seen = 0;
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let storage = disk.open(disk.spawn());
        assert!(!storage.is_marked());
        storage.mark();
        seen += u32::from(disk.open(disk.spawn()).is_marked());
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(seed));
        assert!(!disk.open(disk.spawn()).is_marked());
    }
    // Now and then the inode is evicted.
    assert!((10..50).contains(&seen), "{seen}");
}

#[test]
fn time_passes_only_when_somebody_waits() {
    let (disk, _, storage) = disk_with(1);
    let (now, up) = (storage.now_ms(), storage.uptime());
    storage.pause(Pause::Sleep(Duration::from_millis(5)));
    storage.pause(Pause::Yield);
    assert_eq!(storage.now_ms(), now + 5);
    assert_eq!(storage.uptime(), up + Duration::from_micros(5001));
    disk.set_now_ms(17);
    disk.advance(Duration::from_secs(1));
    assert_eq!(storage.now_ms(), 1017);
}

#[test]
fn a_lock_taken_before_a_fork_stays_the_parents() {
    let (disk, process, storage) = disk_with(1);
    let parent = storage.process_id();
    disk.fork(process, 77);
    assert_eq!(storage.process_id(), 77);
    assert_eq!(storage.lock_holder(), Some(parent));
    let reopened = storage.reopen().unwrap().unwrap();
    assert!(!reopened.try_lock(LockName::Writer).unwrap());
    drop(storage);
    assert_eq!(disk.holder(LockName::Writer), Some(process));
}

#[test]
fn a_thread_that_unwinds_does_not_ask_the_hook() {
    let (disk, _, storage) = disk_with(1);
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    disk.set_hook(Some(Arc::new(move |_: &Call| {
        *count.lock().unwrap() += 1;
        Verdict::Proceed
    })));
    struct Unlocks(SimulatedStorage);
    impl Drop for Unlocks {
        fn drop(&mut self) {
            let _ = self.0.unlock(LockName::Writer);
        }
    }
    let held = Unlocks(storage);
    let thread = std::thread::spawn(move || {
        let _held = held;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(thread.join().is_err());
    assert_eq!(*asked.lock().unwrap(), 0);
    assert_eq!(disk.holder(LockName::Writer), None);
}
