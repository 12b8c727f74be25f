//! Keeping the bounds of deadlines (`format::bounds`), so that a sweep costs what has
//! expired and not what exists.
//!
//! A bound is no later than any deadline in what it stands for, in every state that a
//! kill leaves: it is lowered before the entry is written, those above it first, and
//! raised after what it stands for was looked at, those below it first. A power cut
//! may leave one that is too late; the pass, which comes to every segment after a
//! cut, mends it. Nothing else relies on a bound: a load compares the deadline itself.

use super::index::reading;
use super::lines::Lines;
use super::open_file::OpenFile;
use super::report::Report;
use super::rules::{Rule, holds};
use super::unreadable::Unreadable;
use super::writer::Writer;
use crate::error::Result;
use crate::format::bounds::{
    BOUNDS, BOUNDS_LINES, Bound, Bounds, DEPTH_MAX, PAGES, Sweep, above, line_of, page_slot,
};
use crate::format::control::{Control, Root};
use crate::format::entry::{Entry, Slot};
use crate::format::pass::{Pass, Stage};
use crate::format::segment::{ENTRIES, entry_offset, segment_of};
use crate::format::{BLOCK_SIZE, LINE_SIZE, place};

/// Looks at a segment before its bounds are reported.
const LOOKS: u32 = 3;

impl Writer<'_> {
    /// The bounds of a segment; `None` if they cannot be found or read.
    pub(super) fn bounds(&self, number: u32) -> Result<Option<Bounds>> {
        match self.segment_if_sound(number)? {
            Some(segment) => {
                Unreadable::IsLeftOut.judge(self.file.bounds_at(segment + BOUNDS).map(Some))
            }
            None => Ok(None),
        }
    }

    /// One of them.
    fn bound(&self, number: u32, slot: usize) -> Result<Option<Bound>> {
        let Some(segment) = self.segment_if_sound(number)? else { return Ok(None) };
        let offset = segment + BOUNDS + (line_of(slot) * LINE_SIZE) as u64;
        let line = Unreadable::IsLeftOut.judge(self.line(offset).map(Some))?;
        Ok(line.map(|line| Bounds::bound_in(&line, offset, slot, self.seal())))
    }

    /// Sets a bound of a segment that can be found, or that of the whole index.
    pub(super) fn set_bound(&mut self, at: Option<(u32, usize)>, bound: Bound) -> Result<()> {
        let Some((number, slot)) = at else {
            let sweep = Sweep { bound, ..self.sweep() };
            return self.set_sweep(sweep);
        };
        let Some(mut bounds) = self.bounds(number)? else { return Ok(()) };
        bounds.set(slot, bound);
        let offset = self.segment(number)? + BOUNDS;
        let lines = bounds.encode(offset, self.seal());
        match lines.get(line_of(slot)) {
            Some(line) => self.write(line, offset + (line_of(slot) * LINE_SIZE) as u64),
            None => Ok(()),
        }
    }

    /// Lowers what stands for an entry that is about to be written.
    pub(super) fn lower_bounds(&mut self, lines: &Lines, deadline_ms: u64) -> Result<()> {
        let (counts, mirror) = self.homes(lines.tag);
        let mirror = mirror.filter(|_| holds(Rule::MirrorsHaveBounds));
        for (number, offset) in [(Some(counts), Some(lines.counts)), (mirror, lines.mirror)] {
            if let (Some(number), Some(offset)) = (number, offset) {
                self.lower(Some((number, page_slot(offset))), Bound::of(deadline_ms))?;
            }
        }
        Ok(())
    }

    /// Lowers a bound, and those above it before. Where one is low enough, all above it
    /// are. A segment that cannot be found has none.
    fn lower(&mut self, from: Option<(u32, usize)>, bound: Bound) -> Result<()> {
        let mut steps: [Option<(u32, usize)>; DEPTH_MAX] = [None; DEPTH_MAX];
        let mut at = from;
        let mut low_enough = false;
        for step in &mut steps {
            let Some((number, slot)) = at.filter(|_| !low_enough) else { break };
            at = above(number);
            let Some(kept) = self.bound(number, slot)? else { continue };
            low_enough = kept <= bound || !holds(Rule::LowerBoundsAllTheWay);
            if kept > bound {
                *step = Some((number, slot));
            }
        }
        // One that says that there is no deadline may be damaged.
        let idle = Sweep::is_idle(&self.sweep_line);
        if !low_enough && (idle || self.sweep().bound > bound) {
            self.set_bound(None, bound)?;
        }
        if !holds(Rule::UpperBoundsFirst) {
            steps.reverse();
        }
        for step in steps.into_iter().rev().flatten() {
            self.set_bound(Some(step), bound)?;
        }
        Ok(())
    }

    /// Lowers what stands for a segment that is about to be named or derived anew.
    pub(super) fn lower_above(&mut self, number: u32, bound: Bound) -> Result<()> {
        if bound == Bound::NONE {
            return Ok(());
        }
        self.lower(above(number), bound)
    }

    /// Derives the bounds of a segment's pages anew: in place of what a cut or rot left.
    pub(super) fn derive_bounds(&mut self, number: u32, derived: &Bounds) -> Result<()> {
        if !holds(Rule::PassDerivesBounds) {
            return Ok(());
        }
        let Some(kept) = self.bounds(number)? else { return Ok(()) };
        let mut bounds = kept;
        bounds.take_pages(derived);
        // Those of the segments below count as well: a cut may have left them, and not
        // what is above this one.
        self.lower_above(number, bounds.earliest())?;
        self.replace_bounds(number, &kept, &bounds)
    }

    /// Writes the bounds of a segment, where they are not those that it has.
    pub(super) fn replace_bounds(&self, number: u32, kept: &Bounds, bounds: &Bounds) -> Result<()> {
        if kept == bounds {
            return Ok(());
        }
        let offset = self.segment(number)? + BOUNDS;
        self.write(bounds.encode(offset, self.seal()).as_flattened(), offset)
    }
}

/// Lowers, in bounds that are not on the disk yet, what stands for an entry at `offset`.
pub(super) fn include(bounds: &mut Bounds, offset: u64, entry: &Entry) {
    let slot = page_slot(offset);
    bounds.set(slot, bounds.get(slot).min(Bound::of(entry.deadline_ms)));
}

impl OpenFile {
    /// Invariant 24, where the pass is done.
    pub(super) fn check_bounds(
        &self,
        control: &Control,
        root: &Root,
        report: &mut Report,
    ) -> Result<()> {
        let index = &self.records.index;
        let line = index.source.line(place::PASS).map_err(reading)?;
        let done = line.is_some_and(|line| {
            let pass = Pass::decode(&line, place::PASS, index.seal, control.generation);
            pass.stage == Stage::Done
        });
        for number in 0..if done { root.segments } else { 0 } {
            // Of one that cannot be found others tell.
            let Ok(segment) = index.segment(number, root.segments) else { continue };
            let mut late = true;
            for _ in 0..LOOKS {
                late = late && self.is_bound_late(number, segment, root)?;
            }
            if late {
                let what = "a bound is later than what it stands for; who expires there is not \
                            returned, and gives back space only after the next recovery";
                report.add_note(segment + BOUNDS, what);
            }
        }
        Ok(())
    }

    /// Whether a bound of the segment is later than a deadline in it, or the one above it
    /// later than one of its own. Read in this order, since they are lowered in the other.
    fn is_bound_late(&self, number: u32, segment: u64, root: &Root) -> Result<bool> {
        let index = &self.records.index;
        let mut image = vec![0; (BLOCK_SIZE - entry_offset(0)) as usize];
        index.source.read(&mut image, segment + entry_offset(0)).map_err(reading)?;
        let mut least = Bounds::NONE;
        for (line, entry_number) in image.as_chunks::<LINE_SIZE>().0.iter().zip(0..ENTRIES) {
            let offset = segment + entry_offset(entry_number);
            if let Some(Slot::Session(entry)) = Slot::decode(line, offset, index.seal)
                && segment_of(entry.tag, root.segments) == number
            {
                include(&mut least, offset, &entry);
            }
        }
        let bounds = self.bounds_at(segment + BOUNDS)?;
        let stands = match above(number) {
            None => {
                let line = index.source.line(place::SWEEP).map_err(reading)?;
                line.map_or(Bound::UNKNOWN, |line| {
                    Sweep::decode(&line, place::SWEEP, index.seal).bound
                })
            }
            Some((parent, slot)) => match index.segment(parent, root.segments) {
                Ok(segment) => self.bounds_at(segment + BOUNDS)?.get(slot),
                Err(_) => Bound::UNKNOWN,
            },
        };
        let late_page = (0..PAGES).any(|page| bounds.get(page) > least.get(page));
        Ok(late_page || stands > bounds.earliest())
    }

    /// The bounds in the lines at `offset`.
    fn bounds_at(&self, offset: u64) -> Result<Bounds> {
        let index = &self.records.index;
        let mut bytes = [0; BOUNDS_LINES * LINE_SIZE];
        index.source.read(&mut bytes, offset).map_err(reading)?;
        let mut lines = [[0; LINE_SIZE]; BOUNDS_LINES];
        for (line, from) in lines.iter_mut().zip(bytes.as_chunks::<LINE_SIZE>().0) {
            *line = *from;
        }
        Ok(Bounds::decode(&lines, offset, index.seal))
    }
}
