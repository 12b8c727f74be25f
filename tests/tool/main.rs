//! The tool `cloakroom` as its users meet it: run as a process, judged by what
//! it prints, how it exits and what is in the file afterwards.
//!
//! Every run, whatever it is about, is checked for control characters in what it
//! printed, and every container is checked for damage when its test is over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ids;
mod migrate;
mod output;
mod refusals;
mod sessions;
mod sweep;
mod whole;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloakroom::{ByteContainer, Durability, Options, Properties, Timeouts, Times};
use serde_json::Value;
use serde_json::value::RawValue;

const TOOL: &str = env!("CARGO_BIN_EXE_cloakroom");

/// What a run of the tool came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// The one JSON object that was printed.
    fn object(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// The fields of each JSON object that was printed, as text: not all that
    /// is JSON has a place in a [`Value`].
    fn raw_objects(&self) -> Vec<BTreeMap<String, String>> {
        let raw = |line| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(line).unwrap();
        let text = |(name, value): (String, Box<RawValue>)| (name, value.get().to_owned());
        self.out.lines().map(|line| raw(line).into_iter().map(text).collect()).collect()
    }

    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn done(self) -> Ran {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
        self
    }

    /// Exit code 2, nothing but a message.
    fn refused(self, why: &str) -> Ran {
        assert_eq!((self.code, self.out.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.err.contains(why), "{why}: {self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        self
    }
}

fn finish(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The tool may refuse before it reads all, which breaks the pipe.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let ran = Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    for c in ran.out.chars().chain(ran.err.chars()) {
        let is_hidden = c.is_control() || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(c);
        let turns =
            ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        assert!(c == '\n' || !is_hidden && !turns, "{c:?} was printed: {ran:?}");
    }
    ran
}

/// None, and timeouts of each kind.
fn properties(number: usize) -> Properties {
    let timeout = Duration::from_millis(1 + number as u64);
    match number % 4 {
        0 => Properties::new(),
        1 => Properties::new().timeouts(Timeouts::NONE),
        2 => Properties::new().timeouts(Timeouts::NONE.idle(timeout)),
        _ => Properties::new().timeouts(Timeouts::NONE.idle(Duration::MAX).absolute(timeout)),
    }
}

/// A directory and the name of a container in it, which is checked at the end.
struct Fixture {
    dir: tempfile::TempDir,
    file: PathBuf,
}

impl Fixture {
    /// With nothing in it.
    fn empty() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions");
        Fixture { dir, file }
    }

    fn new() -> Fixture {
        let fixture = Fixture::empty();
        fixture.run(&["create", "FILE", "--ids", "plain"]).done();
        fixture
    }

    /// Runs the tool, with FILE standing for the container.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let path = |argument: &&str| match *argument {
            "FILE" => self.file.clone(),
            other => other.into(),
        };
        finish(Command::new(TOOL).args(arguments.iter().map(path)), input)
    }

    fn opened(&self) -> ByteContainer {
        let options = Options::new().durability(Durability::Never);
        ByteContainer::open(&self.file, options).unwrap()
    }

    /// Ids, values and times that are hard to print and to give back.
    fn fill_with_oddities(&self) -> usize {
        let container = self.opened();
        let long = [b'x'; 255];
        let ids: [&[u8]; 9] = [
            b"plain",
            b"\x1b]0;owned\x07",
            b"\0",
            b"\xff\xfe\x9b2J",
            "\u{9b}31m\u{202e}\u{2066}\u{2028}\u{61c}\u{7f}".as_bytes(),
            b"back\\slash \"quoted\"",
            b"\r\n\t",
            "\u{1f9e5} k\u{e4}se".as_bytes(),
            &long,
        ];
        let values: [&[u8]; 8] = [
            b"{\"visits\":1}",
            " [ 1.50 ,\r\n\t{\"a b\" : \" c \\\" d \"} ] ".as_bytes(),
            "{\"\u{9b}\u{7f}\":\"\u{202e}\u{2029}\\u001b\\\\u009b\"}".as_bytes(),
            b"123456789012345678901234567890e999",
            b"not JSON \x1b[31m",
            b"\xff\x00",
            b"",
            b"\"\\ud800\"",
        ];
        for (number, id) in ids.into_iter().enumerate() {
            let times = Times {
                created_ms: 1_000 + number as u64,
                saved_ms: 1_700_000_000_000,
                deadline_ms: (number % 2 == 0).then_some((1 << 48) - 1 - number as u64),
            };
            let value = values[number % values.len()];
            container.restore(id, value, times, &properties(number)).unwrap();
        }
        ids.len()
    }

    /// Goes over to a copy in which the lowest bits of these bytes are flipped. Returns
    /// the name of the sound container, which is the one to check in the end.
    fn damage(&mut self, places: impl IntoIterator<Item = usize>) -> PathBuf {
        let mut bytes = std::fs::read(&self.file).unwrap();
        places.into_iter().for_each(|at| bytes[at] ^= 1);
        let damaged = self.dir.path().join("damaged");
        std::fs::write(&damaged, &bytes).unwrap();
        std::mem::replace(&mut self.file, damaged)
    }

    /// What a dump says, in a fixed order and without the versions.
    fn dumped(&self) -> Vec<String> {
        let lines = self.run(&["dump", "FILE"]).done().out;
        let mut lines: Vec<String> = lines.lines().map(without_version).collect();
        lines.sort();
        lines
    }
}

fn without_version(line: &str) -> String {
    let (before, after) = line.split_once("\"version\":\"").unwrap();
    format!("{before}{}", &after[34..])
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.file.exists() {
            let check = self.run(&["check", "FILE"]);
            assert_eq!(check.code, Some(0), "{check:?}");
        }
    }
}
