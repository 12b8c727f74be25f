//! What one does with sessions: load, save under conditions, update, remove.
//!
//! Each method makes the value into bytes or back and leaves the rest to the
//! [`ByteContainer`](crate::ByteContainer). Values are made into JSON before
//! anything is locked, except in `update`, which has to ask first.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::ErrorKind;
use crate::{Change, Container, Outcome, Properties, Result, Session, Times, Updated, Version};

/// Sessions.
impl Container {
    /// The session of this id, if there is one and its deadline has not passed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotJson`] where the value is not of type `T`.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::ErrorKind;
    ///
    /// let version = container.save("a ticket", &vec![1, 2])?;
    /// let session = container.load::<Vec<u64>>("a ticket")?.expect("it was saved");
    /// assert_eq!((session.value, session.version), (vec![1, 2], version));
    /// assert_eq!(session.times.created_ms, session.times.saved_ms);
    ///
    /// assert!(container.load::<Vec<u64>>("another")?.is_none());
    /// let wrong = container.load::<String>("a ticket").unwrap_err();
    /// assert!(matches!(wrong.kind(), ErrorKind::NotJson(_)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn load<T: DeserializeOwned>(&self, id: impl AsRef<[u8]>) -> Result<Option<Session<T>>> {
        let stored = self.bytes.load(id)?;
        stored.map(|session| self.typed(session)).transpose()
    }

    /// Whether [`Container::load`] would find a session, whatever the type of its
    /// value. The value is read and not looked at as JSON.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &())?;
    /// assert!(container.contains("a ticket")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.bytes.contains(id)
    }

    /// Saves the value as the session's next version, whatever was there before.
    /// What becomes of its deadline and its properties is said of
    /// [`ByteContainer::save`](crate::ByteContainer::save). As always with
    /// `serde_json`, a float that is no number becomes `null`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotJson`] where serde cannot make `value` into JSON (a map
    /// whose keys are no strings) or it is nested deeper than the 127 levels that
    /// can be loaded again, [`ErrorKind::TooLarge`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// let first = container.save("a ticket", &serde_json::json!({"visits": 1}))?;
    /// let second = container.save("a ticket", &serde_json::json!({"visits": 2}))?;
    /// assert_ne!(first, second);
    /// # Ok(())
    /// # }
    /// ```
    pub fn save<T: Serialize + ?Sized>(&self, id: impl AsRef<[u8]>, value: &T) -> Result<Version> {
        self.bytes.save(id, &self.json(value)?)
    }

    /// Saves the value, with these properties in the place of those that the session has.
    ///
    /// # Errors
    ///
    /// As [`Container::save`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Properties, Timeouts};
    /// use std::time::Duration;
    ///
    /// let days = Timeouts::NONE.idle(Duration::from_secs(30 * 86_400));
    /// let remembered = Properties::new().timeouts(days);
    /// container.save_with("a ticket", &1, &remembered)?;
    /// assert_eq!(container.load::<u64>("a ticket")?.map(|s| s.properties), Some(remembered));
    /// # Ok(())
    /// # }
    /// ```
    pub fn save_with<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        value: &T,
        properties: &Properties,
    ) -> Result<Version> {
        self.bytes.save_with(id, &self.json(value)?, properties)
    }

    /// Saves the value if there is no session of this id.
    ///
    /// # Errors
    ///
    /// As [`Container::save`]. A taken id is no error but
    /// [`Outcome::Conflict`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::Outcome;
    ///
    /// assert!(container.create_session("a ticket", &1)?.saved().is_some());
    /// assert_eq!(container.create_session("a ticket", &2)?, Outcome::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_session<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<Outcome> {
        self.bytes.create_session(id, &self.json(value)?)
    }

    /// Saves the value with these properties if there is no session of this id.
    ///
    /// # Errors
    ///
    /// As [`Container::create_session`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Properties, Timeouts};
    ///
    /// let for_ever = Properties::new().timeouts(Timeouts::NONE);
    /// let created = container.create_session_with("a robot", &1, &for_ever)?;
    /// assert!(created.saved().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_session_with<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        value: &T,
        properties: &Properties,
    ) -> Result<Outcome> {
        self.bytes.create_session_with(id, &self.json(value)?, properties)
    }

    /// Saves the value if there is a session of this id: one that was removed
    /// meanwhile does not come back.
    ///
    /// # Errors
    ///
    /// As [`Container::save`]. A session that is gone is no error but
    /// [`Outcome::Conflict`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::Outcome;
    ///
    /// assert_eq!(container.replace("a ticket", &1)?, Outcome::Conflict);
    /// assert!(!container.contains("a ticket")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<Outcome> {
        self.bytes.replace(id, &self.json(value)?)
    }

    /// Saves the value if the session still has this version.
    ///
    /// # Errors
    ///
    /// As [`Container::save`]. A session that is gone or has another version is
    /// no error but [`Outcome::Conflict`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::Outcome;
    ///
    /// let seen = container.save("a ticket", &1)?;
    /// assert!(container.save_if("a ticket", seen, &2)?.saved().is_some());
    /// assert_eq!(container.save_if("a ticket", seen, &3)?, Outcome::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn save_if<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        version: Version,
        value: &T,
    ) -> Result<Outcome> {
        self.bytes.save_if(id, version, &self.json(value)?)
    }

    /// Saves the value with the times and properties that it had elsewhere, as in a dump.
    ///
    /// # Errors
    ///
    /// As [`Container::save`].
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Properties, Times};
    ///
    /// let times = Times { created_ms: 1_000, saved_ms: 2_000, deadline_ms: None };
    /// container.restore("a ticket", &1, times, &Properties::new())?;
    /// assert_eq!(container.load::<u64>("a ticket")?.map(|s| s.times), Some(times));
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore<T: Serialize + ?Sized>(
        &self,
        id: impl AsRef<[u8]>,
        value: &T,
        times: Times,
        properties: &Properties,
    ) -> Result<Version> {
        self.bytes.restore(id, &self.json(value)?, times, properties)
    }

    /// Reads the session, asks `change` what to do, and does it, while no other
    /// process or thread can write: no update is lost. Everybody who wants to
    /// save waits meanwhile, so `change` must be quick, and it must not write
    /// through this container. It may be asked again if the disk had to be waited
    /// for; what it says last counts.
    ///
    /// # Errors
    ///
    /// As [`Container::save`]; further [`ErrorKind::NotJson`], without `change`
    /// having been asked, where the value stored is not of type `T`. In either
    /// case nothing was changed.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// use cloakroom::{Change, Updated};
    ///
    /// container.save("a ticket", &1)?;
    /// container.update::<u64>("a ticket", |session| match session {
    ///     Some(session) => Change::Save(session.value + 1),
    ///     None => Change::Keep,
    /// })?;
    /// assert_eq!(container.load::<u64>("a ticket")?.map(|s| s.value), Some(2));
    ///
    /// let updated = container.update::<u64>("a ticket", |_| Change::Remove)?;
    /// assert_eq!(updated, Updated::Removed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        id: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<Session<T>>) -> Change<T>,
    ) -> Result<Updated> {
        self.update_bytes(id.as_ref(), |stored| {
            let session = stored.map(|session| self.typed(session)).transpose()?;
            Ok(match change(session) {
                Change::Save(value) => Change::Save(self.json(&value)?),
                Change::Remove => Change::Remove,
                Change::Keep => Change::Keep,
            })
        })
    }

    /// Removes the session; false where there was none. A value that is no JSON or
    /// cannot be read is removed, too.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &1)?;
    /// assert!(container.remove("a ticket")?);
    /// assert!(!container.remove("a ticket")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.bytes.remove(id)
    }

    /// How often this handle was asked for a session that there is not
    /// ([`ByteContainer::misses`](crate::ByteContainer::misses)).
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// assert!(container.load::<u64>("a guess")?.is_none());
    /// assert_eq!(container.misses(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn misses(&self) -> u64 {
        self.bytes.misses()
    }

    /// Each session once with its id as it is kept
    /// ([`ByteContainer::kept_id`](crate::ByteContainer::kept_id)), in no order that means
    /// anything. Sessions that others save or remove meanwhile may or may not be among
    /// them. No lock is taken; what it costs is said of
    /// [`ByteContainer::iter`](crate::ByteContainer::iter).
    ///
    /// # Errors
    ///
    /// Items can be errors: [`ErrorKind::NotJson`] for a value that is not of
    /// type `T`, after which the next session follows.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &40)?;
    /// container.save("another", &2)?;
    /// let mut sum = 0;
    /// for session in container.iter::<u64>() {
    ///     let (_kept_id, session) = session?;
    ///     sum += session.value;
    /// }
    /// assert_eq!(sum, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<(Vec<u8>, Session<T>)>> {
        self.bytes.iter().map(|item| {
            let (id, session) = item?;
            Ok((id, self.typed(session)?))
        })
    }
}
