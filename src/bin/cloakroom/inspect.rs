//! `inspect --layout`: the format's tables, from the constants that the program
//! itself reads and writes by.

use std::path::PathBuf;

use cloakroom::format::{Structure, layout};
use cloakroom::{Container, Options};

use crate::output::{Object, Output};
use crate::{DONE, Done, Failure};

/// Show how the bytes of a container are laid out
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// A container to which the layout must apply
    file: Option<PathBuf>,
    /// Print the fields of every structure of the format
    #[arg(long, required = true)]
    layout: bool,
}

const HELP: &str = "\
Example: cloakroom inspect --layout
With --json: {\"structures\": [{\"name\": TEXT, \"fields\": [{\"offset\": NUMBER, \"size\": NUMBER,
\"name\": TEXT}, ...]}, ...]}; offsets and sizes in bytes";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    if let Some(file) = &args.file {
        // There is one version of the format yet: what opens has this layout.
        Container::open_read_only(file, Options::new())?;
    }
    if out.is_json() {
        out.object(Object::new().array("structures", layout().iter().map(object)))?;
    } else {
        for (number, structure) in layout().iter().enumerate() {
            if number > 0 {
                out.line("")?;
            }
            print(structure, out)?;
        }
    }
    Ok(DONE)
}

fn object(structure: &Structure) -> Object {
    let fields = structure.fields.iter().map(|field| {
        Object::new()
            .number("offset", field.offset as u64)
            .number("size", field.size as u64)
            .text("name", field.name)
    });
    Object::new().text("name", structure.name).array("fields", fields)
}

fn print(structure: &Structure, out: &mut Output) -> Result<(), Failure> {
    out.line(structure.name)?;
    out.line("  offset   size  field")?;
    for field in structure.fields {
        out.line(&format!("  {:>6}  {:>5}  {}", field.offset, field.size, field.name))?;
    }
    Ok(())
}
