//! A file of words as the engine's storage: one handle of one process.
//!
//! Deterministic: the clock stands still, random bits follow from the handle's number,
//! and all processes see one page cache. Locks are plain; whoever has to wait lets
//! others run.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::storage::simulated::SimulatedRng;
use cloakroom::storage::{Fill, LockName, Pause, ReadMap, Status, Storage, View};

use crate::words::{WORD, Words};

/// The wall clock of all models.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// Whether the locks of a file keep anybody out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// They do.
    Exclusive,
    /// They do not, so that a checker has something to find.
    Broken,
}

/// A file, shared by handles.
#[derive(Debug)]
pub struct File<W: Words> {
    words: Arc<W>,
    locks: Arc<Mutex<[Option<u64>; 2]>>,
    kind: Locks,
    handle: u64,
    boot: u8,
}

impl<W: Words> File<W> {
    /// The handle with this number, of a file that nobody has locked.
    pub fn new(words: W, handle: u64) -> File<W> {
        let (words, kind) = (Arc::new(words), Locks::Exclusive);
        File { words, locks: Arc::default(), kind, handle, boot: 1 }
    }

    /// Another handle, with a number of its own.
    pub fn share(&self, handle: u64) -> File<W> {
        let (words, locks) = (Arc::clone(&self.words), Arc::clone(&self.locks));
        File { words, locks, kind: self.kind, handle, boot: self.boot }
    }

    /// The same after a reboot: a writer has to recover.
    pub fn rebooted(mut self) -> File<W> {
        self.boot += 1;
        self
    }

    /// The same with such locks.
    pub fn with(mut self, kind: Locks) -> File<W> {
        self.kind = kind;
        self
    }

    /// The handle's number.
    pub fn number(&self) -> u64 {
        self.handle
    }

    /// The words.
    pub fn words(&self) -> &W {
        &self.words
    }

    fn copy(&self, bytes: &mut [u8], offset: u64) {
        let (first, skip) = (offset as usize / WORD, offset as usize % WORD);
        let mut words = vec![0; (skip + bytes.len()).div_ceil(WORD)];
        self.words.copy(first, &mut words);
        let copied: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.copy_from_slice(&copied[skip..skip + bytes.len()]);
        self.words.read();
    }
}

fn number(lock: LockName) -> usize {
    match lock {
        LockName::Writer => 0,
        LockName::Sync => 1,
        LockName::Guard(_) => unreachable!("nobody guards a session here"),
    }
}

impl<W: Words> Drop for File<W> {
    fn drop(&mut self) {
        for holder in self.locks.lock().unwrap().iter_mut() {
            let _ = holder.take_if(|holder| *holder == self.handle);
        }
    }
}

impl<W: Words> Storage for File<W> {
    fn status(&self) -> io::Result<Status> {
        let len = self.words.len();
        self.words.read();
        Ok(Status { len, links: 1 })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.words.len().saturating_sub(offset);
        let len = (bytes.len() as u64).min(rest) as usize;
        self.copy(&mut bytes[..len], offset);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let held = self.kind == Locks::Broken || self.locks.lock().unwrap()[0] == Some(self.handle);
        assert!(held && end <= self.words.len(), "written without the lock or beyond the end");
        assert!(offset.is_multiple_of(WORD as u64));
        self.words.write();
        for (number, chunk) in bytes.chunks(WORD).enumerate() {
            let index = offset as usize / WORD + number;
            let mut word = match chunk.len() {
                WORD => [0; WORD],
                _ => self.words.load(index).to_le_bytes(),
            };
            word[..chunk.len()].copy_from_slice(chunk);
            self.words.store(index, u64::from_le_bytes(word));
        }
        Ok(())
    }

    fn extend(&self, _from: u64, to: u64, _fill: Fill) -> io::Result<()> {
        self.words.write();
        self.words.set_len(to);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.words.pass();
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Option<Arc<dyn ReadMap>>> {
        Ok(Some(Arc::new(Map { file: self.share(u64::MAX), len })))
    }

    fn try_lock(&self, lock: LockName) -> io::Result<bool> {
        self.words.pass();
        let mut locks = self.locks.lock().unwrap();
        let holder = locks[number(lock)].get_or_insert(self.handle);
        Ok(*holder == self.handle || self.kind == Locks::Broken)
    }

    fn unlock(&self, lock: LockName) -> io::Result<()> {
        self.words.pass();
        let _ = self.locks.lock().unwrap()[number(lock)].take_if(|h| *h == self.handle);
        Ok(())
    }

    fn lock_holder(&self) -> Option<u32> {
        None
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Storage>>> {
        Ok(None)
    }

    fn view(&self) -> io::Result<Option<View>> {
        Ok(Some(View { boot: [self.boot; 16], mount: 1, device: 1, inode: 1 }))
    }

    fn process_id(&self) -> u32 {
        self.handle as u32
    }

    fn now_ms(&self) -> u64 {
        NOW_MS
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&self, _pause: Pause) {
        self.words.wait();
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        SimulatedRng::new(self.handle).fill(bytes);
        Ok(())
    }
}

/// The whole file, as a handle that lives long sees it.
#[derive(Debug)]
struct Map<W: Words> {
    file: File<W>,
    len: u64,
}

impl<W: Words> ReadMap for Map<W> {
    fn len(&self) -> u64 {
        self.len
    }

    fn copy_out(&self, bytes: &mut [u8], offset: u64) -> bool {
        if offset + bytes.len() as u64 > self.len {
            return false;
        }
        self.file.copy(bytes, offset);
        true
    }
}
