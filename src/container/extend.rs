//! Adding blocks at the end of the file, and what is done where it cannot grow.
//!
//! The space first, then the head; only a block with a head is ever named. A kill in
//! between leaves a block of zeros, which is taken before another is added.

use std::time::Duration;

use super::index::reading;
use super::lists::EMPTY;
use super::writer::{Attempt, Writer, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::block::{BlockHead, Use};
use crate::format::pass::{Pass, Stage};
use crate::format::{BLOCK_COUNT_MAX, BLOCK_SIZE, LINE_SIZE, NEVER};
use crate::storage::Fill;

/// Attempts before a full disk is called full: each begins after a sync, which
/// lets superseded versions go and begins a new generation.
const FULL_ATTEMPTS: u32 = 4;
/// For how many times as long as the last attempt took nobody searches again: a tenth of the
/// time is spent on it at most, all attempts together.
const FULL_SHARE: u64 = 10 * (FULL_ATTEMPTS as u64 + 1);
const FULL_MS_MIN: u64 = 1000;
const FULL_MS_MAX: u64 = 10 * 60 * 1000;
/// Lines that the pass looks at for each block that is added before it is done,
/// so that a file does not grow much meanwhile.
const PASS_LINES_PER_BLOCK: u32 = 1024;

impl Writer<'_> {
    /// The last block, if whoever added it was killed before it had a head. Where the pass
    /// is done, no block that is named has none; and one that lost its head has something
    /// else in it.
    fn abandoned_block(&self) -> Option<u32> {
        let block = self.blocks.saturating_sub(1);
        if block == 0 || self.pass.stage != Stage::Done || self.control.suspect {
            return None;
        }
        // What cannot be read is not taken.
        let reads_as_zeros = |len: usize| {
            let mut bytes = vec![0; len];
            let source = &self.file.records.index.source;
            let found = source.read_file(&mut bytes, u64::from(block) * BLOCK_SIZE);
            found.is_ok_and(|found| found == len) && bytes.iter().all(|byte| *byte == 0)
        };
        (reads_as_zeros(LINE_SIZE) && reads_as_zeros(BLOCK_SIZE as usize)).then_some(block)
    }

    /// A block added at the end of the file.
    pub(super) fn new_block(&mut self, usage: Use, fill: Fill) -> Result<Attempt<u32>> {
        if let Some(block) = self.abandoned_block()
            && self.take_new(block, usage).is_ok()
        {
            return Ok(Attempt::Done(block));
        }
        let block = self.blocks;
        let from = u64::from(block) * BLOCK_SIZE;
        // What is left of a block where the file was cut short may still be named:
        // it is made whole again and not given out.
        let remains = self.file.records.index.source.line(from).ok().flatten();
        if remains.is_some_and(|line| line != NEVER) {
            let len = self.file.records.index.source.status().map_err(reading)?.len;
            self.file
                .storage()
                .extend(len.next_multiple_of(LINE_SIZE as u64), from + BLOCK_SIZE, Fill::Zeros)
                .map_err(|source| failed("grow the file", source))?;
            self.blocks = block + 1;
            return self.new_block(usage, fill);
        }
        let grown = if u64::from(block) < BLOCK_COUNT_MAX {
            self.file.storage().extend(from, from + BLOCK_SIZE, fill)
        } else {
            Err(std::io::ErrorKind::FileTooLarge.into())
        };
        match grown.map_err(|source| failed("grow the file", source)) {
            Ok(()) => {}
            Err(full) if matches!(full.kind(), ErrorKind::Full(_)) => {
                return self.without_growth(usage, full);
            }
            Err(error) => return Err(error),
        }
        self.blocks = block + 1;
        // Let the reader's bound follow.
        self.file.records.index.source.status().map_err(reading)?;
        self.take_new(block, usage)?;
        if self.pass.stage != Stage::Done {
            self.advance_pass(PASS_LINES_PER_BLOCK)?;
        }
        Ok(Attempt::Done(block))
    }

    /// The head first: the pass must not take the block for an empty one.
    fn take_new(&self, block: u32, usage: Use) -> Result<()> {
        let mut head = BlockHead::taken(self.control.generation, usage);
        head.bitmap.set(0);
        self.write_head(block, &BlockHead { usage: Use::Large, ..head })
    }

    /// The file cannot grow: finds out all that is free, syncs so that
    /// superseded versions may go, begins a new generation so that leaked bits
    /// are found; and only then gives up. That takes as long as the file is large, so who
    /// comes next does not search again for a while: until a sync, a removal, or much
    /// more time than it took.
    fn without_growth(&mut self, usage: Use, full: Error) -> Result<Attempt<u32>> {
        if self.is_known_to_be_full() && !self.waits_for_a_sync(usage)? {
            return Err(full);
        }
        let began = self.file.storage().uptime();
        if self.pass.stage != Stage::Done {
            self.advance_pass(u32::MAX)?;
            if let Some(block) = self.empty_block(usage)? {
                return Ok(Attempt::Done(block));
            }
        }
        self.trim(u32::MAX)?;
        if let Some(block) = self.empty_block(usage)? {
            return Ok(Attempt::Done(block));
        }
        if self.attempt >= FULL_ATTEMPTS && self.pass.stage == Stage::Done && !self.control.suspect
        {
            self.note_full(self.file.storage().uptime().saturating_sub(began))?;
        }
        if self.attempt >= FULL_ATTEMPTS {
            return Err(full);
        }
        if !self.waits_for_a_sync(usage)? {
            self.want_generation()?;
        }
        Ok(Attempt::Sync)
    }

    /// Whether there is room already, in a block of the class that the pass or a trim has
    /// found, or in blocks that may be used once it is durable that they are empty: a new
    /// generation would only hide or put off either.
    fn waits_for_a_sync(&mut self, usage: Use) -> Result<bool> {
        let of_class = match usage {
            Use::Extents(class) => self.lists()?.get(usize::from(class.code())),
            _ => 0,
        };
        Ok(of_class != 0 || self.lists()?.get(EMPTY) != 0)
    }

    fn is_known_to_be_full(&self) -> bool {
        let left_ms = self.pass.full_until_ms.checked_sub(self.file.storage().now_ms());
        self.pass.full_epoch == self.control.synced_epoch
            && self.pass.full_epoch != 0
            // A clock that was set back does not make it longer.
            && left_ms.is_some_and(|left_ms| (1..=FULL_MS_MAX).contains(&left_ms))
    }

    /// The last attempt of a search took so long, and found nothing.
    fn note_full(&mut self, took: Duration) -> Result<()> {
        let ms = (u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
            .saturating_mul(FULL_SHARE)
            .clamp(FULL_MS_MIN, FULL_MS_MAX);
        let full_until_ms = self.file.storage().now_ms().saturating_add(ms);
        self.set_pass(Pass { full_epoch: self.control.synced_epoch, full_until_ms, ..self.pass })
    }

    /// A session has gone, and a sync will let its space be used: whoever needs some is to
    /// search for it.
    pub(super) fn note_not_full(&mut self) -> Result<()> {
        if self.pass.full_epoch == 0 {
            return Ok(());
        }
        self.set_pass(Pass { full_epoch: 0, full_until_ms: 0, ..self.pass })
    }
}
