//! The id that a visitor's browser carries: 256 random bits from the operating system.
//!
//! Whoever brings ids of their own needs nothing of this: a container takes any 1 to
//! 255 bytes. What comes from a cookie is a stranger's: [`SessionId`] parses it strictly,
//! before any storage is touched, and its debug form never shows it, since logs are read
//! by more people than log in.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};

/// Random bytes of an id.
const RANDOM_LEN: usize = 32;
/// Characters of an id.
const TEXT_LEN: usize = 43;

/// An id of 43 characters (A-Z, a-z, 0-9, `-` and `_`): 256 random bits, which nobody
/// guesses, in a form that cookies and addresses take as it is (base64url, RFC 4648).
///
/// ```
/// use cloakroom::{Container, Options, SessionId};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// let sessions = Container::create(&path, Options::new())?;
/// let id = SessionId::random()?;
/// assert!(sessions.create_session(&id, &"ada")?.saved().is_some());
///
/// let cookie = id.as_str().to_owned();
/// let sent_back: SessionId = cookie.parse()?;
/// assert!(sessions.contains(&sent_back)?);
/// assert!("../../etc/passwd".parse::<SessionId>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId {
    text: String,
}

impl SessionId {
    /// A new id.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) if the operating system has no random bits to give.
    ///
    /// ```
    /// # use cloakroom::SessionId;
    /// assert_ne!(SessionId::random()?, SessionId::random()?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn random() -> Result<SessionId> {
        let mut bytes = [0; RANDOM_LEN];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::io("get random bits", std::io::Error::other(error)))?;
        Ok(SessionId { text: URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// The id as text, to hand to the visitor.
    ///
    /// ```
    /// # use cloakroom::SessionId;
    /// assert_eq!(SessionId::random()?.as_str().len(), 43);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// For the methods of a container.
impl AsRef<[u8]> for SessionId {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Debug for SessionId {
    /// Never shows the id: who has it is logged in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// The text is no id that [`SessionId::random`] makes.
///
/// ```
/// # use cloakroom::{NotASessionId, SessionId};
/// assert_eq!("abc".parse::<SessionId>(), Err(NotASessionId));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASessionId;

impl fmt::Display for NotASessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no session id: it has {TEXT_LEN} characters of A-Z, a-z, 0-9, - and _")
    }
}

impl std::error::Error for NotASessionId {}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> std::result::Result<SessionId, NotASessionId> {
        if text.len() != TEXT_LEN {
            return Err(NotASessionId);
        }
        // One text for each id: the last character has no bits but those of the id.
        let mut bytes = [0; RANDOM_LEN];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(RANDOM_LEN) => Ok(SessionId { text: text.to_owned() }),
            _ => Err(NotASessionId),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_id_survives_as_text() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().parse::<SessionId>().unwrap(), id);
        assert_eq!(id.as_ref(), id.as_str().as_bytes());
        let alphabet = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(id.as_str().chars().all(alphabet) && id.as_str().len() == 43);
        assert_eq!(format!("{id:?}"), "SessionId(..)");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let id = "A".repeat(43);
        assert!(id.parse::<SessionId>().is_ok());
        let mut wrong: Vec<String> = ["", "A", " ", "=", "\0"].map(String::from).to_vec();
        wrong.extend([0, 1, 42, 44, 64, 10_000].map(|len| "A".repeat(len)));
        for place in [0, 20, 42] {
            for character in ["+", "/", "=", " ", "\n", "\0", "\u{e4}", "."] {
                let mut text = id.clone();
                text.replace_range(place..place + character.len().min(43 - place), character);
                wrong.push(text);
            }
        }
        // The same bits with one that no id has.
        wrong.push(format!("{}B", "A".repeat(42)));
        for text in wrong {
            assert_eq!(text.parse::<SessionId>(), Err(NotASessionId), "{text:?}");
        }
    }
}
