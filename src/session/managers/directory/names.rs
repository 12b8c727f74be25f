//! Which files of the directory are sessions, and of which ids.
//!
//! A session's file is named prefix, id as it is kept, suffix. Of an id that is kept as it
//! is, only small letters, digits, `-` and `_` stand for themselves; each other byte is `%`
//! and two digits. So no two ids ever share a name, not even where the file system takes
//! large letters for small ones, and none is that of another directory. Names that begin
//! with a dot are this manager's own, and never a session's.

use std::ffi::OsStr;
use std::fmt::Write;

use crate::{Error, ErrorKind, IdForm, Result};

/// What a file system takes for a name, in bytes.
const NAME_LEN_MAX: usize = 255;
/// The longest that one byte of an id, and a SHA-256, become.
const BYTE_LEN: usize = 3;
const DIGITS_LEN: usize = 64;

/// The file whose bytes are the locks, and which says what the clock has told.
pub(super) const LOCK_NAME: &str = ".cloakroom-lock";
const TEMPORARY: (&str, &str) = (".cloakroom-", ".tmp");
const RANDOM_LEN: usize = 16;

/// How files are named after ids.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    suffix: String,
    ids: IdForm,
}

/// An option that makes no good names, and what it has to be.
pub(super) type Fault = (&'static str, &'static str);

impl Names {
    pub(super) fn new(
        prefix: &str,
        suffix: &str,
        ids: IdForm,
    ) -> std::result::Result<Names, Fault> {
        let is_of_a_name = |part: &str| !part.contains(['/', '\0']);
        if prefix.starts_with('.') || !is_of_a_name(prefix) {
            return Err(("prefix", "has to be without \"/\" and NUL, and not to begin with a dot"));
        }
        if !is_of_a_name(suffix) {
            return Err(("suffix", "has to be without \"/\" and NUL"));
        }
        let least = match ids {
            IdForm::Sha256 => DIGITS_LEN,
            IdForm::Plain => BYTE_LEN,
        };
        if prefix.len() + suffix.len() + least > NAME_LEN_MAX {
            return Err(("suffix", "leaves, with the prefix, no room for ids in file names"));
        }
        Ok(Names { prefix: prefix.to_owned(), suffix: suffix.to_owned(), ids })
    }

    /// Whether a file's name tells nobody an id that a site would accept.
    pub(super) fn may_be_told(&self) -> bool {
        self.ids == IdForm::Sha256
    }

    /// The name of the file of this id, as it is kept.
    pub(super) fn name_of(&self, kept_id: &str) -> Result<String> {
        let mut name = self.prefix.clone();
        for byte in kept_id.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                // To a text, which cannot fail.
                _ => drop(write!(name, "%{byte:02x}")),
            }
        }
        name.push_str(&self.suffix);
        match name.len() {
            ..=NAME_LEN_MAX => Ok(name),
            len => Err(ErrorKind::InvalidId { len }.into()),
        }
    }

    /// The id, as it is kept, of the session's file with this name, if it can be one's.
    pub(super) fn kept_id_of(&self, name: &OsStr) -> Option<String> {
        let name = name.to_str()?;
        let mut rest = name.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?.bytes();
        let mut bytes = Vec::new();
        while let Some(byte) = rest.next() {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            bytes.push(match byte {
                b'%' => (digit(rest.next())? << 4 | digit(rest.next())?) as u8,
                other => other,
            });
        }
        let kept_id = String::from_utf8(bytes).ok()?;
        // One id has one name.
        let own = self.ids.can_keep(kept_id.as_bytes()) && self.name_of(&kept_id).ok()? == name;
        own.then_some(kept_id)
    }
}

/// A name for a file that is not yet a session's.
pub(super) fn temporary_name() -> Result<String> {
    let mut random = [0; RANDOM_LEN];
    getrandom::fill(&mut random)
        .map_err(|error| Error::io("get random bits", std::io::Error::other(error)))?;
    let (first, last) = TEMPORARY;
    Ok(format!("{first}{:032x}{last}", u128::from_le_bytes(random)))
}

/// Whether [`temporary_name`] can have made this name.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let (first, last) = TEMPORARY;
    let random =
        name.to_str().and_then(|name| name.strip_prefix(first)?.strip_suffix(last)).unwrap_or("");
    random.len() == 2 * RANDOM_LEN
        && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
