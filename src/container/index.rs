//! Finding things in the index: segments by number, entries by tag.
//!
//! Everything here only reads, with or without the writer lock. What is read
//! without the lock may be torn or of different moments; the callers check and
//! read again. Steps are bounded by the size of a segment.

use std::io;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::source::Source;
use crate::error::{DamageKind, Error, Result};
use crate::format::checksum::Seal;
use crate::format::control::Root;
use crate::format::entry::{Slot, tag_of};
use crate::format::segment::{ENTRIES, REACH, Reach, entry_offset, first_line};
use crate::format::span::Span;
use crate::format::tables::{
    TABLE_BLOCK_LEN, TABLE_ENTRY_SIZE, decode_table_entry, encode_table_entry,
};
use crate::format::tag::Tag;
use crate::format::{BLOCK_SIZE, LINE_SIZE, Line, place};

/// Lines that a probe fetches with its first system call: one call finds nearly
/// every entry.
const FIRST_FETCH: usize = 8;
/// Lines that a probe fetches with each further one: a page.
const FETCH_MAX: usize = 64;
/// Readings of a line before its checksum is believed to be wrong rather than
/// torn by a writer of that moment.
pub(crate) const READINGS: u32 = 64;
/// Set in the index that seals an entry of the table's directory.
pub(crate) const DIRECTORY_MARK: u32 = 1 << 31;

/// The first part of the segment table as far as it was read: the raw entries,
/// checked whenever they are used. Entries of segments that count never change.
#[derive(Debug)]
pub(crate) struct TableCache {
    first: [AtomicU64; place::TABLE_LEN as usize],
    /// Blocks of many more segments, once the handle has proved to live long: the
    /// blocks themselves, checked when they were entered.
    far: OnceLock<Box<[AtomicU32]>>,
}

/// Segments whose blocks a long-lived handle remembers: 32 KiB.
const FAR_LEN: usize = 8192;

impl TableCache {
    pub(crate) fn new() -> TableCache {
        TableCache { first: std::array::from_fn(|_| AtomicU64::new(0)), far: OnceLock::new() }
    }

    fn get(&self, number: u32, seal: Seal) -> Option<u32> {
        let raw = self.first.get(number as usize)?.load(Ordering::Relaxed);
        decode_table_entry(&raw.to_le_bytes(), number, seal)
    }

    /// The block of a segment that was entered by `set_far`.
    #[inline]
    fn get_far(&self, number: u32) -> Option<u32> {
        let block = self.far.get()?.get(number as usize)?.load(Ordering::Relaxed);
        (block != 0).then_some(block)
    }

    fn set_far(&self, number: u32, block: u32) {
        let far = self.far.get_or_init(|| (0..FAR_LEN).map(|_| AtomicU32::new(0)).collect());
        if let Some(place) = far.get(number as usize) {
            place.store(block, Ordering::Relaxed);
        }
    }

    fn set(&self, number: u32, block: u32, seal: Seal) {
        if let Some(place) = self.first.get(number as usize) {
            let raw = u64::from_le_bytes(encode_table_entry(block, number, seal));
            place.store(raw, Ordering::Relaxed);
        }
    }

    /// Remembers the entries of the segments that count.
    fn fill(&self, table: &[u8], segments: u32) {
        let (entries, _) = table.as_chunks::<{ TABLE_ENTRY_SIZE as usize }>();
        for (place, entry) in self.first.iter().zip(entries).take(segments as usize) {
            place.store(u64::from_le_bytes(*entry), Ordering::Relaxed);
        }
    }
}

/// How to read the index of one container.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) source: Source,
    pub(crate) seal: Seal,
    pub(crate) table: TableCache,
    pub(crate) table_read: AtomicBool,
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
    /// The root line, read until it is whole.
    #[inline]
    pub(crate) fn root(&self) -> Result<Root> {
        if !self.source.is_mapped()
            && !self.table_read.swap(true, Ordering::Relaxed)
            && let Some(root) = self.root_with_table()?
        {
            return Ok(root);
        }
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

    /// The root line together with the first part of the segment table, by one
    /// system call instead of two: for a process that lives for one request.
    fn root_with_table(&self) -> Result<Option<Root>> {
        const TABLE_END: u64 = place::TABLE + place::TABLE_LEN as u64 * TABLE_ENTRY_SIZE;
        let mut page = [0; (TABLE_END - place::ROOT) as usize];
        if !self.source.read(&mut page, place::ROOT).map_err(reading)? {
            return Ok(None);
        }
        let line = Span::first(LINE_SIZE).array(&page);
        let Some(root) = Root::decode(&line, place::ROOT, self.seal) else { return Ok(None) };
        let table = page.get((place::TABLE - place::ROOT) as usize..).unwrap_or(&[]);
        self.table.fill(table, root.segments);
        Ok(Some(root))
    }

    /// Offset of the segment with this number, which counts or is being filled.
    #[inline]
    pub(crate) fn segment(&self, number: u32, root: &Root) -> Result<u64> {
        if let Some(block) = self.table.get_far(number) {
            return Ok(u64::from(block) * BLOCK_SIZE);
        }
        let cached = self.table.get(number, self.seal);
        let block = match cached {
            // The file reached that far when the table was read.
            Some(block) if self.block_exists(block).map_err(reading)? => block,
            _ => self.read_table(number)?,
        };
        if cached.is_none() && number < root.segments {
            self.table.set(number, block, self.seal);
        }
        if number < root.segments && self.source.is_mapped() {
            self.table.set_far(number, block);
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
            let slot = Slot::decode(line, offset, self.seal);
            if matches!(slot, Some(Slot::Never | Slot::Vacated { .. })) {
                return ControlFlow::Continue(());
            }
            hit = Some(Hit { offset, slot, line: *line });
            ControlFlow::Break(())
        };
        let first = first_line(tag);
        let fetch = if self.source.is_mapped() { 1 } else { FIRST_FETCH };
        if self.probe(segment, first, 0..fetch as u32, fetch, &mut look)?.is_continue() {
            let reach = self.reach(segment)?.lines;
            let _ = self.probe(segment, first, fetch as u32..reach, fetch, &mut look)?;
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
        if step >= steps.end {
            return Ok(ControlFlow::Continue(()));
        }
        self.probe_far(segment, first, step..steps.end, fetch, look)
    }

    /// Goes on with a probe, fetching several lines at once.
    fn probe_far(
        &self,
        segment: u64,
        first: u32,
        steps: std::ops::Range<u32>,
        fetch: usize,
        look: &mut impl FnMut(u64, &Line) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut buffer = [0; FETCH_MAX * LINE_SIZE];
        let mut step = steps.start;
        let mut fetch = fetch;
        while step < steps.end {
            let index = (first + step) % ENTRIES;
            let count = (fetch as u32).min(steps.end - step).min(ENTRIES - index);
            let offset = segment + entry_offset(index);
            let Some(bytes) = buffer.get_mut(..count as usize * LINE_SIZE) else {
                break;
            };
            if !self.source.read(bytes, offset).map_err(reading)? {
                return Err(Error::damaged(offset, DamageKind::SegmentTable));
            }
            let (lines, _) = bytes.as_chunks::<LINE_SIZE>();
            for (number, line) in lines.iter().enumerate() {
                if look(offset + (number * LINE_SIZE) as u64, line).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            step += count;
            fetch = (2 * fetch).min(FETCH_MAX);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Offset of an entry in a block of the segment table.
pub(crate) fn table_offset(block: u32, index: u32) -> u64 {
    u64::from(block) * BLOCK_SIZE + LINE_SIZE as u64 + u64::from(index) * TABLE_ENTRY_SIZE
}

/// The error of a failed read.
pub(crate) fn reading(source: io::Error) -> Error {
    Error::io("read", source)
}
