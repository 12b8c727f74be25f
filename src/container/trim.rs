//! Trimming: letting go of versions that are no longer needed.
//!
//! An entry whose newest version is durable needs no other: `old` := `cur`,
//! which also says that it is known durable. A durable tombstone needs no entry:
//! the line becomes vacated, and is another id's only when that is durable too,
//! so that a removed session stays removed (invariant 15).

use super::lines::Lines;
use super::writer::Writer;
use crate::error::Result;
use crate::format::entry::{Entry, Slot};
use crate::format::segment::ENTRIES;

/// Lines looked at in one go.
const CHUNK: u32 = 64;

/// What a trim has done and seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trimmed {
    /// Some extents were released.
    pub(crate) freed: bool,
    /// Superseded versions that only a sync would let go of take more than a
    /// quarter of what the live ones take.
    pub(crate) sync_would_free_much: bool,
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
            let place = self.file.nonces.next();
            self.local().trim_segment = (place % u64::from(segments)) as u32;
            self.local().trim_entry = (place >> 32) as u32 % ENTRIES / CHUNK * CHUNK;
        }
        while trimmed.lines < goal {
            let number = self.local().trim_segment % segments;
            let first = self.local().trim_entry;
            let count = CHUNK.min(ENTRIES - first);
            for (offset, entry) in self.sessions_in(number, first, count)? {
                self.trim_entry(number, offset, &entry, &mut trimmed)?;
            }
            trimmed.lines += count;
            let next = first + count;
            self.local().trim_entry = if next >= ENTRIES { 0 } else { next };
            if next >= ENTRIES {
                self.local().trim_segment = (number + 1) % segments;
            }
        }
        trimmed.sync_would_free_much = 4 * trimmed.waiting_bytes > trimmed.live_bytes;
        Ok(trimmed)
    }

    fn trim_entry(
        &mut self,
        number: u32,
        offset: u64,
        entry: &Entry,
        trimmed: &mut Trimmed,
    ) -> Result<()> {
        let size = entry.class.map_or(0, |class| self.file.records.classes.size(class) as u64);
        trimmed.live_bytes += size;
        trimmed.named_bytes += size;
        let superseded = u64::from(entry.old != entry.cur && !entry.old.is_nothing())
            + u64::from(!entry.mid.is_nothing());
        if self.homes(entry.tag).0 != number {
            return Ok(());
        }
        let clean = self.clean(entry)?;
        let durable = self.control.is_durable(clean.epoch);
        if !durable {
            trimmed.waiting_bytes += superseded * size.max(256);
            trimmed.named_bytes += superseded * size;
            return Ok(());
        }
        let after = if clean.cur.is_nothing() || clean.cur.is_tombstone() {
            None
        } else {
            Some(clean.trimmed())
        };
        if after == Some(*entry) {
            return Ok(());
        }
        let lines = self.lines_of(entry, offset)?;
        let Some(lines) = lines else { return Ok(()) };
        match after {
            Some(entry) => self.put(&lines, &Slot::Session(entry))?,
            None => {
                let epoch = self.control.write_epoch;
                self.put(&lines, &Slot::Vacated { tag: entry.tag, epoch })?;
                let sessions = if entry.cur.is_tombstone() { 0 } else { -1 };
                self.count(entry.tag, -1, sessions)?;
            }
        }
        self.release_dropped(entry, after.as_ref())?;
        trimmed.freed |= superseded > 0 || after.is_none();
        Ok(())
    }

    /// The lines of an entry found at `offset`, if that is where a probe finds
    /// it.
    fn lines_of(&self, entry: &Entry, offset: u64) -> Result<Option<Lines>> {
        let spots = self.locate(entry.tag)?;
        let found = spots.counts.hit.is_some_and(|hit| hit.offset == offset);
        Ok(if found { spots.lines() } else { None })
    }
}
