//! A segment: a block of index. Behind the block's head lie the reach line, the
//! tally line, two bounds lines, three lines kept for later, and the entries.
//!
//! A removed session's line stays, and a never-used line does not end a probe:
//! the reach does, which only ever rises, in steps. A line beyond the step
//! before is used only when the raise is durable, so that no power cut can
//! leave an entry that a probe does not come to.

use super::checksum::{LINE_CHECK, Seal};
use super::span::Span;
use super::tag::Tag;
use super::{LINE_SIZE, Line, NEVER};

/// Lines of a segment before its entries.
pub(crate) const HEAD_LINES: u64 = 8;
/// Entries of a segment.
pub(crate) const ENTRIES: u32 = (super::BLOCK_SIZE / LINE_SIZE as u64 - HEAD_LINES) as u32;
/// The steps of the reach.
const STEPS: [u32; 5] = [FIRST_STEP, 128, 256, 512, ENTRIES];
/// No reach covers fewer lines.
pub(crate) const FIRST_STEP: u32 = 64;
/// Offset of the reach line within the segment.
pub(crate) const REACH: u64 = LINE_SIZE as u64;
/// Offset of the tally line within the segment.
pub(crate) const TALLY: u64 = 2 * LINE_SIZE as u64;

pub(super) mod reach_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const REACH: Span = Span::first(4);
    pub(crate) const SEGMENT: Span = REACH.then(4);
    pub(crate) const EPOCH: Span = SEGMENT.then(8);
    pub(crate) const RESERVED: Span = EPOCH.then(44);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// How many lines, from where its tag places it, an entry may lie away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Number of lines that a probe looks at.
    pub(crate) lines: u32,
    /// The segment's number, to notice a table that leads elsewhere.
    pub(crate) segment: u32,
    /// Epoch in which the reach was last raised.
    pub(crate) epoch: u64,
}

impl Reach {
    /// The smallest reach that a segment may have and that covers `lines`.
    pub(crate) fn step_for(lines: u32) -> u32 {
        STEPS.into_iter().find(|step| *step >= lines).unwrap_or(ENTRIES)
    }

    /// The step above this reach, if there is one.
    pub(crate) fn next_step(&self) -> Option<u32> {
        STEPS.into_iter().find(|step| *step > self.lines)
    }

    /// The step below this reach, where every line may be used at any time.
    pub(crate) fn lines_before(&self) -> u32 {
        STEPS.into_iter().rev().find(|step| *step < self.lines).unwrap_or(self.lines)
    }

    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Reach> {
        use reach_line as field;
        let lines = field::REACH.get32(line);
        (seal.fits(line, offset) && STEPS.contains(&lines)).then(|| Reach {
            lines,
            segment: field::SEGMENT.get32(line),
            epoch: field::EPOCH.get(line),
        })
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use reach_line as field;
        let mut line = NEVER;
        field::REACH.put(&mut line, self.lines.into());
        field::SEGMENT.put(&mut line, self.segment.into());
        field::EPOCH.put(&mut line, self.epoch);
        seal.seal(line, offset)
    }
}

pub(super) mod tally_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const LINES: Span = Span::first(4);
    pub(crate) const SESSIONS: Span = LINES.then(4);
    pub(crate) const RESERVED: Span = SESSIONS.then(52);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// Counts of a segment. They may be off after a crash until the segment is next
/// walked, and decide nothing but when to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Lines that hold a session of this segment, removed ones too.
    pub(crate) lines: u32,
    /// Sessions that are not removed.
    pub(crate) sessions: u32,
}

impl Tally {
    /// The counts; none if the line breaks a rule.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Tally> {
        use tally_line as field;
        seal.fits(line, offset).then(|| Tally {
            lines: field::LINES.get32(line).min(ENTRIES),
            sessions: field::SESSIONS.get32(line).min(ENTRIES),
        })
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use tally_line as field;
        let mut line = NEVER;
        field::LINES.put(&mut line, self.lines.into());
        field::SESSIONS.put(&mut line, self.sessions.into());
        seal.seal(line, offset)
    }
}

/// Which segment of an index of `segments` a tag belongs to (linear hashing;
/// Litwin, "Linear hashing: a new tool for file and table addressing", 1980).
#[inline]
pub(crate) fn segment_of(tag: Tag, segments: u32) -> u32 {
    let Some(level) = segments.checked_ilog2() else {
        return 0;
    };
    let low = 1u64 << level;
    let wide = tag.segment_half() & (2 * low - 1);
    let number = if wide < u64::from(segments) { wide } else { wide & (low - 1) };
    number as u32
}

/// Which segment the entries of segment `number` were split off from.
pub(crate) fn parent_of(number: u32) -> u32 {
    number.checked_ilog2().map_or(0, |level| number - (1 << level))
}

/// Most segments that may be split off at once from an index of `segments`: all
/// of them must have their parents among the old ones.
pub(crate) fn batch_max(segments: u32) -> u32 {
    segments.checked_ilog2().map_or(1, |level| (2 << level) - segments)
}

/// Which of a segment's entries is the first that a probe for this tag looks at.
#[inline]
pub(crate) fn first_line(tag: Tag) -> u32 {
    (tag.line_half() % u64::from(ENTRIES)) as u32
}

/// Offset within the segment of the entry that a probe comes to after `steps`.
#[inline]
pub(crate) fn probe_offset(first: u32, steps: u32) -> u64 {
    entry_offset((first + steps) % ENTRIES)
}

/// Offset within the segment of an entry.
#[inline]
pub(crate) fn entry_offset(index: u32) -> u64 {
    (HEAD_LINES + u64::from(index)) * LINE_SIZE as u64
}
