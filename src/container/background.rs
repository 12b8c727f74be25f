//! A thread that syncs in a handle's stead, so that no save ever waits for one.
//!
//! It wakes up twice an interval, syncs if the handle has published something
//! that is due, and ends with the handle. It is started before the handle is made: where
//! the system has no room for a thread, the savers of the handle sync, as without one.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::current::CurrentFile;

/// The thread, and how to end it.
#[derive(Debug)]
pub(super) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    files: Sender<Arc<CurrentFile>>,
}

impl Background {
    /// Starts the thread; `None` if the system has no room for one.
    pub(super) fn start(interval: Duration) -> Option<Background> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&stop);
        let (files, given) = channel();
        let body = move || run(&given, interval, &theirs);
        let thread = std::thread::Builder::new().name("cloakroom sync".into()).spawn(body).ok()?;
        Some(Background { stop, thread: Some(thread), files })
    }

    /// Gives the thread the file to sync.
    pub(super) fn serve(&self, file: &Arc<CurrentFile>) {
        // It waits for this, and ends no earlier.
        let _ = self.files.send(Arc::clone(file));
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

fn run(given: &Receiver<Arc<CurrentFile>>, interval: Duration, stop: &(Mutex<bool>, Condvar)) {
    let Ok(file) = given.recv() else { return };
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
