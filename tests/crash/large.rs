//! Random lives of an index of several segments, which splits off some at once while
//! bitmaps are rebuilt. Every session has a history, and all of them are read.
//!
//! One process acts at a time, between whole operations or until it is killed in one:
//! interleavings are for `random` and `serial`, which are too slow for so many sessions.

use std::collections::HashMap;
use std::time::Duration;

use cloakroom::storage::simulated::{CutPolicy, ProcessId, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

use crate::history::{History, Value};
use crate::stage::{self, LENGTHS, Scene, read, say, value_bytes};

const HANDLES_MAX: usize = 3;
const LIVES: usize = 4;
const MOUNTS: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) kills: u64,
    operations: u64,
}

struct Handle {
    process: ProcessId,
    container: ByteContainer,
    durable: bool,
}

struct Life<'a> {
    disk: SimulatedDisk,
    rng: SimulatedRng,
    histories: HashMap<Vec<u8>, History>,
    filler: &'a [Vec<u8>],
    handles: Vec<Handle>,
    next_value: u64,
    next_id: u64,
    /// Of 20 operations so many are of a new session.
    inserts: u32,
    /// Sessions that are saved again.
    hot: usize,
    /// Processes see the file through several mounts.
    views: bool,
    /// Syncs fail, or the disk is full.
    errors_expected: bool,
}

impl Life<'_> {
    fn enter(&mut self) {
        let process = self.disk.spawn();
        if self.views && self.rng.chance(1, 2) {
            self.disk.set_mount(process, Some(1 + self.rng.below(MOUNTS) as u64));
        }
        let durable = self.rng.chance(1, 4);
        let durability = if durable { Durability::Durable } else { Durability::Never };
        let mapped = self.rng.chance(1, 6);
        let map = if mapped { MapPolicy::AfterLoads(0) } else { MapPolicy::Never };
        let options = Options::new().durability(durability).map(map);
        let options = options.lock_deadline(Duration::from_millis(50));
        let container = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        self.handles.push(Handle { process, container: container.unwrap(), durable });
    }

    fn leave(&mut self, number: usize, tally: &mut Tally) {
        let handle = self.handles.remove(number);
        if self.rng.chance(1, 2) {
            self.disk.kill(handle.process);
            tally.kills += 1;
        }
    }

    /// One operation of somebody.
    fn step(&mut self, tally: &mut Tally) {
        let number = self.rng.below(self.handles.len().max(1));
        if self.handles.is_empty() || self.handles.len() < HANDLES_MAX && self.rng.chance(1, 30) {
            return self.enter();
        }
        if self.rng.chance(1, 60) {
            return self.leave(number, tally);
        }
        tally.operations += 1;
        if self.rng.chance(1, 25) {
            return self.sync(number);
        }
        let (id, want) = self.plan();
        let dies = self.rng.chance(1, 40);
        let handle = &self.handles[number];
        if dies {
            self.disk.kill_at(handle.process, self.rng.below(60) as u64);
        }
        let done = match want {
            Some(value) => {
                let bytes = value_bytes(&id, value, LENGTHS.len());
                handle.container.save(&id, &bytes).map(drop)
            }
            None => handle.container.remove(&id).map(drop),
        };
        self.disk.clear_script();
        let alive = self.disk.is_alive(handle.process);
        assert!(done.is_ok() || self.errors_expected || !alive, "{done:?}");
        let acknowledged = done.is_ok() && handle.durable;
        self.note(id, want, done.is_ok(), acknowledged);
        if !alive {
            tally.kills += 1;
            self.handles.remove(number);
        }
    }

    /// Whose session is saved or removed, and with which value.
    fn plan(&mut self) -> (Vec<u8>, Value) {
        self.next_value += 1;
        // Mostly short ones.
        let size = if self.rng.chance(1, 12) { self.rng.below(LENGTHS.len()) } else { 0 };
        let value = Some(self.next_value * LENGTHS.len() as u64 + size as u64);
        if self.rng.chance(self.inserts, 20) {
            self.next_id += 1;
            return (format!("new-{}", self.next_id).into_bytes(), value);
        }
        let id = self.filler[self.rng.below(self.hot) * 17 % self.filler.len()].clone();
        (id, if self.rng.chance(1, 8) { None } else { value })
    }

    /// What was told, and what can be read.
    fn note(&mut self, id: Vec<u8>, want: Value, done: bool, acknowledged: bool) {
        let observer = stage::observer(&self.disk);
        let now = read(&observer, &id);
        let history = self.histories.entry(id).or_insert_with(|| History::new(None));
        assert!(now == want || !done && now == history.last(), "{now:?}, {want:?} was told");
        if now == want && history.last() != want {
            history.publish(want, observer.info().unwrap().write_epoch);
        }
        if acknowledged {
            history.acknowledge(want);
        }
    }

    fn sync(&mut self, number: usize) {
        let done = self.handles[number].container.sync();
        assert!(done.is_ok() || self.errors_expected, "{done:?}");
        if done.is_ok() {
            for history in self.histories.values_mut() {
                history.acknowledge_up_to(history.position());
            }
        }
    }

    fn assert_all_there(&self) {
        let observer = stage::observer(&self.disk);
        for (id, history) in &self.histories {
            assert_eq!(read(&observer, id), history.last(), "{}", id.escape_ascii());
        }
        self.check();
    }

    fn cut(&mut self) {
        for handle in self.handles.drain(..) {
            self.disk.kill(handle.process);
        }
        let synced = stage::observer(&self.disk).info().unwrap().synced_epoch;
        let policy = CutPolicy::draw(&mut self.rng);
        self.disk.power_cut(policy, &mut self.rng);
        let observer = stage::observer(&self.disk);
        for (id, history) in &mut self.histories {
            let now = read(&observer, id);
            let allowed = history.allowed_after_cut(synced);
            assert!(
                allowed.iter().any(|version| version.value == now),
                "after a cut at synced epoch {synced} {} reads {now:?}; allowed {allowed:?}",
                id.escape_ascii()
            );
            history.settle(now);
        }
        self.check();
    }

    fn check(&self) {
        let report = stage::observer(&self.disk).check().unwrap();
        stage::assert_sound(&report);
    }
}

pub(crate) fn run(scene: &Scene, seed: u64, tally: &mut Tally) {
    let disk = stage::set(scene, seed);
    let mut rng = SimulatedRng::new(seed ^ 0x1a29e);
    let failing = rng.chance(1, 3);
    if failing {
        disk.set_sync_failure(1, 5);
    }
    let full = rng.chance(1, 8);
    if full {
        disk.set_capacity(Some(disk.len() + 65536 * (1 + rng.below(20) as u64)));
    }
    // On a full disk each save looks everywhere for space.
    let steps = if full { 100 } else { 200 + rng.below(1500) };
    let mut life = Life {
        histories: scene.filler.iter().map(|id| (id.clone(), History::new(Some(0)))).collect(),
        filler: &scene.filler,
        handles: Vec::new(),
        next_value: 0,
        next_id: 0,
        inserts: [2, 8, 14][rng.below(3)],
        hot: 20 + rng.below(200),
        views: rng.chance(1, 2),
        errors_expected: failing || full,
        disk,
        rng,
    };
    for _ in 0..LIVES {
        for _ in 0..steps {
            life.step(tally);
        }
        life.assert_all_there();
        if life.rng.chance(2, 3) {
            life.cut();
            tally.cuts += 1;
        }
    }
}

#[test]
fn lives_of_a_larger_index_lose_nothing_either() {
    let scene = stage::large_scene();
    let mut tally = Tally::default();
    for seed in crate::random::seeds() {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&scene, seed, &mut tally);
        }));
        assert!(lived.is_ok(), "seed {seed}: see above; CLOAKROOM_SEED={seed} repeats it");
    }
    println!("{tally:?}");
    say("operations on a larger index", tally.operations);
    assert!(tally.operations > 0);
}
