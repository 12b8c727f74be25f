//! What one does with sessions: load, save under conditions, update, remove.
//!
//! Loading takes no lock. Everything else says, for a session found under the
//! writer lock, what is to be done with it; `change` in `handle` takes the lock,
//! asks, and syncs. So nothing here may wait or sync, and what is asked may be
//! asked again. Ids and values are checked before anything is touched.

use std::sync::atomic::Ordering;

use super::handle::{ByteContainer, Name};
use super::load::Found;
use super::save::{Draft, Key, Target};
use super::session::{Change, Outcome, Properties, Session, Times, Updated, Version};
use super::writer::{Attempt, Writer};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{ErrorKind, Result};
use crate::format::VALUE_LEN_MAX;
use crate::format::id::NO_DIGITS;

/// Sessions.
impl ByteContainer {
    /// Loads a session. `None` if there is none, it was removed, or its deadline
    /// has passed.
    ///
    /// # Errors
    /// [`InvalidId`](ErrorKind::InvalidId), [`Damaged`](ErrorKind::Damaged) if
    /// this session's bytes are or the way to them is, [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let version = container.save("id", b"a coat")?;
    /// let session = container.load("id")?.expect("it was saved");
    /// assert_eq!((session.value.as_slice(), session.version), (&b"a coat"[..], version));
    /// assert!(container.load("another")?.is_none());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn load(&self, id: impl AsRef<[u8]>) -> Result<Option<Session<Vec<u8>>>> {
        let mut value = Vec::new();
        let found = self.load_into(id, &mut value)?;
        Ok(found.map(|session| session.map(|()| value)))
    }

    /// Loads a session into a buffer of yours, whose content it replaces and whose
    /// memory it uses again. What the buffer holds when there is no session is not
    /// specified.
    ///
    /// # Errors
    /// As [`ByteContainer::load`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// container.save("another", b"a hat")?;
    /// let mut value = Vec::new();
    /// for (id, expected) in [("id", "a coat"), ("another", "a hat")] {
    ///     assert!(container.load_into(id, &mut value)?.is_some());
    ///     assert_eq!(value, expected.as_bytes());
    /// }
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn load_into(
        &self,
        id: impl AsRef<[u8]>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Session<()>>> {
        let found = self.found(Name::Id(id.as_ref()), value)?;
        Ok(found.map(|found| found.session(())))
    }

    /// [`ByteContainer::load`] by what the container keeps of the id.
    pub(crate) fn load_kept(&self, kept_id: &[u8]) -> Result<Option<Session<Vec<u8>>>> {
        let mut value = Vec::new();
        let found = self.found(Name::Kept(kept_id), &mut value)?;
        Ok(found.map(|found| found.session(value)))
    }

    pub(super) fn found(&self, name: Name<'_>, value: &mut Vec<u8>) -> Result<Option<Found>> {
        let file = self.file.current();
        let mut space = NO_DIGITS;
        let kept = file.named(name, &mut space);
        let found = kept.and_then(|id| match file.find(id, value)? {
            Some(found) if found.is_forward() => {
                Ok(file.find_forwarded(value)?.map(|(_, found)| found))
            }
            found => Ok(found),
        });
        if matches!(found, Ok(None)) {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
        found.map_err(|error| error.at(file.path.as_deref()))
    }

    /// Whether [`ByteContainer::load`] would return a session. Costs the same: the
    /// value is read, to know that it can be.
    ///
    /// # Errors
    /// As [`ByteContainer::load`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"")?;
    /// assert!(container.contains("id")?, "an empty value is one, too");
    /// assert!(!container.contains("another")?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.load_into(id, &mut Vec::new())?.is_some())
    }

    /// Saves a session, whether there is one of this id or not. One that lives
    /// keeps the time it was created at and its [`Properties`]. Its deadline follows
    /// from its [`Timeouts`](crate::Timeouts), or else from those of the handle; without any,
    /// one that lives keeps its deadline, and a new one has none.
    ///
    /// # Errors
    /// [`InvalidId`](ErrorKind::InvalidId), [`TooLarge`](ErrorKind::TooLarge),
    /// [`Busy`](ErrorKind::Busy), [`Full`](ErrorKind::Full),
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`Reentered`](ErrorKind::Reentered),
    /// [`Damaged`](ErrorKind::Damaged) if the way to the session is, and
    /// [`Io`](ErrorKind::Io). [`Error`] tells after which of them the version may
    /// be there all the same.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let first = container.save("id", b"a coat")?;
    /// let second = container.save("id", b"a coat")?;
    /// assert_ne!(first, second, "each save makes a version");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn save(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Version> {
        let draft = Draft::of(self.valid_value(value)?);
        self.change(id.as_ref(), |writer, key, target| writer.save(key, target, draft))
    }

    /// Saves a session with these properties in the place of those that it has. If these are
    /// other timeouts than it has, its deadline is reckoned anew from them, or else from those
    /// of the handle; that may be a time that has passed.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Properties, Timeouts, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"ada")?;
    /// let short = Properties::new().timeouts(Timeouts::NONE.absolute(Duration::from_secs(60)));
    /// container.save_with("id", b"ada", &short)?;
    /// let session = container.load("id")?.expect("it lives");
    /// assert_eq!(session.times.deadline_ms, Some(session.times.created_ms + 60_000));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn save_with(
        &self,
        id: impl AsRef<[u8]>,
        value: &[u8],
        properties: &Properties,
    ) -> Result<Version> {
        let properties = Some(properties);
        let draft = Draft { properties, ..Draft::of(self.valid_value(value)?) };
        self.change(id.as_ref(), |writer, key, target| writer.save(key, target, draft))
    }

    /// Saves a session as it was elsewhere: with the times and properties of a dump. What
    /// there is of this id is replaced, its times and its deadline too. A power cut that takes
    /// this version from a session that lived may leave its former value with these
    /// times, as if it had been touched.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Properties, Times, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let times = Times { created_ms: 1_000, saved_ms: 2_000, deadline_ms: None };
    /// container.restore("id", b"a coat", times, &Properties::new())?;
    /// assert_eq!(container.load("id")?.expect("it was saved").times, times);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn restore(
        &self,
        id: impl AsRef<[u8]>,
        value: &[u8],
        times: Times,
        properties: &Properties,
    ) -> Result<Version> {
        self.restore_named(Name::Id(id.as_ref()), value, times, properties)
    }

    /// The same by what the container keeps of the id.
    pub(crate) fn restore_kept(
        &self,
        kept_id: &[u8],
        value: &[u8],
        times: Times,
        properties: &Properties,
    ) -> Result<Version> {
        self.restore_named(Name::Kept(kept_id), value, times, properties)
    }

    fn restore_named(
        &self,
        name: Name<'_>,
        value: &[u8],
        times: Times,
        properties: &Properties,
    ) -> Result<Version> {
        let value = self.valid_value(value)?;
        let (times, properties) = (Some(times), Some(properties));
        let draft = Draft { times, properties, ..Draft::of(value) };
        self.change_exactly(name, |writer, key, target| writer.save(key, target, draft))
    }

    /// Saves a session if there is none of this id.
    ///
    /// # Errors
    /// As [`ByteContainer::save`]. A taken id is no error but
    /// [`Outcome::Conflict`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// assert!(matches!(container.create_session("id", b"a coat")?, Outcome::Saved(_)));
    /// assert_eq!(container.create_session("id", b"a hat")?, Outcome::Conflict);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn create_session(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Outcome> {
        let draft = Draft::of(self.valid_value(value)?);
        self.save_where(id.as_ref(), draft, |_, _, target| Ok(target.is_free()))
    }

    /// Saves a session with these properties if there is none of this id.
    ///
    /// # Errors
    /// As [`ByteContainer::create_session`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, Properties, Timeouts};
    /// # use cloakroom::storage::MemoryStorage;
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let for_ever = Properties::new().timeouts(Timeouts::NONE);
    /// let created = container.create_session_with("id", b"a robot", &for_ever)?;
    /// assert!(matches!(created, Outcome::Saved(_)));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn create_session_with(
        &self,
        id: impl AsRef<[u8]>,
        value: &[u8],
        properties: &Properties,
    ) -> Result<Outcome> {
        let properties = Some(properties);
        let draft = Draft { properties, ..Draft::of(self.valid_value(value)?) };
        self.save_where(id.as_ref(), draft, |_, _, target| Ok(target.is_free()))
    }

    /// Saves a session if there is one of this id: one that was removed stays
    /// removed.
    ///
    /// # Errors
    /// As [`ByteContainer::save`]. A session that is gone is no error but
    /// [`Outcome::Conflict`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"logged in")?;
    /// container.remove("id")?; // a logout, while another request is under way
    /// assert_eq!(container.replace("id", b"logged in, one page more")?, Outcome::Conflict);
    /// assert!(!container.contains("id")?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn replace(&self, id: impl AsRef<[u8]>, value: &[u8]) -> Result<Outcome> {
        let draft = Draft::of(self.valid_value(value)?);
        self.save_where(id.as_ref(), draft, |_, _, target| Ok(target.living.is_some()))
    }

    /// Saves a session if it still is of this version. The present value is read
    /// under the lock.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], and [`Damaged`](ErrorKind::Damaged) if the
    /// present value is. A session that is gone or of another version is no error
    /// but [`Outcome::Conflict`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let seen = container.save("id", b"1")?;
    /// container.save("id", b"2")?; // somebody else's
    /// assert_eq!(container.save_if("id", seen, b"3")?, Outcome::Conflict);
    /// assert_eq!(container.load("id")?.expect("it was saved").value, b"2");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn save_if(&self, id: impl AsRef<[u8]>, version: Version, value: &[u8]) -> Result<Outcome> {
        let draft = Draft::of(self.valid_value(value)?);
        self.save_where(id.as_ref(), draft, |writer, key, target| {
            let found = writer.read(key, target, &mut Vec::new())?;
            Ok(found.is_some_and(|found| found.version() == version))
        })
    }

    fn save_where(
        &self,
        id: &[u8],
        draft: Draft<'_>,
        condition: impl Fn(&Writer<'_>, Key<'_>, &Target) -> Result<bool>,
    ) -> Result<Outcome> {
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
    /// `change` may be called again if the disk had to be waited for, or the session ended
    /// meanwhile; what it said last counts. It may load through this handle; a change through it
    /// fails there with [`Reentered`](ErrorKind::Reentered), and one through
    /// another handle of the same file waits in vain until its deadline. Where it forks,
    /// the child's `update` fails with `Reentered`, too.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], and [`Damaged`](ErrorKind::Damaged) if the
    /// present value is: then `change` was not called.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Change, Options, Updated, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let append = || {
    ///     container.update("id", |session| {
    ///         let mut pages = session.map(|session| session.value.to_vec()).unwrap_or_default();
    ///         pages.push(b'/');
    ///         Change::Save(pages)
    ///     })
    /// };
    /// append()?;
    /// assert!(matches!(append()?, Updated::Saved(_)));
    /// assert_eq!(container.load("id")?.expect("it was saved").value, b"//");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn update(
        &self,
        id: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<Session<&[u8]>>) -> Change<Vec<u8>>,
    ) -> Result<Updated> {
        let mut buffer = Vec::new();
        self.change(id.as_ref(), |writer, key, target| {
            let found = writer.read(key, target, &mut buffer)?;
            let session = found.map(|found| found.session(buffer.as_slice()));
            let decided = change(session);
            writer.assert_own_process()?;
            match decided {
                Change::Keep => Ok(Attempt::Done(Updated::Kept)),
                Change::Remove => Ok(match writer.remove(target)? {
                    Attempt::Done(()) => Attempt::Done(Updated::Removed),
                    Attempt::Sync => Attempt::Sync,
                }),
                Change::Save(value) => {
                    let draft = Draft::of(self.valid_value(&value)?);
                    Ok(match writer.save(key, target, draft)? {
                        Attempt::Done(version) => Attempt::Done(Updated::Saved(version)),
                        Attempt::Sync => Attempt::Sync,
                    })
                }
            }
        })
    }

    /// Removes a session. False if there was none. What an expired or unreadable
    /// session left is removed, too. Writes some lines of 64 bytes, whatever the
    /// value's length.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// assert!(container.remove("id")?);
    /// assert!(!container.remove("id")?, "it is gone already");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn remove(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.change(id.as_ref(), |writer, _, target| {
            Ok(match writer.remove(target)? {
                Attempt::Done(()) => Attempt::Done(target.living.is_some()),
                Attempt::Sync => Attempt::Sync,
            })
        })
    }

    fn valid_value<'a>(&self, value: &'a [u8]) -> Result<&'a [u8]> {
        let max = self.file.current().options.value_len_max.min(VALUE_LEN_MAX);
        let (len, max) = (value.len() as u64, max as u64);
        if len > max { Err(self.refused(ErrorKind::TooLarge { len, max })) } else { Ok(value) }
    }
}
