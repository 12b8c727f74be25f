//! Making what was saved durable.
//!
//! One credited sync at a time, by whoever holds SYNC. Under the writer lock it
//! takes e, the write epoch, and bumps it; then it syncs outside the lock; then,
//! under the lock again, the synced epoch becomes e. Only the holder of SYNC syncs at
//! all, recovers, or bumps the write epoch (invariants 9 to 11): so nobody else's
//! sync can fail meanwhile and take what this one is to be credited with.
//!
//! - Kill before the bump: nothing happened.
//! - Kill after it: the write epoch is one ahead for nothing, and `syncing` stays
//!   set; the next to hold SYNC takes it for a failure that nobody could record, and
//!   rewrites everything first. A recovery sets it, too.
//! - Cut at any point: synced < write in every image of the line, and the synced
//!   epoch on the disk is never more than was true.
//!
//! A syncer that finds the write epoch 8 ahead does not bump: recovery relies on
//! that bound.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, TryLockError};
use std::time::Duration;

use super::open_file::OpenFile;
use super::options::Durability;
use super::rules::{Rule, holds};
use super::writer::{Locked, Patience, Writer, failed};
use crate::error::{Awaited, DamageKind, Error, ErrorKind, Result};
use crate::format::control::{Control, EPOCH_MAX, LEAD_MAX};
use crate::format::pass::{Pass, Stage};
use crate::format::place;
use crate::storage::{LockName, Storage};

/// Looks at the control line for each time that a waiter asks for SYNC although
/// somebody seems to have it.
const LOOKS_PER_QUESTION: u32 = 64;
/// Times that a recovery asks for SYNC before it looks whether it is still due.
const QUESTIONS_PER_LOOK: u32 = 64;

/// What an attempt to sync came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// Synced, by this call.
    Synced,
    /// Somebody else holds SYNC.
    Taken,
    /// The file was replaced or removed.
    Replaced,
}

impl OpenFile {
    /// Returns when everything published in `epoch` is durable. Syncs if nobody
    /// else does, else waits for them: waiters share.
    pub(crate) fn sync_until(&self, epoch: u64) -> Result<()> {
        let mut patience = Patience::for_sync(self.options.lock_deadline);
        let mut progress = (0, 0);
        let mut looks = 0_u32;
        loop {
            let control = self.control_line()?;
            if control.is_durable(epoch) {
                return Ok(());
            }
            if (control.synced_epoch, control.rewritten) != progress {
                // Others make progress: that is no reason to lose patience.
                progress = (control.synced_epoch, control.rewritten);
                patience = Patience::for_sync(self.options.lock_deadline);
            }
            // Where somebody seems to be at it, looking is cheaper than asking for
            // the lock; but they may be dead.
            let asks = !control.syncing || looks.is_multiple_of(LOOKS_PER_QUESTION);
            looks = looks.wrapping_add(1);
            match if asks { self.try_sync()? } else { Tried::Taken } {
                Tried::Synced => {}
                Tried::Replaced => return Ok(()),
                Tried::Taken => self.wait_for_syncer(&mut patience)?,
            }
        }
    }

    /// Lets go of the writer lock and returns when what `writer` has done is
    /// durable. Where nobody else is syncing, the epoch is taken under the same hold
    /// of the lock: that is two calls and a look at the control page less.
    pub(crate) fn sync_after(&self, mut writer: Box<Writer<'_>>) -> Result<()> {
        let epoch = writer.answer_epoch;
        let doubtful = writer.control.suspect || writer.control.syncing;
        let begun = match if doubtful { None } else { self.take_turn()? } {
            Some(turn) => Some((turn, writer.bump()?)),
            None => None,
        };
        drop(writer);
        if let Some((turn, begun)) = begun {
            let _ = self.finish_sync(begun, &turn)?;
        }
        self.sync_until(epoch)
    }

    /// Syncs if the interval has passed and nobody else is at it. Failures are
    /// recorded in the file and by the next durable save; this one promised
    /// nothing.
    pub(crate) fn sync_if_due(&self, control: &Control) {
        let Durability::Interval(interval) = self.options.durability else {
            return;
        };
        if !self.options.background_sync && self.is_due(control, interval) {
            self.sync_now();
        }
    }

    /// Whether this handle has just seen to the interval: then a process that
    /// lives for one request has nothing to add at its close.
    pub(crate) fn compared_within(&self, interval: Duration) -> bool {
        let compared_ms = self.compared_ms.load(Ordering::Relaxed);
        let age_ms = self.storage().now_ms().checked_sub(compared_ms);
        age_ms.is_some_and(|age_ms| u128::from(age_ms) < interval.as_millis())
    }

    /// Syncs unless somebody else is at it.
    pub(crate) fn sync_now(&self) {
        let _ = self.try_sync();
    }

    pub(crate) fn is_due(&self, control: &Control, interval: Duration) -> bool {
        let now_ms = self.storage().now_ms();
        self.compared_ms.store(now_ms, Ordering::Relaxed);
        // A clock set back makes it due, too: a sync too many does no harm.
        let age_ms = now_ms.checked_sub(control.synced_at_ms);
        age_ms.is_none_or(|age_ms| u128::from(age_ms) >= interval.as_millis())
    }

    /// The control line, without the lock.
    pub(crate) fn control_line(&self) -> Result<Control> {
        let index = &self.records.index;
        for _ in 0..super::index::READINGS {
            let line = index.source.line(place::CONTROL).map_err(super::index::reading)?;
            let control = line.and_then(|line| Control::decode(&line, place::CONTROL, index.seal));
            if let Some(control) = control {
                return Ok(control);
            }
            self.storage().pause(crate::storage::Pause::Yield);
        }
        Err(Error::damaged(place::CONTROL, DamageKind::ControlLine))
    }

    /// SYNC, unless somebody else has it. Never waits, so it may be asked for
    /// while the writer lock is held.
    fn take_turn(&self) -> Result<Option<Turn<'_>>> {
        self.take_turn_by(Rule::OneCreditedSync)
    }

    /// SYNC, for a recovery; `None` after a while, to look whether it is still due.
    /// Not while the writer lock is held, since whoever has SYNC may wait for that.
    pub(super) fn wait_for_turn(&self, patience: &mut Patience) -> Result<Option<Turn<'_>>> {
        for _ in 0..QUESTIONS_PER_LOOK {
            if let Some(turn) = self.take_turn_by(Rule::RecoveryHoldsSync)? {
                return Ok(Some(turn));
            }
            self.wait_for_syncer(patience)?;
        }
        Ok(None)
    }

    fn wait_for_syncer(&self, patience: &mut Patience) -> Result<()> {
        patience.pause(self.storage()).map_err(|waited_ms| {
            ErrorKind::Busy { awaited: Awaited::Sync, holder: None, waited_ms }.into()
        })
    }

    /// SYNC, unless somebody else has it and `rule` is kept.
    fn take_turn_by(&self, rule: Rule) -> Result<Option<Turn<'_>>> {
        let gate = match self.sync_gate.try_lock() {
            Ok(gate) => gate,
            Err(TryLockError::Poisoned(gate)) => gate.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let storage = self.storage();
        let taken = storage.try_lock(LockName::Sync).map_err(|source| Error::io("lock", source))?;
        let goes_on = taken || !holds(rule);
        Ok(goes_on.then_some(Turn { storage, _gate: gate }))
    }

    fn try_sync(&self) -> Result<Tried> {
        let Some(turn) = self.take_turn()? else {
            return Ok(Tried::Taken);
        };
        match self.begin_sync(&turn)? {
            Some(begun) => self.finish_sync(begun, &turn),
            None => Ok(Tried::Replaced),
        }
    }

    /// Syncs and says so in the control line.
    fn finish_sync(&self, begun: Begun, turn: &Turn<'_>) -> Result<Tried> {
        if let Err(source) = self.storage().sync() {
            self.record_failure(turn)?;
            return Err(failed("sync", source));
        }
        let Locked::Here(mut writer) = self.lock_in_turn(0, turn)? else {
            return Ok(Tried::Replaced);
        };
        let synced_epoch = writer.control.synced_epoch.max(begun.epoch);
        if !holds(Rule::BumpBeforeSync) {
            writer.control.write_epoch = writer.control.write_epoch.max(synced_epoch + 1);
        }
        writer.set_control(Control {
            synced_epoch,
            synced_blocks: begun.blocks.max(writer.control.synced_blocks),
            synced_at_ms: self.storage().now_ms(),
            suspect: false,
            rewritten: 0,
            syncing: false,
            ..writer.control
        })?;
        writer.advance_split()?;
        Ok(Tried::Synced)
    }

    /// Takes the epoch that a sync will make durable, and bumps the write epoch.
    fn begin_sync(&self, turn: &Turn<'_>) -> Result<Option<Begun>> {
        let Locked::Here(mut writer) = self.lock_in_turn(0, turn)? else {
            return Ok(None);
        };
        let alone = holds(Rule::OneCreditedSync);
        if alone && writer.control.syncing {
            // We hold SYNC, so whoever set this died or could not record the end. What
            // was rewritten before it is in doubt again.
            writer.note_failed_sync()?;
        }
        if writer.control.suspect {
            drop(writer);
            if !self.rewrite_in_steps(turn)? {
                return Ok(None);
            }
            let Locked::Here(again) = self.lock_in_turn(0, turn)? else {
                return Ok(None);
            };
            writer = again;
        }
        writer.bump().map(Some)
    }

    /// Records that a sync failed. If even that fails, `syncing` stays set and
    /// says the same to the next syncer.
    fn record_failure(&self, turn: &Turn<'_>) -> Result<()> {
        match self.lock_in_turn(0, turn)? {
            Locked::Here(mut writer) => writer.note_failed_sync(),
            Locked::Replaced => Ok(()),
        }
    }
}

/// SYNC, held until it is dropped.
pub(super) struct Turn<'a> {
    storage: &'a dyn Storage,
    _gate: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock; nothing else can.
        let _ = self.storage.unlock(LockName::Sync);
    }
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
struct Begun {
    epoch: u64,
    blocks: u32,
}

impl Writer<'_> {
    fn bump(&mut self) -> Result<Begun> {
        let control = self.control;
        let blocks = self.blocks;
        let syncing = holds(Rule::SyncingMarked);
        let ahead = control.write_epoch - control.synced_epoch;
        if ahead >= LEAD_MAX && holds(Rule::LeadBounded) {
            self.set_control(Control { syncing, ..control })?;
            return Ok(Begun { epoch: control.write_epoch - 1, blocks });
        }
        let next = control.write_epoch + 1;
        if next >= EPOCH_MAX {
            return Err(Error::damaged(place::CONTROL, DamageKind::ControlLine));
        }
        // What the pass dropped from the entries may still come back before that.
        let dropped = control.is_durable(self.pass.epoch) || !holds(Rule::RemainsWithheld);
        let renew = control.renew && self.pass.stage == Stage::Done && dropped;
        let generation = if renew { next } else { control.generation };
        self.set_control(Control {
            write_epoch: if holds(Rule::BumpBeforeSync) { next } else { control.write_epoch },
            generation,
            syncing,
            renew: control.renew && !renew,
            ..control
        })?;
        if renew {
            self.pass = Pass::begin(generation, self.pass.blocks);
            self.local().spares.forget();
        }
        Ok(Begun { epoch: control.write_epoch, blocks })
    }

    pub(super) fn note_failed_sync(&mut self) -> Result<()> {
        let voided = holds(Rule::FailureVoidsRewriting);
        let rewritten = if voided { 0 } else { self.control.rewritten };
        self.set_control(Control { suspect: true, rewritten, syncing: false, ..self.control })
    }
}
