//! The handle that applications hold: [`ByteContainer`], what it tells of the container
//! as a whole, and how it ends.
//!
//! What is done with sessions is in `operations`, and how one change is done in `operate`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::background::Background;
use super::current::CurrentFile;
use super::index::reading;
use super::info::Info;
use super::iter::Sessions;
use super::open_file::OpenFile;
use super::options::Durability;
use super::report::Report;
use super::writer::Locked;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ID_LEN_MAX;
use crate::format::id::{Digits, IdForm, NO_DIGITS};

/// Times that an operation is begun again because it had to wait for a sync.
pub(super) const ATTEMPTS: u32 = 16;

/// How an operation is told which session is meant.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    /// By the id, or what the handle takes for one.
    Id(&'a [u8]),
    /// By what the container keeps of the id.
    Kept(&'a [u8]),
}

impl OpenFile {
    /// What is kept of the id of the session that is meant.
    #[inline]
    pub(super) fn named<'a>(&self, name: Name<'a>, space: &'a mut Digits) -> Result<&'a [u8]> {
        match name {
            Name::Id(id) => self.kept(id, space),
            Name::Kept(id) => self.valid_kept(id),
        }
    }
}

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
/// # Cost
/// Whatever the number of sessions: a load is four small reads, or three once the
/// handle knows this part of the index, and one more for each 64 KiB of a value
/// that is larger than 32 KiB; they are system calls until the handle reads
/// through a [map](crate::MapPolicy). A change is some ten system calls, two to
/// five of them writes, and one more for each 4 KiB of such a large value. What it
/// waits for is in [`Durability`](crate::Durability).
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
    pub(super) file: Arc<CurrentFile>,
    pub(super) background: Option<Background>,
    /// Loads and touches that found no session.
    pub(super) misses: AtomicU64,
}

/// The container as a whole.
impl ByteContainer {
    /// Longest id, in bytes. The shortest has one.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save([b'x'; ByteContainer::ID_LEN_MAX], b"a coat")?;
    /// assert!(container.save([b'x'; ByteContainer::ID_LEN_MAX + 1], b"a coat").is_err());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub const ID_LEN_MAX: usize = ID_LEN_MAX;

    /// What the container keeps of an id, and [`ByteContainer::iter`] gives: the id itself, or
    /// the digits of its SHA-256 ([`IdForm`](crate::IdForm)). To find a session in a dump, or
    /// to name it in a log.
    ///
    /// # Errors
    /// [`InvalidId`](ErrorKind::InvalidId).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let (kept, _) = container.iter().next().expect("it was saved")?;
    /// assert_eq!(kept, container.kept_id("id")?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn kept_id(&self, id: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let (id, file) = (id.as_ref(), self.file.current());
        if !IdForm::Plain.can_keep(id) {
            return Err(self.refused(ErrorKind::InvalidId { len: id.len() }));
        }
        let mut space = NO_DIGITS;
        Ok(file.header.ids.kept(id, &mut space).to_vec())
    }

    /// The form in which the container keeps ids.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, IdForm, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// assert_eq!(container.id_form(), IdForm::Sha256);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn id_form(&self) -> IdForm {
        self.file.current().header.ids
    }

    /// Number of sessions as counted, expired ones included until they are
    /// removed. Reads one line for each segment of the index, which has room for
    /// 1016 sessions. After a crash it may be off until each of these was walked
    /// once.
    ///
    /// # Errors
    /// [`Damaged`](ErrorKind::Damaged), [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// for id in ["one", "two", "three"] {
    ///     container.save(id, b"a coat")?;
    /// }
    /// container.remove("two")?;
    /// assert_eq!(container.len()?, 2);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.reading(OpenFile::count_sessions)
    }

    /// Whether no session is counted. Costs what [`ByteContainer::len`] does.
    ///
    /// # Errors
    /// As [`ByteContainer::len`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// assert!(container.is_empty()?);
    /// container.save("id", b"a coat")?;
    /// assert!(!container.is_empty()?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// How often this handle was asked for a session that there is not, by a load or a touch, since
    /// it was opened: where that rises fast, somebody may be guessing ids.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// container.load("id")?;
    /// container.load("a guess")?;
    /// assert_eq!(container.misses(), 1);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// All sessions with their ids as they are kept
    /// ([`ByteContainer::kept_id`]), in no order that means anything. Those that
    /// live throughout come exactly once, others at most once; one that is rotated meanwhile may
    /// come under both of its ids. Takes no lock;
    /// reads the index, 64 KiB at a time, and loads each session when its turn
    /// comes.
    ///
    /// # Errors
    /// Each item may be one: [`Damaged`](ErrorKind::Damaged) for a session that cannot
    /// be read, after which the walk goes on, or [`Io`](ErrorKind::Io), which ends it.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("one", b"a coat")?;
    /// container.save("two", b"a hat")?;
    /// let mut bytes = 0;
    /// for item in container.iter() {
    ///     let (_kept_id, session) = item?;
    ///     bytes += session.value.len();
    /// }
    /// assert_eq!(bytes, 11);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn iter(&self) -> Sessions<'_> {
        Sessions::new(Arc::clone(&self.file.current()))
    }

    /// Returns when everything saved before, by anybody, is on the disk, whatever
    /// the durability of the handles. One fdatasync, shared with whoever waits for
    /// one at the same time; the writer lock is free meanwhile.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy), [`Damaged`](ErrorKind::Damaged),
    /// [`Full`](ErrorKind::Full), [`Io`](ErrorKind::Io),
    /// [`ReadOnly`](ErrorKind::ReadOnly), and
    /// [`Reentered`](ErrorKind::Reentered) from inside an `update`.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let published = container.info()?.write_epoch;
    /// container.sync()?;
    /// assert!(container.info()?.synced_epoch >= published);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let file = self.file.file()?;
            if sync(&file).map_err(|error| error.at(file.path.as_deref()))? {
                return Ok(());
            }
            self.follow_name(&file)?;
        }
        Err(self.timed_out("sync"))
    }

    /// Facts about the container. Costs a few reads, what [`ByteContainer::len`]
    /// does, and a look at `/proc/locks`.
    ///
    /// # Errors
    /// [`Damaged`](ErrorKind::Damaged), [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let info = container.info()?;
    /// assert_eq!((info.sessions, info.length % 65536), (1, 0));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn info(&self) -> Result<Info> {
        self.reading(OpenFile::info)
    }

    /// Looks at everything in the container and reports what contradicts itself.
    /// Takes no lock and changes nothing; on a container in use a suspicious
    /// place is read again before it is reported. Costs a reading of all that
    /// means anything in the file, and 32 to 64 bytes of memory for each version
    /// in it and for each 64 KiB of those above 32 KiB.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io). Damage is in the report.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("id", b"a coat")?;
    /// let report = container.check()?;
    /// assert!(report.is_sound());
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn check(&self) -> Result<Report> {
        self.reading(OpenFile::check)
    }

    fn reading<T>(&self, read: impl FnOnce(&OpenFile) -> Result<T>) -> Result<T> {
        let file = self.file.current();
        read(&file).map_err(|error| error.at(file.path.as_deref()))
    }

    /// What is refused before the file is looked at.
    pub(crate) fn refused(&self, kind: ErrorKind) -> Error {
        Error::from(kind).at(self.file.current().path.as_deref())
    }

    pub(super) fn timed_out(&self, action: &'static str) -> Error {
        let file = self.file.current();
        Error::io(action, std::io::ErrorKind::TimedOut.into()).at(file.path.as_deref())
    }
}

/// Syncs what there is. False if the file was replaced.
fn sync(file: &OpenFile) -> Result<bool> {
    if let Some(why) = file.read_only {
        return Err(ErrorKind::ReadOnly(why).into());
    }
    file.sync_until(file.control_line()?.write_epoch)?;
    Ok(file.storage().status().map_err(reading)?.links > 0)
}

impl Drop for ByteContainer {
    /// Gives back what the handle keeps, if the lock is free, and syncs if its interval is
    /// over, which may wait for the lock as long as a change. In a forked child nothing of
    /// the parent's is touched.
    fn drop(&mut self) {
        let file = self.file.current();
        let ours = file.is_own_process();
        if let Some(background) = self.background.take() {
            // The thread is of the process that made the handle, which is not ours in
            // a forked child, even if that has opened the file anew.
            if self.file.is_of_this_process() {
                background.stop();
            } else {
                background.forget();
            }
        }
        if !ours || file.read_only.is_some() {
            return;
        }
        let keeps = !file.local().spares.is_empty();
        if keeps && let Ok(Locked::Here(mut writer)) = file.lock_within(Duration::ZERO, 0) {
            // What is not given back leaks until the next generation.
            let _ = writer.release_spares();
        }
        if let Durability::Interval(interval) = file.options.durability
            && !file.compared_within(interval)
        {
            self.file.sync_if_due(interval);
        }
    }
}
