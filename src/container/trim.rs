//! Trimming: letting go of versions that are no longer needed.
//!
//! An entry whose newest version is durable needs no other: `old` := `cur`,
//! which also says that it is known durable. A durable tombstone needs no entry:
//! the line becomes vacated, and is another id's only when that is durable too,
//! so that a removed session stays removed (invariant 15).

use super::changes::Change;
use super::rules::{Rule, holds};
use super::unreadable::Unreadable;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::format::class::Class;
use crate::format::entry::Entry;
use crate::format::segment::{ENTRIES, HEAD_LINES};
use crate::format::{LINE_SIZE, PAGE_SIZE};

const LINES_PER_PAGE: u32 = (PAGE_SIZE / LINE_SIZE as u64) as u32;

/// What a trim has done and seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trimmed {
    /// Some extents were released.
    pub(crate) freed: bool,
    /// Superseded versions that only a sync would let go of take more than a
    /// quarter of what the live ones take.
    pub(crate) sync_would_free_much: bool,
    /// They take more than the live ones.
    pub(crate) sync_would_free_most: bool,
    /// An entry could not be written, for want of room in its mirror.
    pub(crate) left_out: bool,
    /// There is a large value among what was looked at: most of its bytes are not counted.
    pub(crate) large: bool,
    /// Lines of removed sessions that only a sync would let go of.
    pub(crate) waiting_lines: u32,
    /// Lines looked at.
    pub(crate) lines: u32,
    /// Bytes of all extents named in them afterwards.
    pub(crate) named_bytes: u64,
    live_bytes: u64,
    waiting_bytes: u64,
}

impl Writer<'_> {
    /// Trims up to `lines` lines from where this handle's last trim ended.
    pub(crate) fn trim(&mut self, lines: u32) -> Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        if self.control.suspect {
            return Ok(trimmed);
        }
        let segments = self.root.segments;
        let total = u64::from(segments) * u64::from(ENTRIES);
        let goal = u64::from(lines).min(total) as u32;
        if self.local().trim_segment == 0 && self.local().trim_entry == 0 {
            // Handles begin at different places, or one request's process would
            // always look at the same lines.
            let place = self.file.nonces.next(self.file.storage())?;
            self.local().trim_segment = (place % u64::from(segments)) as u32;
            self.local().trim_entry = page_start((place >> 32) as u32 % ENTRIES);
        }
        while trimmed.lines < goal {
            let number = self.local().trim_segment % segments;
            let first = self.local().trim_entry;
            let end = page_end(first);
            // Of a segment that cannot be found or read, `check` has to tell; the others
            // have space, too.
            if self.segment_if_sound(number)?.is_some() {
                let done = self.trim_page(number, first, end - first, &mut trimmed);
                Unreadable::IsLeftOut.judge(done)?;
            }
            trimmed.lines += end - first;
            self.local().trim_entry = if end >= ENTRIES { 0 } else { end };
            if end >= ENTRIES {
                self.local().trim_segment = (number + 1) % segments;
            }
        }
        trimmed.sync_would_free_much = 4 * trimmed.waiting_bytes > trimmed.live_bytes;
        trimmed.sync_would_free_most = trimmed.waiting_bytes > trimmed.live_bytes;
        Ok(trimmed)
    }

    /// Trims a whole segment.
    pub(crate) fn trim_segment(&mut self, number: u32) -> Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        let mut first = 0;
        while first < ENTRIES && !self.control.suspect {
            let end = page_end(first);
            let done = self.trim_page(number, first, end - first, &mut trimmed);
            Unreadable::IsLeftOut.judge(done)?;
            first = end;
        }
        Ok(trimmed)
    }

    /// Trims some lines of a segment, all in one page or in two. False if one had to
    /// be left out.
    pub(crate) fn trim_lines(&mut self, number: u32, first: u32, count: u32) -> Result<bool> {
        let mut trimmed = Trimmed::default();
        let middle = page_end(first).min(first + count);
        for (from, to) in [(first, middle), (middle, first + count)] {
            if from < to {
                self.trim_page(number, from, to - from, &mut trimmed)?;
            }
        }
        Ok(!trimmed.left_out)
    }

    /// Trims the entries of one page: one write for all of them, then what they
    /// no longer name is released. A kill in between leaks bits.
    fn trim_page(
        &mut self,
        number: u32,
        first: u32,
        count: u32,
        trimmed: &mut Trimmed,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for (offset, entry) in self.sessions_in(number, first, count)? {
            let after = self.trim_of(number, &entry, trimmed);
            let uncleaned = after.as_ref().is_err_and(Error::is_of_the_medium);
            self.uncleaned.set(self.uncleaned.get() || uncleaned);
            if let Some(after) = Unreadable::IsLeftOut.judge(after)? {
                let change = Change { offset, before: entry, after };
                let moves = after.is_some_and(|after| after.deadline_ms != entry.deadline_ms);
                match self.homes(entry.tag).1 {
                    None if !moves => changes.push(change),
                    _ => self.put_trimmed(&change, trimmed)?,
                }
            }
        }
        trimmed.freed |= !changes.is_empty();
        self.change_page(&changes)
    }

    /// What an entry trims to, if anything; `Some(None)` is a vacated line.
    fn trim_of(
        &self,
        number: u32,
        entry: &Entry,
        trimmed: &mut Trimmed,
    ) -> Result<Option<Option<Entry>>> {
        let class = if entry.forward { Class::from_code(1) } else { entry.class };
        let size = class.map_or(0, |class| self.file.records.classes.size(class) as u64);
        trimmed.live_bytes += size;
        trimmed.named_bytes += size;
        trimmed.large |= entry.large;
        let superseded = u64::from(entry.old != entry.cur && !entry.old.is_nothing())
            + u64::from(!entry.mid.is_nothing());
        if self.homes(entry.tag).0 != number {
            return Ok(None);
        }
        let clean = self.clean(entry)?;
        let rule = if clean.cur.is_tombstone() {
            Rule::TombstonesDurableFirst
        } else {
            Rule::TrimOnlyWhenDurable
        };
        if !self.control.is_durable(clean.epoch) && holds(rule) {
            trimmed.waiting_bytes += superseded * size.max(256);
            trimmed.named_bytes += superseded * size;
            trimmed.waiting_lines += u32::from(clean.cur.is_tombstone());
            return Ok(None);
        }
        let gone = clean.cur.is_nothing() || clean.cur.is_tombstone();
        let mut after = (!gone).then(|| clean.trimmed());
        let unread = |after: &Entry| after.forward && (after != entry || after.deadline_ms == 0);
        if let Some(forward) = after.as_mut().filter(|after| unread(after)) {
            forward.deadline_ms = self.trimmed_deadline(forward)?;
        }
        Ok((after != Some(*entry)).then_some(after))
    }

    /// Trims an entry that has a mirror, or gets a deadline.
    fn put_trimmed(&mut self, change: &Change, trimmed: &mut Trimmed) -> Result<()> {
        let spots = self.locate(change.before.tag)?;
        if spots.counts.hit.is_none_or(|hit| hit.offset != change.offset) {
            return Ok(());
        }
        let Some(lines) = spots.lines() else {
            trimmed.left_out = true;
            return Ok(());
        };
        self.withhold_lost(&change.before, change.after.as_ref())?;
        let slot = self.slot_after(change);
        if let Some(after) = change.after.filter(|after| after.deadline_ms != 0) {
            self.lower_bounds(&lines, after.deadline_ms)?;
        }
        self.put(&lines, &slot)?;
        trimmed.freed = true;
        self.settle(change)
    }
}

/// The first entry in the page of this one.
fn page_start(entry: u32) -> u32 {
    page_end(entry).saturating_sub(LINES_PER_PAGE)
}

/// The entry after the last one in the page of this one.
pub(super) fn page_end(entry: u32) -> u32 {
    ((entry + HEAD_LINES as u32) / LINES_PER_PAGE + 1) * LINES_PER_PAGE - HEAD_LINES as u32
}
