//! How far a long command has come, for who waits at a terminal.
//!
//! A bar is drawn on standard error, if that is a terminal and people are to read it, and
//! only after a second: it shows numbers of this program's own, and nothing of a store. What
//! is to be said meanwhile goes through [`Progress::complain`], which takes the bar away
//! first and says no more than can be read.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{Output, message};

/// How long something takes that needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Complaints that are told; the others are counted.
const COMPLAINTS: u64 = 1000;

/// Progress of one command.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    out: &'a Output,
    bar: ProgressBar,
    began: Instant,
    /// Whether a bar is still to be shown.
    wanted: bool,
    complaints: u64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(out: &'a Output) -> Progress<'a> {
        let (bar, began) = (ProgressBar::hidden(), Instant::now());
        Progress { out, bar, began, wanted: false, complaints: 0 }
    }

    /// A new part begins, of so many steps if that is known.
    pub(crate) fn begin(&mut self, doing: &'static str, total: Option<u64>) {
        self.bar.finish_and_clear();
        let template = "{msg} {wide_bar} {pos} of {len}, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template);
        self.bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(doing);
        self.began = Instant::now();
        self.wanted = !self.out.is_json() && io::stderr().is_terminal();
    }

    pub(crate) fn step(&mut self) {
        if self.wanted && self.began.elapsed() > PATIENCE {
            self.wanted = false;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(1);
    }

    /// Says what is wrong with one of many.
    pub(crate) fn complain(&mut self, text: &str) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS {
            self.bar.suspend(|| self.out.complain(text));
        }
    }

    /// All is done: nothing of the bar stays.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
        let more = self.complaints.saturating_sub(COMPLAINTS);
        if more > 0 && !self.out.is_json() {
            message(&format!("cloakroom: {more} more like these, which are not listed"));
        }
    }
}
