//! The sweep: every act in every state, every call of it, every way to fail, once
//! and from then on.
//!
//! After each: the power is cut in one world; in the other the fault is gone, and
//! the same handle and a new one go on. Nothing acknowledged may be missing in
//! either, no lock may be left, and the container must be sound.

use std::io::Write;
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
use crate::tally::Tally;

/// Who goes on, for one of them.
const SAME: &str = "the same handle";

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
        let storage = Box::new(Faulty { plan: plan.clone(), storage });
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
        let kept = hits.iter().any(|(call, fault)| {
            *call == Call::Unlock && matches!(fault, Fault::Errno(_))
        });
        if self.act.opens == Opens::Creating {
            let sticky = injection.is_some_and(|i| i.repeat == Repeat::FromThenOn);
            self.verify_created(&mut known, failed, sticky);
        } else {
            if !kept {
                self.go_on(&self.open_anew().unwrap(), &mut known, "others");
            }
            if let Some(container) = container {
                self.go_on(&container, &mut known, SAME);
                drop(container);
            }
            self.go_on(&self.open_anew().unwrap(), &mut known, "a new handle");
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
                self.go_on(&container, &mut known, "whoever comes after a power cut");
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
        let report = container.check().unwrap();
        assert!(report.is_sound(), "{who} finds {:#?}", report.damage);
    }

    /// What a failed `create` leaves is no container, or a whole one.
    fn verify_created(&self, known: &mut Known, failed: bool, sticky: bool) {
        match self.open_anew() {
            Ok(container) => self.go_on(&container, known, "others"),
            Err(error) => {
                assert!(failed && is_unmade(&error), "{error}");
                // What could not even be made blank again is refused; else it works now.
                let process = self.stage.disk.spawn();
                let storage = Box::new(self.stage.disk.open(process));
                match ByteContainer::create_on(storage, Options::new()) {
                    Ok(container) => self.go_on(&container, known, "whoever creates it again"),
                    Err(error) => assert!(sticky && matches!(error.kind(), ErrorKind::Exists)),
                }
            }
        }
    }

    /// All failures of the calls from `first` on, every `step`th.
    fn sweep(&self, step: usize, tally: &mut Tally) {
        let calls = self.tell(None).calls;
        let name = self.act.name;
        tally.row(name).calls += calls.len() as u64;
        for nth in (0..calls.len()).step_by(step) {
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

fn is_unmade(error: &cloakroom::Error) -> bool {
    use NotAContainer as N;
    let ErrorKind::NotAContainer(why) = error.kind() else { return false };
    matches!(why, N::Empty | N::NoHeader | N::CutShort)
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
fn sweep(seed: u64, step: usize) -> Tally {
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
                case.sweep(step, &mut tally);
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
    let soak = Duration::from_secs(from_environment("CLOAKROOM_SOAK_SECONDS").unwrap_or(0));
    let step = from_environment("CLOAKROOM_STEP").unwrap_or(1) as usize;
    let begun = Instant::now();
    let mut tally = Tally::default();
    for seed in seed.. {
        tally.add(&sweep(seed, step));
        if begun.elapsed() >= soak {
            break;
        }
    }
    let text = format!("{tally}\n{} injections in {:?}\n", tally.total(), begun.elapsed());
    // Past the capture of the test harness: the table is what the run is for.
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}
