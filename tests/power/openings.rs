//! How a writer opens the container: as it is, or on a storage that breaks one
//! promise, so that the harness can show that it notices.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::storage::{
    Access, FileStorage, Fill, LockName, Pause, ReadMap, Status, Storage, View,
};
use cloakroom::{ByteContainer, Options, Result};

use crate::kernel;

/// Nothing is broken.
pub(crate) const PLAIN: &str = "plain";
/// A sync returns and has done nothing.
pub(crate) const NO_SYNC: &str = "no sync";
/// A sync returns before it is done.
pub(crate) const LATE_SYNC: &str = "late sync";
/// A sync leaves out the part of the file that begins at block 2.
pub(crate) const HALF_SYNC: &str = "half sync";
/// All mounts look the same, so that no cut is noticed.
pub(crate) const SAME_VIEW: &str = "same view";

pub(crate) fn open(path: &Path, opening: &str, options: Options) -> Result<ByteContainer> {
    if opening == PLAIN {
        return ByteContainer::open(path, options);
    }
    ByteContainer::open_on(Broken::open(path, opening).unwrap(), options)
}

/// A real file that breaks a promise.
#[derive(Debug)]
struct Broken {
    file: FileStorage,
    again: File,
    opening: String,
}

impl Broken {
    fn open(path: &Path, opening: &str) -> io::Result<Box<dyn Storage>> {
        let file = FileStorage::open(path, Access::ReadWrite)?;
        let again = File::options().read(true).write(true).open(path)?;
        Ok(Box::new(Broken { file, again, opening: opening.to_owned() }))
    }
}

impl Storage for Broken {
    fn sync(&self) -> io::Result<()> {
        match self.opening.as_str() {
            NO_SYNC => Ok(()),
            LATE_SYNC => {
                let late = self.again.try_clone()?;
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(1));
                    late.sync_data()
                });
                Ok(())
            }
            HALF_SYNC => kernel::force_out(&self.again, 0, 2 << 16),
            _ => self.file.sync(),
        }
    }

    fn view(&self) -> io::Result<Option<View>> {
        let view = self.file.view()?;
        Ok(match self.opening.as_str() {
            SAME_VIEW => view.map(|view| View { mount: 1, ..view }),
            _ => view,
        })
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        Ok(Some(Broken::open(self.file.path(), &self.opening)?))
    }

    fn status(&self) -> io::Result<Status> {
        self.file.status()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        self.file.extend(from, to, fill)
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        self.file.map(len)
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        self.file.try_lock(lock)
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        self.file.unlock(lock)
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
