//! The release binary under strace, which lets system calls fail: each kind, each
//! index from the first touch of the container on.
//!
//! Exit code 0 means that it was done; 2 comes with one line that says what could
//! not be. In either case the file is sound, holds the old or the new state, and
//! the next save works. An interrupted call is taken up again: that is no error.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::commands::{JOBS, Job, Place, TOOL, assert_understandable, spread_order, text};
use crate::tally::say;

/// Runs at most, and in a soak.
const RUNS_MAX: usize = 2400;
const RUNS_MAX_SOAK: usize = 50_000;
/// However slow the machine is.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 60 });

/// One failing call of one job.
#[derive(Clone, Debug)]
struct Failing {
    job: &'static Job,
    call: String,
    /// Counted from 1 among the calls of this name.
    nth: usize,
    /// What strace is to do: `error=EIO`, `retval=0`.
    how: &'static str,
    from_then_on: bool,
}

/// In which ways a call may fail from outside.
fn ways(call: &str) -> &'static [&'static str] {
    match call {
        "pread64" => &["error=EIO", "error=EINTR", "error=EAGAIN", "retval=0"],
        "pwrite64" => &[
            "error=EIO",
            "error=ENOSPC",
            "error=EDQUOT",
            "error=EINTR",
            "error=EAGAIN",
            "error=EFBIG",
            "retval=0",
        ],
        "fallocate" => {
            &["error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EINTR", "error=EOPNOTSUPP"]
        }
        "fdatasync" | "fsync" => &["error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EINTR"],
        "flock" => &["error=EIO", "error=ENOLCK", "error=EINTR", "error=EAGAIN"],
        "fcntl" => &["error=EIO", "error=ENOLCK", "error=EINTR", "error=EAGAIN", "error=EACCES"],
        "open" | "openat" => &["error=EIO", "error=EINTR", "error=EMFILE", "error=ENFILE"],
        "fstat" | "newfstatat" | "fstatfs" | "statx" => &["error=EIO", "error=EINTR"],
        "getrandom" => &["error=EINTR", "retval=1"],
        "fadvise64" | "close" => &["error=EIO"],
        "write" => &["error=EIO", "error=ENOSPC"],
        _ => &[],
    }
}

/// Calls that the tool takes up again when a signal interrupts them.
fn is_retried(call: &str) -> bool {
    let names = ["pread64", "pwrite64", "fallocate", "fdatasync", "fsync", "flock", "fcntl"];
    names.contains(&call) || ["open", "openat", "getrandom"].contains(&call)
}

/// Whether strace is there and may trace.
fn is_traceable() -> Result<(), String> {
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Err(error) => Err(format!("strace: {error} (`make setup` installs it)")),
        Ok(output) if !output.status.success() => {
            Err(format!("strace may not trace: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Ok(_) => Ok(()),
    }
}

fn run(place: &Place, job: &Job, options: &[&str]) -> Output {
    let log = place.log();
    let mut before: Vec<&OsStr> = vec!["strace".as_ref(), "-o".as_ref(), log.as_os_str()];
    before.extend(options.iter().map(OsStr::new));
    place.run_under(&before, job)
}

/// All that can fail of a job.
fn failings(place: &Place, job: &'static Job) -> Vec<Failing> {
    let output = run(place, job, &["-s", "4096"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = fs::read(place.log()).unwrap();
    let log = String::from_utf8_lossy(&log);
    let mut counts = HashMap::new();
    let (mut failings, mut begun) = (Vec::new(), false);
    for line in log.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let nth = counts.entry(call).or_insert(0);
        *nth += 1;
        begun |= call.starts_with("open") && arguments.contains(text(&place.file));
        // Standard output only: without standard error there is no saying anything.
        if !begun || call == "write" && !arguments.starts_with('1') {
            continue;
        }
        for how in ways(call) {
            // What is taken up again for ever, or waited for, is no error at all.
            let endless = ["EINTR", "EAGAIN", "EACCES"].iter().any(|errno| how.contains(errno));
            let endless = endless || call == "getrandom";
            for from_then_on in [false, true] {
                if !from_then_on || !endless && call != "write" {
                    let call = call.to_owned();
                    failings.push(Failing { job, call, nth: *nth, how, from_then_on });
                }
            }
        }
    }
    failings
}

/// Whether it was done; `None` if the call was never made.
fn try_one(place: &Place, failing: &Failing) -> Option<bool> {
    let Failing { job, call, nth, how, from_then_on } = failing;
    let on = if *from_then_on { "+" } else { "" };
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{how}:when={nth}{on}");
    let output = run(place, job, &["-e", &trace, "-e", &inject]);
    let log = fs::read(place.log()).unwrap();
    // Keys are random, so that one run may make a few calls less than another.
    let reached = String::from_utf8_lossy(&log).contains("(INJECTED)");
    let done = match output.status.code() {
        Some(0) => true,
        Some(2) => {
            assert_understandable(&output);
            false
        }
        // What could not be read of a file is damage, to a check.
        Some(1) if job.name == "check" && how.contains("retval") => false,
        _ => panic!("{output:?}"),
    };
    let interrupted = how.contains("EINTR") && is_retried(call);
    assert!(
        done || reached && !interrupted,
        "an interrupted call was not taken up again: {output:?}"
    );
    place.judge(job, done);
    reached.then_some(done)
}

#[test]
fn whatever_system_call_fails_the_tool_tells_and_the_container_is_sound() {
    if let Err(why) = is_traceable() {
        say(&format!("not run: the tool's system calls do not fail: {why}\n"));
        return;
    }
    let begun = Instant::now();
    let all: Vec<_> = JOBS.iter().flat_map(|job| failings(&Place::new(), job)).collect();
    let soak = std::env::var_os("CLOAKROOM_SOAK_SECONDS").is_some();
    let most = if soak { RUNS_MAX_SOAK } else { RUNS_MAX };
    let chosen: Vec<_> = spread_order(all.len()).filter_map(|at| all.get(at)).take(most).collect();
    let next = AtomicUsize::new(0);
    let [told, absorbed, missed] = [const { AtomicUsize::new(0) }; 3];
    let work = || {
        let place = Place::new();
        while let Some(failing) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            if begun.elapsed() > TIME_MAX && !soak {
                return;
            }
            let tried = std::panic::catch_unwind(|| try_one(&place, failing));
            match tried {
                Ok(Some(true)) => absorbed.fetch_add(1, Ordering::Relaxed),
                Ok(Some(false)) => told.fetch_add(1, Ordering::Relaxed),
                Ok(None) => missed.fetch_add(1, Ordering::Relaxed),
                Err(panic) => {
                    eprintln!("{failing:?}");
                    std::panic::resume_unwind(panic);
                }
            };
            let file = place.file.as_os_str();
            if told.load(Ordering::Relaxed) % 10 == 0 {
                let output = Command::new(TOOL).arg("check").arg(file).output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{failing:?}: {output:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let [told, absorbed, missed] = [told, absorbed, missed].map(AtomicUsize::into_inner);
    say(&format!(
        "\n| system calls that fail under strace | run | told | absorbed |\n|---:|---:|---:|---:|\n\
         | {} | {} | {told} | {absorbed} |\nin {:?}\n\
         reached: I/O errors of the release binary = {}\n",
        all.len(),
        told + absorbed,
        begun.elapsed(),
        told + absorbed
    ));
    assert!(told > 20 && absorbed > 2 && missed < told / 5, "{told}, {absorbed}, {missed}");
}
