//! Why a file is not opened, or not written: what it is not, what is newer, what forbids
//! it. Each says what to do about it.

use std::fmt;

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
    /// Somebody began to make a container of it and was interrupted, or is still at
    /// it; `create` waits for that, and takes what was interrupted.
    Unfinished,
    /// It has no header of a container: a file of any other kind.
    NoHeader,
    /// It begins as a container does, and ends before the first 128 KiB do.
    CutShort,
    /// It is no regular file, but this: a directory, a FIFO, a device or a socket.
    NotAFile(&'static str),
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

impl fmt::Display for NotAContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAContainer::Empty => {
                write!(f, "it is empty or all zero (`create` makes a container of such a file)")
            }
            NotAContainer::LooksLike(what) => write!(f, "it looks like {what}"),
            NotAContainer::Unfinished => {
                write!(
                    f,
                    "its making was interrupted, or is still under way: try again; `create` \
                     begins anew what was interrupted"
                )
            }
            NotAContainer::NoHeader => write!(f, "it has no header of one"),
            NotAContainer::CutShort => write!(f, "it was cut short; put a backup in its place"),
            NotAContainer::NotAFile(what) => write!(f, "it is {what}, not a regular file"),
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
