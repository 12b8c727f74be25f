//! Every interleaving of the lock-free reader with a writer, and every order in which
//! the writer's words may become visible, within a bound of preemptions.
//!
//! `CLOAKROOM_MODELS_LONG=1` allows one preemption more.

use cloakroom_models::explore::{Explored, Reading, explore};
use cloakroom_models::oracle::VIOLATION;
use cloakroom_models::scene::{self, Scene};
use cloakroom_models::watched::Memory;

/// Executions of one scene in a long run; the short one has no limit.
const LONG_MAX: u64 = 250_000;
/// Executions that each way of reading has to have at least, or the scenes have become
/// too small to say anything.
const EXPECTED: u64 = 90_000;

fn long() -> bool {
    std::env::var_os("CLOAKROOM_MODELS_LONG").is_some()
}

/// Prints what was done before it complains of anything.
fn show(scene: &Scene, reading: Reading, explored: &Explored) {
    let Explored { executions, complete, watched, violation } = explored;
    let end = if *complete { "all" } else { "stopped" };
    println!(
        "loom: {executions:>7} executions, {end}; {watched} words; {reading:?}; {}",
        scene.name
    );
    if let Some(violation) = violation {
        println!("loom: {violation}");
    }
}

fn every_scene(reading: Reading) {
    let mut all = 0;
    let mut violations = Vec::new();
    for mut scene in scene::small() {
        scene.preemptions += usize::from(long());
        let most = if long() { LONG_MAX } else { u64::MAX };
        let explored = explore(&scene, reading, Memory::AsAssumed, most);
        show(&scene, reading, &explored);
        assert!(explored.complete || long() || explored.violation.is_some());
        all += explored.executions;
        violations.extend(explored.violation.map(|violation| (scene.name, violation)));
    }
    println!("loom: {all} executions in all with {reading:?}");
    println!("reached: loom executions = {all}");
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(all >= EXPECTED, "only {all} executions");
}

#[test]
fn a_reader_by_system_calls_is_never_told_what_never_was() {
    every_scene(Reading::Calls);
}

#[test]
fn a_reader_through_a_map_is_never_told_what_never_was() {
    every_scene(Reading::Map);
}

#[test]
fn a_reader_that_remembers_is_never_told_what_never_was() {
    every_scene(Reading::WarmMap);
}

/// The checker can fail: on a memory that promises less, the reader is told what never
/// was, and that is found.
#[test]
fn without_its_assumptions_about_memory_a_violation_is_found() {
    let scenes = scene::small();
    for memory in [Memory::ReadsUnordered, Memory::WritesUnordered] {
        for scene in &scenes[..2] {
            let explored = explore(scene, Reading::Map, memory, u64::MAX);
            show(scene, Reading::Map, &explored);
            let violation = explored.violation.unwrap_or_default();
            assert!(violation.starts_with(VIOLATION), "{memory:?} in {}: nothing", scene.name);
        }
    }
}
