//! Crash tests: the real engine on a simulated disk, where processes are killed
//! and the power is cut at any storage call.
//!
//! Every run is determined by its seed. `CLOAKROOM_SEED=n` runs one seed alone,
//! `CLOAKROOM_SOAK_SECONDS=n` goes on with fresh seeds for so long.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "crash/again.rs"]
mod again;
#[path = "crash/bounds.rs"]
mod bounds;
#[path = "crash/edges.rs"]
mod edges;
#[path = "crash/exhaustive.rs"]
mod exhaustive;
#[path = "crash/history.rs"]
mod history;
#[path = "crash/inherited.rs"]
mod inherited;
#[path = "crash/large.rs"]
mod large;
#[path = "crash/lives.rs"]
mod lives;
#[path = "crash/making.rs"]
mod making;
#[path = "crash/marks.rs"]
mod marks;
#[path = "crash/once.rs"]
mod once;
#[path = "crash/overlaps.rs"]
mod overlaps;
#[path = "crash/play.rs"]
mod play;
#[path = "crash/plays.rs"]
mod plays;
#[path = "crash/process.rs"]
mod process;
#[path = "crash/random.rs"]
mod random;
#[path = "crash/rewriting.rs"]
mod rewriting;
#[path = "crash/rot.rs"]
mod rot;
#[path = "crash/rotating.rs"]
mod rotating;
#[cfg(feature = "sabotage")]
#[path = "crash/sabotage.rs"]
mod sabotage;
#[path = "crash/sectors.rs"]
mod sectors;
#[path = "crash/serial.rs"]
mod serial;
#[path = "crash/splits.rs"]
mod splits;
#[path = "crash/stage.rs"]
mod stage;
#[path = "crash/stories.rs"]
mod stories;
#[path = "crash/sweeping.rs"]
mod sweeping;
#[path = "crash/tables.rs"]
mod tables;
#[path = "crash/workloads.rs"]
mod workloads;
#[path = "outside/wrapped.rs"]
mod wrapped;

/// The switches that break rules cost a branch each, so only a build of their own
/// has them.
#[cfg(not(feature = "sabotage"))]
#[test]
#[ignore = "not run: needs --features sabotage"]
fn every_rule_is_needed_and_its_breach_is_seen() {
    panic!("not run: needs --features sabotage");
}
