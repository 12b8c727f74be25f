//! Opening and creating by name: which file it is, and what may be done to it.
//!
//! What is no regular file is refused before a byte is read; `create` follows no
//! symbolic link; nothing is changed in a file that is refused.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::background::Background;
use super::create::{Before, exists, initialise, is_blank, is_unfinished};
use super::current::CurrentFile;
use super::handle::ByteContainer;
use super::open_file::OpenFile;
use super::options::{Durability, Options};
use super::writer::Patience;
use crate::error::{Awaited, Error, ErrorKind, NotAContainer, ReadOnly, Result};
use crate::storage::{Access, FileStorage, LockName, OpenError, Origin, Storage};

impl ByteContainer {
    /// Opens an existing container for reading and writing.
    ///
    /// Costs one open and a few system calls, whatever the size; nothing is
    /// scanned and no lock is taken. The name may be a symbolic link. On a network
    /// file system, and where the file has features that this program can only
    /// read, the handle loads, and every change is refused as
    /// [`ReadOnly`](ErrorKind::ReadOnly).
    ///
    /// # Errors
    /// [`NotAContainer`](ErrorKind::NotAContainer), [`Newer`](ErrorKind::Newer),
    /// [`Io`](ErrorKind::Io): no such file, or no right to read and write it.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// ByteContainer::create(&path, Options::new())?.save("id", b"a coat")?;
    /// let container = ByteContainer::open(&path, Options::new())?;
    /// assert!(container.contains("id")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<ByteContainer> {
        let path = path.as_ref();
        open(path, options).map(ByteContainer::of).map_err(|error| error.at(Some(path)))
    }

    /// Makes a container and opens it. The file must not exist, or be empty or
    /// all zero (of up to 64 MiB): then it is initialised, with the permissions that it has.
    /// So is one whose making was interrupted. Returns when the container, 128 KiB
    /// at first, and its name are on the disk, after some five syncs.
    ///
    /// # Errors
    /// [`Exists`](ErrorKind::Exists) if there is anything in the file;
    /// [`NotAContainer`](ErrorKind::NotAContainer) for what is no regular file, a
    /// symbolic link included; [`ReadOnly`](ErrorKind::ReadOnly) on a network file
    /// system; [`Busy`](ErrorKind::Busy) if somebody else is at it until the
    /// deadline; [`Full`](ErrorKind::Full); [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, ErrorKind, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// ByteContainer::create(&path, Options::new())?;
    /// let refused = ByteContainer::create(&path, Options::new()).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::Exists));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>, options: Options) -> Result<ByteContainer> {
        let path = path.as_ref();
        create(path, options).map(ByteContainer::of).map_err(|error| error.at(Some(path)))
    }

    /// Opens an existing container for reading. The handle writes nothing, locks
    /// nothing, and works on a medium and in a directory that cannot be written.
    /// Costs what [`ByteContainer::open`] does.
    ///
    /// # Errors
    /// As [`ByteContainer::open`]. Every change through the handle fails with
    /// [`ReadOnly`](ErrorKind::ReadOnly).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// ByteContainer::create(&path, Options::new())?.save("id", b"a coat")?;
    /// let container = ByteContainer::open_read_only(&path, Options::new())?;
    /// assert_eq!(container.load("id")?.expect("it was saved").value, b"a coat");
    /// assert!(container.save("id", b"a hat").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<ByteContainer> {
        let path = path.as_ref();
        open_read_only(path, options).map(ByteContainer::of).map_err(|error| error.at(Some(path)))
    }

    /// Opens the container in a storage of your own.
    ///
    /// # Errors
    /// As [`ByteContainer::open`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// let memory = MemoryStorage::new();
    /// ByteContainer::create_on(Box::new(memory.share()), Options::new())?.save("id", b"a coat")?;
    /// let copy = MemoryStorage::from_bytes(memory.to_bytes());
    /// let container = ByteContainer::open_on(Box::new(copy), Options::new())?;
    /// assert!(container.contains("id")?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn open_on(storage: Box<dyn Storage>, options: Options) -> Result<ByteContainer> {
        OpenFile::new(storage, options, None, None).map(ByteContainer::of)
    }

    /// Makes a container in a blank storage of your own, and opens it.
    ///
    /// # Errors
    /// As [`ByteContainer::create`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// let memory = Box::new(MemoryStorage::new());
    /// let container = ByteContainer::create_on(memory, Options::new())?;
    /// assert!(container.is_empty()?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn create_on(storage: Box<dyn Storage>, options: Options) -> Result<ByteContainer> {
        create_in(storage.as_ref(), &options, None)?;
        ByteContainer::open_on(storage, options)
    }

    /// Opens the container in a storage of your own, for reading.
    ///
    /// # Errors
    /// As [`ByteContainer::open_read_only`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// let memory = MemoryStorage::new();
    /// ByteContainer::create_on(Box::new(memory.share()), Options::new())?.save("id", b"a coat")?;
    /// let container = ByteContainer::open_read_only_on(Box::new(memory), Options::new())?;
    /// assert!(container.contains("id")?);
    /// assert!(container.remove("id").is_err());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn open_read_only_on(storage: Box<dyn Storage>, options: Options) -> Result<ByteContainer> {
        OpenFile::new(storage, options, None, Some(ReadOnly::Handle)).map(ByteContainer::of)
    }

    fn of(mut file: Arc<OpenFile>) -> ByteContainer {
        let writes = file.read_only.is_none();
        let background = match file.options.durability {
            Durability::Interval(interval) if file.options.background_sync && writes => {
                Background::start(interval)
            }
            _ => None,
        };
        if let Some(file) = Arc::get_mut(&mut file) {
            file.options.background_sync = background.is_some();
        }
        let file = Arc::new(CurrentFile::new(file));
        if let Some(background) = &background {
            background.serve(&file);
        }
        ByteContainer { file, background, misses: AtomicU64::new(0) }
    }
}

/// Opens the container at `path` for reading and writing. On a network file
/// system it can be read only.
fn open(path: &Path, options: Options) -> Result<Arc<OpenFile>> {
    let storage =
        FileStorage::open(path, Access::ReadWrite).map_err(|error| refused("open", error))?;
    // Whoever marked it had asked, too.
    let network = if storage.is_marked() { None } else { network(&storage)? };
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), network)
}

/// Opens the container at `path` for reading.
fn open_read_only(path: &Path, options: Options) -> Result<Arc<OpenFile>> {
    let storage =
        FileStorage::open(path, Access::ReadOnly).map_err(|error| refused("open", error))?;
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), Some(ReadOnly::Handle))
}

/// Makes a container of a new or blank file at `path`, and opens it.
fn create(path: &Path, options: Options) -> Result<Arc<OpenFile>> {
    let (storage, origin) =
        FileStorage::create(path, options.mode).map_err(|error| refused("create", error))?;
    if let Some(why) = network(&storage)? {
        if origin == Origin::Made {
            // Of no use to anybody.
            storage.remove_name();
        }
        return Err(ErrorKind::ReadOnly(why).into());
    }
    let naming = Naming { storage: &storage, origin };
    create_in(&storage, &options, Some(naming))?;
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), None)
}

/// A file that is to become a container, and whether it was just made.
struct Naming<'a> {
    storage: &'a FileStorage,
    origin: Origin,
}

impl Naming<'_> {
    fn sync(&self) -> Result<()> {
        // Whoever made the name may not have come so far.
        self.storage.sync_name().map_err(|source| Error::io("sync the directory", source))
    }

    /// Made by us, blank when we took the lock, and of no use to anybody.
    fn give_up(&self) {
        if self.origin == Origin::Made {
            self.storage.remove_name();
        }
    }
}

/// Initialises the storage under the writer lock, if it is blank. A file just made
/// is removed if that fails. Its name is synced before there is anything in the file,
/// and under the lock: a sync that fails has nothing of another's to lose.
fn create_in(storage: &dyn Storage, options: &Options, naming: Option<Naming<'_>>) -> Result<()> {
    let locking = |source| Error::io("lock", source);
    let mut patience = Patience::new(options.lock_deadline);
    while !storage.try_lock(LockName::Writer).map_err(locking)? {
        patience.pause(storage).map_err(|waited_ms| {
            let holder = storage.lock_holder();
            ErrorKind::Busy { awaited: Awaited::Lock, holder, waited_ms }
        })?;
    }
    let result = look_for_blank(storage).and_then(|before| {
        let named = naming.as_ref().map_or(Ok(()), Naming::sync);
        let ids = options.ids_at_creation();
        named.and_then(|()| initialise(storage, before, ids)).inspect_err(|_| {
            if let Some(naming) = &naming {
                naming.give_up();
            }
        })
    });
    storage.unlock(LockName::Writer).map_err(locking)?;
    result
}

fn look_for_blank(storage: &dyn Storage) -> Result<Before> {
    if storage.status().map_err(super::index::reading)?.links == 0 {
        // Whoever made it has given up and removed it.
        return Err(Error::io("create", std::io::ErrorKind::NotFound.into()));
    }
    if is_blank(storage)? {
        Ok(Before::Blank)
    } else if is_unfinished(storage)? {
        Ok(Before::Unfinished)
    } else {
        Err(exists())
    }
}

fn network(storage: &FileStorage) -> Result<Option<ReadOnly>> {
    let name = storage
        .network_file_system()
        .map_err(|source| Error::io("tell the kind of file system", source))?;
    Ok(name.map(ReadOnly::FileSystem))
}

fn refused(action: &'static str, error: OpenError) -> Error {
    match error {
        OpenError::NotRegular(what) => {
            ErrorKind::NotAContainer(NotAContainer::NotAFile(what)).into()
        }
        OpenError::SymbolicLink => ErrorKind::NotAContainer(NotAContainer::Symlink).into(),
        OpenError::Io(source) => Error::io(action, source),
    }
}
