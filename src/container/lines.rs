//! Where an entry's line is or goes, and how it is written: the line that
//! counts, and during a split its mirror.
//!
//! Every prefix of what is written here is a valid state, or is redone by the
//! next lock holder: the busy line is set before the first of two lines is
//! written and cleared after the second (invariant 18), the line that counts
//! comes first, and a line is always written whole (invariant 6).

use std::ops::ControlFlow;

use super::index::Hit;
use super::rules::{Rule, holds};
use super::writer::Writer;
use crate::error::Result;
use crate::format::Line;
use crate::format::control::{Busy, Phase};
use crate::format::entry::{Entry, Slot, is_session, tag_of};
use crate::format::segment::{ENTRIES, FIRST_STEP, Reach, TALLY, Tally, first_line, segment_of};
use crate::format::tag::Tag;

/// Where an entry is torn that is not written whole.
const TORN_AT: usize = 32;

/// What a segment has for a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// Offset of the segment.
    segment: u64,
    /// The line that holds the tag's session.
    pub(crate) hit: Option<Hit>,
    /// Else the first line that it may take, and the reach.
    free: Option<u64>,
    reach: Option<Reach>,
}

impl Spot {
    /// Offset of the line that the session has or may take.
    fn line(&self) -> Option<u64> {
        self.hit.map(|hit| hit.offset).or(self.free)
    }
}

/// Whether an entry may take a line.
enum Take {
    No,
    Yes,
    Must,
}

/// Where a tag's entry is or goes: in the segment that counts, and in its
/// mirror while a split is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spots {
    pub(crate) tag: Tag,
    pub(crate) counts: Spot,
    mirror: Option<Spot>,
}

/// The lines to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    pub(crate) tag: Tag,
    pub(crate) counts: u64,
    pub(crate) mirror: Option<u64>,
}

impl Spots {
    /// The session's entry. A line with the right tag that breaks a rule is an
    /// entry without any version: what it named is lost to it.
    pub(crate) fn entry(&self) -> Option<Entry> {
        match self.counts.hit?.slot {
            Some(Slot::Session(entry)) => Some(entry),
            _ => Some(Entry::new(self.tag)),
        }
    }

    /// Whether a segment has no line for the session, and none beyond its reach.
    pub(crate) fn is_full(&self) -> bool {
        let full = |spot: Spot| {
            spot.line().is_none() && spot.reach.is_none_or(|reach| reach.next_step().is_none())
        };
        full(self.counts) || self.mirror.is_some_and(full)
    }

    /// The lines to write, if there is room in each segment.
    pub(crate) fn lines(&self) -> Option<Lines> {
        let mirror = match self.mirror {
            None => None,
            Some(spot) => Some(spot.line()?),
        };
        Some(Lines { tag: self.tag, counts: self.counts.line()?, mirror })
    }
}

impl Writer<'_> {
    /// Numbers of the segment that counts for a tag, and of its mirror.
    pub(crate) fn homes(&self, tag: Tag) -> (u32, Option<u32>) {
        let root = &self.root;
        let counts = segment_of(tag, root.segments);
        let other = match root.phase {
            Phase::Whole => counts,
            Phase::Filling => segment_of(tag, root.segments + root.batch),
            Phase::Settling => segment_of(tag, root.segments - root.batch),
        };
        (counts, (other != counts).then_some(other))
    }

    /// Whether a session of this tag in the segment with this number means
    /// anything; moved ones stay behind, dead by address.
    pub(crate) fn is_home(&self, tag: Tag, number: u32) -> bool {
        let (counts, mirror) = self.homes(tag);
        counts == number || mirror == Some(number) && holds(Rule::DeadOnlyWhenWhole)
    }

    /// Where the tag's entry is or goes.
    pub(crate) fn locate(&self, tag: Tag) -> Result<Spots> {
        let (counts, mirror) = self.homes(tag);
        let mirror = mirror.map(|number| self.locate_in(tag, number)).transpose()?;
        Ok(Spots { tag, counts: self.locate_in(tag, counts)?, mirror })
    }

    fn locate_in(&self, tag: Tag, number: u32) -> Result<Spot> {
        let index = &self.file.records.index;
        let segment = self.segment(number)?;
        let mut hit = None;
        let mut free = None;
        let mut own = None;
        let mut step = 0;
        let mut look = |offset: u64, line: &Line| {
            let found = tag_of(line);
            // Most lines are another session's, and cost no checksum: they cannot be
            // taken, or where there is a line to take already they need not be.
            let others =
                found != tag && (free.is_some() || is_session(line) && self.is_home(found, number));
            if !others {
                let slot = Slot::decode(line, offset, index.seal);
                if found == tag && !matches!(slot, Some(Slot::Never | Slot::Vacated { .. })) {
                    hit = Some(Hit { offset, slot, line: *line });
                    return ControlFlow::Break(());
                }
                match self.may_take(tag, number, slot.as_ref()) {
                    Take::No => {}
                    Take::Yes => free = free.or(Some((offset, step))),
                    Take::Must => own = Some((offset, step)),
                }
            }
            step += 1;
            ControlFlow::Continue(())
        };
        let first = first_line(tag);
        let fetch = if index.source.is_mapped() { 1 } else { 8 };
        let steps = 0..fetch as u32;
        if index.probe(segment, first, steps, fetch, &mut look)?.is_break() {
            return Ok(Spot { segment, hit, free: None, reach: None });
        }
        let reach = index.reach(segment)?;
        let _ = index.probe(segment, first, fetch as u32..reach.lines, fetch, &mut look)?;
        let whole = self.control.is_durable(reach.epoch) || !holds(Rule::ReachDurableBeforeUse);
        let usable = if whole { reach.lines } else { reach.lines_before() };
        let free = own.or(free.filter(|(_, step)| *step < usable)).map(|(offset, _)| offset);
        Ok(Spot { segment, hit, free, reach: Some(reach) })
    }

    /// Whether a session of `tag` may take a line: one never used, one vacated
    /// long enough ago, or one dead by address. One that the same id vacated and
    /// that a power cut may bring back it must take, or the id could come to have
    /// two entries.
    fn may_take(&self, tag: Tag, number: u32, slot: Option<&Slot>) -> Take {
        match slot {
            Some(Slot::Never) => Take::Yes,
            Some(Slot::Vacated { epoch, .. }) if self.control.is_durable(*epoch) => Take::Yes,
            Some(Slot::Vacated { tag: last, .. }) if *last == tag => {
                if holds(Rule::OwnVacatedLineFirst) { Take::Must } else { Take::Yes }
            }
            Some(Slot::Vacated { .. }) if !holds(Rule::VacatedLinesHeld) => Take::Yes,
            Some(Slot::Session(entry)) if !self.is_home(entry.tag, number) => Take::Yes,
            _ => Take::No,
        }
    }

    /// Makes room for a new entry where there is none: raises the reach, if the
    /// last raise is durable. Lines beyond the old reach are used only when the
    /// raise is.
    pub(crate) fn make_room(&mut self, spots: &Spots) -> Result<()> {
        for spot in [Some(spots.counts), spots.mirror].into_iter().flatten() {
            if spot.line().is_none() {
                self.raise_reach(spot)?;
            }
        }
        Ok(())
    }

    /// Raises the reach in good time, when an entry came to lie in the upper
    /// half of it.
    pub(crate) fn raise_reach_early(&mut self, spots: &Spots, lines: &Lines) -> Result<()> {
        let pairs = [(Some(spots.counts), Some(lines.counts)), (spots.mirror, lines.mirror)];
        for (spot, offset) in pairs {
            let (Some(spot), Some(offset)) = (spot, offset) else {
                continue;
            };
            let Some(reach) = spot.reach else { continue };
            let line = (offset - spot.segment) / crate::format::LINE_SIZE as u64;
            let index = (line - crate::format::segment::HEAD_LINES) as u32;
            let step = (index + ENTRIES - first_line(spots.tag)) % ENTRIES;
            if step >= FIRST_STEP / 2 && step >= reach.lines / 2 {
                self.raise_reach(spot)?;
            }
        }
        Ok(())
    }

    fn raise_reach(&mut self, spot: Spot) -> Result<()> {
        let Some(reach) = spot.reach else {
            return Ok(());
        };
        let Some(lines) = reach.next_step() else {
            return Ok(());
        };
        if self.control.is_durable(reach.epoch) || !holds(Rule::ReachRaisedByDurableSteps) {
            let raised = Reach { lines, epoch: self.control.write_epoch, ..reach };
            self.write_reach(spot.segment, raised)?;
        }
        Ok(())
    }

    pub(crate) fn write_reach(&self, segment: u64, reach: Reach) -> Result<()> {
        let offset = segment + crate::format::segment::REACH;
        self.write(&reach.encode(offset, self.seal()), offset)
    }

    /// Writes the slot into its line, and into the mirror.
    ///
    /// Kill before the first of the two lines: nothing has changed, and the
    /// redo copies the old entry, or nothing if the line holds another id.
    /// Kill between them: the redo copies. A cut instead of a kill: recovery
    /// drops the split, and the line that counts is all there is.
    pub(crate) fn put(&mut self, lines: &Lines, slot: &Slot) -> Result<()> {
        let mirror = lines.mirror.filter(|_| holds(Rule::MirrorWritten));
        if let Some(to) = mirror.filter(|_| holds(Rule::BusySetFirst)) {
            self.set_busy(Some(Busy { tag: lines.tag, from: lines.counts, to }))?;
        }
        let mut order = [Some(lines.counts), mirror];
        if !holds(Rule::CountingLineFirst) {
            order.reverse();
        }
        for offset in order.into_iter().flatten() {
            self.write_slot(slot, offset)?;
        }
        if mirror.is_some() {
            self.set_busy(None)?;
        }
        self.entries_changed = true;
        self.answer_epoch = self.control.write_epoch;
        self.local().published_epoch = self.control.write_epoch;
        Ok(())
    }

    fn write_slot(&self, slot: &Slot, offset: u64) -> Result<()> {
        let line = slot.encode(offset, self.seal());
        if holds(Rule::EntriesWrittenWhole) {
            return self.write(&line, offset);
        }
        let (words, rest) = line.split_at(TORN_AT);
        self.write(words, offset)?;
        self.write(rest, offset + TORN_AT as u64)
    }

    /// The segment that a tag's session is counted in: the one that it will be
    /// in after the split of this moment.
    fn tally_offset(&self, tag: Tag) -> Result<u64> {
        let number = segment_of(tag, self.root.named());
        Ok(self.segment(number)? + TALLY)
    }

    /// Changes the counts of a tag's segment, and returns them.
    pub(crate) fn count(&mut self, tag: Tag, lines: i32, sessions: i32) -> Result<Tally> {
        if sessions < 0 {
            self.note_not_full()?;
        }
        let offset = self.tally_offset(tag)?;
        let line = self.line(offset)?;
        let before = Tally::decode(&line, offset, self.seal()).unwrap_or_default();
        let tally = Tally {
            lines: before.lines.saturating_add_signed(lines),
            sessions: before.sessions.saturating_add_signed(sessions),
        };
        if tally != before {
            self.write(&tally.encode(offset, self.seal()), offset)?;
        }
        Ok(tally)
    }
}
