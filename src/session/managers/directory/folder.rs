//! The directory itself: whole files are read, put in place of others, and removed.
//!
//! What is written is on the disk before it gets its name, so that there is a whole file
//! under each name at every moment, whoever is killed and whenever the power is cut. What
//! was modified last says when a session ends, for whoever sweeps: a hint, never later than
//! the deadline. Nothing here may follow a symbolic link, wait for a pipe, or read more
//! than a session can have.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::super::super::life::VALUE_LEN_MAX;
use super::envelope::{self, Kept, no_session};
use super::names;
use crate::container::failed;
use crate::storage::{FileStorage, Origin, Storage};
use crate::{Error, Result};

const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const LEN_MAX: usize = VALUE_LEN_MAX + envelope::LEN_MAX;
/// No file system has a later time of which it is to be feared that it does not keep it:
/// seconds, in the year 2223.
const TIME_S_MAX: u64 = 8_000_000_000;
/// After so long nobody is at work any more at what is no session yet.
const STALE_MS: u64 = 60 * 60 * 1000;

/// Whether a directory that is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Made,
    Refused,
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path, missing: Missing) -> Result<Folder> {
        let failed = |source| Error::io("open the directory", source);
        let path = std::path::absolute(path).map_err(failed)?;
        let mut found = fs::metadata(&path);
        if missing == Missing::Made
            && found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(|source| Error::io("make the directory", source))?,
            }
            found = fs::metadata(&path);
        }
        if !found.map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Folder { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The session in the file of this name, expired or not; `None` without such a file.
    pub(super) fn read(&self, name: impl AsRef<OsStr>) -> Result<Option<Kept>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits() as i32);
        let file = match options.open(self.path.join(name.as_ref())) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link, a socket, a device that is not there.
            Err(error)
                if [Errno::LOOP, Errno::NXIO, Errno::NODEV]
                    .iter()
                    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
            {
                return Err(no_session());
            }
            Err(error) => return Err(Error::io("open a session's file", error)),
        };
        let bytes = content(&file)?;
        Kept::decode(&bytes).map(Some)
    }

    /// Puts a session in the place of what has the name, if anything has.
    pub(super) fn write(&self, name: &str, kept: &Kept) -> Result<()> {
        let path = self.path.join(names::temporary_name()?);
        let (file, origin) = FileStorage::create(&path, MODE)
            .map_err(|error| failed("make a session's file", error.into()))?;
        if origin == Origin::Found {
            return Err(Error::io("make a session's file", io::ErrorKind::AlreadyExists.into()));
        }
        let written = fill(&file, &path, kept).and_then(|()| {
            let renamed = fs::rename(&path, self.path.join(name));
            renamed.map_err(|source| failed("rename a session's file", source))
        });
        if written.is_err() {
            file.remove_name();
        }
        written
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        match fs::remove_file(self.path.join(name.as_ref())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove a session's file", error)),
        }
    }

    /// The names of all files, whosever they are.
    pub(super) fn names(&self) -> Result<impl Iterator<Item = Result<OsString>>> {
        let failed = |source| Error::io("list the directory", source);
        let entries = fs::read_dir(&self.path).map_err(failed)?;
        Ok(entries.map(move |entry| entry.map(|entry| entry.file_name()).map_err(failed)))
    }

    /// Whether the session in this file may have ended.
    pub(super) fn may_be_over(&self, name: &OsStr, now_ms: u64) -> bool {
        let found = fs::symlink_metadata(self.path.join(name));
        found.is_ok_and(|found| ms(found.mtime(), found.mtime_nsec()) <= now_ms)
    }

    /// Removes a file whose writer was killed before it was a session's.
    pub(super) fn remove_stale(&self, name: &OsStr, now_ms: u64) -> Result<()> {
        // Not when it was modified, which says when a session ends.
        let found = fs::symlink_metadata(self.path.join(name));
        let stale = found.is_ok_and(|found| {
            let changed_ms = ms(found.ctime(), found.ctime_nsec());
            found.is_file() && changed_ms.saturating_add(STALE_MS) < now_ms
        });
        if stale {
            self.remove(name)?;
        }
        Ok(())
    }
}

/// What is in a file, if it is no more than a session can have.
fn content(file: &File) -> Result<Vec<u8>> {
    let reading = |source| Error::io("read a session's file", source);
    let found = file.metadata().map_err(reading)?;
    if !found.is_file() || found.len() > LEN_MAX as u64 {
        return Err(no_session());
    }
    // One more, to see whether somebody makes it longer.
    let mut bytes = Vec::with_capacity(found.len() as usize + 1);
    file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(reading)?;
    if bytes.len() > LEN_MAX { Err(no_session()) } else { Ok(bytes) }
}

/// Writes a session to a new file.
fn fill(file: &FileStorage, path: &Path, kept: &Kept) -> Result<()> {
    let written = file.write_at(kept.encode().as_bytes(), 0);
    written.map_err(|source| failed("write a session's file", source))?;
    // If it fails, a sweep takes the trouble to read the file.
    let _ = rustix::fs::utimensat(CWD, path, &end(kept), AtFlags::SYMLINK_NOFOLLOW);
    file.sync().map_err(|source| failed("sync a session's file", source))
}

/// The times of the file of a session that ends then.
fn end(kept: &Kept) -> Timestamps {
    let deadline_ms = kept.life.times.deadline_ms.unwrap_or(u64::MAX);
    let (seconds, rest_ms) = match deadline_ms / 1000 {
        seconds @ ..TIME_S_MAX => (seconds, deadline_ms % 1000),
        _ => (TIME_S_MAX, 0),
    };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds as i64, tv_nsec: (rest_ms * 1_000_000) as _ },
    }
}

/// What is before 1970 is long ago.
fn ms(seconds: i64, nanoseconds: i64) -> u64 {
    let ms = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
    u64::try_from(ms).unwrap_or(0)
}
