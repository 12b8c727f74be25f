//! Workloads of a few operations, and what the sessions may read as after each.
//!
//! Every operation is a process of its own, as a request of a CGI program is, so
//! that a workload can be taken up from a snapshot after any of its operations.
//! What was acknowledged is kept here, outside the container.

use cloakroom::storage::simulated::{ProcessId, SimulatedDisk, Snapshot};
use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

use crate::history::Value;
use crate::stage::{self, LENGTHS, Scene, read, value_bytes};

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A new session.
    Insert,
    /// The session that was there from the start, in its own extent class.
    SaveSame,
    /// The same in another class.
    SaveOther,
    /// The same, with a value in a block of its own.
    SaveLarge,
    Remove,
    Touch,
    /// A logout that keeps the line: the deadline has passed.
    End,
    /// As many new sessions as a nearly full index takes before it grows, and one
    /// more.
    Grow,
    /// Somebody who sees the file through another mount recovers it.
    Recover,
    Sync,
    FailedSync,
}

impl Step {
    pub(crate) const ALL: [Step; 11] = [
        Step::Insert,
        Step::SaveSame,
        Step::SaveOther,
        Step::SaveLarge,
        Step::Remove,
        Step::Touch,
        Step::End,
        Step::Grow,
        Step::Recover,
        Step::Sync,
        Step::FailedSync,
    ];
}

/// Sessions that a workload may touch: the one from the start, then new ones.
const OLD: usize = 0;
/// Sessions that [`Step::Grow`] saves.
const GROWING: usize = 5;
/// Operations of the longest workload.
pub(crate) const STEPS_MAX: usize = 4;

/// What the sessions held after each operation so far, from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) ids: Vec<Vec<u8>>,
    /// One row for each moment, the first as it was at the start.
    states: Vec<Vec<Value>>,
    /// The first row that a power cut may go back to.
    durable: usize,
    /// Sessions in use; the next new one is the one behind.
    used: usize,
}

impl Told {
    fn last(&self) -> &[Value] {
        self.states.last().unwrap()
    }

    /// What the keys read as must be what some moment from `from` on had.
    fn assert_since(&self, from: usize, now: &[Value], when: &dyn Fn() -> String) {
        for (key, value) in now.iter().enumerate() {
            let allowed = self.states[from..].iter().any(|state| state[key] == *value);
            let states: Vec<_> = self.states[from..].iter().map(|state| state[key]).collect();
            assert!(allowed, "{}: session {key} reads {value:?}, allowed {states:?}", when());
        }
    }

    /// After a kill: the operation under way has happened to a session or not.
    pub(crate) fn assert_killed(&self, now: &[Value], when: &dyn Fn() -> String) {
        self.assert_since(self.states.len().saturating_sub(2), now, when);
    }

    /// After a power cut.
    pub(crate) fn assert_cut(&self, now: &[Value], when: &dyn Fn() -> String) {
        self.assert_since(self.durable, now, when);
    }

    /// What the sessions in use read as.
    pub(crate) fn look(&self, disk: &SimulatedDisk) -> Vec<Value> {
        let observer = stage::observer(disk);
        self.ids[..self.used].iter().map(|id| read(&observer, id)).collect()
    }
}

/// A scene with the session that is there from the start.
pub(crate) fn begin(scene: &Scene) -> (Snapshot, Told) {
    let disk = SimulatedDisk::new(1);
    disk.restore(&scene.snapshot);
    let new = (0..STEPS_MAX * GROWING).map(|number| format!("new-{number}").into_bytes());
    let ids: Vec<_> = std::iter::once(scene.hot[OLD].clone()).chain(new).collect();
    let (_, container) = enter(&disk);
    container.save(&ids[OLD], &value_bytes(&ids[OLD], 0, 1)).unwrap();
    container.sync().unwrap();
    drop(container);
    disk.write_back();
    let mut state = vec![None; ids.len()];
    state[OLD] = Some(0);
    (disk.snapshot(), Told { ids, states: vec![state], durable: 0, used: 1 })
}

fn enter(disk: &SimulatedDisk) -> (ProcessId, ByteContainer) {
    let process = disk.spawn();
    (process, open(disk, process).unwrap())
}

fn open(disk: &SimulatedDisk, process: ProcessId) -> cloakroom::Result<ByteContainer> {
    let options = Options::new().durability(Durability::Never).map(MapPolicy::Never);
    ByteContainer::open_on(Box::new(disk.open(process)), options)
}

/// Lives through one operation, number `nth` of its workload, in a process that is
/// killed before its storage call `kill_at`. True if it came to its end.
pub(crate) fn live(
    disk: &SimulatedDisk,
    told: &mut Told,
    step: Step,
    nth: usize,
    kill_at: Option<u64>,
) -> bool {
    let process = disk.spawn();
    if step == Step::Recover {
        disk.set_mount(process, Some(10 + nth as u64));
    }
    if let Some(call) = kill_at {
        disk.kill_at(process, call);
    }
    let container = open(disk, process);
    let done = match &container {
        Ok(container) => act(disk, container, told, step, nth),
        Err(_) => {
            told.states.push(told.last().to_vec());
            false
        }
    };
    drop(container);
    disk.fail_syncs(0);
    disk.clear_script();
    assert!(done || !disk.is_alive(process), "{step:?} failed in a living process");
    disk.kill(process);
    done
}

fn act(
    disk: &SimulatedDisk,
    container: &ByteContainer,
    told: &mut Told,
    step: Step,
    nth: usize,
) -> bool {
    let mut state = told.last().to_vec();
    let mut save = |key: usize, length: usize| {
        let id = told.ids[key].clone();
        let number = (LENGTHS.len() * (nth + 1) + length) as u64;
        state[key] = Some(number);
        told.states.push(state.clone());
        container.save(&id, &value_bytes(&id, number, LENGTHS.len())).is_ok()
    };
    match step {
        Step::SaveSame => save(OLD, 0),
        Step::SaveOther => save(OLD, 4),
        Step::SaveLarge => save(OLD, 7),
        Step::Insert => {
            let key = told.used;
            told.used += 1;
            save(key, 1)
        }
        Step::Grow => {
            let first = told.used;
            told.used += GROWING;
            (first..first + GROWING).all(|key| save(key, 1))
        }
        Step::Remove => {
            state[OLD] = None;
            told.states.push(state);
            container.remove(&told.ids[OLD]).is_ok()
        }
        Step::Touch => {
            told.states.push(state);
            container.set_deadline(&told.ids[OLD], Some(u64::MAX >> 17)).is_ok()
        }
        Step::End => {
            state[OLD] = None;
            told.states.push(state);
            container.set_deadline(&told.ids[OLD], Some(1)).is_ok()
        }
        Step::Recover | Step::Sync => {
            told.states.push(state);
            let done = container.sync().is_ok();
            if done {
                told.durable = told.states.len() - 1;
            }
            done
        }
        Step::FailedSync => {
            told.states.push(state);
            disk.fail_syncs(1);
            // The operation is over when its error is reported.
            container.sync().is_err()
        }
    }
}

/// A new process saves and reads, and the file is sound.
pub(crate) fn go_on(disk: &SimulatedDisk, scene: &Scene) {
    let process = disk.spawn();
    let options = Options::new().durability(Durability::Durable);
    let container = ByteContainer::open_on(Box::new(disk.open(process)), options).unwrap();
    for key in &scene.hot[1..3] {
        container.save(key, &value_bytes(key, 1000, LENGTHS.len())).unwrap();
        assert_eq!(read(&container, key), Some(1000));
    }
    drop(container);
    sound(disk);
}

pub(crate) fn sound(disk: &SimulatedDisk) {
    let report = stage::observer(disk).check().unwrap();
    stage::assert_sound(&report);
}
