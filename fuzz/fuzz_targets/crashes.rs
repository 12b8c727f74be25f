//! Any operations in any order, and the power cut or the process killed among them:
//! what was synced is there, what was not is there as it was at one moment or another,
//! and nothing else ever is.
//!
//! One process at a time; several at once are the crash simulator's.

#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use cloakroom::storage::simulated::{CutPolicy, ProcessId, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, IdForm, MapPolicy, Options};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Operation {
    Save {
        id: u8,
        len: u16,
    },
    Remove {
        id: u8,
    },
    Sync,
    /// The same process opens the container again.
    Reopen {
        mapped: bool,
    },
    /// The process is killed within its next operation, at this storage call.
    Kill {
        call: u8,
    },
    /// The power is cut, and this decides what was written back before.
    Cut {
        seed: u16,
    },
    /// The power is cut within the next operation, at this storage call.
    CutLater {
        call: u8,
        seed: u16,
    },
    /// The next syncs fail.
    FailSyncs {
        count: u8,
    },
}

/// The states that a session may be in after a crash, the newest last; the first one is
/// durable. A state is the value's seed and length.
type History = Vec<Option<(u32, u16)>>;

const IDS: u8 = 6;
const OPERATIONS_MAX: usize = 40;

struct Run {
    disk: SimulatedDisk,
    process: ProcessId,
    container: Option<ByteContainer>,
    histories: HashMap<u8, History>,
    saves: u32,
    cut_at: Option<u16>,
}

fn value(seed: u32, len: u16) -> Vec<u8> {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend((0..len % 3000).map(|at| (seed as u8).wrapping_mul(31).wrapping_add(at as u8)));
    bytes
}

impl Run {
    fn new() -> Run {
        let disk = SimulatedDisk::new(1);
        let process = disk.spawn();
        let made = ByteContainer::create_on(Box::new(disk.open(process)), options(false));
        let container = Some(made.expect("a new container"));
        Run { disk, process, container, histories: HashMap::new(), saves: 0, cut_at: None }
    }

    fn open(&mut self, mapped: bool) {
        self.container = None;
        self.disk.clear_script();
        if !self.disk.is_alive(self.process) {
            self.process = self.disk.spawn();
        }
        let storage = Box::new(self.disk.open(self.process));
        self.container = Some(ByteContainer::open_on(storage, options(mapped)).expect("opens"));
    }

    fn container(&self) -> &ByteContainer {
        self.container.as_ref().expect("open")
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Save { id, len } => {
                self.saves += 1;
                let (id, seed) = (id % IDS, self.saves);
                let done = self.container().save([id], &value(seed, len));
                self.change(id, Some((seed, len % 3000)), done.is_ok());
            }
            Operation::Remove { id } => {
                let done = self.container().remove([id % IDS]);
                self.change(id % IDS, None, done.is_ok());
            }
            Operation::Sync => {
                if self.container().sync().is_ok() && self.disk.is_alive(self.process) {
                    for history in self.histories.values_mut() {
                        history.drain(..history.len() - 1);
                    }
                }
            }
            Operation::Reopen { mapped } => self.open(mapped),
            Operation::Kill { call } => {
                self.disk.kill_at(self.process, u64::from(call % 40));
                return;
            }
            Operation::Cut { seed } => self.cut(seed),
            Operation::CutLater { call, seed } => {
                self.disk.kill_at(self.process, u64::from(call % 40));
                self.cut_at = Some(seed);
                return;
            }
            Operation::FailSyncs { count } => self.disk.fail_syncs(u32::from(count % 3)),
        }
        self.after();
    }

    /// A process that died within the operation is replaced, after the power was cut if
    /// that is what it died of.
    fn after(&mut self) {
        if !self.disk.is_alive(self.process) {
            match self.cut_at.take() {
                Some(seed) => self.cut(seed),
                None => {
                    self.open(false);
                    self.settle(|history| history.len() - 2.min(history.len()));
                }
            }
        }
        self.disk.clear_script();
        self.cut_at = None;
    }

    fn cut(&mut self, seed: u16) {
        let mut rng = SimulatedRng::new(u64::from(seed));
        self.disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
        self.open(false);
        self.settle(|_| 0);
        // What the cut has left cannot be lost any more.
        for history in self.histories.values_mut() {
            history.drain(..history.len() - 1);
        }
    }

    /// Notes a change; one that was not acknowledged may have happened or not.
    fn change(&mut self, id: u8, state: Option<(u32, u16)>, acknowledged: bool) {
        let history = self.histories.entry(id).or_insert_with(|| vec![None]);
        if history.last() != Some(&state) {
            history.push(state);
        }
        if !acknowledged && self.disk.is_alive(self.process) {
            self.settle(|history| history.len() - 2.min(history.len()));
        }
    }

    /// Reads what there is now. It must be one of the states from `oldest` on; later ones
    /// have not happened, earlier ones may come back with the next cut.
    fn settle(&mut self, oldest: impl Fn(&History) -> usize) {
        // What was to happen within the operation does not happen any more.
        self.disk.clear_script();
        let mut histories = std::mem::take(&mut self.histories);
        for (id, history) in &mut histories {
            let now = self.read(*id);
            let from = oldest(history);
            let found = history[from..].iter().rposition(|state| *state == now);
            let Some(found) = found else {
                panic!("session {id} is {now:?}; its states are {history:?} from {from} on");
            };
            history.truncate(from + found + 1);
        }
        self.histories = histories;
    }

    fn read(&self, id: u8) -> Option<(u32, u16)> {
        let session = self.container().load([id]).expect("a load")?;
        let seed = u32::from_le_bytes(session.value[..4].try_into().expect("a value"));
        let len = (session.value.len() - 4) as u16;
        assert!(session.value == value(seed, len), "a torn value");
        Some((seed, len))
    }
}

fn options(mapped: bool) -> Options {
    let map = if mapped { MapPolicy::AfterLoads(0) } else { MapPolicy::Never };
    Options::new().ids(IdForm::Plain).durability(Durability::Never).map(map)
}

fuzz_target!(|operations: Vec<Operation>| {
    let mut run = Run::new();
    for operation in operations.iter().take(OPERATIONS_MAX) {
        run.step(operation);
    }
    run.disk.clear_script();
    run.disk.fail_syncs(0);
    run.open(false);
    for (id, history) in &run.histories {
        assert_eq!(run.read(*id), *history.last().expect("a state"), "session {id}");
    }
    let report = run.container().check().expect("a check");
    assert!(report.is_sound(), "{:?}", report.damage);
});
