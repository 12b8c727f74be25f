//! Any operations in any order answer as a hash map would.
//!
//! The container is opened again and again, by one handle or by two, with all
//! kinds of options; its storage is full from time to time. At the end it is
//! sound.

#![no_main]

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use cloakroom::storage::MemoryStorage;
use cloakroom::{
    ByteContainer, Change, Durability, ErrorKind, IdForm, Options, Outcome, Result, Updated,
    Version,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Operation {
    Save(u8, u16),
    SaveLarge(u8, u32),
    /// So many sessions of ids that nothing else uses.
    SaveMany(u8),
    RemoveMany(u8),
    Create(u8, u16),
    Replace(u8, u16),
    SaveIf {
        id: u8,
        current: bool,
        len: u16,
    },
    Append(u8, u8),
    RemoveInUpdate(u8),
    Remove(u8),
    Touch(u8, Deadline),
    Sync,
    Walk,
    Reopen {
        second: bool,
        durable: bool,
    },
    Swap,
    Fill,
    Free,
    /// Without a grace, and the old id is free again afterwards.
    Rotate(u8, u8),
}

#[derive(Arbitrary, Debug)]
enum Deadline {
    Never,
    Past,
    Future,
}

type Id = (u8, u16);

const OPERATIONS_MAX: usize = 40;
/// Up to three blocks.
const LARGE: usize = 150_000;

struct Run {
    storage: MemoryStorage,
    handles: Vec<ByteContainer>,
    model: HashMap<Id, (Vec<u8>, Version)>,
    stale: Option<Version>,
}

/// A container to begin with, made once, and what is in it.
struct Start {
    bytes: Vec<u8>,
    model: HashMap<Id, (Vec<u8>, Version)>,
}

/// So many sessions are one step before the index grows.
const CROWD: u16 = 600;

impl Start {
    fn of(crowded: bool) -> &'static Start {
        static STARTS: [OnceLock<Start>; 2] = [const { OnceLock::new() }; 2];
        STARTS[usize::from(crowded)].get_or_init(|| Start::new(if crowded { CROWD } else { 0 }))
    }

    fn new(sessions: u16) -> Start {
        let storage = MemoryStorage::new();
        let options = Options::new().ids(IdForm::Plain);
        let container = ByteContainer::create_on(Box::new(storage.share()), options);
        let container = container.unwrap();
        let mut model = HashMap::new();
        for number in 0..sessions {
            let (id, saved) = ((0, number + 1), vec![0; 9]);
            let version = container.save(key(id), &saved).unwrap();
            model.insert(id, (saved, version));
        }
        drop(container);
        Start { bytes: storage.to_bytes(), model }
    }

    fn run(&self) -> Run {
        let storage = MemoryStorage::from_bytes(self.bytes.clone());
        let handle = ByteContainer::open_on(Box::new(storage.share()), Options::new());
        let model = self.model.clone();
        Run { storage, handles: vec![handle.unwrap()], model, stale: None }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// Most of the time the container is empty, which is faster.
    start: u8,
    operations: Vec<Operation>,
}

fuzz_target!(|input: Input| {
    let mut run = Start::of(input.start.is_multiple_of(16)).run();
    for operation in input.operations.into_iter().take(OPERATIONS_MAX) {
        run.step(operation);
    }
    run.storage.set_limit(None);
    run.walk();
    run.handles.clear();
    let container = ByteContainer::open_on(Box::new(run.storage.share()), Options::new()).unwrap();
    let report = container.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
    assert_eq!(report.sessions, run.model.len() as u64);
});

impl Run {
    fn step(&mut self, operation: Operation) {
        let container = &self.handles[0];
        match operation {
            Operation::Save(id, len) => self.save((id, 0), usize::from(len)),
            Operation::SaveLarge(id, len) => self.save((id, 0), len as usize % LARGE),
            Operation::SaveMany(count) => {
                for number in 0..u16::from(count) {
                    self.save((count, number + 1), usize::from(number % 64));
                }
            }
            Operation::RemoveMany(count) => {
                for number in 0..u16::from(count) {
                    self.remove((count, number + 1));
                }
            }
            Operation::Create(id, len) => {
                let saved = value((id, 1), len.into());
                let outcome = container.create_session(key((id, 0)), &saved);
                let expected = !self.model.contains_key(&(id, 0));
                self.settle((id, 0), saved, outcome, expected);
            }
            Operation::Replace(id, len) => {
                let saved = value((id, 2), len.into());
                let outcome = container.replace(key((id, 0)), &saved);
                let expected = self.model.contains_key(&(id, 0));
                self.settle((id, 0), saved, outcome, expected);
            }
            Operation::SaveIf { id, current, len } => {
                let known = self.model.get(&(id, 0)).map(|(_, version)| *version);
                let asked = if current { known } else { self.stale };
                let Some(asked) = asked else { return };
                let saved = value((id, 3), len.into());
                let outcome = container.save_if(key((id, 0)), asked, &saved);
                self.settle((id, 0), saved, outcome, known == Some(asked));
            }
            Operation::Append(id, len) => {
                let mut saved = Vec::new();
                let updated = container.update(key((id, 0)), |session| {
                    saved = session.map(|session| session.value.to_vec()).unwrap_or_default();
                    saved.extend(value((id, 4), len.into()));
                    Change::Save(saved.clone())
                });
                match updated {
                    Ok(Updated::Saved(version)) => self.keep((id, 0), saved, version),
                    other => assert!(is_full(other.as_ref()), "{other:?}"),
                }
            }
            Operation::RemoveInUpdate(id) => {
                let updated = container.update(key((id, 0)), |_| Change::Remove);
                assert_eq!(updated.unwrap(), Updated::Removed);
                self.model.remove(&(id, 0));
            }
            Operation::Remove(id) => self.remove((id, 0)),
            Operation::Touch(id, deadline) => {
                let deadline = match deadline {
                    Deadline::Never => None,
                    Deadline::Past => Some(1),
                    Deadline::Future => Some(1 << 47),
                };
                let touched = container.set_deadline(key((id, 0)), deadline).unwrap();
                assert_eq!(touched, self.model.contains_key(&(id, 0)));
                if deadline == Some(1) {
                    self.model.remove(&(id, 0));
                }
            }
            Operation::Sync => container.sync().unwrap(),
            Operation::Walk => self.walk(),
            Operation::Reopen { second, durable } => {
                let durability = match durable {
                    true => Durability::Durable,
                    false => Durability::Interval(Duration::ZERO),
                };
                let options = Options::new().durability(durability);
                let handle = ByteContainer::open_on(Box::new(self.storage.share()), options);
                self.handles.truncate(usize::from(second));
                self.handles.insert(0, handle.unwrap());
            }
            Operation::Swap => self.handles.rotate_left(1),
            Operation::Fill => {
                let len = self.storage.to_bytes().len();
                self.storage.set_limit(Some(len as u64));
            }
            Operation::Free => self.storage.set_limit(None),
            Operation::Rotate(old, new) => self.rotate((old, 0), (new, 0)),
        }
    }

    fn save(&mut self, id: Id, len: usize) {
        let saved = value(id, len);
        match self.handles[0].save(key(id), &saved) {
            Ok(version) => self.keep(id, saved, version),
            error => assert!(is_full(error.as_ref()), "{error:?}"),
        }
    }

    fn rotate(&mut self, old: Id, new: Id) {
        let lives = self.model.contains_key(&old) && !self.model.contains_key(&new);
        let version = match self.handles[0].rotate(key(old), key(new), Duration::ZERO) {
            Ok(outcome) => {
                assert_eq!(outcome.saved().is_some(), lives);
                outcome.saved()
            }
            error => {
                assert!(lives && is_full(error.as_ref()), "{error:?}");
                let left = self.handles[0].load(key(old)).unwrap();
                let moved = self.handles[0].load(key(new)).unwrap();
                assert_eq!(left.is_none(), moved.is_some(), "under none or both of its ids");
                moved.map(|session| session.version)
            }
        };
        if let Some(version) = version {
            assert!(!self.handles[0].remove(key(old)).unwrap());
            let (saved, stale) = self.model.remove(&old).unwrap();
            self.stale = Some(stale);
            self.model.insert(new, (saved, version));
        }
    }

    fn settle(&mut self, id: Id, saved: Vec<u8>, outcome: Result<Outcome>, expected: bool) {
        match outcome {
            Ok(Outcome::Saved(version)) if expected => self.keep(id, saved, version),
            Ok(Outcome::Conflict) if !expected => {}
            other => assert!(expected && is_full(other.as_ref()), "{other:?}"),
        }
    }

    fn keep(&mut self, id: Id, saved: Vec<u8>, version: Version) {
        let loaded = self.handles[0].load(key(id)).unwrap().unwrap();
        assert!(loaded.value == saved && loaded.version == version);
        let before = self.model.insert(id, (saved, version));
        self.stale = before.map(|(_, version)| version).or(self.stale);
        assert_ne!(self.stale, Some(version));
    }

    fn remove(&mut self, id: Id) {
        let removed = self.handles[0].remove(key(id)).unwrap();
        assert_eq!(removed, self.model.remove(&id).is_some());
    }

    fn walk(&self) {
        let mut found = HashMap::new();
        for item in self.handles[0].iter() {
            let (id, session) = item.unwrap();
            assert!(found.insert(id, session).is_none());
        }
        assert_eq!(found.len(), self.model.len());
        for (id, (saved, version)) in &self.model {
            let session = &found[&key(*id)[..]];
            assert!(session.value == *saved && session.version == *version);
        }
    }
}

fn is_full<T>(result: std::result::Result<T, &cloakroom::Error>) -> bool {
    result.is_err_and(|error| matches!(error.kind(), ErrorKind::Full(_)))
}

fn key(id: Id) -> [u8; 3] {
    let [low, high] = id.1.to_le_bytes();
    [id.0, low, high]
}

fn value(id: Id, len: usize) -> Vec<u8> {
    let mut value = key(id).repeat(len / 3 + 1);
    value.truncate(len);
    value
}
