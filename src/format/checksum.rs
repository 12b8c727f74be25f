//! The checksums: CRC-32 (IEEE 802.3, as in zlib) started from a seed that
//! differs from file to file, and for lines from place to place.
//!
//! The seed makes a line or record that was copied from elsewhere fail, be it
//! another container or another place in this one. It is no protection against
//! somebody who may write the file.

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
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
