//! Keeping sessions alive: a touch moves the deadline on, and writes the entry alone.
//!
//! Most touches need not be written, since most of the idle time is left: that is seen
//! without the lock, and is no promise of anything. Under the lock it is looked at again.
//! The entry is published as by any change, with the words that it has: what a power cut
//! has taken must not come back with a later deadline (invariants 14 and 15).

use super::handle::{ByteContainer, Name};
#[cfg(doc)]
use super::options::Options;
use super::rules::{Rule, holds};
use super::save::{Key, Target};
use super::timeouts::Timeouts;
use super::writer::{Attempt, Writer};
use crate::error::Result;
use crate::format::TIME_MS_MAX;
use crate::format::entry::Entry;

/// Deadlines.
impl ByteContainer {
    /// Keeps a session alive: its deadline becomes what its [`Timeouts`](crate::Timeouts), or
    /// else those of the handle, say from now on. False if there is no such session, or it is over
    /// by an absolute timeout. Without
    /// timeouts there is nothing to do, and as long as most of the idle time is left
    /// ([`Options::touch_percent`](crate::Options::touch_percent)) nothing is done: that costs
    /// a load, and says nothing of whether an earlier touch is on the disk. Else one line of 64
    /// bytes is written, after a reading of the value where the session has timeouts of its own.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], and as [`ByteContainer::load`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Timeouts, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// let idle = Timeouts::NONE.idle(Duration::from_secs(1800));
    /// let options = Options::new().timeouts(idle).touch_percent(100);
    /// let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// container.save("id", b"a coat")?;
    /// # std::thread::sleep(Duration::from_millis(2));
    /// assert!(container.touch("id")?);
    /// let times = container.load("id")?.expect("it lives").times;
    /// assert!(times.deadline_ms > Some(times.saved_ms + 1_800_000));
    /// assert!(!container.touch("another")?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn touch(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        if let Some(there) = self.needs_no_touch(id.as_ref())? {
            return Ok(there);
        }
        self.change(id.as_ref(), |writer, key, target| writer.touch(key, target))
    }

    /// What a look without the lock says of a touch: that there is no session, that it needs
    /// none, or nothing yet.
    fn needs_no_touch(&self, id: &[u8]) -> Result<Option<bool>> {
        let Some(found) = self.found(Name::Id(id), &mut Vec::new())? else {
            return Ok(Some(false));
        };
        let options = &self.file.current().options;
        let timeouts = found.own_timeouts().unwrap_or(options.timeouts);
        let now_ms = self.file.current().storage().now_ms();
        let touched = options.touched(timeouts, &found.entry, now_ms);
        Ok(if touched.is_none() { Some(true) } else { None })
    }

    /// Sets a session's deadline (milliseconds since 1970; `None` is never; see
    /// [`Times`](crate::Times) for the range) without writing its value. False if there is no
    /// such session. Writes one line of 64 bytes. It holds until a save or a touch
    /// reckons another one from timeouts.
    ///
    /// # Errors
    /// As [`ByteContainer::save`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let version = container.save("id", b"a coat")?;
    /// assert!(container.set_deadline("id", Some(4_000_000_000_000))?, "in the year 2096");
    /// let session = container.load("id")?.expect("it lives");
    /// assert_eq!(session.times.deadline_ms, Some(4_000_000_000_000));
    /// assert_eq!(session.version, version);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn set_deadline(&self, id: impl AsRef<[u8]>, deadline_ms: Option<u64>) -> Result<bool> {
        self.change(
            id.as_ref(),
            |writer, _, target| // 0 stands for never in the entry; a deadline of 0 has long passed.
            writer.set_deadline(target, deadline_ms.map_or(0, |deadline_ms| deadline_ms.max(1))),
        )
    }
}

impl Writer<'_> {
    /// The timeouts of a living session's own.
    pub(super) fn own_timeouts(&self, key: Key<'_>, target: &Target) -> Result<Option<Timeouts>> {
        let noted = target.living.is_some_and(|entry| entry.further);
        if !noted || !holds(Rule::NextVersionHasTimeouts) {
            return Ok(None);
        }
        let read = || self.read(key, target, &mut Vec::new());
        // Once more: who goes on without them would end the session too early, or never.
        let found = match read() {
            Err(error) if error.is_of_the_medium() => read(),
            found => found,
        };
        Ok(found?.and_then(|found| found.own_timeouts()))
    }

    /// Moves the deadline of a living session on, if its timeouts say so and it is time.
    fn touch(&mut self, key: Key<'_>, target: &Target) -> Result<Attempt<bool>> {
        let Some(living) = target.living else {
            return Ok(Attempt::Done(false));
        };
        let timeouts = self.own_timeouts(key, target)?.unwrap_or(self.file.options.timeouts);
        let now_ms = self.file.storage().now_ms();
        let Some(deadline_ms) = self.file.options.touched(timeouts, &living, now_ms) else {
            return Ok(Attempt::Done(true));
        };
        Ok(match self.set_deadline(target, deadline_ms)? {
            // Its absolute timeout may be over.
            Attempt::Done(lives) => Attempt::Done(lives && deadline_ms > now_ms),
            Attempt::Sync => Attempt::Sync,
        })
    }

    /// Moves the deadline of a living session. Only the entry is written.
    fn set_deadline(&mut self, target: &Target, deadline_ms: u64) -> Result<Attempt<bool>> {
        let Some(living) = target.living else {
            return Ok(Attempt::Done(false));
        };
        // Its words stay: what a cut took must not.
        let living = self.clean(&living)?;
        let Some(lines) = target.spots.lines() else {
            self.want_room(target)?;
            return Ok(Attempt::Sync);
        };
        if living.deadline_ms != 0 && living.is_expired(self.file.storage().now_ms()) {
            // Others may have seen that it is over.
            return Ok(Attempt::Done(false));
        }
        let entry = Entry { deadline_ms: deadline_ms.min(TIME_MS_MAX), ..living };
        self.publish(target, &lines, target.raw, entry)?;
        Ok(Attempt::Done(true))
    }
}
