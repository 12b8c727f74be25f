//! How a check says what it expected and what it found: the first thing that is not so
//! ends it, with a sentence.

use std::fmt::{Debug, Display};

use serde_json::Value;

use crate::session::SessionManager;
use crate::{ErrorKind, Outcome, Result, Session, Version};

/// A sentence if something is not so.
pub(super) type Verdict<T = ()> = std::result::Result<T, String>;

/// Longest part of a sentence that tells what was found, in characters.
const SHOWN_MAX: usize = 300;

/// Ends a check with a sentence where a condition does not hold.
macro_rules! demand {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}
pub(super) use demand;

/// What should succeed.
pub(super) trait Went<T> {
    /// What came of it, where it did.
    fn went(self, operation: impl Display) -> Verdict<T>;
}

impl<T> Went<T> for Result<T> {
    fn went(self, operation: impl Display) -> Verdict<T> {
        self.map_err(|error| {
            format!("{operation}: expected that it succeeds, found an error: {error}")
        })
    }
}

/// As much of it as is read.
pub(super) fn shown(thing: &impl Debug) -> String {
    let all = format!("{thing:?}");
    match all.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &all[..end], all.len()),
        None => all,
    }
}

pub(super) fn equal<T: PartialEq + Debug>(
    operation: impl Display,
    found: T,
    expected: T,
) -> Verdict {
    let (what, instead) = (shown(&expected), shown(&found));
    demand!(found == expected, "{operation}: expected {what}, found {instead}");
    Ok(())
}

/// The session, which has to be there.
pub(super) fn loaded(
    sessions: &dyn SessionManager,
    id: &str,
    when: impl Display,
) -> Verdict<Session<Value>> {
    let session = sessions.load(id).went(format_args!("load {when}"))?;
    session.ok_or_else(|| format!("load {when}: expected the session, found none"))
}

pub(super) fn absent(sessions: &dyn SessionManager, id: &str, when: impl Display) -> Verdict {
    match sessions.load(id).went(format_args!("load {when}"))? {
        None => Ok(()),
        Some(session) => {
            Err(format!("load {when}: expected no session, found {}", shown(&session)))
        }
    }
}

/// The version of a conditional save whose condition holds.
pub(super) fn won(outcome: Result<Outcome>, operation: impl Display) -> Verdict<Version> {
    match outcome.went(&operation)? {
        Outcome::Saved(version) => Ok(version),
        Outcome::Conflict => {
            Err(format!("{operation}: expected that it is saved, found a conflict"))
        }
    }
}

pub(super) fn lost(outcome: Result<Outcome>, operation: impl Display) -> Verdict {
    match outcome.went(&operation)? {
        Outcome::Conflict => Ok(()),
        Outcome::Saved(_) => Err(format!("{operation}: expected a conflict, found it saved")),
    }
}

/// An error of the kind that `is_it` knows.
pub(super) fn refused<T: Debug>(
    result: Result<T>,
    is_it: impl Fn(&ErrorKind) -> bool,
    kind: &str,
    operation: impl Display,
) -> Verdict {
    match result {
        Ok(done) => Err(format!("{operation}: expected the error {kind}, found {}", shown(&done))),
        Err(error) => {
            demand!(
                is_it(error.kind()),
                "{operation}: expected the error {kind}, found another: {error}"
            );
            Ok(())
        }
    }
}
