//! The record: one version of one session, immutable once it is published.
//!
//! Nothing in it has to be known under the writer lock. A value that does not
//! fit the largest extent class lies in blocks of its own, and the record lists
//! them with a checksum for each.

use super::checksum::Seal;
use super::forward::Forward;
use super::span::Span;
use super::{BLOCK_SIZE, LINE_SIZE, VALUE_LEN_MAX};

/// Fields of a record before its id.
pub(super) mod field {
    use super::Span;
    pub(crate) const CHECK: Span = Span::first(4);
    pub(crate) const LENGTH: Span = CHECK.then(4);
    pub(crate) const VALUE_LEN: Span = LENGTH.then(4);
    pub(crate) const HEAD_LEN: Span = VALUE_LEN.then(2);
    pub(crate) const KIND: Span = HEAD_LEN.then(1);
    pub(crate) const ID_LEN: Span = KIND.then(1);
    pub(crate) const NONCE: Span = ID_LEN.then(8);
    pub(crate) const SAVED: Span = NONCE.then(8);
    pub(crate) const IDLE: Span = SAVED.then(8);
    pub(crate) const ABSOLUTE: Span = IDLE.then(8);
}

/// Bytes of a record before its id, in a record without further fields.
pub(crate) const HEAD_LEN: usize = field::SAVED.end();
/// The same with timeouts.
const LONG_HEAD_LEN: usize = field::ABSOLUTE.end();
/// Bytes of a large value in one block, behind the block's head.
pub(crate) const PIECE_LEN: usize = BLOCK_SIZE as usize - LINE_SIZE;
/// Most pieces of a value.
pub(crate) const PIECES_MAX: usize = VALUE_LEN_MAX.div_ceil(PIECE_LEN);

const KIND_INLINE: u64 = 1;
/// 2 was that of records whose pieces were not masked.
const KIND_LARGE: u64 = 3;
const KIND_FORWARD: u64 = 4;

/// A block with a piece of a large value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) block: u32,
    pub(crate) check: u32,
}

pub(super) mod piece {
    use super::Span;
    pub(crate) const BLOCK: Span = Span::first(4);
    pub(crate) const CHECK: Span = BLOCK.then(4);
}

const PIECE_SIZE: usize = piece::CHECK.end();

/// What a record says besides its id and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordTimes {
    /// Random; with the word it makes the version unique.
    pub(crate) nonce: u64,
    /// When it was saved, milliseconds since 1970.
    pub(crate) saved_ms: u64,
}

/// The timeouts of a session's own, in milliseconds; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnTimeouts {
    pub(crate) idle_ms: u64,
    pub(crate) absolute_ms: u64,
}

/// What a record has after its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Content {
    /// A session's value, or a list of its pieces.
    #[default]
    Value,
    /// Where the session goes on, instead of a value.
    Forward,
}

/// What a record says before its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) times: RecordTimes,
    /// `None` where those of the handle count.
    pub(crate) timeouts: Option<OwnTimeouts>,
    pub(crate) content: Content,
}

impl Head {
    fn len(&self) -> usize {
        if self.timeouts.is_some() { LONG_HEAD_LEN } else { HEAD_LEN }
    }
}

/// A record that matches its word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) head: Head,
    pub(crate) id: &'a [u8],
    /// Length of the value, wherever it lies.
    pub(crate) value_len: usize,
    body: Body<'a>,
    /// Bytes before the value or the list of pieces.
    pub(crate) prefix_len: usize,
}

#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Inline(&'a [u8]),
    Large(&'a [u8]),
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, if its checksum is `check` and it
    /// keeps all rules.
    pub(crate) fn decode(bytes: &'a [u8], check: u32, seal: Seal) -> Option<Record<'a>> {
        let bytes = bytes.get(..record_length(bytes)?)?;
        let covered = bytes.get(field::CHECK.end()..)?;
        if field::CHECK.get32(bytes) != check || seal.of_record(covered) != check {
            return None;
        }
        let head_len = field::HEAD_LEN.get(bytes) as usize;
        let prefix_len = head_len.checked_add(field::ID_LEN.get(bytes) as usize)?;
        let id = bytes.get(head_len..prefix_len)?;
        let value_len = field::VALUE_LEN.get(bytes) as usize;
        let rest = bytes.get(prefix_len..)?;
        let (body, content) = match field::KIND.get(bytes) {
            KIND_INLINE if rest.len() == value_len => (Body::Inline(rest), Content::Value),
            KIND_FORWARD if rest.len() == value_len && Forward::decode(rest).is_some() => {
                (Body::Inline(rest), Content::Forward)
            }
            KIND_LARGE if rest.len() == value_len.div_ceil(PIECE_LEN) * PIECE_SIZE => {
                (Body::Large(rest), Content::Value)
            }
            _ => return None,
        };
        (head_len >= HEAD_LEN && !id.is_empty() && value_len <= VALUE_LEN_MAX).then_some(Record {
            head: Head {
                times: RecordTimes {
                    nonce: field::NONCE.get(bytes),
                    saved_ms: field::SAVED.get(bytes),
                },
                timeouts: (head_len >= LONG_HEAD_LEN).then(|| OwnTimeouts {
                    idle_ms: field::IDLE.get(bytes),
                    absolute_ms: field::ABSOLUTE.get(bytes),
                }),
                content,
            },
            id,
            value_len,
            body,
            prefix_len,
        })
    }

    /// The value, if it lies in the record.
    pub(crate) fn inline_value(&self) -> Option<&'a [u8]> {
        match self.body {
            Body::Inline(value) => Some(value),
            Body::Large(_) => None,
        }
    }

    /// The blocks of a large value; none if the value lies in the record.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> + use<'a> {
        let list = match self.body {
            Body::Inline(_) => &[],
            Body::Large(list) => list,
        };
        list.chunks_exact(PIECE_SIZE).map(|bytes| Piece {
            block: piece::BLOCK.get32(bytes),
            check: piece::CHECK.get32(bytes),
        })
    }
}

/// Masks the bytes of a piece, or takes the mask away: the record's nonce, over and over. So
/// no line of a piece is ever the same as another version's, and the same value saved again
/// cannot make one whole of which a power cut took a part.
pub(crate) fn mask(piece: &mut [u8], nonce: u64) {
    let (words, _) = piece.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ nonce).to_le_bytes();
    }
}

/// Bytes that a piece with so many of the value takes up: whole lines, the last one filled up
/// with zeros, so that a few bytes are no less of one version only.
pub(crate) fn piece_len(part_len: usize) -> usize {
    part_len.next_multiple_of(LINE_SIZE)
}

/// Length that the record at the start of `bytes` gives itself, head and all;
/// not to be believed before the checksum was compared.
#[inline]
pub(crate) fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = field::LENGTH.get(bytes) as usize;
    (length >= HEAD_LEN).then_some(length)
}

/// The checksum that the record at the start of `bytes` gives itself.
pub(crate) fn own_checksum(bytes: &[u8]) -> u32 {
    field::CHECK.get32(bytes)
}

/// Length of a record with this id and value, which decides its class and
/// whether the value must lie in blocks.
pub(crate) fn inline_length(head: &Head, id_len: usize, value_len: usize) -> usize {
    head.len() + id_len + value_len
}

/// Length of a record that lists the blocks of its value.
pub(crate) fn large_length(head: &Head, id_len: usize, value_len: usize) -> usize {
    head.len() + id_len + value_len.div_ceil(PIECE_LEN) * PIECE_SIZE
}

/// A record with its value or forward, and the record's checksum.
pub(crate) fn encode_inline(head: &Head, id: &[u8], value: &[u8], seal: Seal) -> (Vec<u8>, u32) {
    let kind = match head.content {
        Content::Value => KIND_INLINE,
        Content::Forward => KIND_FORWARD,
    };
    let mut bytes = begin(head, id, value.len(), kind, value.len());
    bytes.extend_from_slice(value);
    close(bytes, seal)
}

/// A record that lists the blocks of its value, and the record's checksum.
pub(crate) fn encode_large(
    head: &Head,
    id: &[u8],
    value_len: usize,
    pieces: &[Piece],
    seal: Seal,
) -> (Vec<u8>, u32) {
    let mut bytes = begin(head, id, value_len, KIND_LARGE, pieces.len() * PIECE_SIZE);
    for item in pieces {
        bytes.extend_from_slice(&item.block.to_le_bytes());
        bytes.extend_from_slice(&item.check.to_le_bytes());
    }
    close(bytes, seal)
}

fn begin(head: &Head, id: &[u8], value_len: usize, kind: u64, body_len: usize) -> Vec<u8> {
    let length = head.len() + id.len() + body_len;
    let mut bytes = Vec::with_capacity(length);
    bytes.resize(head.len(), 0);
    field::LENGTH.put(&mut bytes, length as u64);
    field::VALUE_LEN.put(&mut bytes, value_len as u64);
    field::HEAD_LEN.put(&mut bytes, head.len() as u64);
    field::KIND.put(&mut bytes, kind);
    field::ID_LEN.put(&mut bytes, id.len() as u64);
    field::NONCE.put(&mut bytes, head.times.nonce);
    field::SAVED.put(&mut bytes, head.times.saved_ms);
    if let Some(own) = head.timeouts {
        field::IDLE.put(&mut bytes, own.idle_ms);
        field::ABSOLUTE.put(&mut bytes, own.absolute_ms);
    }
    bytes.extend_from_slice(id);
    bytes
}

fn close(mut bytes: Vec<u8>, seal: Seal) -> (Vec<u8>, u32) {
    let check = seal.of_record(bytes.get(field::CHECK.end()..).unwrap_or(&[]));
    field::CHECK.put(&mut bytes, check.into());
    (bytes, check)
}
