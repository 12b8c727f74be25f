//! Opening the database: its file, what SQLite is told of it, and its tables.
//!
//! A file that is no database of sessions is left as it was found.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::failure;
use super::options::{Chosen, Missing};
use super::schema::{self, Refusal};
use crate::{Error, ErrorKind, Result};

const OPEN: &str = "open the database";
/// Longest row that is read or written, in bytes: the longest value, and the rest.
const ROW_LEN_MAX: i32 = (4 << 20) + (64 << 10);
/// Between two attempts to change the journal, for which SQLite itself does not wait.
const PAUSE: Duration = Duration::from_millis(5);
/// Statements that are kept prepared.
const STATEMENTS_MAX: usize = 32;

/// Opens the database, and makes what is missing where it was told so.
pub(super) fn make(chosen: &Chosen, began: Instant) -> Result<Connection> {
    if chosen.missing == Missing::IsMade {
        make_file(chosen).map_err(|error| told(chosen, Error::io(OPEN, error)))?;
    }
    connect(chosen, chosen.missing, began)
}

/// Opens the database that was there already.
pub(super) fn open(chosen: &Chosen, began: Instant) -> Result<Connection> {
    connect(chosen, Missing::IsAnError, began)
}

/// The error with the file's name, where that may be told.
pub(super) fn told(chosen: &Chosen, error: Error) -> Error {
    error.at(chosen.told_path.as_deref())
}

/// An empty file is an empty database. SQLite gives its journals the same mode.
fn make_file(chosen: &Chosen) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&chosen.path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) => drop(file),
    }
    match chosen.path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn connect(chosen: &Chosen, missing: Missing, began: Instant) -> Result<Connection> {
    let about = |error: Error| told(chosen, error);
    let file = fs::metadata(&chosen.path).map_err(|error| about(Error::io(OPEN, error)))?;
    if !file.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file");
        return Err(about(Error::io(OPEN, source)));
    }
    let failed = |error: rusqlite::Error| about(failure::of(OPEN, &error, began.elapsed()));
    let connection = prepared(chosen).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "it may only be read");
        return Err(about(Error::io(OPEN, source)));
    }
    let now_ms = (chosen.customs.clock)();
    schema::ensure(&connection, &chosen.names, missing, now_ms).map_err(|why| match why {
        Refusal::Sqlite(error) => failed(error),
        Refusal::Unfit(why) => {
            let message = format!("manager \"{}\": {why}", chosen.manager);
            about(ErrorKind::Configuration(message).into())
        }
    })?;
    set_journal(&connection, chosen, began).map_err(failed)?;
    if journal(&connection).map_err(failed)? != chosen.journal.name() {
        let source = io::Error::new(
            io::ErrorKind::Unsupported,
            "this database cannot have the journal that option \"journal\" names",
        );
        return Err(about(Error::io(OPEN, source)));
    }
    connection.pragma_update(None, "synchronous", chosen.synchronous()).map_err(failed)?;
    Ok(connection)
}

/// A connection that has not looked at the file yet.
fn prepared(chosen: &Chosen) -> rusqlite::Result<Connection> {
    // No address instead of a file, and no mutex: one thread at a time has the connection.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(&chosen.path, flags)?;
    connection.busy_timeout(chosen.patience)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, ROW_LEN_MAX)?;
    // The file may be anybody's.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // So that a forked child may close what it inherited: see `gate`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn journal(connection: &Connection) -> rusqlite::Result<String> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok(mode.to_ascii_lowercase())
}

/// Others may be using the file, or doing the same.
fn set_journal(connection: &Connection, chosen: &Chosen, began: Instant) -> rusqlite::Result<()> {
    loop {
        let wanted = chosen.journal.name();
        let set = journal(connection).and_then(|mode| {
            if mode == wanted {
                return Ok(());
            }
            connection.pragma_update_and_check(None, "journal_mode", wanted, |_| Ok(()))
        });
        match set {
            Err(error) if failure::is_busy(&error) && began.elapsed() < chosen.patience => {
                thread::sleep(PAUSE);
            }
            set => return set,
        }
    }
}
