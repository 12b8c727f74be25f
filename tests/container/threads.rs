//! Many threads on one handle, and many handles in one process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cloakroom::{ByteContainer, Change, Durability, Options};

use crate::fixture::{Fixture, quick, value};

const THREADS: u64 = 8;
const ROUNDS: u64 = 500;
const COUNTERS: u64 = 5;

/// Adds one to a counter, under the lock.
fn count_up(container: &ByteContainer, id: u64) {
    container
        .update(id.to_le_bytes(), |session| {
            let before = session.map_or(0, |session| counter(session.value));
            Change::Save((before + 1).to_le_bytes().to_vec())
        })
        .unwrap();
}

fn counter(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

fn assert_exact(container: &ByteContainer) {
    let total: u64 = (0..COUNTERS).map(|id| counter(&value(container, id.to_le_bytes()))).sum();
    assert_eq!(total, THREADS * ROUNDS);
}

fn eight_threads(fixture: &Fixture, options: Options) {
    let container = fixture.create(options);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let container = &container;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    count_up(container, (thread + round) % COUNTERS);
                }
            });
        }
    });
    assert_exact(&container);
}

#[test]
fn eight_threads_on_one_handle_lose_no_update() {
    eight_threads(&Fixture::file(), quick());
}

#[test]
fn eight_threads_on_one_handle_in_memory_lose_no_update() {
    eight_threads(&Fixture::memory(), quick());
}

#[test]
fn eight_threads_that_want_it_durable_lose_no_update() {
    eight_threads(&Fixture::memory(), Options::new().durability(Durability::Durable));
}

#[test]
fn eight_threads_with_a_handle_each_lose_no_update() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let fixture = &fixture;
            scope.spawn(move || {
                let container = fixture.open(quick());
                for round in 0..ROUNDS {
                    count_up(&container, (thread + round) % COUNTERS);
                }
            });
        }
    });
    assert_exact(&fixture.open(quick()));
}

#[test]
fn readers_see_counters_rise_and_never_fall() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    count_up(&container, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4000 {
                count_up(&container, 0);
            }
            done.store(true, Ordering::Relaxed);
        });
        for options in [quick(), Options::new()] {
            let reader = fixture.open_read_only(options);
            let done = &done;
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let now = counter(&value(&reader, 0u64.to_le_bytes()));
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                }
            });
        }
    });
}

#[test]
fn a_session_is_never_seen_torn_while_its_size_changes() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", &[0; 10]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3000usize {
                let byte = (round % 251) as u8;
                let len = [10, 700, 5000, 100_000][round % 4] + round % 64;
                container.save("visitor", &vec![byte; len]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        for options in [quick(), Options::new()] {
            let reader = fixture.open_read_only(options);
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let seen = value(&reader, "visitor");
                    assert!(seen.iter().all(|byte| *byte == seen[0]));
                }
            });
        }
    });
}
