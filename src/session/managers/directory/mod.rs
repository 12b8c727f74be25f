//! The manager whose sessions are files of a directory, one for each.
//!
//! Loads take no lock: a file is put in place of another as a whole. Everything that
//! changes a session does so under that session's lock, between processes and threads
//! alike. Files that are not this manager's are neither changed nor removed, but for one
//! that stands exactly where a session is saved.

mod envelope;
mod folder;
mod locks;
mod names;
mod sweep;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::life::{Customs, Life};
use super::super::{Capabilities, Capability, SessionGuard, SessionManager, Settings, Walked};
use crate::{
    Change, Error, ErrorKind, IdForm, Outcome, Properties, Result, Session, Swept, Updated, Version,
};
use envelope::Kept;
use folder::{Folder, Missing};
use locks::{Held, Locks};
use names::Names;

const PREFIX: &str = "session-";
const SUFFIX: &str = ".json";
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
const LOCK_DEADLINE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Keeps sessions in a directory, each in a JSON file of its own.
///
/// Options of `"sessionDriver": "directory"` (or `file`):
///
/// | option | value |
/// |---|---|
/// | `dir` | its name; needed |
/// | `create` | whether one that is missing is made, with mode 0700; `true` |
/// | `prefix`, `suffix` | what stands around the id in a file's name; `"session-"`, `".json"` |
/// | `durability` | `"durable"` or `"system"`, see below; `"system"` |
/// | `ids` | `"sha256"` or `"plain"`; `"sha256"` |
/// | `idleMinutes`, `absoluteMinutes` | the ends of sessions; none, or the cookie's lifetime |
/// | `touchPercent` | share of the idle time below which a touch is written; 80 |
/// | `maxBytes` | longest value; 4 MiB |
/// | `lockDeadlineMs` | longest wait for another who changes the same session; 5000 |
///
/// A save writes a new file, with mode 0600, waits until its data is on the disk, and renames it
/// over the old one: there is a whole session under the name at every moment. A `"durable"` one
/// then waits for the name, too; else a power cut may take the latest saves and removals, and
/// tears none. A touch that is due writes the whole file, and so costs what a save costs. A sweep
/// and [`len`](SessionManager::len) list the directory. Where sessions need not outlive the system,
/// a directory in memory (tmpfs) makes all of that cheap; but Linux before 6.6 may leave out of a
/// walk there who is saved while the names are listed.
///
/// With `"ids": "plain"`, an id whose file's name would be longer than 255 bytes is
/// [`InvalidId`](ErrorKind::InvalidId). Names that begin with a dot are the manager's own:
/// `.cloakroom-lock`, which has to stay while anybody uses the directory, and files that are
/// just being written; a sweep removes those that were left behind an hour ago. A file with a
/// session's name that is none is [`Damaged`](ErrorKind::Damaged): whoever loads that id is told
/// so, a walk shows it as an error, a sweep leaves it, and `save`, `restore` and `remove` put an
/// end to it. It cannot be used on a network file system ([`ReadOnly`](ErrorKind::ReadOnly)).
///
/// ```
/// use cloakroom::session::{DirectoryManager, SessionManager};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("SESSIONS");
/// let manager = DirectoryManager::open(&path)?;
/// manager.save("abc", &serde_json::json!(["a coat"]), None)?;
/// let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// assert!(path.join(format!("session-{digits}.json")).is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DirectoryManager {
    customs: Customs,
    names: Names,
    folder: Folder,
    locks: Locks,
    safety: Safety,
}

/// What a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    Durable,
    System,
}

pub(super) fn open(mut settings: Settings<'_>) -> Result<Box<dyn SessionManager>> {
    let dir = settings.required_text("dir")?;
    let prefix = settings.text("prefix")?.unwrap_or(PREFIX);
    let suffix = settings.text("suffix")?.unwrap_or(SUFFIX);
    let missing = match settings.switch("create")? {
        Some(false) => Missing::Refused,
        _ => Missing::Made,
    };
    let safeties = [("durable", Safety::Durable), ("system", Safety::System)];
    let safety = settings.choice("durability", &safeties)?.unwrap_or(Safety::System);
    let deadline = settings.number("lockDeadlineMs", 0..=LOCK_DEADLINE_MS_MAX)?;
    let deadline = deadline.map_or(LOCK_DEADLINE, Duration::from_millis);
    let customs = Customs::read(&mut settings)?;
    let names = Names::new(prefix, suffix, customs.ids)
        .map_err(|(option, what)| settings.wrong(option, what))?;
    settings.finish()?;
    let manager = DirectoryManager::with(Path::new(dir), missing, customs, names, deadline)?;
    Ok(Box::new(DirectoryManager { safety, ..manager }))
}

impl DirectoryManager {
    /// A manager of the sessions in this directory, which is made if it is missing, with all
    /// options as they are when none is given.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the directory is none, or cannot be made or written to.
    ///
    /// ```
    /// # use cloakroom::session::DirectoryManager;
    /// # let dir = tempfile::tempdir()?;
    /// assert!(DirectoryManager::open(dir.path().join("SESSIONS")).is_ok());
    /// assert!(DirectoryManager::open(dir.path().join("not/there")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<DirectoryManager> {
        let customs = Customs::new();
        let names = Names::new(PREFIX, SUFFIX, customs.ids)
            .map_err(|(_, what)| ErrorKind::Configuration(what.to_owned()))?;
        DirectoryManager::with(dir.as_ref(), Missing::Made, customs, names, LOCK_DEADLINE)
    }

    fn with(
        dir: &Path,
        missing: Missing,
        customs: Customs,
        names: Names,
        deadline: Duration,
    ) -> Result<DirectoryManager> {
        let opened = Folder::open(dir, missing).and_then(|folder| {
            let locks = Locks::open(folder.path(), deadline, (customs.clock)())?;
            Ok((folder, locks))
        });
        let (folder, locks) = opened.map_err(|error| error.at(Some(dir)))?;
        Ok(DirectoryManager { customs, names, folder, locks, safety: Safety::System })
    }

    fn file_name(&self, id: &str) -> Result<String> {
        self.names.name_of(&self.customs.kept(id)?)
    }

    /// The error with the directory's name, or the file's where that tells nobody's id.
    fn placed(&self, error: Error, name: &str) -> Error {
        let folder = self.folder.path();
        match self.names.may_be_told() {
            true => error.at(Some(&folder.join(name))),
            false => error.at(Some(folder)),
        }
    }

    /// Reads the session in the file of this name, expired or not.
    fn read(&self, name: &str) -> Result<Option<Kept>> {
        self.folder.read(name).map_err(|error| self.placed(error, name))
    }

    fn living(&self, kept: Option<Kept>) -> Option<Kept> {
        kept.filter(|kept| !kept.life.is_over((self.customs.clock)()))
    }

    fn session(&self, name: &str, kept: Option<Kept>) -> Result<Option<Session<Value>>> {
        let session = kept.map(Kept::session).transpose();
        session.map_err(|error| self.placed(error, name))
    }

    fn load_from(&self, name: &str) -> Result<Option<Session<Value>>> {
        let session = self.session(name, self.living(self.read(name)?))?;
        Ok(self.customs.found(session))
    }

    /// Does something with nobody else changing the session in the file of this name.
    fn locked<T>(&self, name: &str, act: impl FnOnce(&Held) -> Result<T>) -> Result<T> {
        let done = self.locks.change(name).and_then(|held| act(&held));
        done.map_err(|error| self.placed(error, name))
    }

    fn write(&self, held: &Held, name: &str, kept: &Kept) -> Result<()> {
        self.folder.write(name, kept)?;
        held.note((self.customs.clock)());
        self.settle(held)
    }

    /// Removes what has the name, if anything has.
    fn remove_file(&self, held: &Held, name: &str) -> Result<()> {
        if self.folder.remove(name)? { self.settle(held) } else { Ok(()) }
    }

    fn settle(&self, held: &Held) -> Result<()> {
        match self.safety {
            Safety::Durable => held.sync_names(),
            Safety::System => Ok(()),
        }
    }

    fn put(
        &self,
        held: &Held,
        name: &str,
        living: Option<&Life>,
        text: String,
        properties: Option<&Properties>,
    ) -> Result<Version> {
        let life = self.customs.saved(living, properties, (self.customs.clock)())?;
        let version = life.version;
        self.write(held, name, &Kept { life, text })?;
        Ok(version)
    }

    /// Saves a session where `condition` holds of the one that lives.
    fn save_where(
        &self,
        id: &str,
        value: &Value,
        properties: Option<&Properties>,
        condition: impl FnOnce(Option<&Life>) -> bool,
    ) -> Result<Outcome> {
        let (name, text) = (self.file_name(id)?, self.customs.text(value)?);
        self.locked(&name, |held| {
            let living = self.living(self.read(&name)?).map(|kept| kept.life);
            if !condition(living.as_ref()) {
                return Ok(Outcome::Conflict);
            }
            self.put(held, &name, living.as_ref(), text, properties).map(Outcome::Saved)
        })
    }

    /// The life of a session that is touched now, if it lives and a touch is due.
    fn touch_of(&self, life: &Life) -> Touch {
        let now_ms = (self.customs.clock)();
        match self.customs.touched(life, now_ms) {
            _ if life.is_over(now_ms) => Touch::Over,
            None => Touch::NotDue,
            Some(next) => Touch::Due(next),
        }
    }
}

enum Touch {
    Over,
    NotDue,
    Due(Life),
}

/// What there is of a session that is to be replaced or removed whatever it is.
fn undamaged(read: Result<Option<Kept>>) -> Result<Option<Kept>> {
    match read {
        Err(error) if error.is_damage() => Ok(None),
        read => read,
    }
}

impl SessionManager for DirectoryManager {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&[
            Capability::Processes,
            Capability::Kills,
            Capability::PowerCuts,
            Capability::Guards,
        ])
    }

    fn load(&self, id: &str) -> Result<Option<Session<Value>>> {
        self.load_from(&self.file_name(id)?)
    }

    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version> {
        let (name, text) = (self.file_name(id)?, self.customs.text(value)?);
        self.locked(&name, |held| {
            let living = self.living(undamaged(self.read(&name))?).map(|kept| kept.life);
            self.put(held, &name, living.as_ref(), text, properties)
        })
    }

    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome> {
        self.save_where(id, value, properties, |living| living.is_none())
    }

    fn replace(&self, id: &str, value: &Value) -> Result<Outcome> {
        self.save_where(id, value, None, |living| living.is_some())
    }

    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome> {
        self.save_where(id, value, None, |living| {
            living.is_some_and(|life| life.version == version)
        })
    }

    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated> {
        let name = self.file_name(id)?;
        self.locked(&name, |held| {
            let living = self.living(self.read(&name)?);
            let life = living.as_ref().map(|kept| kept.life.clone());
            let change = change(self.session(&name, living)?);
            if !held.is_own() {
                // A child that was forked in there does not have the lock.
                return Err(ErrorKind::Reentered.into());
            }
            match change {
                Change::Keep => Ok(Updated::Kept),
                Change::Remove => {
                    self.remove_file(held, &name)?;
                    Ok(Updated::Removed)
                }
                Change::Save(value) => {
                    let text = self.customs.text(&value)?;
                    let version = self.put(held, &name, life.as_ref(), text, None)?;
                    Ok(Updated::Saved(version))
                }
            }
        })
    }

    fn remove(&self, id: &str) -> Result<bool> {
        let name = self.file_name(id)?;
        self.locked(&name, |held| {
            let living = self.living(undamaged(self.read(&name))?);
            self.remove_file(held, &name)?;
            Ok(living.is_some())
        })
    }

    fn touch(&self, id: &str) -> Result<bool> {
        let name = self.file_name(id)?;
        // Mostly nothing is due, and then no lock is needed.
        let Some(kept) = self.read(&name)? else { return Ok(false) };
        match self.touch_of(&kept.life) {
            Touch::Over => return Ok(false),
            Touch::NotDue => return Ok(true),
            Touch::Due(_) => {}
        }
        self.locked(&name, |held| {
            let Some(kept) = self.read(&name)? else { return Ok(false) };
            match self.touch_of(&kept.life) {
                Touch::Over => Ok(false),
                Touch::NotDue => Ok(true),
                Touch::Due(life) => {
                    self.write(held, &name, &Kept { life: life.clone(), ..kept })?;
                    Ok(!life.is_over((self.customs.clock)()))
                }
            }
        })
    }

    fn guard(&self, id: &str, patience: Duration) -> Result<SessionGuard> {
        let name = self.file_name(id)?;
        let held = self.locks.guard(&name, patience);
        Ok(SessionGuard::new(Box::new(held.map_err(|error| self.placed(error, &name))?)))
    }

    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        let swept = self.sweep_directory(limit, on_expired);
        swept.map_err(|error| error.at(Some(self.folder.path())))
    }

    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()> {
        let listed = self.folder.names().and_then(|names| names.collect::<Result<Vec<_>>>());
        let listed = listed.map_err(|error| error.at(Some(self.folder.path())))?;
        let mut kept_ids: Vec<String> =
            listed.iter().filter_map(|name| self.names.kept_id_of(name)).collect();
        // Some file systems list one twice that is renamed meanwhile.
        kept_ids.sort_unstable();
        kept_ids.dedup();
        for kept_id in kept_ids {
            let name = self.names.name_of(&kept_id)?;
            let walked =
                match self.read(&name).and_then(|kept| self.session(&name, self.living(kept))) {
                    Ok(Some(session)) => Ok((kept_id, session)),
                    Ok(None) => continue,
                    Err(error) => Err(error),
                };
            if visit(walked).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()> {
        let name = self.names.name_of(self.customs.valid_kept(kept_id)?)?;
        let text = self.customs.text(&session.value)?;
        let kept = Kept { life: Life::restored(session)?, text };
        self.locked(&name, |held| {
            undamaged(self.read(&name))?;
            self.write(held, &name, &kept)
        })
    }

    fn kept_id(&self, id: &str) -> Result<String> {
        let kept_id = self.customs.kept(id)?;
        self.names.name_of(&kept_id)?;
        Ok(kept_id)
    }

    fn id_form(&self) -> IdForm {
        self.customs.ids
    }

    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>> {
        self.load_from(&self.names.name_of(self.customs.valid_kept(kept_id)?)?)
    }

    fn misses(&self) -> u64 {
        self.customs.misses()
    }

    fn len(&self) -> Result<u64> {
        let count = || {
            let mut count = 0;
            for name in self.folder.names()? {
                count += u64::from(self.names.kept_id_of(&name?).is_some());
            }
            Ok(count)
        };
        count().map_err(|error: Error| error.at(Some(self.folder.path())))
    }

    fn sync(&self) -> Result<()> {
        let synced = self.locks.sync_file_system();
        synced.map_err(|error| error.at(Some(self.folder.path())))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
