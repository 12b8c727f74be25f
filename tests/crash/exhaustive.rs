//! Short workloads, killed and cut at every one of their storage calls.
//!
//! For each call: the process dies there; the file must be sound, and read as
//! before the operation under way or as after it. Then the power goes in several
//! ways, and every key must read as its last durable version or a later one.
//! Then life goes on.

use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng, Snapshot};
use cloakroom::{ByteContainer, Durability, Options};

use crate::stage::{self, Scene, read, value_bytes};

/// One operation of a workload, on the key with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A short value.
    Save(usize),
    /// A value of another extent class.
    SaveLonger(usize),
    /// A value in blocks of its own.
    SaveLarge(usize),
    Remove(usize),
    Touch(usize),
    Sync,
    FailingSync,
    /// A new session, which makes the index grow where it is nearly full.
    Insert,
}

use Step::{FailingSync, Insert, Remove, Save, SaveLarge, SaveLonger, Sync, Touch};

const WORKLOADS: &[&[Step]] = &[
    &[Save(0)],
    &[Save(0), Sync, Save(0)],
    &[Save(0), Sync, SaveLonger(0), Save(0)],
    &[Save(0), Save(1), Sync, Remove(0), Sync, Save(1)],
    &[Save(0), Sync, Remove(0), Sync, Save(2), Save(0)],
    &[SaveLarge(0), Sync, Save(0), SaveLarge(1)],
    &[Save(0), Touch(0), Sync, Touch(0), Save(0)],
    &[Save(0), Sync, Save(0), FailingSync, Save(0), Sync],
    &[Save(0), FailingSync, Remove(0), Sync, Save(0)],
    &[Insert, Insert, Insert, Insert, Insert, Insert, Sync, Save(0), Insert, Sync, Insert],
];

/// Values are numbered by the step that saves them; lengths by what the step asks.
fn value_of(key: &[u8], number: usize, step: Step) -> Vec<u8> {
    let length = match step {
        SaveLonger(_) => 4,
        SaveLarge(_) => 7,
        _ => 1,
    };
    value_bytes(key, 8 * number as u64 + length, 8)
}

struct Lived {
    /// For each key, what it held after each step; and the steps that were
    /// acknowledged as durable.
    states: Vec<Vec<Option<u64>>>,
    durable: usize,
}

/// Runs the workload until it ends or the process is dead.
fn live(disk: &SimulatedDisk, scene: &Scene, steps: &[Step], kill_at: Option<u64>) -> Lived {
    let process = disk.spawn();
    let storage = Box::new(disk.open(process));
    let options = Options::new().durability(Durability::Never);
    if let Some(call) = kill_at {
        disk.kill_at(process, call);
    }
    let mut lived = Lived { states: vec![vec![None; scene.hot.len()]], durable: 0 };
    let Ok(container) = ByteContainer::open_on(storage, options) else { return lived };
    for (number, step) in steps.iter().enumerate() {
        let mut state = lived.states.last().unwrap().clone();
        let done = match *step {
            Save(key) | SaveLonger(key) | SaveLarge(key) => {
                let id = &scene.hot[key];
                let value = value_of(id, number, *step);
                state[key] = Some(stage::number_of(id, &value));
                container.save(id, &value).is_ok()
            }
            Remove(key) => {
                state[key] = None;
                container.remove(&scene.hot[key]).is_ok()
            }
            Touch(key) => container.touch(&scene.hot[key], Some(u64::MAX >> 17)).is_ok(),
            Sync => container.sync().is_ok(),
            FailingSync => {
                disk.fail_syncs(1);
                assert!(container.sync().is_err(), "a failed sync was not reported");
                disk.is_alive(process)
            }
            Insert => {
                let id = format!("new-{number}").into_bytes();
                container.save(&id, &value_bytes(&id, 1, 1)).is_ok()
            }
        };
        lived.states.push(state);
        if !done {
            assert!(!disk.is_alive(process), "{step:?} failed in a living process");
            break;
        }
        if *step == Sync {
            lived.durable = number + 1;
        }
    }
    lived
}

/// What the keys read as.
fn look(disk: &SimulatedDisk, scene: &Scene) -> Vec<Option<u64>> {
    let observer = stage::observer(disk);
    scene.hot.iter().map(|key| read(&observer, key)).collect()
}

fn sound(disk: &SimulatedDisk) {
    let report = stage::observer(disk).check().unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
}

/// Each key must read as it did after some step from `from` on.
fn assert_among(now: &[Option<u64>], states: &[Vec<Option<u64>>], from: usize, when: &str) {
    for (key, value) in now.iter().enumerate() {
        let allowed = states[from..].iter().any(|state| state[key] == *value);
        assert!(allowed, "{when}: key {key} reads {value:?}, allowed {:?}", &states[from..]);
    }
}

/// A new process saves and reads, and the file is sound.
fn go_on(disk: &SimulatedDisk, scene: &Scene) {
    disk.fail_syncs(0);
    let process = disk.spawn();
    let options = Options::new().durability(Durability::Durable);
    let container = ByteContainer::open_on(Box::new(disk.open(process)), options).unwrap();
    for key in &scene.hot[..3] {
        container.save(key, &value_bytes(key, 1000, 8)).unwrap();
        assert_eq!(read(&container, key), Some(1000));
    }
    drop(container);
    sound(disk);
}

/// Kills at this call of the workload, then cuts the power in all ways.
fn die_at(scene: &Scene, steps: &[Step], call: u64) {
    let disk = SimulatedDisk::new(call);
    disk.restore(&scene.snapshot);
    let lived = live(&disk, scene, steps, Some(call));
    let last = lived.states.len() - 1;
    let now = look(&disk, scene);
    assert_among(&now, &lived.states, last.saturating_sub(1), "after the kill");
    sound(&disk);
    let dead = disk.snapshot();
    cut_in_all_ways(&disk, scene, &lived, &dead, call);
    disk.restore(&dead);
    go_on(&disk, scene);
}

fn cut_in_all_ways(disk: &SimulatedDisk, scene: &Scene, lived: &Lived, dead: &Snapshot, call: u64) {
    let policies = [
        CutPolicy::Oldest,
        CutPolicy::Newest,
        CutPolicy::Lines,
        CutPolicy::Lines,
        CutPolicy::Lines,
        CutPolicy::Sectors,
        CutPolicy::Pages,
    ];
    for (number, policy) in policies.into_iter().enumerate() {
        disk.restore(dead);
        let mut rng = SimulatedRng::new(call * 16 + number as u64);
        disk.power_cut(policy, &mut rng);
        let now = look(disk, scene);
        assert_among(&now, &lived.states, lived.durable, "after the cut");
        sound(disk);
        go_on(disk, scene);
    }
}

#[test]
fn dying_at_any_storage_call_of_a_short_workload_loses_nothing() {
    let scenes = stage::scenes();
    let mut points = 0;
    for scene in &scenes {
        for steps in WORKLOADS {
            let calls = calls_of(scene, steps);
            // In a nearly full container each look costs more: fewer calls there.
            let stride = if scene.filler.len() > 100 { 41 } else { 3 };
            for call in (0..calls).step_by(stride) {
                die_at(scene, steps, call);
                points += 1;
            }
        }
    }
    println!("{points} points of death, each with 7 power cuts");
    assert!(points > 500);
}

/// Storage calls that the whole workload makes.
fn calls_of(scene: &Scene, steps: &[Step]) -> u64 {
    let disk = SimulatedDisk::new(0);
    disk.restore(&scene.snapshot);
    let before = disk.calls();
    let lived = live(&disk, scene, steps, None);
    assert_eq!(lived.states.len(), steps.len() + 1);
    disk.calls() - before
}
