//! The locks of a directory's sessions, between processes and threads alike: bytes of one
//! file, two for each session, one for changes and one for guards.
//!
//! Each lock is taken through an open file description of its own, since such locks belong
//! to descriptions: threads exclude each other, and who is killed lets go. The file also
//! says what the clock has told, so that one that is suddenly far ahead is doubted by
//! whoever sweeps. Nothing here may ever wait without a deadline, or remove the file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::names::LOCK_NAME;
use crate::container::{Told, failed};
use crate::storage::{Access, FileStorage, LockName, OpenError, Origin, Pause, Storage};
use crate::{Awaited, Error, ErrorKind, ReadOnly, Result};

const MODE: u32 = 0o600;
/// Sleeps of those who wait; each is twice the one before.
const SLEEP_MIN: Duration = Duration::from_micros(50);
const SLEEP_MAX: Duration = Duration::from_millis(4);

/// How often the time is noted while nothing is doubted.
const NOTE_MS: u64 = 60 * 60 * 1000;
/// When the clock was believed last, what is in doubt, and a checksum.
const TOLD_LEN: usize = 20;

#[derive(Debug)]
pub(super) struct Locks {
    path: PathBuf,
    deadline: Duration,
}

/// A lock, until it is dropped.
pub(super) struct Held {
    storage: FileStorage,
    lock: LockName,
    /// Whose it is: a forked child may have the parent's description, and must not unlock it.
    process_id: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_own() {
            // If this fails, closing the description releases the lock.
            let _ = self.storage.unlock(self.lock);
        }
    }
}

impl Held {
    /// Whether this is still the process that took it.
    pub(super) fn is_own(&self) -> bool {
        self.storage.process_id() == self.process_id
    }

    /// Returns when the names in the directory are on the disk.
    pub(super) fn sync_names(&self) -> Result<()> {
        self.storage.sync_name().map_err(|source| failed("sync the directory", source))
    }

    /// Notes what the clock tells, now and then. It is of no use to the change that was just
    /// done, and must not make it fail: what is not noted is doubted later.
    pub(super) fn note(&self, now_ms: u64) {
        let quiet = |told: Told| told.doubt_ms == 0 && told.seen_ms.abs_diff(now_ms) <= NOTE_MS;
        if read(&self.storage).is_ok_and(|told| !quiet(told))
            && self.storage.try_lock(LockName::Sync).unwrap_or(false)
        {
            let _ = hear(&self.storage, now_ms);
            let _ = self.storage.unlock(LockName::Sync);
        }
    }
}

impl Locks {
    /// The locks in this directory. Whose are the first believes the clock as it is.
    pub(super) fn open(directory: &Path, deadline: Duration, now_ms: u64) -> Result<Locks> {
        let locks = Locks { path: directory.join(LOCK_NAME), deadline };
        let (storage, origin) = locks.file()?;
        let network = storage.network_file_system();
        if let Some(name) =
            network.map_err(|source| Error::io("tell file systems apart", source))?
        {
            return Err(ErrorKind::ReadOnly(ReadOnly::FileSystem(name)).into());
        }
        if origin == Origin::Made {
            let told = encode(Told { seen_ms: now_ms, doubt_ms: 0 });
            storage.write_at(&told, 0).map_err(|source| failed("write the lock file", source))?;
        }
        Ok(locks)
    }

    /// Waits for the lock of changes of the session in the file of this name.
    pub(super) fn change(&self, name: &str) -> Result<Held> {
        self.take(LockName::Guard(number(name)), Awaited::Lock, self.deadline)
    }

    /// Waits for the lock of its guards.
    pub(super) fn guard(&self, name: &str, patience: Duration) -> Result<Held> {
        self.take(LockName::Guard(number(name) | GUARDS), Awaited::Guard, patience)
    }

    /// Whether the clock is believed; notes what it told.
    pub(super) fn believe(&self, now_ms: u64) -> Result<bool> {
        let held = self.take(LockName::Sync, Awaited::Lock, self.deadline)?;
        hear(&held.storage, now_ms)
    }

    /// Returns when everything in the file system is on the disk.
    pub(super) fn sync_file_system(&self) -> Result<()> {
        let synced = self.file()?.0.sync_file_system();
        synced.map_err(|source| failed("sync the file system", source))
    }

    fn take(&self, lock: LockName, awaited: Awaited, patience: Duration) -> Result<Held> {
        let (began, mut sleep) = (Instant::now(), SLEEP_MIN);
        let mut held = self.untaken(lock)?;
        loop {
            let taken = held.storage.try_lock(lock);
            if taken.map_err(|source| Error::io("lock a session", source))? {
                // Those who come from now on lock what has the name.
                let status = held.storage.status();
                if status.map_err(|source| Error::io("look at the lock file", source))?.links != 0 {
                    return Ok(held);
                }
                held = self.untaken(lock)?;
            }
            let waited = began.elapsed();
            let Some(rest) = patience.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                let waited_ms = waited.as_millis() as u64;
                return Err(ErrorKind::Busy { awaited, holder: None, waited_ms }.into());
            };
            held.storage.pause(Pause::Sleep(sleep.min(rest)));
            sleep = (sleep * 2).min(SLEEP_MAX);
        }
    }

    fn untaken(&self, lock: LockName) -> Result<Held> {
        let (storage, _) = self.file()?;
        let process_id = storage.process_id();
        Ok(Held { storage, lock, process_id })
    }

    /// The lock file, opened anew; made if it is missing.
    fn file(&self) -> Result<(FileStorage, Origin)> {
        match FileStorage::open(&self.path, Access::ReadWrite) {
            Ok(storage) => return Ok((storage, Origin::Found)),
            Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("open the lock file", error.into())),
        }
        FileStorage::create(&self.path, MODE)
            .map_err(|error| failed("make the lock file", error.into()))
    }
}

/// The half of all numbers that guards have.
const GUARDS: u64 = 1 << 63;

/// The number of the lock of changes of what is in the file of this name. Two share one by
/// chance only, and then wait for each other.
fn number(name: &str) -> u64 {
    let hash = hmac_sha256::Hash::hash(name.as_bytes());
    let [first, ..] = hash.as_chunks().0 else { return 0 };
    u64::from_le_bytes(*first) & !GUARDS
}

/// Asks, with the lock of what it told, whether the clock is to be believed.
fn hear(storage: &FileStorage, now_ms: u64) -> Result<bool> {
    let (believed, told) = read(storage)?.hears(now_ms);
    let written = storage.write_at(&encode(told), 0);
    written.map_err(|source| failed("write the lock file", source))?;
    Ok(believed)
}

/// What the clock has told. A file that does not say it believes nobody at first.
fn read(storage: &FileStorage) -> Result<Told> {
    let mut bytes = [0; TOLD_LEN];
    storage.read_at(&mut bytes, 0).map_err(|source| Error::io("read the lock file", source))?;
    let &[seen_ms, doubt_ms] = bytes.as_chunks().0 else { return Ok(Told::default()) };
    let told =
        Told { seen_ms: u64::from_le_bytes(seen_ms), doubt_ms: u64::from_le_bytes(doubt_ms) };
    Ok(if encode(told) == bytes { told } else { Told::default() })
}

fn encode(told: Told) -> [u8; TOLD_LEN] {
    let mut bytes = [0; TOLD_LEN];
    let (times, check) = bytes.split_at_mut(TOLD_LEN - 4);
    times[..8].copy_from_slice(&told.seen_ms.to_le_bytes());
    times[8..].copy_from_slice(&told.doubt_ms.to_le_bytes());
    check.copy_from_slice(&crc32fast::hash(times).to_le_bytes());
    bytes
}
