//! Opening and creating by name: which file it is, and what may be done to it.
//!
//! What is no regular file is refused before a byte is read; `create` follows no
//! symbolic link; nothing is changed in a file that is refused.

use std::path::Path;

use super::create::{exists, initialise, is_blank};
use super::open_file::OpenFile;
use super::options::Options;
use super::writer::Patience;
use crate::error::{Error, ErrorKind, NotAContainer, ReadOnly, Result};
use crate::storage::{Access, FileStorage, LockName, OpenError, Origin, Storage};

/// Opens the container at `path` for reading and writing. On a network file
/// system it can be read only.
pub(super) fn open(path: &Path, options: Options) -> Result<OpenFile> {
    let storage =
        FileStorage::open(path, Access::ReadWrite).map_err(|error| refused("open", error))?;
    let network = network(&storage)?;
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), network)
}

/// Opens the container at `path` for reading.
pub(super) fn open_read_only(path: &Path, options: Options) -> Result<OpenFile> {
    let storage =
        FileStorage::open(path, Access::ReadOnly).map_err(|error| refused("open", error))?;
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), Some(ReadOnly::Handle))
}

/// Makes a container of a new or blank file at `path`, and opens it.
pub(super) fn create(path: &Path, options: Options) -> Result<OpenFile> {
    let (storage, origin) =
        FileStorage::create(path, options.mode).map_err(|error| refused("create", error))?;
    let made = create_checked(&storage, &options);
    if made.is_err() && origin == Origin::Made {
        // Made by us, and of no use to anybody. If this fails, an empty file
        // stays, which `create` will take.
        let _ = std::fs::remove_file(path);
    }
    made?;
    if origin == Origin::Made {
        storage.sync_name().map_err(|source| Error::io("sync the directory", source))?;
    }
    let path = storage.path().to_path_buf();
    OpenFile::new(Box::new(storage), options, Some(path), None)
}

fn create_checked(storage: &FileStorage, options: &Options) -> Result<()> {
    if let Some(why) = network(storage)? {
        return Err(ErrorKind::ReadOnly(why).into());
    }
    create_in(storage, options)
}

/// Initialises the storage under the writer lock, if it is blank.
pub(super) fn create_in(storage: &dyn Storage, options: &Options) -> Result<()> {
    let locking = |source| Error::io("lock", source);
    let mut patience = Patience::new(options.lock_deadline);
    while !storage.try_lock(LockName::Writer).map_err(locking)? {
        patience
            .pause(storage)
            .map_err(|waited_ms| ErrorKind::Busy { holder: storage.lock_holder(), waited_ms })?;
    }
    let result = initialise_blank(storage);
    storage.unlock(LockName::Writer).map_err(locking)?;
    result
}

fn initialise_blank(storage: &dyn Storage) -> Result<()> {
    if !is_blank(storage)? {
        return Err(exists());
    }
    initialise(storage)
}

fn network(storage: &FileStorage) -> Result<Option<ReadOnly>> {
    let name = storage
        .network_file_system()
        .map_err(|source| Error::io("tell the kind of file system", source))?;
    Ok(name.map(ReadOnly::FileSystem))
}

fn refused(action: &'static str, error: OpenError) -> Error {
    match error {
        OpenError::NotRegular => ErrorKind::NotAContainer(NotAContainer::NotAFile).into(),
        OpenError::SymbolicLink => ErrorKind::NotAContainer(NotAContainer::Symlink).into(),
        OpenError::Io(source) => Error::io(action, source),
    }
}
