//! `cloakroom demo-worker`, hidden: one of the processes of `cloakroom demo`.
//!
//! It counts visits of random sessions, a batch at a time, and tells about each
//! batch on its standard output in two lines: `take` with the numbers of the
//! sessions before the first update, `done` after the last one has returned.
//! A line is one write to a pipe, so a kill leaves it whole or away.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cloakroom::{Change, Container, ErrorKind, Options, Result, Session};
use serde_json::{Value, json};

use crate::output::Output;
use crate::{DONE, Done, Failure};

/// Enough to make the container grow while the workers are at it.
pub(crate) const SESSIONS: usize = 2000;
const BATCH: usize = 32;
/// Longer than usual: on a busy machine the demo shall be slow, not fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Be one of the processes of `demo`
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The container
    file: PathBuf,
    /// When to stop, counted from now
    #[arg(long)]
    milliseconds: u64,
}

pub(crate) fn work(args: &WorkerArgs, out: &mut Output) -> Done {
    let start = Instant::now();
    let time = Duration::from_millis(args.milliseconds);
    let container = Container::open(&args.file, Options::new().lock_deadline(PATIENCE))?;
    while start.elapsed() < time {
        let batch = draw()?;
        let numbers = batch.map(|number| number.to_string()).join(" ");
        tell(&format!("take {numbers}"), out)?;
        if out.is_closed() {
            // The parent is gone.
            break;
        }
        for number in batch {
            container.update(session_id(number), |session: Option<Session<Value>>| {
                let count = session.and_then(|session| session.value["count"].as_u64());
                Change::Save(value_for(count.unwrap_or(0) + 1))
            })?;
        }
        tell("done", out)?;
    }
    Ok(DONE)
}

pub(crate) fn session_id(number: usize) -> String {
    format!("visitor-{number:04}")
}

/// The value of a session that was updated `count` times. Its length changes
/// each time, so that records move between sizes, and depends on the count, so
/// that a value mixed from two versions is noticed.
pub(crate) fn value_for(count: u64) -> Value {
    json!({ "count": count, "coats": "coat ".repeat((count * 37 % 150) as usize) })
}

fn draw() -> Result<[usize; BATCH]> {
    let mut random = [0; BATCH * 4];
    getrandom::fill(&mut random).map_err(|error| ErrorKind::Io {
        action: "draw random numbers",
        source: io::Error::other(error),
    })?;
    let mut batch = [0; BATCH];
    for (number, bytes) in batch.iter_mut().zip(random.chunks_exact(4)) {
        let wide = bytes.iter().fold(0, |wide, byte| wide << 8 | usize::from(*byte));
        *number = wide % SESSIONS;
    }
    Ok(batch)
}

/// By one write.
fn tell(line: &str, out: &mut Output) -> std::result::Result<(), Failure> {
    out.line(line)?;
    out.finish()
}
