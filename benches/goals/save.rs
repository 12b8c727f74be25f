//! Row c: saves in interval mode that overwrite, each timed by itself.
//!
//! The interval is an hour, so that no save starts a sync because of the time;
//! after each batch of a tenth as many saves as there are sessions, outside the
//! timing, `sync` brings everything to the disk, so that older versions do not
//! pile up until the container has to sync for space. The remarks say how many
//! batches saw a sync all the same. A session keeps its length; making the
//! value and choosing the session are outside the timing, two clock readings are
//! in it. The floor does the bare calls of a save on a file as large, filled the
//! same way: lock, read an entry somewhere in the index, write the record into the
//! space after the one before, a line at the head of its block, and the entry;
//! unlock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Durability, Options};

use crate::data::{self, Random};
use crate::stage::{Outcome, Stage, filled_file, mixed_len, warm};
use crate::strace::Saves;
use crate::table::{Findings, Line, Rounds, mean, median, percentile, time};

const LINE: u64 = 64;
const BLOCK: u64 = 1 << 16;
/// Batches of a round.
const BATCHES: u64 = 5;
const MICROSECOND: f64 = 1e3;

pub(crate) fn measure(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let path = stage.container("save", sessions, mixed_len)?;
    let options = Options::new().durability(Durability::Interval(Duration::from_secs(3600)));
    let container = ByteContainer::open(&path, options)?;
    let floor_path = stage.path("save-floor");
    let file = filled_file(&floor_path, container.info()?.length)?;
    let mut floor = Floor::new(file, sessions)?;

    let [mut means, mut medians, mut tails] = [(); 3].map(|()| Rounds::default());
    let mut random = Random::new(4);
    let mut slowest: f64 = 0.0;
    let mut disturbed = 0;
    for round in 0..stage.rounds() {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        warm(&path)?;
        warm(&floor_path)?;
        for _ in 0..BATCHES {
            let picks: Vec<u64> = (0..sessions / 10).map(|_| random.below(sessions)).collect();
            let epoch = container.info()?.write_epoch;
            ours.append(&mut saves(&container, &picks, round as u32 + 1)?);
            disturbed += u64::from(container.info()?.write_epoch != epoch);
            container.sync()?;
            other.append(&mut floor.saves(&picks)?);
        }
        means.push(mean(&ours), mean(&other));
        medians.push(median(&ours), median(&other));
        tails.push(percentile(&ours, 0.999), percentile(&other, 0.999));
        slowest = ours.iter().copied().fold(slowest, f64::max);
    }
    verify(&container, sessions)?;
    let what = format!("c. save, overwrite, interval mode, {sessions} sessions");
    for (name, rounds, goal, most) in [
        ("mean", &means, "<= 4.5 us", 4.5 * MICROSECOND),
        ("p99.9", &tails, "<= 60 us", 60.0 * MICROSECOND),
    ] {
        let line = rounds.line(format!("{what}, {name}"), goal, |_| true, time);
        findings.lines.push(Line { reached: Some(rounds.ours() <= most), ..line });
    }
    findings.notes.push(format!(
        "c: {} rounds of {BATCHES} batches of {} saves, {disturbed} with a sync; p50 {}, of the \
         floor {}; the slowest save of all took {}",
        stage.rounds(),
        sessions / 10,
        time(medians.ours()),
        time(medians.other()),
        time(slowest)
    ));
    let watched = Saves { path: &path, sessions, mode: "interval" };
    if let Some(calls) = watched.calls_of_one(stage)? {
        findings.notes.push(format!("c: system calls of a save: {calls}"));
    }
    Ok(())
}

/// The nanoseconds of each save.
fn saves(container: &ByteContainer, picks: &[u64], version: u32) -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity(picks.len());
    let mut value = Vec::new();
    for &session in picks {
        let id = data::id(session);
        data::fill(&mut value, session, version, mixed_len(session));
        let start = Instant::now();
        container.save(id, &value)?;
        times.push(start.elapsed().as_nanos() as f64);
    }
    Ok(times)
}

/// A file with an index in front of its records.
struct Floor {
    file: File,
    index: u64,
    len: u64,
    record: u64,
    random: Random,
}

impl Floor {
    fn new(file: File, sessions: u64) -> Outcome<Floor> {
        let len = file.metadata()?.len();
        let index = (sessions * LINE * 20 / 13).next_multiple_of(BLOCK);
        Ok(Floor { file, index, len, record: index, random: Random::new(5) })
    }

    /// The nanoseconds of each save.
    fn saves(&mut self, picks: &[u64]) -> Outcome<Vec<f64>> {
        let mut times = Vec::with_capacity(picks.len());
        let mut value = Vec::new();
        for &session in picks {
            data::fill(&mut value, session, 0, mixed_len(session));
            let entry = self.random.below(self.index / LINE) * LINE;
            let record = self.next_record(value.len() as u64);
            let start = Instant::now();
            bare_save(&self.file, entry, record, &value)?;
            times.push(start.elapsed().as_nanos() as f64);
        }
        self.file.sync_data()?;
        Ok(times)
    }

    fn next_record(&mut self, len: u64) -> u64 {
        if self.record + len > self.len {
            self.record = self.index;
        }
        let record = self.record;
        self.record = (record + len).next_multiple_of(LINE);
        record
    }
}

fn bare_save(file: &File, entry: u64, record: u64, value: &[u8]) -> Outcome<()> {
    let mut line = [0; LINE as usize];
    fs2::FileExt::lock_exclusive(file)?;
    file.read_exact_at(&mut line, entry)?;
    file.write_all_at(&line, record / BLOCK * BLOCK)?;
    file.write_all_at(value, record)?;
    file.write_all_at(&line, entry)?;
    fs2::FileExt::unlock(file)?;
    Ok(())
}

/// Every session still has one of its values.
fn verify(container: &ByteContainer, sessions: u64) -> Outcome<()> {
    for session in 0..sessions {
        let found = container.load(data::id(session))?.ok_or("a session is gone")?;
        data::version_of(session, &found.value).ok_or("a value is not its session's")?;
    }
    Ok(())
}
