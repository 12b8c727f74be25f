//! What each session may read as, by what its writers told.
//!
//! Each key has one writer, so its versions have an order. A key reads as what
//! the last promised operation left, or as any operation after it that was
//! begun. What a reading after a cut found is what it is from then on: older and
//! newer versions must never be seen again.

use std::collections::BTreeMap;

use crate::message::{Message, What};
use crate::value::COUNTERS;

/// After which event the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Only what was told to be durable is promised.
    PowerCut,
    /// All that was done is promised.
    Kills,
}

/// A session as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// Number of the save.
    pub(crate) number: u32,
    /// Number of the touch; 0 if it was never touched.
    pub(crate) touch: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Save,
    Remove,
    Touch,
}

#[derive(Clone, Debug, Default)]
struct Key {
    base: Option<Reading>,
    operations: Vec<(u32, Kind)>,
    /// Last operation that returned; last one that is promised.
    done: u32,
    promised: u32,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    base: u32,
    /// Times that somebody began to raise it.
    begun: u32,
    done: u32,
    promised: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    after: After,
    keys: BTreeMap<u16, Key>,
    counters: BTreeMap<u16, Counter>,
    /// What returned, in order, and where each writer's sync began in it.
    done: Vec<(u16, u32)>,
    syncs: BTreeMap<u8, usize>,
    pub(crate) created: bool,
}

impl Ledger {
    pub(crate) fn new(after: After) -> Ledger {
        Ledger {
            after,
            keys: BTreeMap::new(),
            counters: BTreeMap::new(),
            done: Vec::new(),
            syncs: BTreeMap::new(),
            created: false,
        }
    }

    /// Takes down what was told.
    pub(crate) fn note(&mut self, message: Message) {
        let Message { what, writer, key, number } = message;
        let everything = self.after == After::Kills;
        match what {
            What::Saves => self.begin(key, number, Kind::Save),
            What::Removes => self.begin(key, number, Kind::Remove),
            What::Touches => self.begin(key, number, Kind::Touch),
            What::Done => self.finish(key, number, everything),
            What::Durable => self.finish(key, number, true),
            What::Counts => self.counters.entry(key).or_default().begun += 1,
            What::Counted => self.finish(key, number, everything),
            What::CountedDurably => self.finish(key, number, true),
            What::Syncs => drop(self.syncs.insert(writer, self.done.len())),
            What::Synced => {
                let until = self.syncs.remove(&writer).expect("a sync that never began");
                let done = std::mem::take(&mut self.done);
                for (key, number) in &done[..until] {
                    self.promise(*key, *number);
                }
                self.done = done;
            }
            What::Created => self.created = true,
            What::Ready | What::Failed | What::Wrong | What::Cut => {}
        }
    }

    fn begin(&mut self, key: u16, number: u32, kind: Kind) {
        self.keys.entry(key).or_default().operations.push((number, kind));
    }

    fn finish(&mut self, key: u16, number: u32, promised: bool) {
        self.done.push((key, number));
        if key >= COUNTERS {
            let counter = self.counters.entry(key).or_default();
            counter.done = counter.done.max(number);
        } else {
            self.keys.entry(key).or_default().done = number;
        }
        if promised {
            self.promise(key, number);
        }
    }

    fn promise(&mut self, key: u16, number: u32) {
        if key >= COUNTERS {
            let counter = self.counters.entry(key).or_default();
            counter.promised = counter.promised.max(number);
        } else {
            let key = self.keys.entry(key).or_default();
            key.promised = key.promised.max(number);
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = u16> {
        self.keys.keys().copied()
    }

    /// What the key was settled to be.
    pub(crate) fn base(&self, key: u16) -> Option<Reading> {
        self.keys.get(&key).and_then(|key| key.base)
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = u16> {
        self.counters.keys().copied()
    }

    /// Whether anything of this key was promised since it was last read.
    pub(crate) fn promises(&self, key: u16) -> bool {
        self.keys.get(&key).is_some_and(|key| key.promised != 0)
    }

    /// Whether a reading is older than what was last done: the cut took something.
    pub(crate) fn goes_back(&self, key: u16, read: Option<Reading>) -> bool {
        let Some(key) = self.keys.get(&key) else {
            return false;
        };
        let last = key.last_value(|number| number <= key.done);
        last.is_some_and(|(number, kind)| match kind {
            Kind::Save => read.is_none_or(|read| read.number < number),
            _ => read.is_some_and(|read| read.number < number),
        })
    }

    /// Complains if the key must not read so.
    pub(crate) fn check(&self, key: u16, read: Option<Reading>) -> Result<(), String> {
        let unknown = Key::default();
        let known = self.keys.get(&key).unwrap_or(&unknown);
        known.check(read).map_err(|why| format!("key {key} reads as {read:?}: {why}; {known:?}"))
    }

    pub(crate) fn check_counter(&self, key: u16, read: u32) -> Result<(), String> {
        let unknown = Counter::default();
        let counter = self.counters.get(&key).unwrap_or(&unknown);
        let allowed = counter.base.max(counter.promised)..=counter.base + counter.begun;
        if allowed.contains(&read) {
            return Ok(());
        }
        Err(format!("counter {key} reads as {read}, not within {allowed:?}; {counter:?}"))
    }

    /// From now on the key is this.
    pub(crate) fn settle(&mut self, key: u16, read: Option<Reading>) {
        *self.keys.entry(key).or_default() = Key { base: read, ..Key::default() };
    }

    pub(crate) fn settle_counter(&mut self, key: u16, read: u32) {
        *self.counters.entry(key).or_default() = Counter { base: read, ..Counter::default() };
    }

    /// All readings are settled: nobody is at work any more.
    pub(crate) fn rest(&mut self) {
        self.done.clear();
        self.syncs.clear();
    }
}

impl Key {
    /// The last save or removal among those numbers.
    fn last_value(&self, within: impl Fn(u32) -> bool) -> Option<(u32, Kind)> {
        let values = self.operations.iter().rev();
        values.copied().find(|(number, kind)| *kind != Kind::Touch && within(*number))
    }

    fn check(&self, read: Option<Reading>) -> Result<(), &'static str> {
        let floor = self.last_value(|number| number <= self.promised);
        let from = floor.map_or(0, |(number, _)| number);
        let values = || self.operations.iter().filter(|(number, _)| *number >= from);
        let Some(read) = read else {
            let removed = values().any(|(_, kind)| *kind == Kind::Remove);
            let never_was = floor.is_none() && self.base.is_none();
            return if removed || never_was { Ok(()) } else { Err("it is gone") };
        };
        let saved = values().any(|(number, kind)| *kind == Kind::Save && *number == read.number);
        let as_before = floor.is_none() && self.base.is_some_and(|base| base.number == read.number);
        if !saved && !as_before {
            return Err("not a version that it may be");
        }
        self.check_touch(read.touch)
    }

    /// A deadline does not belong to a version: it is checked on its own.
    fn check_touch(&self, touch: u32) -> Result<(), &'static str> {
        let ends = |kind: Kind| kind != Kind::Save;
        let floor = self.operations.iter().rfind(|(n, kind)| *n <= self.promised && ends(*kind));
        let from = floor.map_or(0, |(number, _)| *number);
        let later = || self.operations.iter().filter(|(number, _)| *number >= from);
        let touched = later().any(|(number, kind)| *kind == Kind::Touch && *number == touch);
        // A touch of a session that is not there does nothing, and the session that
        // follows a removal has no deadline.
        let removed = later().any(|(_, kind)| *kind == Kind::Remove);
        let fresh = self.base.is_none() || self.operations.iter().any(|(_, k)| *k == Kind::Remove);
        let as_before = floor.is_none() && self.base.is_some_and(|base| base.touch == touch);
        let allowed = touched || as_before || touch == 0 && (removed || fresh);
        if allowed { Ok(()) } else { Err("not a deadline that it may have") }
    }
}
