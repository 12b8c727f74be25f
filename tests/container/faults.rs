//! Every storage call fails, once or from then on: an operation that was
//! acknowledged stays done, one that failed is done or not, the next one works,
//! and the container is sound.
//!
//! The simulated disk counts calls, so that each of them can be the one.

use std::collections::BTreeMap;
use std::io;

use cloakroom::storage::simulated::{Failing, ProcessId, SimulatedDisk, Snapshot};
use cloakroom::{ByteContainer, Change, Durability, ErrorKind, Options};

use crate::fixture::{assert_sound, bytes, quick};

type Value = Option<Vec<u8>>;

/// What a test does, and what may be found of it.
struct Scenario {
    disk: SimulatedDisk,
    process: ProcessId,
    before: Snapshot,
    durability: Durability,
    /// What each id may hold: one value, or what a failed operation leaves open.
    sessions: BTreeMap<String, Vec<Value>>,
    /// Ids saved beforehand.
    prepared: u64,
}

fn prepared_value(number: u64) -> Vec<u8> {
    bytes(number, 40)
}

impl Scenario {
    fn new(prepared: u64, durability: Durability) -> Scenario {
        let disk = SimulatedDisk::new(1);
        let process = disk.spawn();
        let container = ByteContainer::create_on(Box::new(disk.open(process)), quick()).unwrap();
        for number in 0..prepared {
            let id = format!("prepared {number}");
            container.save(id, &prepared_value(number)).unwrap();
        }
        container.sync().unwrap();
        drop(container);
        let before = disk.snapshot();
        Scenario { disk, process, before, durability, sessions: BTreeMap::new(), prepared }
    }

    fn open(&self) -> cloakroom::Result<ByteContainer> {
        let options = Options::new().durability(self.durability);
        ByteContainer::open_on(Box::new(self.disk.open(self.process)), options)
    }

    fn note(&mut self, id: &str, value: Value, acknowledged: bool) {
        let known = self.sessions.entry(id.to_owned()).or_insert_with(|| vec![None]);
        if acknowledged {
            known.clear();
        }
        known.push(value);
    }

    fn save(&mut self, container: &ByteContainer, id: &str, len: usize) {
        let value = bytes(self.sessions.len() as u64 + len as u64, len);
        let done = container.save(id, &value);
        self.note(id, Some(value), done.is_ok());
    }

    fn small(&mut self, container: &ByteContainer) {
        self.save(container, "one", 10);
        self.save(container, "two", 900);
        self.save(container, "one", 20);
        self.save(container, "large", 80_000);
        self.save(container, "one", 3000);
        let done = container.remove("two");
        self.note("two", None, done.is_ok());
        let mut seen = None;
        let done = container.update("one", |session| {
            let value = session.map_or(Vec::new(), |session| session.value.to_vec());
            let next = [&value[..], b"+"].concat();
            seen = Some(next.clone());
            Change::Save(next)
        });
        if seen.is_some() {
            self.note("one", seen, done.is_ok());
        }
        let _ = container.set_deadline("one", Some(1 << 45));
        self.save(container, "large", 70_000);
        let _ = container.sync();
        self.save(container, "two", 901);
    }

    fn growing(&mut self, container: &ByteContainer) {
        for number in 0..12 {
            self.save(container, &format!("new {number}"), 30);
        }
        let _ = container.sync();
        self.save(container, "new 1", 31);
        let _ = container.sync();
        self.save(container, "new 2", 32);
        let done = container.remove("new 3");
        self.note("new 3", None, done.is_ok());
    }

    /// Runs it with one failure; false once that lies beyond the end.
    fn run(&mut self, act: Act, nth: u64, kind: io::ErrorKind, failing: Failing) -> bool {
        self.disk.restore(&self.before);
        self.sessions.clear();
        let calls = self.disk.calls();
        self.disk.fail_at(nth, kind, failing);
        let opened = self.open();
        if let Ok(container) = &opened {
            act(self, container);
        }
        let reached = self.disk.calls() - calls > nth;
        self.disk.clear_script();
        let container = match opened {
            Ok(container) => container,
            Err(_) => self.open().unwrap(),
        };
        let context = format!("call {nth} fails {failing:?} with {kind:?}");
        self.verify(&container, &context);
        container.save("afterwards", b"works").expect(&context);
        container.sync().expect(&context);
        let info = container.info().unwrap();
        assert!(!info.suspect_sync, "{context}");
        drop(container);
        let again = self.open().unwrap();
        self.verify(&again, &context);
        assert_sound(&again);
        reached
    }

    fn verify(&self, container: &ByteContainer, context: &str) {
        for (id, allowed) in &self.sessions {
            let found = container.load(id).expect(context);
            let found = found.map(|session| session.value);
            assert!(allowed.contains(&found), "{id} is wrong after {context}");
        }
        for number in (0..self.prepared).step_by(7) {
            let found = container.load(format!("prepared {number}")).expect(context);
            let found = found.map(|session| session.value);
            assert_eq!(found, Some(prepared_value(number)), "{context}");
        }
    }
}

type Act = fn(&mut Scenario, &ByteContainer);

fn at_every_call(mut scenario: Scenario, act: Act, step: usize) {
    for failing in [Failing::Once, Failing::FromThenOn] {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let mut calls = (0..).step_by(step);
            while scenario.run(act, calls.next().unwrap(), kind, failing) {}
        }
    }
}

#[test]
fn any_call_may_fail_while_sessions_come_and_go() {
    at_every_call(Scenario::new(3, Durability::Never), Scenario::small, 1);
}

#[test]
fn any_call_may_fail_while_saves_are_durable() {
    at_every_call(Scenario::new(3, Durability::Durable), Scenario::small, 2);
}

#[test]
fn any_call_may_fail_while_the_index_grows() {
    let scenario = Scenario::new(626, Durability::Never);
    let container = scenario.open().unwrap();
    assert_eq!(container.info().unwrap().segments, 1);
    drop(container);
    at_every_call(scenario, Scenario::growing, 5);
}

#[test]
fn the_scenario_for_growth_does_grow() {
    let mut scenario = Scenario::new(626, Durability::Never);
    let container = scenario.open().unwrap();
    scenario.growing(&container);
    assert!(container.info().unwrap().segments > 1);
}

#[test]
fn a_sync_that_fails_is_not_reported_as_done() {
    let scenario = Scenario::new(3, Durability::Durable);
    let container = scenario.open().unwrap();
    scenario.disk.fail_syncs(1);
    let error = container.save("visitor", b"a hat").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
    assert!(container.info().unwrap().suspect_sync);
    let notes = container.check().unwrap().notes;
    assert!(
        notes.iter().any(|note| note.what.contains("a sync has failed or was cut short")),
        "{notes:?}"
    );
    // The next one writes everything again first, and then it is durable.
    container.save("visitor", b"a coat").unwrap();
    assert!(!container.info().unwrap().suspect_sync);
    scenario.disk.evict_clean();
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!(session.value, b"a coat");
}
