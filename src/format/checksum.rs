//! The checksums: CRC-32 (IEEE 802.3, as in zlib) started from a seed that
//! differs from file to file, and for lines from place to place.
//!
//! The seed makes a line or record that was copied from elsewhere fail, be it
//! another container or another place in this one. It is no protection against
//! somebody who may write the file.

use std::sync::atomic::{AtomicU32, Ordering};

use super::span::Span;
use super::{LINE_SIZE, Line};

/// The check at the end of every line that has one.
pub(crate) const LINE_CHECK: Span = Span { offset: LINE_SIZE - 4, size: 4 };

/// The seed of one container's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal(u32);

impl Seal {
    /// The seed is the plain checksum of the container's uuid.
    pub(crate) fn of_uuid(uuid: &[u8; 16]) -> Seal {
        Seal(plain(uuid))
    }

    /// Checksum of a record or of a piece of a large value.
    #[inline]
    pub(crate) fn of_record(self, bytes: &[u8]) -> u32 {
        seeded(self.0, bytes)
    }

    /// Checksum of an entry of the segment table.
    pub(crate) fn of_table_entry(self, index: u32, block: u32) -> u32 {
        seeded(self.0 ^ index, &block.to_le_bytes())
    }

    /// Checksum of the first 60 bytes of the line at `offset`.
    #[inline]
    pub(crate) fn of_line(self, line: &Line, offset: u64) -> u32 {
        let number = (offset / LINE_SIZE as u64) as u32;
        let covered = line.get(..LINE_CHECK.offset).unwrap_or(line);
        seeded(self.0 ^ number, covered)
    }

    /// Whether the line at `offset` carries its checksum.
    #[inline]
    pub(crate) fn fits(self, line: &Line, offset: u64) -> bool {
        LINE_CHECK.get32(line) == self.of_line(line, offset)
    }

    /// Puts the checksum into the line at `offset`.
    pub(crate) fn seal(self, mut line: Line, offset: u64) -> Line {
        let check = self.of_line(&line, offset);
        LINE_CHECK.put(&mut line, check.into());
        line
    }
}

/// CRC-32 from the usual start.
pub(crate) fn plain(bytes: &[u8]) -> u32 {
    seeded(0, bytes)
}

#[inline]
fn seeded(seed: u32, bytes: &[u8]) -> u32 {
    if YOUNG_BYTES.load(Ordering::Relaxed) < YOUNG_BYTES_MAX {
        YOUNG_BYTES.fetch_add(bytes.len() as u32, Ordering::Relaxed);
        return young(seed, bytes);
    }
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Bytes that a process has summed by table.
static YOUNG_BYTES: AtomicU32 = AtomicU32::new(0);
/// Bytes after which crc32fast is worth its first call: it asks the processor
/// what it can do, which traps in a virtual machine and was measured there to
/// take 33 us. A process that lives for one request would pay that for its two
/// records; by table they take 1 us.
const YOUNG_BYTES_MAX: u32 = 64 << 10;

/// CRC-32 by table, eight bytes at a step (Kounavis and Berry, "Novel table
/// lookup-based algorithms for high-performance CRC generation", 2008).
fn young(seed: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = !seed;
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    for word in words {
        let [a, b, c, d, e, f, g, h] = (u64::from_le_bytes(*word) ^ u64::from(sum)).to_le_bytes();
        sum = lookup(t7, a) ^ lookup(t6, b) ^ lookup(t5, c) ^ lookup(t4, d);
        sum ^= lookup(t3, e) ^ lookup(t2, f) ^ lookup(t1, g) ^ lookup(t0, h);
    }
    for byte in rest {
        sum = (sum >> 8) ^ lookup(t0, sum as u8 ^ byte);
    }
    !sum
}

#[inline]
fn lookup(table: &[u32; 256], value: u8) -> u32 {
    table.get(usize::from(value)).copied().unwrap_or(0)
}

/// Table k gives the sum of a byte that k zero bytes follow.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut value = 0;
    while value < 256 {
        let mut sum = value as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
            bit += 1;
        }
        tables[0][value] = sum;
        value += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut value = 0;
        while value < 256 {
            let before: u32 = tables[table - 1][value];
            tables[table][value] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            value += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::young;

    #[test]
    fn the_table_gives_the_checksums_that_crc32fast_gives() {
        let bytes: Vec<u8> = (0..1000u32).map(|number| ((number * number) >> 3) as u8).collect();
        for len in (0..40).chain([999, 1000]) {
            for seed in [0, 1, 0xdead_beef] {
                let mut hasher = crc32fast::Hasher::new_with_initial(seed);
                hasher.update(&bytes[..len]);
                assert_eq!(young(seed, &bytes[..len]), hasher.finalize(), "{len} {seed}");
            }
        }
        assert_eq!(young(0, b"123456789"), 0xcbf4_3926);
    }
}
