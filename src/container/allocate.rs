//! Giving out space and taking it back.
//!
//! Free means named by no live word (invariant 8). A bit is set before an entry
//! names the extent and cleared after the last word that names it is gone, so a
//! kill leaks a bit at worst. An empty block takes another class only when the
//! epoch in which it became empty is durable: else a power cut could bring back
//! entries whose records a record of another size has half overwritten.
//!
//! The order of preference is cheapest first: an extent that this handle freed,
//! a block of the class with room, an empty block, an extent that a trim frees,
//! a new block at the end of the file.

use super::lists::EMPTY;
use super::rules::{Rule, holds};
use super::trim::Trimmed;
use super::writer::{Attempt, Writer};
use crate::error::Result;
use crate::format::BLOCK_SIZE;
use crate::format::block::{BlockHead, Use};
use crate::format::class::Class;
use crate::format::pass::Stage;
use crate::format::record::Piece;
use crate::format::word::Word;
use crate::storage::Fill;

/// Spare extents a handle keeps, in all and of one class.
const SPARES_MAX: usize = 256;
const SPARES_PER_CLASS_MAX: usize = 64;
/// Saves after which a handle has proved to live long enough for spares.
const SPARES_AFTER_SAVES: u32 = 8;
/// Empty blocks looked at for one that may change its class.
const EMPTY_LOOKS: u32 = 8;
/// Empty blocks that make a sync worth waiting for, so that they may be used.
const EMPTY_WAITING_MIN: u32 = 64;
/// Lines of the index trimmed before a block is taken.
const TRIM_LINES: u32 = 256;
/// Blocks up to which a file may grow without a sync that would let superseded
/// versions go: a small container is not worth waiting for the disk.
const FREE_GROWTH_BLOCKS: u32 = 128;
/// Segments of an index that a pass may be run over for a single save: some
/// milliseconds.
const PASS_SEGMENTS_AT_ONCE: u32 = 8;
/// Blocks that a file may grow by before a pass that is not done has to go on.
const PASS_BLOCKS_MIN: u32 = 16;
/// Segments from which on such a pass goes on by steps, where that is enough: the file grows
/// meanwhile, by the more in proportion the smaller it is.
const PASS_SEGMENTS_IN_STEPS: u32 = 64;
/// Lines by which it goes on for each block that is added: some 3 ms.
const PASS_LINES_PER_BLOCK: u32 = 1024;

/// Extents that this handle has freed and keeps for its next saves: their bits
/// stay set, so nobody else is given them, and no block head is touched. They
/// are known by the generation in which they were freed: another generation's
/// pass does not know them.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    generation: u64,
    extents: Vec<(Class, u64)>,
}

impl Spares {
    fn keep(&mut self, class: Class, offset: u64, generation: u64) -> bool {
        if self.generation != generation {
            self.forget();
            self.generation = generation;
        }
        let same = self.extents.iter().filter(|(other, _)| *other == class).count();
        let room = self.extents.len() < SPARES_MAX && same < SPARES_PER_CLASS_MAX;
        if room {
            self.extents.push((class, offset));
        }
        room
    }

    /// The one freed last.
    fn take(&mut self, class: Class, generation: u64) -> Option<u64> {
        if self.generation != generation && holds(Rule::SparesOfTheGeneration) {
            self.forget();
        }
        let index = self.extents.iter().rposition(|(other, _)| *other == class)?;
        Some(self.extents.remove(index).1)
    }

    fn has(&self, class: Class, generation: u64) -> bool {
        self.generation == generation && self.extents.iter().any(|(other, _)| *other == class)
    }

    /// They are of no use any more: another generation has begun.
    pub(crate) fn forget(&mut self) {
        self.extents.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }
}

impl Writer<'_> {
    /// An extent of the class, its bit set.
    pub(crate) fn allocate(&mut self, class: Class) -> Result<Attempt<u64>> {
        let generation = self.control.generation;
        if let Some(offset) = self.local().spares.take(class, generation) {
            return Ok(Attempt::Done(offset));
        }
        if let Some(offset) = self.take_free(class)? {
            return Ok(Attempt::Done(offset));
        }
        let trimmed = self.trim(TRIM_LINES)?;
        if trimmed.freed {
            let generation = self.control.generation;
            if let Some(offset) = self.local().spares.take(class, generation) {
                return Ok(Attempt::Done(offset));
            }
            if let Some(offset) = self.take_free(class)? {
                return Ok(Attempt::Done(offset));
            }
        }
        let leaks = self.notice_leaks(&trimmed)?;
        let worth_waiting = trimmed.sync_would_free_much && self.blocks > FREE_GROWTH_BLOCKS;
        if self.attempt == 0 && (leaks || worth_waiting || self.sync_would_free_blocks()?) {
            if !self.file.options.background_sync || trimmed.sync_would_free_most {
                return Ok(Attempt::Sync);
            }
            // The handle's thread syncs, and meanwhile the file grows.
            self.sync_wanted = true;
        }
        if let Some(lines) = self.pass_lags(&trimmed) {
            self.advance_pass(lines)?;
            if let Some(offset) = self.take_free(class)? {
                return Ok(Attempt::Done(offset));
            }
            let goes_on = lines != u32::MAX && self.pass.stage != Stage::Done;
            if self.attempt == 0 && !goes_on {
                // What the pass found empty may be used for anything once that is
                // durable.
                return Ok(Attempt::Sync);
            }
        }
        match self.new_block(Use::Extents(class), Fill::Zeros)? {
            Attempt::Done(block) => self.first_extent(block, class).map(Attempt::Done),
            Attempt::Sync => Ok(Attempt::Sync),
        }
    }

    /// Whether this handle has an extent of the class to spare.
    pub(crate) fn has_spare(&self, class: Option<Class>) -> bool {
        let generation = self.control.generation;
        class.is_some_and(|class| self.local_ref().spares.has(class, generation))
    }

    /// An extent of a block with room, or of an empty block.
    fn take_free(&mut self, class: Class) -> Result<Option<u64>> {
        if let Some(offset) = self.take_listed(class)? {
            return Ok(Some(offset));
        }
        match self.empty_block(Use::Extents(class))? {
            Some(block) => self.first_extent(block, class).map(Some),
            None => Ok(None),
        }
    }

    /// By how many lines the pass is to go on before a block is added, where the file has
    /// grown a good deal since the last one. Where a recovery began it, by all that are left:
    /// where every process sees another view, each begins the pass anew, and it would never
    /// end. Else nobody begins it anew, and all who wait meanwhile wait for some lines only. In
    /// an index that is small it ends at once, too, where there is far more room than what
    /// lives in it needs.
    fn pass_lags(&self, sample: &Trimmed) -> Option<u32> {
        let found = self.pass.blocks;
        let grown = found.saturating_add((found / 4).max(PASS_BLOCKS_MIN));
        let recovered = self.control.generation == self.control.recovered_epoch;
        let short = self.root.named() <= PASS_SEGMENTS_AT_ONCE && !sample.large;
        // While a sync is in doubt the pass rests, and nothing was sampled.
        let sparse = short && !self.control.suspect && self.is_far_larger(sample);
        match self.pass.stage {
            Stage::Done => None,
            _ if sparse => Some(u32::MAX),
            _ if self.blocks <= grown => None,
            _ if recovered || self.root.named() < PASS_SEGMENTS_IN_STEPS => Some(u32::MAX),
            _ => Some(PASS_LINES_PER_BLOCK),
        }
    }

    /// The first extent of a block that was just taken for this class.
    fn first_extent(&mut self, block: u32, class: Class) -> Result<u64> {
        let mut head = BlockHead::taken(self.control.generation, Use::Extents(class));
        let before = head;
        head.bitmap.set(0);
        self.update_block(block, &before, head)?;
        Ok(u64::from(block) * BLOCK_SIZE + self.file.records.classes.extent_offset(class, 0))
    }

    fn take_listed(&mut self, class: Class) -> Result<Option<u64>> {
        let list = usize::from(class.code());
        let block = self.lists()?.get(list);
        if block == 0 {
            return Ok(None);
        }
        let Some(before) = self.member(block, list)? else {
            // The chain led astray: what it still held is left to the pass.
            self.set_list(list, 0)?;
            self.want_generation()?;
            return Ok(None);
        };
        let Some(index) = before.bitmap.first_clear(self.capacity(&before)) else {
            return Ok(None);
        };
        let mut head = before;
        head.bitmap.set(index);
        if holds(Rule::BitSetBeforeNamed) {
            self.update_block(block, &before, head)?;
        }
        let offset = self.file.records.classes.extent_offset(class, index);
        Ok(Some(u64::from(block) * BLOCK_SIZE + offset))
    }

    /// An empty block that may be used so, off its list, its head not yet
    /// rewritten for the use.
    pub(super) fn empty_block(&mut self, usage: Use) -> Result<Option<u32>> {
        let mut block = self.lists()?.get(EMPTY);
        for _ in 0..EMPTY_LOOKS {
            if block == 0 {
                break;
            }
            let Some(head) = self.member(block, EMPTY)? else {
                if block == self.lists()?.get(EMPTY) {
                    self.set_list(EMPTY, 0)?;
                    self.want_generation()?;
                }
                break;
            };
            let sure = self.control.is_durable(head.emptied_epoch)
                || !holds(Rule::ReclassOnlyDurablyEmpty);
            if head.usage == usage || sure {
                let mut taken = BlockHead::taken(self.control.generation, usage);
                // A bit, so that the block is not empty for the lists; the
                // caller writes the head as it will be.
                taken.bitmap.set(0);
                taken.complete = true;
                self.unlist_empty(block, &head, taken)?;
                return Ok(Some(block));
            }
            block = head.next;
        }
        Ok(None)
    }

    /// Whether the file has grown a good deal while only a sync is waited for: many of
    /// its blocks are empty and may then be used for anything, or a sync is in doubt and
    /// nothing is released until one succeeds.
    fn sync_would_free_blocks(&mut self) -> Result<bool> {
        if !self.has_grown_since_pass() {
            return Ok(false);
        }
        if self.control.suspect {
            return Ok(true);
        }
        let mut block = self.lists()?.get(EMPTY);
        for _ in 0..EMPTY_WAITING_MIN {
            let head = if block == 0 { None } else { self.member(block, EMPTY)? };
            let Some(head) = head else { return Ok(false) };
            block = head.next;
        }
        Ok(true)
    }

    fn unlist_empty(&mut self, block: u32, before: &BlockHead, taken: BlockHead) -> Result<()> {
        // As a block used as a whole it is on no list, whatever its class.
        let whole = BlockHead { usage: Use::Large, ..taken };
        self.update_block(block, before, whole)
    }

    /// A whole block, with its bit set: for a segment, a part of the table, or a
    /// piece of a large value.
    pub(crate) fn allocate_block(&mut self, usage: Use, fill: Fill) -> Result<Attempt<u32>> {
        let block = match self.empty_block(usage)? {
            Some(block) => block,
            None if self.attempt == 0 && self.sync_would_free_blocks()? => {
                return Ok(Attempt::Sync);
            }
            None => match self.new_block(usage, fill)? {
                Attempt::Done(block) => block,
                Attempt::Sync => return Ok(Attempt::Sync),
            },
        };
        let mut head = BlockHead::taken(self.control.generation, usage);
        head.bitmap.set(0);
        self.write_head(block, &head)?;
        Ok(Attempt::Done(block))
    }

    /// Takes back the extent of a record that no entry names any more, and the
    /// blocks of its value.
    pub(crate) fn release_record(&mut self, word: Word, pieces: &[Piece]) -> Result<()> {
        if self.control.suspect {
            // What the disk holds is not known (invariant 12): let it leak.
            return self.want_generation();
        }
        for piece in pieces {
            self.release_bit(piece.block, 0)?;
        }
        let (Some(offset), Some(block)) = (word.offset(), word.block()) else {
            return Ok(());
        };
        let Some(head) = self.block_head(block)? else {
            return Ok(());
        };
        let Use::Extents(class) = head.usage else {
            return Ok(());
        };
        let Some(index) = self.file.records.classes.extent_index(class, offset) else {
            return Ok(());
        };
        let generation = self.control.generation;
        let taken = head.generation == generation && head.bitmap.is_set(index);
        let lives_long = self.local_ref().saves >= SPARES_AFTER_SAVES;
        if taken && lives_long && self.local().spares.keep(class, offset, generation) {
            return Ok(());
        }
        self.clear_bit(block, head, index)
    }

    /// Takes back an extent that was given out and not used.
    pub(crate) fn give_back(&mut self, offset: u64) -> Result<()> {
        self.release_record(Word::record(offset, 0), &[])
    }

    /// Takes back a block that was given out and not used.
    pub(crate) fn give_back_block(&mut self, block: u32) -> Result<()> {
        self.release_bit(block, 0)
    }

    fn release_bit(&mut self, block: u32, index: u16) -> Result<()> {
        match self.block_head(block)? {
            Some(head) => self.clear_bit(block, head, index),
            None => Ok(()),
        }
    }

    /// Clears a bit. In a block of an older generation bits mean nothing.
    fn clear_bit(&mut self, block: u32, before: BlockHead, index: u16) -> Result<()> {
        if before.generation != self.control.generation || !before.bitmap.is_set(index) {
            return Ok(());
        }
        let mut head = before;
        head.bitmap.clear(index);
        if head.bitmap.is_empty() {
            head.emptied_epoch = self.control.write_epoch;
        }
        self.update_block(block, &before, head)
    }

    /// Gives up the spares of this handle, as it closes.
    pub(crate) fn release_spares(&mut self) -> Result<()> {
        let generation = self.control.generation;
        let spares = std::mem::take(&mut self.local().spares);
        if spares.generation != generation && holds(Rule::SparesOfTheGeneration) {
            return Ok(());
        }
        for (class, offset) in spares.extents {
            if let Some(index) = self.file.records.classes.extent_index(class, offset) {
                self.release_bit((offset / BLOCK_SIZE) as u32, index)?;
            }
        }
        Ok(())
    }
}
