//! What becomes of a session besides its value: it is kept alive, guarded, given another id,
//! swept.
//!
//! All of it is the container's own doing; nothing here knows of JSON.

use std::time::Duration;

use crate::{Container, Guard, Outcome, Result, Rotated, Swept};

/// The life of sessions.
impl Container {
    /// Keeps the session alive, as its timeouts say; false where there is no such session. What
    /// it costs is said of [`ByteContainer::touch`](crate::ByteContainer::touch).
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// use cloakroom::{Container, Options, Timeouts};
    /// use std::time::Duration;
    ///
    /// let idle = Timeouts::NONE.idle(Duration::from_secs(1800));
    /// let container = Container::create(&path, Options::new().timeouts(idle))?;
    /// container.save("a ticket", &1)?;
    /// assert!(container.touch("a ticket")?);
    /// assert!(!container.touch("another")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn touch(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.bytes.touch(id)
    }

    /// Sets the deadline, in milliseconds since 1970 (`None` is never; see [`Times`](crate::Times)
    /// for the range), without touching value or version; false where there is no
    /// such session.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &1)?;
    /// assert!(container.set_deadline("a ticket", Some(1_000))?);
    /// assert!(container.load::<u64>("a ticket")?.is_none(), "1970 is over");
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_deadline(&self, id: impl AsRef<[u8]>, deadline_ms: Option<u64>) -> Result<bool> {
        self.bytes.set_deadline(id, deadline_ms)
    }

    /// Waits until nobody else guards the session, at most so long, and guards it until what
    /// is returned is dropped; what that means is said of
    /// [`ByteContainer::guard`](crate::ByteContainer::guard).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) with [`Awaited::Guard`](crate::Awaited::Guard).
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// let request = container.guard("a ticket", std::time::Duration::from_secs(5))?;
    /// let pages = container.load::<u64>("a ticket")?.map_or(0, |session| session.value);
    /// // ... the page is made, and takes its time ...
    /// container.save("a ticket", &(pages + 1))?;
    /// drop(request);
    /// # Ok(())
    /// # }
    /// ```
    pub fn guard(&self, id: impl AsRef<[u8]>, patience: Duration) -> Result<Guard> {
        self.bytes.guard(id, patience)
    }

    /// Lets a session go on under another id, as at a login, while the old id leads there for
    /// `grace`; what that means and costs is said of
    /// [`ByteContainer::rotate`](crate::ByteContainer::rotate).
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// # use std::time::Duration;
    /// container.save("a ticket", &["a coat"])?;
    /// let grace = Duration::from_secs(30);
    /// container.rotate("a ticket", "another", grace)?.saved().expect("it lives");
    /// let coats = container.load::<Vec<String>>("another")?.expect("it goes on").value;
    /// assert_eq!(coats, ["a coat"]);
    /// assert!(container.load::<Vec<String>>("a ticket")?.is_some(), "for half a minute");
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotate(
        &self,
        old_id: impl AsRef<[u8]>,
        new_id: impl AsRef<[u8]>,
        grace: Duration,
    ) -> Result<Outcome> {
        self.bytes.rotate(old_id, new_id, grace)
    }

    /// What an id says that a session was rotated from
    /// ([`ByteContainer::rotated`](crate::ByteContainer::rotated)).
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// # use std::time::Duration;
    /// container.save("a ticket", &1)?;
    /// container.rotate("a ticket", "another", Duration::ZERO)?.saved().expect("it lives");
    /// let rotated = container.rotated("a ticket")?.expect("it says so");
    /// assert_eq!(rotated.until_ms, rotated.rotated_ms);
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotated(&self, id: impl AsRef<[u8]>) -> Result<Option<Rotated>> {
        self.bytes.rotated(id)
    }

    /// Removes up to `limit` sessions whose deadline has passed. What it costs, and who
    /// else does it, is said of [`ByteContainer::sweep`](crate::ByteContainer::sweep);
    /// [`ByteContainer::sweep_with`](crate::ByteContainer::sweep_with) shows each before it
    /// goes.
    ///
    /// ```
    /// # fn main() -> cloakroom::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let path = dir.path().join("sessions");
    /// # let container = cloakroom::Container::create(&path, cloakroom::Options::new())?;
    /// container.save("a ticket", &1)?;
    /// container.set_deadline("a ticket", Some(1_000))?; // 1970 is over
    /// assert_eq!(container.sweep(u64::MAX)?.removed, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sweep(&self, limit: u64) -> Result<Swept> {
        self.bytes.sweep(limit)
    }
}
