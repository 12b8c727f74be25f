//! The one seam through which the container's bytes are read.
//!
//! A young handle reads by system calls; one that has proved to live long reads
//! through a read-only map (a page fault costs a fresh process more than
//! a call, a mapped load costs a server less than half of one). Nothing is ever
//! borrowed from a map: bytes are copied out and checked by whoever asked. No
//! length is believed that the file system did not confirm (invariant 19).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::options::MapPolicy;
use crate::format::{LINE_SIZE, Line, NEVER};
use crate::storage::{ReadMap, Status, Storage};

/// Bytes of the smallest map; later ones are at least twice the one before, so
/// that this many suffice for any container.
const MAP_LEN_MIN: u64 = 64 << 20;
const MAPS_MAX: usize = 14;

/// A file to read from, with or without a map.
#[derive(Debug)]
pub(crate) struct Source {
    storage: Box<dyn Storage>,
    policy: MapPolicy,
    /// Length of the file when it was last looked at. It never shrinks.
    known_len: AtomicU64,
    uses: AtomicU32,
    maps: [OnceLock<Arc<dyn ReadMap>>; MAPS_MAX],
    /// Number of maps made; the last one is in use.
    map_count: AtomicUsize,
    mapping: AtomicBool,
}

impl Source {
    pub(crate) fn new(storage: Box<dyn Storage>, policy: MapPolicy) -> Source {
        Source {
            storage,
            policy,
            known_len: AtomicU64::new(0),
            uses: AtomicU32::new(0),
            maps: std::array::from_fn(|_| OnceLock::new()),
            map_count: AtomicUsize::new(0),
            mapping: AtomicBool::new(false),
        }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// Asks the file system for the length and remembers it.
    pub(crate) fn status(&self) -> io::Result<Status> {
        let status = self.storage.status()?;
        self.known_len.fetch_max(status.len, Ordering::Relaxed);
        Ok(status)
    }

    /// The length as it was when the file was opened.
    pub(crate) fn first_len(&self) -> io::Result<u64> {
        let len = self.storage.first_len()?;
        self.known_len.fetch_max(len, Ordering::Relaxed);
        Ok(len)
    }

    /// Length of the file as last confirmed.
    pub(crate) fn known_len(&self) -> u64 {
        self.known_len.load(Ordering::Relaxed)
    }

    /// Counts an operation, and makes a map when the handle has proved to live long.
    #[inline]
    pub(crate) fn count_use(&self) {
        let MapPolicy::AfterLoads(after) = self.policy else {
            return;
        };
        if self.map_count.load(Ordering::Relaxed) == 0
            && self.uses.fetch_add(1, Ordering::Relaxed) >= after
        {
            self.make_map();
        }
    }

    /// Whether reads of what the map covers cost no system call.
    #[inline]
    pub(crate) fn is_mapped(&self) -> bool {
        self.map_count.load(Ordering::Relaxed) > 0
    }

    /// Makes the next map, unless another thread is at it. Without one, reads
    /// are calls: slower, never wrong.
    #[cold]
    fn make_map(&self) {
        if self.mapping.swap(true, Ordering::Acquire) {
            return;
        }
        let count = self.map_count.load(Ordering::Relaxed);
        let before = self.newest_map().map_or(0, |map| map.len());
        if let (Some(place), Ok(status)) = (self.maps.get(count), self.status()) {
            let len = (2 * status.len).max(2 * before).max(MAP_LEN_MIN);
            if before < status.len
                && let Ok(Some(map)) = self.storage.map(len)
                && place.set(map).is_ok()
            {
                self.map_count.store(count + 1, Ordering::Release);
            } else if before == 0 {
                // No maps here, or not now: ask again after as many loads.
                self.uses.store(0, Ordering::Relaxed);
            }
        }
        self.mapping.store(false, Ordering::Release);
    }

    #[inline]
    fn newest_map(&self) -> Option<&Arc<dyn ReadMap>> {
        let count = self.map_count.load(Ordering::Acquire);
        self.maps.get(count.checked_sub(1)?)?.get()
    }

    /// Fills `bytes` from `offset`, a multiple of 8. False if the file ends
    /// before.
    #[inline]
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Ok(false);
        };
        if let Some(map) = self.newest_map() {
            if end <= self.known_len() && map.copy_out(bytes, offset) {
                return Ok(true);
            }
            if end > map.len() {
                self.make_map();
            }
            self.status()?;
        }
        Ok(self.read_file(bytes, offset)? == bytes.len())
    }

    /// Says that what a map shows at `offset` will soon be read.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64, len: usize) {
        if let Some(map) = self.newest_map() {
            map.prefetch(offset, len);
        }
    }

    /// Reads by system call, as far as the file reaches. Fewer bytes than it has by
    /// its length are an error: what they hold would be taken for nothing, and lost.
    pub(crate) fn read_file(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let found = self.storage.read_at(bytes, offset)?;
        if found == bytes.len() {
            return Ok(found);
        }
        let there = self.storage.status()?.len.saturating_sub(offset).min(bytes.len() as u64);
        let Some(rest) = bytes.get_mut(found..there as usize).filter(|rest| !rest.is_empty())
        else {
            return Ok(found);
        };
        // The file may have become longer between the two calls.
        let len = rest.len();
        if self.storage.read_at(rest, offset + found as u64)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(found + len)
    }

    /// Reads as much of `bytes` as the file has from `offset` on.
    pub(crate) fn read_some(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let full = bytes.len();
        Ok(if self.is_mapped() && self.read(bytes, offset)? {
            full
        } else {
            self.read_file(bytes, offset)?
        })
    }

    /// The line at `offset`; `None` if the file ends before its end.
    #[inline]
    pub(crate) fn line(&self, offset: u64) -> io::Result<Option<Line>> {
        let mut line = NEVER;
        debug_assert!(offset.is_multiple_of(LINE_SIZE as u64));
        Ok(self.read(&mut line, offset)?.then_some(line))
    }
}
