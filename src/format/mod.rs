//! What the bytes of a container mean: structures from bytes and back.
//!
//! Nothing here reads a file, takes a lock, asks a clock or allocates by a
//! length that came from disk. Every `decode` checks all that can be checked
//! locally and answers `None` for bytes that break a rule; whether that is
//! damage, a torn read or what a power cut left is for the callers to say.
//! FORMAT.md describes the same structures; a test compares its tables with
//! [`layout`], which is made from the constants that the code itself uses.
//!
//! ```
//! use cloakroom::{ByteContainer, Options, format::layout, storage::MemoryStorage};
//!
//! let memory = MemoryStorage::new();
//! ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
//! let header = layout().iter().find(|s| s.name == "static header").expect("one of them");
//! let magic = header.fields.iter().find(|field| field.name == "magic").expect("its first");
//! let bytes = &memory.to_bytes()[magic.offset..][..magic.size];
//! assert!(bytes.starts_with(b"\x89cloakroom"));
//! # Ok::<(), cloakroom::Error>(())
//! ```

pub(crate) mod block;
pub(crate) mod bounds;
pub(crate) mod checksum;
pub(crate) mod class;
pub(crate) mod control;
pub(crate) mod entry;
pub(crate) mod forward;
pub(crate) mod header;
pub(crate) mod id;
mod layout;
pub(crate) mod pass;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod span;
pub(crate) mod tables;
pub(crate) mod tag;
#[cfg(test)]
mod tests;
pub(crate) mod word;

pub use id::IdForm;
pub use layout::{Field, Structure, layout};

/// Bytes in a page: the unit in which the page cache and most disks work.
pub(crate) const PAGE_SIZE: u64 = 4096;
/// Bytes in a line: the unit that is assumed to be written whole or not at all.
pub(crate) const LINE_SIZE: usize = 64;
/// Bytes in a block: the unit in which the data area is given out.
pub(crate) const BLOCK_SIZE: u64 = 65536;
/// Version of the format that this program reads and writes.
pub(crate) const VERSION: u32 = 0;
/// Longest id, in bytes.
pub(crate) const ID_LEN_MAX: usize = 255;
/// Largest value, in bytes.
pub(crate) const VALUE_LEN_MAX: usize = 4 << 20;
/// Blocks that a word can reach: 2^32 lines of 64 bytes.
pub(crate) const BLOCK_COUNT_MAX: u64 = (1 << 32) * LINE_SIZE as u64 / BLOCK_SIZE;
/// Deadlines and times are 48-bit numbers of milliseconds; this is the last.
pub(crate) const TIME_MS_MAX: u64 = (1 << 48) - 1;

/// One line of the file.
pub(crate) type Line = [u8; LINE_SIZE];

/// The line that was never used.
pub(crate) const NEVER: Line = [0; LINE_SIZE];

/// What the making line holds from the first write to a new container until
/// after the last; zero in a finished one.
pub(crate) const MAKING: Line =
    *b"cloakroom is being made here; `create` may begin it anew\0\0\0\0\0\0\0\0";

/// Where the fixed structures of block 0 lie, in bytes from the start.
pub(crate) mod place {
    use super::{BLOCK_SIZE, LINE_SIZE, PAGE_SIZE};
    use crate::format::tables::TABLE_ENTRY_SIZE;

    /// First copy of the static header.
    pub(crate) const HEADER: u64 = 0;
    /// The line that is there while a container is being made.
    pub(crate) const MAKING: u64 = 512;
    /// Second copy, in the last page of block 0.
    pub(crate) const HEADER_COPY: u64 = BLOCK_SIZE - PAGE_SIZE;
    /// The control line, first of the control page.
    pub(crate) const CONTROL: u64 = PAGE_SIZE;
    /// The root line.
    pub(crate) const ROOT: u64 = CONTROL + LINE_SIZE as u64;
    /// The busy line.
    pub(crate) const BUSY: u64 = ROOT + LINE_SIZE as u64;
    /// The pass line.
    pub(crate) const PASS: u64 = BUSY + LINE_SIZE as u64;
    /// The views line.
    pub(crate) const VIEWS: u64 = PASS + LINE_SIZE as u64;
    /// The sweep line.
    pub(crate) const SWEEP: u64 = VIEWS + LINE_SIZE as u64;
    /// The lines with the heads of the free lists.
    pub(crate) const LISTS: u64 = CONTROL + 512;
    /// The first part of the segment table.
    pub(crate) const TABLE: u64 = CONTROL + 1024;
    /// Entries in the first part of the segment table.
    pub(crate) const TABLE_LEN: u32 = 256;
    /// The directory of the blocks with the rest of the segment table.
    pub(crate) const DIRECTORY: u64 = TABLE + TABLE_LEN as u64 * TABLE_ENTRY_SIZE;
    /// Entries in the directory.
    pub(crate) const DIRECTORY_LEN: u32 = 64;
    /// The magazine slots: not used in version 0, all zero.
    pub(crate) const SLOTS: u64 = 2 * PAGE_SIZE;
    /// Bytes of one magazine slot.
    pub(crate) const SLOT_SIZE: u64 = 256;
    /// Number of magazine slots.
    pub(crate) const SLOT_COUNT: u64 = 128;
    /// Bytes of a magazine slot's page range.
    pub(crate) const SLOTS_SIZE: u64 = SLOT_SIZE * SLOT_COUNT;
    /// First byte that data may use.
    pub(crate) const DATA: u64 = BLOCK_SIZE;
}
