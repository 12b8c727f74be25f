//! What the benches keep: ids and values that can be told right from wrong.
//!
//! An id is 32 hex digits. A value is a JSON object that names its session and
//! its version and is otherwise a piece of pseudo-random text, so that every
//! value read can be compared with the one that must have been saved, byte by
//! byte, without remembering it. Shared by all benches.

use std::io::Write;
use std::sync::LazyLock;

/// The shortest value that can name its session and version.
const HEAD: usize = 46;
const TEXT: usize = 1 << 16;

/// Base64 letters: as hard to compress as what real sessions hold is not.
static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = Random::new(42);
    (0..TEXT).map(|_| alphabet[random.below(64) as usize]).collect()
});

/// splitmix64: the same numbers in each run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The id of the session with this number.
pub(crate) fn id(session: u64) -> [u8; 32] {
    let mut random = Random::new(session.wrapping_mul(0x1000_0000_01b3));
    let mut digits = [0; 32];
    for half in digits.chunks_exact_mut(16) {
        let mut number = random.next();
        for digit in half {
            *digit = b"0123456789abcdef"[(number & 15) as usize];
            number >>= 4;
        }
    }
    digits
}

/// Replaces `value` by that of `session` in its version `version`.
pub(crate) fn fill(value: &mut Vec<u8>, session: u64, version: u32, len: usize) {
    value.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(value, r#"{{"n":"{session:016x}","v":"{version:08x}","t":""#);
    debug_assert!(len >= HEAD);
    let mut random = Random::new(session << 20 ^ u64::from(version));
    while value.len() + 2 < len {
        let piece = (len - 2 - value.len()).min(TEXT / 2);
        let from = random.below((TEXT / 2) as u64) as usize;
        value.extend_from_slice(&LETTERS[from..from + piece]);
    }
    value.extend_from_slice(b"\"}");
}

/// The value of `session` in its version `version`.
pub(crate) fn value(session: u64, version: u32, len: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(len);
    fill(&mut value, session, version, len);
    value
}

/// The version that `value` says it is, if it is, from the first byte to the
/// last, a value of `session`.
pub(crate) fn version_of(session: u64, found: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(found.get(29..37)?).ok()?;
    let version = u32::from_str_radix(digits, 16).ok()?;
    (found.len() >= HEAD && value(session, version, found.len()) == found).then_some(version)
}
