//! Row f: the memory of a handle, not counting the map of the file: what the
//! anonymous pages of a process (`RssAnon`) grow by between before the open and
//! after 1,000 loads and 1,000 saves, at two numbers of sessions.
//!
//! The child makes its ids and values, and reads `/proc` for the first time,
//! before it begins. What it then allocates is the handle's, but for the values
//! that `load` returns, which are dropped at once.

use std::ffi::OsString;
use std::hint::black_box;

use cloakroom::{ByteContainer, Options};

use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::stage::{Outcome, Stage};
use crate::table::{Findings, Line, median};

const GOAL: &str = "<= 64 KiB";
const LEN: usize = 512;
const OPERATIONS: u64 = 1_000;

pub(crate) fn measure(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    for sessions in [stage.size(10_000, 100), stage.size(1_000_000, 1_000)] {
        let path = stage.container(&format!("memory-{sessions}"), sessions, |_| LEN)?;
        let mut opened = Vec::new();
        let mut worked = Vec::new();
        for round in 0..stage.rounds() {
            let mut command = child::command("memory")?;
            command.arg(&path).arg(sessions.to_string()).arg(round.to_string());
            let [open, work] = child::run(command)?[..] else {
                return Err("a child printed something else".into());
            };
            opened.push(open as f64);
            worked.push(work as f64);
        }
        findings.lines.push(Line {
            what: format!("f. memory of a handle, {sessions} sessions"),
            ours: format!("{:.0} KiB", median(&worked)),
            other: "-".to_owned(),
            ratio: "-".to_owned(),
            goal: GOAL,
            reached: Some(median(&worked) <= 64.0),
        });
        findings.notes.push(format!(
            "f: {sessions} sessions: {:.0} KiB when opened, {worked:?} KiB after the operations",
            median(&opened)
        ));
    }
    Ok(())
}

/// In the child: prints by how many KiB it grew, twice.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let path = arguments.path()?;
    let sessions = arguments.number()?;
    let mut random = Random::new(arguments.number()?);
    let values: Vec<(u64, [u8; 32], Vec<u8>)> = (0..OPERATIONS)
        .map(|_| random.below(sessions))
        .map(|session| (session, data::id(session), data::value(session, 1, LEN)))
        .collect();
    anonymous_kib()?;
    let before = anonymous_kib()?;
    let container = ByteContainer::open(&path, Options::new())?;
    let opened = anonymous_kib()?;
    for (session, id, _) in &values {
        let found = container.load(id)?.ok_or("a session is gone")?;
        // Checked without allocating: the value names its session.
        let name = found.value.get(6..22).ok_or("a value is cut short")?;
        if u64::from_str_radix(std::str::from_utf8(name)?, 16)? != *session {
            return Err("a value is another session's".into());
        }
    }
    for (_, id, value) in &values {
        container.save(id, value)?;
    }
    let worked = anonymous_kib()?;
    black_box(&container);
    println!("{} {}", opened.saturating_sub(before), worked.saturating_sub(before));
    Ok(())
}

fn anonymous_kib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).ok_or("no RssAnon")?;
    let number = line.split_whitespace().nth(1).ok_or("RssAnon without a number")?;
    Ok(number.parse()?)
}
