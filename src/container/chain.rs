//! Which file a handle works on: the one it opened, until that was replaced under
//! its name or this process was forked; from then on the one opened anew.
//!
//! A chain only grows. A forked child never locks or unlocks what it inherited:
//! its first writing operation opens the file anew. What it reads by until then is
//! an open file description of its own, where the storage can give it one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::open_file::OpenFile;
use super::options::Options;
use super::rules::{Rule, holds};
use crate::error::{Error, ReadOnly, Result};

/// A file and, once it was replaced under its name or this process was forked,
/// the file that took its place.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) file: Arc<OpenFile>,
    next: OnceLock<Box<Chain>>,
}

impl Chain {
    pub(super) fn new(file: OpenFile) -> Chain {
        Chain { file: Arc::new(file), next: OnceLock::new() }
    }

    pub(super) fn current(&self) -> &Chain {
        let mut chain = self;
        while let Some(next) = chain.next.get() {
            chain = next;
        }
        chain
    }

    /// The file in use. In a forked child, one that the child opened.
    pub(super) fn file(&self) -> Result<&Arc<OpenFile>> {
        let chain = self.current();
        let ours = chain.file.storage().process_id() == chain.file.process_id;
        if ours || !holds(Rule::ForkOpensAnew) {
            return Ok(&chain.file);
        }
        let mut options = chain.file.options.clone();
        // The thread that synced is the parent's.
        options.background_sync = false;
        chain.reopen_with(options)?;
        // The inherited description holds the parent's locks for as long as this
        // child has it open, even when the parent is dead.
        chain.file.storage().abandon();
        Ok(&chain.current().file)
    }

    /// Opens the name anew, for this and all later operations.
    pub(super) fn reopen(&self) -> Result<()> {
        self.reopen_with(self.file.options.clone())
    }

    fn reopen_with(&self, options: Options) -> Result<()> {
        let file = &self.file;
        let reopened = file.storage().reopen().map_err(|source| Error::io("open anew", source))?;
        let Some(storage) = reopened else {
            return Err(Error::io("open anew", std::io::ErrorKind::NotFound.into()));
        };
        let read_only = file.read_only.filter(|why| !matches!(why, ReadOnly::Features(_)));
        let next = OpenFile::new(storage, options, file.path.clone(), read_only)?;
        // If another thread was faster, its file is as good.
        let _ = self.next.set(Box::new(Chain::new(next)));
        Ok(())
    }

    /// Syncs if this handle has published something and the interval is over.
    pub(super) fn sync_if_due(&self, interval: Duration) {
        let file = &self.current().file;
        let published = file.local().published_epoch;
        if let Ok(control) = file.control_line()
            && !control.is_durable(published)
            && file.is_due(&control, interval)
        {
            file.sync_now();
        }
    }
}
