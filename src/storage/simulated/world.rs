//! What the simulated machine is at one moment: the file, the processes that live,
//! their locks, boot and clocks.
//!
//! It is plain data that is cloned for a snapshot, so nothing here may refer to a
//! test, a hook or the disk's mutex. A lock never outlives its holder: whoever dies,
//! by a kill or a cut, loses its locks in the same step.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::medium::Medium;
use super::rng::SimulatedRng;
use crate::storage::{LockName, View};

/// A logical process. Numbers are never given twice on one disk.
///
/// ```
/// # use cloakroom::storage::simulated::SimulatedDisk;
/// let disk = SimulatedDisk::new(1);
/// let (one, other) = (disk.spawn(), disk.spawn());
/// disk.kill(one);
/// assert!(!disk.is_alive(one) && disk.is_alive(other));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u32);

impl ProcessId {
    pub(super) fn new(number: u32) -> Self {
        Self(number)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) mount: Option<u64>,
    pub(super) maps: bool,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) process: ProcessId,
    /// Number of the open: a lock belongs to that, not to the process.
    pub(super) open: u64,
    pub(super) pid: u32,
}

/// All that a snapshot keeps and a restore brings back.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) medium: Medium,
    /// Those that live. A million cuts leave a million dead, which cost nothing so.
    processes: BTreeMap<ProcessId, Process>,
    writer: Option<Holder>,
    sync: Option<Holder>,
    guards: BTreeMap<u64, Option<Holder>>,
    boot: u64,
    inode: u64,
    /// The mark of the inode in memory.
    marked: bool,
    /// Whether the inode is evicted now and then, and its mark with it.
    pub(super) evicts: bool,
    pub(super) links: u64,
    pub(super) capacity: Option<u64>,
    /// Since 1970.
    pub(super) wall: Duration,
    /// Since the boot.
    pub(super) uptime: Duration,
    pub(super) rng: SimulatedRng,
}

impl World {
    /// With a file of this content, all of it synced, and nobody alive.
    pub(super) fn new(seed: u64, bytes: &[u8]) -> Self {
        Self {
            medium: Medium::new(bytes),
            processes: BTreeMap::new(),
            writer: None,
            sync: None,
            guards: BTreeMap::new(),
            boot: 1,
            inode: 1,
            marked: false,
            evicts: true,
            links: 1,
            capacity: None,
            wall: Duration::from_secs(1_700_000_000),
            uptime: Duration::ZERO,
            rng: SimulatedRng::new(seed),
        }
    }

    pub(super) fn spawn(&mut self, process: ProcessId) {
        let pid = 1000 + process.0;
        self.processes.insert(process, Process { pid, mount: Some(1), maps: true });
    }

    pub(super) fn process(&mut self, process: ProcessId) -> Option<&mut Process> {
        self.processes.get_mut(&process)
    }

    pub(super) fn lock(&mut self, lock: LockName) -> &mut Option<Holder> {
        match lock {
            LockName::Writer => &mut self.writer,
            LockName::Sync => &mut self.sync,
            LockName::Guard(number) => self.guards.entry(number >> 3).or_default(),
        }
    }

    pub(super) fn release(&mut self, whose: impl Fn(&Holder) -> bool) {
        self.writer.take_if(|holder| whose(holder));
        self.sync.take_if(|holder| whose(holder));
        self.guards.retain(|_, holder| holder.as_ref().is_some_and(|holder| !whose(holder)));
    }

    pub(super) fn release_open(&mut self, open: u64) {
        self.release(|holder| holder.open == open);
    }

    pub(super) fn kill(&mut self, process: ProcessId) {
        self.processes.remove(&process);
        self.release(|holder| holder.process == process);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.wall += by;
        self.uptime += by;
    }

    pub(super) fn view(&mut self, process: ProcessId) -> Option<View> {
        let mount = self.process(process)?.mount?;
        let mut boot = [0; 16];
        SimulatedRng::new(self.boot).fill(&mut boot);
        Some(View { boot, mount, device: 1, inode: self.inode })
    }

    pub(super) fn set_inode(&mut self, inode: u64) {
        self.inode = inode;
        self.marked = false;
    }

    pub(super) fn forget_mark(&mut self) {
        self.marked = false;
    }

    pub(super) fn mark(&mut self) {
        self.marked = true;
    }

    /// Whether the inode is marked. Now and then it was evicted meanwhile.
    pub(super) fn is_marked(&mut self) -> bool {
        self.marked &= !self.evicts || !self.rng.chance(1, 16);
        self.marked
    }

    pub(super) fn cut(&mut self, choices: &[usize]) {
        self.medium.cut(choices);
        self.processes.clear();
        self.release(|_| true);
        self.boot += 1;
        self.marked = false;
        self.uptime = Duration::ZERO;
    }
}

/// Everything a disk is at one moment, including who lives and who holds a lock.
/// Cheap to make and to return to: pages and histories are shared.
///
/// ```
/// # use cloakroom::{ByteContainer, Options};
/// # use cloakroom::storage::simulated::SimulatedDisk;
/// # let disk = SimulatedDisk::new(1);
/// # let process = disk.spawn();
/// # let storage = Box::new(disk.open(process));
/// # let container = ByteContainer::create_on(storage, Options::new())?;
/// container.save("id", b"a coat")?;
/// let before = disk.snapshot();
/// for call in 0..10 {
///     disk.kill_at(process, call);
///     let saved = container.save("id", b"a hat").is_ok();
///     # let storage = Box::new(disk.open(disk.spawn()));
///     # let other = ByteContainer::open_on(storage, Options::new())?;
///     let value = other.load("id")?.expect("it is never lost").value;
///     assert!(value == b"a hat" || value == b"a coat" && !saved);
///     disk.clear_script();
///     disk.restore(&before);
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot(pub(super) World);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("len", &self.0.medium.len()).finish_non_exhaustive()
    }
}
