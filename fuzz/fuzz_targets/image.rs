//! A good container, always of the same bytes, and ways to tamper with it.
//!
//! Checksums as FORMAT.md has them: CRC-32 started from that of the uuid, for
//! lines and table entries xored with their number.

use std::ops::Range;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use cloakroom::storage::simulated::SimulatedDisk;
use cloakroom::{ByteContainer, Durability, IdForm, Options};

const LINE: usize = 64;
const BLOCK: usize = 65536;
const CONTROL: usize = 4096;
const TABLE: usize = CONTROL + 1024;

/// What to do to the image. Numbers are taken modulo what there is.
#[derive(Arbitrary, Debug)]
pub enum Mutation<'a> {
    /// Bytes anywhere.
    Bytes { offset: u32, bytes: &'a [u8] },
    /// Part of a line that means something; its checksum made right or not.
    Line { which: u16, at: u8, value: u64, size: u8, sealed: bool },
    /// One meaningful line in the place of another, checksum made right.
    Copy { from: u16, to: u16 },
    /// Where a segment lies.
    Table { index: u8, block: u16 },
    /// Part of a record, with all checksums up to the entry made right.
    Record { session: u16, at: u8, value: u32, size: u8 },
    /// A header field of both copies, checksum made right.
    Header { at: u16, value: u64, size: u8 },
    /// The end cut off, or zeros appended.
    Length { len: u32 },
}

pub struct Image {
    pub bytes: Vec<u8>,
    /// Offsets of the lines that mean something.
    lines: &'static [usize],
    /// Offsets of the entries with a record.
    entries: &'static [usize],
}

struct Base {
    bytes: Vec<u8>,
    lines: Vec<usize>,
    entries: Vec<usize>,
}

pub fn id(number: usize) -> String {
    format!("session {number}")
}

impl Base {
    fn new(grown: bool) -> Base {
        let disk = SimulatedDisk::new(1);
        let process = disk.spawn();
        let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
        let container = ByteContainer::create_on(Box::new(disk.open(process)), options);
        let container = container.expect("a new container");
        for number in 0..if grown { 700 } else { 24 } {
            let value =
                vec![number as u8; if number < 24 { [9, 300, 2000][number % 3] } else { 9 }];
            container.save(id(number), &value).expect("saved");
        }
        container.sync().expect("synced");
        container.save(id(4), &[4; 100_000]).expect("saved");
        container.save(id(5), b"pending").expect("saved");
        container.remove(id(9)).expect("removed");
        container.set_deadline(id(7), Some(1 << 40)).expect("touched");
        let info = container.info().expect("info");
        assert_eq!(info.splitting, grown, "{info:?}");
        // As it was left in the midst of life.
        let bytes = disk.bytes();
        drop(container);
        let used = |offset: &usize| bytes[*offset..offset + LINE].iter().any(|byte| *byte != 0);
        let heads = (BLOCK..bytes.len()).step_by(BLOCK);
        let index = heads.clone().take(if grown { 3 } else { 1 });
        let index = index.flat_map(|block| (block..block + BLOCK).step_by(LINE));
        let control = (CONTROL..TABLE).step_by(LINE);
        let lines: Vec<_> = control.chain(heads).chain(index.filter(used)).collect();
        let in_index = |line: &&usize| **line % BLOCK >= 8 * LINE && **line > BLOCK;
        let entries = lines.iter().filter(in_index).copied().collect();
        Base { bytes, lines, entries }
    }
}

impl Image {
    pub fn of(grown: bool) -> Image {
        static BASES: [OnceLock<Base>; 2] = [const { OnceLock::new() }; 2];
        let base = BASES[usize::from(grown)].get_or_init(|| Base::new(grown));
        let (lines, entries) = (&base.lines, &base.entries);
        Image { bytes: base.bytes.clone(), lines, entries }
    }

    pub fn mutate(&mut self, mutation: &Mutation<'_>) {
        match *mutation {
            Mutation::Bytes { offset, bytes } => {
                let offset = offset as usize % self.bytes.len().max(1);
                self.put(offset..offset + bytes.len(), bytes);
            }
            Mutation::Line { which, at, value, size, sealed } => {
                let line = self.lines[usize::from(which) % self.lines.len()];
                let at = line + usize::from(at) % LINE;
                self.put(at..at + usize::from(size % 9), &value.to_le_bytes());
                if sealed {
                    self.seal(line);
                }
            }
            Mutation::Copy { from, to } => {
                let [from, to] = [from, to].map(|n| self.lines[usize::from(n) % self.lines.len()]);
                let line = self.bytes.get(from..from + LINE).unwrap_or(&[]).to_vec();
                self.put(to..to + LINE, &line);
                self.seal(to);
            }
            Mutation::Table { index, block } => {
                let block = u32::from(block).to_le_bytes();
                let check = crc(self.seed() ^ u32::from(index), &block).to_le_bytes();
                let at = TABLE + 8 * usize::from(index);
                self.put(at..at + 8, &[block, check].concat());
            }
            Mutation::Record { session, at, value, size } => {
                let entry = self.entries[usize::from(session) % self.entries.len()];
                let record = self.word(entry + 16) * LINE;
                let at = record + 4 + usize::from(at);
                self.put(at..at + usize::from(size % 5), &value.to_le_bytes());
                let len = self.word(record + 4).max(32);
                let Some(covered) = self.bytes.get(record + 4..record + len) else { return };
                let check = crc(self.seed(), covered).to_le_bytes();
                self.put(record..record + 4, &check);
                self.put(entry + 20..entry + 24, &check);
                self.seal(entry);
            }
            Mutation::Header { at, value, size } => {
                for copy in [0, BLOCK - 4096] {
                    let at = copy + usize::from(at) % 508;
                    self.put(at..at + usize::from(size % 9), &value.to_le_bytes());
                    let Some(covered) = self.bytes.get(copy..copy + 508) else { return };
                    let check = crc(0, covered).to_le_bytes();
                    self.put(copy + 508..copy + 512, &check);
                }
            }
            Mutation::Length { len } => self.bytes.resize(len as usize % (2 << 20), 0),
        }
    }

    /// Puts as many bytes as there are and as the file has room for.
    fn put(&mut self, range: Range<usize>, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(range) {
            let len = place.len().min(bytes.len());
            place[..len].copy_from_slice(&bytes[..len]);
        }
    }

    fn word(&self, offset: usize) -> usize {
        let bytes = self.bytes.get(offset..offset + 4).unwrap_or(&[0; 4]);
        u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
    }

    fn seed(&self) -> u32 {
        crc(0, self.bytes.get(32..48).unwrap_or(&[]))
    }

    fn seal(&mut self, line: usize) {
        let Some(covered) = self.bytes.get(line..line + 60) else { return };
        let check = crc(self.seed() ^ (line / LINE) as u32, covered);
        self.put(line + 60..line + LINE, &check.to_le_bytes());
    }
}

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
