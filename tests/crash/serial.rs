//! Serial runs: one operation after the other, by several processes, with kills,
//! cuts and failing syncs; while a sync or a load is under way, others operate.
//!
//! They are some ten times as fast as the mixed runs, since nothing switches
//! stacks, and so come to rare orders of rare operations. What happens within one
//! lock hold beside others is left to the mixed runs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::storage::LockName;
use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, ProcessId, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, Change, Durability, MapPolicy, Options};

use crate::history::{History, Value};
use crate::stage::{self, Scene, histories, number_of, read, value_bytes};

const HANDLES: usize = 3;
/// Operations within operations within operations.
const DEPTH_MAX: usize = 2;

thread_local! {
    static LIFE: RefCell<Option<Rc<Life>>> = const { RefCell::new(None) };
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) kills: u64,
    pub(crate) operations: u64,
}

struct Handle {
    process: ProcessId,
    durable: bool,
    container: ByteContainer,
}

/// A mutation under way.
#[derive(Clone, Debug)]
struct Plan {
    key: Vec<u8>,
    want: Value,
    /// Position of the last version when it began.
    begun: usize,
    /// Position of the version that it published.
    published: Option<usize>,
}

struct Life {
    disk: SimulatedDisk,
    hot: Vec<Vec<u8>>,
    filler: Vec<Vec<u8>>,
    rng: RefCell<SimulatedRng>,
    observer: RefCell<Rc<ByteContainer>>,
    histories: RefCell<HashMap<Vec<u8>, History>>,
    handles: [RefCell<Option<Rc<Handle>>>; HANDLES],
    plans: RefCell<Vec<Plan>>,
    depth: Cell<usize>,
    tally: Cell<Tally>,
    next_value: Cell<u64>,
    lengths: usize,
    errors_expected: bool,
    views: bool,
    inserts: bool,
    loading: Cell<bool>,
}

impl Life {
    fn below(&self, bound: usize) -> usize {
        self.rng.borrow_mut().below(bound)
    }

    fn chance(&self, wins: u32, of: u32) -> bool {
        self.rng.borrow_mut().chance(wins, of)
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }

    /// Looks at the file with no operation of others in between.
    fn observe<T>(&self, look: impl FnOnce(&ByteContainer) -> T) -> T {
        let depth = self.depth.replace(usize::MAX);
        let observer = Rc::clone(&self.observer.borrow());
        let seen = look(&observer);
        self.depth.set(depth);
        seen
    }

    fn handle(&self, index: usize) -> Option<Rc<Handle>> {
        if let Some(handle) = &*self.handles[index].borrow() {
            return Some(Rc::clone(handle));
        }
        let process = self.disk.spawn();
        if self.views {
            self.disk.set_mount(process, Some(1 + self.below(3) as u64));
        }
        self.disk.set_maps(process, self.chance(1, 2));
        let durable = self.chance(1, 3);
        let durability = if durable { Durability::Durable } else { Durability::Never };
        let map = [MapPolicy::Never, MapPolicy::AfterLoads(0)][self.below(2)];
        let options =
            Options::new().durability(durability).map(map).lock_deadline(Duration::from_millis(2));
        let container = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        let container = self.judge(process, container)?;
        let handle = Rc::new(Handle { process, durable, container });
        *self.handles[index].borrow_mut() = Some(Rc::clone(&handle));
        Some(handle)
    }

    fn judge<T>(&self, process: ProcessId, result: cloakroom::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if !self.disk.is_alive(process) => None,
            Err(error) if matches!(error.kind(), cloakroom::ErrorKind::Busy { .. }) => {
                assert!(self.depth.get() > 0, "a lock is stuck: {error}");
                None
            }
            Err(error) => {
                let damaged = matches!(error.kind(), cloakroom::ErrorKind::Damaged(_));
                assert!(self.errors_expected && !damaged, "{error}");
                None
            }
        }
    }

    /// One operation of some process, perhaps its last.
    fn act(&self, index: usize) {
        let Some(handle) = self.handle(index) else { return };
        self.count(|tally| tally.operations += 1);
        let key = self.hot[self.below(self.hot.len())].clone();
        self.depth.set(self.depth.get() + 1);
        match self.below(16) {
            0..=5 => self.save(&handle, &key),
            6 => self.update(&handle, &key),
            7..=9 => self.remove(&handle, &key),
            10 => self.load(&handle, &key),
            11 => {
                let touched = handle.container.set_deadline(&key, Some(u64::MAX >> 17));
                self.judge(handle.process, touched);
            }
            12 if self.inserts => self.insert(&handle),
            _ => self.sync(&handle),
        }
        self.depth.set(self.depth.get() - 1);
        if !self.disk.is_alive(handle.process) {
            self.handles[index].borrow_mut().take();
        }
    }

    fn fresh(&self) -> u64 {
        self.next_value.set(self.next_value.get() + 1);
        self.next_value.get()
    }

    fn intend(&self, key: &[u8], want: Value) {
        let begun = self.histories.borrow()[key].position();
        let plan = Plan { key: key.to_vec(), want, begun, published: None };
        self.plans.borrow_mut().push(plan);
    }

    /// Enters what the mutations under way have published into the histories.
    fn look(&self) {
        let mut plans = self.plans.borrow_mut();
        // The innermost first: the outer ones wait for it.
        for plan in plans.iter_mut().rev().filter(|plan| plan.published.is_none()) {
            let (now, info) =
                self.observe(|observer| (read(observer, &plan.key), observer.info().unwrap()));
            let mut histories = self.histories.borrow_mut();
            let history = histories.get_mut(&plan.key).unwrap();
            if now == plan.want && history.last() != now {
                history.publish(now, info.write_epoch);
                plan.published = Some(history.position());
            }
        }
    }

    /// The end of a mutation; `told` is what its caller was told, if anything.
    fn over(&self, handle: &Handle, told: Option<bool>) {
        self.look();
        let plan = self.plans.borrow_mut().pop().unwrap();
        let mut histories = self.histories.borrow_mut();
        let history = histories.get_mut(&plan.key).unwrap();
        match told {
            Some(true) => {
                assert!(plan.published.is_some(), "told done: {plan:?}, {:?}", history.last())
            }
            Some(false) => {
                let absent = history.allows_since(plan.begun, None);
                assert!(absent, "told that there was nothing: {plan:?}");
            }
            None => return,
        }
        if let Some(position) = plan.published.filter(|_| handle.durable) {
            history.acknowledge_up_to(position);
        }
    }

    fn save(&self, handle: &Handle, key: &[u8]) {
        let number = self.fresh();
        self.intend(key, Some(number));
        let saved = handle.container.save(key, &value_bytes(key, number, self.lengths));
        let told = self.judge(handle.process, saved);
        self.over(handle, told.map(|_| true));
    }

    fn update(&self, handle: &Handle, key: &[u8]) {
        let number = self.fresh();
        self.intend(key, Some(number));
        let updated = handle.container.update(key, |session| {
            let was = session.map(|session| number_of(key, session.value));
            let last = self.histories.borrow()[key].last();
            assert_eq!(was, last, "an update did not see the last version");
            Change::Save(value_bytes(key, number, self.lengths))
        });
        let told = self.judge(handle.process, updated);
        self.over(handle, told.map(|_| true));
    }

    fn remove(&self, handle: &Handle, key: &[u8]) {
        self.intend(key, None);
        let removed = handle.container.remove(key);
        let told = self.judge(handle.process, removed);
        self.over(handle, told);
    }

    fn load(&self, handle: &Handle, key: &[u8]) {
        let begun = self.histories.borrow()[key].position();
        self.loading.set(true);
        let loaded = handle.container.load(key);
        self.loading.set(false);
        let Some(session) = self.judge(handle.process, loaded) else { return };
        let value = session.map(|session| number_of(key, &session.value));
        let history = &self.histories.borrow()[key];
        let allowed = history.allows_since(begun, value);
        assert!(allowed, "a load returned {value:?}, not published since {begun}: {history:?}");
    }

    fn sync(&self, handle: &Handle) {
        let before: Vec<_> = {
            let histories = self.histories.borrow();
            histories.iter().map(|(key, history)| (key.clone(), history.position())).collect()
        };
        if self.judge(handle.process, handle.container.sync()).is_some() {
            let mut histories = self.histories.borrow_mut();
            for (key, position) in before {
                histories.get_mut(&key).unwrap().acknowledge_up_to(position);
            }
        }
    }

    fn insert(&self, handle: &Handle) {
        let id = format!("new-{}", self.fresh()).into_bytes();
        let saved = handle.container.save(&id, &value_bytes(&id, 0, 2));
        self.judge(handle.process, saved);
    }

    /// Before a storage call of an operation: what others do meanwhile.
    fn meanwhile(&self, call: &Call) {
        let in_sync = call.operation == Operation::SyncEnd;
        let depth = self.depth.get();
        if depth == 0 || depth > DEPTH_MAX || self.disk.holder(LockName::Writer).is_some() {
            return;
        }
        let reading = self.loading.get() && self.chance(1, 4);
        if !(reading || in_sync && self.chance(2, 3)) {
            return;
        }
        self.look();
        let loading = self.loading.replace(false);
        for _ in 0..1 + self.below(4) {
            let index = self.below(HANDLES);
            let theirs = self.handles[index].borrow().as_ref().map(|handle| handle.process);
            if theirs != Some(call.process) {
                self.act(index);
            }
        }
        self.loading.set(loading);
    }

    /// kill -9 at some call of an operation to come, or at once.
    fn kill(&self) {
        let index = self.below(HANDLES);
        let Some(handle) = self.handle(index) else { return };
        self.count(|tally| tally.kills += 1);
        self.disk.kill_at(handle.process, self.below(60) as u64);
        for _ in 0..4 {
            if self.disk.is_alive(handle.process) {
                self.act(index);
            }
        }
        self.disk.clear_script();
        self.disk.kill(handle.process);
        self.handles[index].borrow_mut().take();
        for key in &self.hot {
            let now = self.observe(|observer| read(observer, key));
            assert_eq!(now, self.histories.borrow()[key].last(), "after a kill");
        }
    }

    /// A power cut, perhaps in the midst of an operation.
    fn cut(&self) {
        if self.chance(1, 2) {
            self.kill();
        }
        self.count(|tally| tally.cuts += 1);
        let synced = self.observe(|observer| observer.info().unwrap().synced_epoch);
        for handle in &self.handles {
            if let Some(handle) = handle.borrow_mut().take() {
                self.disk.kill(handle.process);
            }
        }
        let policy = CutPolicy::draw(&mut self.rng.borrow_mut());
        self.disk.power_cut(policy, &mut self.rng.borrow_mut());
        *self.observer.borrow_mut() = Rc::new(stage::observer(&self.disk));
        let mut histories = self.histories.borrow_mut();
        for key in &self.hot {
            let now = self.observe(|observer| read(observer, key));
            let history = histories.get_mut(key).unwrap();
            let allowed = history.allowed_after_cut(synced);
            assert!(
                allowed.iter().any(|version| version.value == now),
                "after a cut at synced epoch {synced} a key reads {now:?}; allowed {allowed:?}"
            );
            history.settle(now);
        }
        if !self.filler.is_empty() {
            let id = &self.filler[self.below(self.filler.len())];
            assert_eq!(self.observe(|observer| read(observer, id)), Some(0), "filler");
        }
        drop(histories);
        if self.chance(1, 3) {
            self.check();
        }
    }

    fn check(&self) {
        let report = self.observe(|observer| observer.check().unwrap());
        stage::assert_sound(&report);
    }

    fn live(&self, cuts: u64) {
        let kill_in = [8, 30, 100][self.below(3)];
        let cut_in = [8, 20, 60][self.below(3)];
        let mut index = 0;
        while self.tally.get().cuts < cuts {
            if self.chance(1, kill_in) {
                self.kill();
            } else if self.chance(1, cut_in) {
                self.cut();
            } else {
                if self.chance(1, 3) {
                    index = self.below(HANDLES);
                }
                self.act(index);
            }
            if self.chance(1, 40) {
                // A process ends as it should, and gives back what it has.
                self.handles[self.below(HANDLES)].borrow_mut().take();
            }
            if self.chance(1, 30) {
                self.disk.write_back();
            }
        }
        self.finish();
    }

    /// After all that the container is good for a normal life, in which nobody
    /// recovers any more.
    fn finish(&self) {
        for handle in &self.handles {
            handle.borrow_mut().take();
        }
        self.disk.set_capacity(None);
        self.disk.set_sync_failure(0, 1);
        let options = Options::new().durability(Durability::Durable);
        let storage = Box::new(self.disk.open(self.disk.spawn()));
        let container = ByteContainer::open_on(storage, options).unwrap();
        let mut recoveries = None;
        for (number, key) in self.hot.iter().enumerate() {
            let number = number as u64;
            container.save(key, &value_bytes(key, number, 8)).unwrap();
            assert_eq!(read(&container, key), Some(number));
            let syncs = *recoveries.get_or_insert(self.disk.syncs_under_lock());
            assert_eq!(self.disk.syncs_under_lock(), syncs, "a recovery that nobody needs");
        }
        self.check();
    }
}

/// One run; what it came to, even if it ended in a panic.
pub(crate) fn run(scene: &Scene, seed: u64, cuts: u64, tally: &mut Tally) {
    let mut rng = SimulatedRng::new(seed ^ 0x5e71a1);
    let disk = stage::set(scene, seed);
    let failing = rng.chance(1, 3);
    if failing {
        disk.set_sync_failure(1, [3, 6][rng.below(2)]);
    }
    let full = rng.chance(1, 8);
    if full {
        disk.set_capacity(Some(disk.len() + 65536 * (2 + rng.below(12) as u64)));
    }
    let keys = [2, 4, scene.hot.len()][rng.below(3)];
    let life = Rc::new(Life {
        observer: RefCell::new(Rc::new(stage::observer(&disk))),
        hot: scene.hot[..keys].to_vec(),
        filler: scene.filler.clone(),
        histories: RefCell::new(histories(scene)),
        handles: Default::default(),
        plans: RefCell::new(Vec::new()),
        depth: Cell::new(0),
        tally: Cell::new(Tally::default()),
        next_value: Cell::new(0),
        lengths: 1 + rng.below(stage::LENGTHS.len()),
        errors_expected: failing || full,
        views: rng.chance(1, 3),
        inserts: rng.chance(1, 2),
        loading: Cell::new(false),
        disk: disk.clone(),
        rng: RefCell::new(rng),
    });
    LIFE.set(Some(Rc::clone(&life)));
    disk.set_hook(Some(Arc::new(|call: &Call| {
        let life = LIFE.with(|place| place.borrow().clone());
        if let Some(life) = life {
            life.meanwhile(call);
        }
        Verdict::Proceed
    })));
    let lived = catch_unwind(AssertUnwindSafe(|| life.live(cuts)));
    disk.set_hook(None);
    LIFE.set(None);
    for handle in &life.handles {
        if let Ok(mut place) = handle.try_borrow_mut()
            && let Some(handle) = place.take()
        {
            disk.kill(handle.process);
        }
    }
    let lived_through = life.tally.get();
    tally.cuts += lived_through.cuts;
    tally.kills += lived_through.kills;
    tally.operations += lived_through.operations;
    if let Err(panic) = lived {
        resume_unwind(panic);
    }
}

#[test]
fn serial_runs_lose_nothing_either() {
    let scenes = stage::scenes();
    let mut tally = Tally::default();
    for seed in crate::random::seeds() {
        let scene = &scenes[seed as usize % scenes.len()];
        let result = catch_unwind(AssertUnwindSafe(|| run(scene, seed, 12, &mut tally)));
        if result.is_err() {
            panic!("seed {seed} ({}): see above; CLOAKROOM_SEED={seed} repeats it", scene.name);
        }
    }
    println!("{tally:?}");
    stage::say("simulated power cuts, random", tally.cuts);
    stage::say("simulated kills, random", tally.kills);
    // One seed alone may be without.
    let alone = std::env::var_os("CLOAKROOM_SEED").is_some();
    assert!(alone || tally.cuts > 0 && tally.kills > 0);
}
