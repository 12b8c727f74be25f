//! Loading without a lock.
//!
//! A load reads the root line, then the entry, then the record, and believes a
//! record that matches the entry's newest word: whatever writers did meanwhile,
//! that version was the current one at some moment of the load (the segment that
//! the root line named received every change until well after the root line was
//! read). If the record does not match, the entry is read again from the root
//! line on. Only when nothing has changed is it a version that a power cut took,
//! and then the next older one is the current one; where the entry says that
//! the newest version is durable, it is damage.
//!
//! A reader never goes back in time (invariant 13), because it falls back only
//! on an entry that stayed the same while its newest record was unreadable.

use super::index::{Hit, READINGS};
use super::open_file::OpenFile;
use super::records::{Loaded, Wanted};
use super::rules::{Rule, holds};
use super::session::{Properties, Session, Times, Version};
use super::timeouts::Timeouts;
use crate::error::{DamageKind, Error, Result};
use crate::format::entry::{Entry, Slot};
use crate::format::record::Content;
use crate::format::segment::segment_of;
use crate::format::tag::Tag;
use crate::format::word::{Named, Word};
use crate::storage::Pause;

/// Times that a session may change under a load before the load gives up: far
/// more than any writer manages.
const ATTEMPTS: u32 = 10_000;
/// Attempts before a load lets other threads go first.
const EAGER_ATTEMPTS: u32 = 4;

/// A session as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    /// The word of the version that was read; not always the entry's newest.
    pub(crate) word: Word,
    pub(crate) loaded: Loaded,
}

impl Found {
    /// The session, with a value that was read.
    pub(crate) fn session<T>(&self, value: T) -> Session<T> {
        let properties = Properties { timeouts: self.own_timeouts() };
        Session { value, version: self.version(), times: self.times(), properties }
    }

    /// Whether it says where the session goes on, and is none.
    pub(crate) fn is_forward(&self) -> bool {
        self.loaded.head.content == Content::Forward
    }

    pub(crate) fn own_timeouts(&self) -> Option<Timeouts> {
        self.loaded.head.timeouts.map(Timeouts::from_record)
    }

    pub(crate) fn version(&self) -> Version {
        Version { word: self.word, nonce: self.loaded.head.times.nonce }
    }

    pub(crate) fn times(&self) -> Times {
        Times {
            created_ms: self.entry.created_ms,
            saved_ms: self.loaded.head.times.saved_ms,
            deadline_ms: (self.entry.deadline_ms != 0).then_some(self.entry.deadline_ms),
        }
    }
}

/// What one look at an entry came to.
enum Look {
    Found(Word, Loaded),
    /// This word says that the session was removed.
    Absent(Word),
    Unreadable,
}

impl Look {
    /// The word that told.
    #[inline]
    fn word(&self) -> Option<Word> {
        match self {
            Look::Found(word, _) | Look::Absent(word) => Some(*word),
            Look::Unreadable => None,
        }
    }
}

impl OpenFile {
    /// The session of this tag, its value into `value`. Sessions that are
    /// removed or expired are absent.
    pub(crate) fn find_session(
        &self,
        tag: Tag,
        wanted: Wanted<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Found>> {
        self.records.index.source.count_use();
        let mut previous: Option<(Hit, u32)> = None;
        let mut torn = 0;
        for attempt in 0..ATTEMPTS {
            if attempt >= EAGER_ATTEMPTS {
                self.storage().pause(Pause::Yield);
            }
            let index = &self.records.index;
            let segments = index.segments()?;
            let segment = index.segment(segment_of(tag, segments), segments)?;
            let Some(hit) = index.find(tag, segment)? else {
                if !holds(Rule::MissReadsRootAgain) || index.segments()? == segments {
                    return Ok(None);
                }
                continue;
            };
            let unchanged = previous == Some((hit, segments));
            let Some(Slot::Session(entry)) = hit.slot else {
                // A torn line becomes whole in no time; one that stays is rot.
                torn = if unchanged { torn + 1 } else { 0 };
                if torn > READINGS {
                    return Err(Error::damaged(hit.offset, DamageKind::Entry));
                }
                previous = Some((hit, segments));
                continue;
            };
            // What was durable has no older version in its place: it is damaged.
            let durable = unchanged && self.newest_is_durable(&entry)?;
            let patient = unchanged || !holds(Rule::FallBackOnlyUnchanged);
            let tried = if patient && !durable { entry.fallbacks().len() } else { 1 };
            let look = self.look(&entry, tried, wanted, value)?;
            // Unchanged once more, after other words were tried and epochs compared?
            // Else the entry was superseded meanwhile, and what was seen of it, of its
            // records and of the control line do not belong together.
            if unchanged && look.word() != Some(entry.cur) && !self.is_as_seen(&hit, segments)? {
                previous = None;
                continue;
            }
            match look {
                Look::Absent(_) => return Ok(None),
                Look::Found(word, loaded) => {
                    if !entry.is_expired(self.now_for(&entry)) {
                        return Ok(Some(Found { entry, word, loaded }));
                    }
                    // A touch may have given it more time, before that was over.
                    if self.is_as_seen(&hit, segments)? {
                        return Ok(None);
                    }
                    previous = None;
                }
                Look::Unreadable if unchanged => return lost(&entry, durable),
                Look::Unreadable => previous = Some((hit, segments)),
            }
        }
        Err(Error::io("load", std::io::Error::from(std::io::ErrorKind::TimedOut)))
    }

    /// Whether the line is what it was, under the same number of segments.
    fn is_as_seen(&self, hit: &Hit, segments: u32) -> Result<bool> {
        let index = &self.records.index;
        let line = index.source.line(hit.offset).ok().flatten();
        Ok(line == Some(hit.line) && index.segments()? == segments)
    }

    /// Whether no power cut can have taken the newest version.
    fn newest_is_durable(&self, entry: &Entry) -> Result<bool> {
        Ok(self.control_line()?.newest_is_durable(entry))
    }

    /// Tries so many versions, the newest first.
    #[inline]
    fn look(
        &self,
        entry: &Entry,
        tried: usize,
        wanted: Wanted<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Look> {
        for (number, word) in entry.fallbacks().into_iter().take(tried).enumerate() {
            match word.named() {
                Named::Nothing => {}
                Named::Tombstone => return Ok(Look::Absent(word)),
                Named::Record { .. } => {
                    let class = if number == 0 { entry.class } else { None };
                    if let Some(loaded) = self.records.load(word, class, wanted, value)? {
                        return Ok(Look::Found(word, loaded));
                    }
                }
            }
        }
        Ok(Look::Unreadable)
    }

    /// The newest version that an entry has left, whether its deadline has passed or not.
    pub(super) fn find_version(&self, entry: &Entry, value: &mut Vec<u8>) -> Result<Option<Found>> {
        let tried = if self.newest_is_durable(entry)? { 1 } else { entry.fallbacks().len() };
        Ok(match self.look(entry, tried, Wanted::Tag(entry.tag), value)? {
            Look::Found(word, loaded) => Some(Found { entry: *entry, word, loaded }),
            Look::Absent(_) | Look::Unreadable => None,
        })
    }

    /// The wall clock, asked only where there is a deadline to compare.
    #[inline]
    fn now_for(&self, entry: &Entry) -> u64 {
        if entry.deadline_ms == 0 { 0 } else { self.storage().now_ms() }
    }
}

/// No version of the entry can be read, and it does not change: a power cut took a
/// session that was never durable, or else it is damage.
fn lost(entry: &Entry, durable: bool) -> Result<Option<Found>> {
    match entry.cur.offset() {
        Some(offset) if durable => Err(Error::damaged(offset, DamageKind::Record)),
        _ => Ok(None),
    }
}
