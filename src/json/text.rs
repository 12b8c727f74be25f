//! JSON text in, the same JSON text out.
//!
//! For programs that have their JSON already, from another language or another
//! library: the text is checked, but no tree is built and no byte changed. It
//! is copied once, from the file into the `String`, and not at all when saved.

use std::str::Utf8Error;

use serde::de::{Error as _, IgnoredAny};

#[cfg(doc)]
use crate::ErrorKind;
use crate::{
    Change, Container, Error, Outcome, Properties, Result, Session, Times, Updated, Version,
};

/// The text face of a [`Container`]: keeps JSON text byte for byte.
///
/// Everything that RFC 8259 calls a JSON text is taken, at most 4 MiB of it:
/// numbers of any size, any depth, equal keys. A reader with a tree may refuse
/// some of that. Errors are those of the methods of [`Container`];
/// [`ErrorKind::NotJson`] here means that the text, or what is stored, is not
/// JSON.
///
/// ```
/// # fn main() -> cloakroom::Result<()> {
/// use cloakroom::{Container, ErrorKind, Options};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let path = dir.path().join("sessions");
/// let container = Container::create(&path, Options::new())?;
/// let text = container.text();
/// text.save("a ticket", r#"{ "visits": 1 }"#)?;
/// assert_eq!(text.load("a ticket")?.expect("it was saved").value, r#"{ "visits": 1 }"#);
///
/// let refused = text.save("a ticket", "{ visits: 1 }").unwrap_err();
/// assert!(matches!(refused.kind(), ErrorKind::NotJson(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    container: &'a Container,
}

impl<'a> Text<'a> {
    pub(super) fn of(container: &'a Container) -> Text<'a> {
        Text { container }
    }

    /// The session of this id, if there is one and its deadline has not passed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotJson`] where the value stored is not JSON.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &vec![1, 2])?;
    /// let session = container.text().load("a ticket")?.expect("it was saved");
    /// assert_eq!(session.value, "[1,2]");
    /// # Ok(())
    /// # }
    /// ```
    pub fn load(&self, id: impl AsRef<[u8]>) -> Result<Option<Session<String>>> {
        let stored = self.container.bytes.load(id)?;
        stored.map(|session| self.owned(session)).transpose()
    }

    /// As [`Text::load`], into a `String` whose memory is used again. Without a
    /// session, and after an error, it is empty.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.text().save("a ticket", "[1, 2]")?;
    /// let mut value = String::new();
    /// assert!(container.text().load_into("a ticket", &mut value)?.is_some());
    /// assert_eq!(value, "[1, 2]");
    /// assert!(container.text().load_into("another", &mut value)?.is_none());
    /// assert_eq!(value, "");
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_into(
        &self,
        id: impl AsRef<[u8]>,
        value: &mut String,
    ) -> Result<Option<Session<()>>> {
        let mut bytes = std::mem::take(value).into_bytes();
        match self.container.bytes.load_into(id, &mut bytes) {
            Ok(Some(session)) => {
                *value = self.text(bytes)?;
                Ok(Some(session))
            }
            other => {
                bytes.clear();
                *value = String::from_utf8(bytes).unwrap_or_default();
                other
            }
        }
    }

    /// Saves the text as the session's next version, whatever was there before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotJson`], [`ErrorKind::TooLarge`]: nothing was changed.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.text().save("a ticket", "[1, 2]")?;
    /// assert!(container.text().save("a ticket", "[1, 2").is_err());
    /// assert_eq!(container.load::<[u8; 2]>("a ticket")?.map(|s| s.value), Some([1, 2]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&self, id: impl AsRef<[u8]>, value: &str) -> Result<Version> {
        self.container.bytes.save(id, self.valid(value)?.as_bytes())
    }

    /// Saves the text if there is no session of this id, as
    /// [`Container::create_session`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::Outcome;
    ///
    /// assert!(container.text().create_session("a ticket", "1")?.saved().is_some());
    /// assert_eq!(container.text().create_session("a ticket", "2")?, Outcome::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_session(&self, id: impl AsRef<[u8]>, value: &str) -> Result<Outcome> {
        self.container.bytes.create_session(id, self.valid(value)?.as_bytes())
    }

    /// Saves the text if there is a session of this id, as
    /// [`Container::replace`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// assert_eq!(container.text().replace("a ticket", "1")?, cloakroom::Outcome::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace(&self, id: impl AsRef<[u8]>, value: &str) -> Result<Outcome> {
        self.container.bytes.replace(id, self.valid(value)?.as_bytes())
    }

    /// Saves the text if the session still has this version, as
    /// [`Container::save_if`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// let seen = container.text().save("a ticket", "1")?;
    /// assert!(container.text().save_if("a ticket", seen, "2")?.saved().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn save_if(&self, id: impl AsRef<[u8]>, version: Version, value: &str) -> Result<Outcome> {
        self.container.bytes.save_if(id, version, self.valid(value)?.as_bytes())
    }

    /// Saves the text with the times, in milliseconds since 1970, and properties that it had
    /// elsewhere, as [`Container::restore`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// let times = cloakroom::Times { created_ms: 1_000, saved_ms: 2_000, deadline_ms: None };
    /// let properties = cloakroom::Properties::new();
    /// container.text().restore("a ticket", "1", times, &properties)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(
        &self,
        id: impl AsRef<[u8]>,
        value: &str,
        times: Times,
        properties: &Properties,
    ) -> Result<Version> {
        self.container.bytes.restore(id, self.valid(value)?.as_bytes(), times, properties)
    }

    /// Saves the text with these properties, as [`Container::save_with`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Properties, Timeouts};
    ///
    /// let for_ever = Properties::new().timeouts(Timeouts::NONE);
    /// container.text().save_with("a ticket", "1", &for_ever)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn save_with(
        &self,
        id: impl AsRef<[u8]>,
        value: &str,
        properties: &Properties,
    ) -> Result<Version> {
        self.container.bytes.save_with(id, self.valid(value)?.as_bytes(), properties)
    }

    /// Saves the text with these properties if there is no session of this id, as
    /// [`Container::create_session_with`] does.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Properties, Timeouts};
    ///
    /// let for_ever = Properties::new().timeouts(Timeouts::NONE);
    /// let text = container.text();
    /// assert!(text.create_session_with("a robot", "1", &for_ever)?.saved().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_session_with(
        &self,
        id: impl AsRef<[u8]>,
        value: &str,
        properties: &Properties,
    ) -> Result<Outcome> {
        self.container.bytes.create_session_with(id, self.valid(value)?.as_bytes(), properties)
    }

    /// Reads the session, asks `change` what to do, and does it, while nobody
    /// else can write, as [`Container::update`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotJson`] where the value stored is not JSON (`change` was
    /// not asked then), or what `change` wants saved is not. In either case
    /// nothing was changed.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::Change;
    ///
    /// container.text().save("a ticket", "[1]")?;
    /// container.text().update("a ticket", |session| match session {
    ///     Some(session) => Change::Save(format!("[{}]", session.value)),
    ///     None => Change::Keep,
    /// })?;
    /// assert_eq!(container.text().load("a ticket")?.map(|s| s.value), Some("[[1]]".into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn update(
        &self,
        id: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<Session<&str>>) -> Change<String>,
    ) -> Result<Updated> {
        self.container.update_bytes(id.as_ref(), |stored| {
            let session = stored.map(|session| self.borrowed(session)).transpose()?;
            Ok(match change(session) {
                Change::Save(value) => {
                    self.valid(&value)?;
                    Change::Save(value.into_bytes())
                }
                Change::Remove => Change::Remove,
                Change::Keep => Change::Keep,
            })
        })
    }

    /// Each session once with its id as it is kept, in no order that means anything.
    /// Sessions that others save or remove meanwhile may or may not be among them. No lock is
    /// taken; what it costs is said of [`ByteContainer::iter`](crate::ByteContainer::iter).
    ///
    /// # Errors
    ///
    /// Items can be errors: [`ErrorKind::NotJson`] for a value that is not JSON,
    /// after which the next session follows.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.text().save("a ticket", "[1, 2]")?;
    /// for session in container.text().iter() {
    ///     let (kept_id, session) = session?;
    ///     assert_eq!(kept_id, container.bytes().kept_id("a ticket")?);
    ///     assert_eq!(session.value, "[1, 2]");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Result<(Vec<u8>, Session<String>)>> + use<'a> {
        let text = *self;
        self.container.bytes.iter().map(move |item| {
            let (id, session) = item?;
            Ok((id, text.owned(session)?))
        })
    }

    fn owned(&self, session: Session<Vec<u8>>) -> Result<Session<String>> {
        let Session { value, version, times, properties } = session;
        Ok(Session { value: self.text(value)?, version, times, properties })
    }

    fn borrowed<'b>(&self, session: Session<&'b [u8]>) -> Result<Session<&'b str>> {
        let text = std::str::from_utf8(session.value).map_err(|error| self.not_utf8(error))?;
        self.valid(text)?;
        Ok(session.map(|_| text))
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String> {
        let text = String::from_utf8(bytes).map_err(|error| self.not_utf8(error.utf8_error()))?;
        self.valid(&text)?;
        Ok(text)
    }

    fn valid<'b>(&self, text: &'b str) -> Result<&'b str> {
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Ok(text),
            Err(error) => Err(self.container.not_json(error)),
        }
    }

    fn not_utf8(&self, error: Utf8Error) -> Error {
        let message = format_args!("no UTF-8 after byte {}", error.valid_up_to());
        self.container.not_json(serde_json::Error::custom(message))
    }
}
