//! Sweeping a directory: who has expired is shown, and then removed.
//!
//! Each file is looked at, and only those are read that may be due. Files that are no
//! sessions are left alone, and what cannot be read stops nobody: a load says so. A session
//! goes under its lock, if it is still the one that was shown. What a writer left that was
//! killed goes, too.

use std::ops::ControlFlow;

use serde_json::Value;

use super::super::super::life::Life;
use super::DirectoryManager;
use super::names::is_temporary;
use crate::{ErrorKind, Result, Session, SweepEnd, Swept};

impl DirectoryManager {
    pub(super) fn sweep_directory(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        // What expires from now on is for the next sweep.
        let now_ms = (self.customs.clock)();
        let mut removed = 0;
        if !self.locks.believe(now_ms)? {
            return Ok(Swept { removed, end: SweepEnd::ClockInDoubt });
        }
        for name in self.folder.names()? {
            let name = name?;
            if is_temporary(&name) {
                self.folder.remove_stale(&name, now_ms)?;
            }
            let Some(kept_id) = self.names.kept_id_of(&name) else { continue };
            if !self.folder.may_be_over(&name, now_ms) {
                continue;
            }
            let Ok(Some(kept)) = self.folder.read(&name) else { continue };
            let life = kept.life.clone();
            let Some(session) = kept.session().ok().filter(|_| life.is_over(now_ms)) else {
                continue;
            };
            if removed == limit {
                return Ok(Swept { removed, end: SweepEnd::Limit });
            }
            if on_expired(&kept_id, session).is_break() {
                return Ok(Swept { removed, end: SweepEnd::Broken });
            }
            removed += self.remove_same(&kept_id, &life)?;
        }
        Ok(Swept { removed, end: SweepEnd::Done })
    }

    /// Removes a session if it still is the one that was shown; how many that were.
    fn remove_same(&self, kept_id: &str, shown: &Life) -> Result<u64> {
        let name = self.names.name_of(kept_id)?;
        let _held = match self.locks.change(&name) {
            Ok(held) => held,
            // Whoever is at it may make it live again; else the next sweep sees it.
            Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let same = |life: &Life| life == shown;
        if !self.folder.read(&name).is_ok_and(|kept| kept.is_some_and(|kept| same(&kept.life))) {
            return Ok(0);
        }
        // No sync: if a power cut brings it back, it has expired all the same.
        Ok(u64::from(self.folder.remove(&name)?))
    }
}
