//! Rows b and g: what a fresh process pays. b is one request of a CGI program
//! (open, load, save, close), g the first look into a large file (open, load,
//! close). Both against tdb, child by child in turns.
//!
//! The child has its id and its new value before the clock starts, and checks
//! what it read after it has stopped. tdb's library is loaded before, too. The
//! handles have the default options, so that now and then, as in real life, a
//! save is followed by the sync that is due every second; medians do not show it.

use std::ffi::OsString;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cloakroom::{ByteContainer, Options};

use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::stage::{Outcome, Stage, mixed_len, warm};
use crate::table::{Findings, Rounds, median, percentile, time};
use crate::tdb::{self, Library};

const REQUEST: &str = "b. open + load + save + close, fresh process";
const REQUEST_GOAL: &str = "<= 0.6 x tdb";
const FIRST: &str = "g. open + first load + close, fresh process";
const FIRST_GOAL: &str = "<= 0.55 x tdb";

/// The values of the million sessions of row g.
const MILLION_LEN: usize = 512;

/// What a child does between open and close.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    LoadAndSave,
    Load,
}

/// Row b.
pub(crate) fn measure_request(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let Some(library) = Library::load() else {
        findings.not_run(REQUEST, REQUEST_GOAL, tdb::MISSING);
        return Ok(());
    };
    let ours = stage.container("request", sessions, mixed_len)?;
    let other = tdb_file(stage, library, "request.tdb", sessions, mixed_len)?;
    let pair = Pair { ours, other, sessions, work: Work::LoadAndSave };
    let measured = pair.measure(stage)?;
    let what = format!("{REQUEST}, {sessions} sessions");
    let line = measured.rounds.line(what, REQUEST_GOAL, |ratio| ratio <= 0.6, time);
    findings.lines.push(line);
    measured.note("b", &["open", "load", "save", "close"], findings);
    Ok(())
}

/// Row g.
pub(crate) fn measure_first(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(1_000_000, 1_000);
    let Some(library) = Library::load() else {
        findings.not_run(FIRST, FIRST_GOAL, tdb::MISSING);
        return Ok(());
    };
    let ours = stage.container("first", sessions, |_| MILLION_LEN)?;
    let other = tdb_file(stage, library, "first.tdb", sessions, |_| MILLION_LEN)?;
    let pair = Pair { ours, other, sessions, work: Work::Load };
    let measured = pair.measure(stage)?;
    let what = format!("{FIRST}, {sessions} sessions");
    let line = measured.rounds.line(what, FIRST_GOAL, |ratio| ratio <= 0.55, time);
    findings.lines.push(line);
    measured.note("g", &["open", "load", "close"], findings);
    Ok(())
}

/// The same sessions in a tdb file with one chain for each.
fn tdb_file(
    stage: &Stage,
    library: Library,
    name: &str,
    sessions: u64,
    len: impl Fn(u64) -> usize,
) -> Outcome<PathBuf> {
    let path = stage.path(name);
    let file = library.open(&path, sessions + 3)?;
    let mut value = Vec::new();
    for session in 0..sessions {
        data::fill(&mut value, session, 0, len(session));
        file.store(&data::id(session), &value)?;
    }
    drop(file);
    std::fs::File::open(&path)?.sync_data()?;
    Ok(path)
}

/// The two files and what is done to them.
struct Pair {
    ours: PathBuf,
    other: PathBuf,
    sessions: u64,
    work: Work,
}

impl Pair {
    fn measure(&self, stage: &Stage) -> Outcome<Measured> {
        let mut versions = vec![0; self.sessions as usize];
        let mut random = Random::new(3);
        let mut measured = Measured::default();
        let (warm_up, requests) = (stage.size(50, 2), stage.size(300, 5));
        for round in 0..=stage.rounds() {
            let count = if round == 0 { warm_up } else { requests };
            let (mut ours, mut other) = (Vec::new(), Vec::new());
            warm(&self.ours)?;
            warm(&self.other)?;
            for _ in 0..count {
                let session = random.below(self.sessions);
                let version = versions.get_mut(session as usize).ok_or("no such session")?;
                ours.push(self.child("ours", &self.ours, session, *version)?);
                other.push(self.child("tdb", &self.other, session, *version)?);
                if self.work == Work::LoadAndSave {
                    *version += 1;
                }
            }
            if round > 0 {
                measured.rounds.push(median_sum(&ours), median_sum(&other));
                measured.ours.append(&mut ours);
                measured.other.append(&mut other);
            }
        }
        Ok(measured)
    }

    /// The nanoseconds of each phase.
    fn child(&self, store: &str, path: &Path, session: u64, version: u32) -> Outcome<Vec<u64>> {
        let job = match self.work {
            Work::LoadAndSave => "request",
            Work::Load => "first",
        };
        let mut command = child::command(job)?;
        command.arg(store).arg(path).arg(session.to_string()).arg(version.to_string());
        child::run(command)
    }
}

fn median_sum(children: &[Vec<u64>]) -> f64 {
    let sums = children.iter().map(|phases| phases.iter().sum::<u64>() as f64);
    median(&sums.collect::<Vec<_>>())
}

#[derive(Default)]
struct Measured {
    rounds: Rounds,
    ours: Vec<Vec<u64>>,
    other: Vec<Vec<u64>>,
}

impl Measured {
    /// Says where the time goes.
    fn note(&self, row: &str, phases: &[&str], findings: &mut Findings) {
        for (name, children) in [("ours", &self.ours), ("tdb", &self.other)] {
            let mut note = format!("{row}: {name}, p50 of {} processes:", children.len());
            for (place, phase) in phases.iter().enumerate() {
                let times = children.iter().filter_map(|child| child.get(place));
                let times: Vec<f64> = times.map(|&ns| ns as f64).collect();
                note += &format!(" {phase} {},", time(median(&times)));
            }
            let sums = children.iter().map(|child| child.iter().sum::<u64>() as f64);
            let sums: Vec<f64> = sums.collect();
            note += &format!(" p99 of the sum {}", time(percentile(&sums, 0.99)));
            findings.notes.push(note);
        }
    }
}

/// In the child: prints the nanoseconds of each phase.
pub(crate) fn child(
    save: bool,
    arguments: &mut Arguments<impl Iterator<Item = OsString>>,
) -> Outcome<()> {
    let store = arguments.text()?;
    let path = PathBuf::from(arguments.path()?);
    let session = arguments.number()?;
    let version = u32::try_from(arguments.number()?)?;
    let request = Request::new(path, session, version, save);
    let phases = match store.as_str() {
        "ours" => request.ours()?,
        _ => request.tdb(Library::load().ok_or(tdb::MISSING)?)?,
    };
    let phases: Vec<String> = phases.iter().map(u64::to_string).collect();
    println!("{}", phases.join(" "));
    Ok(())
}

/// What is known before the clock starts.
struct Request {
    path: PathBuf,
    session: u64,
    version: u32,
    id: [u8; 32],
    /// To save; `None` if nothing is.
    value: Option<Vec<u8>>,
}

impl Request {
    fn new(path: PathBuf, session: u64, version: u32, save: bool) -> Request {
        let value = save.then(|| data::value(session, version + 1, mixed_len(session)));
        // The first reading of the clock maps its page.
        black_box(Instant::now());
        Request { path, session, version, id: data::id(session), value }
    }

    fn ours(&self) -> Outcome<Vec<u64>> {
        let mut clock = Clock::start();
        let container = ByteContainer::open(&self.path, Options::new())?;
        clock.lap();
        let found = container.load(self.id)?;
        clock.lap();
        if let Some(value) = &self.value {
            container.save(self.id, value)?;
            clock.lap();
        }
        drop(container);
        clock.lap();
        self.check(found.as_ref().map(|session| session.value.as_slice()))?;
        Ok(clock.laps)
    }

    fn tdb(&self, library: Library) -> Outcome<Vec<u64>> {
        let mut clock = Clock::start();
        // The file has its chains; the number says nothing here.
        let file = library.open(&self.path, 0)?;
        clock.lap();
        let found = file.fetch(&self.id);
        clock.lap();
        if let Some(value) = &self.value {
            file.store(&self.id, value)?;
            clock.lap();
        }
        drop(file);
        clock.lap();
        self.check(found.as_ref().map(|value| value.bytes()))?;
        Ok(clock.laps)
    }

    fn check(&self, found: Option<&[u8]>) -> Outcome<()> {
        match found.and_then(|value| data::version_of(self.session, value)) {
            Some(version) if version == self.version => Ok(()),
            other => Err(format!("{:?}, not version {}", other, self.version).into()),
        }
    }
}

struct Clock {
    last: Instant,
    laps: Vec<u64>,
}

impl Clock {
    fn start() -> Clock {
        let laps = Vec::with_capacity(4);
        Clock { laps, last: Instant::now() }
    }

    fn lap(&mut self) {
        let now = Instant::now();
        self.laps.push((now - self.last).as_nanos() as u64);
        self.last = now;
    }
}
