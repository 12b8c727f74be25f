//! Bounds: when it is worth looking for expired sessions, and where.
//!
//! The segments of the index form a heap over the hash table: segment 0 is its
//! root, and segment n has the segments 14 n + 1 to 14 n + 14 below it. Each has
//! two lines with a bound for each page of its entries and for each segment below
//! it. A bound is no later than any deadline in what it stands for; it may be
//! earlier, and is raised when somebody looked. Nothing but the sweep believes it.

use super::checksum::{LINE_CHECK, Seal};
use super::span::Span;
use super::{BLOCK_SIZE, LINE_SIZE, Line, NEVER, PAGE_SIZE};

/// Bounds in one line.
const BOUNDS_PER_LINE: usize = 15;
/// Lines with bounds in a segment.
pub(crate) const BOUNDS_LINES: usize = 2;
/// Offset of the first of them within the segment.
pub(crate) const BOUNDS: u64 = 3 * LINE_SIZE as u64;
/// Pages of a segment.
pub(crate) const PAGES: usize = (BLOCK_SIZE / PAGE_SIZE) as usize;
/// Segments below one.
pub(crate) const CHILDREN: usize = BOUNDS_LINES * BOUNDS_PER_LINE - PAGES;
/// Segments on the longest way up from one: 14^0 + ... + 14^5 are more than there can be.
pub(crate) const DEPTH_MAX: usize = 6;

pub(super) mod bounds_line {
    use super::{BOUNDS_PER_LINE, LINE_CHECK, Span};
    pub(crate) const BOUNDS: Span = Span::first(4 * BOUNDS_PER_LINE);
    const _: () = assert!(BOUNDS.end() == LINE_CHECK.offset);
}

/// The bound of deadlines that are too late for one.
const LATE: u32 = u32::MAX - 1;

/// No deadline is earlier than this: seconds since 1970, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bound(u32);

impl Bound {
    /// There is no deadline.
    pub(crate) const NONE: Bound = Bound(u32::MAX);
    /// Nothing is known: it is worth looking now.
    pub(crate) const UNKNOWN: Bound = Bound(0);

    /// The bound of a deadline; those after the year 2106 share one, which is never due.
    /// 0 is no deadline.
    pub(crate) fn of(deadline_ms: u64) -> Bound {
        match deadline_ms {
            0 => Bound::NONE,
            _ => Bound(deadline_ms.div_ceil(1000).min(u64::from(LATE)) as u32),
        }
    }

    /// Whether a deadline may have passed.
    #[inline]
    pub(crate) fn is_due(self, now_ms: u64) -> bool {
        self.0 < LATE && u64::from(self.0) * 1000 <= now_ms
    }
}

/// What a bound of a segment stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A page of its entries.
    Page(usize),
    /// The segment of this number below it, with all below that.
    Child(u32),
}

/// The bounds of one segment: first of its pages, then of the segments below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    bounds: [Bound; BOUNDS_LINES * BOUNDS_PER_LINE],
}

impl Bounds {
    pub(crate) const NONE: Bounds = Bounds::all(Bound::NONE);
    pub(crate) const UNKNOWN: Bounds = Bounds::all(Bound::UNKNOWN);

    const fn all(bound: Bound) -> Bounds {
        Bounds { bounds: [bound; BOUNDS_LINES * BOUNDS_PER_LINE] }
    }

    /// The bounds in the lines at `offset`; of a line that breaks a rule nothing is known.
    pub(crate) fn decode(lines: &[Line; BOUNDS_LINES], offset: u64, seal: Seal) -> Bounds {
        let mut found = Bounds::UNKNOWN;
        let parts = found.bounds.chunks_exact_mut(BOUNDS_PER_LINE);
        for ((line, number), part) in lines.iter().zip(0u64..).zip(parts) {
            if !seal.fits(line, offset + number * LINE_SIZE as u64) {
                continue;
            }
            let bytes = bounds_line::BOUNDS.slice(line).unwrap_or(&[]);
            for (bound, from) in part.iter_mut().zip(bytes.chunks_exact(4)) {
                *bound = Bound(Span::first(4).get32(from));
            }
        }
        found
    }

    /// The bound with this slot in the line at `offset` that has it.
    pub(crate) fn bound_in(line: &Line, offset: u64, slot: usize, seal: Seal) -> Bound {
        let span = Span { offset: 4 * (slot % BOUNDS_PER_LINE), size: 4 };
        if seal.fits(line, offset) { Bound(span.get32(line)) } else { Bound::UNKNOWN }
    }

    /// The lines, for `offset`.
    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> [Line; BOUNDS_LINES] {
        let mut lines = [NEVER; BOUNDS_LINES];
        let parts = self.bounds.chunks_exact(BOUNDS_PER_LINE);
        for ((line, number), part) in lines.iter_mut().zip(0u64..).zip(parts) {
            for (bound, index) in part.iter().zip(0..) {
                Span { offset: 4 * index, size: 4 }.put(line, bound.0.into());
            }
            *line = seal.seal(*line, offset + number * LINE_SIZE as u64);
        }
        lines
    }

    pub(crate) fn get(&self, slot: usize) -> Bound {
        self.bounds.get(slot).copied().unwrap_or(Bound::NONE)
    }

    pub(crate) fn set(&mut self, slot: usize, bound: Bound) {
        if let Some(place) = self.bounds.get_mut(slot) {
            *place = bound;
        }
    }

    /// Takes over the bounds of the pages.
    pub(crate) fn take_pages(&mut self, from: &Bounds) {
        for (bound, derived) in self.bounds.iter_mut().zip(from.bounds).take(PAGES) {
            *bound = derived;
        }
    }

    /// The earliest of them.
    pub(crate) fn earliest(&self) -> Bound {
        self.bounds.iter().copied().min().unwrap_or(Bound::NONE)
    }

    /// The first that is due, by its slot; pages come before segments.
    pub(crate) fn first_due(&self, now_ms: u64) -> Option<usize> {
        self.bounds.iter().position(|bound| bound.is_due(now_ms))
    }
}

/// The line that has a slot, counted from the first.
pub(crate) fn line_of(slot: usize) -> usize {
    slot / BOUNDS_PER_LINE
}

/// The slot of the page in which the line at this offset of the file lies.
pub(crate) fn page_slot(offset: u64) -> usize {
    (offset % BLOCK_SIZE / PAGE_SIZE) as usize
}

/// What a slot of segment `number` stands for.
pub(crate) fn place_of(number: u32, slot: usize) -> Place {
    match slot.checked_sub(PAGES) {
        None => Place::Page(slot),
        Some(child) => Place::Child(number * CHILDREN as u32 + child as u32 + 1),
    }
}

/// The segment above this one, and the slot that it has there; `None` for segment 0.
pub(crate) fn above(number: u32) -> Option<(u32, usize)> {
    let before = number.checked_sub(1)?;
    Some((before / CHILDREN as u32, PAGES + before as usize % CHILDREN))
}

pub(super) mod sweep_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const SEEN: Span = Span::first(8);
    pub(crate) const DOUBT: Span = SEEN.then(8);
    pub(crate) const BOUND: Span = DOUBT.then(4);
    pub(crate) const RESERVED: Span = BOUND.then(40);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// The sweep line of the control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// A time that was believed, as it was last noted, in milliseconds since 1970.
    pub(crate) seen_ms: u64,
    /// A much later time that a clock told, which nobody has confirmed; 0: none.
    pub(crate) doubt_ms: u64,
    /// The bound of the whole index.
    pub(crate) bound: Bound,
}

impl Sweep {
    /// What the line says; of one that breaks a rule nothing is known.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Sweep {
        use sweep_line as field;
        if !seal.fits(line, offset) {
            return Sweep { seen_ms: 0, doubt_ms: 0, bound: Bound::UNKNOWN };
        }
        Sweep {
            seen_ms: field::SEEN.get(line),
            doubt_ms: field::DOUBT.get(line),
            bound: Bound(field::BOUND.get32(line)),
        }
    }

    /// Whether the line says that no session has a deadline. Its checksum is not compared:
    /// whoever sweeps on request does that.
    #[inline]
    pub(crate) fn is_idle(line: &Line) -> bool {
        sweep_line::BOUND.get32(line) == Bound::NONE.0
    }

    /// Whether it says that there is nothing to do, and noted the time no longer than
    /// `note_ms` ago. Its checksum is not compared here either, but once that is over.
    #[inline]
    pub(crate) fn is_quiet(line: &Line, now_ms: u64, note_ms: u64) -> bool {
        let since_ms = now_ms.checked_sub(sweep_line::SEEN.get(line));
        !Bound(sweep_line::BOUND.get32(line)).is_due(now_ms)
            && sweep_line::DOUBT.get(line) == 0
            && since_ms.is_some_and(|since_ms| since_ms <= note_ms)
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use sweep_line as field;
        let mut line = NEVER;
        field::SEEN.put(&mut line, self.seen_ms);
        field::DOUBT.put(&mut line, self.doubt_ms);
        field::BOUND.put(&mut line, self.bound.0.into());
        seal.seal(line, offset)
    }
}
