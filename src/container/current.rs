//! Which file a handle works on: the one it opened, until that was replaced under
//! its name or this process was forked; from then on the one opened anew.
//!
//! Operations under way keep the file that they began with; when the last of them
//! has ended, a file that was replaced is closed and its space is the file system's.
//! That needs no lock: a child could be forked while another thread has it. A forked
//! child never locks or unlocks what it inherited: its first writing operation opens
//! the file anew. What it reads by until then is an open file description of its own,
//! where the storage can give it one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::open_file::OpenFile;
use super::options::Options;
use crate::error::{Error, ReadOnly, Result};

/// The file of a handle; once it was replaced under its name or this process was
/// forked, the one that took its place.
#[derive(Debug)]
pub(super) struct CurrentFile {
    latest: ArcSwap<OpenFile>,
    /// The process that made the handle.
    process_id: u32,
}

/// A file that stays open as long as this is kept.
pub(super) type Current = Guard<Arc<OpenFile>>;

impl CurrentFile {
    pub(super) fn new(file: Arc<OpenFile>) -> CurrentFile {
        CurrentFile { process_id: file.process_id, latest: ArcSwap::new(file) }
    }

    #[inline]
    pub(super) fn current(&self) -> Current {
        self.latest.load()
    }

    /// Whether this is the process that made the handle, and not a child of it.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.current().storage().process_id() == self.process_id
    }

    /// The file in use. In a forked child, one that the child opened.
    pub(super) fn file(&self) -> Result<Current> {
        let file = self.current();
        if file.is_own_process() {
            return Ok(file);
        }
        let mut options = file.options.clone();
        // The thread that synced is the parent's.
        options.background_sync = false;
        self.reopen_with(&file, options)?;
        // The inherited description holds the parent's locks for as long as this
        // child has it open, even when the parent is dead.
        file.storage().abandon();
        Ok(self.current())
    }

    /// Opens the name of this file anew, for all operations that begin from now on.
    pub(super) fn reopen(&self, file: &Current) -> Result<()> {
        self.reopen_with(file, file.options.clone())
    }

    fn reopen_with(&self, file: &Current, options: Options) -> Result<()> {
        let reopened = file.storage().reopen().map_err(|source| Error::io("open anew", source))?;
        let Some(storage) = reopened else {
            return Err(Error::io("open anew", std::io::ErrorKind::NotFound.into()));
        };
        let read_only = file.read_only.filter(|why| !matches!(why, ReadOnly::Features(_)));
        let next = OpenFile::new(storage, options, file.path.clone(), read_only)?;
        // If another thread was faster, its file is as good.
        let _ = self.latest.compare_and_swap(file, next);
        Ok(())
    }

    /// Syncs if this handle has published something and the interval is over.
    pub(super) fn sync_if_due(&self, interval: Duration) {
        let file = self.current();
        let published = file.local().published_epoch;
        if let Ok(control) = file.control_line()
            && !control.is_durable(published)
            && file.is_due(&control, interval)
        {
            file.sync_now();
        }
    }
}
