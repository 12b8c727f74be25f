//! Row d: durable saves, by one process and by four, against the bare thing:
//! three `pwrite`s apart and one `fdatasync`, on a file as large that was filled
//! the same way. Also how many syncs a save takes when alone, counted by strace.
//!
//! Each process is a child that opens the file, works for a while before the
//! start and then for a fixed time. Ours and the floor take short turns, each of
//! ours between two of the floor. Some hosts throttle syncs for many seconds: a
//! round in which the floor was slow is left out, and another is tried.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloakroom::Durability;

use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::saver::Saver;
use crate::stage::{Outcome, Stage, filled_file, mixed_len, warm};
use crate::strace::{self, Saves};
use crate::table::{Findings, Line, Rounds, mean};

const GOAL: &str = ">= 0.85 x raw";
const SYNCS: &str = "d. fdatasync of a durable save when alone";
const SYNCS_GOAL: &str = "exactly 1";
const LINE: usize = 64;

/// Rounds that are tried for each that is wanted.
const TRIES: u64 = 6;

pub(crate) fn measure(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let ours = stage.container("durable", sessions, mixed_len)?;
    let raw = stage.path("durable-floor");
    drop(filled_file(&raw, std::fs::metadata(&ours)?.len())?);
    for processes in [1, 4] {
        let turn = Turn { milliseconds: stage.size(500, 50), processes, sessions };
        let (rounds, throttled) = turn.rounds(stage, &ours, &raw)?;
        let what = format!("d. durable saves, {processes} process(es), {sessions} sessions");
        let show = |rate: f64| format!("{rate:.0}/s");
        let mut line = rounds.line(what, GOAL, |ratio| ratio >= 0.85, show);
        if (rounds.len() as u64) < stage.rounds() / 2 {
            // Too few to say anything.
            line.reached = None;
        }
        findings.lines.push(line);
        let (least, most) = rounds.ratio_span();
        findings.notes.push(format!(
            "d: {processes} process(es), ratio {least:.2} to {most:.2} in {} rounds; \
             {throttled} more left out since the disk was throttled",
            rounds.len()
        ));
    }
    count_syncs(stage, &ours, sessions, findings)
}

/// The syncs of a save when nobody else is there.
fn count_syncs(stage: &Stage, path: &Path, sessions: u64, findings: &mut Findings) -> Outcome<()> {
    let saves = Saves { path, sessions, mode: "durable" };
    let Some(calls) = saves.calls_of_one(stage)? else {
        findings.not_run(SYNCS, SYNCS_GOAL, strace::MISSING);
        return Ok(());
    };
    let others: f64 = ["fsync", "msync", "sync_file_range"].iter().map(|name| calls.of(name)).sum();
    let syncs = calls.of("fdatasync");
    findings.lines.push(Line {
        what: SYNCS.to_owned(),
        ours: format!("{syncs:.3}"),
        other: "1".to_owned(),
        ratio: format!("{syncs:.3}"),
        goal: SYNCS_GOAL,
        reached: Some(syncs == 1.0 && others == 0.0),
    });
    findings.notes.push(format!("d: system calls of a durable save when alone: {calls}"));
    Ok(())
}

/// One turn of one side.
struct Turn {
    milliseconds: u64,
    processes: u64,
    sessions: u64,
}

impl Turn {
    /// Raw, ours, raw, ours, ..., raw. A round counts if the raw rates on both
    /// sides of it are at least half the best of all; says how many do not.
    fn rounds(&self, stage: &Stage, ours: &Path, raw: &Path) -> Outcome<(Rounds, usize)> {
        let mut raws = vec![self.rate("raw", raw, 0)?];
        let mut own = Vec::new();
        loop {
            own.push(self.rate("ours", ours, own.len() as u64)?);
            raws.push(self.rate("raw", raw, own.len() as u64)?);
            let best = raws.iter().copied().fold(0.0, f64::max);
            let mut rounds = Rounds::default();
            for (ours, around) in own.iter().zip(raws.windows(2)) {
                if around.iter().all(|&raw| raw >= best / 2.0) {
                    rounds.push(*ours, mean(around));
                }
            }
            let enough = rounds.len() as u64 >= stage.rounds();
            if enough || own.len() as u64 >= stage.rounds() * TRIES {
                let throttled = own.len() - rounds.len();
                return Ok((rounds, throttled));
            }
        }
    }

    /// Saves a second of all processes together.
    fn rate(&self, side: &str, path: &Path, round: u64) -> Outcome<f64> {
        warm(path)?;
        let commands = (0..self.processes).map(|process| {
            let mut command = child::command("durable")?;
            command.arg(side).arg(path);
            for number in [self.sessions, round * 64 + process, self.milliseconds] {
                command.arg(number.to_string());
            }
            Ok(command)
        });
        let printed = child::run_together(commands.collect::<Outcome<Vec<_>>>()?)?;
        let rates = printed.iter().map(|numbers| match numbers[..] {
            [saves, nanoseconds] => Ok(saves as f64 * 1e9 / nanoseconds as f64),
            _ => Err("a child printed something else".into()),
        });
        Ok(rates.collect::<Outcome<Vec<f64>>>()?.iter().sum())
    }
}

/// In the child: prints how many saves it did in how many nanoseconds.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let side = arguments.text()?;
    let path = PathBuf::from(arguments.path()?);
    let sessions = arguments.number()?;
    let random = Random::new(arguments.number()?);
    let time = Duration::from_millis(arguments.number()?);
    match side.as_str() {
        "ours" => {
            let mut saver = Saver::open(&path, Durability::Durable, sessions, random)?;
            work(time, || saver.save())
        }
        _ => {
            let mut floor = RawFloor::open(&path, random)?;
            work(time, || floor.save())
        }
    }
}

fn work(time: Duration, mut save: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    for _ in 0..20 {
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

/// Three writes at random places and a sync.
struct RawFloor {
    file: std::fs::File,
    lines: u64,
    random: Random,
    value: Vec<u8>,
}

impl RawFloor {
    fn open(path: &Path, random: Random) -> Outcome<RawFloor> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        let lines = file.metadata()?.len() / LINE as u64;
        Ok(RawFloor { file, lines, random, value: Vec::new() })
    }

    fn save(&mut self) -> Outcome<()> {
        let session = self.random.next();
        data::fill(&mut self.value, session, 0, mixed_len(session));
        for part in [&self.value, &self.value[..LINE], &self.value[..LINE]] {
            let end = self.lines - (part.len() / LINE) as u64;
            self.file.write_all_at(part, self.random.below(end) * LINE as u64)?;
        }
        self.file.sync_data()?;
        Ok(())
    }
}
