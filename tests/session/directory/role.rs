//! Other processes: this binary once more, with a role to play.
//!
//! [`command`] runs the one test `directory::role::play`, which does nothing unless the
//! environment names a role. What a role has to tell goes to standard error, a line at a
//! time and each by one write, so that a killed process leaves no half line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use super::{permissions, processes};

const ROLE: &str = "CLOAKROOM_SESSION_ROLE";
const DIRECTORY: &str = "CLOAKROOM_SESSION_DIRECTORY";
const NAME: &str = "CLOAKROOM_SESSION_NAME";

/// The test that roles are played in.
#[test]
fn play() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (directory, name) = (std::env::var(DIRECTORY).unwrap(), std::env::var(NAME).unwrap());
    match role.as_str() {
        "save until killed" => processes::save_until_killed(&directory, &name),
        "count" => processes::count(&directory),
        "guard" => processes::guard(&directory),
        "hold" => processes::hold(&directory),
        "fork in update" => processes::fork_in_update(&directory),
        "stranger" => permissions::stranger(&directory),
        other => panic!("no role {other:?}"),
    }
}

/// Starts a process that plays a role on a directory, under a name.
pub(crate) fn start(role: &str, directory: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "directory::role::play", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .env(NAME, name)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Tells the parent a line.
pub(crate) fn tell(line: &str) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// What a child tells.
pub(crate) fn heard(child: &mut Child) -> BufReader<ChildStderr> {
    BufReader::new(child.stderr.take().unwrap())
}

/// Waits for a line that a child tells.
pub(crate) fn wait_for(line: &str, from: &mut impl BufRead) {
    let mut all = String::new();
    loop {
        let before = all.len();
        if from.read_line(&mut all).unwrap() == 0 {
            panic!("the child ended without {line:?}; it said:\n{all}");
        }
        if all[before..].trim_end() == line {
            return;
        }
    }
}

/// Waits for the end of a role, which must have gone well.
pub(crate) fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
}
