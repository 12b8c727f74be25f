//! `rm`: removes sessions. When it says done, they are gone from the disk too.

use std::ffi::OsString;
use std::path::PathBuf;

use cloakroom::{ByteContainer, ErrorKind, IdForm, SweepPolicy};

use crate::escape::visible_id;
use crate::id::IdArguments;
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
    id: Vec<OsString>,
    #[command(flatten)]
    ids: IdArguments,
}

const HELP: &str = "\
Examples: cloakroom rm FILE ticket another
          cloakroom rm FILE --kept ID-AS-LS-SHOWS-IT
Exit code 1 if there was no session of one of the ids, or damage; the others are removed.
With --json: {\"removed\": NUMBER, \"ids\": [{\"id\": TEXT, \"removed\": true or false}, ...]},
with \"id_hex\" for an id that is not UTF-8, and \"error\": TEXT for a removal that met damage.
Whatever else fails stops it; then \"ids\" are those before.";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let ids = args.ids.parse_all(&args.id)?;
    let options = args.ids.options().sweep(SweepPolicy::OnRequest);
    let container = ByteContainer::open(&args.file, options)?;
    args.ids.check_kept(&container, &ids)?;
    let (mut tried, mut stopped) = (Vec::with_capacity(ids.len()), None);
    for id in &ids {
        match container.remove(id) {
            Err(error) if !matches!(error.kind(), ErrorKind::Damaged(_)) => {
                // The others would fare no better.
                stopped = Some(error);
                break;
            }
            removed => tried.push(removed),
        }
    }
    // One sync for all of them, also where one failed: what is gone is to stay so.
    let synced = container.sync();
    let count = tried.iter().filter(|removed| matches!(removed, Ok(true))).count();
    if out.is_json() {
        let form = args.ids.form(&container);
        let results = ids.iter().zip(&tried).map(|(id, removed)| object(id, form, removed));
        out.object(Object::new().number("removed", count as u64).array("ids", results))?;
    }
    for (id, removed) in ids.iter().zip(&tried) {
        match removed {
            Ok(true) => {}
            Ok(false) => out.complain(&format!("not found: {}", visible_id(id))),
            Err(error) => out.complain(&format!("not removed: {}: {error}", visible_id(id))),
        }
    }
    stopped.map_or(synced, Err)?;
    Ok(if count == ids.len() { DONE } else { LACKING })
}

fn object(id: &[u8], form: IdForm, removed: &cloakroom::Result<bool>) -> Object {
    let object = Object::new().id(id, form);
    match removed {
        Ok(removed) => object.flag("removed", *removed),
        Err(error) => object.flag("removed", false).text("error", &error.to_string()),
    }
}
