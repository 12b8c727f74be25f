//! LMDB through heed: without a sync (fast), with or without a writable map, or as it
//! comes (durable).

use std::ops::Range;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use crate::data;
use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};

pub(crate) const PEER: Peer = Peer {
    name: "lmdb",
    fast: "NOSYNC: a power cut may corrupt the file; a lock file beside it",
    durable: Some("two syncs a save"),
    processes: Processes::Many,
    version,
    open: |place, mode| open(place, mode, EnvFlags::empty()),
    serve: None,
};

pub(crate) const WRITE_MAP: Peer = Peer {
    name: "lmdb-writemap",
    fast: "WRITEMAP and NOSYNC: as lmdb, and a stray write of the process may corrupt the file",
    durable: None,
    processes: Processes::Many,
    version,
    open: |place, mode| open(place, mode, EnvFlags::WRITE_MAP),
    serve: None,
};

/// More than any work here needs; the file is sparse.
const MAP_BYTES: usize = 32 << 30;

fn version() -> Option<String> {
    Some("0.9, heed 0.22".to_owned())
}

struct Environment {
    environment: Env,
    database: Database<Bytes, Bytes>,
}

fn open(place: &Place, mode: Mode, flags: EnvFlags) -> Outcome<Box<dyn Store>> {
    let flags = match mode {
        Mode::Fast | Mode::Lasting => flags | EnvFlags::NO_SYNC | EnvFlags::NO_SUB_DIR,
        Mode::Durable => flags | EnvFlags::NO_SUB_DIR,
    };
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(128);
    // SAFETY: none of these flags makes the map unsound while the file is only used by
    // LMDB, in a folder of our own.
    unsafe { options.flags(flags) };
    // SAFETY: the file is opened once in each process and changed by LMDB only.
    let environment = unsafe { options.open(place.file("lmdb")) }?;
    let mut transaction = environment.write_txn()?;
    let database = environment.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Box::new(Environment { environment, database }))
}

impl Store for Environment {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        let transaction = self.environment.read_txn()?;
        let found = self.database.get(&transaction, id)?;
        value.clear();
        value.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        self.database.put(&mut transaction, id, value)?;
        Ok(transaction.commit()?)
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        let mut value = self.database.get(&transaction, id)?.unwrap_or_default().to_vec();
        change(&mut value);
        self.database.put(&mut transaction, id, &value)?;
        Ok(transaction.commit()?)
    }

    fn fill(&mut self, sessions: Range<u64>, len: &dyn Fn(u64) -> usize) -> Outcome<()> {
        let mut value = Vec::new();
        let mut transaction = self.environment.write_txn()?;
        for session in sessions {
            data::fill(&mut value, session, 0, len(session));
            self.database.put(&mut transaction, &data::id(session), &value)?;
        }
        Ok(transaction.commit()?)
    }
}
