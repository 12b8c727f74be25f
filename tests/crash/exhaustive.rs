//! Every workload of up to three operations, killed at every storage call, and
//! the power cut there in every way.
//!
//! A power cut decides for each 512-byte sector whether it is as old as it can be
//! or new. Where up to 12 sectors are undecided all their subsets are tried; where
//! there are more, or more subsets than the run has time for, a sample is drawn, and
//! the run says so. To each death come cuts that tear sectors and pages. After one in
//! 64 of the cuts somebody goes on saving, and everything is checked. After a share
//! somebody repairs the file, is killed and cut at every call of the repair (at ever
//! fewer beyond the 32nd), and so on three deep. What could be read after the first
//! cut must still read the same.
//!
//! Alone the test runs the workloads of one operation, with all subsets.
//! `CLOAKROOM_WORKLOAD_STEPS=3` goes further, with 16 subsets for each death in the
//! second operation and 2 in the third; `CLOAKROOM_SUBSETS_MAX=32768` tries all of
//! them there, too, and `CLOAKROOM_WORKLOAD_SHARE=8` leaves out 7 of 8 workloads of
//! three. `CLOAKROOM_SEED` draws other samples.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng, Snapshot};
use cloakroom::{ByteContainer, Durability, Options};

use crate::history::Value;
use crate::stage::{self, Scene, say, value_bytes};
use crate::workloads::{self, STEPS_MAX, Step, Told, go_on, sound};

const LINES_PER_SECTOR: u64 = 8;
/// Undecided sectors of which all subsets are tried.
const SECTORS_MAX: usize = 12;
/// Of so many cuts one is gone on from: sessions are saved, and everything is checked.
const GO_ON_ONE_OF: u64 = 64;
/// Of so many cuts one is repaired, and the repair killed and cut at every call.
const REPAIR_ONE_OF: u64 = 20_011;
/// More than any repair makes.
const CALLS_MAX: u64 = 100_000;
/// How deep cuts within repairs go.
const DEPTH_MAX: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) workloads: AtomicU64,
    pub(crate) deaths: AtomicU64,
    /// States of the disk after a cut, each read through.
    pub(crate) states: AtomicU64,
    /// Deaths whose subsets were sampled.
    sampled: AtomicU64,
    /// States after which somebody went on saving.
    gone_on: AtomicU64,
    repairs: AtomicU64,
    cuts_in_repair: AtomicU64,
}

fn add(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed)
}

fn number_from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// How much is explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) steps_max: usize,
    pub(crate) subsets_max: usize,
    /// Of so many workloads of three and more operations one is explored.
    pub(crate) share: u32,
    pub(crate) seed: u64,
}

/// One scene with one first operation.
struct Run<'a> {
    scene: &'a Scene,
    disk: SimulatedDisk,
    tally: &'a Tally,
    rng: SimulatedRng,
    size: Size,
}

/// All workloads of one scene that begin with this operation.
pub(crate) fn explore_from(scene: &Scene, step: Step, size: Size, tally: &Tally) {
    let rng = SimulatedRng::new(scene.filler.len() as u64 ^ size.seed);
    let (before, told) = workloads::begin(scene);
    let mut run = Run { scene, disk: SimulatedDisk::new(1), tally, rng, size };
    run.explore(&before, &told, &[], step);
}

impl Run<'_> {
    /// All workloads that begin with `before` and go on with `step`.
    fn explore(&mut self, before: &Snapshot, told: &Told, path: &[Step], step: Step) {
        let mut path = path.to_vec();
        path.push(step);
        let nth = path.len() - 1;
        add(&self.tally.workloads);
        let mut after = told.clone();
        self.disk.restore(before);
        let first = self.disk.calls();
        assert!(workloads::live(&self.disk, &mut after, step, nth, None), "{path:?}");
        let calls = self.disk.calls() - first;
        let done = self.disk.snapshot();
        self.die(&done, &after, &path, None);
        for call in 0..calls {
            let mut killed = told.clone();
            self.disk.restore(before);
            let _ = workloads::live(&self.disk, &mut killed, step, nth, Some(call));
            let dead = self.disk.snapshot();
            self.die(&dead, &killed, &path, Some(call));
        }
        if path.len() < self.size.steps_max {
            for next in Step::ALL {
                if path.len() < 2 || self.rng.chance(1, self.size.share) {
                    self.explore(&done, &after, &path, next);
                }
            }
        }
    }

    /// Nobody lives any more. First without a cut, then with every cut.
    fn die(&mut self, dead: &Snapshot, told: &Told, path: &[Step], call: Option<u64>) {
        let number = add(&self.tally.deaths);
        let scene = self.scene.name;
        let when = || format!("{scene}: {path:?} killed at call {call:?}");
        self.disk.restore(dead);
        told.assert_killed(&told.look(&self.disk), &when);
        if number.is_multiple_of(16) {
            sound(&self.disk);
            go_on(&self.disk, self.scene);
            self.disk.restore(dead);
        }
        let sectors = self.undecided_sectors();
        let all = sectors.len() <= SECTORS_MAX;
        let subsets = 1 << sectors.len().min(SECTORS_MAX);
        // Longer workloads have far more deaths.
        let tried = subsets.min(match path.len() {
            1 => 1 << SECTORS_MAX,
            2 => self.size.subsets_max,
            _ => (self.size.subsets_max / 8).max(1),
        });
        if tried < subsets || !all {
            add(&self.tally.sampled);
        }
        for nth in 0..tried {
            let bits = match (tried < subsets || !all, nth) {
                (false, _) => nth as u64,
                (true, 0) => 0,
                (true, 1) => u64::MAX,
                (true, _) => self.rng.next_u64(),
            };
            self.disk.restore(dead);
            self.disk.power_cut_with(&mut |line, images| {
                let sector = line / LINES_PER_SECTOR;
                let place = sectors.binary_search(&sector).unwrap_or(0);
                if bits >> (place % 64) & 1 == 1 { images - 1 } else { 0 }
            });
            self.judge(told, &|| format!("{}, cut {bits:b} of {sectors:?}", when()));
        }
        let torn = [CutPolicy::Lines, CutPolicy::Sectors, CutPolicy::Pages];
        for policy in torn.into_iter().skip(number as usize % 3) {
            self.disk.restore(dead);
            self.disk.power_cut(policy, &mut self.rng);
            self.judge(told, &|| format!("{}, cut {policy:?}", when()));
        }
    }

    fn undecided_sectors(&self) -> Vec<u64> {
        let lines = self.disk.dirty_lines();
        let mut sectors: Vec<_> = lines.iter().map(|(line, _)| line / LINES_PER_SECTOR).collect();
        sectors.dedup();
        sectors
    }

    fn judge(&mut self, told: &Told, when: &dyn Fn() -> String) {
        let number = add(&self.tally.states);
        let now = told.look(&self.disk);
        told.assert_cut(&now, when);
        if number.is_multiple_of(REPAIR_ONE_OF) {
            let cut = self.disk.snapshot();
            self.repair(&cut, told, &now, 1, when);
            self.disk.restore(&cut);
        }
        if number.is_multiple_of(GO_ON_ONE_OF) || number.is_multiple_of(REPAIR_ONE_OF) {
            add(&self.tally.gone_on);
            go_on(&self.disk, self.scene);
            assert_eq!(told.look(&self.disk), now, "{}, and gone on", when());
        }
    }

    /// Somebody takes the lock after a cut, which makes them recover, and dies at
    /// every call of it.
    fn repair(
        &mut self,
        cut: &Snapshot,
        told: &Told,
        before: &[Value],
        depth: u32,
        when: &dyn Fn() -> String,
    ) {
        add(&self.tally.repairs);
        let (mut call, mut deeper) = (0, 0);
        while call < CALLS_MAX {
            self.disk.restore(cut);
            let process = self.disk.spawn();
            self.disk.kill_at(process, call);
            let done = self.mend(process);
            self.disk.clear_script();
            let dead = self.disk.snapshot();
            for round in 0..4 {
                self.disk.restore(&dead);
                let policy = CutPolicy::draw(&mut self.rng);
                self.disk.power_cut(policy, &mut self.rng);
                add(&self.tally.cuts_in_repair);
                let now = told.look(&self.disk);
                assert_eq!(now, before, "{}, repair {depth} deep killed at {call}", when());
                let chosen = depth < DEPTH_MAX && deeper < 2 && self.rng.chance(1, 12);
                if round == 0 && chosen {
                    deeper += 1;
                    let again = self.disk.snapshot();
                    self.repair(&again, told, before, depth + 1, when);
                }
            }
            if done {
                return;
            }
            // A repair that comes with a pass over a whole segment makes very many.
            call += 1 + call / 32;
        }
        panic!("{}: a repair makes more than {CALLS_MAX} calls", when());
    }

    /// Saves a session that nobody looks at. True if it came to its end.
    fn mend(&self, process: cloakroom::storage::simulated::ProcessId) -> bool {
        let options = Options::new().durability(Durability::Never);
        let opened = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        let Ok(container) = opened else { return false };
        let key = &self.scene.hot[3];
        let done = container.save(key, &value_bytes(key, 7, 1)).is_ok();
        drop(container);
        done && self.disk.is_alive(process)
    }
}

#[test]
fn every_short_workload_survives_every_kill_and_every_cut() {
    let steps_max = number_from_environment("CLOAKROOM_WORKLOAD_STEPS", 1).min(STEPS_MAX);
    let subsets_max = number_from_environment("CLOAKROOM_SUBSETS_MAX", 16);
    let share = number_from_environment("CLOAKROOM_WORKLOAD_SHARE", 1) as u32;
    let seed = number_from_environment("CLOAKROOM_SEED", 0) as u64;
    let size = Size { steps_max, subsets_max, share, seed };
    let scenes = stage::scenes();
    let tally = Tally::default();
    // The nearly full ones cost more, and differ from the others where it grows.
    let jobs: Vec<(&Scene, Step)> =
        scenes.iter().flat_map(|scene| Step::ALL.map(|step| (scene, step))).collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let _ = scope.spawn(|| {
                while let Some((scene, step)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let explore = || explore_from(scene, *step, size, &tally);
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(explore)).is_err() {
                        failed.lock().unwrap().push((scene.name, *step));
                    }
                }
            });
        }
    });
    println!("{tally:?}");
    say("states of short workloads", tally.states.load(Ordering::Relaxed));
    say("cuts inside repair", tally.cuts_in_repair.load(Ordering::Relaxed));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "violations, told above, began with {failed:?}");
    assert!(tally.states.into_inner() > 10_000);
}
