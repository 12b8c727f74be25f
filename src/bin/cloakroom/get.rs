//! `get`: prints one session's value.

use std::ffi::OsString;
use std::path::PathBuf;

use cloakroom::ByteContainer;

use crate::escape::{json_of, visible_id};
use crate::id::IdArguments;
use crate::output::{Object, Output};
use crate::{DONE, Done, Failure, LACKING};

/// Print a session's value
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
    /// The session's id
    id: OsString,
    #[command(flatten)]
    ids: IdArguments,
}

const HELP: &str = "\
Examples: cloakroom get FILE ticket | jq .visits
          cloakroom get FILE --kept ID-AS-LS-SHOWS-IT
Exit code 1 if there is no such session, or its deadline has passed.
Control characters in strings are printed as \\u escapes.
With --json: {\"id\": TEXT, \"version\": TEXT, \"created_ms\": NUMBER, \"saved_ms\": NUMBER,
\"deadline_ms\": NUMBER or null, \"timeouts\": as in dump, \"value\": JSON};
\"id_hex\" instead of \"id\" if it is not UTF-8, \"id_sha256\" with --kept;
\"value_hex\" instead of \"value\" if that is not JSON";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let id = args.ids.parse(&args.id)?;
    let container = ByteContainer::open_read_only(&args.file, args.ids.options())?;
    let Some(session) = container.load(&id)? else {
        out.complain(&format!("not found: {}", visible_id(&id)));
        return Ok(LACKING);
    };
    if out.is_json() {
        out.object(
            Object::of_session(&id, args.ids.form(&container), &session).value(&session.value),
        )?;
    } else if let Some(value) = json_of(&session.value) {
        out.json(value)?;
    } else {
        let message = "the value is not JSON; with --json it is printed in hexadecimal";
        return Err(Failure::Input(message.into()));
    }
    Ok(DONE)
}
