//! Words that loom watches: those that the writer changes and a reader reads.
//!
//! All others are plain, as nobody can tell when they change. Which ones a reader
//! comes to read is found out as it goes: one that it reads and that is not watched is
//! noted, the execution means nothing, and the exploration begins again with it. Words
//! that are tied ([`crate::tied`]) are what their leader says.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicU64, Ordering, fence};

use crate::record::{Record, Step};
use crate::tied::Tied;
use crate::words::{WORD, Words};

/// What the memory under a file promises, and what less it may promise so that the
/// checker has something to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As `words` says.
    AsAssumed,
    /// A reader's copies are not ordered: no acquire fence.
    ReadsUnordered,
    /// A writer's calls are not ordered: no release.
    WritesUnordered,
}

/// Words of a file within one execution.
pub struct WatchedWords {
    watch: Watch,
    /// One for each watched word.
    cells: Vec<AtomicU64>,
    len: AtomicU64,
    /// Number of acts that everybody may know to be done.
    done: AtomicU64,
}

impl fmt::Debug for WatchedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedWords").finish_non_exhaustive()
    }
}

/// What does not change from one execution to the next.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The words at the start, zeros where the file may grow.
    image: Arc<Vec<u64>>,
    /// The words at the start, in bytes.
    len: u64,
    /// For each word of the image: what it is.
    kinds: Arc<Vec<Kind>>,
    /// The watched words, ascending.
    watched: Arc<Vec<usize>>,
    /// Where reads of changed words are noted that are not watched.
    pub missed: Arc<Mutex<HashSet<usize>>>,
    memory: Memory,
}

/// What a word is to a checker.
#[derive(Clone, Debug)]
enum Kind {
    /// It never changes.
    Plain,
    /// It changes and is not watched.
    Missing,
    /// It is watched, in the cell with this number.
    Watched(usize),
    /// It is what another one says.
    Tied(Tied),
}

impl Watch {
    /// Watches these words of a record.
    pub fn new(image: &[u64], record: &Record, watched: &HashSet<usize>, memory: Memory) -> Watch {
        let mut words = image.to_vec();
        let last = record.changed.iter().chain(record.tied.keys()).max().map_or(0, |last| last + 1);
        words.resize(words.len().max(last).next_multiple_of(BLOCK_WORDS), 0);
        let mut kinds = vec![Kind::Plain; words.len()];
        for index in record.changed.iter().filter(|index| !UNUSED.contains(index)) {
            kinds[*index] = Kind::Missing;
        }
        for (index, tied) in &record.tied {
            kinds[*index] = Kind::Tied(tied.clone());
        }
        let mut watched: Vec<_> = watched.iter().copied().collect();
        // loom numbers what it watches: the same in every execution.
        watched.sort_unstable();
        for (number, index) in watched.iter().enumerate() {
            kinds[*index] = Kind::Watched(number);
        }
        Watch {
            image: Arc::new(words),
            len: (image.len() * WORD) as u64,
            kinds: Arc::new(kinds),
            watched: Arc::new(watched),
            missed: Arc::default(),
            memory,
        }
    }

    /// The words at the start of an execution.
    pub fn words(&self) -> WatchedWords {
        WatchedWords {
            cells: self.watched.iter().map(|index| AtomicU64::new(self.image[*index])).collect(),
            len: AtomicU64::new(self.len),
            done: AtomicU64::new(0),
            watch: self.clone(),
        }
    }
}

/// Words of the control page that a young handle copies along with the root line and
/// the segment table, and never looks at: the busy line to the list heads. Their values
/// would be gone through in vain. A reader that did look would find them stale for ever.
const UNUSED: std::ops::Range<usize> = (4096 + 128) / WORD..(4096 + 1024) / WORD;

/// Words of a block of the file.
const BLOCK_WORDS: usize = (64 << 10) / WORD;

impl WatchedWords {
    /// Plays a writer's script.
    pub fn play(&self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Call => self.write(),
                Step::Store(index, word) => self.store(index, word),
                Step::Length(len) => self.set_len(len),
                Step::Done(acts) => self.done.store(acts as u64, Ordering::Release),
            }
        }
    }

    /// Number of acts that are known to be done.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Acquire) as usize
    }
}

impl Words for WatchedWords {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    fn load(&self, index: usize) -> u64 {
        match &self.watch.kinds[index] {
            Kind::Plain => self.watch.image[index],
            Kind::Missing => {
                self.watch.missed.lock().unwrap().insert(index);
                // Without the panic hook: this is no failure.
                std::panic::resume_unwind(Box::new(MISSED.to_string()));
            }
            Kind::Watched(number) => self.cells[*number].load(Ordering::Relaxed),
            Kind::Tied(tied) => tied.word(self.load(tied.leader)),
        }
    }

    fn copy(&self, from: usize, words: &mut [u64]) {
        let mut leader = None;
        for (index, word) in (from..).zip(words) {
            *word = match &self.watch.kinds[index] {
                // Asked once for all that are tied to it: of one copy, of one call.
                Kind::Tied(tied) => match leader {
                    Some((leader, word)) if leader == tied.leader => tied.word(word),
                    _ => {
                        let word = self.load(tied.leader);
                        leader = Some((tied.leader, word));
                        tied.word(word)
                    }
                },
                _ => {
                    let word = self.load(index);
                    leader = Some((index, word));
                    word
                }
            };
        }
    }

    fn store(&self, index: usize, word: u64) {
        match self.watch.kinds[index] {
            Kind::Watched(number) => self.cells[number].store(word, Ordering::Relaxed),
            ref kind => unreachable!("a script stores watched words only, not {kind:?}"),
        }
    }

    fn read(&self) {
        if self.watch.memory != Memory::ReadsUnordered {
            fence(Ordering::Acquire);
        }
    }

    fn write(&self) {
        if self.watch.memory != Memory::WritesUnordered {
            fence(Ordering::Release);
        }
    }

    fn wait(&self) {
        loom::thread::yield_now();
    }
}

/// What an execution panics with that read an unwatched word.
pub const MISSED: &str = "a changed word is read and not watched";
