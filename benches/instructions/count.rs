//! Counting by callgrind. A child does so many operations, another one three times as
//! many: the difference leaves out what starting, opening and the first ones take.

use std::process::Command;

use crate::Outcome;
use crate::job::{self, Job};

pub(crate) fn instructions_of_one(job: &Job, count: u64) -> Outcome<f64> {
    let (few, many) = (instructions(job, count)?, instructions(job, 3 * count)?);
    Ok((many as f64 - few as f64) / (2 * count) as f64)
}

fn instructions(job: &Job, count: u64) -> Outcome<u64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("container");
    job::prepare(&path)?;
    let mut command = Command::new("valgrind");
    let profile = profile_of(job);
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={profile}")]);
    command.arg(std::env::current_exe()?).args(["child", job.name]).arg(&path);
    let output = command.arg(count.to_string()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {}\n{told}", job.name, output.status).into());
    }
    collected(&told).ok_or_else(|| format!("valgrind counted nothing:\n{told}").into())
}

/// Where the last counting of a job leaves what callgrind_annotate explains.
fn profile_of(job: &Job) -> String {
    format!("{}/callgrind.{}", env!("CARGO_TARGET_TMPDIR"), job.name)
}

/// "==PID== Collected : NUMBER".
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("Collected"))?;
    line.split_whitespace().last()?.parse().ok()
}
