//! `rm`: removes sessions. When it says done, they are gone from the disk too.

use std::ffi::OsString;
use std::path::PathBuf;

use cloakroom::{ByteContainer, Options};

use crate::escape::visible_id;
use crate::id::IdForm;
use crate::output::{Object, Output};
use crate::{DONE, Done, LACKING};

/// Remove sessions
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
    /// The sessions' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<OsString>,
    #[command(flatten)]
    form: IdForm,
}

const HELP: &str = "\
Example: cloakroom rm FILE ticket another
Exit code 1 if there was no session of one of the ids; the others are removed.
With --json: {\"removed\": NUMBER, \"ids\": [{\"id\": TEXT, \"removed\": true or false}, ...]},
with \"id_hex\" for an id that is not UTF-8";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let ids = args.form.parse_all(&args.ids)?;
    let container = ByteContainer::open(&args.file, Options::new())?;
    let mut removed = Vec::with_capacity(ids.len());
    for id in &ids {
        removed.push(container.remove(id)?);
    }
    // One sync for all of them.
    container.sync()?;
    let count = removed.iter().filter(|removed| **removed).count();
    if out.is_json() {
        let results = ids.iter().zip(&removed);
        let results = results.map(|(id, removed)| Object::new().id(id).flag("removed", *removed));
        out.object(Object::new().number("removed", count as u64).array("ids", results))?;
    }
    for (id, removed) in ids.iter().zip(&removed) {
        if !removed {
            out.complain(&format!("not found: {}", visible_id(id)));
        }
    }
    Ok(if count == ids.len() { DONE } else { LACKING })
}
