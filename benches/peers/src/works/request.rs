//! One request of a CGI program: a fresh process opens, loads, saves and closes. Timed
//! inside the process, and from outside as a whole against a process that does
//! nothing; one at a time, and four at once.

use std::ffi::OsString;
use std::hint::black_box;
use std::time::Instant;

use super::{Opening, command};
use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::numbers::median;
use crate::report::{Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, mixed_len};
use crate::store::{Filled, Mode, Peer, Processes};

/// Processes of the second part.
const AT_ONCE: u64 = 4;
const ALONE: &str = "alone";
const FOUR: &str = "four at once";
const WHOLE: &str = "whole process, alone";

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let mut tables = Vec::new();
    for mode in [Mode::Fast, Mode::Durable] {
        let columns = [(ALONE, Unit::Time), (FOUR, Unit::Time), (WHOLE, Unit::Time)];
        let mut table =
            Table::new(format!("Open + load + save + close, {}", mode.name()), &columns);
        let mut stores = Vec::new();
        for peer in peers.iter().filter(|peer| peer.has(mode)) {
            let filled = Filled::new(peer, &stage.path(""), mode, sessions, &mixed_len)?;
            stores.push((filled, vec![0_u32; sessions as usize]));
        }
        let mut random = Random::new(11);
        for _ in 0..stage.rounds() {
            let requests = stage.size(60, 3);
            for (filled, versions) in &mut stores {
                turn(filled, versions, &mut random, requests, &mut table)?;
            }
            let nothing = (0..requests).map(|_| nothing()).collect::<Outcome<Vec<f64>>>()?;
            table.push("a process that does nothing", WHOLE, median(&nothing));
        }
        for (filled, _) in stores {
            filled.remove()?;
        }
        tables.push(table);
    }
    report.push(Section {
        title: "One request of a fresh process",
        about: format!(
            "Each request is a new process; {sessions} sessions. The first columns are the sum \
             inside the process without its start, the last one is the whole of it from outside. \
             Libraries are loaded before the clock starts; making and reading JSON is not counted."
        ),
        tables,
        ..Section::default()
    });
    Ok(())
}

/// Some requests of one store.
fn turn(
    filled: &Filled,
    versions: &mut [u32],
    random: &mut Random,
    requests: u64,
    table: &mut Table,
) -> Outcome<()> {
    let (mut inside, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..requests {
        let session = random.below(versions.len() as u64);
        let start = Instant::now();
        inside.push(request(filled, session, versions)?);
        whole.push(start.elapsed().as_nanos() as f64);
    }
    table.push(filled.peer.name, ALONE, median(&inside));
    table.push(filled.peer.name, WHOLE, median(&whole));
    if filled.peer.processes == Processes::Many {
        table.push(filled.peer.name, FOUR, four(filled, versions, requests)?);
    }
    Ok(())
}

/// Four threads start processes; each has a quarter of the sessions to itself.
fn four(filled: &Filled, versions: &mut [u32], requests: u64) -> Outcome<f64> {
    let quarter = versions.len().div_ceil(AT_ONCE as usize);
    let results: Vec<Result<Vec<f64>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0_u64..)
            .zip(versions.chunks_mut(quarter))
            .map(|(nth, versions)| {
                scope.spawn(move || {
                    let mut random = Random::new(nth);
                    let mut times = Vec::new();
                    for _ in 0..requests {
                        let within = random.below(versions.len() as u64);
                        let session = nth * quarter as u64 + within;
                        let version = &mut versions[within as usize];
                        let time = one(filled, session, *version);
                        times.push(time.map_err(|error| error.to_string())?);
                        *version += 1;
                    }
                    Ok(times)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|times| times.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let times = results.into_iter().collect::<Result<Vec<_>, String>>()?;
    Ok(median(&times.concat()))
}

/// Nanoseconds inside the process.
fn request(filled: &Filled, session: u64, versions: &mut [u32]) -> Outcome<f64> {
    let version = versions.get_mut(session as usize).ok_or("no such session")?;
    let time = one(filled, session, *version)?;
    *version += 1;
    Ok(time)
}

fn one(filled: &Filled, session: u64, version: u32) -> Outcome<f64> {
    let mut command = command("request", filled)?;
    command.arg(session.to_string()).arg(version.to_string());
    let printed = child::run(command)?;
    Ok(*printed.first().ok_or("a child printed nothing")? as f64)
}

fn nothing() -> Outcome<f64> {
    let start = Instant::now();
    child::run(child::command("nothing")?)?;
    Ok(start.elapsed().as_nanos() as f64)
}

/// In the child: prints the nanoseconds of the request.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let opening = Opening::read(arguments)?;
    let session = arguments.number()?;
    let version = u32::try_from(arguments.number()?)?;
    let (id, new) = (data::id(session), data::value(session, version + 1, mixed_len(session)));
    let mut found = Vec::with_capacity(4096);
    // The first reading of the clock maps its page.
    black_box(Instant::now());
    let start = Instant::now();
    let mut store = opening.open()?;
    let there = store.load(&id, &mut found)?;
    store.save(&id, &new)?;
    drop(store);
    let nanoseconds = start.elapsed().as_nanos();
    if !there || data::version_of(session, &found) != Some(version) {
        return Err(format!("session {session} is not in version {version}").into());
    }
    println!("{nanoseconds}");
    Ok(())
}
