//! Reading records by their words, values of any size.
//!
//! A record that does not match its word is no error here: without the lock it
//! was overwritten meanwhile, after a power cut it never reached the disk. Only
//! a record of the right id and with every byte under a matching checksum is
//! given out (invariant 13). No length is believed before it is bounded by the
//! largest class or the value limit.

use super::index::{Index, reading};
use super::rules::{Rule, holds};
use crate::error::Result;
use crate::format::class::{Class, Classes};
use crate::format::record::{
    Content, HEAD_LEN, Head, PIECE_LEN, PIECES_MAX, Piece, Record, mask, own_checksum, piece_len,
    record_length,
};
use crate::format::tag::{Tag, Tagger};
use crate::format::word::{Named, Word};
use crate::format::{BLOCK_SIZE, LINE_SIZE, place};

/// How to read the records of one container.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) index: Index,
    pub(crate) classes: Classes,
    pub(crate) tagger: Tagger,
}

/// What a readable word of an entry turned out to name.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    /// Class of the record's extent; `None` for a tombstone.
    pub(crate) class: Option<Class>,
    pub(crate) content: Content,
    /// Blocks of a large value.
    pub(crate) pieces: Vec<Piece>,
    /// Length of the record itself.
    pub(crate) len: usize,
}

impl Records {
    /// Reads the record that `word` names into `bytes`. False if it does not
    /// match. `class` is what the entry says of the newest version's extent.
    #[inline]
    pub(crate) fn fetch(
        &self,
        word: Word,
        class: Option<Class>,
        bytes: &mut Vec<u8>,
    ) -> Result<bool> {
        let Named::Record { offset, .. } = word.named() else {
            return Ok(false);
        };
        if offset < place::DATA || offset.is_multiple_of(BLOCK_SIZE) {
            return Ok(false);
        }
        let source = &self.index.source;
        let largest = self.classes.largest_size();
        let len = match class {
            // The extent whole, whatever of it is used: by one system call, or from
            // a map without waiting for the line that says how long the record is.
            Some(class) => self.classes.size(class),
            None => {
                let mut head = [0; LINE_SIZE];
                if source.read_some(&mut head, offset).map_err(reading)? < HEAD_LEN {
                    return Ok(false);
                }
                record_length(&head).unwrap_or(0)
            }
        };
        let room = BLOCK_SIZE - offset % BLOCK_SIZE;
        if len == 0 || len > largest || len as u64 > room {
            return Ok(false);
        }
        bytes.resize(len, 0);
        let found = source.read_some(bytes, offset).map_err(reading)?;
        bytes.truncate(found);
        Ok(found >= HEAD_LEN)
    }

    /// The version that `word` names, into `value`, if it is readable and of
    /// this id.
    #[inline]
    pub(crate) fn load(
        &self,
        word: Word,
        class: Option<Class>,
        id: Wanted<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Loaded>> {
        if !self.fetch(word, class, value)? {
            return Ok(None);
        }
        let Named::Record { check, .. } = word.named() else {
            return Ok(None);
        };
        let Some(record) = Record::decode(value, wanted(check, value), self.index.seal) else {
            return Ok(None);
        };
        if !id.is(record.id, &self.tagger) {
            return Ok(None);
        }
        let id = match id {
            Wanted::Id(_) => Vec::new(),
            Wanted::Tag(_) => record.id.to_vec(),
        };
        let loaded = Loaded { head: record.head, id };
        if record.inline_value().is_some() {
            let (start, len) = (record.prefix_len, record.value_len);
            value.truncate(start + len);
            value.drain(..start);
            return Ok(Some(loaded));
        }
        let (pieces, len) = (collect(&record), record.value_len);
        value.clear();
        let nonce = loaded.head.times.nonce;
        Ok(self.load_pieces(&pieces, nonce, len, value)?.then_some(loaded))
    }

    /// Appends a large value, or gives up at the first piece that does not
    /// match.
    fn load_pieces(
        &self,
        pieces: &[Piece],
        nonce: u64,
        len: usize,
        value: &mut Vec<u8>,
    ) -> Result<bool> {
        for piece in pieces {
            let start = value.len();
            let part = (len - start).min(PIECE_LEN);
            value.resize(start + piece_len(part), 0);
            let offset = u64::from(piece.block) * BLOCK_SIZE + LINE_SIZE as u64;
            let Some(bytes) = value.get_mut(start..) else {
                return Ok(false);
            };
            if !self.index.source.read(bytes, offset).map_err(reading)?
                || self.index.seal.of_record(bytes) != piece.check
            {
                return Ok(false);
            }
            mask_piece(bytes, nonce);
            value.truncate(start + part);
        }
        Ok(value.len() == len)
    }

    /// Whether the version that `word` names is readable, and what it takes up.
    /// `None` for no version and for one that a power cut or rot took.
    pub(crate) fn readable(&self, word: Word, tag: Tag) -> Result<Option<Readable>> {
        let check = match word.named() {
            Named::Nothing => return Ok(None),
            Named::Tombstone => {
                let content = Content::default();
                return Ok(Some(Readable { class: None, content, pieces: Vec::new(), len: 0 }));
            }
            Named::Record { check, .. } => check,
        };
        let mut bytes = Vec::new();
        if !self.fetch(word, None, &mut bytes)? {
            return Ok(None);
        }
        let Some(record) = Record::decode(&bytes, wanted(check, &bytes), self.index.seal) else {
            return Ok(None);
        };
        let len = record_length(&bytes).unwrap_or(0);
        if self.tagger.tag(record.id) != tag {
            return Ok(None);
        }
        let (pieces, content) = (collect(&record), record.head.content);
        let mut value = Vec::new();
        let (nonce, value_len) = (record.head.times.nonce, record.value_len);
        if !pieces.is_empty() && !self.load_pieces(&pieces, nonce, value_len, &mut value)? {
            return Ok(None);
        }
        let class = self.classes.for_len(len);
        Ok(Some(Readable { class, content, pieces, len }))
    }
}

/// What there is of a record that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Remains {
    /// Class of its extent.
    pub(crate) class: Class,
    /// Its blocks, where only these do not match.
    pub(crate) pieces: Vec<Piece>,
}

impl Records {
    /// What there is of the unreadable record that `word` names; `None` without its
    /// first line. Bytes that come again in the rest would make it whole, but the first
    /// line has a random number in it, and never comes again.
    pub(crate) fn remains(&self, word: Word) -> Result<Option<Remains>> {
        let Named::Record { check, .. } = word.named() else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        if !self.fetch(word, None, &mut bytes)? || own_checksum(&bytes) != check {
            return Ok(None);
        }
        let class = record_length(&bytes).and_then(|len| self.classes.for_len(len));
        let record = Record::decode(&bytes, check, self.index.seal);
        let pieces = record.map(|record| collect(&record)).unwrap_or_default();
        Ok(class.map(|class| Remains { class, pieces }))
    }
}

/// Masks a piece of the record with this nonce, or takes the mask away.
pub(super) fn mask_piece(bytes: &mut [u8], nonce: u64) {
    if holds(Rule::PiecesAreMasked) {
        mask(bytes, nonce);
    }
}

/// The checksum that the record must have: the one that its word says.
fn wanted(check: u32, bytes: &[u8]) -> u32 {
    if holds(Rule::ChecksumInWord) { check } else { own_checksum(bytes) }
}

/// The pieces of a record whose checksum matched: their number is bounded by
/// the value limit, which decoding has checked.
fn collect(record: &Record<'_>) -> Vec<Piece> {
    record.pieces().take(PIECES_MAX).collect()
}

/// What a load found besides the value.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) head: Head,
    /// The id, if the load went by tag.
    pub(crate) id: Vec<u8>,
}

/// Whose record is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// The session of this id.
    Id(&'a [u8]),
    /// The session of this tag, where its id is not known.
    Tag(Tag),
}

impl Wanted<'_> {
    #[inline]
    fn is(self, id: &[u8], tagger: &Tagger) -> bool {
        match self {
            Wanted::Id(wanted) => wanted == id,
            Wanted::Tag(tag) => tagger.tag(id) == tag,
        }
    }
}
