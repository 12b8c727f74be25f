//! The sweep: every act in every state, every call of it, every way to fail, once
//! and from then on.
//!
//! After each: the power is cut in one world; in the other the fault is gone, and
//! the same handle and a new one go on. Nothing acknowledged may be missing in
//! either, no lock may be left, and the container must be sound.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloakroom::storage::simulated::{CutPolicy, SimulatedRng};
use cloakroom::{ByteContainer, Durability, ErrorKind, MapPolicy, NotAContainer, Options};

use crate::act::{ACTS, Act, CREATE, Life, MANNERS, Manner, Opens};
use crate::faulty::{Call, Fault, Faulty, Injection, Plan, Repeat};
use crate::known::Known;
use crate::run::{Run, shape};
use crate::stage::{STATES, Stage, State, filler, read};
use crate::tally::{Tally, say};
use crate::wrapped::Wrapped;

/// Calls of one case that are failed, at most (few where the build is slow); and in
/// a soak.
const CALLS_MAX: usize = if cfg!(debug_assertions) { 6 } else { 46 };
const CALLS_MAX_SOAK: usize = 400;

/// Who goes on after a failure.
const SAME: &str = "the same handle";
const OTHERS: &str = "others";
const LAST: &str = "a new handle";
const AFTER_CUT: &str = "whoever comes after a power cut";

/// One act in one state in one manner.
struct Case<'a> {
    stage: &'a Stage,
    act: Act,
    manner: Manner,
    seed: u64,
}

/// What a run came to.
struct Ran {
    calls: Vec<Call>,
    failed: bool,
    cut: bool,
}

impl Case<'_> {
    fn open(&self, plan: &Plan) -> cloakroom::Result<ByteContainer> {
        let process = self.stage.disk.spawn();
        let storage = self.stage.disk.open(process);
        let storage = Box::new(Wrapped(Faulty { plan: plan.clone(), storage }));
        match self.act.opens {
            Opens::Writing => ByteContainer::open_on(storage, self.manner.options()),
            Opens::Reading => ByteContainer::open_read_only_on(storage, self.manner.options()),
            Opens::Creating => ByteContainer::create_on(storage, self.manner.options()),
        }
    }

    /// A handle of another process, on which nothing fails.
    fn open_anew(&self) -> cloakroom::Result<ByteContainer> {
        let process = self.stage.disk.spawn();
        let options = Options::new().durability(Durability::Never).map(MapPolicy::Never);
        ByteContainer::open_on(Box::new(self.stage.disk.open(process)), options)
    }

    /// What makes a handle old: it has a map and, if it writes, spares.
    fn grow_old(&self, container: &ByteContainer, known: &mut Known) {
        assert_eq!(read(container, "small"), known.value("small"));
        if self.act.opens == Opens::Writing && !self.stage.full {
            for len in 0..10 {
                container.save("warm", &vec![b'w'; 40 + len % 2]).unwrap();
                known.happened("warm", read(container, "warm"));
            }
            if self.manner.durability == Durability::Durable {
                known.synced();
            }
        }
    }

    fn run(&self, injection: Option<Injection>) -> Ran {
        let (disk, plan) = (&self.stage.disk, Plan::default());
        disk.restore(&self.stage.snapshot);
        let mut run = Run {
            plan: &plan,
            known: self.stage.known.clone(),
            durable: self.manner.durability == Durability::Durable,
            full: self.stage.full,
            fillers: self.stage.fillers,
            failed: 0,
        };
        let old = self.manner.life == Life::Long && self.act.opens != Opens::Creating;
        let mut container = old.then(|| {
            let container = self.open(&plan).unwrap();
            self.grow_old(&container, &mut run.known);
            container
        });
        plan.arm(injection);
        if container.is_none() {
            match self.open(&plan) {
                Ok(opened) => container = Some(opened),
                Err(error) => run.refused(&error),
            }
        }
        if let Some(open) = &container {
            (self.act.does)(&mut run, open);
        }
        if !old {
            container = None;
        }
        plan.disarm();
        let (failed, hits) = (run.failed > 0, plan.hits());
        let mut known = run.known;
        assert_eq!(injection.is_none(), hits.is_empty(), "the run is another each time");
        let writes = self.act.opens != Opens::Reading;
        if writes {
            self.cut_and_verify(&known, failed);
        }
        // A lock that an unlock did not give back goes with the handle.
        let kept = hits
            .iter()
            .any(|(call, fault)| *call == Call::Unlock && matches!(fault, Fault::Errno(_)));
        if self.act.opens == Opens::Creating {
            self.verify_created(&mut known, failed);
        } else {
            if !kept {
                self.go_on(&self.open_anew().unwrap(), &mut known, OTHERS);
            }
            if let Some(container) = container {
                self.go_on(&container, &mut known, SAME);
                drop(container);
            }
            self.go_on(&self.open_anew().unwrap(), &mut known, LAST);
        }
        Ran { calls: plan.calls(), failed, cut: writes }
    }

    /// The power is cut; afterwards the world goes on as if it had not been.
    fn cut_and_verify(&self, known: &Known, failed: bool) {
        let disk = &self.stage.disk;
        let world = disk.snapshot();
        let mut rng = SimulatedRng::new(self.seed);
        disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
        match self.open_anew() {
            Ok(container) => {
                let mut known = known.clone();
                let ids: Vec<_> = known.ids().map(str::to_owned).collect();
                for id in ids {
                    let value = read(&container, &id);
                    let allowed = known.allows_after_cut(&id, &value);
                    assert!(allowed, "{id} holds {} after a power cut", shape(&value));
                    known.settled(&id, value);
                }
                self.go_on(&container, &mut known, AFTER_CUT);
            }
            Err(error) => {
                let unmade = self.act.opens == Opens::Creating && failed && is_unmade(&error);
                assert!(unmade, "after a power cut: {error}");
            }
        }
        disk.restore(&world);
    }

    /// The fault is gone: what was acknowledged is there, no lock is left, all works.
    fn go_on(&self, container: &ByteContainer, known: &mut Known, who: &str) {
        let ids: Vec<_> = known.ids().map(str::to_owned).collect();
        for id in ids {
            let value = read(container, &id);
            assert!(known.allows(&id, &value), "{id} holds {} for {who}", shape(&value));
            known.seen(&id, value);
        }
        for number in (0..self.stage.fillers).step_by(97) {
            let (id, value) = filler(number);
            let found = container.load(&id).unwrap().expect("a filler is lost").value;
            assert_eq!(found, value);
        }
        let writes = self.act.opens != Opens::Reading || who != SAME;
        if !writes {
            return;
        }
        match container.save("afterwards", who.as_bytes()) {
            Ok(_) => {
                let found = container.load("afterwards").unwrap().expect("just saved").value;
                assert_eq!(found, who.as_bytes());
            }
            Err(error) => {
                let full = matches!(error.kind(), ErrorKind::Full(_));
                assert!(self.stage.full && full, "{who} cannot save: {error}");
                container.remove("afterwards").unwrap();
            }
        }
        container.sync().unwrap_or_else(|error| panic!("{who} cannot sync: {error}"));
        known.synced();
        assert!(!container.info().unwrap().suspect_sync);
        // The last one sees what the others left; a look at everything takes its time.
        if who == LAST || who == AFTER_CUT {
            let report = container.check().unwrap();
            assert!(report.is_sound(), "{who} finds {:#?}", report.damage);
        }
    }

    /// What a failed `create` leaves is no container, or a whole one.
    fn verify_created(&self, known: &mut Known, failed: bool) {
        match self.open_anew() {
            Ok(container) => self.go_on(&container, known, LAST),
            Err(error) => {
                assert!(failed && is_unmade(&error), "{error}");
                let process = self.stage.disk.spawn();
                let storage = Box::new(self.stage.disk.open(process));
                let container = ByteContainer::create_on(storage, Options::new()).unwrap();
                self.go_on(&container, known, LAST);
            }
        }
    }

    /// All failures of so many of the calls: of all, where there are not more.
    fn sweep(&self, most: usize, tally: &mut Tally) {
        let calls = self.tell(None).calls;
        let name = self.act.name;
        tally.row(name).calls += calls.len() as u64;
        for nth in spread(calls.len(), most, self.seed as usize) {
            for fault in calls[nth].faults() {
                for repeat in [Repeat::Once, Repeat::FromThenOn] {
                    let injection = Injection { nth, fault, repeat };
                    let ran = self.tell(Some(injection));
                    tally.injected(calls[nth], &injection);
                    let row = tally.row(name);
                    row.injected += 1;
                    row.failed += u64::from(ran.failed);
                    row.cuts += u64::from(ran.cut);
                }
            }
        }
    }

    /// Runs, and says in which case it was if that panics.
    fn tell(&self, injection: Option<Injection>) -> Ran {
        catch_unwind(AssertUnwindSafe(|| self.run(injection))).unwrap_or_else(|panic| {
            let Case { act, manner, seed, .. } = self;
            eprintln!("in {:?}, {manner:?}, seed {seed}: {injection:?}", act.name);
            resume_unwind(panic)
        })
    }
}

/// Up to `most` of `len` numbers: the first ones and, from another start with each
/// seed, others at even distances.
fn spread(len: usize, most: usize, seed: usize) -> impl Iterator<Item = usize> {
    let first = if len <= most { len } else { most / 2 };
    let step = (len - first).div_ceil((most - first.min(most)).max(1)).max(1);
    (0..first).chain((first + seed % step..len).step_by(step))
}

fn is_unmade(error: &cloakroom::Error) -> bool {
    use NotAContainer as N;
    let ErrorKind::NotAContainer(why) = error.kind() else { return false };
    matches!(why, N::Empty | N::Unfinished)
}

/// Everything that is tried with one seed: a state, an act and a manner each. The
/// manner turns with the number, so that a few seeds try all.
fn cases(seed: u64) -> Vec<(Option<State>, Act, Manner)> {
    let mut cases = Vec::new();
    for (number, manner) in MANNERS.iter().enumerate() {
        if manner.life == Life::Young || number == 0 {
            cases.push((None, CREATE, *manner));
        }
    }
    for (row, state) in STATES.iter().enumerate() {
        for (column, act) in ACTS.iter().enumerate() {
            let manner = MANNERS[(row + column + seed as usize) % MANNERS.len()];
            cases.push((Some(*state), *act, manner));
        }
    }
    cases
}

/// Sweeps over all cases of a seed with two threads.
fn sweep(seed: u64, most: usize) -> Tally {
    let cases = cases(seed);
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Tally::default());
    let failures = Mutex::new(Vec::new());
    let work = || {
        let mut tally = Tally::default();
        while let Some((state, act, manner)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seed = seed.wrapping_mul(1000) + next.load(Ordering::Relaxed) as u64;
            let swept = catch_unwind(AssertUnwindSafe(|| {
                let stage = match state {
                    Some(state) => Stage::new(*state, seed),
                    None => Stage::empty(seed),
                };
                let case = Case { stage: &stage, act: *act, manner: *manner, seed };
                case.sweep(most, &mut tally);
            }));
            if swept.is_err() {
                failures.lock().unwrap().push(format!("{:?} in {state:?}, {manner:?}", act.name));
            }
        }
        all.lock().unwrap().add(&tally);
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
    all.into_inner().unwrap()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_call_fails_in_whatever_way_nothing_acknowledged_is_lost() {
    let seed = from_environment("CLOAKROOM_SEED").unwrap_or(1);
    let soak = from_environment("CLOAKROOM_SOAK_SECONDS").map(Duration::from_secs);
    let most = if soak.is_some() { CALLS_MAX_SOAK } else { CALLS_MAX };
    let begun = Instant::now();
    let mut tally = Tally::default();
    for seed in seed.. {
        tally.add(&sweep(seed, most));
        if begun.elapsed() >= soak.unwrap_or_default() {
            break;
        }
    }
    let (all, time) = (tally.total(), begun.elapsed());
    let text = format!("{tally}\n{all} injections in {time:?}\nreached: I/O errors = {all}\n");
    say(&text);
}

/// A storage that loses a write, or a sync, without a word: no promise survives
/// that, and a sweep that does not notice would notice nothing.
fn notices_a_lie_at(state: State, name: &str, call: fn(&Call) -> bool) -> bool {
    let stage = Stage::new(state, 1);
    let act = *ACTS.iter().find(|act| act.name == name).unwrap();
    (0..20).any(|seed| {
        let case = Case { stage: &stage, act, manner: MANNERS[0], seed };
        let calls = case.run(None).calls;
        let lies = (0..calls.len()).filter(|nth| call(&calls[*nth]));
        let quiet = AssertUnwindSafe(|nth| {
            let injection = Injection { nth, fault: Fault::Lie, repeat: Repeat::Once };
            case.run(Some(injection));
        });
        lies.into_iter().any(|nth| catch_unwind(|| (*quiet)(nth)).is_err())
    })
}

#[test]
fn a_write_that_is_lost_is_noticed() {
    let lost = |call: &Call| matches!(call, Call::Write(..));
    assert!(notices_a_lie_at(State::Plain, "save in the same class", lost));
    assert!(notices_a_lie_at(State::Filling, "remove", lost));
    assert!(notices_a_lie_at(State::Cut, "save a new one", lost));
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    let lost = |call: &Call| matches!(call, Call::Sync);
    assert!(notices_a_lie_at(State::Plain, "save a new one", lost));
    assert!(notices_a_lie_at(State::SyncFailed, "sync", lost));
}

#[test]
fn of_a_long_act_calls_are_tried_from_its_beginning_to_its_end() {
    assert!(spread(20, 24, 3).eq(0..20));
    let some: Vec<_> = spread(1000, 24, 3).collect();
    assert!((20..=24).contains(&some.len()) && some.starts_with(&[0, 1, 2]));
    assert!(some.iter().any(|nth| *nth > 900) && some.iter().all(|nth| *nth < 1000));
}
