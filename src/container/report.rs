//! What a check says: what is lost or contradicts itself, what a crash may leave,
//! and how much there is of everything.
//!
//! A container with a bad disk below it may have damage at every place. All of it is
//! counted, and so much of it is listed as somebody may want to read.

use std::fmt;

/// Findings of one kind that are listed.
const FINDINGS_MAX: usize = 1000;

/// What a check found.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("id", b"a coat")?;
/// container.save("another", b"a hat")?;
/// container.remove("another")?;
/// let report = container.check()?;
/// assert!(report.damage.is_empty());
/// assert_eq!((report.sessions, report.removed), (1, 1));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What is lost or contradicts itself: the first 1000 places.
    pub damage: Vec<Finding>,
    /// How many such places there are, listed or not.
    pub damage_count: u64,
    /// What a crash may leave, and what repairs itself in use: the first 1000 places.
    pub notes: Vec<Finding>,
    /// How many such places there are, listed or not.
    pub note_count: u64,
    /// Living sessions: those that a load finds. One that is damaged is among the
    /// damage only.
    pub sessions: u64,
    /// Sessions whose deadline has passed.
    pub expired: u64,
    /// Removed sessions whose entries are not reused yet.
    pub removed: u64,
    /// Ids that sessions were rotated from and whose deadline has not made them go yet.
    pub forwards: u64,
    /// Bytes of the space that the versions take which serve.
    pub live_bytes: u64,
    /// Bytes of the space that older versions still take.
    pub superseded_bytes: u64,
    /// Bytes of the space inside the file that is known to be free: after a crash,
    /// only what was found again so far.
    pub free_bytes: u64,
}

impl Report {
    /// Whether there is no damage. Notes do not count.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// assert!(container.check()?.is_sound());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }

    pub(super) fn add_damage(&mut self, offset: u64, what: impl Into<String>) {
        self.damage_count += 1;
        list(&mut self.damage, Finding { offset, what: what.into() });
    }

    pub(super) fn add_note(&mut self, offset: u64, what: impl Into<String>) {
        self.note_count += 1;
        list(&mut self.notes, Finding { offset, what: what.into() });
    }
}

fn list(list: &mut Vec<Finding>, finding: Finding) {
    if list.len() < FINDINGS_MAX {
        list.push(finding);
    }
}

/// One thing that a check found, in a plain sentence.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// let storage = MemoryStorage::new();
/// ByteContainer::create_on(Box::new(storage.share()), Options::new())?;
/// let mut bytes = storage.to_bytes();
/// bytes[20] ^= 1; // rot in the first of two headers
/// let rotten = MemoryStorage::from_bytes(bytes);
/// let report = ByteContainer::open_on(Box::new(rotten), Options::new())?.check()?;
/// assert_eq!(report.damage[0].offset, 0);
/// assert!(report.damage[0].to_string().starts_with("at byte 0: the first of the two headers"));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where: bytes from the start of the file.
    pub offset: u64,
    /// What is wrong, and what it means for whom.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}
