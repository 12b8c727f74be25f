//! The only way to a file, a lock, a clock or a random number.
//!
//! [`Storage`] offers primitives: read, write, extend, sync, map, two named
//! locks, time. Which lock is taken when, what a byte means and what a failure
//! implies is decided above; nothing here knows the format. Three storages
//! implement it: [`FileStorage`] (a real file), [`MemoryStorage`] (bytes shared
//! by handles of one process) and, with the feature `simulation`,
//! `SimulatedStorage`, on which processes can be killed and the
//! power be cut at every call.
//!
//! All `unsafe` code of the crate is in `sys`.

mod file;
mod linux;
mod memory;
#[cfg(feature = "simulation")]
pub mod simulated;
mod sys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use file::{Access, FileStorage, OpenError, Origin};
pub use memory::MemoryStorage;
pub(crate) use memory::wall_clock_ms;

/// The locks of a container. All are exclusive and belong to one [`Storage`]
/// value (not to a thread or a process); they vanish when their holder dies.
///
/// ```
/// # use cloakroom::storage::{LockName, MemoryStorage, Storage};
/// let one = MemoryStorage::new();
/// let other = one.share();
/// assert!(one.try_lock(LockName::Writer)?);
/// assert!(!other.try_lock(LockName::Writer)?);
/// assert!(other.try_lock(LockName::Sync)?, "they are two");
/// drop(one);
/// assert!(other.try_lock(LockName::Writer)?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockName {
    /// Held while anything is written to the file.
    Writer,
    /// Held by whoever syncs, or recovers: the first change after the system was started.
    Sync,
    /// Held by whoever wants a session for itself for a while. There are 2^61 of them: the
    /// three lowest bits of the number do not count.
    Guard(u64),
}

/// What the file system says about the file at this moment.
///
/// ```
/// # use cloakroom::storage::{FileStorage, Status, Storage};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// let (file, _) = FileStorage::create(&path, 0o600)?;
/// assert_eq!(file.status()?, Status { len: 0, links: 1 });
/// std::fs::remove_file(&path)?;
/// assert_eq!(file.status()?.links, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Length in bytes.
    pub len: u64,
    /// Number of names; 0 once the file was unlinked or renamed over.
    pub links: u64,
}

/// Through which boot and which mount this storage sees its file. Equal views
/// share one page cache: what one wrote, the other reads. It is compared, never
/// interpreted.
///
/// ```
/// # use cloakroom::storage::{FileStorage, Storage};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// let (one, _) = FileStorage::create(&path, 0o600)?;
/// let (other, _) = FileStorage::create(&path, 0o600)?;
/// assert_eq!(one.view()?, other.view()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Differs after a reboot.
    pub boot: [u8; 16],
    /// Unique number of the mount within the boot.
    pub mount: u64,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// How to wait a moment for somebody else.
///
/// ```
/// # use cloakroom::storage::{MemoryStorage, Pause, Storage};
/// let storage = MemoryStorage::new();
/// let (before, time) = (storage.uptime(), std::time::Duration::from_millis(2));
/// storage.pause(Pause::Sleep(time));
/// assert!(storage.uptime() - before >= time);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Let another runnable thread go first.
    Yield,
    /// Sleep about this long.
    Sleep(Duration),
}

/// The memory of a file that others may change at any moment. Bytes are copied
/// out, never borrowed.
///
/// ```
/// # use cloakroom::storage::{FileStorage, ReadMap, Storage};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// let (file, _) = FileStorage::create(&path, 0o600)?;
/// file.write_at(b"a coat, a hat", 0)?;
/// if let Some(map) = file.map(13)? {
///     let mut bytes = [0; 5];
///     assert!(map.copy_out(&mut bytes, 8));
///     assert_eq!(&bytes, b"a hat");
///     assert!(!map.copy_out(&mut bytes, 4), "that is no multiple of 8");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ReadMap: Send + Sync + fmt::Debug {
    /// Number of bytes that may be asked for; the caller knows by
    /// [`Storage::status`] how many of them the file has. To ask for others may
    /// end in a SIGBUS.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, _) = FileStorage::create(dir.path().join("file"), 0o600)?;
    /// file.write_at(b"a coat", 0)?;
    /// if let Some(map) = file.map(6)? {
    ///     assert!(map.len() >= 6 && !map.is_empty());
    ///     assert_eq!(file.status()?.len, 6, "no more of them are the file's");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn len(&self) -> u64;

    /// True when nothing is mapped.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `bytes.len()` bytes from `offset`, each aligned 8-byte word of the
    /// file in one load. `offset` must be a multiple of 8. False when the range
    /// is not within [`ReadMap::len`]; `bytes` is then untouched.
    fn copy_out(&self, bytes: &mut [u8], offset: u64) -> bool;

    /// Says that `len` bytes from `offset` will soon be asked for. A hint, which
    /// changes nothing but how long that takes; without one of its own a map does
    /// nothing.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, ReadMap, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, _) = FileStorage::create(dir.path().join("file"), 0o600)?;
    /// file.write_at(b"a coat, a hat", 0)?;
    /// if let Some(map) = file.map(16)? {
    ///     map.prefetch(8, 5);
    ///     let mut bytes = [0; 5];
    ///     assert!(map.copy_out(&mut bytes, 8));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn prefetch(&self, offset: u64, len: usize) {
        let _ = (offset, len);
    }
}

/// One open file together with its surroundings: locks, clocks, randomness.
///
/// Calls may come from several threads at once. Every call may fail, and a
/// failed call may have been carried out in part, except where noted. Offsets and
/// lengths are in bytes.
///
/// ```
/// # use cloakroom::storage::{Fill, MemoryStorage, Storage};
/// let storage: Box<dyn Storage> = Box::new(MemoryStorage::new());
/// storage.extend(0, 4096, Fill::Zeros)?;
/// storage.write_at(b"a coat", 64)?;
/// storage.sync()?;
/// let mut bytes = [1; 8];
/// assert_eq!(storage.read_at(&mut bytes, 64)?, 8);
/// assert_eq!(&bytes, b"a coat\0\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Storage: Send + Sync + fmt::Debug {
    /// Length and link count, by one system call.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::from_bytes(b"a coat".to_vec());
    /// assert_eq!(storage.status()?.len, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn status(&self) -> io::Result<Status>;

    /// Length of the file when this storage was opened, or a later one.
    fn first_len(&self) -> io::Result<u64> {
        Ok(self.status()?.len)
    }

    /// Fills `bytes` from `offset`, as far as the file reaches, and returns how
    /// many bytes that was. Interrupted calls are taken up again.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::from_bytes(b"a coat".to_vec());
    /// let mut bytes = [0; 100];
    /// assert_eq!(storage.read_at(&mut bytes, 2)?, 4);
    /// assert_eq!(&bytes[..4], b"coat");
    /// assert_eq!(storage.read_at(&mut bytes, 1000)?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, with one system call per call unless
    /// the system cuts it short. A process that is killed meanwhile has written
    /// a prefix that ends at a multiple of 4096 of the file's offsets.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// storage.write_at(b"hat", 2)?;
    /// assert_eq!(storage.to_bytes(), b"\0\0hat");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file reach to `to`: reserves the space from `from` on, then writes
    /// zeros over it in pieces of 4 KiB where `fill` says so. `from` is the present
    /// length, rounded by the caller: what the file has beyond it must be of no
    /// worth. On failure the file may have grown.
    ///
    /// ```
    /// # use cloakroom::storage::{Fill, MemoryStorage, Storage};
    /// let storage = MemoryStorage::from_bytes(b"a coat, and what nobody needs".to_vec());
    /// storage.extend(6, 4096, Fill::Zeros)?;
    /// assert_eq!(storage.to_bytes()[..8], *b"a coat\0\0");
    /// assert_eq!(storage.status()?.len, 4096);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()>;

    /// Returns when everything written before the call is on the disk.
    fn sync(&self) -> io::Result<()>;

    /// A read-only map of at least the first `len` bytes, or `None` where this
    /// storage has no maps. Bytes beyond the end of the file must not be asked
    /// for.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, MemoryStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// let (file, _) = FileStorage::create(dir.path().join("file"), 0o600)?;
    /// file.write_at(b"a coat", 0)?;
    /// assert!(file.map(6)?.is_none_or(|map| map.len() >= 6));
    /// assert!(MemoryStorage::new().map(6)?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>>;

    /// Takes the lock if nobody holds it. Never waits.
    ///
    /// ```
    /// # use cloakroom::storage::{LockName, MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// assert!(storage.try_lock(LockName::Writer)?);
    /// assert!(storage.try_lock(LockName::Writer)?, "it is its own");
    /// assert!(!storage.share().try_lock(LockName::Writer)?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn try_lock(&self, lock: LockName) -> io::Result<bool>;

    /// Gives the lock back.
    ///
    /// ```
    /// # use cloakroom::storage::{LockName, MemoryStorage, Storage};
    /// let one = MemoryStorage::new();
    /// let other = one.share();
    /// assert!(one.try_lock(LockName::Writer)?);
    /// one.unlock(LockName::Writer)?;
    /// assert!(other.try_lock(LockName::Writer)?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn unlock(&self, lock: LockName) -> io::Result<()>;

    /// Process id of the holder of [`LockName::Writer`], where it can be found.
    /// A hint for people, nothing to act on.
    ///
    /// ```
    /// # use cloakroom::storage::{LockName, MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// assert_eq!(storage.lock_holder(), None);
    /// assert!(storage.try_lock(LockName::Writer)?);
    /// assert_eq!(storage.share().lock_holder(), Some(std::process::id()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn lock_holder(&self) -> Option<u32>;

    /// Opens the same name again: a new storage with locks of its own. `None`
    /// where the storage has no name.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("file");
    /// let (file, _) = FileStorage::create(&path, 0o600)?;
    /// std::fs::write(dir.path().join("backup"), "a coat")?;
    /// std::fs::rename(dir.path().join("backup"), path)?;
    /// let latest = file.reopen()?.expect("a file has a name");
    /// assert_eq!((file.status()?.len, latest.status()?.len), (0, 6));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>>;

    /// Lets go of what a forked child inherited: the locks of its parent, which
    /// would outlive the parent as long as the child has the file open. Nothing
    /// may be read or written through this storage afterwards.
    fn abandon(&self) {}

    /// The view, or `None` where the boot or the mount cannot be told.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// let (one, _) = FileStorage::create(dir.path().join("one"), 0o600)?;
    /// let (other, _) = FileStorage::create(dir.path().join("other"), 0o600)?;
    /// if let (Some(one), Some(other)) = (one.view()?, other.view()?) {
    ///     assert_eq!((one.boot, one.mount), (other.boot, other.mount));
    ///     assert_ne!(one.inode, other.inode);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn view(&self) -> io::Result<Option<View>>;

    /// Whether somebody has called [`Storage::mark`] on this file, through whatever
    /// storage, and all that was written since can still be read: there was no
    /// reboot, no remount. May be false all the same, at any time; must never be
    /// true after the loss of anything written.
    fn is_marked(&self) -> bool {
        false
    }

    /// Marks the file, in memory only. Who calls it has made sure that the
    /// container knows of every loss so far. It may have no effect.
    fn mark(&self) {}

    /// Takes the mark away, if there is one.
    ///
    /// ```
    /// # use cloakroom::storage::{FileStorage, Storage};
    /// # let dir = tempfile::tempdir()?;
    /// let (file, _) = FileStorage::create(dir.path().join("file"), 0o600)?;
    /// file.mark();
    /// file.unmark();
    /// assert!(!file.is_marked());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn unmark(&self) {}

    /// When the system was started, by the wall clock of now: milliseconds since
    /// 1970. 0 where that cannot be told.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// assert!(storage.booted_ms() < storage.now_ms());
    /// ```
    fn booted_ms(&self) -> u64 {
        0
    }

    /// The calling process's id: differs after a fork.
    fn process_id(&self) -> u32;

    /// Wall clock, milliseconds since 1970 (UTC).
    fn now_ms(&self) -> u64;

    /// A clock that never steps, from an arbitrary origin.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// let begun = storage.uptime();
    /// let waited = storage.uptime() - begun; // whatever happens to the wall clock
    /// assert!(waited.as_secs() < 60);
    /// ```
    fn uptime(&self) -> Duration;

    /// Waits a moment.
    fn pause(&self, pause: Pause);

    /// Fills `bytes` with random bits fit for keys.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let storage = MemoryStorage::new();
    /// let mut keys = [[0; 16]; 2];
    /// for key in &mut keys {
    ///     storage.random(key)?;
    /// }
    /// assert_ne!(keys[0], keys[1]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// What [`Storage::extend`] leaves in the new space. It reads as zeros in
/// either case.
///
/// ```
/// # use cloakroom::storage::{Fill, MemoryStorage, Storage};
/// let storage = MemoryStorage::new();
/// storage.extend(0, 128, Fill::Reserve)?;
/// let mut bytes = [1; 128];
/// storage.read_at(&mut bytes, 0)?;
/// assert_eq!(bytes, [0; 128]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Written as zeros in pieces of 4 KiB, so that later small writes are cheap.
    Zeros,
    /// Reserved only, for space that is about to be written as a whole.
    Reserve,
}
