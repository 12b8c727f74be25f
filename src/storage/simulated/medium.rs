//! The file's content twice: what the page cache shows and what the disk may hold.
//!
//! A line of 64 bytes is the unit of tearing. While a line is dirty, every image
//! it had since the disk surely held one may be what a power cut leaves; images
//! carry the number of their write, so that a sector or a page can also be left as
//! it was at one moment. Clean lines have no history: the disk holds what the cache
//! shows, but for the *stale* ones, whose write-back failed.
//!
//! Pages are shared until written, and histories as a whole, so that a snapshot, a
//! return to it and a cut cost what is dirty and not what the file is long.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rng::SimulatedRng;

/// The line number that stands for the file's length where a cut chooses.
///
/// ```
/// # use cloakroom::{storage::{Fill, LockName, Storage}};
/// # use cloakroom::storage::simulated::{LENGTH, SimulatedDisk};
/// let disk = SimulatedDisk::new(1);
/// let storage = disk.open(disk.spawn());
/// storage.try_lock(LockName::Writer)?;
/// storage.extend(0, 4096, Fill::Reserve)?;
/// assert_eq!(disk.dirty_lines(), [(LENGTH, 2)], "0 bytes or 4096");
/// disk.power_cut_with(&mut |line, images| if line == LENGTH { 0 } else { images });
/// assert!(disk.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
pub const LENGTH: u64 = u64::MAX;

const LINE: usize = 64;
pub(super) const PAGE: usize = 4096;
const LINES_PER_PAGE: u64 = (PAGE / LINE) as u64;
const LINES_PER_SECTOR: u64 = (512 / LINE) as u64;

type Line = [u8; LINE];
type Page = [u8; PAGE];

/// What a power cut leaves of the lines that are dirty, and of the length.
///
/// ```
/// # use cloakroom::{storage::{Fill, LockName, Storage}};
/// # use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
/// let mut rng = SimulatedRng::new(3);
/// # let disk = SimulatedDisk::new(1);
/// # let storage = disk.open(disk.spawn());
/// # storage.try_lock(LockName::Writer)?;
/// # storage.extend(0, 4096, Fill::Zeros)?;
/// storage.sync()?;
/// storage.write_at(b"a coat", 0)?;
/// let before = disk.snapshot();
/// disk.power_cut(CutPolicy::Newest, &mut rng);
/// assert!(disk.bytes().starts_with(b"a coat"));
/// disk.restore(&before);
/// disk.power_cut(CutPolicy::Oldest, &mut rng);
/// assert_eq!(disk.bytes(), [0; 4096]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutPolicy {
    /// Nothing that was not synced.
    Oldest,
    /// Everything.
    Newest,
    /// Each line of 64 bytes any image it had.
    Lines,
    /// Each sector of 512 bytes as it was at some moment.
    Sectors,
    /// Each page of 4096 bytes as it was at some moment.
    Pages,
}

impl CutPolicy {
    /// One of them, those most often that leave most to chance.
    ///
    /// ```
    /// # use cloakroom::storage::simulated::{CutPolicy, SimulatedRng};
    /// let mut rng = SimulatedRng::new(1);
    /// let lines = (0..1000).filter(|_| CutPolicy::draw(&mut rng) == CutPolicy::Lines).count();
    /// assert!((300..500).contains(&lines));
    /// ```
    pub fn draw(rng: &mut SimulatedRng) -> Self {
        match rng.below(10) {
            0 => Self::Oldest,
            1 => Self::Newest,
            2..=5 => Self::Lines,
            6 | 7 => Self::Sectors,
            _ => Self::Pages,
        }
    }
}

/// To which side one cut leans. Even chances for each of many lines would hardly
/// ever leave just one line behind, or just one ahead.
#[derive(Clone, Copy)]
enum Lean {
    Even,
    Ends,
    Newest,
    Oldest,
}

impl Lean {
    fn draw(rng: &mut SimulatedRng) -> Self {
        [Self::Even, Self::Ends, Self::Newest, Self::Oldest][rng.below(4)]
    }

    fn pick(self, rng: &mut SimulatedRng, images: usize) -> usize {
        let newest = images.saturating_sub(1);
        match self {
            Self::Ends if rng.chance(1, 3) => 0,
            Self::Ends if rng.chance(1, 2) => newest,
            Self::Newest if rng.chance(7, 8) => newest,
            Self::Oldest if rng.chance(7, 8) => 0,
            _ => rng.below(images),
        }
    }
}

/// What a line held after the write of this number.
#[derive(Clone, Debug)]
struct Image {
    write: u64,
    bytes: Line,
}

#[derive(Clone, Debug)]
pub(super) struct Medium {
    /// The page cache. Bytes beyond the length are zero.
    pages: Vec<Arc<Page>>,
    /// (write number, length) since the length that is surely on the disk.
    lengths: Vec<(u64, u64)>,
    /// Two or more images each: the first surely on the disk, the last in the cache.
    dirty: Arc<BTreeMap<u64, Vec<Image>>>,
    /// Clean lines of which the disk holds something else than the cache. There are
    /// none in a page with dirty lines, since a page is written back as a whole.
    stale: BTreeMap<u64, Line>,
    /// Number of the last write.
    writes: u64,
}

impl Medium {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let page = |chunk: &[u8]| {
            let mut page = [0; PAGE];
            page[..chunk.len()].copy_from_slice(chunk);
            Arc::new(page)
        };
        Self {
            pages: bytes.chunks(PAGE).map(page).collect(),
            lengths: vec![(0, bytes.len() as u64)],
            dirty: Arc::default(),
            stale: BTreeMap::new(),
            writes: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.lengths.last().map_or(0, |length| length.1)
    }

    /// Reads as far as the file reaches.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> usize {
        let room = self.len().saturating_sub(offset);
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if len == 0 {
            return 0;
        }
        for (at, part) in parts(offset, len) {
            let from = at as usize % PAGE;
            let page = &self.pages[at as usize / PAGE];
            let to = (at - offset) as usize;
            bytes[to..to + part].copy_from_slice(&page[from..from + part]);
        }
        len
    }

    /// Writes within the file.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.writes += 1;
        for (at, part) in parts(offset, bytes.len()) {
            let from = (at - offset) as usize;
            self.write_in_page(&bytes[from..from + part], at);
        }
    }

    fn write_in_page(&mut self, bytes: &[u8], offset: u64) {
        let (number, from) = (offset as usize / PAGE, offset as usize % PAGE);
        let to = from + bytes.len();
        let base = number as u64 * LINES_PER_PAGE;
        let rewritten = self.stale.range(base..base + LINES_PER_PAGE).next().is_some();
        let page = &mut self.pages[number];
        if page[from..to] == *bytes && !rewritten {
            return;
        }
        let lines = if rewritten { 0..PAGE / LINE } else { from / LINE..to.div_ceil(LINE) };
        let before = page[lines.start * LINE..lines.end * LINE].to_vec();
        Arc::make_mut(page)[from..to].copy_from_slice(bytes);
        for (line, was) in lines.zip(before.chunks_exact(LINE)) {
            self.changed(base + line as u64, &line_of(was, 0));
        }
    }

    /// Takes note of what the cache has for `line` now and had before.
    fn changed(&mut self, line: u64, was: &Line) {
        let at = line as usize * LINE;
        let is = line_of(&self.pages[at / PAGE][..], at % PAGE);
        let on_disk = self.stale.remove(&line).unwrap_or(*was);
        // Equal images are one image; and a clean line that the disk has already
        // as it is now stays clean.
        match Arc::make_mut(&mut self.dirty).entry(line) {
            Entry::Occupied(images) if *was != is => {
                images.into_mut().push(Image { write: self.writes, bytes: is })
            }
            Entry::Vacant(images) if on_disk != is => {
                let base = Image { write: 0, bytes: on_disk };
                let latest = Image { write: self.writes, bytes: is };
                images.insert(vec![base, latest]);
            }
            _ => {}
        }
    }

    /// Makes the file longer; the new space reads as zeros, on the disk as well.
    pub(super) fn extend(&mut self, to: u64) {
        if to > self.len() {
            self.writes += 1;
            self.lengths.push((self.writes, to));
            self.pages.resize((to as usize).div_ceil(PAGE), Arc::new([0; PAGE]));
        }
    }

    /// What a sync that begins now is to bring to the disk: all writes up to this.
    pub(super) fn mark(&self) -> u64 {
        self.writes
    }

    /// A sync that began at `mark` succeeded.
    pub(super) fn credit(&mut self, mark: u64) {
        if !self.dirty.is_empty() {
            Arc::make_mut(&mut self.dirty).retain(|_, images| {
                let synced = images.partition_point(|image| image.write <= mark);
                images.drain(..synced.saturating_sub(1));
                images.len() > 1
            });
        }
        let synced = self.lengths.partition_point(|length| length.0 <= mark);
        self.lengths.drain(..synced.saturating_sub(1));
    }

    /// A sync that began at `mark` failed. The kernel takes the pages it tried for
    /// clean, whatever of them reached the disk. Pages written to meanwhile may have
    /// become dirty before or after it tried. The length stays pending: it is the
    /// journal's business, which does not forget without stopping altogether.
    pub(super) fn lose(&mut self, mark: u64, rng: &mut SimulatedRng) {
        let mut dirty_again = BTreeSet::new();
        for (line, images) in self.dirty.iter() {
            if images.last().is_some_and(|image| image.write > mark) {
                dirty_again.insert(line / LINES_PER_PAGE);
            }
        }
        dirty_again.retain(|_| rng.chance(1, 2));
        let lean = Lean::draw(rng);
        let stale = &mut self.stale;
        Arc::make_mut(&mut self.dirty).retain(|line, images| {
            if dirty_again.contains(&(line / LINES_PER_PAGE)) {
                return true;
            }
            let kept = &images[lean.pick(rng, images.len())].bytes;
            if images.last().is_some_and(|last| last.bytes != *kept) {
                stale.insert(*line, *kept);
            }
            false
        });
    }

    /// The kernel drops clean pages from the cache and reads them anew.
    pub(super) fn evict(&mut self) {
        for (line, bytes) in std::mem::take(&mut self.stale) {
            self.put(line, &bytes);
        }
    }

    /// The lines a cut would decide about, with the number of their images, in
    /// order; the length last.
    pub(super) fn undecided(&self) -> Vec<(u64, usize)> {
        let lines = self.dirty.iter().map(|(line, images)| (*line, images.len()));
        let length = (self.lengths.len() > 1).then_some((LENGTH, self.lengths.len()));
        lines.chain(length).collect()
    }

    /// What `policy` chooses for each of [`Medium::undecided`].
    pub(super) fn choices(&self, policy: CutPolicy, rng: &mut SimulatedRng) -> Vec<usize> {
        let lean = Lean::draw(rng);
        let mut choices = Vec::with_capacity(self.dirty.len() + 1);
        match policy {
            CutPolicy::Oldest => choices.resize(self.dirty.len(), 0),
            CutPolicy::Newest => choices.extend(self.dirty.values().map(|images| images.len() - 1)),
            CutPolicy::Lines => {
                let pick = |images: &Vec<Image>| lean.pick(rng, images.len());
                choices.extend(self.dirty.values().map(pick));
            }
            CutPolicy::Sectors => self.moments(LINES_PER_SECTOR, lean, rng, &mut choices),
            CutPolicy::Pages => self.moments(LINES_PER_PAGE, lean, rng, &mut choices),
        }
        if self.lengths.len() > 1 {
            choices.push(match policy {
                CutPolicy::Oldest => 0,
                CutPolicy::Newest => self.lengths.len() - 1,
                _ => lean.pick(rng, self.lengths.len()),
            });
        }
        choices
    }

    /// Chooses a moment for each group of lines, and for each line the image it had.
    fn moments(&self, group: u64, lean: Lean, rng: &mut SimulatedRng, choices: &mut Vec<usize>) {
        let all: Vec<_> = self.dirty.iter().collect();
        for lines in all.chunk_by(|a, b| a.0 / group == b.0 / group) {
            let later = lines.iter().flat_map(|(_, images)| images.iter().skip(1));
            let mut writes: Vec<u64> = later.map(|image| image.write).collect();
            writes.sort_unstable();
            writes.dedup();
            let moment = match lean.pick(rng, writes.len() + 1) {
                0 => 0,
                nth => writes[nth - 1],
            };
            for (_, images) in lines {
                let seen = images.partition_point(|image| image.write <= moment);
                choices.push(seen.saturating_sub(1));
            }
        }
    }

    /// The power fails: what `choices` say for [`Medium::undecided`] is on the disk,
    /// and the cache shows it.
    pub(super) fn cut(&mut self, choices: &[usize]) {
        let chosen = |nth: usize, images: usize| {
            choices.get(nth).copied().unwrap_or(0).min(images.saturating_sub(1))
        };
        let dirty = std::mem::take(&mut self.dirty);
        let length = self.lengths[chosen(dirty.len(), self.lengths.len())].1;
        self.lengths = vec![(0, length)];
        self.pages.truncate((length as usize).div_ceil(PAGE));
        self.evict();
        for (nth, (line, images)) in dirty.iter().enumerate() {
            let choice = chosen(nth, images.len());
            if choice + 1 < images.len() {
                self.put(*line, &images[choice].bytes);
            }
        }
        let tail = length as usize % PAGE;
        if let Some(page) = self.pages.last_mut()
            && tail > 0
            && page[tail..].iter().any(|byte| *byte != 0)
        {
            Arc::make_mut(page)[tail..].fill(0);
        }
    }

    /// Sets what the cache shows of a line, if the file reaches so far.
    fn put(&mut self, line: u64, bytes: &Line) {
        let at = line as usize * LINE;
        if let Some(page) = self.pages.get_mut(at / PAGE) {
            Arc::make_mut(page)[at % PAGE..at % PAGE + LINE].copy_from_slice(bytes);
        }
    }
}

/// Cuts a range of the file where pages meet: (offset, length) of each part, one
/// empty part for an empty range.
pub(super) fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut next = Some(offset);
    std::iter::from_fn(move || {
        let at = next?;
        let left = len - (at - offset) as usize;
        let part = left.min(PAGE - at as usize % PAGE);
        next = (part < left).then_some(at + part as u64);
        Some((at, part))
    })
}

fn line_of(bytes: &[u8], at: usize) -> Line {
    let mut line = [0; LINE];
    line.copy_from_slice(&bytes[at..at + LINE]);
    line
}
