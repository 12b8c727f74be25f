//! The tables of the control page: heads of the free lists, and the entries of
//! the segment table and its directory.
//!
//! List heads are hints. A table entry carries a checksum over its index, so that
//! one read in the wrong place is noticed.

use super::checksum::{LINE_CHECK, Seal};
use super::class::CLASSES_MAX;
use super::span::Span;
use super::{LINE_SIZE, Line, NEVER};

/// Heads of free lists in one line.
const HEADS_PER_LINE: usize = 14;
/// Lines with heads of free lists.
pub(crate) const LIST_LINES: usize = (CLASSES_MAX + 1).div_ceil(HEADS_PER_LINE);

pub(super) mod lists_line {
    use super::{HEADS_PER_LINE, LINE_CHECK, Span};
    pub(crate) const HEADS: Span = Span::first(4 * HEADS_PER_LINE);
    pub(crate) const RESERVED: Span = HEADS.then(4);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// Heads of the free lists: number 0 chains the empty blocks, number k the
/// blocks of class k that have room. 0 is an empty list. The lines are as the file
/// has them; each is checked when it is asked, since most operations ask none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListHeads {
    lines: [Line; LIST_LINES],
    offset: u64,
    seal: Seal,
}

impl ListHeads {
    /// The heads in the lines from `offset` on; a line that is missing or breaks a
    /// rule has empty lists.
    pub(crate) fn of(bytes: &[u8], offset: u64, seal: Seal) -> ListHeads {
        let mut lines = [NEVER; LIST_LINES];
        for (line, from) in lines.iter_mut().zip(bytes.chunks_exact(LINE_SIZE)) {
            *line = Span::first(LINE_SIZE).array(from);
        }
        ListHeads { lines, offset, seal }
    }

    pub(crate) fn get(&self, list: usize) -> u32 {
        let (line, place) = self.line_of(list);
        if self.seal.fits(&line, place) { head_span(list).get32(&line) } else { 0 }
    }

    /// Sets a head; gives the line to be written, and its place.
    pub(crate) fn set(&mut self, list: usize, block: u32) -> (Line, u64) {
        let (mut line, place) = self.line_of(list);
        if !self.seal.fits(&line, place) {
            line = NEVER;
        }
        head_span(list).put(&mut line, block.into());
        let line = self.seal.seal(line, place);
        if let Some(here) = self.lines.get_mut(list / HEADS_PER_LINE) {
            *here = line;
        }
        (line, place)
    }

    fn line_of(&self, list: usize) -> (Line, u64) {
        let index = list / HEADS_PER_LINE;
        let line = self.lines.get(index).copied().unwrap_or(NEVER);
        (line, self.offset + (index * LINE_SIZE) as u64)
    }
}

/// The place of a head within its line.
fn head_span(list: usize) -> Span {
    Span { offset: 4 * (list % HEADS_PER_LINE), size: 4 }
}

/// Bytes of an entry of the segment table or of its directory.
pub(crate) const TABLE_ENTRY_SIZE: u64 = 8;
/// Entries in a block of the segment table, behind the block's head.
pub(crate) const TABLE_BLOCK_LEN: u32 =
    ((super::BLOCK_SIZE - LINE_SIZE as u64) / TABLE_ENTRY_SIZE) as u32;

pub(super) mod table_entry {
    use super::Span;
    pub(crate) const BLOCK: Span = Span::first(4);
    pub(crate) const CHECK: Span = BLOCK.then(4);
}

/// The block in an entry of the segment table, or of its directory, with this
/// index; `None` if it breaks a rule.
pub(crate) fn decode_table_entry(bytes: &[u8; 8], index: u32, seal: Seal) -> Option<u32> {
    let block = table_entry::BLOCK.get32(bytes);
    (table_entry::CHECK.get32(bytes) == seal.of_table_entry(index, block) && block != 0)
        .then_some(block)
}

/// The entry of the segment table, or of its directory, for `block`.
pub(crate) fn encode_table_entry(block: u32, index: u32, seal: Seal) -> [u8; 8] {
    let mut bytes = [0; 8];
    table_entry::BLOCK.put(&mut bytes, block.into());
    table_entry::CHECK.put(&mut bytes, seal.of_table_entry(index, block).into());
    bytes
}
