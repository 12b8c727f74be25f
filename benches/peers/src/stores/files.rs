//! A file for each session, as many session stores do it: written beside and renamed
//! (fast), and synced with its folder (durable). An update holds a lock on one of 64
//! files, chosen by the id.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};

pub(crate) const PEER: Peer = Peer {
    name: "files",
    fast: "written beside and renamed: a power cut may leave an old or an empty session",
    durable: Some("the file and its folder synced"),
    processes: Processes::Many,
    version: || Some("this program's".to_owned()),
    open,
    serve: None,
};

const LOCKS: u8 = 64;

struct Folder {
    path: PathBuf,
    mode: Mode,
}

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Folder { path: place.directory.clone(), mode }))
}

impl Folder {
    fn file(&self, id: &[u8], suffix: &str) -> Outcome<PathBuf> {
        Ok(self.path.join(format!("{}{suffix}", std::str::from_utf8(id)?)))
    }

    fn lock(&self, id: &[u8]) -> Outcome<File> {
        let number = id.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
        let path = self.path.join(format!("lock-{}", number % LOCKS));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

impl Store for Folder {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        value.clear();
        match File::open(self.file(id, "")?) {
            Ok(mut file) => {
                file.read_to_end(value)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        let beside = self.file(id, &format!(".{}", std::process::id()))?;
        let mut file = File::create(&beside)?;
        file.write_all(value)?;
        if self.mode == Mode::Durable {
            file.sync_data()?;
        }
        std::fs::rename(&beside, self.file(id, "")?)?;
        if self.mode == Mode::Durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        let lock = self.lock(id)?;
        let mut value = Vec::new();
        self.load(id, &mut value)?;
        change(&mut value);
        self.save(id, &value)?;
        drop(lock);
        Ok(())
    }
}
