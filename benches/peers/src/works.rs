//! The works of a session store, each a section of the page.

mod concurrent;
mod drift;
mod durable;
mod first;
mod floors;
mod growth;
mod load;
mod request;
mod save;
mod size;
mod sweep;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::child::Arguments;
use crate::report::Report;
use crate::stage::{Outcome, Stage};
use crate::store::{Mode, Peer, Place, Store};
use crate::stores;

type Work = fn(&Stage, &[&'static Peer], &mut Report) -> Outcome<()>;

pub(crate) const WORKS: [(&str, Work); 11] = [
    ("floors", floors::measure),
    ("load", load::measure),
    ("save", save::measure),
    ("durable", durable::measure),
    ("request", request::measure),
    ("concurrent", concurrent::measure),
    ("first", first::measure),
    ("size", size::measure),
    ("sweep", sweep::measure),
    ("growth", growth::measure),
    ("drift", drift::measure),
];

/// What a started copy of this program does.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    match arguments.text()?.as_str() {
        "nothing" => Ok(()),
        "request" => request::child(arguments),
        "durable" => durable::child(arguments),
        "raw" => durable::raw_child(arguments),
        "concurrent" => concurrent::child(arguments),
        "first" => first::child(arguments),
        "memory" => first::memory_child(arguments),
        job => Err(format!("no job {job}").into()),
    }
}

/// The store that a child is told to open.
struct Opening {
    peer: &'static Peer,
    place: Place,
    mode: Mode,
}

impl Opening {
    fn read(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<Opening> {
        let peer = stores::named(&arguments.text()?)?;
        let mode = Mode::named(&arguments.text()?)?;
        let directory = PathBuf::from(arguments.path()?);
        let place = Place { directory, sessions: arguments.number()? };
        if peer.serve.is_none() {
            // Loads the store's library, which is not what is measured.
            let _ = (peer.version)();
        }
        Ok(Opening { peer, place, mode })
    }

    fn open(&self) -> Outcome<Box<dyn Store>> {
        (self.peer.open)(&self.place, self.mode)
    }
}

/// The arguments that [`Opening::read`] takes.
fn command(job: &str, filled: &crate::store::Filled) -> Outcome<std::process::Command> {
    let mut command = crate::child::command(job)?;
    command.arg(filled.peer.name).arg(filled.mode.name()).arg(&filled.place.directory);
    command.arg(filled.place.sessions.to_string());
    Ok(command)
}
