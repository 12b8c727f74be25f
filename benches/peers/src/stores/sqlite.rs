//! SQLite with a write-ahead log: no sync at a commit (fast) or one (durable). A table
//! of ids and values without a rowid column of its own being used.

use std::ops::Range;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::data;
use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};

pub(crate) const PEER: Peer = Peer {
    name: "sqlite",
    fast: "WAL, synchronous=NORMAL: a power cut takes what is only in the log; two files beside",
    durable: Some("WAL, synchronous=FULL"),
    processes: Processes::Many,
    version: || Some(rusqlite::version().to_owned()),
    open,
    serve: None,
};

const SAVE: &str = "INSERT INTO sessions (id, value) VALUES (?1, ?2) \
    ON CONFLICT (id) DO UPDATE SET value = excluded.value";
const LOAD: &str = "SELECT value FROM sessions WHERE id = ?1";

struct Table(Connection);

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    let connection = Connection::open(place.file("sqlite"))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match mode {
        Mode::Fast | Mode::Lasting => "NORMAL",
        Mode::Durable => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "mmap_size", 2_i64 << 30)?;
    connection.execute(
        "CREATE TABLE IF NOT EXISTS sessions (id BLOB PRIMARY KEY, value BLOB NOT NULL)",
        [],
    )?;
    Ok(Box::new(Table(connection)))
}

impl Store for Table {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        let mut statement = self.0.prepare_cached(LOAD)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        value.clear();
        value.extend_from_slice(row.get_ref(0)?.as_blob()?);
        Ok(true)
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.prepare_cached(SAVE)?.execute((id, value))?;
        Ok(())
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<Vec<u8>> =
            transaction.prepare_cached(LOAD)?.query_row([id], |row| row.get(0)).optional()?;
        let mut value = found.unwrap_or_default();
        change(&mut value);
        transaction.prepare_cached(SAVE)?.execute((id, &value))?;
        Ok(transaction.commit()?)
    }

    fn fill(&mut self, sessions: Range<u64>, len: &dyn Fn(u64) -> usize) -> Outcome<()> {
        let transaction = self.0.transaction()?;
        let mut value = Vec::new();
        for session in sessions {
            data::fill(&mut value, session, 0, len(session));
            transaction.prepare_cached(SAVE)?.execute((data::id(session), &value))?;
        }
        Ok(transaction.commit()?)
    }
}
