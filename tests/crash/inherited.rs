//! A storage as a forked child inherits it: the parent's open file description,
//! hence the parent's locks, seen by a process with another id.
//!
//! All else is passed on. What it opens anew is the child's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::SimulatedStorage;

use crate::wrapped::Wrapper;

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

impl Wrapper for Inherited {
    fn below(&self) -> &dyn Storage {
        &*self.shared
    }

    fn process_id(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }
}
