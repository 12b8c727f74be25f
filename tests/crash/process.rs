//! A logical process: a coroutine that uses the container until it is killed.
//!
//! It is suspended before every storage call. What it is about to do to which key
//! stands in its `Plan`, so that the stage can tell what was published when the
//! process does not live to say so.
//!
//! The one use of `unsafe` is the way from the disk's hook back to the coroutine
//! that is running: a raw pointer to its yielder, set around every resumption.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::storage::simulated::{
    Hook, Operation, ProcessId, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{
    ByteContainer, Change, Durability, ErrorKind, MapPolicy, Options, Outcome, Result, Updated,
};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::history::{History, Value};
use crate::stage::{number_of, value_bytes};

type Body = Coroutine<(), (), (), DefaultStack>;

thread_local! {
    static RUNNING: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
    static PENDING: Cell<Option<Operation>> = const { Cell::new(None) };
}

/// Suspends whoever runs in a coroutine before each storage call.
pub(crate) fn hook() -> Hook {
    Arc::new(|call| {
        let running = RUNNING.get();
        if !running.is_null() {
            PENDING.set(Some(call.operation));
            // SAFETY: `resume` sets the pointer to the yielder of the coroutine
            // that it resumes, which lives as long as the coroutine runs.
            unsafe { (*running).suspend(()) };
            // Others ran meanwhile.
            RUNNING.set(running);
        }
        Verdict::Proceed
    })
}

/// Runs something on the same thread that no coroutine is suspended in.
pub(crate) fn undisturbed<T>(look: impl FnOnce() -> T) -> T {
    let running = RUNNING.replace(std::ptr::null());
    let result = look();
    RUNNING.set(running);
    result
}

/// What a mutation under way wants.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) key: Vec<u8>,
    /// What the key is to read as.
    pub(crate) want: Value,
    /// It was seen to be published, in this epoch.
    pub(crate) published: bool,
    pub(crate) epoch: Option<u64>,
    /// What must have been the version before.
    pub(crate) condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Any,
    Absent,
    Present,
    Was(Value),
}

/// What processes and stage share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) histories: HashMap<Vec<u8>, History>,
    pub(crate) next_value: u64,
    pub(crate) next_filler: u64,
    /// Those that somebody was told are on the disk.
    pub(crate) durable_fillers: Vec<u64>,
    pub(crate) lengths: usize,
    /// What each process has under way.
    pub(crate) intents: HashMap<ProcessId, Rc<RefCell<Intent>>>,
    /// Epochs that somebody was told are durable.
    pub(crate) told_durable: u64,
    /// Errors are part of the run: failing syncs, a full disk.
    pub(crate) errors_expected: bool,
    pub(crate) operations: u64,
    pub(crate) failures: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Intent {
    pub(crate) plan: Option<Plan>,
}

pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) intent: Rc<RefCell<Intent>>,
    pub(crate) pending: Option<Operation>,
    body: Option<Body>,
    yielder: Rc<Cell<*const Yielder<(), ()>>>,
}

/// How a process uses the container.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) options: Options,
    pub(crate) durable: bool,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) seed: u64,
    pub(crate) inserts: bool,
}

impl Role {
    pub(crate) fn draw(rng: &mut SimulatedRng, hot: &[Vec<u8>], inserts: bool) -> Role {
        let durable = rng.chance(1, 3);
        let durability = match rng.below(3) {
            _ if durable => Durability::Durable,
            0 => Durability::Never,
            _ => Durability::Interval(Duration::from_millis(1 + rng.below(3) as u64 * 20)),
        };
        let map = match rng.below(3) {
            0 => MapPolicy::Never,
            1 => MapPolicy::AfterLoads(3),
            _ => MapPolicy::AfterLoads(0),
        };
        let few = rng.chance(1, 2);
        let count = if few { 2 } else { hot.len() };
        Role {
            options: Options::new().durability(durability).map(map),
            durable,
            keys: hot[..count].to_vec(),
            seed: rng.next_u64(),
            inserts,
        }
    }
}

impl Process {
    pub(crate) fn start(disk: &SimulatedDisk, role: Role, shared: &Rc<RefCell<Shared>>) -> Process {
        let id = disk.spawn();
        let intent = Rc::new(RefCell::new(Intent::default()));
        shared.borrow_mut().intents.insert(id, Rc::clone(&intent));
        let yielder = Rc::new(Cell::new(std::ptr::null()));
        let stack = DefaultStack::new(512 << 10).unwrap();
        let (theirs, to_yielder) = (Rc::clone(&intent), Rc::clone(&yielder));
        let (disk, shared) = (disk.clone(), Rc::clone(shared));
        let body = Coroutine::with_stack(stack, move |own: &Yielder<(), ()>, ()| {
            to_yielder.set(own);
            RUNNING.set(own);
            let actor = Actor { disk, id, role, shared, intent: theirs };
            actor.live();
        });
        Process { id, intent, pending: None, body: Some(body), yielder }
    }

    /// Lets the process run up to its next storage call.
    pub(crate) fn resume(&mut self) {
        let body = self.body.as_mut().unwrap();
        RUNNING.set(self.yielder.get());
        PENDING.set(None);
        let result = body.resume(());
        RUNNING.set(std::ptr::null());
        self.pending = PENDING.get();
        if let CoroutineResult::Return(()) = result {
            panic!("a process ended");
        }
    }

    /// The end of a process whose disk has been told so: its stack is unwound,
    /// and nothing that its destructors do has any effect.
    pub(crate) fn bury(&mut self) {
        RUNNING.set(std::ptr::null());
        drop(self.body.take());
    }
}

struct Actor {
    disk: SimulatedDisk,
    id: ProcessId,
    role: Role,
    shared: Rc<RefCell<Shared>>,
    intent: Rc<RefCell<Intent>>,
}

impl Actor {
    fn live(&self) {
        let mut rng = SimulatedRng::new(self.role.seed);
        loop {
            let storage = Box::new(self.disk.open(self.id));
            let Ok(container) = ByteContainer::open_on(storage, self.role.options.clone()) else {
                self.failed();
                continue;
            };
            for _ in 0..1 + rng.below(12) {
                self.act(&container, &mut rng);
                self.shared.borrow_mut().operations += 1;
            }
        }
    }

    fn act(&self, container: &ByteContainer, rng: &mut SimulatedRng) {
        let key = self.role.keys[rng.below(self.role.keys.len())].clone();
        match rng.below(20) {
            0..=4 => self.save(container, key),
            5 => self.update(container, key),
            6 => self.create(container, key),
            7 => self.replace(container, key),
            8..=9 => self.remove(container, key),
            10..=12 => self.load(container, &key),
            13..=15 => self.sync(container),
            16 if rng.chance(1, 2) => self.end(container, key),
            16 => {
                let done = container.set_deadline(&key, Some(u64::MAX >> 17));
                self.judge(done.map(|_| ()));
            }
            17..=18 if self.role.inserts => self.insert(container),
            _ => self.load(container, &key),
        }
    }

    fn fresh(&self) -> u64 {
        let mut shared = self.shared.borrow_mut();
        shared.next_value += 1;
        shared.next_value
    }

    fn bytes(&self, key: &[u8], number: u64) -> Vec<u8> {
        value_bytes(key, number, self.shared.borrow().lengths)
    }

    fn intend(&self, key: &[u8], want: Value, condition: Condition) {
        let plan = Plan { key: key.to_vec(), want, published: false, epoch: None, condition };
        self.intent.borrow_mut().plan = Some(plan);
    }

    /// The end of a mutation that was told to have been done (or not).
    fn done(&self, happened: bool) {
        let plan = self.intent.borrow_mut().plan.take().unwrap();
        assert_eq!(plan.published, happened, "told {happened} of {plan:?}");
        // Invariant 11: what is acknowledged as durable is.
        if let (true, Some(epoch)) = (happened && self.role.durable, plan.epoch) {
            let synced = crate::random::synced_epoch();
            assert!(epoch <= synced, "acknowledged in epoch {epoch}, synced {synced}");
            self.shared.borrow_mut().told_durable += 1;
        }
    }

    /// An operation failed: it may have been published or not, but it is over.
    fn failed(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.failures += 1;
        assert!(shared.errors_expected, "an operation failed");
    }

    fn judge<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => {
                self.intent.borrow_mut().plan = None;
                None
            }
            Err(error) => {
                assert!(self.shared.borrow().errors_expected, "{error}");
                self.shared.borrow_mut().failures += 1;
                self.intent.borrow_mut().plan = None;
                None
            }
        }
    }

    fn save(&self, container: &ByteContainer, key: Vec<u8>) {
        let number = self.fresh();
        self.intend(&key, Some(number), Condition::Any);
        if self.judge(container.save(&key, &self.bytes(&key, number))).is_some() {
            self.done(true);
        }
    }

    fn create(&self, container: &ByteContainer, key: Vec<u8>) {
        let number = self.fresh();
        self.intend(&key, Some(number), Condition::Absent);
        let outcome = self.judge(container.create_session(&key, &self.bytes(&key, number)));
        if let Some(outcome) = outcome {
            self.done(matches!(outcome, Outcome::Saved(_)));
        }
    }

    fn replace(&self, container: &ByteContainer, key: Vec<u8>) {
        let number = self.fresh();
        self.intend(&key, Some(number), Condition::Present);
        let outcome = self.judge(container.replace(&key, &self.bytes(&key, number)));
        if let Some(outcome) = outcome {
            self.done(matches!(outcome, Outcome::Saved(_)));
        }
    }

    fn update(&self, container: &ByteContainer, key: Vec<u8>) {
        let number = self.fresh();
        self.intend(&key, Some(number), Condition::Any);
        let updated = container.update(&key, |session| {
            let was = session.map(|session| number_of(&key, session.value));
            // What was read under the lock is what the new version follows.
            if let Some(plan) = self.intent.borrow_mut().plan.as_mut() {
                plan.condition = Condition::Was(was);
            }
            Change::Save(self.bytes(&key, number))
        });
        if let Some(updated) = self.judge(updated) {
            self.done(matches!(updated, Updated::Saved(_)));
        }
    }

    fn remove(&self, container: &ByteContainer, key: Vec<u8>) {
        self.intend(&key, None, Condition::Present);
        if let Some(lived) = self.judge(container.remove(&key)) {
            self.done(lived);
        }
    }

    /// A logout that keeps the line: its deadline has passed.
    fn end(&self, container: &ByteContainer, key: Vec<u8>) {
        self.intend(&key, None, Condition::Present);
        if let Some(lived) = self.judge(container.set_deadline(&key, Some(1))) {
            self.done(lived);
        }
    }

    fn load(&self, container: &ByteContainer, key: &[u8]) {
        let begun = self.shared.borrow().histories[key].position();
        let Some(session) = self.judge(container.load(key)) else {
            return;
        };
        let value = session.map(|session| number_of(key, &session.value));
        let shared = self.shared.borrow();
        let allowed = shared.histories[key].allows_since(begun, value);
        drop(shared);
        if !allowed {
            // Written and not yet seen by the stage: it looks now.
            crate::random::look_at_holder(&self.disk, &self.shared);
            let allowed = self.shared.borrow().histories[key].allows_since(begun, value);
            assert!(allowed, "a load returned {value:?}, which nobody published");
        }
    }

    /// Invariant 10: what was published before is durable afterwards.
    fn sync(&self, container: &ByteContainer) {
        let before: Vec<_> = {
            let shared = self.shared.borrow();
            let position = |(key, history): (&Vec<u8>, &History)| (key.clone(), history.position());
            shared.histories.iter().map(position).collect()
        };
        if self.judge(container.sync()).is_some() {
            let synced = crate::random::synced_epoch();
            let shared = self.shared.borrow();
            for (key, position) in before {
                let history = &shared.histories[&key];
                assert!(
                    history.position() != position || history.is_durable(synced),
                    "synced, and a version is not durable"
                );
            }
        }
    }

    fn insert(&self, container: &ByteContainer) {
        let number = {
            let mut shared = self.shared.borrow_mut();
            shared.next_filler += 1;
            shared.next_filler
        };
        let id = format!("new-{number}").into_bytes();
        let value = value_bytes(&id, number, 2);
        let saved = self.judge(container.save(&id, &value).map(|_| ()));
        if saved.is_some() && self.role.durable {
            self.shared.borrow_mut().durable_fillers.push(number);
        }
    }
}
