//! The word: 8 bytes in an entry that name one version of a session.
//!
//! A word holds where the record is and the record's checksum, so that a stale
//! or half-written record cannot pass for the one that is meant. It says
//! nothing about durability; epochs do.

use super::span::Span;
use super::{BLOCK_SIZE, LINE_SIZE};

/// Offset of the record, in lines.
pub(super) const PLACE: Span = Span::first(4);
/// Checksum of the record.
pub(super) const CHECK: Span = PLACE.then(4);
/// The place of a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// A version of a session: nothing, a tombstone, or a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Word(pub(crate) u64);

/// What a word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// No version.
    Nothing,
    /// The version "removed".
    Tombstone,
    /// The record at this offset with this checksum.
    Record { offset: u64, check: u32 },
}

impl Word {
    /// No version.
    pub(crate) const NOTHING: Word = Word(0);

    /// The word of the record at `offset`, a multiple of 64.
    pub(crate) fn record(offset: u64, check: u32) -> Word {
        Word::new((offset / LINE_SIZE as u64) as u32, check)
    }

    /// The word of a removal in `epoch`. Two removals that an entry names at
    /// once differ in their epochs, hence in their words.
    pub(crate) fn tombstone(epoch: u64) -> Word {
        Word::new(TOMBSTONE, epoch as u32)
    }

    fn new(place: u32, check: u32) -> Word {
        let mut bytes = [0; 8];
        PLACE.put(&mut bytes, place.into());
        CHECK.put(&mut bytes, check.into());
        Word(u64::from_le_bytes(bytes))
    }

    #[inline]
    pub(crate) fn named(self) -> Named {
        let bytes = self.0.to_le_bytes();
        match PLACE.get32(&bytes) {
            _ if self.is_nothing() => Named::Nothing,
            TOMBSTONE => Named::Tombstone,
            place => Named::Record {
                offset: u64::from(place) * LINE_SIZE as u64,
                check: CHECK.get32(&bytes),
            },
        }
    }

    /// Offset of the record, if it names one.
    pub(crate) fn offset(self) -> Option<u64> {
        match self.named() {
            Named::Record { offset, .. } => Some(offset),
            Named::Nothing | Named::Tombstone => None,
        }
    }

    /// Number of the block that the record lies in, if it names one.
    pub(crate) fn block(self) -> Option<u32> {
        self.offset().map(|offset| (offset / BLOCK_SIZE) as u32)
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.named() == Named::Tombstone
    }
}
