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
    pub(crate) const RESERVED: Span = UNREAD.then(30);
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
}

impl Pass {
    /// The pass of `generation` at its start.
    pub(crate) fn begin(generation: u64, blocks: u32) -> Pass {
        Pass { generation, stage: Stage::Tables, position: 0, blocks, epoch: 0, unread: false }
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
        Pass { generation, stage, position, blocks, epoch, unread }
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
        seal.seal(line, offset)
    }
}
