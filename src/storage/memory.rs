//! Bytes in memory, shared by any number of handles of one process.
//!
//! For tests and for managers whose sessions may end with the process. Each
//! handle has locks of its own, as each open file has, and gives them back when
//! it is dropped. A limit can be set so that a full disk can be tried out.
//!
//! No file, no map and no system call beyond the clock and the random numbers
//! may be used here: this storage also runs under an interpreter.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Fill, LockName, Pause, ReadMap, Status, Storage, View};

/// The same in every process and for all memories, so that files made in memory
/// are reproducible. Nothing written to memory can be lost while its bytes are
/// still there to be read, so no two views of it need to differ.
const VIEW: View = View { boot: *b"cloakroom memory", mount: 0, device: 0, inode: 0 };

/// Where [`Storage::uptime`] starts.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A handle of bytes in memory. [`MemoryStorage::share`] makes further ones. The
/// bytes go with the last of them.
///
/// ```
/// use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
///
/// let memory = MemoryStorage::new();
/// let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// container.save("id", b"a coat")?;
/// assert_eq!(memory.to_bytes().len() as u64, container.info()?.length);
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub struct MemoryStorage {
    shared: Arc<Shared>,
    handle: u64,
}

/// What all handles of the same bytes have in common.
struct Shared {
    bytes: RwLock<Vec<u8>>,
    /// No write may make the bytes longer than this.
    limit: AtomicU64,
    /// The handles that hold the locks.
    holders: Mutex<Holders>,
    next_handle: AtomicU64,
}

#[derive(Default)]
struct Holders {
    writer: Option<u64>,
    sync: Option<u64>,
    guards: BTreeMap<u64, Option<u64>>,
}

impl Holders {
    fn of(&mut self, lock: LockName) -> &mut Option<u64> {
        match lock {
            LockName::Writer => &mut self.writer,
            LockName::Sync => &mut self.sync,
            LockName::Guard(number) => self.guards.entry(number >> 3).or_default(),
        }
    }

    fn release(&mut self, handle: u64) {
        for holder in [&mut self.writer, &mut self.sync] {
            holder.take_if(|holder| *holder == handle);
        }
        self.guards.retain(|_, holder| holder.is_some_and(|holder| holder != handle));
    }
}

impl MemoryStorage {
    /// No bytes yet, and no limit.
    ///
    /// ```
    /// # use cloakroom::storage::MemoryStorage;
    /// assert!(MemoryStorage::new().to_bytes().is_empty());
    /// ```
    pub fn new() -> MemoryStorage {
        MemoryStorage::from_bytes(Vec::new())
    }

    /// Starts with the given bytes, the image of a file. They are not copied.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let memory = MemoryStorage::from_bytes(b"a coat".to_vec());
    /// assert_eq!(memory.status()?.len, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_bytes(bytes: Vec<u8>) -> MemoryStorage {
        let shared = Shared {
            bytes: RwLock::new(bytes),
            limit: AtomicU64::new(u64::MAX),
            holders: Mutex::default(),
            next_handle: AtomicU64::new(1),
        };
        MemoryStorage { shared: Arc::new(shared), handle: 0 }
    }

    /// A second handle of the same bytes, with locks of its own. Costs nothing.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let one = MemoryStorage::new();
    /// let other = one.share();
    /// one.write_at(b"a coat", 0)?;
    /// assert_eq!(other.to_bytes(), b"a coat");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn share(&self) -> MemoryStorage {
        let handle = self.shared.next_handle.fetch_add(1, Ordering::Relaxed);
        MemoryStorage { shared: Arc::clone(&self.shared), handle }
    }

    /// A copy of all bytes as they are now. Writes wait meanwhile.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let memory = MemoryStorage::from_bytes(b"a coat".to_vec());
    /// let backup = memory.to_bytes();
    /// memory.write_at(b"a hat!", 0)?;
    /// assert_eq!(backup, b"a coat");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        self.shared.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, for all handles, a write that would make the bytes longer
    /// than `limit` fails with [`io::ErrorKind::StorageFull`]; `None` lifts the
    /// limit. What is already there can always be overwritten. The limit is in
    /// bytes.
    ///
    /// ```
    /// # use cloakroom::storage::{MemoryStorage, Storage};
    /// let memory = MemoryStorage::from_bytes(b"a coat".to_vec());
    /// memory.set_limit(Some(6));
    /// let full = memory.write_at(b"a long coat", 0).unwrap_err();
    /// assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    /// memory.write_at(b"a hat!", 0)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_limit(&self, limit: Option<u64>) {
        self.shared.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.shared.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `change` at the bytes after making sure that they reach to `end`.
    fn change(&self, end: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut bytes = self.shared.bytes.write().unwrap_or_else(PoisonError::into_inner);
        if end > bytes.len() as u64 {
            if end > self.shared.limit.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let end = usize::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let more = end - bytes.len();
            bytes.try_reserve(more).map_err(|_| io::ErrorKind::StorageFull)?;
            bytes.resize(end, 0);
        }
        change(&mut bytes);
        Ok(())
    }
}

impl Default for MemoryStorage {
    fn default() -> MemoryStorage {
        MemoryStorage::new()
    }
}

impl fmt::Debug for MemoryStorage {
    /// Without the bytes: they are other people's sessions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Drop for MemoryStorage {
    fn drop(&mut self) {
        self.holders().release(self.handle);
    }
}

impl Storage for MemoryStorage {
    fn status(&self) -> io::Result<Status> {
        let bytes = self.shared.bytes.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Status { len: bytes.len() as u64, links: 1 })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let all = self.shared.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = usize::try_from(offset).ok().and_then(|start| all.get(start..)) else {
            return Ok(0);
        };
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.change(end, |all| {
            let start = offset as usize; // `all` reaches to `end`, so this fits.
            all[start..start + bytes.len()].copy_from_slice(bytes);
        })
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        self.change(to, |all| match fill {
            Fill::Zeros => all[from as usize..to as usize].fill(0),
            Fill::Reserve => {}
        })
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, _len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        Ok(None)
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        // To ask again for one's own lock succeeds, as it does for a file.
        Ok(*self.holders().of(lock).get_or_insert(self.handle) == self.handle)
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        let mut holders = self.holders();
        let holder = holders.of(lock);
        if *holder == Some(self.handle) {
            *holder = None;
        }
        Ok(())
    }

    fn lock_holder(&self) -> Option<u32> {
        self.holders().writer.map(|_| self.process_id())
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        Ok(Some(Box::new(self.share())))
    }

    fn view(&self) -> io::Result<Option<View>> {
        Ok(Some(VIEW))
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn now_ms(&self) -> u64 {
        wall_clock_ms()
    }

    fn uptime(&self) -> Duration {
        ORIGIN.elapsed()
    }

    fn pause(&self, pause: Pause) {
        wait(pause);
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        random(bytes)
    }
}

/// Milliseconds since 1970; 0 for a clock set before that.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn wait(pause: Pause) {
    match pause {
        Pause::Yield => thread::yield_now(),
        Pause::Sleep(time) => thread::sleep(time),
    }
}

pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(e.to_string()),
    })
}
