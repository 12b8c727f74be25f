//! `ls`: one line for each session, without its value.
//!
//! The id comes last, since only its length is unknown: so the table needs no
//! second pass and no memory, however many sessions there are.

use std::path::PathBuf;

use cloakroom::{ByteContainer, Options, Session};

use crate::escape::visible_id;
use crate::output::{Object, Output};
use crate::units::{left, now_ms, size, time};
use crate::{Done, dump};

/// List the sessions
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
}

const HELP: &str = "\
Example: cloakroom ls FILE
Sizes are those of the values. Exit code 1 if some sessions are damaged; the others are listed.
IDs are shown as they are kept.
With --json, a line for each: {\"id_sha256\": TEXT, \"version\": TEXT, \"created_ms\": NUMBER,
\"saved_ms\": NUMBER, \"deadline_ms\": NUMBER or null, \"timeouts\": as in dump, \"size\": NUMBER},
with \"id\" for an id that is kept as it is, or \"id_hex\" if that is not UTF-8";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let container = ByteContainer::open_read_only(&args.file, Options::new())?;
    if out.is_json() {
        let form = container.id_form();
        return dump::each(&container, out, |out, id, session| {
            let size = session.value.len() as u64;
            out.object(Object::of_session(id, form, session).number("size", size))
        });
    }
    let now_ms = now_ms();
    out.line(&row("CREATED", "SAVED", "LEFT", "SIZE", "VERSION", "ID"))?;
    dump::each(&container, out, |out, id, session| out.line(&session_row(id, session, now_ms)))
}

fn session_row(id: &[u8], session: &Session<Vec<u8>>, now_ms: u64) -> String {
    let times = session.times;
    row(
        &time(times.created_ms),
        &time(times.saved_ms),
        &left(times.deadline_ms, now_ms),
        &size(session.value.len() as u64),
        &session.version.to_string(),
        &visible_id(id),
    )
}

fn row(created: &str, saved: &str, left: &str, size: &str, version: &str, id: &str) -> String {
    format!("{created:<20}  {saved:<20}  {left:>8}  {size:>10}  {version:<32}  {id}")
}
