//! The pass: rebuilds the bitmaps of a generation from the index.
//!
//! A generation begins with recovery, or when bits have leaked. From then on a
//! block's bitmap means nothing until the pass has been over the whole index:
//! it takes a block's class from the checked records that entries name in it,
//! never from the block's head, begins the bitmap afresh at the first record,
//! and sets a bit for each. Blocks that it never came to are empty, as of the
//! epoch in which it then sees them. It goes some lines with each save, and to
//! its end where an allocation finds nothing.
//!
//! Entries that change while it runs set their own bits: whatever is allocated
//! in a generation has its bit set in that generation. What a power cut took in part
//! is withheld until the next one.

use super::bounds::include;
use super::index::reading;
use super::lists::EMPTY;
use super::rules::{Rule, holds};
use super::trim::Trimmed;
use super::writer::Writer;
use crate::error::{ErrorKind, Result};
use crate::format::block::{BlockHead, Use};
use crate::format::bounds::Bounds;
use crate::format::class::Class;
use crate::format::control::Control;
use crate::format::entry::{Entry, Slot};
use crate::format::pass::{Pass, Stage};
use crate::format::segment::{ENTRIES, TALLY, Tally, entry_offset};
use crate::format::tables::TABLE_BLOCK_LEN;
use crate::format::word::Word;
use crate::format::{BLOCK_SIZE, LINE_SIZE, Line, NEVER, place};

/// Lines of the index or heads of blocks that one save looks at.
const LINES_PER_SAVE: u32 = 8;
/// Lines or heads after which it is written down how far the pass has come.
const STRIDE: u64 = 16;
/// Lines read at once.
const CHUNK: u32 = 64;
/// Growth since the last pass, in blocks, before leaks are suspected.
const LEAK_BLOCKS_MIN: u64 = 64;

impl Writer<'_> {
    /// The share of the pass that each save does.
    pub(crate) fn step_pass(&mut self) -> Result<()> {
        if self.pass.stage == Stage::Done { Ok(()) } else { self.advance_pass(LINES_PER_SAVE) }
    }

    /// Goes on with the pass by about `lines` lines. How far it has come is written
    /// down after every few: a process that is soon killed brings it forward, too.
    pub(crate) fn advance_pass(&mut self, lines: u32) -> Result<()> {
        let mut left = u64::from(lines);
        // While a sync is in doubt entries cannot be trimmed.
        while left > 0 && self.pass.stage != Stage::Done && !self.control.suspect {
            let Some(done) = self.advance_by(left.min(STRIDE))? else { break };
            left = left.saturating_sub(done);
        }
        Ok(())
    }

    /// Goes on with the pass by a few lines, and says how many; `None` where it cannot
    /// go on now.
    fn advance_by(&mut self, lines: u64) -> Result<Option<u64>> {
        let mut pass = self.pass;
        let mut done = 0;
        let mut goes_on = true;
        while goes_on && done < lines && pass.stage != Stage::Done {
            let reads_records = pass.stage == Stage::Index;
            let more = match pass.stage {
                Stage::Tables => self.mark_table(&mut pass),
                Stage::Index => self.mark_lines(&mut pass, (lines - done) as u32),
                Stage::Blocks => self.complete_block(&mut pass),
                Stage::Done => break,
            };
            match more {
                Ok(Some(more)) => done += more,
                Ok(None) => goes_on = false,
                // What a damaged or unreadable part of the index names nobody can tell,
                // so the pass stays where it is and nothing is called free: saves go
                // on in new blocks.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Damaged(_))
                        || error.is_of_the_medium() =>
                {
                    goes_on = false;
                }
                Err(error) => return Err(error),
            }
            if reads_records {
                break;
            }
        }
        pass.unread |= self.uncleaned.get();
        // That may have changed on the way.
        let Pass { full_epoch, full_until_ms, .. } = self.pass;
        let pass = Pass { full_epoch, full_until_ms, ..pass };
        if pass != self.pass {
            self.set_pass(pass)?;
        }
        Ok(goes_on.then_some(done))
    }

    /// Marks one block of the segment table.
    fn mark_table(&mut self, pass: &mut Pass) -> Result<Option<u64>> {
        let part = pass.position as u32;
        let beyond = self.root.named().saturating_sub(place::TABLE_LEN);
        if part >= beyond.div_ceil(TABLE_BLOCK_LEN) {
            *pass = Pass { stage: Stage::Index, position: 0, ..*pass };
            return Ok(Some(1));
        }
        let block = self.file.records.index.directory_entry(part)?;
        self.mark_whole(block, Use::Table, part)?;
        pass.position += 1;
        Ok(Some(1))
    }

    /// Marks what some lines of a segment name, and the segment itself before
    /// its first line.
    fn mark_lines(&mut self, pass: &mut Pass, count: u32) -> Result<Option<u64>> {
        let number = (pass.position / u64::from(ENTRIES)) as u32;
        let first = (pass.position % u64::from(ENTRIES)) as u32;
        if number >= self.root.named() {
            // Block 0 is in use, and the others are counted as they come.
            *pass = Pass { stage: Stage::Blocks, position: 1, blocks: 1, ..*pass };
            return Ok(Some(1));
        }
        let segment = self.segment(number)?;
        if first == 0 && holds(Rule::PassMarksSegments) {
            self.mark_whole((segment / BLOCK_SIZE) as u32, Use::Segment, number)?;
        }
        let count = self.up_to_large(number, first, count.min(ENTRIES - first).min(CHUNK))?;
        // What a cut took is dropped from the entries for good: only then can the next
        // recovery tell it from damage.
        let drops = holds(Rule::PassDropsWhatACutTook);
        if drops && !self.trim_lines(number, first, count)? {
            // Another time, when the split is over.
            return Ok(None);
        }
        for entry in self.sessions_in(number, first, count)? {
            self.mark_entry(&entry.1)?;
        }
        pass.position += u64::from(count);
        if first + count == ENTRIES {
            self.recount(number)?;
        }
        Ok(Some(count.into()))
    }

    /// So many of these lines that only the last one may name a large value, which takes
    /// long to read.
    fn up_to_large(&self, number: u32, first: u32, count: u32) -> Result<u32> {
        let sessions = self.sessions_in(number, first, count)?;
        let large = sessions.iter().find(|(_, entry)| entry.large);
        let start = self.segment(number)? + entry_offset(first);
        Ok(large.map_or(count, |(offset, _)| ((offset - start) / LINE_SIZE as u64) as u32 + 1))
    }

    /// The sessions at home in these lines of a segment, with their offsets.
    pub(crate) fn sessions_in(
        &self,
        number: u32,
        first: u32,
        count: u32,
    ) -> Result<Vec<(u64, Entry)>> {
        let mut buffer = [0; CHUNK as usize * LINE_SIZE];
        let offset = self.segment(number)? + entry_offset(first);
        let bytes = buffer.get_mut(..count as usize * LINE_SIZE).unwrap_or(&mut []);
        self.file.records.index.source.read(bytes, offset).map_err(reading)?;
        let (lines, _) = bytes.as_chunks::<LINE_SIZE>();
        let mut sessions = Vec::new();
        for (line, index) in lines.iter().zip(0u64..) {
            let place = offset + index * LINE_SIZE as u64;
            if let Some(entry) = self.session_at_home(line, place, number) {
                sessions.push((place, entry));
            }
        }
        Ok(sessions)
    }

    fn session_at_home(&self, line: &Line, offset: u64, number: u32) -> Option<Entry> {
        match Slot::decode(line, offset, self.seal())? {
            Slot::Session(entry) if self.is_home(entry.tag, number) => Some(entry),
            _ => None,
        }
    }

    pub(crate) fn mark_entry(&mut self, entry: &Entry) -> Result<()> {
        let marked = if holds(Rule::PassMarksOlderVersions) { 3 } else { 1 };
        for word in entry.words().into_iter().take(marked) {
            let Some(offset) = word.offset() else {
                continue;
            };
            let Some(readable) = self.readable_now(word, entry)? else {
                self.withhold(word)?;
                continue;
            };
            if let Some(class) = readable.class {
                self.mark_extent(offset, class)?;
            }
            for piece in readable.pieces.iter().filter(|_| holds(Rule::PassMarksPieces)) {
                self.mark_whole(piece.block, Use::Large, 0)?;
            }
        }
        Ok(())
    }

    /// Sets the bits of a record that cannot be read, as far as it is there, so that
    /// nobody writes to its place in this generation.
    ///
    /// A power cut may have taken its end only. If the same bytes were written there
    /// again, by a version that ends alike, and the next cut brought back the entry that
    /// names it, it would be whole: what a cut took would have come back. Once the entry
    /// that does not name it any more is durable, that cannot happen.
    pub(crate) fn withhold(&mut self, word: Word) -> Result<()> {
        if !holds(Rule::RemainsWithheld) {
            return Ok(());
        }
        let Some(offset) = word.offset() else { return Ok(()) };
        let remains = match self.file.records.remains(word) {
            Err(error) if error.is_of_the_medium() => {
                return self.withhold_block((offset / BLOCK_SIZE) as u32);
            }
            remains => remains?,
        };
        let Some(remains) = remains else { return Ok(()) };
        self.mark_extent(offset, remains.class)?;
        for piece in remains.pieces {
            let head = self.block_head(piece.block)?;
            let head = head.filter(|head| head.generation == self.control.generation);
            // Where others have their records by now, it cannot become whole.
            if !head.is_some_and(|head| matches!(head.usage, Use::Extents(_))) {
                self.mark_whole(piece.block, Use::Large, 0)?;
            }
        }
        Ok(())
    }

    /// Keeps the space of a record that the medium cannot give back from being given out:
    /// how long it is nobody can tell, so all of its block.
    fn withhold_block(&mut self, block: u32) -> Result<()> {
        let generation = self.control.generation;
        let Some(head) = self.block_head(block)? else {
            return if self.has_lost_its_head(block)? {
                self.withhold_whole(block)
            } else {
                Ok(())
            };
        };
        match head.usage {
            // It was given out in this generation, or its bits are set as it is.
            _ if head.generation == generation && head.complete => Ok(()),
            Use::Extents(class) if head.generation == generation => {
                let mut full = head;
                for index in 0..self.file.records.classes.per_block(class) {
                    full.bitmap.set(index);
                }
                self.update_block(block, &head, full)
            }
            _ => self.withhold_whole(block),
        }
    }

    fn withhold_whole(&mut self, block: u32) -> Result<()> {
        self.mark_whole(block, Use::Large, 0)
    }

    /// Whether the block had a head that is not whole any more: rot, since no cut tears a line.
    fn has_lost_its_head(&self, block: u32) -> Result<bool> {
        if block == 0 || block >= self.blocks || !holds(Rule::RottenHeadsGiveNothing) {
            return Ok(false);
        }
        let none = self.block_head(block)?.is_none();
        Ok(none && self.line(u64::from(block) * BLOCK_SIZE)? != NEVER)
    }

    fn mark_extent(&mut self, offset: u64, class: Class) -> Result<()> {
        let block = (offset / BLOCK_SIZE) as u32;
        let generation = self.control.generation;
        let classes = self.file.records.classes;
        let last = self.block_head(block)?;
        if last.is_none() && self.has_lost_its_head(block)? {
            // It may have had bits of this generation.
            return self.withhold_whole(block);
        }
        let found = last.filter(|head| head.generation == generation);
        let before = found.unwrap_or_else(|| {
            let usage = match last.map(|last| last.usage) {
                Some(cut @ Use::Extents(_)) if !holds(Rule::ClassesFromRecords) => cut,
                _ => Use::Extents(class),
            };
            let fresh = BlockHead::taken(generation, usage);
            let mut before = BlockHead { complete: false, ..fresh };
            if let Some(last) = last.filter(|_| !holds(Rule::PassBeginsAfresh)) {
                before.bitmap = last.bitmap;
            }
            before
        });
        let mut head = before;
        let Use::Extents(cut) = head.usage else {
            return Ok(());
        };
        // In a block that is cut otherwise (by rot only), all that it overlaps.
        let size = classes.size(cut).max(1) as u64;
        let within = (offset % BLOCK_SIZE).saturating_sub(LINE_SIZE as u64);
        let end = within + classes.size(class) as u64;
        for index in within / size..end.div_ceil(size) {
            head.bitmap.set(index as u16);
        }
        if found != Some(head) {
            self.update_block(block, &before, head)?;
        }
        Ok(())
    }

    /// Marks a block that is used as a whole.
    fn mark_whole(&mut self, block: u32, usage: Use, number: u32) -> Result<()> {
        let found = self.block_head(block)?;
        let index = found.is_some_and(|head| matches!(head.usage, Use::Segment | Use::Table));
        if block == 0 || block >= self.blocks || usage == Use::Large && index {
            // Only a forged record says so.
            return Ok(());
        }
        let mut head = BlockHead::taken(self.control.generation, usage);
        head.bitmap.set(0);
        head.next = number;
        if found != Some(head) {
            self.write_head(block, &head)?;
        }
        Ok(())
    }

    /// Completes one block's bitmap, once the whole index was seen: a block of
    /// an older generation is empty.
    fn complete_block(&mut self, pass: &mut Pass) -> Result<Option<u64>> {
        let block = pass.position.max(1) as u32;
        if block >= self.blocks {
            let epoch = self.control.write_epoch;
            *pass = Pass { stage: Stage::Done, position: 0, epoch, ..*pass };
            return Ok(Some(1));
        }
        let generation = self.control.generation;
        match self.block_head(block)? {
            Some(head) if head.generation == generation && head.complete => {
                pass.blocks = pass.blocks.saturating_add(u32::from(!head.bitmap.is_empty()));
            }
            Some(head) if head.generation == generation => {
                pass.blocks = pass.blocks.saturating_add(u32::from(!head.bitmap.is_empty()));
                self.update_block(block, &head, BlockHead { complete: true, ..head })?;
            }
            // Rotten just now, or the pass would have begun it afresh if anything in
            // it were named. It is left alone; better lost than given out twice.
            None => {}
            Some(_) => {
                let mut head = BlockHead::taken(generation, Use::Unused);
                let now = self.control.write_epoch;
                head.emptied_epoch = if holds(Rule::UnseenEmptyAsOfNow) { now } else { 0 };
                let unlisted = head;
                self.update_block(block, &unlisted, head)?;
            }
        }
        pass.position = u64::from(block) + 1;
        Ok(Some(1))
    }

    /// Counts a segment's lines and sessions anew, and derives its bounds.
    pub(crate) fn recount(&mut self, number: u32) -> Result<()> {
        let mut tally = Tally::default();
        let mut bounds = Bounds::NONE;
        for first in (0..ENTRIES).step_by(CHUNK as usize) {
            let count = CHUNK.min(ENTRIES - first);
            for (offset, entry) in self.sessions_in(number, first, count)? {
                include(&mut bounds, offset, &entry);
                if crate::format::segment::segment_of(entry.tag, self.root.named()) == number {
                    tally.lines += 1;
                    tally.sessions += u32::from(entry.is_session());
                }
            }
        }
        self.derive_bounds(number, &bounds)?;
        let offset = self.segment(number)? + TALLY;
        self.write(&tally.encode(offset, self.seal()), offset)
    }

    /// Suspects leaked bits when the file has grown by a quarter since the last
    /// pass and is far larger than what a sample of the index says lives in it.
    ///
    /// True if they were not suspected before: then a sync is worth waiting for,
    /// which begins a new generation.
    pub(crate) fn notice_leaks(&mut self, sample: &Trimmed) -> Result<bool> {
        let looks = sample.lines > 0 && !self.control.renew && self.has_grown_since_pass();
        // Blocks known to be empty have not leaked: they wait for a sync.
        if !looks || self.lists()?.get(EMPTY) != 0 {
            return Ok(false);
        }
        let leaks = self.is_far_larger(sample);
        if leaks {
            self.want_generation()?;
        }
        Ok(leaks)
    }

    /// Whether the file is far larger than what a sample of the index says lives in it.
    pub(crate) fn is_far_larger(&self, sample: &Trimmed) -> bool {
        let index_lines = u64::from(self.root.named()) * u64::from(ENTRIES);
        let live = sample.named_bytes / u64::from(sample.lines.max(1)) * index_lines;
        let needed = live + live / 2 + u64::from(self.root.named()) * BLOCK_SIZE;
        u64::from(self.blocks) * BLOCK_SIZE > needed + LEAK_BLOCKS_MIN * BLOCK_SIZE
    }

    /// Whether the file is larger by more than a quarter than what the last pass found
    /// in use.
    pub(crate) fn has_grown_since_pass(&self) -> bool {
        let used = u64::from(self.pass.blocks);
        self.pass.stage == Stage::Done && u64::from(self.blocks) > used + used / 4 + LEAK_BLOCKS_MIN
    }

    /// Has the next sync begin a new generation, in which leaked bits are found.
    pub(crate) fn want_generation(&mut self) -> Result<()> {
        let wanted = self.pass.stage == Stage::Done && !self.control.renew;
        if wanted && holds(Rule::LeaksBeginGeneration) {
            self.set_control(Control { renew: true, ..self.control })?;
        }
        Ok(())
    }
}
