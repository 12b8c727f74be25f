//! One open of the simulated file by one logical process.
//!
//! Reads, writes and copies out of a map that cross pages are made page by page,
//! each part a call of its own, since that is how far the kernel keeps them together.
//! What only a faulty engine does (writing without the lock, beyond the end of the
//! file, touching a map there) panics instead of returning an error, which an engine
//! might swallow.

use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::disk::{SimulatedDisk, State};
use super::hook::Operation;
use super::medium::{PAGE, parts};
use super::world::{Holder, ProcessId};
use crate::storage::{Fill, LockName, Pause, ReadMap, Status, Storage, View};

/// One open of the simulated file; made by [`SimulatedDisk::open`]. It panics where
/// an engine does what no engine may: write without the lock or beyond the end of
/// the file.
///
/// ```
/// # use cloakroom::{storage::{LockName, Storage}};
/// # use cloakroom::storage::simulated::SimulatedDisk;
/// let disk = SimulatedDisk::new(1);
/// let storage = disk.open(disk.spawn());
/// assert!(storage.try_lock(LockName::Writer)?);
/// assert_eq!(disk.holder(LockName::Writer), Some(storage.process()));
/// storage.disk().kill(storage.process());
/// assert_eq!(disk.holder(LockName::Writer), None);
/// assert!(storage.status().is_err(), "its process is dead");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimulatedStorage {
    disk: SimulatedDisk,
    process: ProcessId,
    open: u64,
    /// The process id when it was opened; another one now tells of a fork.
    opened_as: u32,
}

impl SimulatedStorage {
    pub(super) fn new(disk: SimulatedDisk, process: ProcessId, open: u64, pid: u32) -> Self {
        Self { disk, process, open, opened_as: pid }
    }

    /// The disk it is on.
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    /// The process it belongs to.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    fn enter(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        self.disk.enter(self.process, operation)
    }

    /// Enters a call that changes the file.
    fn enter_writing(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.enter(operation)?;
        if !state.may_write(self.process) {
            drop(state);
            return Err(engine_bug(format!("{operation:?} without the writer lock")));
        }
        Ok(state)
    }

    fn half_of_sync(&self, operation: Operation, begun: Option<u64>) -> io::Result<u64> {
        let (mut guard, ordered) = self.disk.ask(self.process, operation)?;
        let state = &mut *guard;
        let mark = begun.unwrap_or(state.world.medium.mark());
        let kind = match (ordered, begun) {
            (None, Some(_)) if state.sync_fails() => Some(io::ErrorKind::Other),
            _ => ordered,
        };
        if let Some(kind) = kind {
            state.world.medium.lose(mark, &mut state.world.rng);
            return Err(io::Error::new(kind, "simulated failure of a sync"));
        }
        if begun.is_some() {
            state.world.medium.credit(mark);
            state.syncs += 1;
        } else if state.world.lock(LockName::Writer).is_some_and(|h| h.process == self.process) {
            state.syncs_under_lock += 1;
        }
        Ok(mark)
    }
}

impl Storage for SimulatedStorage {
    fn status(&self) -> io::Result<Status> {
        let state = self.enter(Operation::Status)?;
        Ok(Status { len: state.world.medium.len(), links: state.world.links })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        for (at, len) in parts(offset, bytes.len()) {
            let state = self.enter(Operation::Read { offset: at, len })?;
            let from = (at - offset) as usize;
            let read = state.world.medium.read(&mut bytes[from..from + len], at);
            if read < len {
                return Ok(from + read);
            }
        }
        Ok(bytes.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        for (at, len) in parts(offset, bytes.len()) {
            let mut state = self.enter_writing(Operation::Write { offset: at, len })?;
            let end = state.world.medium.len();
            if offset + bytes.len() as u64 > end {
                drop(state);
                let len = bytes.len();
                return Err(engine_bug(format!(
                    "{len} bytes at {offset}, but the file ends at {end}"
                )));
            }
            let from = (at - offset) as usize;
            state.world.medium.write(&bytes[from..from + len], at);
        }
        Ok(())
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        let mut state = self.enter_writing(Operation::Extend { from, to })?;
        if state.world.capacity.is_some_and(|capacity| to > capacity) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "simulated disk full"));
        }
        state.world.medium.extend(to);
        drop(state);
        if fill == Fill::Zeros {
            let mut state = self.enter_writing(Operation::Fill { from, to })?;
            let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
            for (at, len) in parts(from, len) {
                state.world.medium.write(&[0; PAGE][..len], at);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mark = self.half_of_sync(Operation::SyncBegin, None)?;
        self.half_of_sync(Operation::SyncEnd, Some(mark))?;
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        let mut state = self.enter(Operation::Map { len })?;
        if !state.world.process(self.process).is_some_and(|process| process.maps) {
            return Ok(None);
        }
        Ok(Some(Arc::new(SimulatedMap { disk: self.disk.clone(), process: self.process, len })))
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        let mut state = self.enter(Operation::TryLock(lock))?;
        let pid = state.world.process(self.process).map_or(0, |process| process.pid);
        let me = Holder { process: self.process, open: self.open, pid };
        let holder = state.world.lock(lock).get_or_insert(me);
        Ok(holder.open == self.open)
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        let mut state = self.enter(Operation::Unlock(lock))?;
        state.world.lock(lock).take_if(|holder| holder.open == self.open);
        Ok(())
    }

    fn lock_holder(&self) -> Option<u32> {
        let mut state = self.disk.living(self.process).ok()?;
        state.world.lock(LockName::Writer).map(|holder| holder.pid)
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        drop(self.enter(Operation::Reopen)?);
        Ok(Some(Box::new(self.disk.open(self.process))))
    }

    fn view(&self) -> io::Result<Option<View>> {
        Ok(self.disk.living(self.process)?.world.view(self.process))
    }

    fn is_marked(&self) -> bool {
        self.disk.living(self.process).is_ok_and(|mut state| state.world.is_marked())
    }

    fn mark(&self) {
        if let Ok(mut state) = self.disk.living(self.process) {
            state.world.mark();
        }
    }

    fn unmark(&self) {
        if let Ok(mut state) = self.disk.living(self.process) {
            state.world.forget_mark();
        }
    }

    fn booted_ms(&self) -> u64 {
        let world = &self.disk.state().world;
        u64::try_from(world.wall.saturating_sub(world.uptime).as_millis()).unwrap_or(u64::MAX)
    }

    fn process_id(&self) -> u32 {
        let mut state = self.disk.state();
        state.world.process(self.process).map_or(self.opened_as, |process| process.pid)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.disk.state().world.wall.as_millis()).unwrap_or(u64::MAX)
    }

    fn uptime(&self) -> Duration {
        self.disk.state().world.uptime
    }

    fn pause(&self, pause: Pause) {
        // A wait cannot fail, so of the verdicts only death counts.
        if let Ok((mut state, _)) = self.disk.ask(self.process, Operation::Pause(pause)) {
            state.world.advance(match pause {
                Pause::Yield => Duration::from_micros(1),
                Pause::Sleep(time) => time,
            });
        }
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.living(self.process)?.world.rng.fill(bytes);
        Ok(())
    }
}

impl Drop for SimulatedStorage {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.opens.remove(&self.open);
        // After a fork the parent has the file open still, and so keeps the lock.
        if state.world.process(self.process).is_none_or(|process| process.pid == self.opened_as) {
            state.world.release_open(self.open);
        }
    }
}

/// A map that shows the page cache as it is at each copy.
#[derive(Debug)]
struct SimulatedMap {
    disk: SimulatedDisk,
    process: ProcessId,
    len: u64,
}

impl ReadMap for SimulatedMap {
    fn len(&self) -> u64 {
        self.len
    }

    fn copy_out(&self, bytes: &mut [u8], offset: u64) -> bool {
        if !offset.is_multiple_of(8) {
            engine_bug(format!("a copy out of a map at {offset}, which is not a multiple of 8"));
            return false;
        }
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        for (at, len) in parts(offset, bytes.len()) {
            let operation = Operation::CopyOut { offset: at, len };
            let Ok(state) = self.disk.enter(self.process, operation) else {
                return false;
            };
            let from = (at - offset) as usize;
            let copied = state.world.medium.read(&mut bytes[from..from + len], at);
            if copied < len {
                drop(state);
                engine_bug(format!("{operation:?} of a map beyond the end of the file"));
                return false;
            }
        }
        true
    }
}

/// Stops a test at once, unless it is being stopped already.
fn engine_bug(what: String) -> io::Error {
    if !std::thread::panicking() {
        panic!("engine bug: {what}");
    }
    io::Error::other(what)
}
