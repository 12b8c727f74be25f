//! A thread that syncs in a handle's stead, so that no save ever waits for one.
//!
//! It wakes up twice an interval, syncs if the handle has published something
//! that is due, and ends with the handle.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::current::CurrentFile;

/// The thread, and how to end it.
#[derive(Debug)]
pub(super) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the thread; `None` if the system has no room for one: then syncs
    /// are left to the durable saves and the close of the handle.
    pub(super) fn start(file: &Arc<CurrentFile>, interval: Duration) -> Option<Background> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (theirs, file) = (Arc::clone(&stop), Arc::clone(file));
        let body = move || run(&file, interval, &theirs);
        let thread = std::thread::Builder::new().name("cloakroom sync".into()).spawn(body).ok()?;
        Some(Background { stop, thread: Some(thread) })
    }

    /// Ends the thread and waits for the sync that it may be in.
    pub(super) fn stop(mut self) {
        let (flag, wake) = &*self.stop;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook already.
            let _ = thread.join();
        }
    }

    /// Forgets the thread: in a forked child there is none.
    pub(super) fn forget(mut self) {
        std::mem::forget(self.thread.take());
    }
}

fn run(file: &CurrentFile, interval: Duration, stop: &(Mutex<bool>, Condvar)) {
    let (flag, wake) = stop;
    let mut stopped = flag.lock().unwrap_or_else(PoisonError::into_inner);
    while !*stopped {
        let waited = wake.wait_timeout(stopped, (interval / 2).max(Duration::from_millis(1)));
        stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !*stopped {
            drop(stopped);
            file.sync_if_due(interval);
            stopped = flag.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}
