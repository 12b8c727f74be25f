//! The tag of an id: SipHash-2-4 with 128 bits of output (Aumasson and
//! Bernstein, "SipHash: a fast short-input PRF", 2012) under the container's
//! random key.
//!
//! It places an entry, so that nobody who does not know the key can choose ids
//! that collide. It keeps no secret: who reads the file reads the ids too.

use siphasher::sip128::SipHasher24;

/// What stands for an id in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(pub(crate) [u8; 16]);

/// Makes the tags of one container.
#[derive(Clone, Copy)]
pub(crate) struct Tagger(SipHasher24);

impl Tagger {
    pub(crate) fn new(key: &[u8; 16]) -> Tagger {
        Tagger(SipHasher24::new_with_key(key))
    }

    #[inline]
    pub(crate) fn tag(&self, id: &[u8]) -> Tag {
        Tag(self.0.hash(id).as_bytes())
    }
}

impl std::fmt::Debug for Tagger {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tagger")
    }
}

impl Tag {
    /// The half that chooses the segment.
    #[inline]
    pub(crate) fn segment_half(&self) -> u64 {
        half(&self.0, 0)
    }

    /// The half that chooses the line within the segment.
    #[inline]
    pub(crate) fn line_half(&self) -> u64 {
        half(&self.0, 8)
    }
}

#[inline]
fn half(bytes: &[u8; 16], from: usize) -> u64 {
    bytes
        .get(from..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |half| u64::from_le_bytes(*half))
}
