//! What each key was told to hold, and what it may read as.
//!
//! A version enters the history when the entry that publishes it can be read,
//! with the epoch of that moment. After a kill a key reads as its last version;
//! after a power cut as any version from the last one of a durable epoch on
//! (invariants 4 and 14).

/// A value is a number that no other save ever used; `None` is "no session".
pub(crate) type Value = Option<u64>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) value: Value,
    pub(crate) epoch: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    versions: Vec<Published>,
    /// Versions forgotten at power cuts, so that positions stay unique.
    forgotten: usize,
}

impl History {
    pub(crate) fn new(value: Value) -> History {
        History { versions: vec![Published { value, epoch: 0 }], forgotten: 0 }
    }

    pub(crate) fn last(&self) -> Value {
        self.versions.last().unwrap().value
    }

    /// Position of the last version.
    pub(crate) fn position(&self) -> usize {
        self.forgotten + self.versions.len() - 1
    }

    pub(crate) fn publish(&mut self, value: Value, epoch: u64) {
        self.versions.push(Published { value, epoch });
    }

    /// Whether a load that began when `position` was the last may return this.
    pub(crate) fn allows_since(&self, position: usize, value: Value) -> bool {
        let from = position.saturating_sub(self.forgotten);
        self.versions[from..].iter().any(|version| version.value == value)
    }

    /// What may be read after a power cut at which `synced` was the synced epoch.
    pub(crate) fn allowed_after_cut(&self, synced: u64) -> &[Published] {
        let durable = self.versions.iter().rposition(|version| version.epoch <= synced);
        &self.versions[durable.unwrap_or(0)..]
    }

    /// From now on this is all there ever was.
    pub(crate) fn settle(&mut self, value: Value) {
        self.forgotten += self.versions.len();
        self.versions = vec![Published { value, epoch: 0 }];
    }

    /// Somebody was told that the last version with this value is on the disk.
    pub(crate) fn acknowledge(&mut self, value: Value) {
        let found = self.versions.iter().rposition(|version| version.value == value);
        if let Some(index) = found {
            self.versions[index].epoch = 0;
        }
    }

    /// Somebody was told that the version at this position is on the disk, or a
    /// later one.
    pub(crate) fn acknowledge_up_to(&mut self, position: usize) {
        if let Some(index) = position.checked_sub(self.forgotten) {
            self.versions[index].epoch = 0;
        }
    }

    /// Whether everything published is durable at this synced epoch.
    pub(crate) fn is_durable(&self, synced: u64) -> bool {
        self.versions.last().unwrap().epoch <= synced
    }
}
