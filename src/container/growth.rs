//! Growth of the index: linear hashing by segments that never move and are
//! never freed (invariant 17).
//!
//! A split of a batch of segments goes in three steps, each waiting for the one
//! before to be durable by an ordinary sync; none syncs under the lock:
//! 1. Filling: a new segment is allocated and gets copies of the entries that will
//!    belong there; then the root line says "filling, since epoch e". From now on a
//!    change of such an entry is written to both, the old segment first: also what a
//!    trim or the pass does while the next segment is allocated. So one after the
//!    other is filled and named, in one hold of the lock or in several, until the last
//!    e is durable: the index grows as fast as sessions come, however seldom anybody
//!    syncs. A cut: the old count is on the disk or comes back, the new segments mean
//!    nothing, recovery drops them.
//! 2. Settling, once e is durable: the root line gets the new count. The new
//!    segments count, the old ones are kept in step, since a cut may bring the
//!    root line of step 1 back.
//! 3. Whole, once that is durable: the entries left behind are dead by address.
//!
//! Entries of the segment table at or beyond the count mean nothing; a repeated
//! split takes new blocks, so that nothing of a dropped one is ever believed.

use super::bounds::include;
use super::index::{DIRECTORY_MARK, table_offset};
use super::rules::{Rule, holds};
use super::writer::{Attempt, Writer};
use crate::error::Result;
use crate::format::block::{BlockHead, Use};
use crate::format::bounds::{BOUNDS, Bounds};
use crate::format::control::{Phase, Root, SEGMENTS_MAX};
use crate::format::entry::{Entry, Slot};
use crate::format::segment::{
    ENTRIES, REACH, Reach, TALLY, Tally, batch_max, first_line, parent_of, probe_offset, segment_of,
};
use crate::format::tables::{TABLE_BLOCK_LEN, TABLE_ENTRY_SIZE, encode_table_entry};
use crate::format::tag::Tag;
use crate::format::{BLOCK_SIZE, LINE_SIZE, PAGE_SIZE, place};
use crate::storage::Fill;

/// Lines in use above which a segment calls for growth: linear probing stays
/// short below, and the segments that wait for their turn do not fill up.
const LINES_GOAL: u32 = ENTRIES * 62 / 100;
/// Lines of removed sessions that make it worth trimming a segment before a split.
const REMOVED_LINES_MIN: u32 = 64;
/// Syncs until a removed session's line is anybody's: of its removal, and of its vacating.
const SYNCS_FOR_ROOM: u32 = 2;
/// A batch begins with this part of the segments, and no more than the next: each
/// batch costs two syncs, and each segment a pause of some 50 us.
const BATCH_PART: u32 = 2;
const BATCH_BEGIN_MAX: u32 = 16;
/// Segments that a session beyond the goal adds to a batch.
const BATCH_STEP: u32 = 4;

/// What was copied into a new segment.
struct Copies {
    /// How far the farthest came to lie.
    reach: u32,
    tally: Tally,
    bounds: Bounds,
}

impl Writer<'_> {
    /// Takes the next step of a split whose last one is durable.
    pub(super) fn advance_split(&mut self) -> Result<()> {
        let wait = match self.root.phase {
            Phase::Whole => return Ok(()),
            Phase::Filling => Rule::FirstWait,
            Phase::Settling => Rule::SecondWait,
        };
        if !self.control.is_durable(self.root.epoch) && holds(wait) {
            return Ok(());
        }
        let epoch = self.control.write_epoch;
        let root = self.root;
        self.set_root(match root.phase {
            Phase::Filling => {
                Root { segments: root.named(), phase: Phase::Settling, epoch, ..root }
            }
            Phase::Settling | Phase::Whole => Root { batch: 0, phase: Phase::Whole, ..root },
        })
    }

    /// Splits more segments off if the segment of this tag, with so many lines in use,
    /// calls for it even after its removed sessions' lines were given up.
    pub(crate) fn grow_if_full(&mut self, tag: Tag, tally: Tally) -> Result<()> {
        if tally.lines <= LINES_GOAL || self.root.phase == Phase::Settling {
            return Ok(());
        }
        if tally.lines - tally.sessions.min(tally.lines) > REMOVED_LINES_MIN {
            let number = segment_of(tag, self.root.segments);
            let trimmed = self.trim_segment(number)?;
            self.recount(number)?;
            let lines = self.count(tag, 0, 0)?.lines;
            if lines.saturating_sub(trimmed.waiting_lines) <= LINES_GOAL {
                // Segments are for good, and a sync is not.
                self.sync_wanted = lines > LINES_GOAL;
                return Ok(());
            }
        }
        let segments = self.root.segments;
        let begins = self.root.phase == Phase::Whole;
        let first = (segments / BATCH_PART).clamp(1, BATCH_BEGIN_MAX);
        self.split_off(if begins { first } else { BATCH_STEP })
    }

    /// Whether a segment is full of lines that syncs give back, so that waiting for them
    /// is better than a split: sessions were removed from it since anybody synced. Lines
    /// whose removal is durable are vacated here; once that is durable, too, anybody may
    /// take them.
    pub(crate) fn syncs_would_make_room(&mut self, tag: Tag) -> Result<bool> {
        let few = self.count(tag, 0, 0)?.sessions <= LINES_GOAL;
        let waits = few && self.attempt < SYNCS_FOR_ROOM;
        if waits {
            self.trim_segment(segment_of(tag, self.root.segments))?;
        }
        Ok(waits)
    }

    /// Sees to it that the segment of this tag, which is full, is among those being
    /// split, unless others are settling.
    pub(crate) fn split_full(&mut self, tag: Tag) -> Result<()> {
        let segments = self.root.segments;
        let child = segment_of(tag, segments) + (1 << segments.ilog2());
        self.split_off((child + 1).saturating_sub(self.root.named()))
    }

    /// Splits off so many more segments, or as many as there is space for: the first of
    /// a batch, or more for one that is being filled.
    fn split_off(&mut self, count: u32) -> Result<()> {
        let segments = self.root.segments;
        let first = self.root.named();
        let most = (segments + batch_max(segments)).min(SEGMENTS_MAX);
        if self.root.phase == Phase::Settling || self.control.suspect {
            return Ok(());
        }
        let mut named = first;
        for number in first..most.min(first + count) {
            // Nothing is split off a segment that cannot be found or read.
            let Some(parent) = self.segment_if_sound(parent_of(number))? else { break };
            self.look_at_pages(parent)?;
            if !self.fill_segment(number)? {
                break;
            }
            // Before the next one is allocated, which may trim entries: also those that
            // were just copied, and from now on have a mirror to be kept in step.
            if holds(Rule::CopiesNamedAtOnce) {
                self.name_batch(number + 1 - segments)?;
            }
            named = number + 1;
        }
        if named > first && !holds(Rule::CopiesNamedAtOnce) {
            self.name_batch(named - segments)?;
        }
        for number in first..named {
            self.recount(parent_of(number))?;
        }
        Ok(())
    }

    /// Reads a line of each page of a segment, before a block is taken for nothing.
    fn look_at_pages(&self, segment: u64) -> Result<()> {
        for page in (segment..segment + BLOCK_SIZE).step_by(PAGE_SIZE as usize) {
            self.line(page)?;
        }
        Ok(())
    }

    /// Says in the root line that so many segments are being filled.
    fn name_batch(&mut self, batch: u32) -> Result<()> {
        let waits_anew = self.root.phase == Phase::Whole || holds(Rule::LargerBatchWaitsAnew);
        let epoch = if waits_anew { self.control.write_epoch } else { self.root.epoch };
        self.set_root(Root { batch, phase: Phase::Filling, epoch, ..self.root })
    }

    /// Makes segment `number`, the next one, with the entries that move there. False
    /// if there is no space now.
    fn fill_segment(&mut self, number: u32) -> Result<bool> {
        if !self.prepare_table(number)? {
            return Ok(false);
        }
        let dropped = if holds(Rule::FreshBlocksForASplit) {
            None
        } else {
            self.segment_if_sound(number)?.map(|segment| (segment / BLOCK_SIZE) as u32)
        };
        let block = match dropped {
            Some(block) => block,
            None => match self.space_for_index(Use::Segment)? {
                Attempt::Done(block) => block,
                Attempt::Sync => return Ok(false),
            },
        };
        let segment = u64::from(block) * BLOCK_SIZE;
        let mut image = vec![0; BLOCK_SIZE as usize];
        let Copies { reach, tally, bounds } = self.copy_entries(number, segment, &mut image)?;
        let mut head = BlockHead::taken(self.control.generation, Use::Segment);
        head.bitmap.set(0);
        head.next = number;
        let seal = self.seal();
        // The reach needs no wait: nobody looks here before it is durable.
        let reach = if holds(Rule::ReachCoversCopies) { reach } else { 1 };
        let reach = Reach { lines: Reach::step_for(reach), segment: number, epoch: 0 };
        for (offset, line) in [
            (0, head.encode(segment, seal)),
            (REACH, reach.encode(segment + REACH, seal)),
            (TALLY, tally.encode(segment + TALLY, seal)),
        ] {
            put_line(&mut image, offset, &line);
        }
        let lines = bounds.encode(segment + BOUNDS, seal);
        for (line, offset) in lines.iter().zip((BOUNDS..).step_by(LINE_SIZE)) {
            put_line(&mut image, offset, line);
        }
        if holds(Rule::SplitsLowerBounds) {
            self.lower_above(number, bounds.earliest())?;
        }
        // In pages, so that later small writes to them are cheap.
        for (page, offset) in
            image.chunks_exact(PAGE_SIZE as usize).zip((segment..).step_by(PAGE_SIZE as usize))
        {
            self.write(page, offset)?;
        }
        self.name_segment(number, block)?;
        Ok(true)
    }

    /// Copies the entries that move from their parent into the image of the
    /// new segment.
    fn copy_entries(&self, number: u32, segment: u64, image: &mut [u8]) -> Result<Copies> {
        let parent = parent_of(number);
        let mut copies = Copies { reach: 1, tally: Tally::default(), bounds: Bounds::NONE };
        for first in (0..ENTRIES).step_by(64) {
            for (_, entry) in self.sessions_in(parent, first, 64.min(ENTRIES - first))? {
                // A removal that is durable needs no copy.
                let gone = entry.cur.is_tombstone() && self.control.is_durable(entry.epoch);
                if gone || segment_of(entry.tag, number + 1) != number {
                    continue;
                }
                let step = self.place_copy(&entry, segment, image);
                copies.reach = copies.reach.max(step + 1);
                copies.tally.lines += 1;
                copies.tally.sessions += u32::from(entry.is_session());
                include(&mut copies.bounds, probe_offset(first_line(entry.tag), step), &entry);
            }
        }
        Ok(copies)
    }

    fn place_copy(&self, entry: &Entry, segment: u64, image: &mut [u8]) -> u32 {
        let first = first_line(entry.tag);
        for step in 0..ENTRIES {
            let offset = probe_offset(first, step);
            let free = image
                .get(offset as usize..offset as usize + LINE_SIZE)
                .is_some_and(|line| line.iter().all(|byte| *byte == 0));
            if free {
                let line = Slot::Session(*entry).encode(segment + offset, self.seal());
                put_line(image, offset, &line);
                return step;
            }
        }
        ENTRIES
    }

    /// Makes the part of the segment table that segment `number` is the first
    /// of, if it is. False if there is no space now.
    fn prepare_table(&mut self, number: u32) -> Result<bool> {
        let Some(beyond) = number.checked_sub(place::TABLE_LEN) else {
            return Ok(true);
        };
        if !beyond.is_multiple_of(TABLE_BLOCK_LEN) {
            return Ok(true);
        }
        let part = beyond / TABLE_BLOCK_LEN;
        let Attempt::Done(block) = self.space_for_index(Use::Table)? else {
            return Ok(false);
        };
        let mut head = BlockHead::taken(self.control.generation, Use::Table);
        head.bitmap.set(0);
        head.next = part;
        self.write_head(block, &head)?;
        let offset = place::DIRECTORY + u64::from(part) * TABLE_ENTRY_SIZE;
        self.write(&encode_table_entry(block, part | DIRECTORY_MARK, self.seal()), offset)?;
        Ok(true)
    }

    fn name_segment(&mut self, number: u32, block: u32) -> Result<()> {
        let offset = match number.checked_sub(place::TABLE_LEN) {
            None => place::TABLE + u64::from(number) * TABLE_ENTRY_SIZE,
            Some(beyond) => {
                let table = self.file.records.index.directory_entry(beyond / TABLE_BLOCK_LEN)?;
                table_offset(table, beyond % TABLE_BLOCK_LEN)
            }
        };
        self.write(&encode_table_entry(block, number, self.seal()), offset)
    }

    /// A block for the index. No space is no error: the index goes on as it is,
    /// only slower, until it is really full.
    fn space_for_index(&mut self, usage: Use) -> Result<Attempt<u32>> {
        use crate::error::ErrorKind;
        match self.allocate_block(usage, Fill::Zeros) {
            Err(error) if matches!(error.kind(), ErrorKind::Full(_)) => Ok(Attempt::Sync),
            other => other,
        }
    }
}

fn put_line(image: &mut [u8], offset: u64, line: &[u8; LINE_SIZE]) {
    let start = offset as usize;
    if let Some(place) = image.get_mut(start..start + LINE_SIZE) {
        place.copy_from_slice(line);
    }
}
