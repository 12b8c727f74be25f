//! Other processes: this binary once more, with a role to play.
//!
//! [`play`] does nothing unless the environment names a role. A role tells a line
//! on standard error when it is ready for something.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::{boots, mounts, network, process};

const ROLE: &str = "CLOAKROOM_TEST_ROLE";
const PATH: &str = "CLOAKROOM_TEST_PATH";

#[test]
fn play() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let path = std::env::var_os(PATH).unwrap();
    match role.as_str() {
        "fill under a map" => mounts::fill_under_a_map(&path),
        "in a chroot" => process::in_a_chroot(&path),
        "prefork" => process::prefork(&path),
        "without descriptors" => process::without_descriptors(&path),
        "tell boot" => boots::tell_boot(&path),
        "on a network" => network::on_a_network(&path),
        "hold" => process::hold(&path),
        "lowered limit" => process::lowered_limit(&path),
        other => panic!("no role {other:?}"),
    }
}

pub(crate) fn start(role: &str, path: &OsStr) -> Child {
    under(&[], role, path).spawn().unwrap()
}

/// A command that has a program with these arguments start the role.
pub(crate) fn under(program: &[&str], role: &str, path: &OsStr) -> Command {
    let own = std::env::current_exe().unwrap().into_os_string();
    let mut words = program.iter().map(Into::into).chain([own]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", "role::play", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PATH, path)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Waits for the end of a role, which must have gone well.
pub(crate) fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
}

pub(crate) fn tell(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Waits for a line that a child tells.
pub(crate) fn wait_for(line: &str, child: &mut Child) {
    let from = BufReader::new(child.stderr.take().unwrap());
    let mut heard = Vec::new();
    for told in from.lines() {
        let told = told.unwrap();
        if told == line {
            return;
        }
        heard.push(told);
    }
    panic!("the child ended without {line:?}; it said {heard:#?}");
}
