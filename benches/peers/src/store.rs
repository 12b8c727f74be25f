//! What every work sees of a store: sessions by id, loaded, saved and updated.
//!
//! A peer is a store with a name, the ways it can be opened and what it does not
//! promise in each. It must never be given an easier task than the others: `update`
//! holds whatever the store has against lost updates, and `load` gives a copy.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Child;

use crate::data;
use crate::stage::Outcome;

/// What is promised when a save returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is in the page cache: a killed process loses nothing, or as the store says.
    Fast,
    /// The same, by a process that lives long and may have threads of its own.
    Lasting,
    /// It is on the disk.
    Durable,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Fast => "fast",
            Mode::Lasting => "lasting",
            Mode::Durable => "durable",
        }
    }

    pub(crate) fn named(name: &str) -> Outcome<Mode> {
        match name {
            "fast" => Ok(Mode::Fast),
            "lasting" => Ok(Mode::Lasting),
            "durable" => Ok(Mode::Durable),
            _ => Err(format!("no mode {name}").into()),
        }
    }
}

/// An open store.
pub(crate) trait Store {
    /// Replaces `value` by a copy of the session's; false if there is none.
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool>;

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()>;

    /// Loads, changes and saves, and nobody else's save comes between.
    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()>;

    /// Saves all these sessions in version 0, in as few steps as the store likes.
    fn fill(&mut self, sessions: Range<u64>, len: &dyn Fn(u64) -> usize) -> Outcome<()> {
        let mut value = Vec::new();
        for session in sessions {
            data::fill(&mut value, session, 0, len(session));
            self.save(&data::id(session), &value)?;
        }
        Ok(())
    }
}

/// Where a store keeps its files, and for how many sessions it is made.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) sessions: u64,
}

impl Place {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// How many processes may have the store open for writing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processes {
    Many,
    One,
}

/// A store that can be measured.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// How it is opened for [`Mode::Fast`] and [`Mode::Lasting`], and what it then does not
    /// promise.
    pub(crate) fast: &'static str,
    /// The same for [`Mode::Durable`]; `None` if it has no such mode here.
    pub(crate) durable: Option<&'static str>,
    pub(crate) processes: Processes,
    /// What is measured; `None` if it is not installed.
    pub(crate) version: fn() -> Option<String>,
    pub(crate) open: fn(&Place, Mode) -> Outcome<Box<dyn Store>>,
    /// Starts the server that it needs.
    pub(crate) serve: Option<fn(&Place, Mode) -> Outcome<Server>>,
}

impl Peer {
    pub(crate) fn has(&self, mode: Mode) -> bool {
        mode != Mode::Durable || self.durable.is_some()
    }
}

/// A server, ended when it is dropped.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has no data that anybody needs any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer with files of its own, filled, and its server if it has one.
pub(crate) struct Filled {
    pub(crate) peer: &'static Peer,
    pub(crate) place: Place,
    pub(crate) mode: Mode,
    _server: Option<Server>,
}

impl Filled {
    /// Makes the store in a new folder below `parent` and saves that many sessions.
    pub(crate) fn new(
        peer: &'static Peer,
        parent: &Path,
        mode: Mode,
        sessions: u64,
        len: &dyn Fn(u64) -> usize,
    ) -> Outcome<Filled> {
        let directory = parent.join(format!("{}-{}-{sessions}", peer.name, mode.name()));
        std::fs::create_dir(&directory)?;
        let place = Place { directory, sessions };
        let server = peer.serve.map(|serve| serve(&place, mode)).transpose()?;
        let filled = Filled { peer, place, mode, _server: server };
        filled.open(Mode::Fast)?.fill(0..sessions, len)?;
        for entry in std::fs::read_dir(&filled.place.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::File::open(entry.path())?.sync_data()?;
            }
        }
        Ok(filled)
    }

    pub(crate) fn open(&self, mode: Mode) -> Outcome<Box<dyn Store>> {
        (self.peer.open)(&self.place, mode)
    }

    /// Bytes that the files take on the disk.
    pub(crate) fn allocated(&self) -> Outcome<u64> {
        allocated(&self.place.directory)
    }

    /// Removes everything, before the next store needs the room.
    pub(crate) fn remove(self) -> Outcome<()> {
        let directory = self.place.directory.clone();
        drop(self);
        Ok(std::fs::remove_dir_all(directory)?)
    }
}

fn allocated(directory: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => allocated(&entry.path())?,
            false => entry.metadata()?.blocks() * 512,
        };
    }
    Ok(bytes)
}
