//! The tool's commands as the tests of this folder run them from outside, and how
//! each is judged afterwards: by its exit code, by what it said, and by the file.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cloakroom::{ByteContainer, Durability, Options};

pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_cloakroom");

/// A command with what it makes of the container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) input: &'static str,
    /// The sessions that it changes: what they are afterwards.
    pub(crate) changes: &'static [(&'static str, Option<&'static str>)],
}

const LONG: &str = concat!(
    "[\"a value that is longer than the one before it, so that it lies elsewhere\",",
    "\"a value that is longer than the one before it, so that it lies elsewhere\"]"
);

/// One dump line for each of two sessions, the second one new.
const DUMP: &str = concat!(
    r#"{"id":"visitor","value":[3],"version":"00000000000000000000000000000001","#,
    r#""created_ms":1000,"saved_ms":2000,"deadline_ms":null}"#,
    "\n",
    r#"{"id":"guest","value":[4],"version":"00000000000000000000000000000002","#,
    r#""created_ms":1000,"saved_ms":2000,"deadline_ms":null}"#,
    "\n"
);

pub(crate) const JOBS: &[Job] = &[
    Job { name: "create", arguments: &["create", "FILE"], input: "", changes: &[] },
    Job {
        name: "put a new one",
        arguments: &["put", "FILE", "new", "[1]"],
        input: "",
        changes: &[("new", Some("[1]"))],
    },
    Job {
        name: "put over",
        arguments: &["put", "FILE", "visitor"],
        input: LONG,
        changes: &[("visitor", Some(LONG))],
    },
    Job { name: "get", arguments: &["get", "FILE", "visitor"], input: "", changes: &[] },
    Job {
        name: "rm",
        arguments: &["rm", "FILE", "visitor", "other"],
        input: "",
        changes: &[("visitor", None), ("other", None)],
    },
    Job { name: "ls", arguments: &["ls", "FILE"], input: "", changes: &[] },
    Job { name: "dump", arguments: &["dump", "FILE"], input: "", changes: &[] },
    Job {
        name: "restore",
        arguments: &["restore", "FILE"],
        input: DUMP,
        changes: &[("visitor", Some("[3]")), ("guest", Some("[4]"))],
    },
    Job { name: "info", arguments: &["info", "FILE"], input: "", changes: &[] },
    Job { name: "check", arguments: &["check", "FILE"], input: "", changes: &[] },
];

const BEFORE: &[(&str, &str)] = &[("visitor", "{\"visits\":1}"), ("other", "[2]")];
const QUIET: usize = 30;

/// A directory with a container that can be put back to what it was.
#[derive(Debug)]
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) file: PathBuf,
    image: Vec<u8>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions.room");
        let container = ByteContainer::create(&file, Options::new()).unwrap();
        for (id, value) in BEFORE {
            container.save(id, value.as_bytes()).unwrap();
        }
        for number in 0..QUIET {
            container.save(format!("quiet {number}"), &[b'1'; 20]).unwrap();
        }
        container.sync().unwrap();
        drop(container);
        let image = fs::read(&file).unwrap();
        Place { directory, file, image }
    }

    /// As before any job: for one that creates, without a file.
    pub(crate) fn reset(&self, job: &Job) {
        // In place: a new file would have another witness, and need a recovery.
        if job.name == "create" {
            let _ = fs::remove_file(&self.file);
        } else {
            fs::write(&self.file, &self.image).unwrap();
        }
    }

    pub(crate) fn arguments(&self, job: &Job) -> Vec<PathBuf> {
        let path = |argument: &&str| match *argument {
            "FILE" => self.file.clone(),
            other => other.into(),
        };
        job.arguments.iter().map(path).collect()
    }

    /// Runs a job under a program that is given before it.
    pub(crate) fn run_under(&self, before: &[&OsStr], job: &Job) -> Output {
        self.reset(job);
        let mut command = Command::new(before.first().copied().unwrap_or(TOOL.as_ref()));
        if let Some(rest) = before.get(1..) {
            command.args(rest).arg(TOOL);
        }
        command.args(self.arguments(job));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It fits into the pipe, and the tool may end before it reads it.
        let _ = child.stdin.take().unwrap().write_all(job.input.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Fails unless the file holds what it may hold after this: exactly what the job
    /// makes of it, if it was `done`.
    pub(crate) fn judge(&self, job: &Job, done: bool) {
        let container = match ByteContainer::open(&self.file, quick()) {
            Ok(container) => container,
            Err(error) => {
                assert!(job.name == "create" && !done, "{error}");
                return self.create_again();
            }
        };
        let report = container.check().unwrap();
        assert!(report.is_sound(), "{:#?}", report.damage);
        let value = |id: &str| {
            let session = container.load(id).unwrap();
            session.map(|session| String::from_utf8(session.value).unwrap())
        };
        if job.name != "create" {
            for (id, before) in BEFORE {
                if job.changes.iter().all(|(changed, _)| changed != id) {
                    assert_eq!(value(id).as_deref(), Some(*before));
                }
            }
            for number in 0..QUIET {
                assert_eq!(value(&format!("quiet {number}")).unwrap().len(), 20);
            }
        }
        for (id, after) in job.changes {
            let before = BEFORE.iter().find(|(known, _)| known == id).map(|(_, value)| *value);
            let found = value(id);
            let allowed = found.as_deref() == *after || !done && found.as_deref() == before;
            assert!(allowed, "{id} is {found:?}, done: {done}");
        }
        container.save("afterwards", b"works").unwrap();
        container.sync().unwrap();
    }

    /// What `create` left is no container: then nothing, or what it takes now.
    fn create_again(&self) {
        let container = ByteContainer::create(&self.file, quick()).unwrap();
        container.save("afterwards", b"works").unwrap();
    }
}

fn quick() -> Options {
    Options::new().durability(Durability::Never)
}

/// Fails unless the tool said in one line what went wrong.
pub(crate) fn assert_understandable(output: &Output) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{output:?}");
    let words = ["cannot", "no space", "not a cloakroom container", "damaged", "cut short"];
    assert!(words.iter().any(|word| said.contains(word)), "{said:?}");
}

/// What a path is called where only text will do.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The numbers below `len` in an order in which any beginning is spread over all.
pub(crate) fn spread_order(len: usize) -> impl Iterator<Item = usize> {
    // A prime: it meets every number once, unless `len` is a multiple of it.
    const STEP: usize = 7919;
    let len = if len.is_multiple_of(STEP) { len + 1 } else { len };
    (0..len).map(move |number| number * STEP % len)
}
