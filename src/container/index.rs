//! Finding things in the index: segments by number, entries by tag.
//!
//! Everything here only reads, with or without the writer lock. What is read
//! without the lock may be torn or of different moments; the callers check and
//! read again. Steps are bounded by the size of a segment.

use std::io;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::source::Source;
use crate::error::{DamageKind, Error, ErrorKind, Result};
use crate::format::checksum::Seal;
use crate::format::control::Root;
use crate::format::entry::{Slot, cur_of, tag_of};
use crate::format::segment::{ENTRIES, FIRST_STEP, REACH, Reach, entry_offset, first_line};
use crate::format::tables::{TABLE_BLOCK_LEN, TABLE_ENTRY_SIZE, decode_table_entry};
use crate::format::tag::Tag;
use crate::format::{BLOCK_SIZE, LINE_SIZE, Line, place};

/// Lines that a probe fetches with its first system call: one call finds nearly
/// every entry.
const FIRST_FETCH: usize = 8;
/// Lines that are looked at before the reach is read.
const NEAR: u32 = FIRST_FETCH as u32;
const _: () = assert!(NEAR <= FIRST_STEP);
/// Bytes of a record that a load asks for before it knows how many there are.
const RECORD_PREFETCH_LEN: usize = 512;
/// Lines that a probe fetches with each further one: a page.
const FETCH_MAX: usize = 64;
/// Readings of a line before its checksum is believed to be wrong rather than
/// torn by a writer of that moment.
pub(crate) const READINGS: u32 = 64;
/// Set in the index that seals an entry of the table's directory.
pub(crate) const DIRECTORY_MARK: u32 = 1 << 31;

/// Blocks of segments as far as this handle has read the segment table, each
/// checked when it was entered. Entries of segments that count never change.
#[derive(Debug, Default)]
pub(crate) struct TableCache {
    /// Of the last few: the segment's number, then the block, 32 bits each.
    recent: [AtomicU64; RECENT_LEN],
    /// Of many more, once the handle has proved to live long.
    far: OnceLock<Box<[AtomicU32]>>,
}

/// Few, so that a process that lives for one request touches no page for them.
const RECENT_LEN: usize = 8;
/// Segments whose blocks a long-lived handle remembers: 32 KiB.
const FAR_LEN: usize = 8192;

impl TableCache {
    #[inline]
    fn get(&self, number: u32) -> Option<u32> {
        if let Some(far) = self.far.get()
            && let Some(block) = far.get(number as usize)
        {
            let block = block.load(Ordering::Relaxed);
            return (block != 0).then_some(block);
        }
        let recent = self.recent.get(number as usize % RECENT_LEN)?.load(Ordering::Relaxed);
        let block = recent as u32;
        (recent >> 32 == u64::from(number) && block != 0).then_some(block)
    }

    /// For a handle that has proved to live long.
    fn set_far(&self, number: u32, block: u32) {
        let far = self.far.get_or_init(|| (0..FAR_LEN).map(|_| AtomicU32::new(0)).collect());
        match far.get(number as usize) {
            Some(place) => place.store(block, Ordering::Relaxed),
            None => self.set(number, block),
        }
    }

    fn set(&self, number: u32, block: u32) {
        if let Some(place) = self.recent.get(number as usize % RECENT_LEN) {
            place.store(u64::from(number) << 32 | u64::from(block), Ordering::Relaxed);
        }
    }
}

/// How to read the index of one container.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) source: Source,
    pub(crate) seal: Seal,
    pub(crate) table: TableCache,
    /// The first word of the root line, which has the number of segments, as it was when
    /// the line's checksum was last compared; 0 before that.
    root_word: AtomicU64,
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Offset of the line in the file.
    pub(crate) offset: u64,
    /// The entry, or `None` if the line carries the tag and breaks a rule.
    pub(crate) slot: Option<Slot>,
    /// The line itself.
    pub(crate) line: Line,
}

impl Index {
    pub(crate) fn new(source: Source, seal: Seal) -> Index {
        Index { source, seal, table: TableCache::default(), root_word: AtomicU64::new(0) }
    }

    /// Number of segments that count, for a load. While the map shows the same number as
    /// a whole root line did before, that is it, and no checksum is needed: a word is read
    /// in one load, and a line in the midst of being written has the old word or the new.
    #[inline]
    pub(crate) fn segments(&self) -> Result<u32> {
        let known = self.root_word.load(Ordering::Relaxed);
        if known != 0 && self.source.is_mapped() {
            let mut word = [0; 8];
            if self.source.read(&mut word, place::ROOT).map_err(reading)?
                && u64::from_le_bytes(word) == known
            {
                return Ok(Root::segments_of(word));
            }
        }
        let root = self.root()?;
        self.root_word.store(u64::from_le_bytes(root.word()), Ordering::Relaxed);
        Ok(root.segments)
    }

    /// The root line, read until it is whole.
    #[inline]
    pub(crate) fn root(&self) -> Result<Root> {
        for _ in 0..READINGS {
            let line = self.source.line(place::ROOT).map_err(reading)?;
            if let Some(root) = line.and_then(|line| Root::decode(&line, place::ROOT, self.seal))
                && self.block_exists(root.segments).map_err(reading)?
            {
                return Ok(root);
            }
            self.source.storage().pause(crate::storage::Pause::Yield);
        }
        Err(Error::damaged(place::ROOT, DamageKind::RootLine))
    }

    /// Offset of the segment with this number, which counts or is being filled;
    /// `segments` of them count.
    #[inline]
    pub(crate) fn segment(&self, number: u32, segments: u32) -> Result<u64> {
        if let Some(block) = self.table.get(number) {
            return Ok(u64::from(block) * BLOCK_SIZE);
        }
        let block = self.read_table(number)?;
        if number < segments {
            if self.source.is_mapped() {
                self.table.set_far(number, block);
            } else {
                self.table.set(number, block);
            }
        }
        Ok(u64::from(block) * BLOCK_SIZE)
    }

    fn read_table(&self, number: u32) -> Result<u32> {
        let Some(beyond) = number.checked_sub(place::TABLE_LEN) else {
            return self.table_entry(place::TABLE + u64::from(number) * TABLE_ENTRY_SIZE, number);
        };
        let (part, rest) = (beyond / TABLE_BLOCK_LEN, beyond % TABLE_BLOCK_LEN);
        let block = self.directory_entry(part)?;
        self.table_entry(table_offset(block, rest), number)
    }

    /// The block that holds this part of the segment table.
    pub(crate) fn directory_entry(&self, part: u32) -> Result<u32> {
        let offset = place::DIRECTORY + u64::from(part) * TABLE_ENTRY_SIZE;
        self.table_entry(offset, part | DIRECTORY_MARK)
    }

    fn table_entry(&self, offset: u64, index: u32) -> Result<u32> {
        let mut bytes = [0; TABLE_ENTRY_SIZE as usize];
        for _ in 0..READINGS {
            if self.source.read(&mut bytes, offset).map_err(reading)?
                && let Some(block) = decode_table_entry(&bytes, index, self.seal)
                && self.block_exists(block).map_err(reading)?
            {
                return Ok(block);
            }
            self.source.storage().pause(crate::storage::Pause::Yield);
        }
        Err(Error::damaged(offset, DamageKind::SegmentTable))
    }

    /// Whether the file reaches to the end of this block.
    pub(crate) fn block_exists(&self, block: u32) -> io::Result<bool> {
        let end = (u64::from(block) + 1) * BLOCK_SIZE;
        Ok(end <= self.source.known_len() || end <= self.source.status()?.len)
    }

    /// The reach of the segment at `segment`, read until it is whole.
    pub(crate) fn reach(&self, segment: u64) -> Result<Reach> {
        for _ in 0..READINGS {
            let line = self.source.line(segment + REACH).map_err(reading)?;
            let reach = line.and_then(|line| Reach::decode(&line, segment + REACH, self.seal));
            if let Some(reach) = reach {
                return Ok(reach);
            }
            self.source.storage().pause(crate::storage::Pause::Yield);
        }
        Err(Error::damaged(segment + REACH, DamageKind::SegmentHead))
    }

    /// The line in the segment at `segment` that holds this tag as a session,
    /// whole or damaged.
    #[inline]
    pub(crate) fn find(&self, tag: Tag, segment: u64) -> Result<Option<Hit>> {
        let mut hit = None;
        let mut look = |offset: u64, line: &Line| {
            if tag_of(line) != tag {
                return ControlFlow::Continue(());
            }
            if let Some(record) = cur_of(line).offset() {
                // While the line's checksum is compared the record is on its way.
                self.source.prefetch(record, RECORD_PREFETCH_LEN);
            }
            let slot = Slot::decode(line, offset, self.seal);
            if matches!(slot, Some(Slot::Never | Slot::Vacated { .. })) {
                return ControlFlow::Continue(());
            }
            hit = Some(Hit { offset, slot, line: *line });
            ControlFlow::Break(())
        };
        let first = first_line(tag);
        let fetch = if self.source.is_mapped() { 1 } else { FIRST_FETCH };
        // No reach is so short that it leaves these out.
        if self.probe(segment, first, 0..NEAR, fetch, &mut look)?.is_continue() {
            let reach = match self.reach(segment) {
                Ok(reach) => reach.lines,
                // Where it is damaged all lines are looked at: slower, and as sure.
                Err(error) if matches!(error.kind(), ErrorKind::Damaged(_)) => ENTRIES,
                Err(error) => return Err(error),
            };
            let _ = self.probe(segment, first, NEAR..reach, FIRST_FETCH, &mut look)?;
        }
        Ok(hit)
    }

    /// Shows `look` the lines that a probe from `first` comes to after these
    /// steps, fetching `fetch` of them at first and then ever more at once.
    #[inline]
    pub(crate) fn probe(
        &self,
        segment: u64,
        first: u32,
        steps: std::ops::Range<u32>,
        fetch: usize,
        look: &mut impl FnMut(u64, &Line) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut step = steps.start;
        let mut fetch = fetch;
        // From a map line by line at first: most probes end at their first line.
        while fetch == 1 && step < steps.end {
            let offset = segment + entry_offset((first + step) % ENTRIES);
            let line = self.source.line(offset).map_err(reading)?;
            let line = line.ok_or_else(|| Error::damaged(offset, DamageKind::SegmentTable))?;
            if look(offset, &line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            step += 1;
            if step >= FIRST_FETCH as u32 {
                fetch = FIRST_FETCH;
            }
        }
        // With a buffer of its own, since a larger one would touch a new page of the
        // stack, which costs a young process more than the call. From a map a few lines
        // at once are as good as many.
        let mut buffer = [0; FIRST_FETCH * LINE_SIZE];
        while fetch == FIRST_FETCH && step < steps.end {
            let end = steps.end.min(step + FIRST_FETCH as u32);
            let (seen, flow) = self.probe_once(segment, first, step..end, &mut buffer, look)?;
            if flow.is_break() {
                return Ok(flow);
            }
            step += seen;
            if !self.source.is_mapped() {
                break;
            }
        }
        if step >= steps.end {
            return Ok(ControlFlow::Continue(()));
        }
        self.probe_far(segment, first, step..steps.end, look)
    }

    /// Goes on with a probe, fetching pages.
    #[inline(never)]
    fn probe_far(
        &self,
        segment: u64,
        first: u32,
        steps: std::ops::Range<u32>,
        look: &mut impl FnMut(u64, &Line) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut buffer = [0; FETCH_MAX * LINE_SIZE];
        let mut step = steps.start;
        let mut fetch = 2 * FIRST_FETCH;
        while step < steps.end {
            let end = steps.end.min(step + fetch as u32);
            let (seen, flow) = self.probe_once(segment, first, step..end, &mut buffer, look)?;
            if flow.is_break() {
                return Ok(flow);
            }
            step += seen;
            fetch = (2 * fetch).min(FETCH_MAX);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows `look` the lines of these steps by one call, but none beyond the end
    /// of the segment, where the probe wraps around; says how many.
    #[inline]
    fn probe_once(
        &self,
        segment: u64,
        first: u32,
        steps: std::ops::Range<u32>,
        buffer: &mut [u8],
        look: &mut impl FnMut(u64, &Line) -> ControlFlow<()>,
    ) -> Result<(u32, ControlFlow<()>)> {
        let index = (first + steps.start) % ENTRIES;
        let count = (steps.end - steps.start).min(ENTRIES - index);
        let offset = segment + entry_offset(index);
        let bytes = buffer.get_mut(..count as usize * LINE_SIZE).unwrap_or_default();
        if !self.source.read(bytes, offset).map_err(reading)? {
            return Err(Error::damaged(offset, DamageKind::SegmentTable));
        }
        let (lines, _) = bytes.as_chunks::<LINE_SIZE>();
        for (number, line) in lines.iter().enumerate() {
            if look(offset + (number * LINE_SIZE) as u64, line).is_break() {
                return Ok((count, ControlFlow::Break(())));
            }
        }
        Ok((count, ControlFlow::Continue(())))
    }
}

/// Offset of an entry in a block of the segment table.
pub(crate) fn table_offset(block: u32, index: u32) -> u64 {
    u64::from(block) * BLOCK_SIZE + LINE_SIZE as u64 + u64::from(index) * TABLE_ENTRY_SIZE
}

/// The error of a failed read.
pub(crate) fn reading(source: io::Error) -> Error {
    Error::reading(source)
}
