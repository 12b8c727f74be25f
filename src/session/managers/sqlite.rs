//! The manager whose sessions are rows of a table in an SQLite file.
//!
//! It means by every operation what the others mean. Each change is one transaction that
//! reads, decides and writes with nobody else in between; whoever is shown a session by a
//! sweep or a walk is outside of any. What a sweep removes was shown before, and is still
//! the same.

mod database;
mod failure;
mod gate;
mod names;
mod options;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use serde_json::Value;

use super::super::life::Life;
use super::super::{Capabilities, Capability, SessionManager, Settings, Walked};
use crate::{
    Change, IdForm, Outcome, Properties, Result, Session, SweepEnd, Swept, Updated, Version,
};
use gate::{Gate, Turn};
use options::Chosen;
use rows::{Place, Shown, Statements};

/// Sessions that a sweep removes in one transaction.
const BATCH: usize = 100;

/// Keeps sessions in a table of an SQLite file. Needs the feature `sqlite`.
///
/// Options of `"sessionDriver": "sqlite"`, and of cson's `cpdo`:
///
/// | option | value |
/// |---|---|
/// | `file` | of `sqlite`: its name; needed |
/// | `dsn` | of `cpdo`: `sqlite3:` and the file's name; needed |
/// | `user`, `password` | of `cpdo`: not used |
/// | `table` | its name; `cloakroom_sessions`, or of `cpdo` `cson_session` |
/// | `fieldId` | column of the id; `id` |
/// | `fieldTimestamp` | column of the time when the session was saved; `last_saved` |
/// | `fieldSession` | column of its JSON; `json` |
/// | `fieldCreated`, `fieldDeadline` | columns of its other times; `created`, `deadline` |
/// | `fieldIdle`, `fieldAbsolute` | columns of timeouts of its own; `idle`, `absolute` |
/// | `fieldVersion` | column of its version; `version` |
/// | `create` | whether a file, table or index that is missing is made; `true` |
/// | `journal` | `"wal"` or `"delete"`; `"wal"` |
/// | `durability` | `"durable"`, `"system"` or `"never"`, see below; `"system"` |
/// | `busyTimeoutMs` | longest wait for another writer; 5000 |
/// | `ids` | `"sha256"` or `"plain"`; `"sha256"` |
/// | `idleMinutes`, `absoluteMinutes` | the ends of sessions; none, or the cookie's lifetime |
/// | `touchPercent` | share of the idle time below which a touch is written; 80 |
/// | `maxBytes` | longest value; 4 MiB |
///
/// With `"durable"` a save is on the disk when it returns; with `"system"` a power cut may undo
/// the last ones, and with `"never"` it may damage the database.
///
/// Times in the table are milliseconds since 1970 (UTC); a session without an end has no
/// deadline, one without timeouts of its own neither `idle` nor `absolute`, where 0 is none. A
/// table that is there needs all columns, of type TEXT (the id, the JSON, the version) or
/// INTEGER, and an id that is its primary key or UNIQUE. It may have others, if they may be
/// left out, and stand beside an application's own tables; the journal is the whole file's.
/// Beside it, a table with `_clock` behind its name notes what the clock has told. New files
/// have mode 0600.
///
/// Only [`sweep`](SessionManager::sweep) removes who has expired, and only a sweep notes the
/// time: after a pause of more than a day, the first one believes no clock, and one a
/// minute later does. A sweep passes over rows that are no sessions, and fails when it has
/// done the rest.
///
/// The closure of [`update`](SessionManager::update) may not use the manager
/// ([`ErrorKind::Reentered`](crate::ErrorKind::Reentered)). A panic in it changes nothing.
/// All threads of a process share one connection.
///
/// A child that was forked while no operation was under way opens the file anew with its first
/// operation, and closes what it inherited without touching the file. One that was forked in
/// the midst of an operation, of its own or of another thread, leaks what it inherited, and can
/// do nothing with it (`Reentered`): nothing can be opened beside it that would not share its
/// locks. The same holds of whatever else uses this file through the same SQLite: a process
/// that forks should have one manager for a file.
///
/// ```
/// use cloakroom::session::{self, Capability};
/// use serde_json::json;
///
/// # let dir = tempfile::tempdir()?;
/// # let dsn = format!("sqlite3:{}", dir.path().join("sessions.sqlite3").display());
/// let configuration = json!({ "session": { "manager": "here", "managers": {
///     "here": { "sessionDriver": "cpdo", "dsn": dsn, "table": "visitors" },
/// } } });
/// let sessions = session::open(&configuration)?.manager;
/// sessions.save("ticket-17", &json!(["a coat"]), None)?;
/// assert_eq!(sessions.load("ticket-17")?.map(|s| s.value), Some(json!(["a coat"])));
/// assert!(sessions.capabilities().has(Capability::Kills));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteManager {
    gate: Gate,
    statements: Statements,
}

/// The driver `sqlite`.
pub(super) fn open(settings: Settings<'_>) -> Result<Box<dyn SessionManager>> {
    Ok(Box::new(SqliteManager::open(settings)?))
}

/// The driver `cpdo`, whose dsn has named this file. Nothing of the dsn gets into an error.
pub(super) fn open_dsn(mut settings: Settings<'_>, file: &str) -> Result<Box<dyn SessionManager>> {
    settings.text("user")?;
    settings.text("password")?;
    let chosen = Chosen::read(&mut settings, file, "cson_session")?;
    settings.finish()?;
    Ok(Box::new(SqliteManager::with(chosen)?))
}

impl SqliteManager {
    /// A manager with these options, which are those of the driver `sqlite`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for an option that is not
    /// understood, and for a table that is not as the options say; `Io` for a file that is no
    /// database. Then nothing was changed.
    ///
    /// ```
    /// use cloakroom::session::{SessionManager, Settings, SqliteManager};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("sessions.sqlite3");
    /// let options = serde_json::json!({ "file": file, "journal": "delete" });
    /// let settings = Settings::new("mine", options.as_object().unwrap());
    /// let manager = SqliteManager::open(settings)?;
    /// assert_eq!(manager.len()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(mut settings: Settings<'_>) -> Result<SqliteManager> {
        let file = settings.required_text("file")?;
        let chosen = Chosen::read(&mut settings, file, "cloakroom_sessions")?;
        settings.finish()?;
        SqliteManager::with(Chosen { told_path: Some(file.into()), ..chosen })
    }

    fn with(chosen: Chosen) -> Result<SqliteManager> {
        let statements = Statements::new(&chosen.names);
        Ok(SqliteManager { gate: Gate::new(chosen)?, statements })
    }

    fn now_ms(&self) -> u64 {
        (self.gate.chosen.customs.clock)()
    }

    /// A turn with a transaction, which ends with its `commit`, or is undone.
    fn changing(&self) -> Result<Turn<'_>> {
        let turn = self.gate.enter()?;
        turn.begin()?;
        Ok(turn)
    }

    /// Saves a session where `condition` holds of the one that lives, and ends the turn.
    fn save_where(
        &self,
        id: &str,
        value: &Value,
        properties: Option<&Properties>,
        condition: impl FnOnce(Option<&Life>) -> bool,
    ) -> Result<Outcome> {
        let customs = &self.gate.chosen.customs;
        let (kept_id, text) = (customs.kept(id)?, customs.text(value)?);
        let turn = self.changing()?;
        let now_ms = self.now_ms();
        let life = turn.life(&self.statements, &kept_id)?.transpose()?;
        let living = life.filter(|life| !life.is_over(now_ms));
        if !condition(living.as_ref()) {
            return Ok(Outcome::Conflict);
        }
        let life = customs.saved(living.as_ref(), properties, now_ms)?;
        turn.put(&self.statements, &kept_id, &text, &life)?;
        turn.commit()?;
        Ok(Outcome::Saved(life.version))
    }

    fn touched(&self, turn: &Turn<'_>, kept_id: &str) -> Result<Touched> {
        let life = turn.life(&self.statements, kept_id)?.transpose()?;
        let now_ms = self.now_ms();
        let Some(life) = life.filter(|life| !life.is_over(now_ms)) else {
            return Ok(Touched::Gone);
        };
        let next = self.gate.chosen.customs.touched(&life, now_ms);
        Ok(next.map_or(Touched::Early, Touched::Due))
    }

    /// Whether the clock is believed, which is noted.
    fn believes(&self, now_ms: u64) -> Result<bool> {
        let turn = self.changing()?;
        let before = turn.told(&self.statements)?;
        let (believed, told) = before.hears(now_ms);
        if told != before {
            turn.tell(&self.statements, told)?;
            turn.commit()?;
        }
        Ok(believed)
    }

    /// Removes those who are still as they were shown; how many went.
    fn remove_shown(&self, shown: &mut Vec<Shown>) -> Result<u64> {
        if shown.is_empty() {
            return Ok(0);
        }
        let turn = self.changing()?;
        let mut removed = 0;
        for one in shown.drain(..) {
            removed += turn.remove_same(&self.statements, &one)?;
        }
        turn.commit()?;
        Ok(removed as u64)
    }

    /// The sweep of a clock that is believed. The first row that is no session comes along.
    fn sweep_at(
        &self,
        now_ms: u64,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<(Swept, Option<crate::Error>)> {
        let (mut removed, mut shown) = (0, Vec::new());
        let (mut place, mut unreadable) = (Place::first(), None);
        let end = loop {
            let due = self.gate.enter()?.next_due(&self.statements, now_ms, &place)?;
            let enough = shown.len() == BATCH || removed + shown.len() as u64 == limit;
            if due.is_none() || enough {
                removed += self.remove_shown(&mut shown)?;
            }
            let Some(due) = due else { break SweepEnd::Done };
            if removed == limit {
                break SweepEnd::Limit;
            }
            place = due.place;
            let (kept_id, session) = match due.session {
                Ok(session) => session,
                Err(error) => {
                    // It stays, so that nothing goes that nobody has seen.
                    unreadable.get_or_insert(error);
                    continue;
                }
            };
            let (version, deadline_ms) = (session.version, session.times.deadline_ms);
            if on_expired(&kept_id, session).is_break() {
                removed += self.remove_shown(&mut shown)?;
                break SweepEnd::Broken;
            }
            shown.push(Shown { kept_id, version, deadline_ms });
        };
        Ok((Swept { removed, end }, unreadable))
    }
}

impl SessionManager for SqliteManager {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&[
            Capability::Processes,
            Capability::Kills,
            Capability::PowerCuts,
            Capability::CheapSweep,
        ])
    }

    fn load(&self, id: &str) -> Result<Option<Session<Value>>> {
        self.load_kept(&self.gate.chosen.customs.kept(id)?)
    }

    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version> {
        let customs = &self.gate.chosen.customs;
        let (kept_id, text) = (customs.kept(id)?, customs.text(value)?);
        let turn = self.changing()?;
        let now_ms = self.now_ms();
        // A row that is no session is replaced.
        let life = turn.life(&self.statements, &kept_id)?.and_then(Result::ok);
        let living = life.filter(|life| !life.is_over(now_ms));
        let life = customs.saved(living.as_ref(), properties, now_ms)?;
        turn.put(&self.statements, &kept_id, &text, &life)?;
        turn.commit()?;
        Ok(life.version)
    }

    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome> {
        self.save_where(id, value, properties, |living| living.is_none())
    }

    fn replace(&self, id: &str, value: &Value) -> Result<Outcome> {
        self.save_where(id, value, None, |living| living.is_some())
    }

    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome> {
        let same = |life: &Life| life.version == version;
        self.save_where(id, value, None, |living| living.is_some_and(same))
    }

    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated> {
        let customs = &self.gate.chosen.customs;
        let kept_id = customs.kept(id)?;
        let turn = self.changing()?;
        let now_ms = self.now_ms();
        let found = turn.find(&self.statements, &kept_id)?;
        let (life, value) = match found {
            Some(Session { value, version, times, properties }) => {
                (Some(Life { times, properties, version }), Some(value))
            }
            None => (None, None),
        };
        let living = life.filter(|life| !life.is_over(now_ms));
        let session = living.clone().zip(value).map(|(life, value)| life.session(value));
        let changed = change(session);
        // A child that was forked in there has no part in it.
        turn.connection()?;
        let updated = match changed {
            Change::Keep => return Ok(Updated::Kept),
            Change::Remove => {
                turn.remove(&self.statements, &kept_id)?;
                Updated::Removed
            }
            Change::Save(value) => {
                let text = customs.text(&value)?;
                let life = customs.saved(living.as_ref(), None, now_ms)?;
                turn.put(&self.statements, &kept_id, &text, &life)?;
                Updated::Saved(life.version)
            }
        };
        turn.commit()?;
        Ok(updated)
    }

    fn remove(&self, id: &str) -> Result<bool> {
        let kept_id = self.gate.chosen.customs.kept(id)?;
        let turn = self.changing()?;
        let Some(life) = turn.life(&self.statements, &kept_id)? else { return Ok(false) };
        turn.remove(&self.statements, &kept_id)?;
        turn.commit()?;
        Ok(life.is_ok_and(|life| !life.is_over(self.now_ms())))
    }

    fn touch(&self, id: &str) -> Result<bool> {
        let kept_id = self.gate.chosen.customs.kept(id)?;
        let turn = self.gate.enter()?;
        // Most touches are not due, and need not wait for a writer.
        match self.touched(&turn, &kept_id)? {
            Touched::Gone => return Ok(false),
            Touched::Early => return Ok(true),
            Touched::Due(_) => turn.begin()?,
        }
        // Somebody else may have come first.
        match self.touched(&turn, &kept_id)? {
            Touched::Gone => Ok(false),
            Touched::Early => Ok(true),
            Touched::Due(life) => {
                turn.move_deadline(&self.statements, &kept_id, &life)?;
                turn.commit()?;
                Ok(!life.is_over(self.now_ms()))
            }
        }
    }

    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        let now_ms = self.now_ms();
        if !self.believes(now_ms)? {
            return Ok(Swept { removed: 0, end: SweepEnd::ClockInDoubt });
        }
        let (swept, unreadable) = self.sweep_at(now_ms, limit, on_expired)?;
        unreadable.map_or(Ok(swept), Err)
    }

    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()> {
        let mut place = Place::first();
        loop {
            let passed = self.gate.enter()?.next(&self.statements, &place)?;
            let Some(passed) = passed else { return Ok(()) };
            place = passed.place;
            let now_ms = self.now_ms();
            let end_ms = |walked: &(String, Session<Value>)| walked.1.times.deadline_ms;
            if passed.session.as_ref().ok().and_then(end_ms).is_some_and(|end| end <= now_ms) {
                continue;
            }
            if visit(passed.session).is_break() {
                return Ok(());
            }
        }
    }

    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()> {
        let customs = &self.gate.chosen.customs;
        let (kept_id, text) = (customs.valid_kept(kept_id)?, customs.text(&session.value)?);
        let life = Life::restored(session)?;
        let turn = self.changing()?;
        turn.put(&self.statements, kept_id, &text, &life)?;
        turn.commit()
    }

    fn kept_id(&self, id: &str) -> Result<String> {
        self.gate.chosen.customs.kept(id)
    }

    fn id_form(&self) -> IdForm {
        self.gate.chosen.customs.ids
    }

    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>> {
        let kept_id = self.gate.chosen.customs.valid_kept(kept_id)?;
        let found = self.gate.enter()?.find(&self.statements, kept_id)?;
        let now_ms = self.now_ms();
        let living = found.filter(|s| s.times.deadline_ms.is_none_or(|end_ms| end_ms > now_ms));
        Ok(self.gate.chosen.customs.found(living))
    }

    fn misses(&self) -> u64 {
        self.gate.chosen.customs.misses()
    }

    fn len(&self) -> Result<u64> {
        self.gate.enter()?.count(&self.statements)
    }

    fn sync(&self) -> Result<()> {
        self.gate.enter()?.sync(&self.statements)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.gate.close()
    }
}

/// What a touch finds.
enum Touched {
    Gone,
    /// It lives, and the touch need not be written.
    Early,
    /// Its next life.
    Due(Life),
}
