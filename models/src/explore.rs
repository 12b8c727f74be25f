//! Going through a scene with loom: every interleaving within the bound, and every
//! order in which the writer's words may become visible.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom::{ByteContainer, MapPolicy};

use crate::oracle;
use crate::record::{Record, options};
use crate::scene::Scene;
use crate::storage::File;
use crate::watched::{MISSED, Memory, Watch, WatchedWords};

/// Stack of a thread in a model, in words: a reader of the engine fits in.
const STACK: usize = 32 << 10;
/// loom's accesses in one execution before it takes it for endless.
const BRANCHES_MAX: usize = 20_000;
/// Times that the exploration begins again with more words watched.
const RESTARTS_MAX: usize = 400;

/// Executions after which loom looks whether it has done enough.
const CHECKED_EVERY: usize = 1000;
/// Words of a line.
const LINE: usize = 8;

/// How readers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// By system calls, several lines at once.
    Calls,
    /// Through a map, line by line.
    Map,
    /// Through a map, by a handle that has read before and remembers.
    WarmMap,
}

/// What an exploration came to.
#[derive(Debug)]
pub struct Explored {
    /// Executions, each different from all others.
    pub executions: u64,
    /// There are no others within the bound.
    pub complete: bool,
    /// Words that were watched.
    pub watched: usize,
    /// What was found, if anything.
    pub violation: Option<String>,
}

/// Goes through a scene, and stops after so many executions if there are more.
pub fn explore(scene: &Scene, reading: Reading, memory: Memory, most: u64) -> Explored {
    let record = Record::of(scene);
    let mut watched = HashSet::new();
    for _ in 0..RESTARTS_MAX {
        let watch = Watch::new(&scene.image, &record, &watched, memory);
        let executions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&executions);
        let missed = Arc::clone(&watch.missed);
        let run = catch_unwind(AssertUnwindSafe(|| {
            all_executions(scene, reading, &record, &watched, watch, (counted, most));
        }));
        let message = run.err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(other) => resume_unwind(other),
        });
        let missed = missed.lock().unwrap();
        let executions = executions.load(Ordering::Relaxed);
        match message {
            Some(text) if text.contains(MISSED) => {
                // Lines are read whole.
                let lines: HashSet<_> = missed.iter().map(|index| index / LINE).collect();
                let whole = record.changed.iter().filter(|index| lines.contains(&(*index / LINE)));
                watched.extend(whole);
            }
            violation => {
                let complete = violation.is_none() && executions < most;
                return Explored { executions, complete, watched: watched.len(), violation };
            }
        }
    }
    panic!("{}: the words that matter are not found", scene.name);
}

fn all_executions(
    scene: &Scene,
    reading: Reading,
    record: &Record,
    watched: &HashSet<usize>,
    watch: Watch,
    (executions, most): (Arc<AtomicU64>, u64),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(scene.preemptions);
    builder.max_branches = BRANCHES_MAX;
    builder.checkpoint_interval = CHECKED_EVERY;
    builder.max_permutations = Some(most as usize);
    let steps = Arc::new(record.only(watched));
    let states = Arc::new(record.states.clone());
    let readers = scene.readers.clone();
    builder.check(move || {
        executions.fetch_add(1, Ordering::Relaxed);
        let file = File::new(watch.words(), 1);
        let mut threads = Vec::new();
        for (number, ids) in readers.iter().cloned().enumerate() {
            let mine = file.share(10 + number as u64);
            let warm = (reading == Reading::WarmMap).then(|| ids[0].clone());
            let states = Arc::clone(&states);
            // Before anything is written: what it remembers is of that time.
            let container = spawn(move || open(&mine, reading, warm)).join().unwrap();
            let mine = file.share(10 + number as u64);
            threads.push(spawn(move || read(&container, &mine, &ids, &states)));
        }
        file.words().play(&steps);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    loom::thread::Builder::new().stack_size(STACK).spawn(body).unwrap()
}

fn open(file: &File<WatchedWords>, reading: Reading, warm: Option<String>) -> ByteContainer {
    let policy = match reading {
        Reading::Calls => MapPolicy::Never,
        Reading::Map | Reading::WarmMap => MapPolicy::AfterLoads(0),
    };
    let mine = Box::new(file.share(file.number()));
    let container = ByteContainer::open_read_only_on(mine, options().map(policy)).unwrap();
    if let Some(id) = warm {
        container.load(&id).unwrap();
    }
    container
}

fn read(
    container: &ByteContainer,
    file: &File<WatchedWords>,
    ids: &[String],
    states: &oracle::States,
) {
    let mut known = 0;
    for id in ids {
        known = known.max(file.words().done());
        known = oracle::load(container, id, states, known);
    }
}
