//! How a writer opens the container: as it is, or on a storage that breaks one
//! promise, so that the harness can show that it notices.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use cloakroom::storage::{Access, FileStorage, Storage, View};
use cloakroom::{ByteContainer, Options, Result};

use crate::kernel;
use crate::wrapped::{Wrapped, Wrapper};

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
        Ok(Box::new(Wrapped(Broken { file, again, opening: opening.to_owned() })))
    }
}

impl Wrapper for Broken {
    fn below(&self) -> &dyn Storage {
        &self.file
    }

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
}
