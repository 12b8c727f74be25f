//! Whether a session manager keeps its word: a suite of checks for any implementation of
//! [`SessionManager`], of this crate or of a stranger.
//!
//! It is behind the feature `testing`. A test of one's own gives it a directory and says how
//! the manager is opened; the name is the test's own, with its modules, as `cargo test`
//! prints it:
//!
//! ```
//! use std::path::Path;
//!
//! use cloakroom::session::{self, SessionManager};
//! use cloakroom::testing::{Opening, Suite};
//! use serde_json::json;
//!
//! fn open_my_manager(_directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
//!     // A manager that keeps its sessions somewhere keeps them in the directory.
//!     let mut options = opening.options();
//!     options.insert("sessionDriver".to_owned(), json!("memory"));
//!     let managers = json!({ "mine": options });
//!     let configuration = json!({ "session": { "manager": "mine", "managers": managers } });
//!     session::open(&configuration).expect("it opens").manager
//! }
//!
//! // #[test]
//! fn my_manager_keeps_its_word() {
//!     let dir = tempfile::tempdir().unwrap();
//!     Suite::new("my_manager_keeps_its_word", dir.path(), open_my_manager).run();
//! }
//! # my_manager_keeps_its_word();
//! ```
//!
//! Each check opens the manager in a directory of its own below that one: what is opened in
//! the same directory has the same sessions, where the manager has
//! [`Capability::Kills`] or [`Capability::Processes`], and a new directory has none.
//! A check that needs a capability which the manager does not have is not run, and the
//! report says so. Where the manager has `Processes` or `Kills`, the suite starts the
//! test's binary again, with the arguments `NAME --exact`; there [`Suite::run`] plays a
//! part of a check and ends the process. So there is one suite in a test, and nothing before
//! it that must not be done twice.
//!
//! What no test of this kind can see: power cuts ([`Capability::PowerCuts`]) and costs
//! ([`Capability::CheapSweep`]).

mod child;
mod crashes;
mod expect;
mod expiry;
mod guards;
mod ids;
mod many;
mod opening;
mod operations;
mod processes;
mod properties;
mod races;
mod removed;
mod report;
mod rotation;
mod stage;
mod sweeping;
mod values;

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::session::{Capabilities, Capability, SessionManager};
use report::Fate;
use stage::{Check, Setting, Stage};

pub use opening::Opening;
pub use report::Report;

const SESSIONS: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);

const THEMES: &[&[Check]] = &[
    operations::CHECKS,
    properties::CHECKS,
    values::CHECKS,
    ids::CHECKS,
    expiry::CHECKS,
    sweeping::CHECKS,
    removed::CHECKS,
    races::CHECKS,
    guards::CHECKS,
    rotation::CHECKS,
    processes::CHECKS,
    crashes::CHECKS,
    many::CHECKS,
];

/// What a manager may claim and the suite cannot see.
const UNSEEN: [(&str, Capability, &str); 2] = [
    (
        "claims: what was synced outlives a power cut",
        Capability::PowerCuts,
        "it is claimed; the suite cannot cut the power",
    ),
    (
        "claims: a sweep costs what has expired",
        Capability::CheapSweep,
        "it is claimed; the suite measures no costs",
    ),
];

/// The checks, and the manager that they are made on.
///
/// ```
/// # use cloakroom::{session::MemoryManager, testing::Suite};
/// # let dir = tempfile::tempdir()?;
/// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
/// suite.only("removed").run();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Suite {
    directory: PathBuf,
    setting: Setting,
    /// What the names of the checks begin with.
    only: String,
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { test, sessions, patience, .. } = &self.setting;
        f.debug_struct("Suite")
            .field("test", test)
            .field("directory", &self.directory)
            .field("sessions", sessions)
            .field("patience", patience)
            .field("only", &self.only)
            .finish()
    }
}

impl Suite {
    /// The suite of the test with this name. `opener` opens a manager in a directory that is
    /// there; it may panic where it cannot.
    pub fn new(
        test: &str,
        directory: impl AsRef<Path>,
        opener: impl Fn(&Path, &Opening) -> Box<dyn SessionManager> + Send + Sync + 'static,
    ) -> Suite {
        let setting = Setting {
            test: test.to_owned(),
            opener: Arc::new(opener),
            sessions: SESSIONS,
            patience: PATIENCE,
        };
        Suite { directory: directory.as_ref().to_owned(), setting, only: String::new() }
    }

    /// The same with so many sessions where there are many; 10 000, where nothing is said.
    ///
    /// ```
    /// # use cloakroom::{session::MemoryManager, testing::Suite};
    /// # let dir = tempfile::tempdir()?;
    /// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
    /// suite.sessions(100_000).only("many").run();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sessions(mut self, sessions: u64) -> Suite {
        self.setting.sessions = sessions;
        self
    }

    /// The same with another time that a further process may take, or a wait for somebody
    /// who was killed, before it counts as hanging; half a minute, where nothing is said.
    ///
    /// ```
    /// # use cloakroom::{session::MemoryManager, testing::Suite};
    /// # use std::time::Duration;
    /// # let dir = tempfile::tempdir()?;
    /// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
    /// suite.patience(Duration::from_secs(300)).only("guards").run();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn patience(mut self, patience: Duration) -> Suite {
        self.setting.patience = patience;
        self
    }

    /// The same with only those checks whose names begin so: one check, or a theme as
    /// `expiry`.
    ///
    /// ```
    /// # use cloakroom::{session::MemoryManager, testing::Suite};
    /// # let dir = tempfile::tempdir()?;
    /// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
    /// let report = suite.only("values").check();
    /// assert!(report.passed().all(|check| check.starts_with("values: ")), "{report}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn only(mut self, beginning: &str) -> Suite {
        self.only = beginning.to_owned();
        self
    }

    /// Makes all checks. What was not run is written to standard error, whatever becomes of
    /// what a test prints.
    ///
    /// # Panics
    /// If a check failed, with the sentences of all that did.
    ///
    /// ```should_panic
    /// # use cloakroom::{session::MemoryManager, testing::Suite};
    /// # let dir = tempfile::tempdir().unwrap();
    /// // It does not ask what the suite wants of the manager.
    /// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
    /// suite.only("expiry").run();
    /// ```
    pub fn run(self) {
        let test = self.setting.test.clone();
        let report = self.check();
        let text = format!("{test}: {report}\n");
        // Not by `eprintln`, which the harness of a test that passes keeps to itself.
        let _ = std::io::stderr().write_all(text.as_bytes());
        assert!(report.failed().next().is_none(), "{text}");
    }

    /// Makes all checks, and tells what became of each.
    ///
    /// ```
    /// # use cloakroom::{session::MemoryManager, testing::Suite};
    /// # let dir = tempfile::tempdir()?;
    /// let suite = Suite::new("the_test", dir.path(), |_, _| Box::new(MemoryManager::new()));
    /// let report = suite.only("expiry").check();
    /// let (check, sentence) = report.failed().next().expect("it has no timeouts");
    /// assert!(check.starts_with("expiry: ") && sentence.contains("expected"), "{report}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn check(self) -> Report {
        if let Some(part) = child::part() {
            // The test has made it anew for this process, which ends without its end.
            let _ = fs::remove_dir(&self.directory);
            child::play(&part, self.setting);
        }
        let chosen = |name: &str| name.starts_with(&self.only);
        let mut report = Report::default();
        let checks = || THEMES.iter().copied().flatten().filter(|check| chosen(check.name));
        let stage = |number| self.stage(number);
        let capabilities = match stage(0).and_then(|stage| capabilities(&stage)) {
            Ok(capabilities) => capabilities,
            Err(sentence) => {
                report.fates.push(("operations: it opens", Fate::Failed(sentence)));
                return report;
            }
        };
        for (check, number) in checks().zip(1..) {
            let missing = check.needs.iter().find(|need| !capabilities.has(**need));
            let fate = match missing {
                Some(missing) => Fate::NotRun(format!("it does not have: {missing}")),
                None => match stage(number).and_then(|stage| stage.run(check)) {
                    Ok(()) => Fate::Passed,
                    Err(sentence) => Fate::Failed(sentence),
                },
            };
            report.fates.push((check.name, fate));
        }
        for (claim, capability, why) in UNSEEN {
            if chosen(claim) && capabilities.has(capability) {
                report.fates.push((claim, Fate::NotRun(why.to_owned())));
            }
        }
        report
    }

    /// A directory of its own for a check.
    fn stage(&self, number: usize) -> expect::Verdict<Stage> {
        let directory = self.directory.join(format!("check-{number}"));
        fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot make a directory for a check: {error}"))?;
        Ok(Stage { setting: self.setting.clone(), directory })
    }
}

/// What the manager says that it can do. A manager that cannot be opened is a failure.
fn capabilities(stage: &Stage) -> expect::Verdict<Capabilities> {
    let open = std::panic::AssertUnwindSafe(|| stage.open().capabilities());
    std::panic::catch_unwind(open).map_err(|panic| stage::panicked(panic.as_ref()))
}
