//! tdb: plain with a chain lock around an update (fast), or a transaction (durable).

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};
use crate::tdb::{Library, MISSING, Tdb};

pub(crate) const PEER: Peer = Peer {
    name: "tdb",
    fast: "no transaction: a kill may lose or tear the session being saved, a power cut all",
    durable: Some("a transaction a save: four fdatasync"),
    processes: Processes::Many,
    version: || Library::load().map(|_| "libtdb1".to_owned()),
    open,
    serve: None,
};

struct File {
    file: Tdb,
    mode: Mode,
}

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    // One chain for each session; a file that is there has its own number.
    let file = Library::load().ok_or(MISSING)?.open(&place.file("tdb"), place.sessions + 3)?;
    Ok(Box::new(File { file, mode }))
}

impl File {
    fn fetch(&self, id: &[u8], value: &mut Vec<u8>) -> bool {
        let found = self.file.fetch(id);
        value.clear();
        value.extend_from_slice(found.as_ref().map_or(&[], |found| found.bytes()));
        found.is_some()
    }
}

impl Store for File {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        Ok(self.fetch(id, value))
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        if self.mode == Mode::Durable {
            self.file.begin()?;
            self.file.store(id, value)?;
            return Ok(self.file.commit()?);
        }
        Ok(self.file.store(id, value)?)
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        match self.mode {
            Mode::Fast | Mode::Lasting => self.file.lock(id)?,
            Mode::Durable => self.file.begin()?,
        }
        let mut value = Vec::new();
        self.fetch(id, &mut value);
        change(&mut value);
        self.file.store(id, &value)?;
        match self.mode {
            Mode::Fast | Mode::Lasting => Ok(self.file.unlock(id)?),
            Mode::Durable => Ok(self.file.commit()?),
        }
    }
}
