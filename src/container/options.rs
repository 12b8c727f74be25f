//! How a handle behaves: durability, patience, mapping.
//!
//! Options belong to the handle, not to the file: handles of different kinds
//! may share a container.

use std::time::Duration;

/// When a save is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A save returns when it is on the disk: one fdatasync, shared with the
    /// savers of the same moment.
    Durable,
    /// A save returns at once, and at most about this long later it is on the
    /// disk, as long as somebody saves. kill -9 loses nothing; after a power cut
    /// a session may be back at an older version, at most that old. If nobody
    /// saves any more, the system writes it within about 35 s.
    Interval(Duration),
    /// The disk gets it when the system likes. For caches and tests. Still never
    /// damaged by a crash.
    Never,
}

/// When a handle reads through a map of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapPolicy {
    /// Never: every read is a system call. Such a handle survives somebody
    /// truncating the file under it with an error, instead of a SIGBUS.
    Never,
    /// After this many loads: a process that lives for one request is faster
    /// without a map, one that lives long is faster with it.
    AfterLoads(u32),
}

/// Options of a handle.
///
/// ```
/// use cloakroom::{Durability, Options};
/// use std::time::Duration;
///
/// let options = Options::new()
///     .durability(Durability::Durable)
///     .lock_deadline(Duration::from_secs(1));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) lock_deadline: Duration,
    pub(crate) map: MapPolicy,
    pub(crate) background_sync: bool,
    pub(crate) mode: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl Options {
    /// [`Durability::Interval`] of 1 s, a lock deadline of 5 s, a map after 32
    /// loads, new files with mode 0600.
    pub fn new() -> Options {
        Options {
            durability: Durability::Interval(Duration::from_secs(1)),
            lock_deadline: Duration::from_secs(5),
            map: MapPolicy::AfterLoads(32),
            background_sync: false,
            mode: 0o600,
        }
    }

    /// When a save is on the disk.
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How long to wait for another writer before giving up with
    /// [`Busy`](crate::ErrorKind::Busy).
    pub fn lock_deadline(mut self, deadline: Duration) -> Options {
        self.lock_deadline = deadline;
        self
    }

    /// When to read through a map.
    pub fn map(mut self, policy: MapPolicy) -> Options {
        self.map = policy;
        self
    }

    /// Leaves the syncs of [`Durability::Interval`] to a thread of the handle,
    /// so that no save ever waits for one. For processes that live long.
    pub fn background_sync(mut self) -> Options {
        self.background_sync = true;
        self
    }

    /// Permissions of a file that `create` makes; 0600 unless set.
    pub fn mode(mut self, mode: u32) -> Options {
        self.mode = mode;
        self
    }
}
