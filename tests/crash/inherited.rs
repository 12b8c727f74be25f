//! A storage as a forked child inherits it: the parent's open file description,
//! hence the parent's locks, seen by a process with another id.
//!
//! It only passes calls on. What it opens anew is the child's own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloakroom::storage::simulated::SimulatedStorage;
use cloakroom::storage::{Fill, LockName, Pause, ReadMap, Status, Storage, View};

#[derive(Debug)]
pub(crate) struct Inherited {
    shared: Arc<SimulatedStorage>,
    pid: Arc<AtomicU32>,
}

impl Inherited {
    pub(crate) fn new(shared: &Arc<SimulatedStorage>) -> Inherited {
        let pid = Arc::new(AtomicU32::new(shared.process_id()));
        Inherited { shared: Arc::clone(shared), pid }
    }

    /// The id of the process that uses it, which a fork changes.
    pub(crate) fn pid(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pid)
    }
}

impl Storage for Inherited {
    fn status(&self) -> io::Result<Status> {
        self.shared.status()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.shared.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.shared.write_at(bytes, offset)
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        self.shared.extend(from, to, fill)
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.sync()
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        self.shared.map(len)
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        self.shared.try_lock(lock)
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        self.shared.unlock(lock)
    }

    fn lock_holder(&self) -> Option<u32> {
        self.shared.lock_holder()
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        self.shared.reopen()
    }

    fn view(&self) -> io::Result<Option<View>> {
        self.shared.view()
    }

    fn process_id(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    fn uptime(&self) -> Duration {
        self.shared.uptime()
    }

    fn pause(&self, pause: Pause) {
        self.shared.pause(pause);
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.shared.random(bytes)
    }
}
