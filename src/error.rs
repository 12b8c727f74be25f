//! What can go wrong: one variant for each thing that a caller does differently.
//!
//! Outcomes that are to be expected (no such session, somebody else saved
//! first) are values of the operations, not errors. No error carries an id or a
//! value.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
        /// Process id of the lock's holder, where the system tells it: a hint.
        holder: Option<u32>,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The file cannot grow: the disk is full, or a quota or file-size limit is
    /// reached. Everything saved before is still there; the next save works
    /// once there is space.
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
    /// An id is empty or longer than 255 bytes.
    InvalidId {
        /// Its length in bytes.
        len: usize,
    },
    /// A value is larger than 4 MiB, as bytes or as JSON.
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
    /// A handle was used for writing or syncing from inside its own `update`.
    Reentered,
    /// The system failed.
    Io {
        /// What was being done, as in "cannot *read*".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a file is not taken for a container.
///
/// ```
/// # use cloakroom::{Container, ErrorKind, NotAContainer, Options};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// std::fs::write(&path, "")?; // made by the host, for us to use
/// let refused = Container::open(&path, Options::new()).unwrap_err();
/// let container = match refused.kind() {
///     ErrorKind::NotAContainer(NotAContainer::Empty) => Container::create(&path, Options::new())?,
///     other => unreachable!("{other}"),
/// };
/// assert!(container.is_empty()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAContainer {
    /// It has no bytes, or only zeros; `create` would initialise it.
    Empty,
    /// It starts as this other kind of file does.
    LooksLike(&'static str),
    /// Somebody began to make a container of it and was interrupted; `create` takes
    /// it.
    Unfinished,
    /// Neither of its two headers is intact: a file of any other kind, or a
    /// container that lost both.
    NoHeader,
    /// It begins as a container does, and ends before the first 128 KiB do.
    CutShort,
    /// It is a directory, FIFO, device or socket.
    NotAFile,
    /// The name is a symbolic link, and `create` follows none.
    Symlink,
}

/// What a newer program put into the file.
///
/// ```
/// # use cloakroom::{ByteContainer, ErrorKind, Newer, Options};
/// # use cloakroom::{format::layout, storage::MemoryStorage};
/// # let memory = MemoryStorage::new();
/// # ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// # let mut bytes = memory.to_bytes();
/// # let header = layout().iter().find(|s| s.name == "static header").unwrap().fields;
/// # let at = |name| header.iter().find(|field| field.name == name).unwrap().offset;
/// # bytes[at("version")] = 7;
/// # bytes[61440] = 0; // the other header
/// # let sum = crc32fast::hash(&bytes[..at("check")]);
/// # bytes[at("check")..][..4].copy_from_slice(&sum.to_le_bytes());
/// # let made_later = Box::new(MemoryStorage::from_bytes(bytes));
/// let refused = ByteContainer::open_on(made_later, Options::new()).unwrap_err();
/// match refused.kind() {
///     ErrorKind::Newer { found: Newer::Version(version) } => assert_eq!(*version, 7),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Newer {
    /// This format version.
    Version(u32),
    /// These feature bits, without which the file cannot be understood.
    Features(u32),
}

/// Why nothing can be written.
///
/// ```
/// # use cloakroom::{Container, ErrorKind, Options, ReadOnly};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// # Container::create(&path, Options::new())?;
/// let container = Container::open_read_only(&path, Options::new())?;
/// let refused = container.remove("a ticket").unwrap_err();
/// match refused.kind() {
///     ErrorKind::ReadOnly(ReadOnly::FileSystem(name)) => println!("{name}: use a local disk"),
///     ErrorKind::ReadOnly(why) => assert_eq!(*why, ReadOnly::Handle),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadOnly {
    /// The handle was opened by `open_read_only`.
    Handle,
    /// The file lies on this kind of network file system, whose locks and
    /// caches do not keep what a container needs.
    FileSystem(&'static str),
    /// The file has these feature bits, which this program can only read.
    Features(u32),
}

/// A place in the file whose bytes contradict themselves.
///
/// ```
/// # use cloakroom::{ByteContainer, ErrorKind, Options, storage::MemoryStorage};
/// # let memory = MemoryStorage::new();
/// # let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// # container.save("id", b"a coat").and(container.sync())?;
/// # let mut bytes = memory.to_bytes();
/// let at = bytes.windows(6).position(|bytes| bytes == b"a coat").expect("it was saved");
/// bytes[at] ^= 1; // rot
/// # let rotten = Box::new(MemoryStorage::from_bytes(bytes));
/// # let container = ByteContainer::open_on(rotten, Options::new())?;
/// match container.load("id").unwrap_err().kind() {
///     ErrorKind::Damaged(damage) => assert!((at - 256..at).contains(&(damage.offset as usize))),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte offset in the file.
    pub offset: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// What is wrong at a damaged place.
///
/// ```
/// # use cloakroom::{ByteContainer, DamageKind, ErrorKind, Options};
/// # use cloakroom::storage::MemoryStorage;
/// # let memory = MemoryStorage::new();
/// # let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// # container.save("id", b"a coat").and(container.sync())?;
/// # let mut bytes = memory.to_bytes();
/// bytes.truncate(2 * 65536); // as a copy that ran out of space
/// # let rest = Box::new(MemoryStorage::from_bytes(bytes));
/// # let container = ByteContainer::open_on(rest, Options::new())?;
/// match container.save("id", b"a hat").unwrap_err().kind() {
///     ErrorKind::Damaged(damage) => assert_eq!(damage.kind, DamageKind::CutShort),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The control line, with the epochs, fails its checksum or its rules.
    ControlLine,
    /// The root line, with the number of segments, fails its checksum or its
    /// rules.
    RootLine,
    /// The segment table fails a checksum, or names a block outside the file.
    SegmentTable,
    /// The head of a segment fails its checksum or its rules.
    SegmentHead,
    /// An entry fails its checksum or its rules.
    Entry,
    /// A record does not match the durable entry that names it.
    Record,
    /// The file ends before what was once on the disk does. What is left can be
    /// read; nothing is written.
    CutShort,
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
            ErrorKind::Busy { holder, waited_ms } => {
                write!(f, "locked by another writer for more than {waited_ms} ms")?;
                match holder {
                    Some(pid) => write!(f, " (process {pid})"),
                    None => write!(f, " (see /proc/locks)"),
                }
            }
            ErrorKind::Full(source) => write!(
                f,
                "no space to save this ({source}); nothing is lost, free some space and try again"
            ),
            ErrorKind::Damaged(damage) => write!(f, "damaged: {damage}; try `cloakroom check`"),
            ErrorKind::NotAContainer(why) => write!(f, "not a cloakroom container: {why}"),
            ErrorKind::Newer { found } => write!(f, "{found}; use a newer cloakroom"),
            ErrorKind::Exists => {
                write!(f, "already exists and is not empty; open it, or create under another name")
            }
            ErrorKind::InvalidId { len: 0 } => write!(f, "an id must not be empty"),
            ErrorKind::InvalidId { len } => {
                write!(f, "an id of {len} bytes is too long (at most 255)")
            }
            ErrorKind::TooLarge { len, max } => {
                write!(f, "a value of {len} bytes is too large (at most {max})")
            }
            ErrorKind::NotJson(source) => write!(f, "not the JSON expected: {source}"),
            ErrorKind::ReadOnly(why) => write!(f, "cannot write: {why}"),
            ErrorKind::Reentered => {
                write!(f, "the container was used for writing from inside its own update")
            }
            ErrorKind::Io { action, source } => write!(f, "cannot {action}: {source}"),
        }
    }
}

impl fmt::Display for NotAContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAContainer::Empty => {
                write!(f, "it is empty (`create` makes a container of an empty file)")
            }
            NotAContainer::LooksLike(what) => write!(f, "it looks like {what}"),
            NotAContainer::Unfinished => {
                write!(f, "its making was interrupted; `create` begins it anew")
            }
            NotAContainer::NoHeader => write!(f, "neither of its headers is intact"),
            NotAContainer::CutShort => write!(f, "it was cut short"),
            NotAContainer::NotAFile => write!(f, "it is not a regular file"),
            NotAContainer::Symlink => {
                write!(f, "it is a symbolic link, which `create` does not follow")
            }
        }
    }
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Newer::Version(version) => write!(f, "the file has format version {version}"),
            Newer::Features(bits) => write!(f, "the file needs unknown features {bits:#x}"),
        }
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOnly::Handle => write!(f, "opened for reading only"),
            ReadOnly::FileSystem(name) => write!(
                f,
                "on {name}, where neither locks nor caches hold; move the file to a local disk"
            ),
            ReadOnly::Features(bits) => {
                write!(f, "unknown features {bits:#x}; use a newer cloakroom")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DamageKind::ControlLine => "the control line",
            DamageKind::RootLine => "the root line",
            DamageKind::SegmentTable => "the segment table",
            DamageKind::SegmentHead => "the head of a segment",
            DamageKind::Entry => "an entry",
            DamageKind::Record => "a record",
            DamageKind::CutShort => "the end of the file, which was cut short,",
        })
    }
}
