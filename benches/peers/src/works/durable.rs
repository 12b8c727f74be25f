//! Saves that wait for the disk, by 1, 4 and 16 processes, against raw writes.
//!
//! A disk may be throttled for seconds. Before and after each turn of a store a raw turn
//! is run, and a store's turn counts only if both were at least half as fast as the
//! best of all; the ratio to the raw one is shown, too.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Opening, command};
use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::numbers::mean;
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, filled_file, mixed_len};
use crate::store::{Filled, Mode, Peer, Processes};

const PROCESSES: [(&str, u64); 3] = [("1 process", 1), ("4 processes", 4), ("16 processes", 16)];
const RAW: &str = "raw: two pwrites apart + fdatasync";
const RAW_BYTES: u64 = 256 << 20;
/// How often a turn is repeated in the hope of a disk that is not throttled.
const TRIES: usize = 3;

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let columns = PROCESSES.map(|(name, _)| (name, Unit::Rate));
    let mut table = Table::new(format!("Durable saves over {sessions} sessions"), &columns);
    let raw = stage.path("raw");
    filled_file(&raw, stage.size(RAW_BYTES, 1 << 20))?;
    let mut stores = Vec::new();
    for peer in peers.iter().filter(|peer| peer.has(Mode::Durable)) {
        stores.push(Filled::new(peer, &stage.path(""), Mode::Durable, sessions, &mixed_len)?);
    }
    let milliseconds = stage.size(400, 20);
    let mut left_out = 0;
    for (column, processes) in PROCESSES {
        let mut best = 0.0;
        for round in 0..stage.size(5, 1) {
            let mut before = raw_rate(&raw, processes, milliseconds)?;
            for filled in &stores {
                if processes > 1 && filled.peer.processes == Processes::One {
                    continue;
                }
                for attempt in 1.. {
                    let rate = rate(filled, processes, round, milliseconds)?;
                    let after = raw_rate(&raw, processes, milliseconds)?;
                    best = f64::max(best, f64::max(before, after));
                    let steady = before.min(after) >= best / 2.0;
                    if steady {
                        table.push(filled.peer.name, column, rate);
                        table.push(RAW, column, mean(&[before, after]));
                    }
                    before = after;
                    if steady {
                        break;
                    }
                    left_out += 1;
                    if attempt == TRIES {
                        break;
                    }
                }
            }
        }
    }
    for filled in stores {
        filled.remove()?;
    }
    let series = table.series(&PROCESSES.map(|(name, processes)| (name, processes as f64)));
    report.push(Section {
        title: "Durable save",
        about: "Processes save random sessions, each save on the disk before the next begins."
            .to_owned(),
        plots: vec![Plot {
            name: "durable",
            title: "Durable saves a second against processes".to_owned(),
            x: "processes",
            y: "saves a second",
            series,
        }],
        tables: vec![table],
        notes: vec![format!("{left_out} turns were left out since the disk was throttled.")],
    });
    Ok(())
}

/// Saves a second of all processes together.
fn rate(filled: &Filled, processes: u64, round: u64, milliseconds: u64) -> Outcome<f64> {
    let commands = (0..processes).map(|process| {
        let mut command = command("durable", filled)?;
        command.arg((round * 64 + process).to_string()).arg(milliseconds.to_string());
        Ok(command)
    });
    sum(child::run_together(commands.collect::<Outcome<Vec<_>>>()?)?)
}

fn raw_rate(path: &Path, processes: u64, milliseconds: u64) -> Outcome<f64> {
    let commands = (0..processes).map(|process| {
        let mut command = child::command("raw")?;
        command.arg(path).arg(process.to_string()).arg(milliseconds.to_string());
        Ok(command)
    });
    sum(child::run_together(commands.collect::<Outcome<Vec<_>>>()?)?)
}

fn sum(printed: Vec<Vec<u64>>) -> Outcome<f64> {
    let rates = printed.iter().map(|numbers| match numbers[..] {
        [saves, nanoseconds] => Ok(saves as f64 * 1e9 / nanoseconds as f64),
        _ => Err("a child printed something else".into()),
    });
    Ok(rates.collect::<Outcome<Vec<f64>>>()?.iter().sum())
}

/// In the child: prints how many saves it did in how many nanoseconds.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let opening = Opening::read(arguments)?;
    let seed = arguments.number()?;
    let mut random = Random::new(seed);
    let time = Duration::from_millis(arguments.number()?);
    let mut store = opening.open()?;
    let mut value = Vec::new();
    work(time, || {
        let session = random.below(opening.place.sessions);
        // No two processes save the same value: some stores skip that.
        let version = (random.next() as u32) << 8 | seed as u32 & 0xff;
        data::fill(&mut value, session, version, mixed_len(session));
        store.save(&data::id(session), &value)
    })
}

/// In the child: two writes at random places and a sync.
pub(crate) fn raw_child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let path = PathBuf::from(arguments.path()?);
    let mut random = Random::new(arguments.number()?);
    let time = Duration::from_millis(arguments.number()?);
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let lines = file.metadata()?.len() / 64;
    let mut value = Vec::new();
    work(time, || {
        let session = random.next();
        data::fill(&mut value, session, 0, mixed_len(session));
        for part in [&value[..], &value[..64]] {
            let end = lines - part.len() as u64 / 64;
            file.write_all_at(part, random.below(end) * 64)?;
        }
        Ok(file.sync_data()?)
    })
}

fn work(time: Duration, mut save: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    for _ in 0..5 {
        save()?;
    }
    child::wait_for_start()?;
    let start = Instant::now();
    let mut saves = 0;
    while start.elapsed() < time {
        save()?;
        saves += 1;
    }
    println!("{saves} {}", start.elapsed().as_nanos());
    Ok(())
}
