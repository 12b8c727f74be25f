//! A storage whose calls fail as a test says, over the simulated one.
//!
//! Calls that can fail are numbered while the plan is armed. What fails fails as
//! a system would have it: a write that ended early has left whole pages, an unlock
//! that fails has kept the lock, a sync may have lost what it was to write. (Within
//! a page no system stops: a short write there is taken up again by the storage of
//! real files, which `cut_short` tries.) Waiting and clocks cannot fail, and a copy
//! out of a map fails by a signal only.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom::storage::simulated::SimulatedStorage;
use cloakroom::storage::{Fill, LockName, ReadMap, Status, Storage, View};

use crate::wrapped::{Wrapped, Wrapper};

/// A call that can fail, with what its ways to fail depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Status,
    Read(usize),
    /// Offset and length.
    Write(u64, usize),
    Extend,
    Sync,
    Map,
    TryLock,
    Unlock,
    Reopen,
    View,
    Random,
}

/// How far a call came before it failed; a write up to the last page before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    One,
    Half,
    AllButOne,
    /// All was done, and an error returned.
    All,
}

impl Part {
    fn of(self, len: usize) -> usize {
        match self {
            Part::One => len.min(1),
            Part::Half => len / 2,
            Part::AllButOne => len.saturating_sub(1),
            Part::All => len,
        }
    }

    /// The same, in whole pages of the file.
    fn of_pages(self, offset: u64, len: usize) -> usize {
        let end = offset + self.of(len) as u64;
        match self {
            Part::All => len,
            _ => (end / PAGE * PAGE).saturating_sub(offset) as usize,
        }
    }
}

const PAGE: u64 = 4096;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was done. An unlock has kept the lock.
    Errno(i32),
    /// So much was done, then came the error.
    Partial(Part, i32),
    /// A read that ends early, as if the file did.
    Short(Part),
    /// A sync that lost pages which it was to write.
    Lost(i32),
    /// Somebody else has the lock.
    Refused,
    /// There is no map, no view, no name.
    Missing,
    /// Nothing was done, and no error returned. No system does so: it is there to
    /// show that a storage which loses something is noticed.
    Lie,
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Once,
    FromThenOn,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
    pub(crate) repeat: Repeat,
}

const WRITE_ERRORS: [i32; 6] =
    [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EINTR, libc::EAGAIN, libc::EFBIG];
const SYNC_ERRORS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EINTR];
const LOCK_ERRORS: [i32; 4] = [libc::EIO, libc::EINTR, libc::EAGAIN, libc::ENOLCK];
const OTHER_ERRORS: [i32; 3] = [libc::EIO, libc::EINTR, libc::EAGAIN];
const PARTS: [Part; 3] = [Part::One, Part::Half, Part::AllButOne];

impl Call {
    /// The ways in which it can fail.
    pub(crate) fn faults(self) -> Vec<Fault> {
        let errors: &[i32] = match self {
            Call::Write(..) | Call::Extend => &WRITE_ERRORS,
            Call::Sync => &SYNC_ERRORS,
            Call::TryLock | Call::Unlock => &LOCK_ERRORS,
            _ => &OTHER_ERRORS,
        };
        let mut faults: Vec<_> = errors.iter().map(|errno| Fault::Errno(*errno)).collect();
        let parts = |errno| PARTS.map(|part| Fault::Partial(part, errno));
        match self {
            Call::Read(_) => {
                faults.extend(parts(libc::EIO));
                faults.extend(PARTS.map(Fault::Short));
            }
            Call::Write(offset, len) => {
                if offset / PAGE != (offset + len as u64 - 1) / PAGE {
                    faults.extend(parts(libc::EIO));
                    faults.extend(parts(libc::ENOSPC));
                }
                faults.push(Fault::Partial(Part::All, libc::EIO));
            }
            Call::Extend => {
                for part in [Part::Half, Part::All] {
                    faults.extend([libc::EIO, libc::ENOSPC].map(|no| Fault::Partial(part, no)));
                }
            }
            Call::Sync => {
                faults.extend([libc::EIO, libc::ENOSPC].map(Fault::Lost));
                faults.push(Fault::Partial(Part::All, libc::EIO));
            }
            Call::TryLock => faults.push(Fault::Refused),
            Call::Unlock => faults.push(Fault::Partial(Part::All, libc::EIO)),
            Call::Map | Call::View | Call::Reopen => faults.push(Fault::Missing),
            Call::Status | Call::Random => {}
        }
        faults
    }

    /// Whether a fault first seen at another call means anything here.
    fn allows(self, fault: Fault) -> bool {
        match fault {
            Fault::Errno(_) => true,
            Fault::Lie => matches!(self, Call::Write(..) | Call::Sync),
            other => self.faults().contains(&other),
        }
    }
}

/// What fails, and what was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    armed: bool,
    injection: Option<Injection>,
    calls: Vec<Call>,
    hits: Vec<(Call, Fault)>,
}

impl Plan {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on calls are numbered, from 0, and those of the injection fail.
    pub(crate) fn arm(&self, injection: Option<Injection>) {
        *self.state() = State { armed: true, injection, ..State::default() };
    }

    /// From now on all works again.
    pub(crate) fn disarm(&self) {
        self.state().armed = false;
    }

    /// The calls made while it was armed.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The calls that failed.
    pub(crate) fn hits(&self) -> Vec<(Call, Fault)> {
        self.state().hits.clone()
    }

    fn turn(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        if !state.armed {
            return None;
        }
        let number = state.calls.len();
        state.calls.push(call);
        let Injection { nth, fault, repeat } = state.injection?;
        let its_turn = match repeat {
            Repeat::Once => number == nth,
            Repeat::FromThenOn => number >= nth,
        };
        if !its_turn || !call.allows(fault) {
            return None;
        }
        state.hits.push((call, fault));
        Some(fault)
    }
}

/// A storage whose calls the plan may fail.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) plan: Plan,
    pub(crate) storage: SimulatedStorage,
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Faulty {
    /// For calls that are done or not done, and no third thing.
    fn whole(&self, call: Call) -> io::Result<()> {
        match self.plan.turn(call) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            _ => Ok(()),
        }
    }
}

impl Wrapper for Faulty {
    fn below(&self) -> &dyn Storage {
        &self.storage
    }

    fn status(&self) -> io::Result<Status> {
        self.whole(Call::Status)?;
        self.storage.status()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = bytes.len();
        match self.plan.turn(Call::Read(len)) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Partial(part, errno)) => {
                self.storage.read_at(&mut bytes[..part.of(len)], offset)?;
                Err(error(errno))
            }
            Some(Fault::Short(part)) => self.storage.read_at(&mut bytes[..part.of(len)], offset),
            _ => self.storage.read_at(bytes, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.plan.turn(Call::Write(offset, bytes.len())) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Partial(part, errno)) => {
                let len = part.of_pages(offset, bytes.len());
                self.storage.write_at(&bytes[..len], offset)?;
                Err(error(errno))
            }
            Some(Fault::Lie) => Ok(()),
            _ => self.storage.write_at(bytes, offset),
        }
    }

    fn extend(&self, from: u64, to: u64, fill: Fill) -> io::Result<()> {
        match self.plan.turn(Call::Extend) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Partial(part, errno)) => {
                let len = part.of((to - from) as usize) as u64;
                // Not at the end of a block, nor of a page.
                let to = if part == Part::All { to } else { from + len + 100 };
                self.storage.extend(from, to, Fill::Reserve)?;
                Err(error(errno))
            }
            _ => self.storage.extend(from, to, fill),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.plan.turn(Call::Sync) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Partial(_, errno)) => {
                self.storage.sync()?;
                Err(error(errno))
            }
            Some(Fault::Lost(errno)) => {
                self.storage.disk().fail_syncs(1);
                self.storage.sync().unwrap_err();
                Err(error(errno))
            }
            Some(Fault::Lie) => Ok(()),
            _ => self.storage.sync(),
        }
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        match self.plan.turn(Call::Map) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Missing) => Ok(None),
            _ => self.storage.map(len),
        }
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        match self.plan.turn(Call::TryLock) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Refused) => Ok(false),
            _ => self.storage.try_lock(lock),
        }
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        match self.plan.turn(Call::Unlock) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Partial(_, errno)) => {
                self.storage.unlock(lock)?;
                Err(error(errno))
            }
            _ => self.storage.unlock(lock),
        }
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        match self.plan.turn(Call::Reopen) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Missing) => Ok(None),
            _ => {
                let storage = self.storage.disk().open(self.storage.process());
                Ok(Some(Box::new(Wrapped(Faulty { plan: self.plan.clone(), storage }))))
            }
        }
    }

    /// Never, so that views are compared, which can fail.
    fn is_marked(&self) -> bool {
        false
    }

    fn view(&self) -> io::Result<Option<View>> {
        match self.plan.turn(Call::View) {
            Some(Fault::Errno(errno)) => Err(error(errno)),
            Some(Fault::Missing) => Ok(None),
            _ => self.storage.view(),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.whole(Call::Random)?;
        self.storage.random(bytes)
    }
}
