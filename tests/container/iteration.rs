//! A walk gives each session that lived throughout exactly once, whatever
//! others do meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::fixture::{Fixture, quick};

/// Ids of one kind, by number.
fn id(kind: &str, number: usize) -> String {
    format!("{kind} {number}")
}

fn walk_while_others_write(fixture: &Fixture) {
    const STEADY: usize = 400;
    let container = fixture.create(quick());
    for number in 0..STEADY {
        container.save(id("steady", number), b"x").unwrap();
    }
    let done = AtomicBool::new(false);
    let mut walks = 0;
    let segments_before = container.info().unwrap().segments;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..8000 {
                container.save(id("new", number), b"y").unwrap();
                if number % 3 == 0 {
                    container.remove(id("new", number / 2)).unwrap();
                }
                if number % 5 == 0 {
                    // Living throughout includes being saved again.
                    container.save(id("steady", number % STEADY), b"again").unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        let reader = fixture.open_read_only(quick());
        loop {
            let last = done.load(Ordering::Relaxed);
            let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
            for item in reader.iter() {
                *seen.entry(item.unwrap().0).or_default() += 1;
                thread::yield_now();
            }
            for number in 0..STEADY {
                let times = seen.get(id("steady", number).as_bytes());
                assert_eq!(times, Some(&1), "steady {number}");
            }
            assert!(seen.values().all(|times| *times == 1), "one came more than once");
            walks += 1;
            if last {
                break;
            }
        }
    });
    let segments = container.info().unwrap().segments;
    assert!(segments >= 4 * segments_before, "only {segments} segments: no growth");
    assert!(walks >= 2, "the writer was faster than one walk");
}

#[test]
fn a_walk_over_a_growing_file_gives_each_steady_session_once() {
    walk_while_others_write(&Fixture::file());
}

#[test]
fn a_walk_over_growing_memory_gives_each_steady_session_once() {
    walk_while_others_write(&Fixture::memory());
}

#[test]
fn a_walk_goes_on_where_it_was_when_the_index_grew_several_times() {
    let fixture = Fixture::memory();
    let container = fixture.create(quick());
    for number in 0..1500 {
        container.save(id("steady", number), b"x").unwrap();
    }
    // A step of the walk, then many sessions, in turns.
    let mut seen = HashMap::new();
    let mut new = 0;
    for (step, item) in container.iter().enumerate() {
        let (id, _) = item.unwrap();
        assert!(seen.insert(id, step).is_none());
        if step % 100 == 0 {
            for _ in 0..500 {
                container.save(self::id("new", new), b"y").unwrap();
                new += 1;
            }
            container.sync().unwrap();
        }
    }
    assert!(container.info().unwrap().segments >= 8);
    for number in 0..1500 {
        assert!(seen.contains_key(id("steady", number).as_bytes()));
    }
}

#[test]
fn a_walk_passes_over_what_is_removed_before_it_comes_there() {
    let fixture = Fixture::memory();
    let container = fixture.create(quick());
    for number in 0..300 {
        container.save(id("steady", number), b"x").unwrap();
    }
    let mut walk = container.iter();
    let (first, _) = walk.next().unwrap().unwrap();
    for number in 0..300 {
        container.remove(id("steady", number)).unwrap();
    }
    container.save(&first, b"back").unwrap();
    assert!(walk.all(|item| item.unwrap().0 != first));
}

#[test]
fn a_walk_over_nothing_ends() {
    let fixture = Fixture::memory();
    let container = fixture.create(quick());
    assert_eq!(container.iter().count(), 0);
}
