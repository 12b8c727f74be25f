//! Recovery: what the first writer does after the page cache may have been lost.
//!
//! It is noticed by the witness, a hash of boot, mount, device and inode: a writer
//! whose own is not among those that the container remembers for this boot (reboot,
//! remount, a copied file) recovers under its first lock; so does one that finds
//! nothing synced since the system was started. To tell the witness costs a young
//! process several microseconds, so whoever has compared it, or has recovered, marks
//! the inode in memory; a mark that is still there says that nothing was lost since.
//! It is set last: a recovery that was killed leaves an unmarked inode. And no mark
//! is older than a loss, since what loses written bytes loses the inode in memory
//! with them. Nothing is scanned; entries are cleaned when they are next changed,
//! and bitmaps are rebuilt by the pass.
//!
//! Only the holder of SYNC recovers: a process with another view of the same boot may
//! be syncing, and of two syncs that overlap one can fail and take lines with it that
//! the other then calls durable. Who finds a recovery due lets go of the writer lock,
//! waits for SYNC, and looks again: meanwhile another may have recovered.
//!
//! The order, and what a kill or a cut after each step leaves:
//! 1. write epoch += 16, and in the same store generation and recovered epoch :=
//!    that epoch. Every epoch on the disk is below it (a syncer stops bumping at
//!    a lead of 8, so none is more than 16 ahead of a control line that the cut
//!    left). Where a cut or a kill left the making line, both headers are written;
//!    the line itself goes after step 2. Cut or kill after this: write - synced > 8
//!    says that recovery is unfinished, whoever locks next begins again and leaps
//!    again.
//!    The same store sets `syncing`: who dies in step 2 may have seen it fail.
//! 2. fdatasync: all that was readable is on the disk now, so step 4 may call it
//!    durable. Where a sync of this boot failed, or was begun and its end never
//!    recorded (`syncing` is set, and SYNC is ours), everything is rewritten first,
//!    since a second fdatasync would succeed without having written it.
//! 3. An unfinished split is dropped: with the old count the new segments are
//!    discarded, with the new count the moved entries of the old ones are dead
//!    by address. The busy line means nothing then.
//! 4. synced epoch := write epoch - 1.
//! 5. The witness is remembered. A kill before this costs a needless recovery,
//!    which is harmless (invariant 16).

use siphasher::sip::SipHasher24;

use super::open_file::OpenFile;
use super::rules::{Rule, holds};
use super::sync::Turn;
use super::writer::Writer;
use crate::error::{DamageKind, Error, Result};
use crate::format::control::{Control, EPOCH_MAX, Phase, RECOVERY_LEAP, Root};
use crate::format::pass::{Pass, Stage};
use crate::format::{NEVER, place};
use crate::storage::View;

/// A recovery that goes before everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Hashes of the boot and of the view; none where boots cannot be told apart.
    witness: Option<(u64, u64)>,
}

impl Writer<'_> {
    /// The recovery that is due, if the container is not known to be as it was left.
    pub(super) fn recovery_due(&mut self) -> Result<Option<Due>> {
        let unfinished = self.control.recovery_unfinished() && holds(Rule::UnfinishedRecoveryFirst);
        let unchanged = self.local_ref().view_known
            || self.file.is_marked(&self.control)
            || !holds(Rule::WitnessNoticesCuts);
        if unchanged && !unfinished {
            self.local().view_known = true;
            return Ok(None);
        }
        if !holds(Rule::MarkedLast) {
            self.file.storage().mark();
        }
        let view =
            self.file.storage().view().map_err(|source| Error::io("tell boots apart", source))?;
        let witness = view.map(|view| witness(&view));
        let known = witness.is_some_and(|(boot, witness)| self.views().knows(boot, witness))
            && self.file.is_of_this_boot(&self.control);
        if !known || unfinished {
            return Ok(Some(Due { witness }));
        }
        self.know_view();
        Ok(None)
    }

    fn know_view(&mut self) {
        self.file.storage().mark();
        self.local().view_known = true;
    }

    pub(super) fn recover(&mut self, due: Due, _: &Turn<'_>) -> Result<()> {
        let witness = due.witness;
        let rebooted = witness.is_some_and(|(boot, _)| self.has_rebooted(boot));
        let leap = if holds(Rule::EpochsLeap) { RECOVERY_LEAP } else { 1 };
        let epoch = self.control.write_epoch + leap;
        // After a reboot nothing is left in any cache that a sync could have
        // failed to write.
        // But a recovery whose own sync failed leaves doubts in this boot.
        let unfinished = self.control.recovery_unfinished();
        let doubtful = (!rebooted || unfinished) && (self.control.suspect || self.control.syncing);
        if let Some((boot, witness)) = witness.filter(|_| !holds(Rule::WitnessRememberedLast)) {
            self.set_views(self.views().with(boot, witness))?;
        }
        if epoch >= EPOCH_MAX {
            return Err(Error::damaged(place::CONTROL, DamageKind::ControlLine));
        }
        // Where the pass has read everything since the last recovery, and what it wrote is
        // durable, nothing that an earlier cut took is named any more.
        let done = self.pass.stage == Stage::Done || !holds(Rule::SettledOnlyAfterPass);
        let durable = self.control.is_durable(self.pass.epoch);
        let durable = durable || !holds(Rule::SettledOnlyWhenDurable);
        let passed = done && durable && !self.pass.unread;
        let settled_epoch =
            if passed { self.control.synced_epoch } else { self.control.settled_epoch };
        let same = !holds(Rule::RecoveryBeginsGeneration);
        let generation = if same { self.control.generation } else { epoch };
        self.set_control(Control {
            write_epoch: epoch,
            generation,
            recovered_epoch: epoch,
            settled_epoch,
            suspect: doubtful,
            rewritten: 0,
            syncing: holds(Rule::SyncingMarked),
            ..self.control
        })?;
        if !same {
            self.pass = Pass::begin(epoch, self.pass.blocks);
            self.local().spares.forget();
        }
        let making = self.line(place::MAKING)? != NEVER;
        if making {
            // The making line goes when they are on the disk.
            let header = self.file.header.encode();
            self.write(&header, place::HEADER)?;
            self.write(&header, place::HEADER_COPY)?;
        }
        if doubtful && holds(Rule::RecoveryRewritesDoubtful) {
            self.rewrite_everything()?;
        }
        if holds(Rule::RecoverySyncs)
            && let Err(source) = self.file.storage().sync()
        {
            self.note_failed_sync()?;
            return Err(super::writer::failed("sync", source));
        }
        if making {
            self.write(&NEVER, place::MAKING)?;
        }
        if self.root.phase != Phase::Whole && holds(Rule::RecoveryDropsSplit) {
            self.set_root(Root { batch: 0, phase: Phase::Whole, epoch: 0, ..self.root })?;
        }
        self.forget_busy()?;
        let raised = holds(Rule::RecoveryRaisesSynced);
        self.set_control(Control {
            synced_epoch: if raised { epoch - 1 } else { self.control.synced_epoch },
            synced_blocks: self.blocks,
            synced_at_ms: self.file.storage().now_ms(),
            suspect: false,
            syncing: false,
            renew: false,
            ..self.control
        })?;
        if let Some((boot, witness)) = witness {
            self.set_views(self.views().with(boot, witness))?;
        }
        self.know_view();
        Ok(())
    }
}

impl OpenFile {
    /// Whether the inode is marked and the container in it is the one that was marked.
    pub(super) fn is_marked(&self, control: &Control) -> bool {
        self.storage().is_marked() && self.is_of_this_boot(control)
    }

    /// Whether the container has been synced since the system was started, as by every
    /// recovery. One that was not is another that was copied over the marked one, or a
    /// cut took what came after its last sync, and the boot id is the same for ever.
    pub(super) fn is_of_this_boot(&self, control: &Control) -> bool {
        control.synced_at_ms >= self.storage().booted_ms()
    }
}

impl Writer<'_> {
    /// Whether the system was started since the views were entered. Another boot id
    /// alone does not say so: containers of a system give their processes others.
    fn has_rebooted(&self, boot: u64) -> bool {
        let before = self.views().boot;
        before != 0
            && before != boot
            && self.control.synced_at_ms <= self.file.storage().booted_ms()
    }
}

/// Hashes of the boot and of the whole view. They are compared only, and never
/// 0, which stands for none.
pub(super) fn witness(view: &View) -> (u64, u64) {
    let boot = SipHasher24::new().hash(&view.boot) | 1;
    let mut all = [0; 40];
    let parts: [&[u8]; 4] = [
        &view.boot,
        &view.mount.to_le_bytes(),
        &view.device.to_le_bytes(),
        &view.inode.to_le_bytes(),
    ];
    for (to, from) in all.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    (boot, SipHasher24::new().hash(&all) | 1)
}
