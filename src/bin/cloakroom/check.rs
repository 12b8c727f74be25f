//! `check`: reads the whole file and tells what contradicts what. It repairs
//! nothing.

use std::path::PathBuf;

use cloakroom::{Container, Finding, Options, Report};

use crate::output::{Object, Output};
use crate::units::{count, size};
use crate::{DONE, Done, LACKING};

/// Look for damage
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
}

const HELP: &str = "\
Example: cloakroom check FILE && cloakroom dump FILE > backup.ndjson
Exit code 1 if there is damage: something lost or contradictory. Notes are harmless.
With --json: {\"sound\": true or false, \"damage\": [{\"offset\": NUMBER, \"what\": TEXT}, ...],
\"notes\": [the same], \"sessions\": NUMBER, \"expired\": NUMBER, \"removed\": NUMBER,
\"live_bytes\": NUMBER, \"superseded_bytes\": NUMBER, \"free_bytes\": NUMBER,
\"omitted\": NUMBER of findings that are counted and not listed}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let report = Container::open_read_only(&args.file, Options::new())?.check()?;
    if out.is_json() {
        out.object(object(&report))?;
    } else {
        print(&report, out)?;
    }
    Ok(if report.is_sound() { DONE } else { LACKING })
}

fn object(report: &Report) -> Object {
    let finding = |finding: &Finding| {
        Object::new().number("offset", finding.offset).text("what", &finding.what)
    };
    Object::new()
        .flag("sound", report.is_sound())
        .array("damage", report.damage.iter().map(finding))
        .array("notes", report.notes.iter().map(finding))
        .number("sessions", report.sessions)
        .number("expired", report.expired)
        .number("removed", report.removed)
        .number("live_bytes", report.live_bytes)
        .number("superseded_bytes", report.superseded_bytes)
        .number("free_bytes", report.free_bytes)
        .number("omitted", report.omitted)
}

fn print(report: &Report, out: &mut Output) -> Result<(), crate::Failure> {
    for finding in &report.damage {
        out.line(&format!("damage: {finding}"))?;
    }
    for finding in &report.notes {
        out.line(&format!("note: {finding}"))?;
    }
    if report.omitted > 0 {
        out.line(&format!("and {} more", report.omitted))?;
    }
    let verdict = match report.damage.len() {
        0 => "sound".to_owned(),
        damage => count(damage as u64, "damaged place"),
    };
    out.line(&format!(
        "{verdict}: {}, {} expired, {} removed; {} in use, {} superseded, {} free",
        count(report.sessions, "session"),
        report.expired,
        report.removed,
        size(report.live_bytes),
        size(report.superseded_bytes),
        size(report.free_bytes),
    ))
}
