//! The same behaviour asked of every storage, and what only a real file has to
//! do. Nothing here may depend on a format, on root or on a particular file
//! system. Under the interpreter only the memory is tried.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::any::Any;
use std::io;
use std::time::Duration;

use super::{Fill, LockName, MemoryStorage, Pause, Storage};

/// Two handles of one file, and what keeps the file there.
struct Pair {
    first: Box<dyn Storage>,
    second: Box<dyn Storage>,
    _place: Box<dyn Any>,
}

fn pair_in_memory() -> Pair {
    let first = MemoryStorage::new();
    Pair { second: Box::new(first.share()), first: Box::new(first), _place: Box::new(()) }
}

/// A new empty file on each storage.
fn pairs() -> Vec<Pair> {
    #[cfg(not(miri))]
    return vec![pair_in_memory(), on_a_file::pair()];
    #[cfg(miri)]
    return vec![pair_in_memory()];
}

/// Takes a lock that its holder has just let go by closing. A process that
/// another test is about to start shares all descriptors until its exec.
fn taken_soon(storage: &dyn Storage, lock: LockName) -> bool {
    (0..5000).any(|_| {
        storage.pause(Pause::Sleep(Duration::from_millis(1)));
        storage.try_lock(lock).unwrap()
    })
}

/// The holder's process id, asked for until there is one: the table of all locks
/// can be read in parts while others change it, so that a line is missed.
fn holder_seen_by(storage: &dyn Storage) -> Option<u32> {
    (0..5000).find_map(|_| storage.lock_holder())
}

const LOCKS: [LockName; 4] =
    [LockName::Writer, LockName::Sync, LockName::Guard(0), LockName::Guard(u64::MAX)];

#[test]
fn a_read_is_short_at_the_end_and_empty_beyond() {
    for Pair { first, second, .. } in &pairs() {
        first.write_at(b"twelve bytes", 0).unwrap();
        let mut bytes = [b'?'; 8];
        assert_eq!(second.read_at(&mut bytes, 7).unwrap(), 5);
        assert_eq!(&bytes, b"bytes???");
        assert_eq!(second.read_at(&mut bytes, 12).unwrap(), 0);
        assert_eq!(second.read_at(&mut bytes, 1 << 40).unwrap(), 0);
        assert_eq!(second.read_at(&mut [], 0).unwrap(), 0);
    }
}

#[test]
fn a_write_is_seen_by_the_other_handle_and_leaves_its_surroundings() {
    for Pair { first, second, .. } in &pairs() {
        first.write_at(b"0123456789", 0).unwrap();
        second.write_at(b"ab", 4).unwrap();
        second.write_at(b"", 1 << 40).unwrap();
        let mut bytes = [0; 10];
        assert_eq!(first.read_at(&mut bytes, 0).unwrap(), 10);
        assert_eq!(&bytes, b"0123ab6789");
        assert_eq!(first.status().unwrap().len, 10);
    }
}

#[test]
fn a_write_beyond_the_end_leaves_zeros_between() {
    for Pair { first, .. } in &pairs() {
        first.write_at(b"x", 5000).unwrap();
        let mut bytes = [b'?'; 5001];
        assert_eq!(first.read_at(&mut bytes, 0).unwrap(), 5001);
        assert!(bytes[..5000].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn extended_space_is_there_and_reads_as_zeros() {
    for fill in [Fill::Zeros, Fill::Reserve] {
        for Pair { first, second, .. } in &pairs() {
            first.write_at(b"kept", 0).unwrap();
            first.extend(4, 20_001, fill).unwrap();
            assert_eq!(second.status().unwrap().len, 20_001);
            let mut bytes = vec![b'?'; 30_000];
            assert_eq!(second.read_at(&mut bytes, 0).unwrap(), 20_001);
            assert_eq!(&bytes[..4], b"kept");
            assert!(bytes[4..20_001].iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn to_extend_by_nothing_changes_nothing() {
    for Pair { first, .. } in &pairs() {
        first.write_at(b"kept", 0).unwrap();
        first.extend(4, 4, Fill::Zeros).unwrap();
        first.extend(4, 2, Fill::Zeros).unwrap();
        assert_eq!(first.status().unwrap().len, 4);
    }
}

#[test]
fn locks_keep_other_handles_out_until_given_back() {
    for Pair { first, second, .. } in &pairs() {
        for lock in LOCKS {
            assert!(first.try_lock(lock).unwrap());
            assert!(!second.try_lock(lock).unwrap());
            second.unlock(lock).unwrap(); // Not his to give back.
            assert!(!second.try_lock(lock).unwrap());
            first.unlock(lock).unwrap();
            assert!(second.try_lock(lock).unwrap());
            assert!(!first.try_lock(lock).unwrap());
            second.unlock(lock).unwrap();
        }
    }
}

#[test]
fn one_may_ask_again_for_ones_own_lock() {
    for Pair { first, second, .. } in &pairs() {
        for lock in LOCKS {
            assert!(first.try_lock(lock).unwrap());
            assert!(first.try_lock(lock).unwrap());
            first.unlock(lock).unwrap();
            assert!(second.try_lock(lock).unwrap());
        }
    }
}

#[test]
fn the_two_locks_are_independent() {
    for Pair { first, second, .. } in &pairs() {
        assert!(first.try_lock(LockName::Writer).unwrap());
        assert!(second.try_lock(LockName::Sync).unwrap());
        assert!(!first.try_lock(LockName::Sync).unwrap());
        assert!(!second.try_lock(LockName::Writer).unwrap());
    }
}

#[test]
fn locks_go_when_their_holder_is_dropped_and_only_then() {
    for Pair { first, second, _place } in pairs() {
        let third = first.reopen().unwrap().expect("both storages can be reopened");
        for lock in LOCKS {
            assert!(first.try_lock(lock).unwrap());
        }
        drop(third);
        for lock in LOCKS {
            assert!(!second.try_lock(lock).unwrap());
        }
        drop(first);
        for lock in LOCKS {
            assert!(taken_soon(&*second, lock));
        }
    }
}

#[test]
fn a_reopened_handle_has_the_same_bytes_and_locks_of_its_own() {
    for Pair { first, .. } in &pairs() {
        first.write_at(b"same", 0).unwrap();
        assert!(first.try_lock(LockName::Writer).unwrap());
        let again = first.reopen().unwrap().expect("both storages can be reopened");
        let mut bytes = [0; 4];
        assert_eq!(again.read_at(&mut bytes, 0).unwrap(), 4);
        assert_eq!(&bytes, b"same");
        assert!(!again.try_lock(LockName::Writer).unwrap());
    }
}

#[test]
fn the_holder_of_the_writer_lock_is_named() {
    for Pair { first, second, .. } in &pairs() {
        assert_eq!(second.lock_holder(), None);
        assert!(first.try_lock(LockName::Writer).unwrap());
        if cfg!(target_os = "linux") {
            assert_eq!(holder_seen_by(&**second), Some(first.process_id()));
        }
        first.unlock(LockName::Writer).unwrap();
        assert_eq!(second.lock_holder(), None);
    }
}

#[test]
fn handles_of_one_file_have_equal_views() {
    for Pair { first, second, .. } in &pairs() {
        assert_eq!(first.view().unwrap(), second.view().unwrap());
    }
}

#[test]
fn clocks_run_and_random_bytes_differ() {
    for Pair { first, second, .. } in &pairs() {
        let (wall, since) = (first.now_ms(), first.uptime());
        first.pause(Pause::Yield);
        first.pause(Pause::Sleep(Duration::from_millis(2)));
        assert!(wall > 1_700_000_000_000);
        assert!(second.uptime() >= since + Duration::from_millis(2));
        let (mut one, mut other) = ([0; 32], [0; 32]);
        first.random(&mut one).unwrap();
        second.random(&mut other).unwrap();
        assert_ne!(one, other);
        assert_eq!(first.process_id(), std::process::id());
        first.sync().unwrap();
    }
}

#[test]
fn memory_keeps_the_bytes_it_was_given() {
    let memory = MemoryStorage::from_bytes(b"image".to_vec());
    let other = memory.share();
    other.write_at(b"I", 0).unwrap();
    assert_eq!(memory.to_bytes(), b"Image");
    assert!(memory.map(5).unwrap().is_none());
    assert!(!format!("{memory:?}").contains("73"), "debug output shows no bytes");
}

#[test]
fn a_full_memory_refuses_to_grow_and_lets_itself_be_overwritten() {
    let memory = MemoryStorage::from_bytes(vec![1; 4096]);
    let other = memory.share();
    memory.set_limit(Some(4096));
    let full = io::ErrorKind::StorageFull;
    assert_eq!(other.write_at(&[2], 4096).unwrap_err().kind(), full);
    assert_eq!(other.write_at(&[2, 2], 4095).unwrap_err().kind(), full);
    assert_eq!(other.extend(4096, 8192, Fill::Zeros).unwrap_err().kind(), full);
    assert_eq!(other.extend(4096, 8192, Fill::Reserve).unwrap_err().kind(), full);
    assert_eq!(memory.to_bytes(), vec![1; 4096]);
    other.write_at(&[3; 4096], 0).unwrap();
    memory.set_limit(None);
    other.extend(4096, 8192, Fill::Zeros).unwrap();
    assert_eq!(memory.status().unwrap().len, 8192);
}

#[test]
fn threads_that_take_turns_by_the_lock_lose_no_step() {
    let memory = MemoryStorage::from_bytes(vec![0; 8]);
    let steps = if cfg!(miri) { 10 } else { 1000 };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let own = memory.share();
            scope.spawn(move || {
                for _ in 0..steps {
                    while !own.try_lock(LockName::Writer).unwrap() {
                        own.pause(Pause::Yield);
                    }
                    let mut bytes = [0; 8];
                    own.read_at(&mut bytes, 0).unwrap();
                    let next = u64::from_le_bytes(bytes) + 1;
                    own.write_at(&next.to_le_bytes(), 0).unwrap();
                    own.unlock(LockName::Writer).unwrap();
                }
            });
        }
    });
    assert_eq!(memory.to_bytes(), (3 * steps as u64).to_le_bytes());
}

/// What memory has not: names, kinds of file, maps, other processes.
#[cfg(not(miri))]
mod on_a_file;
