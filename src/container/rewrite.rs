//! After a failed sync: write again everything that it may not have written.
//!
//! After a failed fdatasync the system calls the pages clean, though the disk
//! does not have them, and the next fdatasync succeeds. So a failure is recorded
//! in the control line, and before any epoch becomes durable everything written
//! since the synced epoch is written once more, byte for byte: the index, the
//! records of entries with pending versions, the heads of the blocks, the control
//! page (invariant 12). What nobody names any more need not be.
//!
//! Where the medium cannot give back a page of the index or a newest version, the page
//! cache does not have it, and there is nothing that could be written. Then the sync stays
//! in doubt, and nobody is told that anything is durable. Only a recovery leaves it out: it
//! must come to its end, or nobody could save any more, whatever the promise.
//!
//! Identical bytes are the one thing that may be written to a published record:
//! a reader cannot tell (invariant 7).

use super::index::reading;
use super::open_file::OpenFile;
use super::rules::{Rule, holds};
use super::sync::Turn;
use super::trim::page_end;
use super::unreadable::Unreadable;
use super::writer::{Locked, Writer};
use crate::error::Result;
use crate::format::control::{Control, LEAD_MAX};
use crate::format::entry::Entry;
use crate::format::segment::{ENTRIES, entry_offset};
use crate::format::tables::TABLE_BLOCK_LEN;
use crate::format::word::Word;
use crate::format::{BLOCK_COUNT_MAX, BLOCK_SIZE, LINE_SIZE, PAGE_SIZE, place};

/// What is rewritten in one hold of the lock, but one session's versions at least: so
/// little that a process that lives to save a session brings it forward.
const HEADS_PER_HOLD: u32 = 16;
const RECORDS_PER_HOLD: u32 = 8;
const BYTES_PER_HOLD: u64 = 1 << 16;

/// `Control::rewritten` counts the lines of the index from here on: there are never
/// more blocks.
const FIRST_LINE: u32 = BLOCK_COUNT_MAX as u32;

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
        let mut first = 0;
        while first < ENTRIES {
            first = self.rewrite_lines(number, first, Unreadable::IsLeftOut)?;
        }
        Ok(())
    }

    /// Rewrites lines of a segment from this one on, and the records of versions in them
    /// that are not durable, as many as a hold of the lock may take. Says with which line
    /// to go on.
    fn rewrite_lines(&self, number: u32, first: u32, unreadable: Unreadable) -> Result<u32> {
        // A segment that cannot be found is damage already; it must not keep the
        // others from being written.
        let Some(segment) = self.segment_if_sound(number)? else { return Ok(ENTRIES) };
        let mut end = ENTRIES.min(page_end(first));
        let (mut records, mut bytes) = (0, 0);
        let sessions = unreadable.judge(self.sessions_in(number, first, end - first))?;
        for (offset, entry) in sessions {
            let pending = !self.control.is_durable(entry.epoch);
            if !pending || !holds(Rule::PendingRecordsRewritten) {
                continue;
            }
            bytes += unreadable.judge(self.rewrite_record(entry.cur, &entry))?;
            let superseded =
                if self.sync_covers_all() { Unreadable::IsLeftOut } else { unreadable };
            bytes += superseded.judge(self.rewrite_record(entry.mid, &entry))?;
            records += 1;
            if records == RECORDS_PER_HOLD || bytes >= BYTES_PER_HOLD {
                end = ((offset - segment - entry_offset(0)) / LINE_SIZE as u64) as u32 + 1;
                break;
            }
        }
        // With the lines at its head go those after them.
        let from = if first == 0 { 0 } else { entry_offset(first) };
        unreadable.judge(self.rewrite_bytes(segment + from, entry_offset(end) - from))?;
        Ok(end)
    }

    /// Whether the sync that this rewriting is for makes all that is published durable, and
    /// not only what was before the present epoch. Then who waits for a version that was
    /// superseded has a later one, and that is all that is needed.
    fn sync_covers_all(&self) -> bool {
        self.control.write_epoch - self.control.synced_epoch < LEAD_MAX
    }

    /// Says how many bytes it wrote.
    fn rewrite_record(&self, word: Word, entry: &Entry) -> Result<u64> {
        let readable = self.file.records.readable(word, entry.tag)?;
        let (Some(offset), Some(readable)) = (word.offset(), readable) else {
            return Ok(0);
        };
        self.rewrite_bytes(offset, readable.len as u64)?;
        for piece in &readable.pieces {
            self.rewrite_bytes(u64::from(piece.block) * BLOCK_SIZE, BLOCK_SIZE)?;
        }
        Ok(readable.len as u64 + readable.pieces.len() as u64 * BLOCK_SIZE)
    }

    /// The first line of each block of a range. No session is lost with one that cannot be
    /// read, so it is left out.
    fn rewrite_heads(&self, from: u32, to: u32) -> Result<()> {
        for block in from.max(1)..to.min(self.blocks) {
            let done = self.rewrite_bytes(u64::from(block) * BLOCK_SIZE, LINE_SIZE as u64);
            Unreadable::IsLeftOut.judge(done)?;
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
    /// Rewrites everything, a little in each hold of the lock, so that others can go on
    /// saving. What they write meanwhile is dirty by itself. How far it has come is in
    /// the control line: where it is killed, the next one goes on from there. False if the
    /// file was replaced.
    pub(super) fn rewrite_in_steps(&self, turn: &Turn<'_>) -> Result<bool> {
        if !holds(Rule::FailureRewritten) {
            return Ok(true);
        }
        loop {
            let Locked::Here(mut writer) = self.lock_in_turn(0, turn)? else {
                return Ok(false);
            };
            if writer.rewrite_more()? {
                return Ok(true);
            }
        }
    }
}

impl Writer<'_> {
    /// The next of what a hold of the lock rewrites: heads of blocks, then lines of the
    /// index, at last the tables. True when all is done.
    fn rewrite_more(&mut self) -> Result<bool> {
        if !self.control.suspect {
            // A recovery has done it.
            return Ok(true);
        }
        let done = self.control.rewritten;
        let rewritten = if let Some(line) = done.checked_sub(FIRST_LINE) {
            let (number, first) = (line / ENTRIES, line % ENTRIES);
            if number >= self.root.named() {
                self.rewrite_tables(self.root.named())?;
                return Ok(true);
            }
            FIRST_LINE + number * ENTRIES + self.rewrite_lines(number, first, Unreadable::Fails)?
        } else {
            let end = done + HEADS_PER_HOLD;
            self.rewrite_heads(done, end)?;
            if end < self.blocks { end } else { FIRST_LINE }
        };
        self.set_control(Control { rewritten, ..self.control })?;
        Ok(false)
    }
}
