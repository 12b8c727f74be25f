//! redb: `Durability::None` (fast) or `Immediate` (durable). One process at a time may
//! have the file open.

use std::ops::Range;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::data;
use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};

pub(crate) const PEER: Peer = Peer {
    name: "redb",
    fast: "Durability::None: a kill takes everything since the last durable commit; one process",
    durable: Some("Durability::Immediate"),
    processes: Processes::One,
    version: || Some("4.5".to_owned()),
    open,
    serve: None,
};

const SESSIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("sessions");

struct File {
    database: Database,
    durability: Durability,
}

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    let durability = match mode {
        Mode::Fast | Mode::Lasting => Durability::None,
        Mode::Durable => Durability::Immediate,
    };
    let database = Database::create(place.file("redb"))?;
    Ok(Box::new(File { database, durability }))
}

impl Store for File {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        let table = self.database.begin_read()?.open_table(SESSIONS)?;
        let found = table.get(id)?;
        value.clear();
        value.extend_from_slice(found.as_ref().map(|found| found.value()).unwrap_or_default());
        Ok(found.is_some())
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        transaction.open_table(SESSIONS)?.insert(id, value)?;
        Ok(transaction.commit()?)
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(SESSIONS)?;
            let found = table.get(id)?.map(|found| found.value().to_vec());
            let mut value = found.unwrap_or_default();
            change(&mut value);
            table.insert(id, value.as_slice())?;
        }
        Ok(transaction.commit()?)
    }

    fn fill(&mut self, sessions: Range<u64>, len: &dyn Fn(u64) -> usize) -> Outcome<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(SESSIONS)?;
            let mut value = Vec::new();
            for session in sessions {
                data::fill(&mut value, session, 0, len(session));
                table.insert(data::id(session).as_slice(), value.as_slice())?;
            }
        }
        // Durable, or the next process would find nothing.
        Ok(transaction.commit()?)
    }
}
