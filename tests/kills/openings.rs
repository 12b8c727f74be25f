//! How a process opens the container: as it is, or on a storage that breaks one
//! promise about writes, so that the harness can show that it notices.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use cloakroom::storage::{Access, FileStorage, LockName, Storage};
use cloakroom::{ByteContainer, Options};

use crate::wrapped::{Wrapped, Wrapper};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Nothing is broken.
    Plain,
    /// Each write is done in two halves.
    Halves,
    /// What is longer than a line is written after what comes next.
    Late,
    /// The writer lock is always free.
    Unlocked,
}

pub(crate) fn open(path: &Path, opening: Opening, options: Options) -> ByteContainer {
    if opening == Opening::Plain {
        return ByteContainer::open(path, options).unwrap();
    }
    ByteContainer::open_on(Broken::open(path, opening).unwrap(), options).unwrap()
}

/// A real file that breaks a promise.
#[derive(Debug)]
struct Broken {
    file: FileStorage,
    opening: Opening,
    held_back: Mutex<Option<(Vec<u8>, u64)>>,
}

impl Broken {
    fn open(path: &Path, opening: Opening) -> io::Result<Box<dyn Storage>> {
        let file = FileStorage::open(path, Access::ReadWrite)?;
        Ok(Box::new(Wrapped(Broken { file, opening, held_back: Mutex::new(None) })))
    }
}

impl Wrapper for Broken {
    fn below(&self) -> &dyn Storage {
        &self.file
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.opening {
            Opening::Halves => {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                self.file.write_at(first, offset)?;
                self.file.write_at(second, offset + first.len() as u64)
            }
            Opening::Late => {
                let mut held_back = self.held_back.lock().unwrap();
                let earlier = held_back.take();
                if bytes.len() > 64 && earlier.is_none() {
                    *held_back = Some((bytes.to_vec(), offset));
                    return Ok(());
                }
                self.file.write_at(bytes, offset)?;
                earlier.map_or(Ok(()), |(bytes, offset)| self.file.write_at(&bytes, offset))
            }
            _ => self.file.write_at(bytes, offset),
        }
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        match (self.opening, lock) {
            (Opening::Unlocked, LockName::Writer) => Ok(true),
            _ => self.file.try_lock(lock),
        }
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        match (self.opening, lock) {
            (Opening::Unlocked, LockName::Writer) => Ok(()),
            _ => self.file.unlock(lock),
        }
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        Ok(Some(Broken::open(self.file.path(), self.opening)?))
    }
}
