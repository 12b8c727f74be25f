//! cloakroom beside the stores that a user would pick instead, on the work of a
//! session store: `make bench-peers`, or some of it by name,
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- load request`.
//! Writes BENCHMARKS.md and its plots; of some works, or with `--print`, the tables go
//! to standard output only.
//!
//! All stores do the same work in the same run, in turns, and every value read is
//! compared with the one that must be there. `CLOAKROOM_PEERS=tdb,lmdb` leaves out
//! the others; with `CLOAKROOM_BENCH_TINY=1` everything is so small that the numbers
//! mean nothing.

use std::path::Path;
use std::process::ExitCode;

#[allow(dead_code)] // The goals need more of these.
#[path = "../../goals/child.rs"]
mod child;
#[path = "../../goals/data.rs"]
mod data;
#[path = "../../goals/floor.rs"]
mod floor;
mod machine;
#[allow(dead_code)]
#[path = "../../goals/table.rs"]
mod numbers;
mod page;
mod plot;
mod report;
#[allow(dead_code)]
#[path = "../../goals/stage.rs"]
mod stage;
mod store;
mod stores;
#[path = "../../goals/tdb.rs"]
mod tdb;
mod works;

use child::Arguments;
use report::{Report, Section};
use stage::{Outcome, Stage};
use works::WORKS;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == "child").is_some() {
        return works::child(&mut Arguments(arguments));
    }
    let (flags, names): (Vec<String>, Vec<String>) = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .partition(|word| word.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|&flag| flag != "--print") {
        return Err(format!("no option {unknown}; there is --print").into());
    }
    let known: Vec<&str> = WORKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no work {unknown}; there are {}", known.join(", ")).into());
    }
    let tiny = std::env::var_os("CLOAKROOM_BENCH_TINY").is_some_and(|value| value == "1");
    let peers = stores::chosen()?;
    let mut report = Report::new(&peers, tiny);
    let mut failed = Ok(());
    for (name, measure) in WORKS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("{name} ...");
            // A new directory each time: nothing of one work is in another's way.
            if let Err(error) = measure(&Stage::new(tiny)?, &peers, &mut report) {
                // What took so long to measure is not thrown away for it.
                failed = Err(format!("{name}: {error}").into());
                let about = format!("**Not measured: {error}**");
                report.push(Section { title: name, about, ..Section::default() });
            }
        }
    }
    if !flags.is_empty() || !names.is_empty() {
        page::print(&report)?;
    } else if tiny {
        // Not into the repository: it means nothing.
        page::write(&report, &std::env::current_exe()?.with_file_name("tiny"))?;
    } else {
        page::write(&report, Path::new(REPOSITORY))?;
    }
    failed
}
