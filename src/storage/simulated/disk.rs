//! The disk as tests hold it: faults, cuts, counts and the order of calls around
//! the world.
//!
//! One mutex guards everything. It must never be held while a hook or a chooser
//! runs, since those use the disk; so a call finds out after its hook whether its
//! process still lives, and keeps nothing from before. What a snapshot covers is in
//! [`World`]; what belongs to the test (hook, script, counts, log) is beside it and
//! outlives a restore.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hook::{Call, Failing, Hook, Operation, Script, Verdict};
use super::medium::CutPolicy;
use super::rng::SimulatedRng;
use super::storage::SimulatedStorage;
use super::world::{Process, ProcessId, Snapshot, World};
use crate::storage::LockName;

/// So many calls after its death show that a process ignores all errors and loops.
const CALLS_AFTER_DEATH: u32 = 100_000;

pub(super) struct State {
    pub(super) world: World,
    script: Script,
    /// Opens not yet dropped.
    pub(super) opens: BTreeSet<u64>,
    next_open: u64,
    next_process: u32,
    calls: u64,
    /// Of dead processes, in a row.
    calls_after_death: u32,
    log: Option<Vec<Call>>,
    /// So many of so many syncs fail.
    sync_failure: (u32, u32),
    /// So many of the next syncs fail in any case.
    syncs_to_fail: u32,
    pub(super) syncs: u64,
    pub(super) syncs_under_lock: u64,
    unlocked_writes: bool,
}

impl State {
    pub(super) fn sync_fails(&mut self) -> bool {
        if self.syncs_to_fail > 0 {
            self.syncs_to_fail -= 1;
            return true;
        }
        let (wins, of) = self.sync_failure;
        wins > 0 && self.world.rng.chance(wins, of)
    }

    /// Whoever writes without the lock breaks the protocol, whatever comes of it.
    pub(super) fn may_write(&mut self, process: ProcessId) -> bool {
        self.unlocked_writes
            || self.world.lock(LockName::Writer).is_some_and(|holder| holder.process == process)
    }
}

/// A handle to a simulated disk with one file on it. Clones are of the same disk.
/// Times are virtual: nothing ever waits.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
/// let disk = SimulatedDisk::new(7);
/// let storage = Box::new(disk.open(disk.spawn()));
/// let container = ByteContainer::create_on(storage, Options::new())?;
/// container.save("id", b"a coat")?;
/// container.sync()?;
/// container.save("id", b"a hat")?;
///
/// disk.power_cut(CutPolicy::Oldest, &mut SimulatedRng::new(7));
/// let storage = Box::new(disk.open(disk.spawn()));
/// let container = ByteContainer::open_on(storage, Options::new())?;
/// assert_eq!(container.load("id")?.expect("it was synced").value, b"a coat");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the mutex, so that it may be printed from anywhere.
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl SimulatedDisk {
    /// A disk with an empty file. `seed` decides all that is left to chance.
    pub fn new(seed: u64) -> Self {
        Self::with_bytes(seed, &[])
    }

    /// A disk with a file of this content, all of it synced.
    pub fn with_bytes(seed: u64, bytes: &[u8]) -> Self {
        let world = World::new(seed, bytes);
        Self(Arc::new(Mutex::new(State {
            world,
            script: Script::default(),
            opens: BTreeSet::new(),
            next_open: 0,
            next_process: 0,
            calls: 0,
            calls_after_death: 0,
            log: None,
            sync_failure: (0, 1),
            syncs_to_fail: 0,
            syncs: 0,
            syncs_under_lock: 0,
            unlocked_writes: false,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere, an engine bug found here say, leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process.
    pub fn spawn(&self) -> ProcessId {
        let mut state = self.state();
        let process = ProcessId::new(state.next_process);
        state.next_process += 1;
        state.world.spawn(process);
        process
    }

    /// Opens the file for a process.
    pub fn open(&self, process: ProcessId) -> SimulatedStorage {
        let mut state = self.state();
        let open = state.next_open;
        state.next_open += 1;
        state.opens.insert(open);
        let pid = state.world.process(process).map_or(0, |process| process.pid);
        drop(state);
        SimulatedStorage::new(self.clone(), process, open, pid)
    }

    /// Kills a process: its locks vanish, and no call of its has an effect any more.
    pub fn kill(&self, process: ProcessId) {
        self.state().world.kill(process);
    }

    /// Whether a process was neither killed nor caught by a power cut.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.state().world.process(process).is_some()
    }

    /// Gives a process's storages another process id, as a fork does to the child's
    /// copies. A lock taken before stays the parent's: dropping the storage no longer
    /// releases it, an explicit unlock does.
    pub fn fork(&self, process: ProcessId, pid: u32) {
        self.change(process, |process| process.pid = pid);
    }

    /// Sets through which mount a process sees the file; `None`: it cannot tell.
    /// The mark of the inode is forgotten, so that views are compared.
    pub fn set_mount(&self, process: ProcessId, mount: Option<u64>) {
        self.change(process, |process| process.mount = mount);
        self.state().world.forget_mark();
    }

    /// Whether a process can map the file. On at first.
    pub fn set_maps(&self, process: ProcessId, on: bool) {
        self.change(process, |process| process.maps = on);
    }

    fn change(&self, process: ProcessId, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.state().world.process(process) {
            change(process);
        }
    }

    /// The process that holds a lock.
    pub fn holder(&self, lock: LockName) -> Option<ProcessId> {
        self.state().world.lock(lock).map(|holder| holder.process)
    }

    /// Sets the inode number: a copy of a file has another one.
    pub fn set_inode(&self, inode: u64) {
        self.state().world.set_inode(inode);
    }

    /// Has the inode and its mark stay in memory until the power is cut. At first it is
    /// evicted now and then.
    pub fn keep_inode(&self) {
        self.state().world.evicts = false;
    }

    /// Sets the number of the file's names; 0 is an unlinked file.
    pub fn set_links(&self, links: u64) {
        self.state().world.links = links;
    }

    /// Limits the file's length, in bytes; to extend it further fails with `StorageFull`.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().world.capacity = capacity;
    }

    /// Lets processes write that do not hold [`LockName::Writer`]. Off at first.
    pub fn allow_unlocked_writes(&self, allowed: bool) {
        self.state().unlocked_writes = allowed;
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.state().world.advance(by);
    }

    /// Sets the wall clock, in milliseconds since 1970, back or forth.
    pub fn set_now_ms(&self, ms: u64) {
        self.state().world.wall = Duration::from_millis(ms);
    }

    /// What the page cache holds of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let state = self.state();
        let mut bytes = vec![0; state.world.medium.len() as usize];
        state.world.medium.read(&mut bytes, 0);
        bytes
    }

    /// Length of the file, in bytes.
    pub fn len(&self) -> u64 {
        self.state().world.medium.len()
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines of which a power cut might leave one of several images, with the
    /// number of these, ascending; last [`LENGTH`](super::LENGTH), if the length is
    /// undecided as well.
    pub fn dirty_lines(&self) -> Vec<(u64, usize)> {
        self.state().world.medium.undecided()
    }

    /// Cuts the power. All processes die, all locks vanish, the boot id changes, and
    /// the file is what `policy` leaves of it.
    pub fn power_cut(&self, policy: CutPolicy, rng: &mut SimulatedRng) {
        let world = &mut self.state().world;
        let choices = world.medium.choices(policy, rng);
        world.cut(&choices);
    }

    /// Cuts the power and asks `choose` which image each of
    /// [`SimulatedDisk::dirty_lines`] keeps: 0 the oldest; too high a number is the
    /// newest.
    pub fn power_cut_with(&self, choose: &mut dyn FnMut(u64, usize) -> usize) {
        let undecided = self.dirty_lines();
        let choices: Vec<_> = undecided.iter().map(|(line, n)| choose(*line, *n)).collect();
        self.state().world.cut(&choices);
    }

    /// The kernel writes back all that is dirty, on its own account.
    pub fn write_back(&self) {
        let medium = &mut self.state().world.medium;
        medium.credit(medium.mark());
    }

    /// The kernel drops all clean pages from the cache: what a failed sync lost is
    /// seen from now on.
    pub fn evict_clean(&self) {
        self.state().world.medium.evict();
    }

    /// Lets each sync fail with a chance of `wins` out of `of`. A failed sync leaves
    /// of each dirty line any image it had, and calls the page clean.
    pub fn set_sync_failure(&self, wins: u32, of: u32) {
        self.state().sync_failure = (wins, of);
    }

    /// Lets the next `count` syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.state().syncs_to_fail = count;
    }

    /// How many syncs succeeded.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many syncs began while their process held [`LockName::Writer`].
    pub fn syncs_under_lock(&self) -> u64 {
        self.state().syncs_under_lock
    }

    /// Remembers the whole state of the disk.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().world.clone())
    }

    /// Goes back to a remembered state. Processes alive then live again; those
    /// spawned since are dead. Storages dropped since hold no locks. Hook, script,
    /// counts and log stay as they are.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.world = snapshot.0.clone();
        let opens = &state.opens;
        state.world.release(|holder| !opens.contains(&holder.open));
    }

    /// Sets what is asked before every call. Calls of dead processes and calls made
    /// while a thread unwinds are not asked about.
    pub fn set_hook(&self, hook: Option<Hook>) {
        let before = std::mem::replace(&mut self.state().script.hook, hook);
        // Its destructor may use the disk, so it runs without the mutex.
        drop(before);
    }

    /// Kills `process` before its `nth` call from now on, 0 being the next, has any
    /// effect.
    pub fn kill_at(&self, process: ProcessId, nth: u64) {
        self.state().script.kill_at(process, nth);
    }

    /// Fails the `nth` call from now on, whoever makes it, 0 being the next.
    pub fn fail_at(&self, nth: u64, kind: io::ErrorKind, failing: Failing) {
        self.state().script.fail_at(nth, kind, failing);
    }

    /// Forgets all [`SimulatedDisk::kill_at`] and [`SimulatedDisk::fail_at`].
    pub fn clear_script(&self) {
        self.state().script.clear();
    }

    /// How many calls there were; those of the dead do not count.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Starts (empty) or ends the log of calls.
    pub fn record(&self, on: bool) {
        self.state().log = on.then(Vec::new);
    }

    /// Takes what the log has, and goes on with it.
    pub fn take_log(&self) -> Vec<Call> {
        self.state().log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Announces a call: the guard if it may proceed, an error if not.
    pub(super) fn enter(
        &self,
        process: ProcessId,
        operation: Operation,
    ) -> io::Result<MutexGuard<'_, State>> {
        match self.ask(process, operation)? {
            (state, None) => Ok(state),
            (_, Some(kind)) => Err(io::Error::new(kind, "simulated failure")),
        }
    }

    /// As [`SimulatedDisk::enter`], but an ordered failure comes with the guard, for
    /// calls whose failure has effects.
    pub(super) fn ask(
        &self,
        process: ProcessId,
        operation: Operation,
    ) -> io::Result<(MutexGuard<'_, State>, Option<io::ErrorKind>)> {
        let mut state = self.living(process)?;
        let call = Call { process, operation, index: state.calls };
        state.calls += 1;
        if let Some(log) = &mut state.log {
            log.push(call);
        }
        let scripted = state.script.verdict(process);
        let hook = state.script.hook.clone();
        let verdict = match hook {
            // A hook that suspends must not do so in the midst of an unwinding.
            Some(hook) if !std::thread::panicking() => {
                drop(state);
                let verdict = hook(&call);
                drop(hook);
                state = self.living(process)?;
                if verdict == Verdict::Proceed || scripted == Verdict::Kill {
                    scripted
                } else {
                    verdict
                }
            }
            _ => scripted,
        };
        match verdict {
            Verdict::Proceed => Ok((state, None)),
            Verdict::Fail(kind) => Ok((state, Some(kind))),
            Verdict::Kill => {
                state.world.kill(process);
                Err(killed())
            }
        }
    }

    /// The guard, for a process that lives.
    pub(super) fn living(&self, process: ProcessId) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.world.process(process).is_some() {
            state.calls_after_death = 0;
            return Ok(state);
        }
        state.calls_after_death += 1;
        let calls = state.calls_after_death;
        drop(state);
        if calls > CALLS_AFTER_DEATH && !std::thread::panicking() {
            panic!("{process:?} was killed and makes calls without end");
        }
        Err(killed())
    }
}

fn killed() -> io::Error {
    io::Error::other("killed")
}
