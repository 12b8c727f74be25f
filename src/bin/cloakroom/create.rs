//! `create`: makes a container. It never touches a file that holds anything.

use std::path::PathBuf;

use cloakroom::{Container, IdForm, Options};

use crate::output::{Object, Output};
use crate::{DONE, Done, info};

/// Make a new container, or make an empty file into one
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The file; others cannot read a new one unless you let them (mode 0600)
    file: PathBuf,
    /// How to keep ids: with sha256 nobody who reads the file, a dump or a backup can log in
    #[arg(long, value_enum, value_name = "FORM", default_value = "sha256")]
    ids: Form,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    /// As their SHA-256
    Sha256,
    /// As they are
    Plain,
}

const HELP: &str = "\
Example: cloakroom create /var/lib/site/sessions
Whatever the form, commands take an ID as the visitor has it. What ls, dump and sweep print is as
it is kept; get, put and rm take that with --kept.
With --json: {\"uuid\": TEXT, \"version\": NUMBER of the format, \"created_ms\": NUMBER,
\"ids\": \"sha256\" or \"plain\"}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let ids = match args.ids {
        Form::Sha256 => IdForm::Sha256,
        Form::Plain => IdForm::Plain,
    };
    let container = Container::create(&args.file, Options::new().ids(ids))?;
    container.sync()?;
    if out.is_json() {
        let info = container.info()?;
        out.object(
            Object::new()
                .text("uuid", &info::uuid(&info))
                .number("version", info.version.into())
                .number("created_ms", info.created_ms)
                .text("ids", info::ids(&info)),
        )?;
    }
    Ok(DONE)
}
