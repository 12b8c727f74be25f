//! Further processes: the test's binary once more, which plays a part of a check.
//!
//! The environment names the part and the directory; [`play`] plays it where the suite
//! would begin, and ends the process. A player tells what it has to say by lines on its
//! standard output, among those of the test harness, and waits at its standard input, which
//! ends when it is to go on or when whoever started it has ended. No player outlives its
//! [`Player`].

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use super::expect::Verdict;
use super::stage::{Setting, Stage, panicked};
use super::{crashes, guards, processes};

const PART: &str = "CLOAKROOM_TESTING_PART";
const DIRECTORY: &str = "CLOAKROOM_TESTING_DIRECTORY";
const ARGUMENT: &str = "CLOAKROOM_TESTING_ARGUMENT";
/// Before each line that is for whoever started the process.
const MARK: &str = "cloakroom-testing: ";
const BEGUN: &str = "begun";
const DONE: &str = "done";
const FAILED: &str = "failed ";

/// What a process may be started for, by its name; told an argument.
pub(super) type Part = (&'static str, fn(&Stage, &str) -> Verdict);

const PARTS: &[&[Part]] = &[processes::PARTS, crashes::PARTS, guards::PARTS];

/// The part of this process, if it was started for one.
pub(super) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Plays a part, and ends the process.
pub(super) fn play(part: &str, setting: Setting) -> ! {
    tell(BEGUN);
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap_or_default());
    let argument = std::env::var(ARGUMENT).unwrap_or_default();
    let stage = Stage { setting, directory };
    let known = PARTS.iter().copied().flatten().find(|(name, _)| *name == part);
    let verdict = match known {
        Some((_, play)) => catch_unwind(AssertUnwindSafe(|| play(&stage, &argument)))
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
        None => Err(format!("there is no part {part:?}")),
    };
    match &verdict {
        Ok(()) => tell(DONE),
        Err(sentence) => tell(&format!("{FAILED}{}", sentence.replace('\n', " "))),
    }
    std::process::exit(i32::from(verdict.is_err()));
}

/// Tells whoever started this process a line.
pub(super) fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who started it may be gone; then nobody listens.
    let _ = out.write_all(format!("{MARK}{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Waits until this process is to go on.
pub(super) fn wait() {
    let _ = std::io::stdin().lock().read(&mut [0]);
}

/// A process that plays a part; killed where it is dropped.
pub(super) struct Player {
    process: Child,
    part: &'static str,
    said: Receiver<String>,
    input: Option<ChildStdin>,
    ends: Instant,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Player {
    pub(super) fn start(stage: &Stage, part: &'static str, argument: &str) -> Verdict<Player> {
        let failed = |error| format!("cannot start a process: {error}");
        let mut process = Command::new(std::env::current_exe().map_err(failed)?)
            .args([stage.setting.test.as_str(), "--exact", "--nocapture", "--test-threads=1"])
            .arg("--include-ignored")
            .env(PART, part)
            .env(DIRECTORY, &stage.directory)
            .env(ARGUMENT, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            for line in lines.map_while(Result::ok) {
                // The harness may have begun the line.
                if let Some((_, line)) = line.split_once(MARK)
                    && tell.send(line.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let ends = Instant::now() + stage.setting.patience;
        let mut player = Player { process, part, said, input, ends };
        match player.next() {
            Ok(line) if line == BEGUN => Ok(player),
            _ => Err(format!(
                "the suite: expected that this binary, started with \"{}\", begins the part \
                 \"{part}\", found nothing of it; the name has to be the test's, with its modules",
                stage.setting.test
            )),
        }
    }

    /// The next line that it tells, or how it failed.
    fn next(&mut self) -> Verdict<String> {
        let part = self.part;
        let rest = self.ends.saturating_duration_since(Instant::now());
        match self.said.recv_timeout(rest) {
            Ok(line) => match line.strip_prefix(FAILED) {
                Some(sentence) => Err(format!("in another process, {sentence}")),
                None => Ok(line),
            },
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(format!(
                    "\"{part}\" in another process: expected its end in time, found that it \
                     hangs; it was killed"
                ))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!(
                "\"{part}\" in another process: expected that it ends well, found that it was \
                 cut off"
            )),
        }
    }

    /// Waits until it tells this.
    pub(super) fn hear(&mut self, line: &str) -> Verdict {
        let (found, part) = (self.next()?, self.part);
        if found == line {
            return Ok(());
        }
        Err(format!("\"{part}\" in another process: expected \"{line}\", found \"{found}\""))
    }

    /// Lets it go on.
    pub(super) fn go(&mut self) {
        self.input = None;
    }

    /// Waits for its end, which has to be good. What it told.
    pub(super) fn finish(mut self) -> Verdict<Vec<String>> {
        self.go();
        let mut told = Vec::new();
        loop {
            match self.next()? {
                line if line == DONE => return Ok(told),
                line => told.push(line),
            }
        }
    }

    /// Ends it by SIGKILL, wherever it is.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
