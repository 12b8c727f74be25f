//! The entry: one line of the index, all that is known of one session without
//! reading its record.
//!
//! An entry is always written whole, so that its three words, its epochs and
//! its deadline are of one moment (invariants 5 and 6). `cur` is the newest
//! version, `mid` the newest one of an earlier epoch that is not yet durable,
//! `old` the newest one known durable; equal words are one version. Where `mid` or `old`
//! is of a life of the session that is over, it is named only to keep its space: it must
//! never be loaded again, since the deadline that ended it is not in the entry any more.

use super::checksum::{LINE_CHECK, Seal};
use super::class::Class;
use super::span::Span;
use super::tag::Tag;
use super::word::{Named, Word};
use super::{Line, NEVER};

pub(super) const TAG: Span = Span::first(16);
pub(super) const CUR: Span = TAG.then(8);
pub(super) const MID: Span = CUR.then(8);
pub(super) const OLD: Span = MID.then(8);
pub(super) const EPOCH: Span = OLD.then(6);
pub(super) const DEADLINE: Span = EPOCH.then(6);
pub(super) const CREATED: Span = DEADLINE.then(6);
pub(super) const MID_AGE: Span = CREATED.then(1);
pub(super) const KIND: Span = MID_AGE.then(1);
const _: () = assert!(KIND.end() == LINE_CHECK.offset);

/// `KIND` of a vacated line.
const VACATED: u64 = 0x3f;
/// `KIND` of a session whose newest version has no record.
const NO_RECORD: u64 = 0x3e;
/// `KIND` of a session whose newest version is a forward.
const FORWARD: u64 = 0x3d;
/// Bit of `KIND`: one of the words may name a record whose value is large.
const LARGE: u64 = 0x40;
/// Bit of `KIND`: `old` is of a life of the session that is over.
const OLD_ENDED: u64 = 0x80;
/// Bit of `MID_AGE`: the same of `mid`.
const MID_ENDED: u64 = 0x80;
/// Bit of `MID_AGE`: one of the words may name a record with fields that its next version
/// has to have, too.
const FURTHER: u64 = 0x40;
/// The age itself, at most.
pub(crate) const MID_AGE_MAX: u8 = 0x3f;

/// What one line of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// All zero: never used.
    Never,
    /// A removed session's line. Until `epoch` is durable only `tag` may take
    /// it, since a power cut may bring the entry back.
    Vacated { tag: Tag, epoch: u64 },
    /// A session, living, expired or removed.
    Session(Entry),
}

/// A session's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    pub(crate) cur: Word,
    pub(crate) mid: Word,
    pub(crate) old: Word,
    /// Epoch in which `cur` was published.
    pub(crate) epoch: u64,
    /// How many epochs before `cur` the version `mid` was published; the largest that
    /// there is room for stands for all larger ones.
    pub(crate) mid_age: u8,
    /// When the session ends, milliseconds since 1970; 0 is never.
    pub(crate) deadline_ms: u64,
    /// When the session began, milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Class of the extent of `cur`, which bounds its record's length; not of a forward's.
    pub(crate) class: Option<Class>,
    /// `cur` names a forward, and no session.
    pub(crate) forward: bool,
    /// One of the words may name a record whose value lies in blocks of its own.
    pub(crate) large: bool,
    /// One of the words may name a record with fields that its next version has to have, too.
    pub(crate) further: bool,
    /// `old` is of a life of the session that is over.
    pub(crate) old_ended: bool,
    /// `mid` is.
    pub(crate) mid_ended: bool,
}

impl Entry {
    /// The entry of a session that has no version yet.
    pub(crate) fn new(tag: Tag) -> Entry {
        Entry {
            tag,
            cur: Word::NOTHING,
            mid: Word::NOTHING,
            old: Word::NOTHING,
            epoch: 0,
            mid_age: 0,
            deadline_ms: 0,
            created_ms: 0,
            class: None,
            forward: false,
            large: false,
            further: false,
            old_ended: false,
            mid_ended: false,
        }
    }

    /// Epoch in which `mid` was published, or a later one that is no less
    /// durable (ages are capped, and never more than a few epochs are pending).
    pub(crate) fn mid_epoch(&self) -> u64 {
        self.epoch.saturating_sub(self.mid_age.into())
    }

    /// The three words, newest first: what the entry keeps the space of.
    pub(crate) fn words(&self) -> [Word; 3] {
        [self.cur, self.mid, self.old]
    }

    /// Those of this life of the session, which a load may come to.
    pub(crate) fn living_words(&self) -> [Word; 3] {
        let unless = |ended: bool, word: Word| if ended { Word::NOTHING } else { word };
        [self.cur, unless(self.mid_ended, self.mid), unless(self.old_ended, self.old)]
    }

    /// Whether the newest version is a session's: no removal, no forward, and not nothing.
    pub(crate) fn is_session(&self) -> bool {
        matches!(self.cur.named(), Named::Record { .. }) && !self.forward
    }

    /// Whether the session is over at `now_ms`, be it removed or not.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline_ms != 0 && self.deadline_ms <= now_ms
    }
}

impl Slot {
    /// Whose line it is.
    pub(crate) fn tag(&self) -> Option<Tag> {
        match self {
            Slot::Never => None,
            Slot::Vacated { tag, .. } => Some(*tag),
            Slot::Session(entry) => Some(entry.tag),
        }
    }

    /// The slot in the line at `offset`; `None` if the line breaks a rule.
    #[inline]
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Slot> {
        if *line == NEVER {
            return Some(Slot::Never);
        }
        if !seal.fits(line, offset) {
            return None;
        }
        let tag = Tag(TAG.array(line));
        let kind = KIND.get(line);
        if kind == VACATED {
            return Some(Slot::Vacated { tag, epoch: EPOCH.get(line) });
        }
        let class = match kind & !(LARGE | OLD_ENDED) {
            NO_RECORD | FORWARD => None,
            code => Some(Class::from_code(code as u8)?),
        };
        let word = |span: Span| Word(span.get(line));
        Some(Slot::Session(Entry {
            tag,
            cur: word(CUR),
            mid: word(MID),
            old: word(OLD),
            epoch: EPOCH.get(line),
            mid_age: MID_AGE.get(line) as u8 & MID_AGE_MAX,
            deadline_ms: DEADLINE.get(line),
            created_ms: CREATED.get(line),
            class,
            forward: kind & !(LARGE | OLD_ENDED) == FORWARD,
            large: kind & LARGE != 0,
            further: MID_AGE.get(line) & FURTHER != 0,
            old_ended: kind & OLD_ENDED != 0,
            mid_ended: MID_AGE.get(line) & MID_ENDED != 0,
        }))
    }

    /// The line that holds the slot at `offset`.
    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        let mut line = NEVER;
        match self {
            Slot::Never => return line,
            Slot::Vacated { tag, epoch } => {
                TAG.put_slice(&mut line, &tag.0);
                EPOCH.put(&mut line, *epoch);
                KIND.put(&mut line, VACATED);
            }
            Slot::Session(entry) => {
                TAG.put_slice(&mut line, &entry.tag.0);
                CUR.put(&mut line, entry.cur.0);
                MID.put(&mut line, entry.mid.0);
                OLD.put(&mut line, entry.old.0);
                EPOCH.put(&mut line, entry.epoch);
                DEADLINE.put(&mut line, entry.deadline_ms);
                CREATED.put(&mut line, entry.created_ms);
                let mid_ended = if entry.mid_ended { MID_ENDED } else { 0 };
                let further = if entry.further { FURTHER } else { 0 };
                let mid_age = u64::from(entry.mid_age.min(MID_AGE_MAX));
                MID_AGE.put(&mut line, mid_age | further | mid_ended);
                let kind = match entry.class {
                    _ if entry.forward => FORWARD,
                    Some(class) => class.code().into(),
                    None => NO_RECORD,
                };
                let large = if entry.large { LARGE } else { 0 };
                let old_ended = if entry.old_ended { OLD_ENDED } else { 0 };
                KIND.put(&mut line, kind | large | old_ended);
            }
        }
        seal.seal(line, offset)
    }
}

/// Whether the line is a session's or nobody's, and not one never used or vacated,
/// whatever its checksum says of it.
#[inline]
pub(crate) fn is_session(line: &Line) -> bool {
    KIND.get(line) != VACATED && *line != NEVER
}

/// The newest version's word in a line, whatever else the line holds.
#[inline]
pub(crate) fn cur_of(line: &Line) -> Word {
    Word(CUR.get(line))
}

/// The tag in a line, whatever else the line holds.
#[inline]
pub(crate) fn tag_of(line: &Line) -> Tag {
    Tag(TAG.array(line))
}
