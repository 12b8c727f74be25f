//! The goals of speed and memory, each measured beside its floor or peer in the
//! same run: `cargo bench --bench goals`, or some rows of it by their letters,
//! `cargo bench --bench goals -- a b`. Prints a Markdown table and remarks.
//!
//! The times depend on the machine; the ratios are what to look at. A goal that
//! is missed is printed and is no error; a value that is wrong is one. With
//! `CLOAKROOM_BENCH_TINY=1`, or when `cargo test` runs it, everything is so
//! small that the numbers mean nothing.

use std::ffi::OsString;
use std::process::ExitCode;

mod child;
mod data;
mod durable;
mod floor;
mod load;
mod memory;
mod request;
mod save;
mod saver;
mod space;
mod stage;
mod strace;
mod table;
#[allow(dead_code)] // The peers are compared by more of it.
mod tdb;

use child::Arguments;
use stage::{Outcome, Stage};
use table::Findings;

type Row = fn(&Stage, &mut Findings) -> Outcome<()>;

const ROWS: [(&str, Row); 7] = [
    ("a", load::measure),
    ("b", request::measure_request),
    ("c", save::measure),
    ("d", durable::measure),
    ("e", space::measure),
    ("f", memory::measure),
    ("g", request::measure_first),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("goals: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == "child").is_some() {
        return child(Arguments(arguments));
    }
    let (flags, letters): (Vec<String>, Vec<String>) = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .partition(|word| word.starts_with('-'));
    if let Some(unknown) = letters.iter().find(|&word| ROWS.iter().all(|(name, _)| name != word)) {
        return Err(format!("no row {unknown}; there are a to g").into());
    }
    // `cargo bench` says --bench, `cargo test --benches` does not.
    let tiny = std::env::var_os("CLOAKROOM_BENCH_TINY").is_some_and(|value| value == "1")
        || !flags.iter().any(|flag| flag == "--bench");
    let before = load_average();
    let mut findings = Findings::default();
    if tiny {
        findings.notes.push("tiny: these numbers mean nothing".to_owned());
    }
    for (name, row) in ROWS {
        if letters.is_empty() || letters.iter().any(|letter| letter == name) {
            eprintln!("row {name} ...");
            // A new directory each time: nothing of one row is in another's way.
            row(&Stage::new(tiny)?, &mut findings)?;
        }
    }
    findings.notes.push(format!(
        "load average {} before, {} after",
        before.trim(),
        load_average().trim()
    ));
    findings.print();
    Ok(())
}

/// Whether the machine had something else to do.
fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
}

fn child(mut arguments: Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    match arguments.text()?.as_str() {
        "request" => request::child(true, &mut arguments),
        "first" => request::child(false, &mut arguments),
        "durable" => durable::child(&mut arguments),
        "saves" => strace::child(&mut arguments),
        "memory" => memory::child(&mut arguments),
        job => Err(format!("no child does {job}").into()),
    }
}
