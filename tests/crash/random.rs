//! Long mixed runs: several processes step at every storage call, are killed,
//! and lose power; then life goes on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::storage::LockName;
use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, Durability, Options};

use crate::process::{Condition, Intent, Process, Role, Shared, hook};
use crate::stage::{self, Scene, histories, number_of, read, say, value_bytes};

thread_local! {
    static OBSERVER: RefCell<Option<Rc<ByteContainer>>> = const { RefCell::new(None) };
}

fn with_observer<T>(look: impl FnOnce(&ByteContainer) -> T) -> T {
    let observer = OBSERVER.with(|observer| observer.borrow().clone()).unwrap();
    look(&observer)
}

pub(crate) fn synced_epoch() -> u64 {
    with_observer(|observer| crate::process::undisturbed(|| observer.info().unwrap().synced_epoch))
}

/// Looks at what the holder of the writer lock has under way: nobody else can
/// have published anything that was not seen at an unlock.
pub(crate) fn look_at_holder(disk: &SimulatedDisk, shared: &Rc<RefCell<Shared>>) {
    let Some(holder) = disk.holder(LockName::Writer) else { return };
    let intent = shared.borrow().intents.get(&holder).cloned();
    if let Some(intent) = intent {
        look(shared, &intent);
    }
}

/// Enters the version that a mutation under way wants into the history, if it
/// can be read by now.
fn look(shared: &Rc<RefCell<Shared>>, intent: &Rc<RefCell<Intent>>) {
    let mut intent = intent.borrow_mut();
    let Some(plan) = intent.plan.as_mut().filter(|plan| !plan.published) else {
        return;
    };
    let (now, info) = crate::process::undisturbed(|| {
        with_observer(|observer| (read(observer, &plan.key), observer.info().unwrap()))
    });
    let mut shared = shared.borrow_mut();
    let history = shared.histories.get_mut(&plan.key).unwrap();
    let before = history.last();
    if now != plan.want || before == now {
        return;
    }
    let holds = match plan.condition {
        Condition::Any => true,
        Condition::Absent => before.is_none(),
        Condition::Present => before.is_some(),
        Condition::Was(was) => before == was,
    };
    assert!(holds, "{plan:?} was published after {before:?}");
    history.publish(now, info.write_epoch);
    plan.published = true;
    plan.epoch = Some(info.write_epoch);
}

struct Run<'a> {
    disk: SimulatedDisk,
    scene: &'a Scene,
    rng: SimulatedRng,
    shared: Rc<RefCell<Shared>>,
    processes: Vec<Process>,
    views: bool,
    inserts: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) kills: u64,
    pub(crate) operations: u64,
    pub(crate) failures: u64,
    pub(crate) told_durable: u64,
    pub(crate) cuts_in_splits: u64,
}

const PROCESSES: usize = 3;
/// Ways in which each cut ends.
const WAYS: u32 = 40;
const CONTROL_LINE: u64 = 4096;

impl Run<'_> {
    fn spawn(&mut self) -> Process {
        let role = Role::draw(&mut self.rng, &self.scene.hot, self.inserts);
        let process = Process::start(&self.disk, role, &self.shared);
        self.disk.set_maps(process.id, self.rng.chance(2, 3));
        if self.views && self.rng.chance(1, 3) {
            self.disk.set_mount(process.id, Some(1 + self.rng.below(3) as u64));
        }
        process
    }

    fn step(&mut self) {
        let holder = self.disk.holder(LockName::Writer);
        let holding = self.processes.iter().position(|process| Some(process.id) == holder);
        let chosen = match holding {
            Some(index) if self.rng.chance(2, 3) => index,
            _ => self.rng.below(self.processes.len()),
        };
        let process = &mut self.processes[chosen];
        // At the latest when the lock is let go of; and before the control line is
        // written, which may begin another epoch.
        let tells = match process.pending {
            Some(Operation::Unlock(LockName::Writer)) => true,
            Some(Operation::Write { offset, .. }) => offset == CONTROL_LINE,
            _ => false,
        };
        if tells {
            look(&self.shared, &process.intent);
        }
        process.resume();
    }

    /// kill -9: afterwards every key reads as its last version (invariant 3).
    fn kill(&mut self) {
        let index = self.rng.below(self.processes.len());
        look_at_holder(&self.disk, &self.shared);
        self.disk.kill(self.processes[index].id);
        self.processes[index].bury();
        self.processes[index] = self.spawn();
        for key in &self.scene.hot {
            let now = with_observer(|observer| read(observer, key));
            let want = self.shared.borrow().histories[key].last();
            assert_eq!(now, want, "after a kill");
        }
    }

    /// A power cut: afterwards every key reads as a version from the last durable
    /// one on, and the file is sound (invariants 4 and 14).
    fn cut(&mut self, tally: &mut Tally) {
        look_at_holder(&self.disk, &self.shared);
        let synced = synced_epoch();
        tally.cuts_in_splits +=
            u64::from(with_observer(|observer| observer.info().unwrap().splitting));
        for process in &mut self.processes {
            self.disk.kill(process.id);
            process.bury();
        }
        // Many ways in which this cut may end are read through; life goes on in the last.
        let dead = self.disk.snapshot();
        for _ in 0..WAYS {
            self.disk.restore(&dead);
            let policy = CutPolicy::draw(&mut self.rng);
            self.disk.power_cut(policy, &mut self.rng);
            set_observer(&self.disk);
            self.read_after_cut(synced);
            tally.cuts += 1;
        }
        for key in &self.scene.hot {
            let now = with_observer(|observer| read(observer, key));
            self.shared.borrow_mut().histories.get_mut(key).unwrap().settle(now);
        }
        self.sample_filler();
        if self.rng.chance(1, 4) {
            check(&self.disk);
        }
        if self.rng.chance(1, 3) {
            self.die_early();
        }
        self.processes = Vec::new();
        for _ in 0..PROCESSES {
            let process = self.spawn();
            self.processes.push(process);
        }
    }

    /// The first who comes after a cut dies before its first write.
    fn die_early(&mut self) {
        let process = self.disk.spawn();
        self.disk.set_hook(Some(Arc::new(move |call: &Call| {
            let writes = matches!(call.operation, Operation::Write { .. });
            if call.process == process && writes { Verdict::Kill } else { Verdict::Proceed }
        })));
        let options = Options::new().durability(Durability::Never);
        let opened = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        opened.unwrap().save("early", b"1").unwrap_err();
        self.disk.set_hook(Some(hook()));
    }

    fn read_after_cut(&self, synced: u64) {
        let shared = self.shared.borrow();
        for key in &self.scene.hot {
            let now = with_observer(|observer| read(observer, key));
            let allowed = shared.histories[key].allowed_after_cut(synced);
            assert!(
                allowed.iter().any(|version| version.value == now),
                "after a cut at synced epoch {synced} a key reads {now:?}; allowed {allowed:?}"
            );
        }
    }

    fn live(&mut self, kill_in: u32, cut_in: u32, cuts_max: u64, tally: &mut Tally) {
        let mut cuts = 0;
        while cuts < cuts_max {
            if self.rng.chance(1, kill_in) {
                self.kill();
                tally.kills += 1;
            } else if self.rng.chance(1, cut_in) {
                self.cut(tally);
                cuts += 1;
            } else {
                self.step();
            }
        }
    }

    fn sample_filler(&mut self) {
        for _ in 0..5.min(self.scene.filler.len()) {
            let index = self.rng.below(self.scene.filler.len());
            let id = &self.scene.filler[index];
            assert_eq!(with_observer(|observer| read(observer, id)), Some(0), "filler");
        }
    }
}

fn set_observer(disk: &SimulatedDisk) {
    let observer = stage::observer(disk);
    OBSERVER.with(|place| *place.borrow_mut() = Some(Rc::new(observer)));
}

fn check(disk: &SimulatedDisk) {
    let report = stage::observer(disk).check().unwrap();
    stage::assert_sound(&report);
}

pub(crate) fn run(scene: &Scene, seed: u64, tally: &mut Tally) {
    let mut rng = SimulatedRng::new(seed);
    let disk = stage::set(scene, seed);
    let failing = rng.chance(1, 3);
    if failing {
        disk.set_sync_failure(1, 6);
    }
    let full = rng.chance(1, 6);
    if full {
        disk.set_capacity(Some(disk.len() + 65536 * (2 + rng.below(12) as u64)));
    }
    disk.set_hook(Some(hook()));
    set_observer(&disk);
    let lengths = 1 + rng.below(8);
    let shared = Shared {
        histories: histories(scene),
        next_value: 0,
        next_filler: 0,
        durable_fillers: Vec::new(),
        lengths,
        intents: HashMap::new(),
        told_durable: 0,
        errors_expected: failing || full,
        operations: 0,
        failures: 0,
    };
    let (views, inserts) = (rng.chance(1, 3), rng.chance(2, 3));
    let kill_in = [60, 200, 1000, 4000][rng.below(4)];
    let cut_in = [150, 500, 1500][rng.below(3)];
    let shared = Rc::new(RefCell::new(shared));
    let mut run = Run { disk, scene, rng, shared, processes: Vec::new(), views, inserts };
    for _ in 0..PROCESSES {
        let process = run.spawn();
        run.processes.push(process);
    }
    // Within a split a run is short: what comes after it the other scenes have.
    let cuts_max = if scene.name.ends_with("ing") { 2 } else { 12 };
    let lived = catch_unwind(AssertUnwindSafe(|| run.live(kill_in, cut_in, cuts_max, tally)));
    for process in &mut run.processes {
        run.disk.kill(process.id);
        process.bury();
    }
    run.disk.set_hook(None);
    if let Err(panic) = lived {
        resume_unwind(panic);
    }
    finish(&run);
    let shared = run.shared.borrow();
    tally.operations += shared.operations;
    tally.failures += shared.failures;
    tally.told_durable += shared.told_durable;
    OBSERVER.with(|place| *place.borrow_mut() = None);
}

/// After all the crashes the container is still good for a normal life.
fn finish(run: &Run<'_>) {
    run.disk.set_capacity(None);
    run.disk.set_sync_failure(0, 1);
    let process = run.disk.spawn();
    let options = cloakroom::Options::new();
    let container = ByteContainer::open_on(Box::new(run.disk.open(process)), options).unwrap();
    for (number, key) in run.scene.hot.iter().enumerate() {
        let value = value_bytes(key, number as u64, 8);
        container.save(key, &value).unwrap();
        let session = container.load(key).unwrap().unwrap();
        assert_eq!(number_of(key, &session.value), number as u64);
    }
    container.sync().unwrap();
    for id in &run.scene.filler {
        assert_eq!(read(&container, id), Some(0), "filler");
    }
    // Who came meanwhile is there or not, but whole; and there, if that was promised.
    let shared = run.shared.borrow();
    for number in 1..=shared.next_filler {
        let id = format!("new-{number}").into_bytes();
        let found = read(&container, &id);
        let durable = shared.durable_fillers.contains(&number);
        let allowed = found == Some(number) || found.is_none() && !durable;
        assert!(allowed, "who came reads {found:?}, durable: {durable}");
    }
    drop(shared);
    check(&run.disk);
}

pub(crate) fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let seed: Option<u64> = std::env::var("CLOAKROOM_SEED").ok().map(|seed| seed.parse().unwrap());
    if let Ok(seconds) = std::env::var("CLOAKROOM_SOAK_SECONDS") {
        let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
        let first = seed.unwrap_or(std::process::id() as u64 * 1_000_003);
        return Box::new((first..).take_while(move |_| Instant::now() < end));
    }
    if let Some(seed) = seed {
        return Box::new(std::iter::once(seed));
    }
    let end = Instant::now() + Duration::from_secs(10);
    Box::new((0..100_000).take_while(move |_| Instant::now() < end))
}

#[test]
fn nothing_is_lost_torn_or_resurrected_by_kills_and_power_cuts() {
    let scenes = stage::scenes();
    let mut tally = Tally::default();
    let begun = Instant::now();
    for seed in seeds() {
        let scene = &scenes[seed as usize % scenes.len()];
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(scene, seed, &mut tally);
        }));
        if result.is_err() {
            panic!("seed {seed} ({}): see above; CLOAKROOM_SEED={seed} repeats it", scene.name);
        }
    }
    println!("{tally:?} in {:?}", begun.elapsed());
    say("simulated power cuts, random", tally.cuts);
    say("simulated kills, random", tally.kills);
    // One seed alone may be without.
    let alone = std::env::var_os("CLOAKROOM_SEED").is_some();
    assert!(alone || tally.cuts > 0 && tally.kills > 0);
}
