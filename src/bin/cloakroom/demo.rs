//! `cloakroom demo`: eight processes update the same sessions in one file for
//! some seconds, a few of them are killed on the way, and then every counter is
//! compared with what the processes had been told.
//!
//! A worker announces the sessions of a batch before it updates them, and
//! acknowledges the batch when all of its updates have returned. So the parent
//! knows for each session how many updates were acknowledged, and how many more
//! were in flight when a worker was killed: of these each may count or not. A
//! counter below the first number is a lost update, one above the sum of both an
//! update that nobody made.

mod crowd;
mod worker;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use cloakroom::{Container, ErrorKind, Options, Result};
use serde_json::Value;

use self::crowd::{Crowd, Tally};
use self::worker::{SESSIONS, session_id, value_for};
pub(crate) use self::worker::{WorkerArgs, work};
use crate::escape::visible;
use crate::output::{Output, message, overwrite};
use crate::units::{count, size};
use crate::{DONE, Done, Failure, LACKING};

const WORKERS: usize = 8;
const KILLS: u32 = 5;
const ROWS: usize = 8;
const PROBLEMS: usize = 20;

/// Let eight processes update one new container, kill some, show that nothing is lost
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How long the processes work
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Where to make the container, instead of in a new temporary directory
    #[arg(long)]
    file: Option<PathBuf>,
    /// Refused, and so not offered
    #[arg(long, hide = true)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &DemoArgs, out: &mut Output) -> Done {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => new_directory()?.join("visitors.cloakroom"),
    };
    Container::create(&file, Options::new())?;
    let begun = format!(
        "{WORKERS} processes update {SESSIONS} sessions in one file for {} s:\n  {}\n\
         {KILLS} of them are killed (SIGKILL) on the way and replaced.\n",
        args.seconds,
        shown(&file),
    );
    print(&begun, out)?;

    let tally = hammer(&file, Duration::from_secs(args.seconds.into()))?;
    let container = Container::open_read_only(&file, Options::new())?;
    let mut problems = tally.problems.clone();
    let counters = counters(&container, &mut problems)?;
    compare(&counters, &tally, &mut problems);
    let mut report = contents(&container, &counters, &tally, &mut problems)?;
    report += &verdict(&problems);
    report += &next_steps(&file);
    print(&report, out)?;
    Ok(if problems.is_empty() { DONE } else { LACKING })
}

/// A directory that nobody else can read, with a name that nobody can foresee.
/// It is left there for the user to look at.
fn new_directory() -> Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| failed("draw a random name", io::Error::other(error)))?;
    let name = format!("cloakroom-demo-{:016x}", u64::from_le_bytes(random));
    let directory = std::env::temp_dir().join(name);
    let made = fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(|error| failed("make a temporary directory", error))?;
    Ok(directory)
}

fn hammer(file: &Path, time: Duration) -> Result<Tally> {
    let mut crowd = Crowd::start(file, WORKERS, time).map_err(|e| failed("start a process", e))?;
    let mut progress = Progress::new();
    let mut killed = 0;
    while crowd.start.elapsed() < time {
        let next = time * (killed + 1) / (KILLS + 1);
        if killed < KILLS && crowd.start.elapsed() >= next {
            crowd.kill_one().map_err(|e| failed("replace a killed process", e))?;
            killed += 1;
        }
        progress.show(&crowd, killed);
        thread::sleep(Duration::from_millis(50));
    }
    let tally = crowd.finish().map_err(|e| failed("wait for a process", e))?;
    progress.end();
    Ok(tally)
}

/// What each session's counter says, as far as its value is whole.
fn counters(container: &Container, problems: &mut Vec<String>) -> Result<Vec<u64>> {
    let mut counters = Vec::with_capacity(SESSIONS);
    for number in 0..SESSIONS {
        let id = session_id(number);
        let Some(session) = container.load::<Value>(&id)? else {
            counters.push(0);
            continue;
        };
        let count = session.value["count"].as_u64().unwrap_or(0);
        if session.value != value_for(count) {
            problems.push(format!("{id}: its value is not what was saved"));
        }
        counters.push(count);
    }
    let sessions = counters.iter().filter(|count| **count > 0).count() as u64;
    if container.len()? != sessions {
        problems.push(format!("{} sessions instead of {sessions}", container.len()?));
    }
    Ok(counters)
}

fn compare(counters: &[u64], tally: &Tally, problems: &mut Vec<String>) {
    for (number, count) in counters.iter().enumerate() {
        let least = tally.acknowledged[number];
        let most = least + tally.in_flight[number];
        if !(least..=most).contains(count) {
            let id = session_id(number);
            problems.push(format!("{id}: counts {count}, which is not in {least} to {most}"));
        }
    }
}

fn contents(
    container: &Container,
    counters: &[u64],
    tally: &Tally,
    problems: &mut Vec<String>,
) -> Result<String> {
    let mut numbers: Vec<usize> = (0..SESSIONS).collect();
    numbers.sort_by_key(|n| std::cmp::Reverse((tally.in_flight[*n], counters[*n])));
    let mut text = format!(
        "\nwhat is in it\n  {:<14} {:>10} {:>14} {:>20}\n",
        "session", "counts", "acknowledged", "in flight at a kill"
    );
    let mut row = |name: &str, counts: u64, acknowledged: u64, in_flight: u64| {
        let (counts, acknowledged) = (grouped(counts), grouped(acknowledged));
        text += &format!("  {name:<14} {counts:>10} {acknowledged:>14} {in_flight:>20}\n");
    };
    for number in numbers.into_iter().take(ROWS) {
        let id = session_id(number);
        row(&id, counters[number], tally.acknowledged[number], tally.in_flight[number]);
    }
    let in_flight = tally.in_flight.iter().sum();
    row("all", counters.iter().sum(), tally.acknowledged.iter().sum(), in_flight);

    let info = container.info()?;
    let check = container.check()?;
    text += &format!(
        "  {} sessions in a file of {}, of which {} are their records\n",
        grouped(check.sessions),
        size(info.length),
        size(check.live_bytes),
    );
    text += &match (check.is_sound(), check.note_count) {
        (true, 0) => "  check: sound\n".to_owned(),
        (true, notes) => format!("  check: sound, {} (harmless)\n", count(notes, "note")),
        (false, _) => "  check: damaged\n".to_owned(),
    };
    problems.extend(check.damage.iter().map(|finding| format!("check: {finding}")));
    Ok(text)
}

fn verdict(problems: &[String]) -> String {
    if problems.is_empty() {
        return "\nNothing is lost: each session counts at least what was acknowledged, and at most \
                that and\nwhat was in flight when its process was killed (such an update may count \
                or not).\n"
            .to_owned();
    }
    let mut text = "\nThis must not be:\n".to_owned();
    for problem in problems.iter().take(PROBLEMS) {
        text += &format!("  {problem}\n");
    }
    if problems.len() > PROBLEMS {
        text += &format!("  and {} more\n", problems.len() - PROBLEMS);
    }
    text
}

fn next_steps(file: &Path) -> String {
    let tool = std::env::args_os().next().unwrap_or_else(|| "cloakroom".into());
    let (tool, file, id) = (shown(&tool), shown(file), session_id(0));
    let mut text = format!("\nwhat to try next\n  FILE={file}\n");
    let steps = ["get", "ls", "info", "check", "inspect", "dump"];
    for (step, more) in steps.into_iter().zip([id.as_str(), "", "", "", "--layout", ""]) {
        text += format!("  {tool} {step} \"$FILE\" {more}").trim_end();
        text.push('\n');
    }
    text
}

/// One line that is written again and again on a terminal, otherwise a line a
/// second. Nothing depends on it, so nobody hears when it cannot be written.
struct Progress {
    terminal: bool,
    next: Duration,
}

impl Progress {
    fn new() -> Progress {
        Progress { terminal: io::stderr().is_terminal(), next: Duration::ZERO }
    }

    fn show(&mut self, crowd: &Crowd, killed: u32) {
        let elapsed = crowd.start.elapsed();
        if elapsed < self.next {
            return;
        }
        self.next += Duration::from_millis(if self.terminal { 100 } else { 1000 });
        let updates = grouped(crowd.updates.load(Ordering::Relaxed));
        let seconds = elapsed.as_secs_f64();
        let line = format!("{seconds:>6.1} s {updates:>12} updates {killed:>3} killed");
        match self.terminal {
            true => overwrite(&line),
            false => message(&line),
        }
    }

    fn end(&self) {
        if self.terminal {
            message("");
        }
    }
}

/// At once: what follows takes its time.
fn print(text: &str, out: &mut Output) -> std::result::Result<(), Failure> {
    text.lines().try_for_each(|line| out.line(line))?;
    out.finish()
}

fn failed(action: &'static str, source: io::Error) -> cloakroom::Error {
    ErrorKind::Io { action, source }.into()
}

/// A name as it can be typed into a shell and does no harm to a terminal.
fn shown(name: impl AsRef<OsStr>) -> String {
    let name = name.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if name.chars().all(plain) {
        return name.into_owned();
    }
    visible(&format!("'{}'", name.replace('\'', r"'\''"))).into_owned()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
