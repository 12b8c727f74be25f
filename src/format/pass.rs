//! The pass line: how far the bitmaps of a generation have been rebuilt.
//!
//! A line that breaks a rule, or is of another generation, says that the pass has not
//! begun: nothing is ever taken for free on the word of an older one.

use super::checksum::{LINE_CHECK, Seal};
use super::span::Span;
use super::{Line, NEVER};

pub(super) mod pass_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const GENERATION: Span = Span::first(8);
    pub(crate) const POSITION: Span = GENERATION.then(8);
    pub(crate) const BLOCKS: Span = POSITION.then(4);
    pub(crate) const EPOCH: Span = BLOCKS.then(8);
    pub(crate) const STAGE: Span = EPOCH.then(1);
    pub(crate) const UNREAD: Span = STAGE.then(1);
    pub(crate) const FULL_EPOCH: Span = UNREAD.then(8);
    pub(crate) const FULL_UNTIL: Span = FULL_EPOCH.then(8);
    pub(crate) const RESERVED: Span = FULL_UNTIL.then(14);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// What the pass has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Blocks of the segment table, by number.
    Tables,
    /// Lines of the index, by segment and line.
    Index,
    /// Blocks of the file, by number.
    Blocks,
    /// Nothing: every bitmap of the generation is complete.
    Done,
}

/// The pass line: how far the bitmaps have been rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The generation that is being rebuilt; if it is not the control line's,
    /// the pass has not begun.
    pub(crate) generation: u64,
    pub(crate) stage: Stage,
    /// What of the stage comes next.
    pub(crate) position: u64,
    /// Blocks that the last pass found in use, or has so far.
    pub(crate) blocks: u32,
    /// Write epoch in which the pass was done; what it wrote is durable when this
    /// is.
    pub(crate) epoch: u64,
    /// An entry was passed over, since the medium has not given back what it names: that may
    /// be what a cut took.
    pub(crate) unread: bool,
    /// Where the file cannot grow: the synced epoch in which everything was searched and
    /// nothing was free; 0: none.
    pub(crate) full_epoch: u64,
    /// Until when nobody need search again, milliseconds since 1970.
    pub(crate) full_until_ms: u64,
}

impl Pass {
    /// The pass of `generation` at its start.
    pub(crate) fn begin(generation: u64, blocks: u32) -> Pass {
        Pass {
            generation,
            stage: Stage::Tables,
            position: 0,
            blocks,
            epoch: 0,
            unread: false,
            full_epoch: 0,
            full_until_ms: 0,
        }
    }

    /// The pass as the line shows it, or at its start if the line is of another
    /// generation or breaks a rule.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal, generation: u64) -> Pass {
        use pass_line as field;
        let fits = seal.fits(line, offset);
        let blocks = if fits { field::BLOCKS.get32(line) } else { 0 };
        if !fits || field::GENERATION.get(line) != generation {
            return Pass::begin(generation, blocks);
        }
        let stage = match field::STAGE.get(line) {
            1 => Stage::Index,
            2 => Stage::Blocks,
            3 => Stage::Done,
            _ => Stage::Tables,
        };
        let (position, epoch) = (field::POSITION.get(line), field::EPOCH.get(line));
        let unread = field::UNREAD.get(line) != 0;
        let (full_epoch, full_until_ms) =
            (field::FULL_EPOCH.get(line), field::FULL_UNTIL.get(line));
        Pass { generation, stage, position, blocks, epoch, unread, full_epoch, full_until_ms }
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use pass_line as field;
        let mut line = NEVER;
        field::GENERATION.put(&mut line, self.generation);
        field::POSITION.put(&mut line, self.position);
        field::BLOCKS.put(&mut line, self.blocks.into());
        field::EPOCH.put(&mut line, self.epoch);
        let stage = match self.stage {
            Stage::Tables => 0,
            Stage::Index => 1,
            Stage::Blocks => 2,
            Stage::Done => 3,
        };
        field::STAGE.put(&mut line, stage);
        field::UNREAD.put(&mut line, self.unread.into());
        field::FULL_EPOCH.put(&mut line, self.full_epoch);
        field::FULL_UNTIL.put(&mut line, self.full_until_ms);
        seal.seal(line, offset)
    }
}
