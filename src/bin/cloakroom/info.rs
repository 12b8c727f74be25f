//! `info`: what a container says about itself, without a look at its sessions.

use std::path::PathBuf;

use cloakroom::{Container, IdForm, Info, Options};

use crate::escape::hex;
use crate::output::{Object, Output};
use crate::units::{count, size, time};
use crate::{DONE, Done};

/// Show what the container says about itself
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
}

const HELP: &str = "\
Example: cloakroom info FILE
With --json: {\"uuid\": TEXT, \"version\": NUMBER of the format, \"created_ms\": NUMBER,
\"ids\": \"sha256\" or \"plain\", \"length\": NUMBER of bytes, \"blocks\": NUMBER,
\"segments\": NUMBER, \"splitting\": true or false,
\"sessions\": NUMBER, \"write_epoch\": NUMBER, \"synced_epoch\": NUMBER, \"synced_at_ms\": NUMBER,
\"suspect_sync\": true or false, \"rebuilding\": true or false, \"lock_holder\": NUMBER or null,
\"compatible_features\": NUMBER, \"read_only_features\": NUMBER}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let info = Container::open_read_only(&args.file, Options::new())?.info()?;
    if out.is_json() {
        out.object(object(&info))?;
    } else {
        for (name, text) in rows(&info) {
            out.line(&format!("{name:<10}{text}"))?;
        }
    }
    Ok(DONE)
}

/// How the container keeps ids.
pub(crate) fn ids(info: &Info) -> &'static str {
    match info.ids {
        IdForm::Plain => "plain",
        IdForm::Sha256 => "sha256",
    }
}

/// The container's uuid in its usual form.
pub(crate) fn uuid(info: &Info) -> String {
    let digits = hex(&info.uuid);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits.get(part).unwrap_or_default()).join("-")
}

fn object(info: &Info) -> Object {
    let (compatible, read_only) = info.features;
    Object::new()
        .text("uuid", &uuid(info))
        .number("version", info.version.into())
        .number("created_ms", info.created_ms)
        .text("ids", ids(info))
        .number("length", info.length)
        .number("blocks", info.blocks)
        .number("segments", info.segments.into())
        .flag("splitting", info.splitting)
        .number("sessions", info.sessions)
        .number("write_epoch", info.write_epoch)
        .number("synced_epoch", info.synced_epoch)
        .number("synced_at_ms", info.synced_at_ms)
        .flag("suspect_sync", info.suspect_sync)
        .flag("rebuilding", info.rebuilding)
        .optional("lock_holder", info.lock_holder.map(u64::from))
        .number("compatible_features", compatible.into())
        .number("read_only_features", read_only.into())
}

fn rows(info: &Info) -> Vec<(&'static str, String)> {
    let (compatible, read_only) = info.features;
    let mut rows = vec![
        ("format", format!("version {}", info.version)),
        ("uuid", uuid(info)),
        ("made", time(info.created_ms)),
        ("ids", ids(info).to_string()),
        ("sessions", info.sessions.to_string()),
        ("size", format!("{} in {}", size(info.length), count(info.blocks, "block"))),
        ("index", count(info.segments.into(), "segment")),
        ("epochs", format!("{} written, {} synced", info.write_epoch, info.synced_epoch)),
    ];
    if info.synced_at_ms > 0 {
        rows.push(("synced", time(info.synced_at_ms)));
    }
    if compatible != 0 || read_only != 0 {
        rows.push(("features", format!("{compatible:#x} compatible, {read_only:#x} read-only")));
    }
    if let Some(pid) = info.lock_holder {
        rows.push(("writer", format!("process {pid} holds the lock")));
    }
    if info.splitting {
        rows.push(("note", "a segment is being split; the next writer finishes that".into()));
    }
    if info.rebuilding {
        rows.push(("note", "free space is still being counted".into()));
    }
    if info.suspect_sync {
        rows.push((
            "note",
            "a sync failed or was cut short; the next good one makes up for it".into(),
        ));
    }
    rows
}
