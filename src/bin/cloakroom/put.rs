//! `put`: saves one session. When it says done, the value is on the disk.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;

use cloakroom::{Container, Durability, SweepPolicy};

use crate::id::IdArguments;
use crate::output::{Object, Output};
use crate::{DONE, Done, Failure};

/// Save a session
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
    /// The session's id: 1 to 255 bytes
    id: OsString,
    /// The value; from standard input if missing or -
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    value: Option<String>,
    #[command(flatten)]
    ids: IdArguments,
}

const HELP: &str = "\
Examples: cloakroom put FILE ticket '{\"visits\": 1}'
          cloakroom put FILE --hex 00ff - < value.json
With --json: {\"id\": TEXT, \"version\": TEXT}, or \"id_hex\" for an id that is not UTF-8";

/// Nobody needs more blanks around a value than fit here.
const INPUT_MAX: u64 = 16 << 20;

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let id = args.ids.parse(&args.id)?;
    let value = match args.value.as_deref() {
        Some(value) if value != "-" => value.to_owned(),
        _ => from_stdin()?,
    };
    let options = args.ids.options().durability(Durability::Durable);
    let container = Container::open(&args.file, options.sweep(SweepPolicy::OnRequest))?;
    // Blanks around a JSON text mean nothing; `echo` adds one.
    let value = value.trim_matches([' ', '\t', '\r', '\n']);
    let version = container.text().save(&id, value)?;
    if out.is_json() {
        let form = args.ids.form(container.bytes());
        out.object(Object::new().id(&id, form).text("version", &version.to_string()))?;
    }
    Ok(DONE)
}

fn from_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(INPUT_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Stream("read standard input", error))?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(Failure::Input(format!("standard input is longer than {INPUT_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Input("standard input is not UTF-8".into()))
}
