//! What a container gives back: a session with its version and times, and the
//! outcomes of conditional operations.
//!
//! Outcomes that are to be expected are values here, never errors.

use crate::format::word::Word;

/// One version of a session as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<T> {
    /// The value.
    pub value: T,
    /// Names this version among all that this id ever had.
    pub version: Version,
    /// When what happened.
    pub times: Times,
}

impl<T> Session<T> {
    /// The same session with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Session<U> {
        Session { value: change(self.value), version: self.version, times: self.times }
    }
}

/// The times of a session, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Times {
    /// When the session was first saved.
    pub created_ms: u64,
    /// When this version was saved.
    pub saved_ms: u64,
    /// From when on `load` no longer returns it; `None` is never.
    pub deadline_ms: Option<u64>,
}

/// An opaque name for one version of one session. No id ever has two versions
/// of the same name, whatever crashes came between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    pub(crate) word: Word,
    pub(crate) nonce: u64,
}

impl Version {
    /// The version as 16 bytes, to hand out and get back.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.word.0) | u128::from(self.nonce) << 64).to_le_bytes()
    }

    /// The version from [`Version::to_bytes`]. Bytes that no version ever had
    /// make a version that equals none.
    pub fn from_bytes(bytes: [u8; 16]) -> Version {
        let wide = u128::from_le_bytes(bytes);
        Version { word: Word(wide as u64), nonce: (wide >> 64) as u64 }
    }
}

impl std::fmt::Display for Version {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.word.0, self.nonce)
    }
}

impl std::str::FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Version, Self::Err> {
        // Exactly the digits that `Display` writes; what is not, fails as no digit.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let wide = u128::from_str_radix(if digits { text } else { "?" }, 16)?;
        Ok(Version { word: Word((wide >> 64) as u64), nonce: wide as u64 })
    }
}

/// What became of a conditional save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was saved, as this version.
    Saved(Version),
    /// The condition did not hold (the id was taken, gone, or of another
    /// version), and nothing was changed.
    Conflict,
}

impl Outcome {
    /// The new version, if it was saved.
    pub fn saved(self) -> Option<Version> {
        match self {
            Outcome::Saved(version) => Some(version),
            Outcome::Conflict => None,
        }
    }
}

/// What the closure of `update` wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// Save this value.
    Save(T),
    /// Remove the session.
    Remove,
    /// Leave everything as it is.
    Keep,
}

/// What became of an `update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The value was saved, as this version.
    Saved(Version),
    /// The session was removed.
    Removed,
    /// Nothing was changed.
    Kept,
}
