//! After a failed sync: write again everything that it may not have written.
//!
//! After a failed fdatasync the system calls the pages clean, though the disk
//! does not have them, and the next fdatasync succeeds. So a failure is recorded
//! in the control line, and before any epoch becomes durable everything written
//! since the synced epoch is written once more, byte for byte: the index, the
//! records of entries with pending versions, the heads of the blocks, the control
//! page (invariant 12). What nobody names any more need not be.
//!
//! Identical bytes are the one thing that may be written to a published record:
//! a reader cannot tell (invariant 7).

use super::index::reading;
use super::open_file::OpenFile;
use super::rules::{Rule, holds};
use super::sync::Turn;
use super::writer::{Locked, Writer};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::segment::ENTRIES;
use crate::format::tables::TABLE_BLOCK_LEN;
use crate::format::word::Word;
use crate::format::{BLOCK_SIZE, LINE_SIZE, PAGE_SIZE, place};

/// Heads of blocks rewritten in one lock hold.
const HEADS_PER_HOLD: u32 = 256;

impl Writer<'_> {
    /// All of it in one lock hold: for recovery, which goes before everything.
    pub(super) fn rewrite_everything(&mut self) -> Result<()> {
        // Not those of a split that recovery will drop: a cut may have left the
        // root line without the segments that it names.
        let segments = self.root.segments;
        for number in 0..segments {
            self.rewrite_segment(number)?;
        }
        self.rewrite_heads(0, self.blocks)?;
        self.rewrite_tables(segments)
    }

    fn rewrite_segment(&self, number: u32) -> Result<()> {
        // A segment that cannot be found is damage already; it must not keep the
        // others from being written.
        let Some(segment) = self.segment_if_sound(number)? else { return Ok(()) };
        for first in (0..ENTRIES).step_by(64) {
            for (_, entry) in self.sessions_in(number, first, 64.min(ENTRIES - first))? {
                self.rewrite_pending(&entry)?;
            }
        }
        self.rewrite_bytes(segment, BLOCK_SIZE)
    }

    /// The records of versions that are not durable.
    fn rewrite_pending(&self, entry: &Entry) -> Result<()> {
        if self.control.is_durable(entry.epoch) || !holds(Rule::PendingRecordsRewritten) {
            return Ok(());
        }
        self.rewrite_record(entry.cur, entry)?;
        self.rewrite_record(entry.mid, entry)
    }

    fn rewrite_record(&self, word: Word, entry: &Entry) -> Result<()> {
        let (Some(offset), Some(readable)) =
            (word.offset(), self.file.records.readable(word, entry.tag)?)
        else {
            return Ok(());
        };
        self.rewrite_bytes(offset, readable.len as u64)?;
        for piece in readable.pieces {
            self.rewrite_bytes(u64::from(piece.block) * BLOCK_SIZE, BLOCK_SIZE)?;
        }
        Ok(())
    }

    /// The first line of each block of a range.
    fn rewrite_heads(&self, from: u32, to: u32) -> Result<()> {
        for block in from.max(1)..to.min(self.blocks) {
            self.rewrite_bytes(u64::from(block) * BLOCK_SIZE, LINE_SIZE as u64)?;
        }
        Ok(())
    }

    /// The control page and the blocks of the segment table.
    fn rewrite_tables(&self, segments: u32) -> Result<()> {
        let beyond = segments.saturating_sub(place::TABLE_LEN);
        for part in 0..beyond.div_ceil(TABLE_BLOCK_LEN) {
            let block = self.file.records.index.directory_entry(part)?;
            self.rewrite_bytes(u64::from(block) * BLOCK_SIZE, BLOCK_SIZE)?;
        }
        self.rewrite_bytes(place::CONTROL, PAGE_SIZE)
    }

    /// Reads a range and writes the same bytes, a page at a time.
    fn rewrite_bytes(&self, offset: u64, len: u64) -> Result<()> {
        let mut page = [0; PAGE_SIZE as usize];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(PAGE_SIZE - (offset + done) % PAGE_SIZE) as usize;
            let bytes = page.get_mut(..part).unwrap_or(&mut []);
            // By system call, never through a map: these are the very bytes that
            // the page cache has.
            let source = &self.file.records.index.source;
            let found = source.read_file(bytes, offset + done).map_err(reading)?;
            let bytes = bytes.get(..found).unwrap_or(&[]);
            self.write(bytes, offset + done)?;
            done += part as u64;
        }
        Ok(())
    }
}

impl OpenFile {
    /// Rewrites everything, a segment a lock hold, so that others can go on
    /// saving. What they write meanwhile is dirty by itself. False if the file was
    /// replaced.
    pub(super) fn rewrite_in_steps(&self, turn: &Turn<'_>) -> Result<bool> {
        if !holds(Rule::FailureRewritten) {
            return Ok(true);
        }
        let mut number = 0;
        loop {
            let Locked::Here(writer) = self.lock_in_turn(0, turn)? else {
                return Ok(false);
            };
            if number >= writer.root.named() {
                break;
            }
            writer.rewrite_segment(number)?;
            number += 1;
        }
        let mut block = 0;
        loop {
            let Locked::Here(writer) = self.lock_in_turn(0, turn)? else {
                return Ok(false);
            };
            writer.rewrite_heads(block, block + HEADS_PER_HOLD)?;
            block += HEADS_PER_HOLD;
            if block >= writer.blocks {
                writer.rewrite_tables(writer.root.named())?;
                return Ok(true);
            }
        }
    }
}
