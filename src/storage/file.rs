//! A real file.
//!
//! All writing is `pwrite`, so that a full disk is an error and not a signal,
//! and a killed process leaves a prefix of what it was writing. Nothing here may
//! ever truncate the file, write beyond the process's file size limit (that ends
//! in SIGXFSZ), or unlock on drop: a lock that a forked child inherited is its
//! parent's, and closing is right in both. How a name becomes an open file is in
//! `open`.

mod open;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Resource, getrlimit};

use super::linux::Facts;
use super::memory::{wait, wall_clock_ms};
use super::{Fill, LockName, Pause, ReadMap, Status, Storage, View, linux, sys};

#[cfg(test)]
pub(super) use open::keep_above;
pub use open::{Access, OpenError, Origin};

/// New space is zeroed in pieces of this size: on ext4 that keeps the page cache
/// in small folios and later small writes cheap.
const PIECE: u64 = 4096;
static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];

/// The mark of [`Storage::mark`]: Linux keeps with each inode in memory how long
/// what is written to it will live, never on the disk; a file begins with "not
/// set", and is that again when its inode was evicted, or after a remount or a
/// reboot. "Short" is true of sessions. Whoever else sets the hint of this very file
/// to the same value, without having compared, breaks the rule of `mark`.
const MARK: u64 = 2;

/// The byte that stands for [`LockName::Sync`]. No file reaches so far.
const SYNC_BYTE: i64 = 1 << 62;

/// The byte that stands for a [`LockName::Guard`]: one of 2^61 behind that of SYNC.
fn guard_byte(number: u64) -> i64 {
    SYNC_BYTE + 1 + (number >> 3) as i64
}

/// An open file. The descriptor is closed on exec, and its locks go with it. Most
/// calls are one system call; a write beyond the process's file size limit is an
/// error and no signal.
///
/// ```
/// # use cloakroom::storage::{FileStorage, Storage};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("file");
/// let (file, _) = FileStorage::create(&path, 0o600)?;
/// file.write_at(b"a coat", 0)?;
/// let mut bytes = [0; 100];
/// assert_eq!(file.read_at(&mut bytes, 0)?, 6, "the file ends there");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FileStorage {
    /// Before the file, since it must go first.
    _own_in_child: sys::OwnInChild,
    file: File,
    /// Absolute, so that [`Storage::reopen`] finds it from another directory.
    path: PathBuf,
    /// As it was opened, to do the same again.
    flags: OFlags,
    /// Never changes while the file is open.
    identity: linux::Identity,
    /// Its length when it was opened.
    first_len: u64,
    /// Nobody may open it who may not write to it. Before Linux 6.13 a descriptor
    /// for reading was enough to set the hint that marks are made of.
    trusts_marks: bool,
    /// The file size limit as last asked for; 0 before that.
    size_limit: AtomicU64,
}

impl FileStorage {
    fn new(descriptor: OwnedFd, facts: &Facts, path: PathBuf, flags: OFlags) -> FileStorage {
        linux::hint_small_folios(&descriptor);
        FileStorage {
            _own_in_child: sys::OwnInChild::new(&descriptor),
            file: File::from(descriptor),
            path,
            flags,
            identity: facts.identity,
            first_len: facts.status.len,
            trusts_marks: facts.mode >> 1 & 0o022 & !facts.mode == 0,
            size_limit: AtomicU64::new(0),
        }
    }

    /// Fails where a write up to `end` would end in SIGXFSZ. That is also so
    /// within the file, when it has grown beyond the limit in other hands.
    fn check_size_limit(&self, end: u64) -> io::Result<()> {
        if end <= self.size_limit.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.ask_size_limit(end)
    }

    /// The same without trust in what an earlier call was told.
    fn ask_size_limit(&self, end: u64) -> io::Result<()> {
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        self.size_limit.store(limit, Ordering::Relaxed);
        if end <= limit { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let len = (PIECE - at % PIECE).min(to - at);
            self.file.write_all_at(&ZEROS[..len as usize], at)?;
            at += len;
        }
        Ok(())
    }
}

impl fmt::Debug for FileStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileStorage").field(&self.path).finish()
    }
}

impl Storage for FileStorage {
    fn status(&self) -> io::Result<Status> {
        Ok(linux::facts(&self.file)?.status)
    }

    fn first_len(&self) -> io::Result<u64> {
        Ok(self.first_len)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset.checked_add(done as u64).ok_or(io::ErrorKind::InvalidInput)?;
            match self.file.read_at(&mut bytes[done..], at) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.check_size_limit(end)?;
        // Takes up what was interrupted or cut short; nothing written is an error.
        self.file.write_all_at(bytes, offset)
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        self.ask_size_limit(to)?;
        // When this fails the file may have grown all the same. It stays so:
        // others may have seen the new length.
        let reserved = linux::reserve(&self.file, from, to)?;
        if reserved && fill == Fill::Reserve { Ok(()) } else { self.write_zeros(from, to) }
    }

    fn sync(&self) -> io::Result<()> {
        // Takes up an interrupted call; any other error is the caller's to judge,
        // since the next call may succeed although the data is gone.
        self.file.sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        Ok(sys::FileMap::new(&self.file, len)?.map(|map| Arc::new(map) as Arc<dyn ReadMap>))
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        match lock {
            LockName::Sync => sys::try_lock_byte(&self.file, SYNC_BYTE),
            LockName::Guard(number) => sys::try_lock_byte(&self.file, guard_byte(number)),
            // Written out, since std has methods of the same names by now.
            LockName::Writer => {
                match uninterrupted(|| fs2::FileExt::try_lock_exclusive(&self.file)) {
                    Ok(()) => Ok(true),
                    Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                        Ok(false)
                    }
                    Err(e) => Err(e),
                }
            }
        }
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        match lock {
            LockName::Sync => sys::unlock_byte(&self.file, SYNC_BYTE),
            LockName::Guard(number) => sys::unlock_byte(&self.file, guard_byte(number)),
            LockName::Writer => uninterrupted(|| fs2::FileExt::unlock(&self.file)),
        }
    }

    fn lock_holder(&self) -> Option<u32> {
        self.identity.lock_holder()
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        let again = FileStorage::open_with(self.path.clone(), self.flags)?;
        Ok(Some(Box::new(again)))
    }

    fn view(&self) -> io::Result<Option<View>> {
        Ok(self.identity.view(&self.file))
    }

    fn is_marked(&self) -> bool {
        self.trusts_marks && sys::write_hint(&self.file) == Some(MARK)
    }

    fn mark(&self) {
        // Whoever sees a mark does not ask for the kind of file system again. Only the
        // file's owner may set it; if it fails, the next one compares views.
        if matches!(self.network_file_system(), Ok(None)) {
            let _ = sys::set_write_hint(&self.file, MARK);
        }
    }

    fn unmark(&self) {
        if sys::write_hint(&self.file) == Some(MARK) {
            let _ = sys::set_write_hint(&self.file, 0);
        }
    }

    fn booted_ms(&self) -> u64 {
        sys::running_ms().map_or(0, |running_ms| wall_clock_ms().saturating_sub(running_ms))
    }

    fn abandon(&self) {
        if sys::open_anew(&self.file) {
            return;
        }
        // If it fails, the parent's locks may last as long as this child.
        if let Ok(nothing) = File::open("/dev/null") {
            let _ = sys::replace(&self.file, &nothing);
        }
    }

    fn process_id(&self) -> u32 {
        sys::process_id()
    }

    fn now_ms(&self) -> u64 {
        wall_clock_ms()
    }

    fn uptime(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }

    fn pause(&self, pause: Pause) {
        wait(pause);
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        linux::random(bytes)
    }
}

/// Repeats a call as long as signals interrupt it.
fn uninterrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
