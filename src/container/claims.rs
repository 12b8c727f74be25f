//! Which entry names which part of the file: for the check that no two name the
//! same, and that what is named is not free.
//!
//! Claims are collected over a time in which others may write, so a conflict is
//! believed only if both entries still name what they did.

use super::check::bytes_of;
use super::open_file::OpenFile;
use super::report::Report;
use crate::error::Result;
use crate::format::block::{BlockHead, Use};
use crate::format::control::{Control, Root};
use crate::format::entry::Slot;
use crate::format::pass::{Pass, Stage};
use crate::format::record::Piece;
use crate::format::segment::segment_of;
use crate::format::tag::Tag;
use crate::format::word::Word;
use crate::format::{BLOCK_SIZE, LINE_SIZE, place};

/// One entry's claim to some lines of the file.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// First line.
    first: u32,
    /// Number of lines.
    lines: u32,
    tag: Tag,
    word: Word,
}

impl Claim {
    /// The line after the last one.
    fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.lines)
    }
}

/// All claims of an index.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<Claim>);

impl Claims {
    /// Adds what the word of this tag's entry names.
    pub(super) fn add(&mut self, tag: Tag, word: Word, size: usize, pieces: &[Piece]) {
        let line = |offset: u64| (offset / LINE_SIZE as u64) as u32;
        if let Some(offset) = word.offset() {
            self.0.push(Claim { first: line(offset), lines: (size / LINE_SIZE) as u32, tag, word });
        }
        for piece in pieces {
            let first = line(u64::from(piece.block) * BLOCK_SIZE) + 1;
            let lines = line(BLOCK_SIZE) - 1;
            self.0.push(Claim { first, lines, tag, word });
        }
    }
}

impl OpenFile {
    /// Invariant 2. Returns the claims in order.
    pub(super) fn check_claims(&self, claims: Claims, report: &mut Report) -> Result<Claims> {
        let mut claims = claims.0;
        claims.sort_unstable_by_key(|claim| claim.first);
        let mut before: Option<Claim> = None;
        for claim in &claims {
            if let Some(other) = before
                && other.end() > u64::from(claim.first)
                && other.tag != claim.tag
                && self.still_names(&other)?
                && self.still_names(claim)?
            {
                report.add_damage(
                    bytes_of(claim.first),
                    "two sessions claim the same space; one of them will be overwritten",
                );
            }
            if before.is_none_or(|other| claim.end() > other.end()) {
                before = Some(*claim);
            }
        }
        Ok(Claims(claims))
    }

    fn still_names(&self, claim: &Claim) -> Result<bool> {
        let index = &self.records.index;
        let root = index.root()?;
        let segment = index.segment(segment_of(claim.tag, root.segments), root.segments)?;
        let hit = index.find(claim.tag, segment)?;
        Ok(hit.is_some_and(|hit| {
            matches!(hit.slot, Some(Slot::Session(entry)) if entry.words().contains(&claim.word))
        }))
    }

    /// Invariant 8, where the bitmaps are complete. Claims in order.
    pub(super) fn check_bitmaps(
        &self,
        claims: &Claims,
        control: &Control,
        root: &Root,
        report: &mut Report,
    ) -> Result<()> {
        let index = &self.records.index;
        let blocks =
            (index.source.status().map_err(super::index::reading)?.len / BLOCK_SIZE) as u32;
        let line = index.source.line(place::PASS).map_err(super::index::reading)?;
        let pass =
            line.map(|line| Pass::decode(&line, place::PASS, index.seal, control.generation));
        let complete = pass.is_some_and(|pass| pass.stage == Stage::Done);
        if !complete {
            report.add_note(
                place::PASS,
                "free space is still being counted; changes go on meanwhile",
            );
        }
        if control.suspect {
            report.add_note(
                place::CONTROL,
                "a sync has failed or was cut short; what was saved since the last good one may \
                 not be on the disk until the next one",
            );
        }
        let mut leaked = 0u64;
        let mut rest = claims.0.as_slice();
        for block in 1..blocks {
            let end = (u64::from(block) + 1) * BLOCK_SIZE / LINE_SIZE as u64;
            let split = rest.partition_point(|claim| u64::from(claim.first) < end);
            let (here, later) = rest.split_at(split);
            rest = later;
            let Some(head) = self.head_of(block)? else {
                report.add_note(
                    u64::from(block) * BLOCK_SIZE,
                    "the head of a block is damaged; its free space is lost",
                );
                continue;
            };
            if head.generation == control.generation && head.complete {
                leaked += self.check_block(block, &head, here, root, report)?;
            }
        }
        if leaked > 0 {
            report.add_note(
                place::DATA,
                format!(
                    "{leaked} bytes are taken and named by nobody: reserved by a process, or leaked"
                ),
            );
        }
        Ok(())
    }

    fn head_of(&self, block: u32) -> Result<Option<BlockHead>> {
        let index = &self.records.index;
        let offset = u64::from(block) * BLOCK_SIZE;
        for _ in 0..super::index::READINGS {
            let line = index.source.line(offset).map_err(super::index::reading)?;
            let head = line.and_then(|line| BlockHead::decode(&line, offset, index.seal));
            if head.is_some() {
                return Ok(head);
            }
        }
        Ok(None)
    }

    /// Bytes that the block's bitmap has taken and no claim names.
    fn check_block(
        &self,
        block: u32,
        head: &BlockHead,
        claims: &[Claim],
        root: &Root,
        report: &mut Report,
    ) -> Result<u64> {
        let classes = &self.records.classes;
        let (size, count) = match head.usage {
            Use::Extents(class) => (classes.size(class) as u64, classes.per_block(class)),
            Use::Unused | Use::Large => (BLOCK_SIZE, 1),
            Use::Segment => {
                // Of segments that a dropped split left, nobody speaks any more.
                return Ok(if head.next < root.named() { 0 } else { BLOCK_SIZE });
            }
            Use::Table => return Ok(0),
        };
        let mut named = 0;
        for claim in claims {
            let index = match head.usage {
                Use::Extents(class) => classes.extent_index(class, bytes_of(claim.first)),
                _ => Some(0),
            };
            if index.is_some_and(|index| head.bitmap.is_set(index)) {
                named += 1;
            } else if self.still_free(block, claim)? {
                report.add_damage(
                    bytes_of(claim.first),
                    "a session's space counts as free; a later save may overwrite it",
                );
            }
        }
        let taken = u64::from(head.bitmap.count().min(count.into()));
        report.free_bytes += (u64::from(count) - taken) * size;
        Ok(taken.saturating_sub(named) * size)
    }

    /// Whether the claim still stands and the block still calls its space free.
    fn still_free(&self, block: u32, claim: &Claim) -> Result<bool> {
        for _ in 0..3 {
            if !self.still_names(claim)? {
                return Ok(false);
            }
            let Some(head) = self.head_of(block)? else {
                return Ok(false);
            };
            let taken = match head.usage {
                Use::Extents(class) => self
                    .records
                    .classes
                    .extent_index(class, bytes_of(claim.first))
                    .is_some_and(|index| head.bitmap.is_set(index)),
                _ => head.bitmap.is_set(0),
            };
            if taken || head.generation != self.control_line()?.generation || !head.complete {
                return Ok(false);
            }
        }
        self.still_names(claim)
    }
}
