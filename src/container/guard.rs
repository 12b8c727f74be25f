//! Guards: who holds a session for a whole request, from the load to the save.
//!
//! A guard is a lock beside the file's content, one of 2^61, chosen by the session's tag.
//! It keeps off other guards of the same session and nothing else: loads, saves and other
//! sessions go on. Each guard has an open file description of its own, since such locks
//! belong to descriptions; it vanishes with it, also when the process is killed. Nothing
//! in the file says who guards what, so there is nothing to repair. Where the id's session was
//! rotated, whoever comes by the old id guards both: the one who rotated it may still hold
//! the first, and others come by the second.

use std::time::Duration;

use super::handle::ByteContainer;
use super::index::reading;
use super::open_file::OpenFile;
use super::writer::Patience;
use crate::error::{Awaited, Error, ErrorKind, Result};
use crate::format::id::NO_DIGITS;
use crate::storage::{LockName, Storage};

/// Times that a file that is replaced all the time is opened anew.
const ATTEMPTS: u32 = 16;

/// A session that nobody else guards, until this is dropped. Made by
/// [`ByteContainer::guard`].
///
/// ```
/// # use cloakroom::{ByteContainer, Guard, Options};
/// # use std::time::Duration;
/// # let dir = tempfile::tempdir()?;
/// # let container = ByteContainer::create(dir.path().join("sessions.room"), Options::new())?;
/// let request: Guard = container.guard("id", Duration::from_secs(10))?;
/// assert!(container.guard("id", Duration::ZERO).is_err(), "another request waits in vain");
/// drop(request);
/// assert!(container.guard("id", Duration::ZERO).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the session is guarded as long as this lives"]
pub struct Guard {
    _held: Vec<Held>,
}

/// One lock of a guard.
struct Held {
    storage: Box<dyn Storage>,
    lock: LockName,
    /// Whose it is: a forked child may have the parent's description, and must not unlock it.
    process_id: u32,
}

impl std::fmt::Debug for Guard {
    /// Never shows whose.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.storage.process_id() == self.process_id {
            // If this fails, closing the description releases the lock.
            let _ = self.storage.unlock(self.lock);
        }
    }
}

/// Guards.
impl ByteContainer {
    /// Waits until nobody else guards the session, at most so long, and guards it: for a
    /// program that loads a session at the beginning of a request, saves it at the end, and
    /// must not lose what another request of the same visitor saves in between. It
    /// works among those who all ask for a guard; a save without one goes on, and so does
    /// everything about other sessions. There need not be such a session yet.
    ///
    /// The guard ends when it is dropped, and when its process dies. A forked child guards
    /// nothing. A file that takes the container's name is guarded anew: who guards a session
    /// in the old one keeps off nobody there. Asking inside an `update` keeps others from
    /// saving, and so from ending theirs. Whoever guards a session twice waits for itself in
    /// vain; whoever guards several at once should do so in a fixed order. Two sessions in 2^61
    /// share a guard.
    ///
    /// Costs opening the file once more, and a descriptor while it is waited for and as long as
    /// it lasts; who waits looks about a thousand times a second.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) with [`Awaited::Guard`], [`InvalidId`](ErrorKind::InvalidId),
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// # use cloakroom::{Awaited, ByteContainer, ErrorKind, Options, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// let patience = Duration::from_millis(10);
    /// let request = container.guard("id", patience)?;
    /// let pages = container.load("id")?.map_or(0, |session| session.value[0]);
    /// // ... the page is made, and takes its time ...
    /// container.save("id", &[pages + 1])?;
    ///
    /// let refused = container.guard("id", patience).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::Busy { awaited: Awaited::Guard, .. }));
    /// let _other_visitor = container.guard("another", patience)?;
    /// drop(request);
    /// let _next_request = container.guard("id", patience)?;
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn guard(&self, id: impl AsRef<[u8]>, patience: Duration) -> Result<Guard> {
        let mut waiting = Patience::new(patience);
        for _ in 0..ATTEMPTS {
            let file = self.file.file()?;
            let taken = file.take_guard(id.as_ref(), &mut waiting);
            match taken.map_err(|error| error.at(file.path.as_deref()))? {
                Some(guard) => return Ok(guard),
                None => self.follow_name(&file)?,
            }
        }
        Err(self.timed_out("guard a session"))
    }
}

impl OpenFile {
    /// `None` if the file was replaced under its name.
    fn take_guard(&self, id: &[u8], waiting: &mut Patience) -> Result<Option<Guard>> {
        if let Some(why) = self.read_only {
            return Err(ErrorKind::ReadOnly(why).into());
        }
        let mut space = NO_DIGITS;
        let kept_id = self.kept(id, &mut space)?;
        let mut ids = vec![kept_id.to_vec()];
        let mut held = Vec::new();
        while let Some(id) = ids.get(held.len()) {
            let Some(lock) = self.lock_guard(id, waiting)? else { return Ok(None) };
            held.push(lock);
            // Whoever was waited for may have rotated it.
            ids.extend(self.led(kept_id)?.filter(|led| !ids.contains(led)));
            if held.len() > ATTEMPTS as usize {
                return Err(Error::io("guard a session", std::io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(Some(Guard { _held: held }))
    }

    /// `None` if the file was replaced under its name.
    fn lock_guard(&self, kept_id: &[u8], waiting: &mut Patience) -> Result<Option<Held>> {
        let lock = LockName::Guard(self.key(kept_id).tag.line_half());
        let opened = self.storage().reopen().map_err(|source| Error::io("open anew", source))?;
        let Some(storage) = opened else {
            return Err(Error::io("open anew", std::io::ErrorKind::NotFound.into()));
        };
        let process_id = storage.process_id();
        let held = Held { storage, lock, process_id };
        while !held.storage.try_lock(lock).map_err(|source| Error::io("lock", source))? {
            waiting.pause(self.storage()).map_err(|waited_ms| {
                Error::from(ErrorKind::Busy { awaited: Awaited::Guard, holder: None, waited_ms })
            })?;
        }
        // Those who come from now on guard what has the name, and use that.
        let theirs = held.storage.as_ref();
        let gone = theirs.status().map_err(reading)?.links == 0;
        let inode = |storage: &dyn Storage| {
            let view = storage.view().map_err(|source| Error::io("tell files apart", source))?;
            Ok::<_, Error>(view.map(|view| (view.device, view.inode)))
        };
        let replaced = gone || inode(self.storage())? != inode(theirs)?;
        Ok((!replaced).then_some(held))
    }
}
