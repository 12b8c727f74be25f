//! What each id may hold, by what callers were told.
//!
//! An operation that was acknowledged happened; one that failed happened or did
//! not. Nothing here asks the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A session as a caller sees it; `None` is no session.
pub(crate) type Value = Option<Held>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) deadline_ms: Option<u64>,
}

pub(crate) fn held(bytes: &[u8]) -> Value {
    Some(Held { bytes: bytes.into(), deadline_ms: None })
}

/// The versions of one id since the last that is surely on the disk.
#[derive(Clone, Debug)]
struct Past {
    /// Each with whether it surely happened; the first did.
    versions: Vec<(Value, bool)>,
    /// The oldest one that a power cut may bring back.
    floor: usize,
}

/// All ids that a test changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(BTreeMap<String, Past>);

impl Known {
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn past(&mut self, id: &str) -> &mut Past {
        let never = || Past { versions: vec![(None, true)], floor: 0 };
        self.0.entry(id.to_owned()).or_insert_with(never)
    }

    pub(crate) fn happened(&mut self, id: &str, value: Value) {
        self.past(id).versions.push((value, true));
    }

    pub(crate) fn may_have_happened(&mut self, id: &str, value: Value) {
        self.past(id).versions.push((value, false));
    }

    /// All that surely happened is on the disk.
    pub(crate) fn synced(&mut self) {
        for past in self.0.values_mut() {
            let surely = past.versions.iter().rposition(|(_, surely)| *surely);
            past.floor = surely.unwrap_or(0);
        }
    }

    /// What surely happened to this one is on the disk.
    pub(crate) fn synced_one(&mut self, id: &str) {
        let past = self.past(id);
        past.floor = past.versions.iter().rposition(|(_, surely)| *surely).unwrap_or(0);
    }

    /// This was seen, and nothing else is there.
    pub(crate) fn settled(&mut self, id: &str, value: Value) {
        *self.past(id) = Past { versions: vec![(value, true)], floor: 0 };
    }

    /// This was seen, so later readers see it too. What a cut may bring back stays.
    pub(crate) fn seen(&mut self, id: &str, value: Value) {
        let past = self.past(id);
        let last = past.versions.iter().rposition(|(version, _)| *version == value);
        let last = last.unwrap_or(0);
        past.versions.truncate(last + 1);
        past.versions[last].1 = true;
    }

    /// The value, where there is no doubt about it.
    pub(crate) fn value(&self, id: &str) -> Value {
        let (value, surely) = &self.0.get(id).map(|past| past.versions.last().unwrap().clone())?;
        assert!(*surely, "{id} is in doubt");
        value.clone()
    }

    /// Whether the last change of an id may or may not have happened.
    pub(crate) fn in_doubt(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|past| past.versions.last().is_some_and(|last| !last.1))
    }

    /// Whether a reader may see this now.
    pub(crate) fn allows(&self, id: &str, value: &Value) -> bool {
        let Some(past) = self.0.get(id) else { return value.is_none() };
        let surely = past.versions.iter().rposition(|(_, surely)| *surely).unwrap_or(0);
        past.versions[surely..].iter().any(|(version, _)| version == value)
    }

    /// Whether a reader may see this after a power cut: a version, or its bytes with a
    /// deadline that the session got later in the same life, since the times of a session are
    /// in its entry, and its bytes are not.
    pub(crate) fn allows_after_cut(&self, id: &str, value: &Value) -> bool {
        let Some(past) = self.0.get(id) else { return value.is_none() };
        let versions = &past.versions[past.floor..];
        let Some(held) = value else {
            return versions.iter().any(|(version, _)| version.is_none());
        };
        (0..versions.len()).any(|first| {
            let life = versions[first..].iter().map_while(|(version, _)| version.as_ref());
            let is_first = life.clone().next().is_some_and(|found| found.bytes == held.bytes);
            is_first && life.into_iter().any(|later| later.deadline_ms == held.deadline_ms)
        })
    }
}
