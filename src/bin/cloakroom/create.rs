//! `create`: makes a container. It never touches a file that holds anything.

use std::path::PathBuf;

use cloakroom::{Container, Options};

use crate::output::{Object, Output};
use crate::{DONE, Done, info};

/// Make a new container, or make an empty file into one
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The file; others cannot read a new one unless you let them (mode 0600)
    file: PathBuf,
}

const HELP: &str = "\
Example: cloakroom create /var/lib/site/sessions
With --json: {\"uuid\": TEXT, \"version\": NUMBER of the format, \"created_ms\": NUMBER}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let container = Container::create(&args.file, Options::new())?;
    container.sync()?;
    if out.is_json() {
        let info = container.info()?;
        out.object(
            Object::new()
                .text("uuid", &info::uuid(&info))
                .number("version", info.version.into())
                .number("created_ms", info.created_ms),
        )?;
    }
    Ok(DONE)
}
