//! How one change is done: under the lock the session is found, whatever is to be done with
//! it is decided and done, and then, without the lock, synced as the handle's durability asks.
//!
//! What has to wait for a sync waits here, and is asked again: nothing that holds the lock
//! ever waits. Forwards are followed under the same lock, so that nobody comes in between.

use std::sync::atomic::Ordering;

use super::current::Current;
use super::handle::{ATTEMPTS, ByteContainer, Name};
use super::open_file::OpenFile;
use super::options::Durability;
use super::rules::{Rule, holds};
use super::save::{Key, Target};
use super::writer::{Attempt, Locked, Writer};
use crate::error::Result;
use crate::format::control::Phase;
use crate::format::id::NO_DIGITS;

/// What forwards do to an operation that comes to one.
#[derive(Clone, Copy)]
enum Forwards {
    /// It is done to the session that they lead to, if that lives.
    Lead,
    LeadNowhere,
}

impl ByteContainer {
    /// Finds a session under the lock, where forwards lead to, and changes it; syncs as the
    /// handle's durability asks.
    pub(super) fn change<T>(
        &self,
        id: &[u8],
        operation: impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
    ) -> Result<T> {
        self.change_found(Name::Id(id), Forwards::Lead, operation)
    }

    /// The same with what is kept under this very id, by either form of it.
    pub(super) fn change_exactly<T>(
        &self,
        name: Name<'_>,
        operation: impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
    ) -> Result<T> {
        self.change_found(name, Forwards::LeadNowhere, operation)
    }

    fn change_found<T>(
        &self,
        name: Name<'_>,
        forwards: Forwards,
        mut operation: impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
    ) -> Result<T> {
        for attempt in 0..ATTEMPTS {
            let file = self.file.file()?;
            let mut space = NO_DIGITS;
            let kept = file.named(name, &mut space);
            let done =
                kept.and_then(|id| try_change(&file, (id, forwards), attempt, &mut operation));
            match done.map_err(|error| error.at(file.path.as_deref()))? {
                Tried::Done(value) => {
                    if let Some(background) = &self.background
                        && file.sync_asked.swap(false, Ordering::Relaxed)
                    {
                        background.sync();
                    }
                    return Ok(value);
                }
                Tried::Again => {}
                Tried::Replaced => self.follow_name(&file)?,
            }
        }
        Err(self.timed_out("make room"))
    }

    /// The file was replaced under its name: opens the one that took its place.
    pub(super) fn follow_name(&self, replaced: &Current) -> Result<()> {
        self.file.reopen(replaced).map_err(|error| error.at(replaced.path.as_deref()))
    }
}

enum Tried<T> {
    Done(T),
    Again,
    Replaced,
}

fn try_change<T>(
    file: &OpenFile,
    (id, forwards): (&[u8], Forwards),
    attempt: u32,
    operation: &mut impl FnMut(&mut Writer<'_>, Key<'_>, &Target) -> Result<Attempt<T>>,
) -> Result<Tried<T>> {
    let Locked::Here(mut writer) = file.lock(attempt)? else {
        return Ok(Tried::Replaced);
    };
    writer.step_pass()?;
    writer.step_sweep()?;
    let key = file.key(id);
    let target = writer.target(key)?;
    let led = match forwards {
        Forwards::Lead if target.forward.is_some() => writer.follow(key, target)?,
        Forwards::Lead | Forwards::LeadNowhere => None,
    };
    let result = match &led {
        Some((id, target)) => operation(&mut writer, file.key(id), target),
        None => operation(&mut writer, key, &target),
    }?;
    let control = writer.control;
    let answer_epoch = writer.answer_epoch;
    let sync_wanted = writer.sync_wanted;
    let value = match result {
        Attempt::Sync => {
            drop(writer);
            return match file.sync_until(control.write_epoch) {
                Err(error) if attempt > 0 => Err(error),
                // The first time it may have been to save space only.
                _ => Ok(Tried::Again),
            };
        }
        Attempt::Done(value) => value,
    };
    match file.options.durability {
        Durability::Durable
            if !control.is_durable(answer_epoch) && holds(Rule::DurableSavesWait) =>
        {
            file.sync_after(writer)?;
        }
        // Each step of a split waits for a sync, and whoever finds a segment full for both.
        Durability::Interval(_) if file.options.background_sync => {
            let grows = writer.root.phase != Phase::Whole;
            // While a sync is in doubt each one writes everything anew: that has time.
            let soon = (sync_wanted || grows) && !control.suspect;
            drop(writer);
            if soon {
                file.sync_asked.store(true, Ordering::Relaxed);
            }
        }
        // To save space: if it fails, the index grows.
        _ if sync_wanted => {
            drop(writer);
            file.sync_now();
        }
        Durability::Interval(_) if answer_epoch != 0 => {
            drop(writer);
            file.sync_if_due(&control);
        }
        _ => drop(writer),
    }
    Ok(Tried::Done(value))
}
