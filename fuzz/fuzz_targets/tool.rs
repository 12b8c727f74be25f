//! What the command-line tool prints of a container that holds anything, and what its
//! `restore` makes of any input; both with the tool's own sources.
//!
//! Nothing that a terminal obeys may be printed; what was printed must come back as the
//! same sessions; a wrong line is refused without a panic.

#![no_main]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::process::ExitCode;

use arbitrary::Arbitrary;
use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Durability, Options, Times};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // Each is used in part here.
#[path = "../../src/bin/cloakroom/escape.rs"]
mod escape;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/output.rs"]
mod output;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/restore.rs"]
mod restore;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/units.rs"]
mod units;

/// What the sources above expect of their root.
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

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// What is given to `restore`.
    Restored(&'a [u8]),
    /// Sessions that are dumped.
    Dumped(Vec<Item<'a>>),
}

#[derive(Arbitrary, Debug)]
struct Item<'a> {
    id: &'a [u8],
    value: Value<'a>,
    times: (u64, u64, Option<u64>),
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Bytes(&'a [u8]),
    /// JSON, if all goes well: a string of this text.
    Text(&'a str),
}

fn container() -> ByteContainer {
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
    Options::new().durability(Durability::Never)
}

/// The lines that `dump` prints, but for the versions, which never come again.
fn dump(container: &ByteContainer) -> Vec<String> {
    let mut lines = Vec::new();
    for item in container.iter() {
        let (id, session) = item.expect("a sound session");
        let object = output::Object::of_session(&id, &session).value(&session.value);
        let line = escape::visible_json(&object.finish()).into_owned();
        assert!(!line.chars().any(|c| escape::is_hidden(c) || c.is_control()), "{line:?}");
        let version = session.version.to_string();
        lines.push(line.replacen(&version, "", 1));
    }
    lines.sort();
    lines
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Restored(mut bytes) => {
            // Most inputs are refused, and leave the container as it was.
            thread_local! {
                static KEPT: RefCell<Option<ByteContainer>> = const { RefCell::new(None) };
            }
            let container = KEPT.take().unwrap_or_else(container);
            let mut restored = 0;
            let done = restore::restore(&container, &mut bytes, &mut restored);
            if restored == 0 {
                KEPT.set(Some(container));
            } else if done.is_ok() {
                again(&container);
            }
        }
        Input::Dumped(items) => {
            let container = container();
            for Item { id, value, times } in items.iter().take(20) {
                let text;
                let value = match value {
                    Value::Bytes(bytes) => *bytes,
                    Value::Text(value) => {
                        text = serde_json::to_string(value).expect("text");
                        text.as_bytes()
                    }
                };
                let (created_ms, saved_ms, deadline_ms) = *times;
                let times = Times { created_ms, saved_ms, deadline_ms };
                let _ = container.restore(id, value, times);
            }
            again(&container);
        }
    }
});

/// What is dumped can be restored, and is then dumped as it was.
fn again(first: &ByteContainer) {
    let lines = dump(first);
    let text = lines.join("\n");
    let second = container();
    let mut restored = 0;
    let done = restore::restore(&second, &mut text.as_bytes(), &mut restored);
    assert!(done.is_ok(), "{done:?}\n{text}");
    assert_eq!(restored, lines.len() as u64);
    assert_eq!(dump(&second), lines);
}
