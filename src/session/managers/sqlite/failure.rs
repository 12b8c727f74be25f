//! SQLite's errors as this crate's.
//!
//! Only the number of an error is kept: SQLite's messages may quote statements, names and
//! the file.

use std::io;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::{Awaited, Error, ErrorKind};

/// The error of somebody who has waited so long.
pub(super) fn busy(waited: Duration) -> Error {
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    ErrorKind::Busy { awaited: Awaited::Lock, holder: None, waited_ms }.into()
}

/// A row that no session has made.
pub(super) fn unreadable() -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidData, "a row of the table is no session");
    Error::io("read", source)
}

/// What SQLite said after `waited`.
pub(super) fn of(action: &'static str, error: &rusqlite::Error, waited: Duration) -> Error {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // These are about types of columns and forms of statements.
        let source = io::Error::other("SQLite gave an answer that was not expected");
        return Error::io(action, source);
    };
    let told =
        |kind: io::ErrorKind, what: &'static str| Error::io(action, io::Error::new(kind, what));
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => busy(waited),
        ErrorCode::DiskFull => {
            ErrorKind::Full(io::Error::new(io::ErrorKind::StorageFull, *failure)).into()
        }
        ErrorCode::NotADatabase => {
            told(io::ErrorKind::InvalidData, "the file is no SQLite database")
        }
        ErrorCode::DatabaseCorrupt => {
            told(io::ErrorKind::InvalidData, "the SQLite database is damaged; restore a backup")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            told(io::ErrorKind::PermissionDenied, "the database may only be read here")
        }
        _ => Error::io(action, io::Error::other(*failure)),
    }
}

/// Whether somebody else held a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
