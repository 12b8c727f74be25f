//! Kills: processes that are killed or stopped at any moment lose nothing that
//! was acknowledged and harm nobody else.
//!
//! Every public operation is killed at each system call, mapped loads are stopped
//! between instructions while others change what they read, and a crowd works
//! under a storm of random kills. `make kills` runs all of it; `cargo test` a
//! small storm. The printed seed repeats the choices, not the timing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "outside/dice.rs"]
mod dice;
#[path = "outside/ledger.rs"]
mod ledger;
#[path = "outside/message.rs"]
mod message;
#[path = "kills/scenes.rs"]
mod scenes;
#[path = "kills/sweep.rs"]
mod sweep;
#[path = "kills/tracee.rs"]
mod tracee;
#[path = "outside/value.rs"]
mod value;
#[path = "outside/work.rs"]
mod work;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

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

#[test]
fn every_operation_can_be_killed_at_every_system_call() {
    let (place, began) = (place(), Instant::now());
    let swept = sweep::sweep(place.path());
    let seconds = began.elapsed().as_secs_f32();
    let sweep::Swept { operations, points } = swept;
    say(&format!("kills: {operations} operations, {points} system call stops, {seconds:.1} s"));
    assert!(points > 1000);
}
