//! Kills: processes that are killed or stopped at any moment lose nothing that
//! was acknowledged and harm nobody else.
//!
//! Every public operation is killed at each system call, mapped loads are stopped
//! between instructions while others change what they read, and a crowd works
//! under a storm of random kills. `make kills` runs all of it, `cargo test` a part:
//! `CLOAKROOM_KILLS=n` random kills, `CLOAKROOM_KILL_CALLS=n` for every nth system
//! call stop, `CLOAKROOM_KILL_STRIDE=n` for every nth instruction. The printed seed
//! (`CLOAKROOM_SEED=n`) repeats the choices, not the timing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "kills/board.rs"]
mod board;
#[path = "outside/dice.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod dice;
#[path = "outside/ledger.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod ledger;
#[path = "kills/loads.rs"]
mod loads;
#[path = "outside/message.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod message;
#[path = "kills/openings.rs"]
mod openings;
#[path = "outside/reading.rs"]
mod reading;
#[path = "kills/scenes.rs"]
mod scenes;
#[path = "kills/storm.rs"]
mod storm;
#[path = "kills/sweep.rs"]
mod sweep;
#[path = "kills/tracee.rs"]
mod tracee;
#[path = "outside/value.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod value;
#[path = "outside/wrapped.rs"]
mod wrapped;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Instant, SystemTime};

use loads::Stopped;
use openings::Opening;
use storm::Storm;
use sweep::Swept;
use tempfile::TempDir;

/// To the screen in any case: the test harness shows nothing of what went well.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A place in memory: what is killed leaves the page cache as it is.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    place.unwrap()
}

fn sweep_calls(first: usize) {
    let (place, began) = (place(), Instant::now());
    let stride = number("CLOAKROOM_KILL_CALLS").unwrap_or(9) as usize;
    let Swept { operations, points } = sweep::sweep(place.path(), first, stride);
    let seconds = began.elapsed().as_secs_f32();
    say(&format!(
        "kills: {operations} operations, killed at every {stride}th system call stop: \
         {points} points, {seconds:.1} s"
    ));
    say(&format!("reached: kills at system calls = {points}"));
    assert!(points > 1000 / stride || std::env::var_os("CLOAKROOM_KILL_SCENE").is_some());
}

// Two halves, for two processors.
#[test]
fn operations_can_be_killed_at_every_system_call() {
    sweep_calls(0);
}

#[test]
fn the_other_operations_can_be_killed_at_every_system_call() {
    sweep_calls(1);
}

#[test]
fn creation_can_be_killed_at_every_system_call() {
    let place = place();
    let points = sweep::sweep_creation(place.path());
    say(&format!("kills: creation, {points} system call stops"));
    say(&format!("reached: kills at system calls = {points}"));
    assert!(points > 50);
}

#[test]
fn a_load_may_be_stopped_at_any_instruction() {
    let (place, began) = (place(), Instant::now());
    let stride = number("CLOAKROOM_KILL_STRIDE").unwrap_or(301) as usize;
    let first = seed() as usize % stride;
    let Stopped { changes, points, instructions, newer } =
        loads::sweep(place.path(), first, stride);
    let seconds = began.elapsed().as_secs_f32();
    say(&format!(
        "kills: loads of up to {instructions} instructions under {changes} kinds of change, \
         stopped at instruction {first} and every {stride}th: {points} points, {newer} loads \
         returned what was saved meanwhile, {seconds:.1} s"
    ));
    say(&format!("reached: loads stopped between instructions = {points}"));
    assert!(points > changes && newer > 0 && newer < points);
}

#[test]
fn a_storm_of_kills_loses_nothing_that_was_told() {
    let (place, began, seed) = (tempfile::tempdir().unwrap(), Instant::now(), seed());
    let storm =
        storm::rage(place.path(), number("CLOAKROOM_KILLS").unwrap_or(200), seed, Opening::Plain);
    let Storm { kills, stops, checks, containers, operations, file_max, segments } = storm;
    let (seconds, file_max) = (began.elapsed().as_secs_f32(), file_max >> 20);
    say(&format!(
        "kills: seed {seed}: {kills} kill -9 and {stops} stops during {operations} operations \
         on {containers} containers of up to {segments} segments and {file_max} MiB, \
         {checks} full checks, {seconds:.1} s"
    ));
    say(&format!("reached: kill -9 at random = {kills}"));
    assert!(operations > kills && segments > 1);
}

/// The harness itself: each of these storages must be found out.
#[test]
fn broken_promises_are_found_out() {
    for (opening, scene) in [
        (Opening::Halves, "update"),
        (Opening::Halves, "save, same class"),
        (Opening::Late, "saves in one epoch"),
    ] {
        let place = place();
        let found = sweep::finds(place.path(), opening, scene);
        let stop = found.unwrap_or_else(|| panic!("{opening:?} was not found out in {scene:?}"));
        say(&format!("kills: writes {opening:?}, {scene:?}: found out at stop {stop}"));
    }
}

#[test]
fn a_lock_that_is_always_free_is_found_out() {
    let (place, seed) = (tempfile::tempdir().unwrap(), seed());
    let rage = || storm::rage(place.path(), 500, seed, Opening::Unlocked);
    let why = catch_unwind(AssertUnwindSafe(rage)).expect_err("it was not found out");
    let why = why.downcast_ref::<String>().map_or("a panic", |text| text.as_str());
    say(&format!("kills: seed {seed}, no writer lock: found out: {why:.200}"));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

fn seed() -> u64 {
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    number("CLOAKROOM_SEED").unwrap_or_else(now)
}
