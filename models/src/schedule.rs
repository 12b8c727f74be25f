//! Long random schedules with shuttle: the real engine on both sides.
//!
//! Two writers in processes of their own contend for the locks, save one session
//! together and each one of its own, remove, sync, grow the index; one reader shares a
//! handle with a writer, the other is a process of its own. Threads switch at each
//! call and before each access to a word that anybody changes. What shuttle runs is
//! sequentially consistent; reorderings are loom's part.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cloakroom::{ByteContainer, Change, MapPolicy, Updated};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use crate::oracle::{self, State, VIOLATION};
use crate::record::options;
use crate::storage::{File, Locks};
use crate::words::{Matter, SwitchedWords};

/// A file, and what is done to it.
#[derive(Clone, Debug)]
pub struct Long {
    /// What it is about.
    pub name: &'static str,
    /// The file at the start.
    pub image: Arc<Vec<u64>>,
    /// The page cache was lost since: whoever writes first recovers.
    pub rebooted: bool,
    /// The session that both writers save; its value has number 0.
    pub hot: String,
    /// A session of each writer, not there at first.
    pub own: [String; 2],
    /// A session that nobody changes; its value has number 0.
    pub quiet: String,
    /// What the second writer does between its saves of the common session.
    pub between: Between,
    /// Whether writers keep each other out.
    pub locks: Locks,
}

/// What a writer does between two saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Makes all durable.
    Sync,
    /// Saves its own session.
    Save,
}

/// How threads are chosen.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// Each as likely as the other.
    Random,
    /// By priorities that change at so many points (PCT).
    Priorities(usize),
}

/// Room for the file to grow, in words.
const ROOM: usize = 3 << 13;
/// Schedules from which it is learnt which words matter.
const TRIALS: usize = 300;
const STACK: usize = 256 << 10;
/// Saves of the common session by each writer.
const SAVES: u64 = 2;

/// The number in a value of the common session.
fn number_of(value: &[u8]) -> u64 {
    let numbers = 0..=2 * SAVES;
    let mut whole = numbers.filter(|number| oracle::value(*number, len(*number)) == value);
    whole.next().unwrap_or_else(|| panic!("{VIOLATION}: a torn value {value:02x?}"))
}

/// Values change their extent class now and then.
fn len(number: u64) -> usize {
    [8, 8, 300, 8][number as usize % 4]
}

/// What a writer has done to its own session.
#[derive(Debug)]
struct Own {
    /// The states, the last one perhaps not yet.
    states: Vec<State>,
    /// How many of the changes are done.
    done: usize,
}

/// What has been done, by all.
#[derive(Debug)]
struct Book {
    own: [Mutex<Own>; 2],
    /// The highest number of the common session that was acknowledged.
    acknowledged: AtomicU64,
}

impl Book {
    fn new() -> Book {
        let own = || Mutex::new(Own { states: vec![None], done: 0 });
        Book { own: [own(), own()], acknowledged: AtomicU64::new(0) }
    }

    fn begin(&self, writer: usize, state: State) {
        self.own[writer].lock().unwrap().states.push(state);
    }

    fn finish(&self, writer: usize) {
        self.own[writer].lock().unwrap().done += 1;
    }
}

fn write(container: &ByteContainer, writer: usize, long: &Long, book: &Book) {
    let own = &long.own[writer];
    let save = |number: u64, len: usize| {
        let value = oracle::value(number, len);
        book.begin(writer, Some(value.clone()));
        container.save(own, &value).unwrap();
        book.finish(writer);
    };
    for round in 0..SAVES {
        let mut number = 0;
        let updated = container.update(&long.hot, |session| {
            number = 1 + number_of(session.expect("the common session").value);
            Change::Save(oracle::value(number, len(number)))
        });
        assert!(matches!(updated, Ok(Updated::Saved(_))), "{updated:?}");
        book.acknowledged.fetch_max(number, Ordering::Relaxed);
        match (writer, round) {
            (0, _) => save(round, [8, 300][round as usize % 2]),
            (_, 0) if long.between == Between::Sync => container.sync().unwrap(),
            (_, 0) => save(7, 8),
            _ => {
                book.begin(writer, None);
                container.remove(own).unwrap();
                book.finish(writer);
            }
        }
    }
}

fn load(container: &ByteContainer, id: &str) -> State {
    match container.load(id) {
        Ok(session) => session.map(|session| session.value),
        Err(error) => panic!("{VIOLATION}: {id} answers {error:?}"),
    }
}

fn read(container: &ByteContainer, turn: usize, long: &Long, book: &Book) {
    let (mut number, mut known) = (0, [0; 2]);
    for round in 0..2 {
        let acknowledged = book.acknowledged.load(Ordering::Relaxed);
        let value = load(container, &long.hot);
        let value = value.unwrap_or_else(|| panic!("{VIOLATION}: the common session is absent"));
        let now = number_of(&value);
        assert!(
            now >= acknowledged.max(number),
            "{VIOLATION}: {now} after {acknowledged}, {number}"
        );
        number = now;
        let writer = (turn + round) % 2;
        let done = book.own[writer].lock().unwrap().done.max(known[writer]);
        let state = load(container, &long.own[writer]);
        let own = book.own[writer].lock().unwrap();
        let found = (done..own.states.len()).find(|at| own.states[*at] == state);
        known[writer] = found.unwrap_or_else(|| {
            panic!(
                "{VIOLATION}: a session of one writer is {state:02x?}, {done} done of {own:02x?}"
            )
        });
    }
    if turn == 1 {
        let quiet = load(container, &long.quiet);
        assert!(quiet == Some(oracle::value(0, 8)), "{VIOLATION}: a quiet session is {quiet:02x?}");
    }
}

fn one_schedule(long: &Arc<Long>, matter: &Arc<Matter>) {
    // shuttle switches at each access of an atomic of its own.
    let place = shuttle::sync::atomic::AtomicBool::new(false);
    let switch = Box::new(move || {
        place.load(Ordering::SeqCst);
    });
    let give_way = || shuttle::thread::yield_now();
    let words = SwitchedWords::new(&long.image, ROOM, Arc::clone(matter), switch, give_way);
    let file = File::new(words, 1).with(long.locks);
    let file = if long.rebooted { file.rebooted() } else { file };
    let book = Arc::new(Book::new());
    let open = |handle: u64, map: MapPolicy| {
        let opened = ByteContainer::open_on(Box::new(file.share(handle)), options().map(map));
        Arc::new(opened.unwrap())
    };
    let mapped = MapPolicy::AfterLoads(0);
    let handles = [open(2, mapped), open(3, MapPolicy::Never)];
    let readers = [Arc::clone(&handles[0]), open(4, MapPolicy::AfterLoads(2))];
    let mut threads = Vec::new();
    for number in 0..2 {
        let (container, scene, books) =
            (Arc::clone(&handles[number]), Arc::clone(long), Arc::clone(&book));
        threads.push(shuttle::thread::spawn(move || write(&container, number, &scene, &books)));
        let (container, scene, books) =
            (Arc::clone(&readers[number]), Arc::clone(long), Arc::clone(&book));
        threads.push(shuttle::thread::spawn(move || read(&container, number, &scene, &books)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let last = number_of(&load(&handles[1], &long.hot).unwrap());
    assert!(last == 2 * SAVES, "{VIOLATION}: {last} of {} saves are left", 2 * SAVES);
    for (writer, own) in book.own.iter().enumerate() {
        let state = load(&readers[1], &long.own[writer]);
        assert!(Some(&state) == own.lock().unwrap().states.last(), "{VIOLATION}: a lost save");
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Scheduled {
    /// Schedules run.
    pub schedules: usize,
    /// Words at which threads switch.
    pub words: u32,
    /// Changes of other words: nobody could switch there.
    pub missed: u64,
}

/// Runs so many schedules of a scene.
pub fn run(long: &Long, choice: Choice, seed: u64, schedules: usize) -> Scheduled {
    let matter = Arc::new(Matter::default());
    shuttle_run(long, &matter, RandomScheduler::new_from_seed(1, TRIALS));
    for depth in 1..5 {
        shuttle_run(long, &matter, PctScheduler::new_from_seed(1, depth, TRIALS));
    }
    matter.settle();
    let schedules = match choice {
        Choice::Random => {
            shuttle_run(long, &matter, RandomScheduler::new_from_seed(seed, schedules))
        }
        Choice::Priorities(depth) => {
            shuttle_run(long, &matter, PctScheduler::new_from_seed(seed, depth, schedules))
        }
    };
    let missed = matter.missed.load(Ordering::Relaxed);
    Scheduled { schedules, words: matter.count(), missed }
}

fn shuttle_run(long: &Long, matter: &Arc<Matter>, scheduler: impl Scheduler + 'static) -> usize {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    if long.locks == Locks::Broken {
        // That one fails is what is wanted; nobody will want to repeat it.
        config.failure_persistence = shuttle::FailurePersistence::None;
    }
    let (long, matter) = (Arc::new(long.clone()), Arc::clone(matter));
    shuttle::Runner::new(scheduler, config).run(move || one_schedule(&long, &matter))
}
