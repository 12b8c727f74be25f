//! How a process opens the container: as it is, or on a storage that breaks one
//! promise about writes, so that the harness can show that it notices.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::storage::{
    Access, FileStorage, Fill, LockName, Pause, ReadMap, Status, Storage, View,
};
use cloakroom::{ByteContainer, Options};

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
        Ok(Box::new(Broken { file, opening, held_back: Mutex::new(None) }))
    }
}

impl Storage for Broken {
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

    fn view(&self) -> io::Result<Option<View>> {
        self.file.view()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        Ok(Some(Broken::open(self.file.path(), self.opening)?))
    }

    fn status(&self) -> io::Result<Status> {
        self.file.status()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        self.file.extend(from, to, fill)
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        self.file.map(len)
    }

    fn lock_holder(&self) -> Option<u32> {
        self.file.lock_holder()
    }

    fn abandon(&self) {
        self.file.abandon();
    }

    fn process_id(&self) -> u32 {
        self.file.process_id()
    }

    fn now_ms(&self) -> u64 {
        self.file.now_ms()
    }

    fn uptime(&self) -> Duration {
        self.file.uptime()
    }

    fn pause(&self, pause: Pause) {
        self.file.pause(pause);
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.random(bytes)
    }
}
