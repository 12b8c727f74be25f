//! A file whose container is the same each time: its random numbers come from a seed,
//! and so all that depends on the container's key. It says that it is marked, which the
//! process that made it saw to: valgrind does not know that call.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use cloakroom::storage::{Access, FileStorage, Storage};
use cloakroom::{ByteContainer, Options};

use crate::Outcome;
use crate::data::Random;
use crate::wrapped::{Wrapped, Wrapper};

#[derive(Debug)]
struct Repeatable {
    file: FileStorage,
    random: Mutex<Random>,
}

impl Wrapper for Repeatable {
    fn below(&self) -> &dyn Storage {
        &self.file
    }

    fn is_marked(&self) -> bool {
        true
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut random = self.random.lock().map_err(|_| io::ErrorKind::Other)?;
        bytes.fill_with(|| random.next() as u8);
        Ok(())
    }
}

fn storage(file: FileStorage, seed: u64) -> Box<dyn Storage> {
    Box::new(Wrapped(Repeatable { file, random: Mutex::new(Random::new(seed)) }))
}

pub(crate) fn create(path: &Path, options: Options) -> Outcome<ByteContainer> {
    let (file, _) = FileStorage::create(path, 0o600)?;
    Ok(ByteContainer::create_on(storage(file, 1), options)?)
}

pub(crate) fn open(path: &Path, options: Options) -> Outcome<ByteContainer> {
    let file = FileStorage::open(path, Access::ReadWrite)?;
    Ok(ByteContainer::open_on(storage(file, 2), options)?)
}
