//! The tool's own sources, which the targets `dump` and `restore` share, and what these
//! sources expect of their root; a blank container for each run, and its dump.

use std::fmt;
use std::io;
use std::process::ExitCode;

use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Durability, IdForm, Options};

use crate::{escape, output, restore};

/// What the sources expect of their root.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
pub(crate) type Done = Result<ExitCode, Failure>;

#[derive(Debug)]
#[allow(dead_code)] // Printed by nobody here.
pub(crate) enum Failure {
    Container(cloakroom::Error),
    Input(String),
    Stream(&'static str, io::Error),
}

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Failure {
        Failure::Container(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub(crate) fn container() -> ByteContainer {
    // One blank container is made once; each run has a copy of it.
    thread_local! {
        static BLANK: Vec<u8> = {
            let storage = MemoryStorage::new();
            let made = ByteContainer::create_on(Box::new(storage.share()), options());
            drop(made.expect("a new container"));
            storage.to_bytes()
        };
    }
    let storage = MemoryStorage::from_bytes(BLANK.with(Vec::clone));
    ByteContainer::open_on(Box::new(storage), options()).expect("opened")
}

fn options() -> Options {
    // As `restore` opens it.
    Options::new().ids(IdForm::Plain).kept_ids().durability(Durability::Never)
}

/// The lines that `dump` prints, but for the versions, which never come again.
fn dump(container: &ByteContainer) -> Vec<String> {
    let mut lines = Vec::new();
    for item in container.iter() {
        let (id, session) = item.expect("a sound session");
        let object = output::Object::of_session(&id, IdForm::Plain, &session).value(&session.value);
        let line = escape::visible_json(&object.finish()).into_owned();
        assert!(!line.chars().any(|c| escape::is_hidden(c) || c.is_control()), "{line:?}");
        let version = session.version.to_string();
        lines.push(line.replacen(&version, "", 1));
    }
    lines.sort();
    lines
}

/// What is dumped can be restored, and is then dumped as it was.
pub(crate) fn again(first: &ByteContainer) {
    let lines = dump(first);
    let text = lines.join("\n");
    let second = container();
    let mut restored = 0;
    let done = restore::restore(&second, &mut text.as_bytes(), &mut restored);
    assert!(done.is_ok(), "{done:?}\n{text}");
    assert_eq!(restored, lines.len() as u64);
    assert_eq!(dump(&second), lines);
    for item in first.iter() {
        let (id, session) = item.expect("a sound session");
        let found = second.load(&id).expect("sound").expect("it was restored");
        assert!(is_same(&session.value, &found.value), "{session:?}, then {found:?}");
    }
}

/// Whether both are the same bytes, or the same JSON written otherwise.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let value = |bytes| serde_json::from_slice::<serde_json::Value>(bytes);
    match (value(one), value(other)) {
        (Ok(one), Ok(other)) => one == other,
        // What is JSON, but nested deeper than a tree may be, loses its spaces.
        (Err(_), Err(_)) => escape::json_of(one).is_some() || one == other,
        _ => false,
    }
}
