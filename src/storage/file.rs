//! A real file.
//!
//! All writing is `pwrite`, so that a full disk is an error and not a signal,
//! and a killed process leaves a prefix of what it was writing. Nothing here may
//! ever truncate the file, write beyond the process's file size limit (that ends
//! in SIGXFSZ), keep a descriptor below 3, or unlock on drop: a lock that a
//! forked child inherited is its parent's, and closing is right in both.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::linux::Facts;
use super::memory::{wait, wall_clock_ms};
use super::{Fill, LockName, Pause, ReadMap, Status, Storage, View, linux, sys};

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

/// Descriptors below are standard input, output and error. Where they were
/// closed, somebody's `print!` would go into the container.
const LOWEST_DESCRIPTOR: RawFd = 3;

/// How often [`FileStorage::create`] tries when others make and remove the name.
const CREATE_TRIES: usize = 16;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read and write. Needed for [`LockName::Sync`].
    ReadWrite,
    /// To read only.
    ReadOnly,
}

/// Whether [`FileStorage::create`] made the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is new and empty, and its name is not yet on the disk.
    Made,
    /// It was there already, whatever is in it.
    Found,
}

/// Why there is no [`FileStorage`].
#[derive(Debug)]
pub enum OpenError {
    /// The name is that of a directory, a pipe, a socket or a device.
    NotRegular,
    /// The name is a symbolic link, which [`FileStorage::create`] does not follow.
    SymbolicLink,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotRegular => f.write_str("not a regular file"),
            OpenError::SymbolicLink => f.write_str("a symbolic link, which is not followed here"),
            OpenError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> OpenError {
        OpenError::Io(e)
    }
}

impl From<Errno> for OpenError {
    fn from(e: Errno) -> OpenError {
        OpenError::Io(e.into())
    }
}

impl From<OpenError> for io::Error {
    fn from(e: OpenError) -> io::Error {
        match e {
            OpenError::Io(e) => e,
            e => io::Error::new(io::ErrorKind::InvalidInput, e),
        }
    }
}

/// An open file. The descriptor is closed on exec, and its locks go with it.
pub struct FileStorage {
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
    /// Opens what is there. Symbolic links are followed; nothing but a regular
    /// file is accepted, and nothing is waited for.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<FileStorage, OpenError> {
        let flags = match access {
            Access::ReadWrite => OFlags::RDWR,
            Access::ReadOnly => OFlags::RDONLY,
        };
        let path = path.as_ref();
        let path = if path.is_absolute() { path.to_path_buf() } else { std::path::absolute(path)? };
        FileStorage::open_with(path, flags)
    }

    /// Makes the file with exactly the permission bits `mode`, or opens it for
    /// reading and writing if it exists. Never follows a symbolic link at the
    /// end of `path`.
    ///
    /// A process that was killed here leaves an empty file, which the next one
    /// finds. A new file's name outlives a power cut after
    /// [`FileStorage::sync_name`].
    pub fn create(path: impl AsRef<Path>, mode: u32) -> Result<(FileStorage, Origin), OpenError> {
        let path = std::path::absolute(path)?;
        let mode = Mode::from_raw_mode((mode & 0o777) as _);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW;
        for _ in 0..CREATE_TRIES {
            // Closed to others until the mode is set: they would keep what they opened.
            let first_mode = Mode::RUSR | Mode::WUSR;
            match open_descriptor(&path, flags | OFlags::CREATE | OFlags::EXCL, first_mode) {
                Ok(descriptor) => {
                    let (descriptor, facts) = check(descriptor)?;
                    // umask has its say in open, so the mode is set and not only asked for.
                    if Mode::from_raw_mode(facts.mode) != mode {
                        retry_on_intr(|| rustix::fs::fchmod(&descriptor, mode))?;
                    }
                    let made = FileStorage::new(descriptor, &facts, path, flags);
                    return Ok((made, Origin::Made));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            match FileStorage::open_with(path.clone(), flags) {
                Ok(found) => return Ok((found, Origin::Found)),
                // Removed in between.
                Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// The absolute path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when the file and its name are on the disk.
    pub fn sync_name(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = retry_on_intr(|| rustix::fs::open(directory, flags, Mode::empty()))
            .map(|directory| retry_on_intr(|| rustix::fs::fsync(&directory)));
        match synced {
            Ok(Ok(())) => Ok(()),
            // One may be allowed to make files in a directory but not to read
            // it, and some file systems sync no directories.
            Err(_) | Ok(Err(Errno::INVAL)) => linux::sync_file_system(&self.file),
            Ok(Err(e)) => Err(e.into()),
        }
    }

    /// The name of the file system if other hosts may write to it too, where the
    /// system tells. They have page caches of their own, which no lock keeps in
    /// step. FUSE is not among them: mostly it is local.
    pub fn network_file_system(&self) -> io::Result<Option<&'static str>> {
        linux::network_file_system(&self.file)
    }

    fn open_with(path: PathBuf, flags: OFlags) -> Result<FileStorage, OpenError> {
        let descriptor = match open_descriptor(&path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            // A directory opened for writing; a socket; a device without a driver.
            Err(Errno::ISDIR | Errno::NXIO | Errno::NODEV) => return Err(OpenError::NotRegular),
            // Links in a circle higher up give the same error (and on BSD, MLINK).
            Err(e @ (Errno::LOOP | Errno::MLINK)) => {
                let link = flags.contains(OFlags::NOFOLLOW) && path.is_symlink();
                return Err(if link { OpenError::SymbolicLink } else { e.into() });
            }
            Err(e) => return Err(e.into()),
        };
        let (descriptor, facts) = check(descriptor)?;
        Ok(FileStorage::new(descriptor, &facts, path, flags))
    }

    fn new(descriptor: OwnedFd, facts: &Facts, path: PathBuf, flags: OFlags) -> FileStorage {
        linux::hint_small_folios(&descriptor);
        FileStorage {
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
        linux::running_ms().map_or(0, |running_ms| wall_clock_ms().saturating_sub(running_ms))
    }

    fn abandon(&self) {
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

/// Opens without waiting for a pipe's other end and without making a terminal
/// the process's own.
fn open_descriptor(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry_on_intr(|| rustix::fs::open(path, flags, mode))
}

/// Accepts regular files only, under a descriptor that may be kept.
fn check(descriptor: OwnedFd) -> Result<(OwnedFd, Facts), OpenError> {
    let facts = linux::facts(&descriptor)?;
    if facts.kind != FileType::RegularFile {
        return Err(OpenError::NotRegular);
    }
    Ok((keep_above(descriptor, LOWEST_DESCRIPTOR)?, facts))
}

/// The same open file under a descriptor that is at least `lowest`.
pub(super) fn keep_above(descriptor: OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= lowest {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), lowest)?)
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
