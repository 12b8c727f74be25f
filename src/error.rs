//! What can go wrong: one variant for each thing that a caller does differently.
//!
//! Outcomes that are to be expected (no such session, somebody else saved
//! first) are values of the operations, not errors. No error carries an id or a
//! value.

mod damage;
mod refused;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::{ID_LEN_MAX, IdForm};

pub use damage::{Damage, DamageKind};
pub use refused::{Newer, NotAContainer, ReadOnly};

/// The number is the same on every system.
const EIO: i32 = 5;
/// The action of an error of reading.
const READ: &str = "read";

/// The result of everything that touches a container.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// use cloakroom::{Container, Options, Result};
///
/// fn visits(container: &Container, id: &str) -> Result<u64> {
///     Ok(container.load(id)?.map_or(0, |session| session.value))
/// }
/// # let container = Container::create(&path, Options::new())?;
/// container.save("a ticket", &7)?;
/// assert_eq!(visits(&container, "a ticket")? + visits(&container, "another")?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was not done.
///
/// After [`Io`](ErrorKind::Io), [`Full`](ErrorKind::Full) and
/// [`Damaged`](ErrorKind::Damaged), and after the [`Busy`](ErrorKind::Busy) of a
/// durable handle, a change may have taken effect all the same; nothing is torn
/// either way. After all others nothing was changed.
///
/// ```
/// # use cloakroom::{Container, Options};
/// let error = Container::open("/no/such/file", Options::new()).unwrap_err();
/// assert!(error.to_string().starts_with("/no/such/file: cannot open: "));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    kind: ErrorKind,
    path: Option<PathBuf>,
}

/// The kinds of [`Error`], one for each thing that a caller does differently.
///
/// ```
/// # use cloakroom::{ByteContainer, Error, ErrorKind, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// /// What to tell the browser.
/// fn status(error: &Error) -> u16 {
///     match error.kind() {
///         ErrorKind::Busy { .. } => 503, // try again
///         ErrorKind::Full(_) => 507,
///         ErrorKind::TooLarge { .. } => 413,
///         _ => 500,
///     }
/// }
/// let refused = container.save("id", &vec![0; 5 << 20]).unwrap_err();
/// assert_eq!(status(&refused), 413);
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another process, thread or handle held the writer lock until the deadline,
    /// or another's sync made no progress. Try again, or look at the holder.
    Busy {
        /// What was waited for.
        awaited: Awaited,
        /// Process id of the writer lock's holder, where the system tells it: a hint.
        holder: Option<u32>,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The file cannot grow: the disk is full, or a quota or file-size limit is
    /// reached (which of them, the system's error says). Everything saved before is
    /// still there; the next save works once there is space.
    Full(io::Error),
    /// What the file holds at one place contradicts itself: bit rot, or a stray
    /// write. Other sessions are not affected.
    Damaged(Damage),
    /// The file is no container.
    NotAContainer(NotAContainer),
    /// The file was made by a newer version of this program.
    Newer {
        /// What the file has that this program does not know.
        found: Newer,
    },
    /// [`create`](crate::Container::create) found something in the file.
    Exists,
    /// The container keeps ids in another form than the one that was asked for
    /// ([`Options::ids`](crate::Options::ids)).
    OtherIds {
        /// The form that it keeps them in.
        found: IdForm,
    },
    /// An id is empty, or longer than 255 bytes as it is kept; or the handle takes ids as they
    /// are kept ([`Options::kept_ids`](crate::Options::kept_ids)), and this is none.
    InvalidId {
        /// Its length in bytes, or that of the name of a file that would be made of it.
        len: usize,
    },
    /// A value is larger than 4 MiB, as bytes or as JSON, or than the handle saves
    /// ([`Options::value_len_max`](crate::Options::value_len_max)).
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The largest length, in bytes.
        max: u64,
    },
    /// The value is not JSON, or not of the type asked for.
    NotJson(serde_json::Error),
    /// The handle was opened for reading only, or the container may only be
    /// read here (a network file system, a feature that this program can read
    /// but not write).
    ReadOnly(ReadOnly),
    /// The session of this id goes on under another one
    /// ([`ByteContainer::rotate`](crate::ByteContainer::rotate)), and none can be made under it.
    Rotated,
    /// A configuration of session managers says something that is not understood. The message
    /// names the option, and no value.
    Configuration(String),
    /// A session manager cannot do this ([`Capability`](crate::session::Capability)).
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// A handle was used for writing or syncing from inside its own `update`, or a child
    /// that was forked there went on with it.
    Reentered,
    /// The system failed.
    Io {
        /// What was being done, as in "cannot *read*".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What an operation waited for until it gave up as [`Busy`](ErrorKind::Busy).
///
/// ```
/// # use cloakroom::{Awaited, ByteContainer, ErrorKind, Options, storage::MemoryStorage};
/// # use cloakroom::storage::{LockName, Storage};
/// # let memory = MemoryStorage::new();
/// # ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// let options = Options::new().lock_deadline(std::time::Duration::from_millis(20));
/// let container = ByteContainer::open_on(Box::new(memory.share()), options)?;
/// container.save("id", b"a coat")?;
/// assert!(memory.try_lock(LockName::Sync)?); // somebody syncs to a disk that hangs
/// match container.sync().unwrap_err().kind() {
///     ErrorKind::Busy { awaited, .. } => assert_eq!(*awaited, Awaited::Sync),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// The writer lock.
    Lock,
    /// The end of a sync that somebody else had begun.
    Sync,
    /// The session, which somebody else guards ([`ByteContainer::guard`]).
    ///
    /// [`ByteContainer::guard`]: crate::ByteContainer::guard
    Guard,
}

impl Error {
    /// What happened.
    ///
    /// ```
    /// # use cloakroom::{Container, ErrorKind, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// # Container::create(&path, Options::new())?;
    /// let error = Container::create(&path, Options::new()).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::Exists));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The container's name, where it has one: as it was given, or made absolute.
    ///
    /// ```
    /// # use cloakroom::{Container, Options};
    /// let error = Container::open("/no/such/file", Options::new()).unwrap_err();
    /// assert_eq!(error.path(), Some(std::path::Path::new("/no/such/file")));
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn at(mut self, path: Option<&Path>) -> Self {
        if self.path.is_none() {
            self.path = path.map(Path::to_path_buf);
        }
        self
    }

    pub(crate) fn io(action: &'static str, source: io::Error) -> Self {
        ErrorKind::Io { action, source }.into()
    }

    /// The error of a failed read.
    pub(crate) fn reading(source: io::Error) -> Self {
        Error::io(READ, source)
    }

    /// Whether the medium could not give back what was asked of it. That it did not take
    /// something is never passed over.
    pub(crate) fn is_of_the_medium(&self) -> bool {
        match &self.kind {
            ErrorKind::Io { action, source } => {
                *action == READ && source.raw_os_error() == Some(EIO)
            }
            _ => false,
        }
    }

    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::Damaged(_))
    }

    pub(crate) fn damaged(offset: u64, kind: DamageKind) -> Self {
        ErrorKind::Damaged(Damage { offset, kind }).into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error { kind, path: None }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Full(source) | ErrorKind::Io { source, .. } => Some(source),
            ErrorKind::NotJson(source) => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display().to_string().escape_debug())?;
        }
        write!(f, "{}", self.kind)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Busy { awaited: Awaited::Lock, holder, waited_ms } => {
                write!(f, "locked by another writer for more than {waited_ms} ms")?;
                match holder {
                    Some(pid) => write!(f, " (process {pid})")?,
                    None => write!(f, " (see /proc/locks)")?,
                }
                write!(f, "; try again, and if that does not help, see what holds it up")
            }
            ErrorKind::Busy { awaited: Awaited::Sync, waited_ms, .. } => write!(
                f,
                "somebody else's sync made no progress for more than {waited_ms} ms; try again, \
                 and if that does not help, see whether the disk is overloaded or hangs"
            ),
            ErrorKind::Full(source) if source.kind() == io::ErrorKind::FileTooLarge => write!(
                f,
                "cannot write beyond the limit of a file's size ({source}); nothing is lost, raise \
                 the limit (`ulimit -f`) or remove sessions, and try again"
            ),
            ErrorKind::Full(source) => write!(
                f,
                "no space to save this ({source}); nothing is lost, free some space and try again"
            ),
            ErrorKind::Busy { awaited: Awaited::Guard, waited_ms, .. } => write!(
                f,
                "somebody else has guarded this session for more than {waited_ms} ms; try again, \
                 and if that does not help, see which request does not come to its end"
            ),
            ErrorKind::Damaged(damage @ Damage { kind: DamageKind::Headers, .. }) => {
                write!(f, "damaged: {damage}; nothing is found without one, restore a backup")
            }
            ErrorKind::Damaged(Damage { kind: DamageKind::SessionFile, .. }) => write!(
                f,
                "damaged: this is no session's file, or was cut short; remove the session, or put \
                 a backup of the file in its place"
            ),
            ErrorKind::Damaged(damage) => write!(f, "damaged: {damage}; try `cloakroom check`"),
            ErrorKind::NotAContainer(why) => write!(f, "not a cloakroom container: {why}"),
            ErrorKind::Newer { found } => write!(f, "{found}; use a newer cloakroom"),
            ErrorKind::Exists => {
                write!(
                    f,
                    "already exists and is not empty; if it is a container, open it, else create \
                     one under another name"
                )
            }
            ErrorKind::OtherIds { found: IdForm::Plain } => {
                write!(f, "the container keeps ids as they are, not as SHA-256")
            }
            ErrorKind::OtherIds { found: IdForm::Sha256 } => {
                write!(f, "the container keeps ids as SHA-256, not as they are")
            }
            ErrorKind::InvalidId { len: 0 } => write!(f, "an id must not be empty"),
            ErrorKind::InvalidId { len } if *len <= ID_LEN_MAX => {
                write!(f, "an id as this container keeps it is 64 hexadecimal digits (0-9, a-f)")
            }
            ErrorKind::InvalidId { len } => {
                write!(f, "an id that takes {len} bytes is too long (at most 255)")
            }
            ErrorKind::TooLarge { len, max } => {
                write!(f, "a value of {len} bytes is too large (at most {max})")
            }
            ErrorKind::NotJson(source) => write!(f, "not the JSON expected: {source}"),
            ErrorKind::ReadOnly(why) => write!(f, "cannot write: {why}"),
            ErrorKind::Rotated => write!(f, "the session of this id goes on under another one"),
            ErrorKind::Configuration(message) => write!(f, "configuration: {message}"),
            ErrorKind::Unsupported { what } => write!(f, "this manager has no {what}"),
            ErrorKind::Reentered => {
                write!(f, "the container was used for writing from inside its own update")
            }
            ErrorKind::Io { action, source } => {
                write!(f, "cannot {action}: {source}")?;
                match (*action, source.kind()) {
                    ("open", io::ErrorKind::NotFound) => write!(f, " (`create` makes a container)"),
                    _ => Ok(()),
                }
            }
        }
    }
}
