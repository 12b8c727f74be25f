//! What a check is given: a directory of its own, and a way to open managers in it and to
//! start further processes there.
//!
//! Each check is run in a thread of its own for a bounded time, so that a manager that
//! panics or hangs is a failure like another.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use super::child::Player;
use super::expect::Verdict;
use super::opening::Opening;
use crate::session::{Capability, SessionManager};

pub(super) type Opener = dyn Fn(&Path, &Opening) -> Box<dyn SessionManager> + Send + Sync;

/// What all checks have in common.
#[derive(Clone)]
pub(super) struct Setting {
    /// Of the test that runs the suite.
    pub(super) test: String,
    pub(super) opener: Arc<Opener>,
    pub(super) sessions: u64,
    /// How long one thing may take that should be done soon.
    pub(super) patience: Duration,
}

/// Where one check is made.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) setting: Setting,
    pub(super) directory: PathBuf,
}

/// One thing that managers have to do, in words, and how to find out.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Capability],
    pub(super) run: fn(&Stage) -> Verdict,
}

impl Check {
    pub(super) const fn new(name: &'static str, run: fn(&Stage) -> Verdict) -> Check {
        Check { name, needs: &[], run }
    }

    pub(super) const fn needs(self, needs: &'static [Capability]) -> Check {
        Check { needs, ..self }
    }
}

impl Stage {
    /// A manager of this check's sessions.
    pub(super) fn open(&self) -> Box<dyn SessionManager> {
        self.open_as(&Opening::new())
    }

    pub(super) fn open_as(&self, opening: &Opening) -> Box<dyn SessionManager> {
        (self.setting.opener)(&self.directory, opening)
    }

    /// Another process that plays this part.
    pub(super) fn start(&self, part: &'static str, argument: &str) -> Verdict<Player> {
        Player::start(self, part, argument)
    }

    /// Runs a check here, for as long as it may take.
    pub(super) fn run(self, check: &Check) -> Verdict {
        // What a check saves takes longer, the more it is.
        let bound = self.setting.patience * 4 + Duration::from_millis(self.setting.sessions * 5);
        let (tell, told) = mpsc::channel();
        let run = check.run;
        // Not joined where it hangs: the process ends without it.
        let running = thread::Builder::new().spawn(move || {
            let _ = tell.send(run(&self));
        });
        let running = running.map_err(|error| format!("cannot start a thread: {error}"))?;
        match told.recv_timeout(bound) {
            Ok(verdict) => verdict,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let seconds = bound.as_secs();
                Err(format!("the check: expected its end within {seconds} s, found that it hangs"))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => match running.join() {
                Ok(()) => Err("the check ended without a verdict".to_owned()),
                Err(panic) => Err(panicked(panic.as_ref())),
            },
        }
    }
}

/// The sentence of a panic.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let words = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    format!("an operation: expected that it returns, found that it panicked: {words}")
}

/// Several threads at once, which begin at the same time. Tells what the first that failed
/// has to say.
pub(super) fn together(threads: usize, part: impl Fn(usize) -> Verdict + Sync) -> Verdict {
    let begin = Barrier::new(threads);
    let play = |number| {
        begin.wait();
        part(number)
    };
    thread::scope(|scope| {
        let play = &play;
        let running: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || play(number))).collect();
        // Whoever failed, all are waited for.
        let ended = running
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
        ended.fold(Ok(()), Verdict::and)
    })
}
