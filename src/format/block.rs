//! The head of a block: what the block is used for, and which of its extents
//! are taken.
//!
//! A set bit may be a leak; a clear one means free only where the head is of
//! the present generation and complete (invariant 8). The links chain the
//! blocks of a free list and are hints: whoever follows one checks what it
//! finds.

use super::checksum::{LINE_CHECK, Seal};
use super::class::{Class, EXTENTS_MAX};
use super::span::Span;
use super::{Line, NEVER};

pub(super) const GENERATION: Span = Span::first(8);
pub(super) const EMPTIED: Span = GENERATION.then(8);
pub(super) const NEXT: Span = EMPTIED.then(4);
pub(super) const PREVIOUS: Span = NEXT.then(4);
pub(super) const USE: Span = PREVIOUS.then(1);
pub(super) const STATE: Span = USE.then(1);
pub(super) const RESERVED: Span = STATE.then(2);
pub(super) const BITMAP: Span = RESERVED.then(32);
const _: () = assert!(BITMAP.end() == LINE_CHECK.offset);

const USE_UNUSED: u8 = 0;
const USE_LARGE: u8 = 0x70;
const USE_SEGMENT: u8 = 0x71;
const USE_TABLE: u8 = 0x72;
const STATE_COMPLETE: u8 = 1;
const STATE_LISTED: u8 = 2;

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing yet.
    Unused,
    /// Extents of one class.
    Extents(Class),
    /// A piece of a large value.
    Large,
    /// The segment with the number in `next`.
    Segment,
    /// Part of the segment table, with its number in `next`.
    Table,
}

/// The first line of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    /// The generation in which the bitmap was last begun afresh.
    pub(crate) generation: u64,
    /// Epoch in which the last bit was cleared.
    pub(crate) emptied_epoch: u64,
    /// Next block of the list, or the number of a segment or table block.
    pub(crate) next: u32,
    /// Previous block of the list; 0 at its head.
    pub(crate) previous: u32,
    pub(crate) usage: Use,
    /// The bitmap shows everything that is named: set when a block is taken, or
    /// when the pass has seen the whole index.
    pub(crate) complete: bool,
    /// The block is on the list that its bitmap calls for.
    pub(crate) listed: bool,
    pub(crate) bitmap: Bitmap,
}

impl BlockHead {
    /// The head of a block that is taken in `generation`, with no bit set.
    pub(crate) fn taken(generation: u64, usage: Use) -> BlockHead {
        BlockHead {
            generation,
            emptied_epoch: 0,
            next: 0,
            previous: 0,
            usage,
            complete: true,
            listed: false,
            bitmap: Bitmap::default(),
        }
    }

    /// The head in the line at `offset`; an all-zero line is a block that was
    /// never used.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<BlockHead> {
        if *line != NEVER && !seal.fits(line, offset) {
            return None;
        }
        let usage = match USE.get(line) as u8 {
            USE_UNUSED => Use::Unused,
            USE_LARGE => Use::Large,
            USE_SEGMENT => Use::Segment,
            USE_TABLE => Use::Table,
            code => Use::Extents(Class::from_code(code)?),
        };
        let state = STATE.get(line) as u8;
        Some(BlockHead {
            generation: GENERATION.get(line),
            emptied_epoch: EMPTIED.get(line),
            next: NEXT.get32(line),
            previous: PREVIOUS.get32(line),
            usage,
            complete: state & STATE_COMPLETE != 0,
            listed: state & STATE_LISTED != 0,
            bitmap: Bitmap(BITMAP.array(line)),
        })
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        let mut line = NEVER;
        GENERATION.put(&mut line, self.generation);
        EMPTIED.put(&mut line, self.emptied_epoch);
        NEXT.put(&mut line, self.next.into());
        PREVIOUS.put(&mut line, self.previous.into());
        let usage = match self.usage {
            Use::Unused => USE_UNUSED,
            Use::Extents(class) => class.code(),
            Use::Large => USE_LARGE,
            Use::Segment => USE_SEGMENT,
            Use::Table => USE_TABLE,
        };
        USE.put(&mut line, usage.into());
        let complete = if self.complete { STATE_COMPLETE } else { 0 };
        let listed = if self.listed { STATE_LISTED } else { 0 };
        STATE.put(&mut line, (complete | listed).into());
        BITMAP.put_slice(&mut line, &self.bitmap.0);
        seal.seal(line, offset)
    }
}

/// One bit for each extent of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Bitmap([u8; EXTENTS_MAX as usize / 8]);

impl Bitmap {
    /// The first clear bit below `count`.
    pub(crate) fn first_clear(&self, count: u16) -> Option<u16> {
        (0..count).find(|index| !self.is_set(*index))
    }

    pub(crate) fn is_set(&self, index: u16) -> bool {
        self.0.get(usize::from(index / 8)).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    pub(crate) fn set(&mut self, index: u16) {
        if let Some(byte) = self.0.get_mut(usize::from(index / 8)) {
            *byte |= 1 << (index % 8);
        }
    }

    pub(crate) fn clear(&mut self, index: u16) {
        if let Some(byte) = self.0.get_mut(usize::from(index / 8)) {
            *byte &= !(1 << (index % 8));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Number of set bits.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}
