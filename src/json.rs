//! The JSON face of a container, and the one that most programs use.
//!
//! [`Container`] keeps any type that serde can turn into JSON and back;
//! [`Text`] keeps JSON text as it is. Both sit on a
//! [`ByteContainer`](crate::ByteContainer), which keeps bytes and knows nothing
//! of JSON. What is not JSON is refused before anything is touched, and no error
//! repeats a piece of a value: error messages end in logs, and sessions hold
//! what logs should not.

mod discreet;
mod life;
mod sessions;
mod text;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    ByteContainer, Change, Error, ErrorKind, Info, Options, Report, Result, Session, Updated,
};

use discreet::{TOO_DEEP, discreet};
pub use text::Text;

/// A file that keeps a JSON value for each session, shared by any number of
/// processes and threads.
///
/// An id is any 1 to 255 bytes; a value is anything that serde makes into at
/// most 4 MiB of JSON. All times are milliseconds since 1970 (UTC).
///
/// ```
/// use cloakroom::{Change, Container, Options};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visitor {
///     visits: u64,
/// }
///
/// # fn main() -> cloakroom::Result<()> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let path = dir.path().join("sessions");
/// let container = Container::create(&path, Options::new())?;
/// container.save("a ticket", &Visitor { visits: 1 })?;
///
/// // Read, change and write with nobody in between:
/// container.update("a ticket", |session| {
///     let mut visitor: Visitor = session.map(|s| s.value).unwrap_or_default();
///     visitor.visits += 1;
///     Change::Save(visitor)
/// })?;
///
/// let session = container.load::<Visitor>("a ticket")?.expect("it was saved");
/// assert_eq!(session.value.visits, 2);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every method that touches the file can fail with [`ErrorKind::Io`] and
/// [`ErrorKind::Damaged`]; those that write also with [`ErrorKind::Busy`],
/// [`ErrorKind::Full`], [`ErrorKind::ReadOnly`] and [`ErrorKind::Reentered`];
/// those that take an id with [`ErrorKind::InvalidId`]. Below, "Errors" names
/// only what comes on top of that.
///
/// # Cost
///
/// That of the [`ByteContainer`] below, and of making JSON of a value or a value
/// of JSON. `update` does both under the writer lock, `save` makes the JSON
/// before.
#[derive(Debug)]
pub struct Container {
    bytes: ByteContainer,
}

/// Opening, and the other faces of the same container.
impl Container {
    /// Opens an existing container for reading and writing. Costs some system
    /// calls, whatever the size. On a network file system it can only be read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotAContainer`] and [`ErrorKind::Newer`] for a file that this
    /// program must not touch; an empty file is no container either.
    ///
    /// ```
    /// use cloakroom::{Container, ErrorKind, Options};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("empty");
    /// std::fs::write(&path, "").expect("a file");
    /// let refused = Container::open(&path, Options::new()).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::NotAContainer(_)));
    /// ```
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Container> {
        ByteContainer::open(path, options).map(Container::from_bytes)
    }

    /// Makes a new container, or makes an empty file into one. Returns when it is
    /// on the disk, with its name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exists`] where the file holds something,
    /// [`ErrorKind::NotAContainer`] where the name is a symbolic link or no
    /// ordinary file, and [`ErrorKind::ReadOnly`] on a network file system.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// use cloakroom::{Container, Options};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// let container = Container::create(&path, Options::new().mode(0o660))?;
    /// assert!(container.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(path: impl AsRef<Path>, options: Options) -> Result<Container> {
        ByteContainer::create(path, options).map(Container::from_bytes)
    }

    /// Opens an existing container for reading only, as a user who may not write
    /// the file can.
    ///
    /// # Errors
    ///
    /// As [`Container::open`]. Methods that write fail with
    /// [`ErrorKind::ReadOnly`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// use cloakroom::{Container, ErrorKind, Options};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # Container::create(&path, Options::new())?;
    /// let container = Container::open_read_only(&path, Options::new())?;
    /// assert!(!container.contains("a ticket")?);
    /// let refused = container.save("a ticket", &1).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::ReadOnly(_)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Container> {
        ByteContainer::open_read_only(path, options).map(Container::from_bytes)
    }

    /// The JSON face of a container that was opened as bytes.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// use cloakroom::{ByteContainer, Container, Options};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// let bytes = ByteContainer::create(&path, Options::new())?;
    /// let container = Container::from_bytes(bytes);
    /// container.save("a ticket", "a coat")?;
    /// let stored = container.bytes().load("a ticket")?.expect("it was saved");
    /// assert_eq!(stored.value, b"\"a coat\"");
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_bytes(bytes: ByteContainer) -> Container {
        Container { bytes }
    }

    /// The same container as bytes: nothing there checks that a value is JSON.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &[1, 2])?;
    /// let session = container.bytes().load("a ticket")?.expect("it was saved");
    /// assert_eq!(session.value, b"[1,2]");
    /// # Ok(())
    /// # }
    /// ```
    pub fn bytes(&self) -> &ByteContainer {
        &self.bytes
    }

    /// The same container for JSON text, which is stored and given back as it
    /// is.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.text().save("a ticket", r#"{"visits": 1}"#)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn text(&self) -> Text<'_> {
        Text::of(self)
    }
}

/// The container as a whole.
impl Container {
    /// Number of sessions, from counters: after a crash it may be off by a few,
    /// and sessions whose deadline has passed count until they are removed. Reads
    /// one line for each segment of the index, which has room for 1016 sessions.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &1)?;
    /// assert_eq!(container.len()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.bytes.len()
    }

    /// Whether [`Container::len`] is 0, at the same cost.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// assert!(container.is_empty()?);
    /// container.save("a ticket", &1)?;
    /// assert!(!container.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        self.bytes.is_empty()
    }

    /// Returns when everything saved before the call is on the disk, whatever
    /// the [durability](crate::Durability) of the handle. Costs one fdatasync,
    /// which others who wait for one share.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &1)?;
    /// container.sync()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.bytes.sync()
    }

    /// What the container says about itself, without looking at any session. Costs
    /// little more than [`Container::len`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// assert_eq!(container.info()?.sessions, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> Result<Info> {
        self.bytes.info()
    }

    /// Reads the whole file and tells what contradicts what, as
    /// [`ByteContainer::check`] does. Damage is part of the report, not an error;
    /// values are not looked at as JSON.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// assert!(container.check()?.is_sound());
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(&self) -> Result<Report> {
        self.bytes.check()
    }
}

/// Between values and bytes.
impl Container {
    fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>> {
        json_of(value).map_err(|error| self.not_json(error))
    }

    fn typed<T: DeserializeOwned>(&self, session: Session<impl AsRef<[u8]>>) -> Result<Session<T>> {
        match serde_json::from_slice(session.value.as_ref()) {
            Ok(value) => Ok(session.map(|_| value)),
            Err(error) => Err(self.not_json(error)),
        }
    }

    fn not_json(&self, error: serde_json::Error) -> Error {
        self.bytes.refused(ErrorKind::NotJson(discreet(error)))
    }

    /// [`ByteContainer::update`] with a `change` that may fail, in which case
    /// everything is kept as it is.
    fn update_bytes(
        &self,
        id: &[u8],
        mut change: impl FnMut(Option<Session<&[u8]>>) -> Result<Change<Vec<u8>>>,
    ) -> Result<Updated> {
        let mut failed = None;
        let updated = self.bytes.update(id, |stored| {
            change(stored).unwrap_or_else(|error| {
                failed = Some(error);
                Change::Keep
            })
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(updated),
        }
    }
}

/// The JSON text of a value that can be loaded again.
pub(crate) fn text_of(value: &Value) -> Result<String> {
    let refused = |error| Error::from(ErrorKind::NotJson(discreet(error)));
    let text = json_of(value).map_err(refused)?;
    String::from_utf8(text).map_err(|_| refused(serde::de::Error::custom("not UTF-8")))
}

/// The value of a JSON text.
pub(crate) fn value_of(text: &[u8]) -> Result<Value> {
    serde_json::from_slice(text).map_err(|error| ErrorKind::NotJson(discreet(error)).into())
}

fn json_of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec(value)?;
    if depth(&text) > DEPTH_MAX {
        return Err(serde::de::Error::custom(TOO_DEEP));
    }
    Ok(text)
}

/// Levels of arrays and objects that `serde_json` reads. Deeper ones could be saved,
/// and never loaded.
const DEPTH_MAX: usize = 127;

/// Levels of arrays and objects in a JSON text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
