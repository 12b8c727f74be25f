//! The forward: what the record of a session's old id has in the place of a value once the
//! session was rotated. It names the id under which the session goes on, as it is kept.
//!
//! It is covered by the record's checksum, and believed no further than its own rules go:
//! a made-up one may lead anywhere, and round in a circle.

use super::ID_LEN_MAX;
use super::span::Span;

pub(super) const UNTIL: Span = Span::first(8);
pub(super) const ROTATED: Span = UNTIL.then(8);

/// Where a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward<'a> {
    /// It leads there before this time only, milliseconds since 1970.
    pub(crate) until_ms: u64,
    /// When the session was rotated.
    pub(crate) rotated_ms: u64,
    /// The other id, as it is kept.
    pub(crate) kept_id: &'a [u8],
}

impl<'a> Forward<'a> {
    /// The forward in a record; `None` if it breaks a rule.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Forward<'a>> {
        let kept_id = bytes.get(ROTATED.end()..)?;
        (1..=ID_LEN_MAX).contains(&kept_id.len()).then(|| Forward {
            until_ms: UNTIL.get(bytes),
            rotated_ms: ROTATED.get(bytes),
            kept_id,
        })
    }

    /// What a record has in the place of a value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; ROTATED.end()];
        UNTIL.put(&mut bytes, self.until_ms);
        ROTATED.put(&mut bytes, self.rotated_ms);
        bytes.extend_from_slice(self.kept_id);
        bytes
    }

    /// Whether it leads anywhere now. A clock that was set back opens no forward again.
    pub(crate) fn leads(&self, now_ms: u64) -> bool {
        (self.rotated_ms..self.until_ms).contains(&now_ms)
    }
}
