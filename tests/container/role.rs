//! Other processes: this binary once more, with a role to play.
//!
//! [`command`] runs the one test `role::play`, which does nothing unless the
//! environment names a role. What a role has to tell goes to standard error, a
//! line at a time and each by one write, so that a killed process leaves no
//! half line; standard output is the test harness's.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{full, guards, kills, options, permissions, processes};

const ROLE: &str = "CLOAKROOM_TEST_ROLE";
const ARGUMENT: &str = "CLOAKROOM_TEST_ARGUMENT";

/// The test that roles are played in.
#[test]
fn play() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "count" => processes::count(),
        "hold" => processes::hold(),
        "fork" => processes::fork(),
        "fork in update" => processes::fork_in_update(),
        "fork while locked" => processes::fork_while_locked(),
        "die before a reader" => processes::die_before_a_reader(),
        "guard" => guards::guard(),
        "guarded visits" => guards::visits(),
        "save until killed" => kills::save_until_killed(),
        "stranger" => permissions::stranger(),
        "limited" => full::limited(),
        "crowded" => options::crowded(),
        other => panic!("no role {other:?}"),
    }
}

/// A command that plays a role. Arguments are joined by newlines.
pub(crate) fn command(role: &str, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "role::play", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ARGUMENT, arguments.join(OsStr::new("\n")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The arguments of this role.
pub(crate) fn arguments() -> Vec<String> {
    let joined = std::env::var(ARGUMENT).unwrap();
    joined.split('\n').map(str::to_owned).collect()
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

/// Waits until `done`, for a time that nothing here should need.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
