//! The words that a file is made of, and what a checker may do with them.
//!
//! Of one write call each aligned 8-byte word becomes visible whole, and on its own:
//! in any order, and mixed in any way with the words of the same call. Two calls of
//! one process become visible in their order: the kernel takes and releases a lock of
//! the inode around each, so there is a release between them. A reader that has copied
//! something orders what it copies next after it: the map's acquire fence, and the
//! system call's for `pread`. Nothing more is assumed, of the machine or of the kernel.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a word.
pub const WORD: usize = 8;

/// Bytes as words, the last one filled with zeros.
pub fn words_of(bytes: &[u8]) -> Vec<u64> {
    let mut words = Vec::with_capacity(bytes.len().div_ceil(WORD));
    for chunk in bytes.chunks(WORD) {
        let mut word = [0; WORD];
        word[..chunk.len()].copy_from_slice(chunk);
        words.push(u64::from_le_bytes(word));
    }
    words
}

/// Words of a file, shared by handles.
pub trait Words: Send + Sync + fmt::Debug + 'static {
    /// Length of the file in bytes.
    fn len(&self) -> u64;

    /// Sets the length; new words are zero.
    fn set_len(&self, len: u64);

    /// One word.
    fn load(&self, index: usize) -> u64;

    /// Words from an index on, in their order.
    fn copy(&self, from: usize, words: &mut [u64]) {
        for (index, word) in (from..).zip(words) {
            *word = self.load(index);
        }
    }

    /// Changes one word.
    fn store(&self, index: usize, word: u64);

    /// A reading call has copied its words.
    fn read(&self) {}

    /// A writing call begins.
    fn write(&self) {}

    /// A call that neither reads nor writes: another thread may go first.
    fn pass(&self) {}

    /// Somebody waits for others.
    fn wait(&self) {}

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Words of one thread, to prepare files with and to record writers.
#[derive(Debug, Default)]
pub struct PlainWords(Mutex<Vec<u64>>);

impl PlainWords {
    /// Starts with these.
    pub fn new(words: &[u64]) -> PlainWords {
        PlainWords(Mutex::new(words.to_vec()))
    }

    /// A copy of all.
    pub fn to_vec(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

impl Words for PlainWords {
    fn len(&self) -> u64 {
        (self.0.lock().unwrap().len() * WORD) as u64
    }

    fn set_len(&self, len: u64) {
        self.0.lock().unwrap().resize(len as usize / WORD, 0);
    }

    fn load(&self, index: usize) -> u64 {
        self.0.lock().unwrap()[index]
    }

    fn store(&self, index: usize, word: u64) {
        self.0.lock().unwrap()[index] = word;
    }
}

/// Words that one thread after another changes, with a place to switch threads at
/// before each access to one of those that matter.
pub struct SwitchedWords {
    words: Vec<AtomicU64>,
    len: AtomicU64,
    /// The words that anybody ever changes; reading others needs no switch.
    matter: std::sync::Arc<Matter>,
    /// Called where another thread may go first.
    switch: Switch,
    /// Called where this thread asks for it.
    give_way: fn(),
}

/// Which words matter. Found out in trial runs, then left as it is.
#[derive(Debug)]
pub struct Matter {
    marks: Vec<AtomicU64>,
    learning: std::sync::atomic::AtomicBool,
    /// Changes of words that no trial run had changed.
    pub missed: AtomicU64,
}

/// The longest file of a scene, in words.
pub const WORDS_MAX: usize = (2 << 20) / WORD;

impl Default for Matter {
    fn default() -> Matter {
        Matter {
            marks: (0..WORDS_MAX / 64).map(|_| AtomicU64::new(0)).collect(),
            learning: true.into(),
            missed: AtomicU64::new(0),
        }
    }
}

impl Matter {
    fn has(&self, index: usize) -> bool {
        self.marks[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 1
    }

    fn note(&self, index: usize) {
        if self.learning.load(Ordering::Relaxed) {
            self.marks[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
        } else if !self.has(index) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on nothing is learnt.
    pub fn settle(&self) {
        self.learning.store(false, Ordering::Relaxed);
    }

    /// Number of words that matter.
    pub fn count(&self) -> u32 {
        self.marks.iter().map(|mark| mark.load(Ordering::Relaxed).count_ones()).sum()
    }
}

/// What lets another thread go first.
pub type Switch = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for SwitchedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchedWords").finish_non_exhaustive()
    }
}

impl SwitchedWords {
    /// Starts with these words and the room to grow that a scene needs.
    pub fn new(
        words: &[u64],
        room: usize,
        matter: std::sync::Arc<Matter>,
        switch: Switch,
        give_way: fn(),
    ) -> SwitchedWords {
        let zeros = std::iter::repeat_n(0, room);
        SwitchedWords {
            len: AtomicU64::new((words.len() * WORD) as u64),
            words: words.iter().copied().chain(zeros).map(AtomicU64::new).collect(),
            matter,
            switch,
            give_way,
        }
    }
}

impl Words for SwitchedWords {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn set_len(&self, len: u64) {
        assert!(len as usize <= self.words.len() * WORD, "no room to grow");
        (self.switch)();
        self.len.fetch_max(len, Ordering::Relaxed);
    }

    fn load(&self, index: usize) -> u64 {
        if self.matter.has(index) {
            (self.switch)();
        }
        assert!((index * WORD) < self.len() as usize, "read beyond the end of the file");
        self.words[index].load(Ordering::Relaxed)
    }

    fn store(&self, index: usize, word: u64) {
        if self.words[index].load(Ordering::Relaxed) != word {
            self.matter.note(index);
            (self.switch)();
            self.words[index].store(word, Ordering::Relaxed);
        }
    }

    fn pass(&self) {
        (self.switch)();
    }

    fn wait(&self) {
        (self.give_way)();
    }
}
