//! What a run of the suite found.

use std::fmt;

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    /// A sentence: the operation, what was expected, and what was found.
    Failed(String),
    /// Why.
    NotRun(String),
}

/// What became of each check.
///
/// ```
/// # use cloakroom::{session::MemoryManager, testing::Suite};
/// # let dir = tempfile::tempdir()?;
/// let suite = Suite::new("it", dir.path(), |_, _| Box::new(MemoryManager::new()));
/// let report = suite.only("crashes").check();
/// assert_eq!((report.passed().count(), report.failed().count()), (0, 0));
/// let (check, why) = report.not_run().next().expect("nothing in memory outlives a crash");
/// assert!(check.starts_with("crashes: ") && why.contains("outlive their process"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub(super) fates: Vec<(&'static str, Fate)>,
}

impl Report {
    /// The names of the checks that passed.
    pub fn passed(&self) -> impl Iterator<Item = &'static str> {
        self.fates.iter().filter(|(_, fate)| *fate == Fate::Passed).map(|(check, _)| *check)
    }

    /// The checks that failed: their names, and what was expected and found.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fates.iter().filter_map(|(check, fate)| match fate {
            Fate::Failed(what) => Some((*check, what.as_str())),
            _ => None,
        })
    }

    /// The checks that were not run, and why. What these are about is not known to hold.
    pub fn not_run(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fates.iter().filter_map(|(check, fate)| match fate {
            Fate::NotRun(why) => Some((*check, why.as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, not_run) = (self.failed().count(), self.not_run().count());
        let passed = self.passed().count();
        write!(f, "{passed} checks passed, {failed} failed, {not_run} were not run")?;
        for (check, what) in self.failed() {
            write!(f, "\n  FAILED   {check}\n           {what}")?;
        }
        for (check, why) in self.not_run() {
            write!(f, "\n  not run  {check}\n           {why}")?;
        }
        Ok(())
    }
}
