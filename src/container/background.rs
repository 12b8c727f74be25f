//! A thread that syncs in a handle's stead, so that no save ever waits for one.
//!
//! It wakes up twice an interval, and when it is asked to, since the index grows by what is
//! durable only; it syncs if the handle has published something that is due, or if it was
//! asked, and ends with the handle. It is started before the handle is made: where
//! the system has no room for a thread, the savers of the handle sync, as without one.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::current::CurrentFile;

/// The thread, and how to end it.
#[derive(Debug)]
pub(super) struct Background {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
    files: Sender<Arc<CurrentFile>>,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Orders {
    order: Mutex<Order>,
    given: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// To sync what is due.
    #[default]
    Usual,
    /// To sync at once.
    Sync,
    Stop,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, order: Order) {
        let mut last = self.lock();
        if *last != Order::Stop {
            *last = order;
        }
        drop(last);
        self.given.notify_all();
    }
}

impl Background {
    /// Starts the thread; `None` if the system has no room for one.
    pub(super) fn start(interval: Duration) -> Option<Background> {
        let orders = Arc::new(Orders::default());
        let theirs = Arc::clone(&orders);
        let (files, given) = channel();
        let body = move || run(&given, interval, &theirs);
        let thread = std::thread::Builder::new().name("cloakroom sync".into()).spawn(body).ok()?;
        Some(Background { orders, thread: Some(thread), files })
    }

    /// Gives the thread the file to sync.
    pub(super) fn serve(&self, file: &Arc<CurrentFile>) {
        // It waits for this, and ends no earlier.
        let _ = self.files.send(Arc::clone(file));
    }

    /// Has the thread sync at once, and does not wait for it.
    pub(super) fn sync(&self) {
        self.orders.give(Order::Sync);
    }

    /// Ends the thread and waits for the sync that it may be in.
    pub(super) fn stop(mut self) {
        self.orders.give(Order::Stop);
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

fn run(files: &Receiver<Arc<CurrentFile>>, interval: Duration, orders: &Orders) {
    let Ok(file) = files.recv() else { return };
    let pause = (interval / 2).max(Duration::from_millis(1));
    let mut order = orders.lock();
    loop {
        if *order == Order::Usual {
            let waited = orders.given.wait_timeout(order, pause);
            order = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let now = *order;
        if now == Order::Stop {
            return;
        }
        *order = Order::Usual;
        drop(order);
        file.sync_if_due(if now == Order::Sync { Duration::ZERO } else { interval });
        order = orders.lock();
    }
}
