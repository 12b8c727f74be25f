//! The writer lock, and what its holder knows.
//!
//! Whoever takes the lock does the duties first, before anything else is read
//! or changed (invariant 18): finish or begin a recovery, redo what a dead
//! process left half done, take the next step of a split. Waiting has a
//! deadline, and a lock is never taken from its holder. All writing to a
//! container goes through [`Writer::write`].

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::index::reading;
use super::open_file::{Local, OpenFile};
use super::rules::{Rule, holds};
use super::sync::Turn;
use crate::error::{Awaited, DamageKind, Error, ErrorKind, Result};
use crate::format::control::{Busy, Control, Root, Views};
use crate::format::pass::Pass;
use crate::format::span::Span;
use crate::format::tables::{LIST_LINES, ListHeads};
use crate::format::{BLOCK_COUNT_MAX, BLOCK_SIZE, LINE_SIZE, Line, NEVER, place};
use crate::storage::{LockName, Pause, Storage};

/// Tries before a waiter begins to sleep.
const YIELDS: u32 = 32;
/// The same for who waits for a sync: an hour glass of some 300 us, which most
/// syncs take no longer than. A sleep would overshoot by as much as it saves.
const YIELDS_FOR_SYNC: u32 = 1000;
const SLEEP_MIN: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_millis(1);
/// Bytes of the control page that every lock acquisition reads: six lines.
const CONTROL_LEN: usize = (place::SWEEP - place::CONTROL) as usize + LINE_SIZE;
/// The same with the heads of the free lists, for handles that read by system
/// calls: one call more would cost them more than some bytes more.
const CONTROL_AND_LISTS_LEN: usize = (place::TABLE - place::CONTROL) as usize;
const LISTS: Span =
    Span { offset: (place::LISTS - place::CONTROL) as usize, size: LIST_LINES * LINE_SIZE };

/// How an operation under the lock ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Attempt<T> {
    Done(T),
    /// It can go on only when what was written before is durable: release the
    /// lock, sync, and try again.
    Sync,
}

/// What taking the lock came to.
#[derive(Debug)]
pub(crate) enum Locked<'a> {
    /// In a box: as it is handed on, no frame of the stack has a copy of it, which a young
    /// process would pay for with page faults.
    Here(Box<Writer<'a>>),
    /// The file has no name any more: it was replaced or removed.
    Replaced,
}

/// The holder of the writer lock. The lock is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) file: &'a OpenFile,
    pub(crate) control: Control,
    pub(crate) root: Root,
    pub(crate) pass: Pass,
    /// Heads of the free lists, once they were needed.
    lists: Option<ListHeads>,
    /// Whole blocks of the file.
    pub(crate) blocks: u32,
    /// How often this operation was begun before and had to wait for a sync.
    pub(crate) attempt: u32,
    /// Epoch of what this operation did, or found to have been done already: a
    /// durable handle may say so only when it is durable.
    pub(crate) answer_epoch: u64,
    /// A sync afterwards would spare the index a split.
    pub(crate) sync_wanted: bool,
    /// The medium has not given back what an entry names, since the lock was taken.
    pub(super) blind: Cell<bool>,
    /// An entry was passed over that may name what a cut took, since the medium does not tell.
    pub(super) uncleaned: Cell<bool>,
    /// Entries have changed since the lock was taken.
    pub(crate) entries_changed: bool,
    /// The change of two lines that a dead process had begun.
    pub(super) busy: Option<Busy>,
    pub(super) busy_line_used: bool,
    views_line: Line,
    pub(super) sweep_line: Line,
    held: Held<'a>,
}

/// The lock itself: in the process, then between processes.
#[derive(Debug)]
struct Held<'a> {
    file: &'a OpenFile,
    local: MutexGuard<'a, Local>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.file.owner.store(0, Ordering::Relaxed);
        if !self.file.is_own_process() {
            // A child that was forked under the lock: it is the parent's.
            return;
        }
        // If this fails, closing the file releases the lock; nothing else can.
        let _ = self.file.storage().unlock(LockName::Writer);
    }
}

impl OpenFile {
    /// Takes the writer lock and does the duties. Where a recovery is among them,
    /// waits for SYNC first: not for whoever holds it, who has [`OpenFile::lock_in_turn`].
    pub(crate) fn lock(&self, attempt: u32) -> Result<Locked<'_>> {
        self.lock_within(self.options.lock_deadline, attempt)
    }

    /// The same, with a deadline of its own for each wait.
    pub(crate) fn lock_within(&self, deadline: Duration, attempt: u32) -> Result<Locked<'_>> {
        let mut patience = Patience::for_sync(deadline);
        loop {
            let Some(mut writer) = self.begin_writing(deadline, attempt)? else {
                return Ok(Locked::Replaced);
            };
            if writer.recovery_due()?.is_none() {
                writer.duties()?;
                return Ok(Locked::Here(writer));
            }
            drop(writer);
            if let Some(turn) = self.wait_for_turn(&mut patience)? {
                let locked = self.lock_in_turn(attempt, &turn)?;
                drop(turn);
                return Ok(locked);
            }
            // Whoever had SYNC may have recovered meanwhile.
        }
    }

    /// The same for the holder of SYNC, who may recover.
    pub(super) fn lock_in_turn<'a>(&'a self, attempt: u32, turn: &Turn<'_>) -> Result<Locked<'a>> {
        let Some(mut writer) = self.begin_writing(self.options.lock_deadline, attempt)? else {
            return Ok(Locked::Replaced);
        };
        if let Some(due) = writer.recovery_due()? {
            writer.recover(due, turn)?;
        }
        writer.duties()?;
        Ok(Locked::Here(writer))
    }

    /// Takes the writer lock. `None` if the file was replaced.
    fn begin_writing(&self, deadline: Duration, attempt: u32) -> Result<Option<Box<Writer<'_>>>> {
        if let Some(why) = self.read_only {
            return Err(ErrorKind::ReadOnly(why).into());
        }
        let held = self.wait_for_lock(deadline)?;
        self.records.index.source.count_use();
        let status = self.records.index.source.status().map_err(reading)?;
        if status.links == 0 && holds(Rule::ReplacedFileLeft) {
            return Ok(None);
        }
        Writer::begin(self, held, status.len, attempt).map(Some)
    }

    fn wait_for_lock(&self, deadline: Duration) -> Result<Held<'_>> {
        let me = thread_number();
        if self.owner.load(Ordering::Relaxed) == me {
            return Err(ErrorKind::Reentered.into());
        }
        let mut patience = Patience::new(deadline);
        let local = loop {
            match self.local.try_lock() {
                Ok(local) => break local,
                // What a panicking thread leaves is a cache like any other: the
                // file itself is valid at every moment.
                Err(TryLockError::Poisoned(local)) => break local.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    self.wait(&mut patience, || Some(self.process_id))?
                }
            }
        };
        while !self
            .storage()
            .try_lock(LockName::Writer)
            .map_err(|source| Error::io("lock", source))?
            && holds(Rule::LockForEachChange)
        {
            self.wait(&mut patience, || self.storage().lock_holder())?;
        }
        self.owner.store(me, Ordering::Relaxed);
        Ok(Held { file: self, local })
    }

    fn wait(&self, patience: &mut Patience, holder: impl FnOnce() -> Option<u32>) -> Result<()> {
        patience.pause(self.storage()).map_err(|waited_ms| {
            ErrorKind::Busy { awaited: Awaited::Lock, holder: holder(), waited_ms }.into()
        })
    }

    /// Whether this is the process that opened the file, and not a child of it.
    pub(crate) fn is_own_process(&self) -> bool {
        self.storage().process_id() == self.process_id || !holds(Rule::ForkOpensAnew)
    }

    /// The handle's memory, without the lock: for what needs no other process.
    pub(crate) fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiting with yields first, then with sleeps that grow. Costs nothing until
/// there is something to wait for.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Duration,
    began: Option<Duration>,
    yields: u32,
    pauses: u32,
    sleep: Duration,
}

impl Patience {
    /// For a lock that is held for microseconds.
    pub(crate) fn new(deadline: Duration) -> Patience {
        Patience { deadline, began: None, yields: YIELDS, pauses: 0, sleep: SLEEP_MIN }
    }

    /// For somebody else's sync.
    pub(crate) fn for_sync(deadline: Duration) -> Patience {
        Patience { yields: YIELDS_FOR_SYNC, ..Patience::new(deadline) }
    }

    /// Waits a moment, or says how many milliseconds were waited in all.
    pub(crate) fn pause(&mut self, storage: &dyn Storage) -> std::result::Result<(), u64> {
        let began = *self.began.get_or_insert_with(|| storage.uptime());
        self.pauses += 1;
        if self.pauses <= self.yields {
            storage.pause(Pause::Yield);
            return Ok(());
        }
        let waited = storage.uptime().saturating_sub(began);
        if waited >= self.deadline {
            return Err(waited.as_millis() as u64);
        }
        // Jitter, so that waiters do not march in step: the low bits of the
        // clock are as good as random here.
        let jitter = waited.subsec_nanos() % 1024;
        storage.pause(Pause::Sleep(self.sleep - self.sleep * jitter / 4096));
        self.sleep = (2 * self.sleep).min(SLEEP_MAX);
        Ok(())
    }
}

/// A number for each thread that ever took a lock, from 1.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

impl<'a> Writer<'a> {
    fn begin(
        file: &'a OpenFile,
        held: Held<'a>,
        len: u64,
        attempt: u32,
    ) -> Result<Box<Writer<'a>>> {
        let seal = file.records.index.seal;
        let source = &file.records.index.source;
        let with_lists = !source.is_mapped();
        let mut page = [0; CONTROL_AND_LISTS_LEN];
        let len_read = if with_lists { CONTROL_AND_LISTS_LEN } else { CONTROL_LEN };
        let part = page.get_mut(..len_read).unwrap_or(&mut []);
        if !source.read(part, place::CONTROL).map_err(reading)? {
            return Err(Error::damaged(place::CONTROL, DamageKind::ControlLine));
        }
        let line = |offset: u64| -> Line {
            let start = (offset - place::CONTROL) as usize;
            Span { offset: start, size: LINE_SIZE }.array(&page)
        };
        let control = Control::decode(&line(place::CONTROL), place::CONTROL, seal)
            .ok_or_else(|| Error::damaged(place::CONTROL, DamageKind::ControlLine))?;
        let root = Root::decode(&line(place::ROOT), place::ROOT, seal)
            .ok_or_else(|| Error::damaged(place::ROOT, DamageKind::RootLine))?;
        if len / BLOCK_SIZE < u64::from(control.synced_blocks) {
            return Err(Error::damaged(len, DamageKind::CutShort));
        }
        if u64::from(root.segments) >= len / BLOCK_SIZE {
            return Err(Error::damaged(place::ROOT, DamageKind::RootLine));
        }
        Ok(Box::new(Writer {
            file,
            control,
            root,
            pass: Pass::decode(&line(place::PASS), place::PASS, seal, control.generation),
            lists: with_lists
                .then(|| ListHeads::of(LISTS.slice(&page).unwrap_or(&[]), place::LISTS, seal)),
            // Words reach no further, however long the file is.
            blocks: (len / BLOCK_SIZE).min(BLOCK_COUNT_MAX) as u32,
            attempt,
            answer_epoch: 0,
            sync_wanted: false,
            blind: Cell::new(false),
            uncleaned: Cell::new(false),
            entries_changed: false,
            busy: Busy::decode(&line(place::BUSY), place::BUSY, seal),
            busy_line_used: line(place::BUSY) != NEVER,
            views_line: line(place::VIEWS),
            sweep_line: line(place::SWEEP),
            held,
        }))
    }

    /// The heads of the free lists, read when they are first needed: a save
    /// that reuses what its handle has freed needs none.
    pub(crate) fn lists(&mut self) -> Result<&mut ListHeads> {
        if self.lists.is_none() {
            let mut bytes = [0; LIST_LINES * LINE_SIZE];
            self.file.records.index.source.read(&mut bytes, place::LISTS).map_err(reading)?;
            self.lists = Some(ListHeads::of(&bytes, place::LISTS, self.seal()));
        }
        self.lists.as_mut().ok_or_else(|| Error::damaged(place::LISTS, DamageKind::ControlLine))
    }

    /// What must be done before anything else, in this order, but for recovery, which
    /// goes before both: an unfinished one may have left either of them undone.
    fn duties(&mut self) -> Result<()> {
        if let Some(busy) = self.busy.take().filter(|_| holds(Rule::BusyRedone)) {
            self.redo(busy)?;
        }
        self.advance_split()
    }

    pub(crate) fn views(&self) -> Views {
        Views::decode(&self.views_line, place::VIEWS, self.seal())
    }

    pub(crate) fn set_views(&mut self, views: Views) -> Result<()> {
        let line = views.encode(place::VIEWS, self.seal());
        self.write(&line, place::VIEWS)?;
        self.views_line = line;
        Ok(())
    }

    /// Offset of the segment with this number; `None` if the way to it is damaged.
    pub(crate) fn segment_if_sound(&self, number: u32) -> Result<Option<u64>> {
        match self.segment(number) {
            Ok(segment) => Ok(Some(segment)),
            Err(error) if matches!(error.kind(), ErrorKind::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fails in a child that was forked while the lock was held: it has a copy of this
    /// writer, but not the lock.
    pub(crate) fn assert_own_process(&self) -> Result<()> {
        if self.file.is_own_process() { Ok(()) } else { Err(ErrorKind::Reentered.into()) }
    }

    pub(crate) fn local(&mut self) -> &mut Local {
        &mut self.held.local
    }

    pub(crate) fn local_ref(&self) -> &Local {
        &self.held.local
    }

    pub(crate) fn seal(&self) -> crate::format::checksum::Seal {
        self.file.records.index.seal
    }

    pub(crate) fn set_control(&mut self, control: Control) -> Result<()> {
        self.write(&control.encode(place::CONTROL, self.seal()), place::CONTROL)?;
        self.control = control;
        Ok(())
    }

    pub(crate) fn set_root(&mut self, root: Root) -> Result<()> {
        self.write(&root.encode(place::ROOT, self.seal()), place::ROOT)?;
        self.root = root;
        Ok(())
    }

    pub(crate) fn set_pass(&mut self, pass: Pass) -> Result<()> {
        self.write(&pass.encode(place::PASS, self.seal()), place::PASS)?;
        self.pass = pass;
        Ok(())
    }

    pub(crate) fn line(&self, offset: u64) -> Result<Line> {
        let line = self.file.records.index.source.line(offset).map_err(reading)?;
        line.ok_or_else(|| Error::damaged(offset, DamageKind::SegmentTable))
    }

    /// Offset of the segment with this number.
    pub(crate) fn segment(&self, number: u32) -> Result<u64> {
        self.file.records.index.segment(number, self.root.segments)
    }

    /// Writes to the file. The only place that does, but for the making of a
    /// container.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.storage().write_at(bytes, offset).map_err(|source| failed("write", source))
    }
}

/// The error of a failed write: a full disk is told apart, since the caller can
/// do something about it.
pub(crate) fn failed(action: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full(source).into()
        }
        _ => Error::io(action, source),
    }
}
