//! Who uses the connection: one thread at a time, and only of the process that opened it.
//!
//! SQLite forbids to carry a connection over a fork, and nothing can be opened beside an
//! inherited one either: SQLite finds the file in its list, believes that this process holds
//! the locks that its parent has, and takes none; the files are then cut short under it. So
//! a child closes what it inherits before it opens anew, which is safe while no operation is
//! under way and the connection is told to do nothing with the file when it is closed. What
//! was inherited in the midst of an operation is neither used nor closed nor opened anew:
//! it is leaked, and everything the child asks for is `Reentered`.

use std::mem;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::options::Chosen;
use super::{database, failure};
use crate::{ErrorKind, Result};

/// Between two looks at what is held for a moment only.
const MOMENT: Duration = Duration::from_micros(50);

/// The connection, and whose turn it is.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) chosen: Chosen,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    holder: Option<Holder>,
    /// Not there while somebody has it.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    pid: u32,
    thread: ThreadId,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    pid: u32,
}

impl Open {
    /// Closes it; in the process that opened it with all that SQLite then does.
    fn close(self) -> rusqlite::Result<()> {
        if self.pid == process::id() {
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        }
        self.connection.close().map_err(|(_, error)| error)
    }
}

impl Gate {
    /// Opens the database.
    pub(super) fn new(chosen: Chosen) -> Result<Gate> {
        let connection = database::make(&chosen, Instant::now())?;
        let open = Some(Open { connection, pid: process::id() });
        Ok(Gate { chosen, state: Mutex::new(State { holder: None, open }), freed: Condvar::new() })
    }

    /// Waits for one's turn.
    pub(super) fn enter(&self) -> Result<Turn<'_>> {
        let began = Instant::now();
        let me = Holder { pid: process::id(), thread: thread::current().id() };
        let mut state = self.state(began)?;
        while let Some(holder) = state.holder {
            if holder.pid != me.pid || holder.thread == me.thread {
                return Err(database::told(&self.chosen, ErrorKind::Reentered.into()));
            }
            let rest = self.rest(began)?;
            let woken = self.freed.wait_timeout(state, rest);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.holder = Some(me);
        let kept = state.open.take();
        drop(state);
        let mut turn = Turn { gate: self, connection: None, pid: me.pid, began };
        let connection = match kept {
            Some(open) if open.pid == me.pid => open.connection,
            inherited => {
                if let Some(open) = inherited {
                    open.close().map_err(|error| turn.failed("close what was inherited")(error))?;
                }
                database::open(&self.chosen, began)?
            }
        };
        let rest = self.chosen.patience.saturating_sub(began.elapsed());
        connection.busy_timeout(rest).map_err(turn.failed("wait"))?;
        turn.connection = Some(connection);
        Ok(turn)
    }

    /// The state. It is held for moments only, but in a child it may be held for ever, by a
    /// thread that only the parent has.
    fn state(&self, began: Instant) -> Result<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Ok(state),
                Err(TryLockError::Poisoned(state)) => return Ok(state.into_inner()),
                Err(TryLockError::WouldBlock) => thread::sleep(self.rest(began)?.min(MOMENT)),
            }
        }
    }

    /// What is left of the patience.
    fn rest(&self, began: Instant) -> Result<Duration> {
        let waited = began.elapsed();
        let rest = self.chosen.patience.checked_sub(waited).filter(|rest| !rest.is_zero());
        rest.ok_or_else(|| database::told(&self.chosen, failure::busy(waited)))
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) -> Result<()> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = state.open.take() else { return Ok(()) };
        let failed = |error| failure::of("close the database", &error, Duration::ZERO);
        open.close().map_err(|error| database::told(&self.chosen, failed(error)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _ = self.close();
    }
}

/// One's turn at the connection. What is not committed at its end is undone.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) gate: &'a Gate,
    connection: Option<Connection>,
    pid: u32,
    began: Instant,
}

impl Turn<'_> {
    /// The connection. Fails in a child that was forked meanwhile.
    pub(super) fn connection(&self) -> Result<&Connection> {
        match &self.connection {
            Some(connection) if self.pid == process::id() => Ok(connection),
            _ => Err(database::told(&self.gate.chosen, ErrorKind::Reentered.into())),
        }
    }

    /// How long this has taken.
    pub(super) fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// Makes an error of what SQLite said.
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> crate::Error {
        move |error| {
            let failure = failure::of(action, &error, self.waited());
            database::told(&self.gate.chosen, failure)
        }
    }

    /// Undoes a transaction that was not ended. Whether none is left.
    pub(super) fn settle(&self) -> bool {
        match &self.connection {
            Some(connection) if !connection.is_autocommit() => {
                connection.execute_batch("ROLLBACK").is_ok()
            }
            _ => true,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let pid = process::id();
        if self.pid != pid {
            mem::forget(self.connection.take());
            return;
        }
        let settled = self.settle();
        let mut state = self.gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        // What could not be undone is closed, and opened anew by whoever comes next.
        let kept = self.connection.take().filter(|_| settled);
        state.open = kept.map(|connection| Open { connection, pid });
        state.holder = None;
        drop(state);
        self.gate.freed.notify_one();
    }
}
