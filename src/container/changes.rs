//! Several entries of one page, changed by one write.
//!
//! The lines between those that change are written as they are. A kill leaves a
//! prefix of the calls: before the write nothing has changed, after it all has, and
//! what is released afterwards leaks at worst.

use super::index::reading;
use super::writer::Writer;
use crate::error::{DamageKind, Error, Result};
use crate::format::entry::{Entry, Slot};
use crate::format::tag::Tag;
use crate::format::{LINE_SIZE, PAGE_SIZE};

/// A line of the index that is about to be written, and what it was.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) offset: u64,
    pub(super) before: Entry,
    /// `None` for a line that is vacated.
    pub(super) after: Option<Entry>,
}

impl Change {
    /// By how many the segment has more lines in use.
    fn lines(&self) -> i32 {
        if self.after.is_none() { -1 } else { 0 }
    }

    /// By how many it has more sessions.
    fn sessions(&self) -> i32 {
        let after = self.after.as_ref().is_some_and(Entry::is_session);
        i32::from(after) - i32::from(self.before.is_session())
    }
}

/// What changes of one segment come to in its tally.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Of one of the entries: it tells the segment.
    tag: Option<Tag>,
    lines: i32,
    sessions: i32,
}

impl Writer<'_> {
    /// Makes changes to entries of one page that have no mirror, in the order of their
    /// places. They are all counted in one segment.
    pub(super) fn change_page(&mut self, changes: &[Change]) -> Result<()> {
        let mut counts = Counts::default();
        let written = self.write_page(changes, &mut counts);
        self.count_all(counts).and(written)
    }

    /// The same, not counted yet: that is for who changes several pages of a segment.
    pub(super) fn write_page(&mut self, changes: &[Change], counts: &mut Counts) -> Result<()> {
        for change in changes {
            self.withhold_lost(&change.before, change.after.as_ref())?;
        }
        self.write_changes(changes)?;
        for change in changes {
            counts.tag = Some(change.before.tag);
            counts.lines += change.lines();
            counts.sessions += change.sessions();
        }
        for change in changes {
            self.release_dropped(&change.before, change.after.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn count_all(&mut self, counts: Counts) -> Result<()> {
        match counts.tag {
            Some(tag) => self.count_changed(tag, counts.lines, counts.sessions),
            None => Ok(()),
        }
    }

    fn write_changes(&mut self, changes: &[Change]) -> Result<()> {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return Ok(());
        };
        let mut page = [0; PAGE_SIZE as usize];
        let len = (last.offset - first.offset) as usize + LINE_SIZE;
        let Some(bytes) = page.get_mut(..len) else { return Ok(()) };
        if !self.file.records.index.source.read(bytes, first.offset).map_err(reading)? {
            return Err(Error::damaged(first.offset, DamageKind::SegmentTable));
        }
        for change in changes {
            let start = (change.offset - first.offset) as usize;
            let line = self.slot_after(change).encode(change.offset, self.seal());
            if let Some(place) = bytes.get_mut(start..start + LINE_SIZE) {
                place.copy_from_slice(&line);
            }
        }
        self.write(bytes, first.offset)?;
        self.entries_changed = true;
        self.local().published_epoch = self.control.write_epoch;
        Ok(())
    }

    pub(super) fn slot_after(&self, change: &Change) -> Slot {
        match change.after {
            Some(entry) => Slot::Session(entry),
            None => Slot::Vacated { tag: change.before.tag, epoch: self.control.write_epoch },
        }
    }

    /// Counts a change that was written, and releases what is no longer named.
    pub(super) fn settle(&mut self, change: &Change) -> Result<()> {
        self.count_changed(change.before.tag, change.lines(), change.sessions())?;
        self.release_dropped(&change.before, change.after.as_ref())
    }

    fn count_changed(&mut self, tag: Tag, lines: i32, sessions: i32) -> Result<()> {
        if lines != 0 || sessions != 0 {
            self.count(tag, lines, sessions)?;
        }
        Ok(())
    }
}
