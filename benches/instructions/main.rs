//! Instructions of one operation, counted by valgrind's callgrind, beside the figures
//! that are kept in `kept.txt`: `cargo bench --bench instructions`, or `make
//! instructions`, which installs valgrind. Ends with 1 where an operation takes a
//! tenth more than it did; `-- --keep` writes the figures of this run into `kept.txt`.
//!
//! They are those of the program, not of the system, and hardly depend on the machine's
//! mood: what changes them is the code, the compiler, and a processor that the C library
//! copies memory with in another way. With `CLOAKROOM_BENCH_TINY=1` a few operations
//! are counted and nothing is compared. Without valgrind nothing is run, and it says so.

use std::process::{Command, ExitCode, Stdio};

mod count;
#[allow(dead_code)] // The goals need more of it.
#[path = "../goals/data.rs"]
mod data;
mod job;
mod kept;
mod repeatable;
#[path = "../../tests/outside/wrapped.rs"]
mod wrapped;

use job::JOBS;
use kept::Kept;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// More than it was by this much is too much.
const TOLERANCE: f64 = 0.10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["child", job, path, count] => job::child(job, path, count).map(|()| ExitCode::SUCCESS),
        _ => run(words.contains(&"--keep")),
    };
    done.unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::FAILURE
    })
}

fn run(keep: bool) -> Outcome<ExitCode> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        println!("instructions: not run: valgrind is not installed");
        return Ok(ExitCode::SUCCESS);
    }
    let tiny = std::env::var_os("CLOAKROOM_BENCH_TINY").is_some_and(|value| value == "1");
    let mut kept = Kept::read()?;
    let mut worse = Vec::new();
    println!("| operation | instructions | kept | ratio |\n| --- | ---: | ---: | ---: |");
    for job in JOBS {
        let found = count::instructions_of_one(job, if tiny { 20 } else { 2_000 })?;
        let before = kept.of(job.name);
        let ratio = before.map(|before| found / before);
        let text = |number: Option<f64>, places| match number {
            Some(number) => format!("{number:.places$}"),
            None => "none".to_owned(),
        };
        println!("| {} | {found:.0} | {} | {} |", job.name, text(before, 0), text(ratio, 2));
        if ratio.is_none_or(|ratio| ratio > 1.0 + TOLERANCE) {
            worse.push(job.name);
        }
        kept.set(job.name, found);
    }
    if tiny {
        println!("tiny: these numbers mean nothing");
    } else if keep {
        kept.write()?;
    } else if !worse.is_empty() {
        println!("more than kept, or not kept: {}", worse.join(", "));
        println!("where they are: callgrind_annotate {}/callgrind.*", env!("CARGO_TARGET_TMPDIR"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
