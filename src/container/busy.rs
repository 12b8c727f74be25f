//! The busy line: a change of two lines that has begun, an entry and its mirror.
//!
//! It is set before the first of the two and cleared after the second. Whoever takes the
//! lock and finds it set redoes the second one, before anything else (invariant 18).

use super::writer::Writer;
use crate::error::Result;
use crate::format::control::Busy;
use crate::format::entry::Slot;
use crate::format::segment::entry_offset;
use crate::format::{BLOCK_SIZE, NEVER, place};

impl Writer<'_> {
    /// Redoes a change of two lines that was begun: copies the line that counts
    /// to its mirror, if it holds that id at all (else the first of the two
    /// writes was never done). Lines that are not where the index would have
    /// them are left alone.
    pub(super) fn redo(&mut self, busy: Busy) -> Result<()> {
        if self.may_mirror(&busy)? {
            let line = self.line(busy.from)?;
            let slot = Slot::decode(&line, busy.from, self.seal());
            if let Some(slot @ (Slot::Session(_) | Slot::Vacated { .. })) = slot
                && slot.tag() == Some(busy.tag)
            {
                self.write(&slot.encode(busy.to, self.seal()), busy.to)?;
            }
        }
        self.set_busy(None)
    }

    /// Whether the two lines are in the segments that a split of this moment
    /// keeps in step for this tag.
    fn may_mirror(&self, busy: &Busy) -> Result<bool> {
        let (from, to) = self.homes(busy.tag);
        let Some(to) = to else { return Ok(false) };
        let in_segment = |offset: u64, number: u32| -> Result<bool> {
            let segment = self.segment(number)?;
            let first = segment + entry_offset(0);
            Ok((first..segment + BLOCK_SIZE).contains(&offset))
        };
        Ok(in_segment(busy.from, from)? && in_segment(busy.to, to)?)
    }

    pub(crate) fn set_busy(&mut self, busy: Option<Busy>) -> Result<()> {
        let line = busy.map_or(NEVER, |busy| busy.encode(place::BUSY, self.seal()));
        self.busy_line_used = true;
        self.write(&line, place::BUSY)?;
        self.busy_line_used = busy.is_some();
        self.busy = None;
        Ok(())
    }

    /// Forgets a change of two lines that was begun: recovery has made one of
    /// the lines meaningless.
    pub(crate) fn forget_busy(&mut self) -> Result<()> {
        if self.busy_line_used {
            self.set_busy(None)?;
        }
        Ok(())
    }
}
