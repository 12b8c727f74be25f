//! System calls of one save, counted by strace where it is installed.
//!
//! A child that does many saves is watched, and one that does a single save: the
//! difference leaves out what opening, closing and the first save cost.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cloakroom::Durability;

use crate::child::{self, Arguments};
use crate::data::Random;
use crate::saver::Saver;
use crate::stage::{Outcome, Stage};

/// Why a row was left out.
pub(crate) const MISSING: &str = "strace is not installed";

/// What is watched: saves into a container, `durable` or in an `interval`.
pub(crate) struct Saves<'a> {
    pub(crate) path: &'a Path,
    pub(crate) sessions: u64,
    pub(crate) mode: &'a str,
}

impl Saves<'_> {
    /// `None` without strace.
    pub(crate) fn calls_of_one(&self, stage: &Stage) -> Outcome<Option<Calls>> {
        let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
        if !strace.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let saves = stage.size(1_000, 20);
        let one = self.watch(stage, 1)?;
        let mut calls = self.watch(stage, saves + 1)?;
        for (name, count) in &mut calls.0 {
            *count = (*count - one.of(name)) / saves as f64;
        }
        Ok(Some(calls))
    }

    fn watch(&self, stage: &Stage, saves: u64) -> Outcome<Calls> {
        let summary = stage.path("strace");
        let child = child::command("saves")?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&summary).arg(child.get_program());
        command.args(child.get_args()).arg(self.mode).arg(self.path);
        command.args([self.sessions, saves].map(|number| number.to_string()));
        child::run(command)?;
        let text = std::fs::read_to_string(summary)?;
        Ok(Calls(text.lines().filter_map(Calls::line).collect()))
    }
}

/// In the child that is watched.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let durability = match arguments.text()?.as_str() {
        "durable" => Durability::Durable,
        _ => Durability::Interval(Duration::from_secs(3600)),
    };
    let path = PathBuf::from(arguments.path()?);
    let mut saver = Saver::open(&path, durability, arguments.number()?, Random::new(6))?;
    for _ in 0..arguments.number()? {
        saver.save()?;
    }
    Ok(())
}

/// How often each system call was made.
pub(crate) struct Calls(Vec<(String, f64)>);

impl Calls {
    /// "% time, seconds, usecs/call, calls, errors or nothing, name".
    fn line(line: &str) -> Option<(String, f64)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().filter(|&&name| name != "total")?;
        Some(((*name).to_owned(), words.get(3)?.parse().ok()?))
    }

    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0.iter().find(|(found, _)| found == name).map_or(0.0, |(_, count)| *count)
    }
}

impl fmt::Display for Calls {
    /// Those that are made in one of a hundred saves or more often.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frequent = self.0.iter().filter(|(_, count)| *count >= 0.01);
        let list: Vec<String> = frequent.map(|(name, n)| format!("{name} {n:.2}")).collect();
        f.write_str(&list.join(", "))
    }
}
