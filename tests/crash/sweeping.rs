//! Random lives of sessions with deadlines: what has expired is found and removed, and
//! nothing else, whoever is killed and whatever a power cut puts back.
//!
//! What a load may return is for the other harnesses; here the oracle is invariant 24,
//! after each kill and, once the pass is done, after each cut, and at the end that one
//! sweep leaves nothing that has expired; and for some sessions invariant 25, that they keep
//! the timeouts that they were given. One process acts at a time.

use std::ops::ControlFlow;
use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng, Snapshot};
use cloakroom::{
    ByteContainer, Durability, MapPolicy, Options, Properties, SweepEnd, SweepPolicy, Timeouts,
};

use crate::stage::{self, say};

const CUTS: [CutPolicy; 4] =
    [CutPolicy::Lines, CutPolicy::Sectors, CutPolicy::Pages, CutPolicy::Oldest];
const HOUR_MS: u64 = 3_600_000;
const CALLS_OF_A_TOUCH: u64 = 100;
/// A pass takes fewer changes than this.
const CHANGES_FOR_A_PASS: u32 = 20_000;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) kills: u64,
}

/// Where a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Empty,
    /// An index of three levels.
    Deep,
}

struct Life {
    disk: SimulatedDisk,
    rng: SimulatedRng,
    next_id: u64,
    /// Sessions without a deadline that are on the disk.
    kept: Vec<Vec<u8>>,
    /// Sessions with timeouts of their own.
    lodgers: Vec<Lodger>,
}

struct Lodger {
    id: String,
    own: Properties,
    /// It may have none any more.
    may_be_plain: bool,
}

impl Lodger {
    fn new(number: usize) -> Lodger {
        let idle = Duration::from_millis(10 * HOUR_MS + number as u64);
        let own = Properties::new().timeouts(Timeouts::NONE.idle(idle));
        Lodger { id: format!("lodger-{number}"), own, may_be_plain: false }
    }

    fn assert_has(&self, found: &Properties) {
        let plain = self.may_be_plain && *found == Properties::new();
        assert!(plain || *found == self.own, "{} has {found:?}", self.id);
    }
}

impl Life {
    fn now_ms(&self) -> u64 {
        self.disk.open(self.disk.spawn()).now_ms()
    }

    fn open(&self, process: cloakroom::storage::simulated::ProcessId) -> Option<ByteContainer> {
        let options = Options::new().durability(Durability::Never).map(MapPolicy::Never);
        let storage = Box::new(self.disk.open(process));
        ByteContainer::open_on(storage, options.touch_percent(100)).ok()
    }

    /// A process that does some things, and is killed at one of them.
    fn visit(&mut self, tally: &mut Tally) {
        let process = self.disk.spawn();
        let dies = self.rng.chance(1, 2);
        if dies {
            self.disk.kill_at(process, self.rng.below(90) as u64);
        }
        if let Some(container) = self.open(process) {
            for _ in 0..=self.rng.below(6) {
                self.act(&container);
            }
        }
        if dies {
            tally.kills += 1;
            self.disk.kill(process);
            self.check();
        }
    }

    fn act(&mut self, container: &ByteContainer) {
        let new = format!("visitor-{}", self.next_id).into_bytes();
        let known = format!("visitor-{}", self.rng.below(self.next_id as usize + 1)).into_bytes();
        let deadline_ms = self.now_ms() + [100, 5_000, 60_000, HOUR_MS][self.rng.below(4)];
        match self.rng.below(15) {
            0..4 => {
                self.next_id += 1;
                // The second may not come to be.
                let _ = container.save(&new, b"1");
                let _ = container.set_deadline(&new, Some(deadline_ms));
            }
            4..6 => drop(container.set_deadline(&known, Some(deadline_ms))),
            6 => drop(container.set_deadline(&known, None)),
            7 => drop(container.save(&known, b"2")),
            8 => drop(container.remove(&known)),
            9 => drop(container.sync()),
            10 | 11 if !self.lodgers.is_empty() => self.lodge(container),
            12 => self.disk.advance(Duration::from_millis([1, 900, 20_000][self.rng.below(3)])),
            _ => {
                let limit = self.rng.below(20) as u64;
                let _ = container.sweep_with(limit, |_, _| ControlFlow::Continue(()));
            }
        }
    }

    /// Something is done to one of those who have timeouts.
    fn lodge(&mut self, container: &ByteContainer) {
        let number = self.rng.below(self.lodgers.len());
        let lodger = &mut self.lodgers[number];
        match self.rng.below(8) {
            0..4 => drop(container.save(&lodger.id, &vec![1; self.rng.below(400)])),
            4 => drop(container.save(&lodger.id, &vec![1; 40_000])),
            5 => drop(container.touch(&lodger.id)),
            6 => {
                lodger.may_be_plain = true;
                let _ = container.save_with(&lodger.id, b"plain", &Properties::new());
            }
            _ => drop(container.save_with(&lodger.id, b"again", &lodger.own)),
        }
    }

    /// After a cut each has what it has, and keeps it.
    fn settle_lodgers(&mut self) {
        let container = self.open(self.disk.spawn()).unwrap();
        for lodger in &mut self.lodgers {
            let found = container.load(&lodger.id).unwrap().unwrap().properties;
            lodger.assert_has(&found);
            assert!(container.replace(&lodger.id, b"after").unwrap().saved().is_some());
            let after = container.load(&lodger.id).unwrap().unwrap().properties;
            assert_eq!(after, found, "{} was saved again", lodger.id);
        }
    }

    /// Many come at once, so that the index grows.
    fn grow(&mut self) {
        let container = self.open(self.disk.spawn()).unwrap();
        for _ in 0..300 {
            self.next_id += 1;
            let id = format!("visitor-{}", self.next_id);
            let _ = container.save(&id, b"1");
            if self.rng.chance(1, 4) {
                let deadline_ms = self.now_ms() + [5_000, HOUR_MS][self.rng.below(2)];
                let _ = container.set_deadline(&id, Some(deadline_ms));
            }
            if self.rng.chance(1, 60) {
                let _ = container.sync();
            }
        }
    }

    /// A session's time comes to its end, by a process that dies at each of its calls.
    fn die_ending(&mut self, tally: &mut Tally) {
        let id = format!("visitor-{}", self.rng.below(self.next_id as usize + 1));
        let here = self.disk.snapshot();
        for call in 0..CALLS_OF_A_TOUCH {
            let process = self.disk.spawn();
            self.disk.kill_at(process, call);
            let deadline_ms = self.now_ms() + 1;
            let touched = self
                .open(process)
                .is_some_and(|container| container.set_deadline(&id, Some(deadline_ms)).is_ok());
            self.disk.kill(process);
            tally.kills += 1;
            self.check();
            self.disk.restore(&here);
            if touched {
                break;
            }
        }
    }

    fn cut(&mut self, tally: &mut Tally) {
        tally.cuts += 1;
        let container = self.open(self.disk.spawn()).unwrap();
        for lodger in &mut self.lodgers {
            // The cut may take what it has last.
            if self.rng.chance(1, 4) {
                lodger.may_be_plain = true;
                container.save_with(&lodger.id, b"plain", &Properties::new()).unwrap();
            }
        }
        drop(container);
        let policy = CUTS[self.rng.below(CUTS.len())];
        self.disk.power_cut(policy, &mut self.rng);
        self.settle_lodgers();
        self.finish_pass();
        self.check();
    }

    /// Lives on until nothing of the last cut is left to be looked at.
    fn finish_pass(&mut self) {
        let container = self.open(self.disk.spawn()).unwrap();
        for _ in 0..CHANGES_FOR_A_PASS {
            container.save("somebody", b"1").unwrap();
            if !container.info().unwrap().rebuilding {
                return;
            }
        }
        panic!("the pass comes to no end");
    }

    fn check(&self) {
        let observer = stage::observer(&self.disk);
        stage::assert_sound(&observer.check().unwrap());
        for lodger in &self.lodgers {
            lodger.assert_has(&observer.load(&lodger.id).unwrap().unwrap().properties);
        }
    }

    /// Sessions that are to stay come, and are on the disk.
    fn keep(&mut self) {
        let container = self.open(self.disk.spawn()).unwrap();
        for _ in 0..5 {
            let id = format!("kept-{}", self.kept.len()).into_bytes();
            container.save(&id, b"kept").unwrap();
            self.kept.push(id);
        }
        let lodger = Lodger::new(self.lodgers.len());
        container.save_with(&lodger.id, b"kept", &lodger.own).unwrap();
        self.lodgers.push(lodger);
        container.sync().unwrap();
    }

    /// All deadlines pass, and a sweep leaves nothing but who has none.
    fn end(&mut self) {
        self.finish_pass();
        let options = Options::new().durability(Durability::Never).sweep(SweepPolicy::OnRequest);
        let process = self.disk.spawn();
        let container = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        let container = container.unwrap();
        self.disk.advance(Duration::from_millis(20 * HOUR_MS));
        let swept = container.sweep(u64::MAX).unwrap();
        assert_eq!(swept.end, SweepEnd::Done);
        let report = container.check().unwrap();
        stage::assert_sound(&report);
        assert_eq!(report.expired, 0, "expired sessions are left after a sweep");
        for id in &self.kept {
            assert!(container.contains(id).unwrap(), "a session without a deadline is gone");
        }
    }
}

fn deep() -> &'static Snapshot {
    static DEEP: std::sync::OnceLock<Snapshot> = std::sync::OnceLock::new();
    DEEP.get_or_init(|| {
        let disk = SimulatedDisk::new(1);
        let container = stage::create(&disk);
        for number in 0..11_000 {
            container.save(format!("filler-{number}"), b"").unwrap();
            if number % 500 == 0 {
                container.sync().unwrap();
            }
        }
        assert!(container.info().unwrap().segments > 15);
        for _ in 0..3 {
            container.sync().unwrap();
        }
        drop(container);
        disk.write_back();
        disk.snapshot()
    })
}

pub(crate) fn run(seed: u64, tally: &mut Tally) {
    let start = if seed % 8 == 7 { Start::Deep } else { Start::Empty };
    let disk = SimulatedDisk::new(seed);
    match start {
        Start::Empty => drop(stage::create(&disk)),
        Start::Deep => disk.restore(deep()),
    }
    let rng = SimulatedRng::new(seed ^ 0x5eeb);
    let mut life = Life { disk, rng, next_id: 0, kept: Vec::new(), lodgers: Vec::new() };
    life.keep();
    let (rounds, visits) = if start == Start::Empty { (6, 30) } else { (3, 12) };
    for _ in 0..rounds {
        for _ in 0..life.rng.below(visits) {
            life.visit(tally);
        }
        if life.rng.chance(1, 3) {
            life.grow();
            life.check();
            life.die_ending(tally);
        }
        if life.rng.chance(2, 3) {
            life.cut(tally);
        }
        if life.rng.chance(1, 4) {
            life.keep();
        }
    }
    life.end();
}

#[test]
fn what_has_expired_is_found_whoever_dies() {
    let mut tally = Tally::default();
    for seed in crate::random::seeds() {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(seed, &mut tally);
        }));
        assert!(lived.is_ok(), "seed {seed}: see above; CLOAKROOM_SEED={seed} repeats it");
    }
    println!("{tally:?}");
    say("power cuts among deadlines", tally.cuts);
    say("kills among deadlines", tally.kills);
    assert!(tally.cuts > 0);
}
