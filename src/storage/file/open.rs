//! From a name to an open file: which file it is, and whether it is one at all.
//!
//! Nothing but a regular file is accepted, nothing is waited for, and nothing is
//! changed in what was there. Nothing here may ever follow a symbolic link in
//! `create`, or keep a descriptor below 3.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::FileStorage;
#[cfg(doc)]
use crate::storage::LockName;
use crate::storage::linux::{self, Facts};

/// Descriptors below are standard input, output and error. Where they were
/// closed, somebody's `print!` would go into the container.
const LOWEST_DESCRIPTOR: RawFd = 3;

/// How often [`FileStorage::create`] tries when others make and remove the name.
const CREATE_TRIES: usize = 16;

/// What a file is opened for.
///
/// ```
/// # use cloakroom::storage::{Access, FileStorage, Storage};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// # FileStorage::create(&path, 0o600)?;
/// let file = FileStorage::open(&path, Access::ReadOnly)?;
/// assert!(file.write_at(b"a coat", 0).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read and write. Needed for [`LockName::Sync`].
    ReadWrite,
    /// To read only.
    ReadOnly,
}

/// Whether [`FileStorage::create`] made the file.
///
/// ```
/// # use cloakroom::storage::{FileStorage, Origin};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// let (_file, origin) = FileStorage::create(&path, 0o600)?;
/// assert_eq!(origin, Origin::Made);
/// let (_file, origin) = FileStorage::create(&path, 0o600)?;
/// assert_eq!(origin, Origin::Found);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is new and empty, and its name is not yet on the disk.
    Made,
    /// It was there already, whatever is in it.
    Found,
}

/// Why there is no [`FileStorage`].
///
/// ```
/// # use cloakroom::storage::{Access, FileStorage, OpenError};
/// match FileStorage::open("/dev/null", Access::ReadOnly) {
///     Err(OpenError::Io(error)) => return Err(error),
///     other => assert!(matches!(other, Err(OpenError::NotRegular("a device")))),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum OpenError {
    /// The name is that of this: a directory, a FIFO, a socket or a device.
    NotRegular(&'static str),
    /// The name is a symbolic link, which [`FileStorage::create`] does not follow.
    SymbolicLink,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotRegular(what) => write!(f, "{what}, not a regular file"),
            OpenError::SymbolicLink => f.write_str("a symbolic link, which is not followed here"),
            OpenError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> OpenError {
        OpenError::Io(e)
    }
}

impl From<Errno> for OpenError {
    fn from(e: Errno) -> OpenError {
        OpenError::Io(e.into())
    }
}

impl From<OpenError> for io::Error {
    fn from(e: OpenError) -> io::Error {
        match e {
            OpenError::Io(e) => e,
            e => io::Error::new(io::ErrorKind::InvalidInput, e),
        }
    }
}

impl FileStorage {
    /// Opens what is there. Symbolic links are followed; nothing but a regular
    /// file is accepted, and nothing is waited for. Costs three system calls.
    ///
    /// # Errors
    /// [`OpenError::NotRegular`], [`OpenError::Io`].
    ///
    /// ```
    /// # use cloakroom::storage::{Access, FileStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// # std::fs::write(&path, "a coat")?;
    /// let file = FileStorage::open(&path, Access::ReadWrite)?;
    /// assert_eq!(file.status()?.len, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<FileStorage, OpenError> {
        let flags = match access {
            Access::ReadWrite => OFlags::RDWR,
            Access::ReadOnly => OFlags::RDONLY,
        };
        let path = path.as_ref();
        let path = if path.is_absolute() { path.to_path_buf() } else { std::path::absolute(path)? };
        FileStorage::open_with(path, flags)
    }

    /// Makes the file with exactly the permission bits `mode` (its lowest nine,
    /// whatever the umask), or opens it for reading and writing if it exists. Never
    /// follows a symbolic link at the end of `path`.
    ///
    /// A process that was killed here leaves an empty file, which the next one
    /// finds. A new file's name outlives a power cut after
    /// [`FileStorage::sync_name`].
    ///
    /// # Errors
    /// [`OpenError::NotRegular`], [`OpenError::SymbolicLink`], [`OpenError::Io`].
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, OpenError};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// std::os::unix::fs::symlink("/etc/passwd", &path)?;
    /// let refused = FileStorage::create(&path, 0o600).unwrap_err();
    /// assert!(matches!(refused, OpenError::SymbolicLink));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>, mode: u32) -> Result<(FileStorage, Origin), OpenError> {
        let path = std::path::absolute(path)?;
        let mode = Mode::from_raw_mode((mode & 0o777) as _);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW;
        for _ in 0..CREATE_TRIES {
            // Closed to others until the mode is set: they would keep what they opened.
            let first_mode = Mode::RUSR | Mode::WUSR;
            match open_descriptor(&path, flags | OFlags::CREATE | OFlags::EXCL, first_mode) {
                Ok(descriptor) => {
                    let (descriptor, mut facts) = check(descriptor)?;
                    // umask has its say in open, so the mode is set and not only asked for.
                    if Mode::from_raw_mode(facts.mode) != mode {
                        retry_on_intr(|| rustix::fs::fchmod(&descriptor, mode))?;
                        facts.mode = mode.as_raw_mode();
                    }
                    let made = FileStorage::new(descriptor, &facts, path, flags);
                    return Ok((made, Origin::Made));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            match FileStorage::open_with(path.clone(), flags) {
                Ok(found) => return Ok((found, Origin::Found)),
                // Removed in between.
                Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// The absolute path it was opened by. Symbolic links in it are left as they
    /// are.
    ///
    /// ```
    /// # use cloakroom::storage::FileStorage;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// let (file, _) = FileStorage::create(&path, 0o600)?;
    /// assert_eq!(file.path(), path);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when the file and its name are on the disk: one fsync of the file
    /// and one of its directory, or a sync of the whole file system where the
    /// directory may not be read.
    ///
    /// # Errors
    /// What the system says; the name may be on the disk or not.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, Origin};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// let (file, origin) = FileStorage::create(&path, 0o600)?;
    /// if origin == Origin::Made {
    ///     file.sync_name()?; // from now on a power cut leaves the file
    /// }
    /// assert!(path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sync_name(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = retry_on_intr(|| rustix::fs::open(directory, flags, Mode::empty()))
            .map(|directory| retry_on_intr(|| rustix::fs::fsync(&directory)));
        match synced {
            Ok(Ok(())) => Ok(()),
            // One may be allowed to make files in a directory but not to read
            // it, and some file systems sync no directories.
            Err(_) | Ok(Err(Errno::INVAL)) => linux::sync_file_system(&self.file),
            Ok(Err(e)) => Err(e.into()),
        }
    }

    /// Returns when all that the file's file system has is on the disk.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        linux::sync_file_system(&self.file)
    }

    /// Removes the name, if it is still this file's: somebody may have put another in
    /// its place. If that fails, a file stays that nobody opens.
    pub(crate) fn remove_name(&self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| self.identity.is_of(&found)) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// The name of the file system if other hosts may write to it too, where the
    /// system tells. They have page caches of their own, which no lock keeps in
    /// step. FUSE is not among them: mostly it is local. Costs one system call.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// ```
    /// # use cloakroom::storage::FileStorage;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// let (file, _) = FileStorage::create(&path, 0o600)?;
    /// assert_eq!(file.network_file_system()?, None, "temporary files are on a local disk");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn network_file_system(&self) -> io::Result<Option<&'static str>> {
        linux::network_file_system(&self.file)
    }

    pub(super) fn open_with(path: PathBuf, flags: OFlags) -> Result<FileStorage, OpenError> {
        let descriptor = match open_descriptor(&path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            // A directory opened for writing; a socket; a device without a driver.
            Err(Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
                let mode = rustix::fs::stat(&path).map(|found| found.st_mode);
                let kind = mode.map_or(FileType::Unknown, FileType::from_raw_mode);
                return Err(OpenError::NotRegular(name_of(kind)));
            }
            // Links in a circle higher up give the same error (and on BSD, MLINK).
            Err(e @ (Errno::LOOP | Errno::MLINK)) => {
                let link = flags.contains(OFlags::NOFOLLOW) && path.is_symlink();
                return Err(if link { OpenError::SymbolicLink } else { e.into() });
            }
            Err(e) => return Err(e.into()),
        };
        let (descriptor, facts) = check(descriptor)?;
        Ok(FileStorage::new(descriptor, &facts, path, flags))
    }
}

/// Opens without waiting for a pipe's other end and without making a terminal
/// the process's own.
fn open_descriptor(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry_on_intr(|| rustix::fs::open(path, flags, mode))
}

/// Accepts regular files only, under a descriptor that may be kept.
fn check(descriptor: OwnedFd) -> Result<(OwnedFd, Facts), OpenError> {
    let facts = linux::facts(&descriptor)?;
    if facts.kind != FileType::RegularFile {
        return Err(OpenError::NotRegular(name_of(facts.kind)));
    }
    Ok((keep_above(descriptor, LOWEST_DESCRIPTOR)?, facts))
}

/// What the name stands for, which is no regular file.
fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}

/// The same open file under a descriptor that is at least `lowest`.
pub(in crate::storage) fn keep_above(descriptor: OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= lowest {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), lowest)?)
}
