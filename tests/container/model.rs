//! Random operations answer as a hash map would, whoever asks: the handle that
//! wrote, a second one, one opened again, one for reading only.
//!
//! A few ids are used over and over, many once, so that the index grows in some
//! of the cases. On failure proptest prints the shortest operations it found.

use std::collections::HashMap;
use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, Options, Outcome, Updated, Version};
use proptest::prelude::*;

use crate::fixture::{Fixture, bytes, quick};

/// Ids that operations meet again: 0 to 11. Numbers above are for growth.
type Id = u16;

#[derive(Clone, Debug)]
enum Operation {
    Save(Id, usize),
    /// So many new ids, from the first on.
    SaveMany(Id, u16),
    RemoveMany(Id, u16),
    Remove(Id),
    Create(Id, usize),
    Replace(Id, usize),
    /// Of the current version, or of one before.
    SaveIf(Id, bool, usize),
    /// Appends; no bytes means remove; too many means keep.
    Update(Id, usize),
    Touch(Id, bool),
    /// Without a grace, and the old id is free again afterwards.
    Rotate(Id, Id),
    Sync,
    /// Everything is dropped and opened again.
    Reopen(bool),
    /// The other handle takes its turn.
    Swap,
    Walk,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..600usize,
        3 => 600..9000usize,
        1 => 30_000..35_000usize,
        1 => 60_000..200_000usize,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let id = || 0..12u16;
    prop_oneof![
        10 => (id(), size()).prop_map(|(id, len)| Operation::Save(id, len)),
        2 => (100..4000u16, 1..500u16).prop_map(|(id, n)| Operation::SaveMany(id, n)),
        1 => (100..4000u16, 1..500u16).prop_map(|(id, n)| Operation::RemoveMany(id, n)),
        6 => id().prop_map(Operation::Remove),
        4 => (id(), size()).prop_map(|(id, len)| Operation::Create(id, len)),
        4 => (id(), size()).prop_map(|(id, len)| Operation::Replace(id, len)),
        4 => (id(), any::<bool>(), size())
            .prop_map(|(id, current, len)| Operation::SaveIf(id, current, len)),
        4 => (id(), 0..30usize).prop_map(|(id, len)| Operation::Update(id, len)),
        4 => (id(), any::<bool>()).prop_map(|(id, ends)| Operation::Touch(id, ends)),
        4 => (id(), id()).prop_map(|(old, new)| Operation::Rotate(old, new)),
        3 => Just(Operation::Sync),
        2 => any::<bool>().prop_map(Operation::Reopen),
        2 => Just(Operation::Swap),
        1 => Just(Operation::Walk),
    ]
}

struct Run<'a> {
    fixture: &'a Fixture,
    /// Two writers; the first one acts.
    writers: Vec<ByteContainer>,
    reader: ByteContainer,
    model: HashMap<Id, (Vec<u8>, Version)>,
    stale: Option<Version>,
    saves: u64,
}

impl<'a> Run<'a> {
    fn new(fixture: &'a Fixture) -> Run<'a> {
        Run {
            fixture,
            writers: vec![fixture.create(quick()), fixture.open(quick())],
            reader: fixture.open_read_only(quick()),
            model: HashMap::new(),
            stale: None,
            saves: 0,
        }
    }

    fn next_value(&mut self, len: usize) -> Vec<u8> {
        self.saves += 1;
        bytes(self.saves, len)
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Save(id, len) => self.save(id, len),
            Operation::SaveMany(first, many) => {
                for id in first..first + many {
                    self.save(id, usize::from(id % 50));
                }
            }
            Operation::RemoveMany(first, many) => {
                (first..first + many).for_each(|id| self.remove(id))
            }
            Operation::Remove(id) => self.remove(id),
            Operation::Create(id, len) => {
                let value = self.next_value(len);
                let outcome = self.writers[0].create_session(key(id), &value).unwrap();
                self.settle(id, value, outcome, !self.model.contains_key(&id));
            }
            Operation::Replace(id, len) => {
                let value = self.next_value(len);
                let outcome = self.writers[0].replace(key(id), &value).unwrap();
                self.settle(id, value, outcome, self.model.contains_key(&id));
            }
            Operation::SaveIf(id, current, len) => {
                let known = self.model.get(&id).map(|(_, version)| *version);
                let Some(asked) = (if current { known } else { self.stale }) else {
                    return;
                };
                let value = self.next_value(len);
                let outcome = self.writers[0].save_if(key(id), asked, &value).unwrap();
                self.settle(id, value, outcome, known == Some(asked));
            }
            Operation::Update(id, len) => self.update(id, len),
            Operation::Touch(id, ends) => {
                let deadline = if ends { 1 } else { 1 << 47 };
                let touched = self.writers[0].set_deadline(key(id), Some(deadline)).unwrap();
                assert_eq!(touched, self.model.contains_key(&id));
                if ends {
                    self.model.remove(&id);
                }
            }
            Operation::Rotate(old, new) => {
                let lives = self.model.contains_key(&old) && !self.model.contains_key(&new);
                let outcome = self.writers[0].rotate(key(old), key(new), Duration::ZERO).unwrap();
                assert_eq!(outcome.saved().is_some(), lives);
                if let Some(version) = outcome.saved() {
                    assert!(self.writers[0].save(key(old), b"").is_err());
                    assert!(!self.writers[0].remove(key(old)).unwrap());
                    let (value, stale) = self.model.remove(&old).unwrap();
                    self.model.insert(new, (value, version));
                    self.stale = Some(stale);
                }
            }
            Operation::Sync => self.writers[0].sync().unwrap(),
            Operation::Reopen(durable) => {
                self.writers.clear();
                let options = match durable {
                    true => Options::new().durability(Durability::Durable),
                    false => Options::new(),
                };
                self.writers.push(self.fixture.open(options));
                self.writers.push(self.fixture.open(quick()));
                self.reader = self.fixture.open_read_only(Options::new());
            }
            Operation::Swap => self.writers.swap(0, 1),
            Operation::Walk => self.walk(),
        }
    }

    fn save(&mut self, id: Id, len: usize) {
        let value = self.next_value(len);
        let version = self.writers[0].save(key(id), &value).unwrap();
        self.keep(id, value, version);
    }

    fn remove(&mut self, id: Id) {
        let removed = self.writers[0].remove(key(id)).unwrap();
        assert_eq!(removed, self.model.remove(&id).is_some());
    }

    fn update(&mut self, id: Id, len: usize) {
        let more = self.next_value(len);
        let known = self.model.get(&id).map(|(value, _)| value.clone());
        let mut appended = known.clone().unwrap_or_default();
        appended.extend(&more);
        let updated = self.writers[0].update(key(id), |session| {
            assert!(session.map(|session| session.value) == known.as_deref());
            match len {
                0 => Change::Remove,
                25.. => Change::Keep,
                _ => Change::Save(appended.clone()),
            }
        });
        match updated.unwrap() {
            Updated::Saved(version) => self.keep(id, appended, version),
            Updated::Removed => drop(self.model.remove(&id)),
            Updated::Kept => {}
        }
    }

    fn settle(&mut self, id: Id, value: Vec<u8>, outcome: Outcome, expected: bool) {
        assert_eq!(outcome.saved().is_some(), expected);
        if let Outcome::Saved(version) = outcome {
            self.keep(id, value, version);
        }
    }

    /// Notes what was saved, and that all handles see it.
    fn keep(&mut self, id: Id, value: Vec<u8>, version: Version) {
        for handle in self.writers.iter().chain([&self.reader]) {
            let session = handle.load(key(id)).unwrap().unwrap();
            assert!(session.value == value && session.version == version);
        }
        if let Some((_, before)) = self.model.insert(id, (value, version)) {
            self.stale = Some(before);
        }
    }

    fn walk(&self) {
        for handle in self.writers.iter().chain([&self.reader]) {
            let found: Vec<_> = handle.iter().map(Result::unwrap).collect();
            assert_eq!(found.len(), self.model.len());
            for (id, session) in found {
                let id = Id::from_le_bytes(id.try_into().unwrap());
                let (value, version) = &self.model[&id];
                assert!(session.value == *value && session.version == *version);
            }
        }
    }
}

fn key(id: Id) -> [u8; 2] {
    id.to_le_bytes()
}

fn run(fixture: &Fixture, operations: &[Operation]) {
    let mut run = Run::new(fixture);
    for operation in operations {
        run.step(operation);
    }
    run.walk();
    let report = run.reader.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
    assert_eq!(report.sessions, run.model.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn memory_answers_as_a_hash_map(operations in prop::collection::vec(operation(), 1..120)) {
        run(&Fixture::memory(), &operations);
    }

    #[test]
    fn a_simulated_disk_answers_as_a_hash_map(
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        run(&Fixture::simulated(), &operations);
    }

    #[test]
    fn a_file_answers_as_a_hash_map(operations in prop::collection::vec(operation(), 1..60)) {
        run(&Fixture::file(), &operations);
    }
}
