//! `dump`: everything in the container, one JSON object a line.

use std::path::PathBuf;

use cloakroom::{ByteContainer, ErrorKind, Options, Session};

use crate::output::{Object, Output};
use crate::{DONE, Done, Failure, LACKING};

/// Print all sessions, one JSON object a line
///
/// A value that is JSON is printed as such, on one line: blanks between its parts and
/// the way characters are escaped may be others after `restore`. Other bytes are
/// printed in hex and come back as they were.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
}

const HELP: &str = "\
Examples: cloakroom dump FILE > backup.ndjson
          set -o pipefail; cloakroom dump OLD | cloakroom restore NEW
Without pipefail the shell says nothing of a dump that failed half way.
Each line, with or without --json: {\"id_sha256\": TEXT, \"version\": TEXT, \"created_ms\": NUMBER,
\"saved_ms\": NUMBER, \"deadline_ms\": NUMBER or null, \"value\": JSON}; \"id\" instead if the
container keeps ids as they are, or \"id_hex\" if that is not UTF-8; \"value_hex\" instead of
\"value\" if that is not JSON; and if a session has timeouts of its own
\"timeouts\": {\"idle_ms\": NUMBER or null, \"absolute_ms\": NUMBER or null}.
Sessions that others save meanwhile may or may not be in it. Exit code 1 if some sessions are
damaged; the others are printed.";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let container = ByteContainer::open_read_only(&args.file, Options::new())?;
    let form = container.id_form();
    each(&container, out, |out, id, session| {
        out.object(Object::of_session(id, form, session).value(&session.value))
    })
}

/// Prints each session by `print`. One that is damaged does not keep the others
/// from being printed.
pub(crate) fn each(
    container: &ByteContainer,
    out: &mut Output,
    print: impl Fn(&mut Output, &[u8], &Session<Vec<u8>>) -> Result<(), Failure>,
) -> Done {
    let mut exit = DONE;
    for item in container.iter() {
        match item {
            Ok((id, session)) => print(out, &id, &session)?,
            Err(error) if matches!(error.kind(), ErrorKind::Damaged(_)) => {
                out.complain(&error.to_string());
                exit = LACKING;
            }
            Err(error) => return Err(error.into()),
        }
        if out.is_closed() {
            break;
        }
    }
    Ok(exit)
}
