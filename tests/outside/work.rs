//! The work of a process that is going to be killed: a mixed load on one
//! container, by a long-lived handle and by short-lived ones, each operation
//! told when it begins and when it returned.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, MapPolicy, Options, Result, Updated};

use crate::dice::Dice;
use crate::message::{Mouth, What};
use crate::reading;
use crate::value::{self, COUNTERS, FAR_MS};

/// Sessions that each writer saves again and again.
pub(crate) const OWN: u16 = 20;
const COUNTER_COUNT: u16 = 3;
/// Numbers of one job. The next job of the same container has others.
const NUMBERS: u32 = 1 << 14;

/// What kind of load it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Some of everything.
    Mixed,
    /// New sessions most of the time, so that the index grows.
    Growing,
    /// Two sessions over and over, so that versions pile up.
    Narrow,
    /// Only what needs no record, or a large one.
    Coarse,
}

const MOODS: [Mood; 4] = [Mood::Mixed, Mood::Growing, Mood::Narrow, Mood::Coarse];

/// Everything that a process must know, in one line of text.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    /// How the container is opened; what the names mean is the harness's.
    pub(crate) opening: String,
    pub(crate) creates: u32,
    pub(crate) writer: u8,
    pub(crate) durability: u32,
    pub(crate) mood: Mood,
    /// Number of this job in the life of the container.
    pub(crate) round: u32,
    /// First key of its own that is fresh.
    pub(crate) fresh: u16,
    pub(crate) fresh_count: u16,
    pub(crate) seed: u64,
}

impl Job {
    pub(crate) fn moods(dice: &mut Dice) -> Mood {
        MOODS[dice.below(MOODS.len() as u64) as usize]
    }

    pub(crate) fn to_text(&self) -> String {
        let mood = MOODS.iter().position(|mood| *mood == self.mood).unwrap();
        let Job { path, opening, creates, writer, durability, .. } = self;
        let Job { round, fresh, fresh_count, seed, .. } = self;
        let path = path.display();
        let load = format!("{writer}|{durability}|{mood}|{round}|{fresh}|{fresh_count}|{seed}");
        format!("{path}|{opening}|{creates}|{load}")
    }

    pub(crate) fn from_text(text: &str) -> Job {
        let words: Vec<&str> = text.split('|').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        Job {
            path: words[0].into(),
            opening: words[1].into(),
            creates: number(2) as u32,
            writer: number(3) as u8,
            durability: number(4) as u32,
            mood: MOODS[number(5) as usize],
            round: number(6) as u32,
            fresh: number(7) as u16,
            fresh_count: number(8) as u16,
            seed: number(9),
        }
    }

    /// Of three kinds: durable, an interval, never.
    pub(crate) fn options(&self) -> Options {
        let durability = match self.durability {
            0 => Durability::Durable,
            1 => Durability::Interval(Duration::from_millis(2)),
            _ => Durability::Never,
        };
        Options::new().durability(durability).map(MapPolicy::AfterLoads(8))
    }
}

/// A job being done.
struct Work<'a> {
    job: &'a Job,
    open: &'a dyn Fn() -> Result<ByteContainer>,
    mouth: Mouth,
    dice: Dice,
    long_lived: ByteContainer,
    step: u32,
    fresh: u16,
    /// What own sessions must read as, where that is known.
    left: HashMap<u16, Option<u32>>,
}

/// Works until it is killed, or until the numbers are used up; then it waits for
/// its end.
pub(crate) fn work(job: &Job, open: &dyn Fn() -> Result<ByteContainer>) -> ! {
    let mut mouth = Mouth::new(job.writer);
    let long_lived = open().unwrap_or_else(|error| {
        eprintln!("writer {} cannot open: {error}", job.writer);
        mouth.tell(What::Failed, 0, 0);
        wait_for_the_end()
    });
    mouth.tell(What::Ready, 0, 0);
    let dice = Dice::new(job.seed);
    let left = HashMap::new();
    let mut work = Work { job, open, mouth, dice, long_lived, step: 0, fresh: 0, left };
    while work.step < NUMBERS - 1 {
        work.step += 1;
        if let Err(error) = work.operate() {
            eprintln!("writer {} in round {}: {error}", job.writer, job.round);
            let number = work.number();
            work.mouth.tell(What::Failed, 0, number);
            wait_for_the_end();
        }
    }
    wait_for_the_end()
}

/// A process that ends by itself is a defect.
pub(crate) fn wait_for_the_end() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

impl Work<'_> {
    fn number(&self) -> u32 {
        self.job.round * NUMBERS + self.step
    }

    fn operate(&mut self) -> Result<()> {
        let short_lived = if self.dice.percent(25) { Some((self.open)()?) } else { None };
        let share = self.dice.below(100);
        let range = if self.job.mood == Mood::Narrow { 2 } else { OWN };
        let key = u16::from(self.job.writer) * OWN + self.dice.below(range.into()) as u16;
        // The field itself, so that the rest of `self` stays free.
        let container = short_lived.as_ref().unwrap_or(&self.long_lived);
        let number = self.job.round * NUMBERS + self.step;
        let durable = self.job.durability == 0;
        let done = if durable { What::Durable } else { What::Done };
        match (self.job.mood, share) {
            (Mood::Growing, 0..80) if self.fresh < self.job.fresh_count => {
                let key = self.job.fresh + self.fresh;
                self.fresh += 1;
                self.mouth.tell(What::Saves, key, number);
                container.save(value::id(key), &value::value(key, number))?;
                self.mouth.tell(done, key, number);
            }
            (Mood::Narrow, 0..80) | (Mood::Mixed | Mood::Growing, 0..50) | (_, 0..5) => {
                self.mouth.tell(What::Saves, key, number);
                container.save(value::id(key), &value::value(key, number))?;
                self.mouth.tell(done, key, number);
                self.left.insert(key, Some(number));
            }
            (_, 0..65) => {
                self.mouth.tell(What::Removes, key, number);
                container.remove(value::id(key))?;
                self.mouth.tell(done, key, number);
                self.left.insert(key, None);
            }
            (_, 65..72) => {
                self.mouth.tell(What::Touches, key, number);
                container.set_deadline(value::id(key), Some(FAR_MS + u64::from(number)))?;
                self.mouth.tell(done, key, number);
            }
            (_, 72..80) => {
                let key = COUNTERS + self.dice.below(COUNTER_COUNT.into()) as u16;
                self.mouth.tell(What::Counts, key, number);
                let count = raise(container, key)?;
                let done = if durable { What::CountedDurably } else { What::Counted };
                self.mouth.tell(done, key, count);
            }
            (_, 80..86) => {
                self.mouth.tell(What::Syncs, 0, number);
                container.sync()?;
                self.mouth.tell(What::Synced, 0, number);
            }
            _ => {
                let read = reading::read(container, key);
                let read = read?.map(|read| read.map(|read| read.number));
                let left = self.left.get(&key);
                let wrong = match (&read, left) {
                    (Err(why), _) => Some(why.clone()),
                    (Ok(read), Some(left)) if read != left => Some(format!("{read:?}")),
                    _ => None,
                };
                if let Some(wrong) = wrong {
                    eprintln!("key {key} was left as {left:?} and reads as {wrong}");
                    self.mouth.tell(What::Wrong, key, number);
                    wait_for_the_end();
                }
            }
        }
        Ok(())
    }
}

fn raise(container: &ByteContainer, key: u16) -> Result<u32> {
    let mut count = 0;
    let raised = container.update(value::id(key), |session| {
        count = value::count_of(session.map(|session| session.value)).expect("no count") + 1;
        Change::Save(count.to_le_bytes().to_vec())
    })?;
    assert!(matches!(raised, Updated::Saved(_)));
    Ok(count)
}
