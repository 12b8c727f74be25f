//! Other processes: this binary once more, with a job to do.
//!
//! The test named [`PLAY`] does nothing unless the environment gives a job.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

/// The test that jobs are done in.
const PLAY: &str = "play";
const JOB: &str = "CLOAKROOM_TEST_JOB";

/// Starts a process that does the job, tells by `mouth` and complains to `log`.
pub(crate) fn start(job: &str, mouth: OwnedFd, log: &File) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", PLAY, "--nocapture", "--test-threads=1"])
        .env(JOB, job)
        .stdin(Stdio::from(mouth))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log.try_clone().unwrap()))
        .spawn()
        .unwrap()
}

/// The job of this process, if it was started for one.
pub(crate) fn job() -> Option<String> {
    std::env::var(JOB).ok()
}
