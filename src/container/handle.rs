//! The handle that applications hold: [`ByteContainer`] and its operations.
//!
//! Here operations are put together: take the lock, find the session, decide,
//! change, and afterwards sync as the handle's durability asks. What each step
//! does to the file is in the modules below.

use std::sync::Arc;

use super::background::Background;
use super::chain::Chain;
use super::check::Report;
use super::info::Info;
use super::iter::Sessions;
use super::open_file::OpenFile;
use super::options::Durability;
use super::records::Wanted;
use super::rules::{Rule, holds};
use super::save::{Draft, Key, Target};
use super::session::{Change, Outcome, Session, Times, Updated, Version};
use super::writer::{Attempt, Locked, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ID_LEN_MAX, VALUE_LEN_MAX};

/// Times that an operation is begun again because it had to wait for a sync.
const ATTEMPTS: u32 = 16;

/// A container: sessions by id, bytes in and bytes out.
///
/// Most programs want [`Container`](crate::Container), which keeps JSON and is
/// built on this. A handle may be shared by threads; any number of processes
/// may hold handles of the same file. Ids are 1 to 255 bytes of any content,
/// values 0 to 4 MiB.
///
/// Loading takes no lock. Saving takes the container's one writer lock for some
/// microseconds, or gives up with [`Busy`](ErrorKind::Busy) at the handle's
/// deadline.
///
/// ```
/// use cloakroom::{ByteContainer, Options};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// let container = ByteContainer::create(&path, Options::new())?;
/// container.save("id", b"any bytes")?;
/// assert_eq!(container.load("id")?.unwrap().value, b"any bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ByteContainer {
    pub(super) chain: Arc<Chain>,
    pub(super) background: Option<Background>,
}

impl ByteContainer {
    /// Loads a session. `None` if there is none, it was removed, or its deadline
    /// has passed.
    ///
    /// # Errors
    /// [`InvalidId`](ErrorKind::InvalidId), [`Damaged`](ErrorKind::Damaged) if
    /// this session's bytes are, [`Io`](ErrorKind::Io).
    pub fn load(&self, id: impl AsRef<[u8]>) -> Result<Option<Session<Vec<u8>>>> {
        let mut value = Vec::new();
        let found = self.load_into(id, &mut value)?;
        Ok(found.map(|session| session.map(|()| value)))
    }

    /// Loads a session into a buffer of yours, whose content it replaces. What
    /// the buffer holds when there is no session is not specified.
    ///
    /// # Errors
    /// As [`ByteContainer::load`].
    pub fn load_into(
        &self,
        id: impl AsRef<[u8]>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Session<()>>> {
        let id = valid(id.as_ref())?;
        let file = &self.chain.current().file;
        let found = file
            .find_session(file.records.tagger.tag(id), Wanted::Id(id), value)
            .map_err(|error| error.at(file.path.as_deref()))?;
        Ok(found.map(|found| Session { value: (), version: found.version(), times: found.times() }))
    }

    /// Whether there is a session of this id.
    ///
    /// # Errors
    /// As [`ByteContainer::load`].
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.load_into(id, &mut Vec::new())?.is_some())
    }

    /// Saves a session, whether there is one of this id or not. One that lives
    /// keeps the time it was created at and its deadline.
    ///
    /// # Errors
    /// [`InvalidId`](ErrorKind::InvalidId), [`TooLarge`](ErrorKind::TooLarge),
    /// [`Busy`](ErrorKind::Busy), [`Full`](ErrorKind::Full),
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`Io`](ErrorKind::Io). After an `Io` or
    /// `Busy` of a durable handle the version may be there and not yet durable.
    pub fn save(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Version> {
        let draft = Draft { value: valid_value(value)?, times: None };
        self.change(id.as_ref(), |writer, key, target| writer.save(key, target, draft))
    }

    /// Saves a session as it was elsewhere: with the times of a dump.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    pub fn restore(&self, id: impl AsRef<[u8]>, value: &[u8], times: Times) -> Result<Version> {
        let draft = Draft { value: valid_value(value)?, times: Some(times) };
        self.change(id.as_ref(), |writer, key, target| writer.save(key, target, draft))
    }

    /// Saves a session if there is none of this id.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    pub fn create_session(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Outcome> {
        self.save_where(id.as_ref(), value, |_, _, target| Ok(target.living.is_none()))
    }

    /// Saves a session if there is one of this id: one that was removed stays
    /// removed.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    pub fn replace(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Outcome> {
        self.save_where(id.as_ref(), value, |_, _, target| Ok(target.living.is_some()))
    }

    /// Saves a session if it still is of this version.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], and [`Damaged`](ErrorKind::Damaged).
    pub fn save_if(&self, id: impl AsRef<[u8]>, version: Version, value: &[u8]) -> Result<Outcome> {
        self.save_where(id.as_ref(), value, |writer, key, target| {
            let found = writer.read(key, target, &mut Vec::new())?;
            Ok(found.is_some_and(|found| found.version() == version))
        })
    }

    fn save_where(
        &self,
        id: &[u8],
        value: &[u8],
        condition: impl Fn(&Writer<'_>, Key<'_>, &Target) -> Result<bool>,
    ) -> Result<Outcome> {
        let draft = Draft { value: valid_value(value)?, times: None };
        self.change(id, |writer, key, target| {
            if !condition(writer, key, target)? {
                return Ok(Attempt::Done(Outcome::Conflict));
            }
            Ok(match writer.save(key, target, draft)? {
                Attempt::Done(version) => Attempt::Done(Outcome::Saved(version)),
                Attempt::Sync => Attempt::Sync,
            })
        })
    }

    /// Reads a session, lets `change` decide, and does what it says, with nobody
    /// else saving anything in between. Other savers wait meanwhile: be quick.
    ///
    /// `change` may be called again if the disk had to be waited for; what it
    /// said last counts.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], [`Damaged`](ErrorKind::Damaged), and
    /// [`Reentered`](ErrorKind::Reentered) for a save from inside `change`.
    pub fn update(
        &self,
        id: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<Session<&[u8]>>) -> Change<Vec<u8>>,
    ) -> Result<Updated> {
        let mut buffer = Vec::new();
        self.change(id.as_ref(), |writer, key, target| {
            let found = writer.read(key, target, &mut buffer)?;
            let session = found.map(|found| Session {
                value: buffer.as_slice(),
                version: found.version(),
                times: found.times(),
            });
            match change(session) {
                Change::Keep => Ok(Attempt::Done(Updated::Kept)),
                Change::Remove => Ok(match writer.remove(target)? {
                    Attempt::Done(()) => Attempt::Done(Updated::Removed),
                    Attempt::Sync => Attempt::Sync,
                }),
                Change::Save(value) => {
                    let draft = Draft { value: valid_value(&value)?, times: None };
                    Ok(match writer.save(key, target, draft)? {
                        Attempt::Done(version) => Attempt::Done(Updated::Saved(version)),
                        Attempt::Sync => Attempt::Sync,
                    })
                }
            }
        })
    }

    /// Removes a session. False if there was none. What an unreadable session
    /// left is removed, too.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    pub fn remove(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.change(id.as_ref(), |writer, _, target| {
            Ok(match writer.remove(target)? {
                Attempt::Done(()) => Attempt::Done(target.living.is_some()),
                Attempt::Sync => Attempt::Sync,
            })
        })
    }

    /// Moves a session's deadline (milliseconds since 1970; `None` is never)
    /// without writing its value. False if there is no such session.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    pub fn touch(&self, id: impl AsRef<[u8]>, deadline_ms: Option<u64>) -> Result<bool> {
        self.change(
            id.as_ref(),
            |writer, _, target| // 0 stands for never in the entry; a deadline of 0 has long passed.
            writer.touch(target, deadline_ms.map_or(0, |deadline_ms| deadline_ms.max(1))),
        )
    }

    /// Number of sessions as counted, expired ones included until they are
    /// removed. Costs one line for each 1016 sessions' worth of index. After a
    /// crash it may be off until each part of the index was walked once.
    ///
    /// # Errors
    /// [`Damaged`](ErrorKind::Damaged), [`Io`](ErrorKind::Io).
    pub fn len(&self) -> Result<u64> {
        self.reading(OpenFile::count_sessions)
    }

    /// Whether no session is counted.
    ///
    /// # Errors
    /// As [`ByteContainer::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All sessions with their ids, in no order that means anything. Those that
    /// live throughout come exactly once, others at most once.
    ///
    /// # Errors
    /// Each item may be one: [`Damaged`](ErrorKind::Damaged) for a session that cannot
    /// be read, after which the walk goes on, or [`Io`](ErrorKind::Io), which ends it.
    pub fn iter(&self) -> Sessions<'_> {
        Sessions::new(Arc::clone(&self.chain.current().file))
    }

    /// Returns when everything saved before, by anybody, is on the disk.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy), [`Io`](ErrorKind::Io), and
    /// [`ReadOnly`](ErrorKind::ReadOnly).
    pub fn sync(&self) -> Result<()> {
        let file = self.chain.file()?;
        if let Some(why) = file.read_only {
            return Err(Error::from(ErrorKind::ReadOnly(why)).at(file.path.as_deref()));
        }
        file.control_line()
            .and_then(|control| file.sync_until(control.write_epoch))
            .map_err(|error| error.at(file.path.as_deref()))
    }

    /// Facts about the container.
    ///
    /// # Errors
    /// [`Damaged`](ErrorKind::Damaged), [`Io`](ErrorKind::Io).
    pub fn info(&self) -> Result<Info> {
        self.reading(OpenFile::info)
    }

    /// Looks at everything in the container and reports what contradicts itself.
    /// Takes no lock and changes nothing; on a container in use a suspicious
    /// place is read again before it is reported. Costs a reading of the whole
    /// file, and some 16 bytes of memory for each version in it.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io). Damage is in the report.
    pub fn check(&self) -> Result<Report> {
        self.reading(OpenFile::check)
    }

    fn reading<T>(&self, read: impl FnOnce(&OpenFile) -> Result<T>) -> Result<T> {
        let file = &self.chain.current().file;
        read(file).map_err(|error| error.at(file.path.as_deref()))
    }

    /// Finds a session under the lock and changes it; syncs as the handle's
    /// durability asks.
    fn change<T>(
        &self,
        id: &[u8],
        mut operation: impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
    ) -> Result<T> {
        let id = valid(id)?;
        for attempt in 0..ATTEMPTS {
            let file = self.chain.file()?;
            let done = try_change(file, id, attempt, &mut operation);
            match done.map_err(|error| error.at(file.path.as_deref()))? {
                Tried::Done(value) => return Ok(value),
                Tried::Again => {}
                Tried::Replaced => {
                    let chain = self.chain.current();
                    chain.reopen().map_err(|error| error.at(chain.file.path.as_deref()))?;
                }
            }
        }
        let file = &self.chain.current().file;
        Err(Error::io("make room", std::io::ErrorKind::TimedOut.into()).at(file.path.as_deref()))
    }
}

enum Tried<T> {
    Done(T),
    Again,
    Replaced,
}

fn try_change<T>(
    file: &OpenFile,
    id: &[u8],
    attempt: u32,
    operation: &mut impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
) -> Result<Tried<T>> {
    let Locked::Here(mut writer) = file.lock(attempt)? else {
        return Ok(Tried::Replaced);
    };
    writer.step_pass()?;
    let key = file.key(id);
    let target = writer.target(key)?;
    let result = operation(&mut writer, key, &target)?;
    let control = writer.control;
    let answer_epoch = writer.answer_epoch;
    let value = match result {
        Attempt::Sync => {
            drop(writer);
            file.sync_until(control.write_epoch)?;
            return Ok(Tried::Again);
        }
        Attempt::Done(value) => value,
    };
    match file.options.durability {
        Durability::Durable
            if !control.is_durable(answer_epoch) && holds(Rule::DurableSavesWait) =>
        {
            file.sync_after(writer)?;
        }
        Durability::Interval(_) if answer_epoch != 0 => {
            drop(writer);
            file.sync_if_due(&control);
        }
        _ => drop(writer),
    }
    Ok(Tried::Done(value))
}

impl Drop for ByteContainer {
    /// Gives back what the handle keeps, and syncs if its interval is over. In a
    /// forked child nothing of the parent's is touched.
    fn drop(&mut self) {
        let file = &self.chain.current().file;
        let ours = file.storage().process_id() == file.process_id;
        if let Some(background) = self.background.take() {
            // The thread is of the process that made the handle, which is not ours in
            // a forked child, even if that has opened the file anew.
            let first = &self.chain.file;
            if first.storage().process_id() == first.process_id {
                background.stop();
            } else {
                background.forget();
            }
        }
        if !ours || file.read_only.is_some() {
            return;
        }
        let keeps = !file.local().spares.is_empty();
        if keeps && let Ok(Locked::Here(mut writer)) = file.lock(0) {
            // What cannot be given back leaks until the next generation.
            let _ = writer.release_spares();
        }
        if let Durability::Interval(interval) = file.options.durability
            && !file.compared_within(interval)
        {
            self.chain.sync_if_due(interval);
        }
    }
}

fn valid(id: &[u8]) -> Result<&[u8]> {
    match id.len() {
        1..=ID_LEN_MAX => Ok(id),
        len => Err(ErrorKind::InvalidId { len }.into()),
    }
}

fn valid_value(value: &[u8]) -> Result<&[u8]> {
    let (len, max) = (value.len() as u64, VALUE_LEN_MAX as u64);
    if len > max { Err(ErrorKind::TooLarge { len, max }.into()) } else { Ok(value) }
}
