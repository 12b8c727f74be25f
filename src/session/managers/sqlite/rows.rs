//! The statements, and sessions as rows of the table.
//!
//! A row may be anybody's: what is no session is an error of that row alone, and it can
//! still be replaced and removed.

use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::failure::{busy, unreadable};
use super::gate::Turn;
use super::names::{Names, quoted};
use super::options::{Journal, Safety};
use super::schema::CLOCK_COLUMNS;
use crate::container::Told;
use crate::format::TIME_MS_MAX;
use crate::format::record::OwnTimeouts;
use crate::json;
use crate::session::life::Life;
use crate::{Properties, Result, Session, Timeouts, Times, Version};

/// What all reading statements begin their rows with, and where the value is.
const LIFE: [&str; 7] = [
    "fieldId",
    "fieldVersion",
    "fieldCreated",
    "fieldTimestamp",
    "fieldDeadline",
    "fieldIdle",
    "fieldAbsolute",
];
const VALUE_PLACE: usize = LIFE.len();
const DEADLINE_PLACE: usize = 4;

/// All statements, for the names that were chosen.
#[derive(Debug)]
pub(super) struct Statements {
    life: String,
    find: String,
    put: String,
    move_deadline: String,
    remove: String,
    remove_same: String,
    /// The next one after an id, for a walk.
    pub(super) next: String,
    /// The next one whose deadline has passed, for a sweep.
    pub(super) next_due: String,
    count: String,
    told: String,
    tell: String,
    note_sync: String,
}

impl Statements {
    pub(super) fn new(names: &Names) -> Statements {
        let list = |columns: &[&str]| {
            let columns = columns.iter().map(|option| quoted(names.column(option)));
            columns.collect::<Vec<_>>().join(", ")
        };
        let table = format!("main.{}", quoted(&names.table));
        let clock = format!("main.{}", quoted(&names.clock()));
        let life = list(&LIFE);
        let value = quoted(names.column("fieldSession"));
        let [id, version, deadline] =
            ["fieldId", "fieldVersion", "fieldDeadline"].map(|option| quoted(names.column(option)));
        let anew = LIFE.iter().skip(1).chain(&["fieldSession"]).map(|option| {
            let column = quoted(names.column(option));
            format!("{column} = excluded.{column}")
        });
        let anew = anew.collect::<Vec<_>>().join(", ");
        let [one, seen, doubt, syncs] = CLOCK_COLUMNS;
        Statements {
            life: format!("SELECT {life} FROM {table} WHERE {id} = ?1"),
            find: format!("SELECT {life}, {value} FROM {table} WHERE {id} = ?1"),
            put: format!(
                "INSERT INTO {table} ({life}, {value}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                 ON CONFLICT ({id}) DO UPDATE SET {anew}"
            ),
            move_deadline: format!("UPDATE {table} SET {deadline} = ?2 WHERE {id} = ?1"),
            remove: format!("DELETE FROM {table} WHERE {id} = ?1"),
            remove_same: format!(
                "DELETE FROM {table} WHERE {id} = ?1 AND {version} = ?2 AND {deadline} = ?3"
            ),
            next: format!(
                "SELECT {life}, {value} FROM {table} WHERE {id} > ?1 ORDER BY {id} LIMIT 1"
            ),
            next_due: format!(
                "SELECT {life}, {value} FROM {table} WHERE {deadline} <= ?1 \
                 AND ({deadline}, {id}) > (?2, ?3) ORDER BY {deadline}, {id} LIMIT 1"
            ),
            count: format!("SELECT count(*) FROM {table}"),
            told: format!("SELECT {seen}, {doubt} FROM {clock} WHERE {one} = 1"),
            tell: format!(
                "INSERT INTO {clock} ({one}, {seen}, {doubt}, {syncs}) VALUES (1, ?1, ?2, 0) \
                 ON CONFLICT ({one}) DO UPDATE SET {seen} = excluded.{seen}, \
                 {doubt} = excluded.{doubt}"
            ),
            note_sync: format!(
                "INSERT INTO {clock} ({one}, {seen}, {doubt}, {syncs}) VALUES (1, 0, 0, 1) \
                 ON CONFLICT ({one}) DO UPDATE SET {syncs} = ({syncs} + 1) % 1000000"
            ),
        }
    }
}

/// A row that somebody walks or sweeps over.
#[derive(Debug)]
pub(super) struct Passed {
    /// What the next one comes after.
    pub(super) place: Place,
    /// Its id as it is kept, and the session; or that it is none.
    pub(super) session: Result<(String, Session<Value>)>,
}

/// A place in the order of a walk or a sweep. What stands there may be of any type.
#[derive(Debug)]
pub(super) struct Place {
    deadline: Cell,
    id: Cell,
}

impl Place {
    /// Before all.
    pub(super) fn first() -> Place {
        Place { deadline: Cell::Integer(i64::MIN), id: Cell::Text(String::new()) }
    }
}

/// A session that a sweep has shown, as it was then.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) kept_id: String,
    pub(super) version: Version,
    pub(super) deadline_ms: Option<u64>,
}

/// Changes are part of a transaction that was begun before.
impl Turn<'_> {
    /// Begins a transaction of which nobody else's changes are part.
    pub(super) fn begin(&self) -> Result<()> {
        self.connection()?.execute_batch("BEGIN IMMEDIATE").map_err(self.failed("write"))
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.connection()?.execute_batch("COMMIT").map_err(self.failed("write"))
    }

    /// The life of this id's session, whether it is over or not. It may be unreadable.
    pub(super) fn life(&self, all: &Statements, kept_id: &str) -> Result<Option<Result<Life>>> {
        let failed = self.failed("read");
        let mut statement = self.connection()?.prepare_cached(&all.life).map_err(&failed)?;
        statement.query_row([kept_id], |row| Ok(life_of(row))).optional().map_err(failed)
    }

    /// The session of this id, whether it is over or not.
    pub(super) fn find(&self, all: &Statements, kept_id: &str) -> Result<Option<Session<Value>>> {
        let failed = self.failed("read");
        let mut statement = self.connection()?.prepare_cached(&all.find).map_err(&failed)?;
        let found = statement.query_row([kept_id], |row| Ok(session_of(row))).optional();
        found.map_err(failed)?.transpose()
    }

    pub(super) fn put(
        &self,
        all: &Statements,
        kept_id: &str,
        text: &str,
        life: &Life,
    ) -> Result<()> {
        let Life { times, properties, version } = life;
        let own = properties.own_timeouts().map(Timeouts::to_record);
        let (idle, absolute) = (own.map(|own| own.idle_ms), own.map(|own| own.absolute_ms));
        self.change(
            &all.put,
            params![
                kept_id,
                version.to_string(),
                kept_ms(times.created_ms),
                kept_ms(times.saved_ms),
                kept_deadline(times.deadline_ms),
                idle.map(kept_ms),
                absolute.map(kept_ms),
                text
            ],
        )?;
        Ok(())
    }

    pub(super) fn move_deadline(&self, all: &Statements, kept_id: &str, life: &Life) -> Result<()> {
        let deadline = kept_deadline(life.times.deadline_ms);
        self.change(&all.move_deadline, params![kept_id, deadline])?;
        Ok(())
    }

    pub(super) fn remove(&self, all: &Statements, kept_id: &str) -> Result<()> {
        self.change(&all.remove, [kept_id])?;
        Ok(())
    }

    /// Removes a session if it still is as it was shown; how many went.
    pub(super) fn remove_same(&self, all: &Statements, shown: &Shown) -> Result<usize> {
        let Shown { kept_id, version, deadline_ms } = shown;
        let same = params![kept_id, version.to_string(), kept_deadline(*deadline_ms)];
        self.change(&all.remove_same, same)
    }

    /// The next session of a walk.
    pub(super) fn next(&self, all: &Statements, after: &Place) -> Result<Option<Passed>> {
        self.pass(&all.next, params![after.id])
    }

    /// The next session of a sweep.
    pub(super) fn next_due(
        &self,
        all: &Statements,
        now_ms: u64,
        after: &Place,
    ) -> Result<Option<Passed>> {
        self.pass(&all.next_due, params![kept_ms(now_ms), after.deadline, after.id])
    }

    fn pass(&self, sql: &str, arguments: impl rusqlite::Params) -> Result<Option<Passed>> {
        let failed = self.failed("read");
        let mut statement = self.connection()?.prepare_cached(sql).map_err(&failed)?;
        let passed = statement.query_row(arguments, |row| {
            let place = Place { deadline: row.get(DEADLINE_PLACE)?, id: row.get(0)? };
            let kept_id = text(row, 0).map(str::to_owned);
            let session = kept_id.and_then(|kept_id| Ok((kept_id, session_of(row)?)));
            Ok(Passed { place, session })
        });
        passed.optional().map_err(failed)
    }

    pub(super) fn count(&self, all: &Statements) -> Result<u64> {
        let failed = self.failed("read");
        let mut statement = self.connection()?.prepare_cached(&all.count).map_err(&failed)?;
        let count: i64 = statement.query_row([], |row| row.get(0)).map_err(failed)?;
        Ok(count.unsigned_abs())
    }

    /// What the clock has told before: nothing, where that cannot be read.
    pub(super) fn told(&self, all: &Statements) -> Result<Told> {
        let failed = self.failed("read");
        let mut statement = self.connection()?.prepare_cached(&all.told).map_err(&failed)?;
        let told = statement.query_row([], |row| {
            let ms = |place| optional_ms(row, place).ok().flatten().unwrap_or(0);
            Ok(Told { seen_ms: ms(0), doubt_ms: ms(1) })
        });
        Ok(told.optional().map_err(failed)?.unwrap_or_default())
    }

    pub(super) fn tell(&self, all: &Statements, told: Told) -> Result<()> {
        self.change(&all.tell, [kept_ms(told.seen_ms), kept_ms(told.doubt_ms)])?;
        Ok(())
    }

    fn change(&self, sql: &str, arguments: impl rusqlite::Params) -> Result<usize> {
        let failed = self.failed("write");
        let mut statement = self.connection()?.prepare_cached(sql).map_err(&failed)?;
        statement.execute(arguments).map_err(failed)
    }

    /// Gets everything that was saved before onto the disk, whoever saved it.
    pub(super) fn sync(&self, all: &Statements) -> Result<()> {
        let chosen = &self.gate.chosen;
        self.set_synchronous(chosen.journal.durable())?;
        let synced = self.sync_now(all);
        // It can only be set outside of a transaction.
        self.settle();
        if chosen.safety != Safety::Durable {
            self.set_synchronous(chosen.synchronous())?;
        }
        synced
    }

    /// SQLite syncs what it writes: so there has to be something, by which all that was
    /// written before gets onto the disk, too. What somebody who never syncs has moved out
    /// of the log is on the disk after a checkpoint of the whole log.
    fn sync_now(&self, all: &Statements) -> Result<()> {
        self.begin()?;
        self.change(&all.note_sync, [])?;
        self.commit()?;
        if self.gate.chosen.journal == Journal::Wal {
            let failed = self.failed("sync");
            let sql = "PRAGMA main.wal_checkpoint(FULL)";
            let held_up: i64 =
                self.connection()?.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
            if held_up != 0 {
                return Err(super::database::told(&self.gate.chosen, busy(self.waited())));
            }
        }
        Ok(())
    }

    fn set_synchronous(&self, value: &str) -> Result<()> {
        let failed = self.failed("sync");
        self.connection()?.pragma_update(None, "synchronous", value).map_err(failed)
    }
}

/// A time as the table has it.
fn kept_ms(ms: u64) -> i64 {
    ms.min(TIME_MS_MAX) as i64
}

fn kept_deadline(deadline_ms: Option<u64>) -> Option<i64> {
    deadline_ms.map(|ms| kept_ms(ms).max(1))
}

fn session_of(row: &Row<'_>) -> Result<Session<Value>> {
    let life = life_of(row)?;
    Ok(life.session(json::value_of(text(row, VALUE_PLACE)?.as_bytes())?))
}

fn life_of(row: &Row<'_>) -> Result<Life> {
    let version = text(row, 1)?.parse().map_err(|_| unreadable())?;
    let needed = |place| optional_ms(row, place)?.ok_or_else(unreadable);
    let times = Times {
        created_ms: needed(2)?,
        saved_ms: needed(3)?,
        deadline_ms: optional_ms(row, DEADLINE_PLACE)?,
    };
    let properties = match (optional_ms(row, 5)?, optional_ms(row, 6)?) {
        (None, None) => Properties::new(),
        (idle, absolute) => {
            let (idle_ms, absolute_ms) = (idle.unwrap_or(0), absolute.unwrap_or(0));
            let own = OwnTimeouts { idle_ms, absolute_ms };
            Properties::new().timeouts(Timeouts::from_record(own))
        }
    };
    Ok(Life { times, properties, version })
}

fn text<'a>(row: &'a Row<'_>, place: usize) -> Result<&'a str> {
    match row.get_ref(place) {
        Ok(ValueRef::Text(text)) => std::str::from_utf8(text).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

fn optional_ms(row: &Row<'_>, place: usize) -> Result<Option<u64>> {
    match row.get_ref(place) {
        Ok(ValueRef::Null) => Ok(None),
        Ok(ValueRef::Integer(ms)) => u64::try_from(ms).map(Some).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}
