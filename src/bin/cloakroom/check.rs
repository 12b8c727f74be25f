//! `check`: reads the whole file and tells what contradicts what. It repairs
//! nothing.

use std::path::PathBuf;

use cloakroom::{Container, Finding, Options, Report};

use crate::output::{Object, Output};
use crate::units::{count, size};
use crate::{DONE, Done, Failure, LACKING};

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
Sessions are those that can be read. At most 1000 places of either kind are listed.
With --json: {\"sound\": true or false, \"damage\": [{\"offset\": NUMBER, \"what\": TEXT}, ...],
\"damage_count\": NUMBER, listed or not, \"notes\": and \"note_count\": the same,
\"sessions\": NUMBER, \"expired\": NUMBER, \"removed\": NUMBER, \"live_bytes\": NUMBER,
\"superseded_bytes\": NUMBER, \"free_bytes\": NUMBER}";

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
        .number("damage_count", report.damage_count)
        .array("notes", report.notes.iter().map(finding))
        .number("note_count", report.note_count)
        .number("sessions", report.sessions)
        .number("expired", report.expired)
        .number("removed", report.removed)
        .number("live_bytes", report.live_bytes)
        .number("superseded_bytes", report.superseded_bytes)
        .number("free_bytes", report.free_bytes)
}

fn print(report: &Report, out: &mut Output) -> Result<(), Failure> {
    list("damage", &report.damage, report.damage_count, out)?;
    list("note", &report.notes, report.note_count, out)?;
    let verdict = match report.damage_count {
        0 => "sound".to_owned(),
        damage => count(damage, "damaged place"),
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

fn list(name: &str, listed: &[Finding], all: u64, out: &mut Output) -> Result<(), Failure> {
    for finding in listed {
        out.line(&format!("{name}: {finding}"))?;
    }
    match all.saturating_sub(listed.len() as u64) {
        0 => Ok(()),
        more => out.line(&format!("{name}: {more} more, which are not listed")),
    }
}
