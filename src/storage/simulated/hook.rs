//! What a test sees of a storage call before it happens, and what it may decide.
//!
//! The hook is the scheduler's way in: it suspends the caller, lets others run,
//! kills, cuts. So it is never called with the disk's mutex held. For plain tests
//! that kill or fail at a certain call there is a script, which needs no hook.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::world::ProcessId;
use crate::storage::{LockName, Pause};

/// What a call is about to do. Offsets and lengths are in bytes.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::{Call, Operation, SimulatedDisk};
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// disk.record(true);
/// container.load("id")?;
/// let locks = |call: &Call| matches!(call.operation, Operation::TryLock(_));
/// assert!(!disk.take_log().iter().any(locks), "loading takes no lock");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Length and link count.
    Status,
    /// The part of a read that lies in one page.
    Read {
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// The part of a write that lies in one page.
    Write {
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// Reserving space; the file becomes longer by it.
    Extend {
        /// First new byte.
        from: u64,
        /// New length.
        to: u64,
    },
    /// Writing zeros into space just reserved.
    Fill {
        /// First new byte.
        from: u64,
        /// New length.
        to: u64,
    },
    /// The moment at which a sync looks at what is dirty.
    SyncBegin,
    /// The moment at which a sync is done with it.
    SyncEnd,
    /// Mapping the file.
    Map {
        /// How many bytes.
        len: u64,
    },
    /// The part of a copy out of a map that lies in one page.
    CopyOut {
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// Taking a lock.
    TryLock(LockName),
    /// Giving a lock back.
    Unlock(LockName),
    /// Opening the same name again.
    Reopen,
    /// Waiting a moment.
    Pause(Pause),
}

/// One call, about to happen.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::SimulatedDisk;
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// disk.record(true);
/// let calls_before = disk.calls();
/// container.load("id")?;
/// let first = disk.take_log()[0];
/// assert_eq!((first.process, first.index), (process, calls_before));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub process: ProcessId,
    /// What for.
    pub operation: Operation,
    /// How many calls the disk had seen before.
    pub index: u64,
}

/// What becomes of a call.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::{Call, Operation, SimulatedDisk, Verdict};
/// # use std::sync::Arc;
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// disk.set_hook(Some(Arc::new(|call: &Call| match call.operation {
///     Operation::Write { .. } => Verdict::Kill,
///     _ => Verdict::Proceed,
/// })));
/// assert!(container.save("id", b"a coat").is_err());
/// assert!(!disk.is_alive(process), "it died before its first write");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Proceed,
    /// The caller dies before the call has any effect.
    Kill,
    /// It fails without effect. A sync that fails loses what it was to write.
    Fail(io::ErrorKind),
}

/// Asked before every call, but not by the calls of dead processes. It may use the
/// disk in every way.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::{Hook, Operation, SimulatedDisk, Verdict};
/// # use std::sync::Arc;
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// let hook: Hook = Arc::new(|call| match call.operation {
///     Operation::SyncBegin => Verdict::Fail(std::io::ErrorKind::Other),
///     _ => Verdict::Proceed,
/// });
/// container.save("id", b"a coat")?;
/// disk.set_hook(Some(hook));
/// assert!(container.sync().is_err());
/// disk.set_hook(None);
/// container.sync()?; // writes everything again first
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub type Hook = Arc<dyn Fn(&Call) -> Verdict + Send + Sync>;

/// How long a scripted failure lasts.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::{Failing, SimulatedDisk};
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// disk.fail_at(0, std::io::ErrorKind::Other, Failing::Once);
/// assert!(container.save("id", b"a coat").is_err());
/// assert!(container.save("id", b"a coat").is_ok(), "one call failed, and no other");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// One call fails.
    Once,
    /// That call and all later ones fail.
    FromThenOn,
}

/// Kills and failures fixed beforehand.
#[derive(Default)]
pub(super) struct Script {
    pub(super) hook: Option<Hook>,
    kills: Vec<(ProcessId, u64)>,
    failures: Vec<(u64, io::ErrorKind, Failing)>,
}

impl Script {
    pub(super) fn kill_at(&mut self, process: ProcessId, nth: u64) {
        self.kills.push((process, nth));
    }

    pub(super) fn fail_at(&mut self, nth: u64, kind: io::ErrorKind, failing: Failing) {
        self.failures.push((nth, kind, failing));
    }

    pub(super) fn clear(&mut self) {
        self.kills.clear();
        self.failures.clear();
    }

    /// What the script says to the next call; to be asked once for each call.
    pub(super) fn verdict(&mut self, process: ProcessId) -> Verdict {
        let mut verdict = Verdict::Proceed;
        self.failures.retain_mut(|(left, kind, failing)| {
            if *left > 0 {
                *left -= 1;
                return true;
            }
            verdict = Verdict::Fail(*kind);
            *failing == Failing::FromThenOn
        });
        self.kills.retain_mut(|(victim, left)| {
            if *victim != process {
                return true;
            }
            if *left > 0 {
                *left -= 1;
                return true;
            }
            verdict = Verdict::Kill;
            false
        });
        verdict
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("hook", &self.hook.is_some())
            .field("kills", &self.kills)
            .field("failures", &self.failures)
            .finish()
    }
}
