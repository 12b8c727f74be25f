//! How a handle behaves: durability, patience, mapping.
//!
//! Options belong to the handle, not to the file: handles of different kinds
//! may share a container.

use std::time::Duration;

use super::timeouts::Timeouts;
use crate::format::entry::Entry;
use crate::format::id::IdForm;

/// When a save is on the disk. Removals and moved deadlines are saves in this.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// use cloakroom::{Container, Durability, Options};
/// use std::time::Duration;
///
/// // A login must outlive a power cut; the pages seen may be some seconds old.
/// let at_leisure = Durability::Interval(Duration::from_secs(5));
/// let logins = Container::create(&path, Options::new().durability(Durability::Durable))?;
/// let pages = Container::open(&path, Options::new().durability(at_leisure))?;
/// logins.save("ada", "logged in")?;
/// assert!(pages.contains("ada")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A save returns when it is on the disk: one fdatasync, shared with the
    /// savers of the same moment. The writer lock is free meanwhile.
    Durable,
    /// A save returns at once, and at most about this long later it is on the
    /// disk, as long as somebody saves. kill -9 loses nothing; after a power cut
    /// a session may be back at an older version, at most that old. If nobody
    /// saves any more, the system writes it within about 35 s. The save that finds
    /// the interval over syncs for all and waits for that, unless
    /// [`Options::background_sync`] leaves it to a thread. A sync that fails is no error of
    /// that save: nothing is durable then until a later one succeeds, the file grows
    /// meanwhile, and [`Info::suspect_sync`](crate::Info::suspect_sync), `cloakroom check`
    /// and the next durable save or [`sync`](crate::ByteContainer::sync) tell.
    Interval(Duration),
    /// The disk gets it when the system likes. For caches and tests. Still never
    /// damaged by a crash. Where only a sync gives space back, as that of sessions that
    /// were removed, a save now and then syncs all the same, rather than let the file
    /// grow; so does one in an interval.
    Never,
}

/// When a handle reads through a map of the file: then a load is no system call.
/// A map takes at least 64 MiB of the address space, and memory only as it is
/// read. 32-bit machines have none.
///
/// ```
/// # use cloakroom::{ByteContainer, MapPolicy, Options};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// let container = ByteContainer::create(&path, Options::new().map(MapPolicy::Never))?;
/// container.save("id", b"a coat")?;
/// std::fs::OpenOptions::new().write(true).open(&path)?.set_len(4096)?;
/// assert!(container.load("id").is_err(), "through a map, this would be a SIGBUS");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapPolicy {
    /// Never: every read is a system call. Such a handle survives with an error, instead of a
    /// SIGBUS, that somebody truncates the file under it, that the disk cannot read a page, and
    /// that a tmpfs is full on which the file has holes.
    Never,
    /// After this many loads and changes: a process that lives for one request is
    /// faster without a map, one that lives long is faster with it.
    AfterLoads(u32),
}

/// Who removes the sessions whose deadline has passed. A load never returns one, removed
/// or not; what is not removed takes up space.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// use cloakroom::{ByteContainer, Options, SweepPolicy};
///
/// // Nobody removes what is to be archived first.
/// let container = ByteContainer::create(&path, Options::new().sweep(SweepPolicy::OnRequest))?;
/// container.save("id", b"a coat")?;
/// container.set_deadline("id", Some(1))?; // long ago
/// container.save("another", b"a hat")?;
/// assert_eq!(container.check()?.expired, 1, "it is still there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepPolicy {
    /// Each change removes some, at most those in one page of the index, where a deadline
    /// has passed.
    WithChanges,
    /// This handle does not, until it is asked to.
    OnRequest,
}

/// Options of a handle.
///
/// ```
/// use cloakroom::{Durability, Options};
/// use std::time::Duration;
///
/// let options = Options::new()
///     .durability(Durability::Durable)
///     .lock_deadline(Duration::from_secs(1));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) lock_deadline: Duration,
    pub(crate) map: MapPolicy,
    pub(crate) background_sync: bool,
    pub(crate) sweep: SweepPolicy,
    pub(crate) mode: u32,
    pub(crate) ids: Option<IdForm>,
    pub(crate) kept_ids: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) touch_percent: u8,
    pub(crate) value_len_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl Options {
    /// [`Durability::Interval`] of 1 s, synced by savers; a lock deadline of 5 s; a
    /// map after 32 loads and changes; sweeping with changes; new files with mode 0600 and
    /// with ids as [`IdForm::Sha256`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// # use std::os::unix::fs::PermissionsExt;
    /// ByteContainer::create(&path, Options::new())?;
    /// assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Options {
        Options {
            durability: Durability::Interval(Duration::from_secs(1)),
            lock_deadline: Duration::from_secs(5),
            map: MapPolicy::AfterLoads(32),
            background_sync: false,
            sweep: SweepPolicy::WithChanges,
            mode: 0o600,
            ids: None,
            kept_ids: false,
            timeouts: Timeouts::NONE,
            touch_percent: 80,
            value_len_max: usize::MAX,
        }
    }

    /// When a save is on the disk.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Durability, Options, storage::MemoryStorage};
    /// let options = Options::new().durability(Durability::Durable);
    /// let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// let epoch = container.info()?.write_epoch;
    /// container.save("id", b"a coat")?;
    /// assert!(container.info()?.synced_epoch >= epoch);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How long to wait for another writer before giving up with
    /// [`Busy`](crate::ErrorKind::Busy), and for another's sync that makes no
    /// progress; each of the waits of an operation may take as long. The first change
    /// of a handle that has to recover waits for a sync under way, too. Zero is some 32
    /// tries without a sleep, and some 1000 for a sync.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, ErrorKind, Options, storage::MemoryStorage};
    /// use cloakroom::storage::{LockName, Storage};
    ///
    /// # let memory = MemoryStorage::new();
    /// # ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
    /// let options = Options::new().lock_deadline(std::time::Duration::from_millis(20));
    /// let container = ByteContainer::open_on(Box::new(memory.share()), options)?;
    /// assert!(memory.try_lock(LockName::Writer)?); // somebody saves, and stops in the midst of it
    /// let busy = container.save("id", b"a coat").unwrap_err();
    /// assert!(matches!(busy.kind(), ErrorKind::Busy { waited_ms: 20.., .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_deadline(mut self, deadline: Duration) -> Options {
        self.lock_deadline = deadline;
        self
    }

    /// When to read through a map.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, MapPolicy, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// // A server will load often: through a map, from the first load on.
    /// let options = Options::new().map(MapPolicy::AfterLoads(0));
    /// let container = ByteContainer::create(&path, options)?;
    /// container.save("id", b"a coat")?;
    /// assert_eq!(container.load("id")?.expect("it was saved").value, b"a coat");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map(mut self, policy: MapPolicy) -> Options {
        self.map = policy;
        self
    }

    /// Leaves the syncs of [`Durability::Interval`] to a thread of the handle,
    /// so that no save ever waits for one. For processes that live long. Means
    /// nothing with another durability; dropping the handle ends the thread, and
    /// waits for a sync that it is in. Where the system has no room for a thread, savers
    /// sync as they would without this.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Durability, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// # use std::time::Duration;
    /// let interval = Durability::Interval(Duration::from_millis(2));
    /// let options = Options::new().durability(interval).background_sync();
    /// let container = ByteContainer::create(&path, options)?;
    /// let epoch = container.info()?.write_epoch;
    /// container.save("id", b"a coat")?;
    /// let synced = |_| {
    ///     std::thread::sleep(Duration::from_millis(1));
    ///     container.info().is_ok_and(|info| info.synced_epoch >= epoch)
    /// };
    /// assert!((0..20_000).any(synced), "soon, though nobody saves any more");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn background_sync(mut self) -> Options {
        self.background_sync = true;
        self
    }

    /// Who removes what has expired.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, SweepPolicy, storage::MemoryStorage};
    /// # let memory = MemoryStorage::new();
    /// let asked = Options::new().sweep(SweepPolicy::OnRequest);
    /// let container = ByteContainer::create_on(Box::new(memory.share()), asked)?;
    /// container.save("id", b"a coat")?;
    /// container.set_deadline("id", Some(1))?; // long ago
    /// container.save("another", b"a hat")?;
    /// assert_eq!(container.len()?, 2);
    /// // A handle as they are usually:
    /// ByteContainer::open_on(Box::new(memory.share()), Options::new())?.save("third", b"")?;
    /// assert_eq!(container.len()?, 2, "one came, and the one that had expired went");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn sweep(mut self, policy: SweepPolicy) -> Options {
        self.sweep = policy;
        self
    }

    /// Permissions of a file that `create` makes; 0600 unless set. The lowest nine
    /// bits count, and umask does not. Whoever may read the file can read the
    /// sessions, and can keep the lock from writers.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// # use std::os::unix::fs::PermissionsExt;
    /// ByteContainer::create(&path, Options::new().mode(0o660))?;
    /// assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o660);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Options {
        self.mode = mode;
        self
    }

    /// The form in which the container keeps ids: a new one is made so
    /// ([`IdForm::Sha256`] unless set), and an existing one that is of the other form is
    /// not opened ([`OtherIds`](crate::ErrorKind::OtherIds)). Unless set, an existing one
    /// is opened whatever its form.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, ErrorKind, IdForm, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions.room");
    /// ByteContainer::create(&path, Options::new().ids(IdForm::Plain))?;
    /// let refused = ByteContainer::open(&path, Options::new().ids(IdForm::Sha256)).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::OtherIds { found: IdForm::Plain }));
    /// ByteContainer::open(&path, Options::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ids(mut self, form: IdForm) -> Options {
        self.ids = Some(form);
        self
    }

    /// Every id that this handle is given is one as the container keeps it, as
    /// [`iter`](crate::ByteContainer::iter) gives it: for programs that copy sessions or
    /// look at them, and do not know the ids themselves.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # let memory = MemoryStorage::new();
    /// let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
    /// container.save("a visitor's secret", b"a coat")?;
    /// let options = Options::new().kept_ids();
    /// let beside = ByteContainer::open_on(Box::new(memory.share()), options)?;
    /// let (kept, _) = beside.iter().next().expect("it was saved")?;
    /// assert!(beside.contains(&kept)? && !container.contains(&kept)?);
    /// assert!(beside.load("a visitor's secret").is_err(), "no SHA-256");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn kept_ids(mut self) -> Options {
        self.kept_ids = true;
        self
    }

    /// The timeouts of sessions that have none of their own. Each save and each touch through
    /// this handle reckons the deadline from them; what other handles are given makes no
    /// difference to these, so give all of a site the same. None unless set: then a session
    /// keeps the deadline that it has.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Timeouts, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// let half_an_hour = Timeouts::NONE.idle(Duration::from_secs(1800));
    /// let options = Options::new().timeouts(half_an_hour);
    /// let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// container.save("id", b"a coat")?;
    /// let times = container.load("id")?.expect("it lives").times;
    /// assert_eq!(times.deadline_ms, Some(times.saved_ms + 1_800_000));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn timeouts(mut self, timeouts: Timeouts) -> Options {
        self.timeouts = timeouts;
        self
    }

    /// How much of its idle time a session may have left, in percent, for a
    /// [`touch`](crate::ByteContainer::touch) to be written; 80 unless set. With less, fewer
    /// requests write, and a session may end so much earlier; with 100 each touch is written.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Timeouts, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// let options = Options::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(1800)));
    /// let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// container.save("id", b"a coat")?;
    /// let before = container.load("id")?.expect("it lives").times;
    /// assert!(container.touch("id")?);
    /// assert_eq!(container.load("id")?.expect("it lives").times, before, "not for a moment");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn touch_percent(mut self, percent: u8) -> Options {
        self.touch_percent = percent;
        self
    }

    /// The largest value that this handle saves, in bytes (as JSON, for a
    /// [`Container`](crate::Container)), where that is less than the 4 MiB that a container
    /// takes: so that no visitor fills the disk alone. What is there already can be loaded,
    /// whatever its length.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, ErrorKind, Options, storage::MemoryStorage};
    /// let options = Options::new().value_len_max(1000);
    /// let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// container.save("id", &[b'x'; 1000])?;
    /// let refused = container.save("id", &[b'x'; 1001]).unwrap_err();
    /// assert!(matches!(refused.kind(), ErrorKind::TooLarge { len: 1001, max: 1000 }));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn value_len_max(mut self, bytes: usize) -> Options {
        self.value_len_max = bytes;
        self
    }

    /// The deadline that a touch gives a session with these timeouts, if it is to be written.
    pub(crate) fn touched(&self, timeouts: Timeouts, entry: &Entry, now_ms: u64) -> Option<u64> {
        let before = entry.deadline_ms;
        let next = timeouts.deadline(before, entry.created_ms, now_ms);
        timeouts.touch_is_due(before, next, self.touch_percent, now_ms).then_some(next)
    }

    pub(crate) fn ids_at_creation(&self) -> IdForm {
        self.ids.unwrap_or(IdForm::Sha256)
    }
}
