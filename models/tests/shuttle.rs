//! Long random schedules of writers and readers.
//!
//! `CLOAKROOM_SEED=n` sets the seed; `CLOAKROOM_MODELS_LONG=1` runs ten times as many,
//! with a seed of the clock. A failure prints the schedule; with the same seed it comes
//! again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::UNIX_EPOCH;

use cloakroom_models::oracle::VIOLATION;
use cloakroom_models::scene;
use cloakroom_models::schedule::{Choice, Long, run};
use cloakroom_models::storage::Locks;

/// Schedules of each scene, in thousands, for each way to choose threads: the more,
/// the shorter they are.
const THOUSANDS: [usize; 6] = [90, 85, 8, 30, 12, 30];

fn long() -> bool {
    std::env::var_os("CLOAKROOM_MODELS_LONG").is_some()
}

fn seed() -> u64 {
    match std::env::var("CLOAKROOM_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) if long() => UNIX_EPOCH.elapsed().unwrap().as_secs(),
        Err(_) => 1,
    }
}

fn every_scene(choice: Choice) {
    let mut all = 0;
    let scenes = scene::long();
    assert_eq!(scenes.len(), THOUSANDS.len());
    for (long_scene, thousands) in scenes.iter().zip(THOUSANDS) {
        let schedules = thousands * if long() { 10_000 } else { 1000 };
        println!("shuttle: seed {}, {choice:?}, {} ...", seed(), long_scene.name);
        let done = run(long_scene, choice, seed(), schedules);
        println!("shuttle: {done:?}, {choice:?}, {}", long_scene.name);
        assert_eq!(done.schedules, schedules);
        all += done.schedules;
    }
    println!("shuttle: {all} schedules in all with {choice:?}");
    println!("reached: shuttle schedules = {all}");
}

#[test]
fn schedules_at_random_show_no_reader_what_never_was() {
    every_scene(Choice::Random);
}

#[test]
fn schedules_by_priorities_show_no_reader_what_never_was() {
    every_scene(Choice::Priorities(4));
}

/// The checker can fail: where the lock keeps nobody out, that is found.
#[test]
fn without_the_lock_a_violation_is_found() {
    let scenes = scene::long();
    let broken = Long { locks: Locks::Broken, ..scenes[0].clone() };
    let panic = catch_unwind(AssertUnwindSafe(|| run(&broken, Choice::Random, 1, 10_000)));
    let panic = panic.expect_err("nothing was found");
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    println!("shuttle: without the lock: {text}");
    // Either a reader is told what never was, or two writers at once lose the session
    // that both update.
    assert!(text.contains(VIOLATION) || text.contains("the common session"), "{text}");
}
