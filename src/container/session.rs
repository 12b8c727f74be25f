//! What a container gives back: a session with its version and times, and the
//! outcomes of conditional operations.
//!
//! Outcomes that are to be expected are values here, never errors.

use super::timeouts::Timeouts;
use crate::format::word::Word;

/// One version of a session as it was saved.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// let session = container.load("id")?;
/// assert_eq!(session, None);
/// let version = container.save("id", b"a coat")?;
/// let session = container.load("id")?.expect("it was saved");
/// assert_eq!(session.version, version);
/// assert!(session.times.created_ms <= session.times.saved_ms);
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<T> {
    /// The value.
    pub value: T,
    /// Names this version among all that this id ever had.
    pub version: Version,
    /// When what happened.
    pub times: Times,
    /// What it has of its own, besides its value.
    pub properties: Properties,
}

impl<T> Session<T> {
    /// The same session with another value.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let session = container.load("id")?.expect("it was saved");
    /// let length = session.map(|value| value.len());
    /// assert_eq!(length.value, 6);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Session<U> {
        let Session { value, version, times, properties } = self;
        Session { value: change(value), version, times, properties }
    }
}

/// The times of a session, in milliseconds since 1970 (UTC), by the clock of the
/// machine that saved it. They are kept up to 2^48 - 1, in the year 10889; what is
/// later is kept as that.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("id", b"a coat")?;
/// container.set_deadline("id", Some(u64::MAX))?;
/// let times = container.load("id")?.expect("it lives").times;
/// assert_eq!(times.created_ms, times.saved_ms);
/// assert_eq!(times.deadline_ms, Some((1 << 48) - 1));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Times {
    /// When the session was first saved, there being none of this id before.
    pub created_ms: u64,
    /// When this version was saved.
    pub saved_ms: u64,
    /// From when on `load` no longer returns it; `None` is never, and 0 is kept
    /// as 1.
    pub deadline_ms: Option<u64>,
}

/// What a session has of its own besides its value, and keeps when it is saved again. They
/// are given by [`ByteContainer::save_with`](crate::ByteContainer::save_with) and its like.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// use cloakroom::{Properties, Timeouts};
/// use std::time::Duration;
///
/// // "Remember me": thirty days, whatever is usual here.
/// let days = Duration::from_secs(30 * 86_400);
/// let remembered = Properties::new().timeouts(Timeouts::NONE.idle(days));
/// container.create_session_with("id", b"ada", &remembered)?;
/// container.save("id", b"ada, one page later")?;
/// assert_eq!(container.load("id")?.expect("it lives").properties, remembered);
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Properties {
    pub(crate) timeouts: Option<Timeouts>,
}

impl Properties {
    /// Nothing of its own.
    ///
    /// ```
    /// # use cloakroom::Properties;
    /// assert_eq!(Properties::new().own_timeouts(), None);
    /// ```
    pub fn new() -> Properties {
        Properties::default()
    }

    /// The same with timeouts of its own, in the place of those that the handle has
    /// ([`Options::timeouts`](crate::Options::timeouts)).
    ///
    /// ```
    /// # use cloakroom::{Properties, Timeouts};
    /// let for_ever = Properties::new().timeouts(Timeouts::NONE);
    /// assert_ne!(for_ever, Properties::new());
    /// ```
    pub fn timeouts(self, timeouts: Timeouts) -> Properties {
        Properties { timeouts: Some(timeouts) }
    }

    /// The timeouts of its own, if it has some.
    ///
    /// ```
    /// # use cloakroom::{Properties, Timeouts};
    /// let properties = Properties::new().timeouts(Timeouts::NONE);
    /// assert_eq!(properties.own_timeouts(), Some(Timeouts::NONE));
    /// ```
    pub fn own_timeouts(&self) -> Option<Timeouts> {
        self.timeouts
    }
}

/// An opaque name for one version of one session. No id ever has two versions
/// of the same name, whatever crashes came between. It does not tell which of two
/// versions is the newer one.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, Version, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// let version = container.save("id", b"a coat")?;
/// let text = version.to_string(); // 32 hexadecimal digits, for a form or a header
/// let sent_back: Version = text.parse().expect("it is a version");
/// assert!(container.save_if("id", sent_back, b"a hat")?.saved().is_some());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    pub(crate) word: Word,
    pub(crate) nonce: u64,
}

impl Version {
    /// The version as 16 bytes, to hand out and get back. They are the same on
    /// every machine.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Version, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let version = container.save("id", b"a coat")?;
    /// assert_eq!(Version::from_bytes(version.to_bytes()), version);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.word.0) | u128::from(self.nonce) << 64).to_le_bytes()
    }

    /// The version from [`Version::to_bytes`]. Bytes that no version ever had
    /// make a version that equals none.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, Version, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let made_up = Version::from_bytes([7; 16]);
    /// assert_eq!(container.save_if("id", made_up, b"a hat")?, Outcome::Conflict);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
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
///
/// ```
/// # use cloakroom::{ByteContainer, Options, Outcome, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// match container.create_session("id", b"a coat")? {
///     Outcome::Saved(version) => assert_eq!(container.load("id")?.unwrap().version, version),
///     Outcome::Conflict => unreachable!("somebody else had made it"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
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
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// assert!(container.replace("id", b"a coat")?.saved().is_none(), "there was none");
    /// assert!(container.create_session("id", b"a coat")?.saved().is_some());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn saved(self) -> Option<Version> {
        match self {
            Outcome::Saved(version) => Some(version),
            Outcome::Conflict => None,
        }
    }
}

/// What the closure of `update` wants done.
///
/// ```
/// # use cloakroom::{ByteContainer, Change, Options, Session, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("id", b"3")?;
/// let count_down = |session: Option<Session<&[u8]>>| match session.map(|session| session.value) {
///     Some([b'1']) => Change::Remove,
///     Some([digit]) => Change::Save(vec![digit - 1]),
///     _ => Change::Keep,
/// };
/// container.update("id", count_down)?;
/// assert_eq!(container.load("id")?.expect("it was saved").value, b"2");
/// # Ok::<(), cloakroom::Error>(())
/// ```
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
///
/// ```
/// # use cloakroom::{ByteContainer, Change, Options, Updated, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// let updated = container.update("id", |_| Change::Save(b"a coat".to_vec()))?;
/// assert!(matches!(updated, Updated::Saved(_)));
/// assert_eq!(container.update("id", |_| Change::Keep)?, Updated::Kept);
/// assert_eq!(container.update("id", |_| Change::Remove)?, Updated::Removed);
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The value was saved, as this version.
    Saved(Version),
    /// The session was removed, or there was none.
    Removed,
    /// Nothing was changed.
    Kept,
}
