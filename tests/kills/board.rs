//! What writers tell of each key, in memory that all processes share and that no
//! kill takes: which operation was begun last, which one returned last, and which
//! one was found not to have happened.

#![allow(unsafe_code)] // One cast, see `cells`.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

/// Every so many operations of a key, it is removed.
const REMOVAL: u64 = 7;

#[derive(Debug)]
pub(crate) struct Board {
    memory: MmapRaw,
    keys: usize,
}

/// What a load may return that began and ended at known moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// The operation whose outcome stood when the load began.
    stood: u64,
    /// The one that had been begun last by then, and whether it is known to have
    /// left nothing. Those between it and `stood` left nothing either.
    begun: u64,
    void: bool,
    /// The one that had been begun last when the load ended.
    until: u64,
}

impl Board {
    pub(crate) fn new(keys: usize) -> Board {
        let file: File = tempfile::tempfile().unwrap();
        // Three cells for each key, and one for complaints.
        file.set_len((keys as u64 * 3 + 1) * 8).unwrap();
        Board { memory: MmapRaw::map_raw(&file).unwrap(), keys }
    }

    fn cells(&self) -> &[AtomicU64] {
        let start = self.memory.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the map is so long, page-aligned and lives as long as `self`; all
        // that is ever done with it is by atomics.
        unsafe { std::slice::from_raw_parts(start, self.keys * 3 + 1) }
    }

    fn begun(&self, key: u16) -> &AtomicU64 {
        &self.cells()[usize::from(key) * 3]
    }

    fn stands(&self, key: u16) -> &AtomicU64 {
        &self.cells()[usize::from(key) * 3 + 1]
    }

    fn void(&self, key: u16) -> &AtomicU64 {
        &self.cells()[usize::from(key) * 3 + 2]
    }

    /// The writer of the key begins its next operation, which has this number.
    pub(crate) fn begin(&self, key: u16) -> u64 {
        let number = self.begun(key).load(Ordering::SeqCst) + 1;
        self.begun(key).store(number, Ordering::SeqCst);
        number
    }

    pub(crate) fn finish(&self, key: u16, number: u64) {
        self.stands(key).store(number, Ordering::SeqCst);
    }

    /// Runs a load and says what it may have returned.
    pub(crate) fn watch<T>(&self, key: u16, load: impl FnOnce() -> T) -> (T, Allowed) {
        // In this order: what stands is not older than what had been begun before
        // and had returned.
        let begun = self.begun(key).load(Ordering::SeqCst);
        let void = self.void(key).load(Ordering::SeqCst) == begun;
        let stood = self.stands(key).load(Ordering::SeqCst);
        let loaded = load();
        let until = self.begun(key).load(Ordering::SeqCst);
        (loaded, Allowed { stood, begun, void, until })
    }

    /// Nobody is at work on the key: what it reads as now, it is. An operation that
    /// was begun and has left nothing must never be seen. A kill may come in between
    /// here, so all of it may be repeated.
    pub(crate) fn settle(&self, key: u16, read: Option<u64>) -> Result<(), String> {
        let ((), allowed) = self.watch(key, || ());
        allowed.check(read)?;
        if allowed.begun > allowed.stood && !allowed.void {
            let happened = read == leaves(allowed.begun);
            let cell = if happened { self.stands(key) } else { self.void(key) };
            cell.store(allowed.begun, Ordering::SeqCst);
        }
        Ok(())
    }

    pub(crate) fn complain(&self, complaint: &str) {
        eprintln!("{complaint}");
        self.cells()[self.keys * 3].fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn complaints(&self) -> u64 {
        self.cells()[self.keys * 3].load(Ordering::SeqCst)
    }

    /// Operations that were begun.
    pub(crate) fn operations(&self) -> u64 {
        (0..self.keys).map(|key| self.begun(key as u16).load(Ordering::SeqCst)).sum()
    }
}

impl Allowed {
    /// Complains if the load must not have returned the value of this number.
    pub(crate) fn check(self, read: Option<u64>) -> Result<(), String> {
        let Allowed { stood, begun, void, until } = self;
        let in_flight = (begun > stood && !void).then_some(begun);
        let later = begun.max(stood) + 1..=until;
        let mut numbers = later.chain(in_flight).chain([stood]);
        if numbers.any(|number| leaves(number) == read) {
            return Ok(());
        }
        Err(format!("reads as {read:?}, which is not among {self:?}"))
    }
}

/// What the operation of this number leaves: the value of that number, or nothing.
pub(crate) fn leaves(number: u64) -> Option<u64> {
    (!number.is_multiple_of(REMOVAL)).then_some(number)
}
