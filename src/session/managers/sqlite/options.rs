//! What a configuration says of a session table in SQLite, read as a whole before any file is
//! touched.

use std::path::PathBuf;
use std::time::Duration;

use super::super::super::Settings;
use super::super::super::life::Customs;
use super::names::Names;
use crate::{Error, Result};

/// Longest wait for another writer, in milliseconds: a day, and what is usual.
const BUSY_MS_MAX: u64 = 24 * 60 * 60 * 1000;
const BUSY_MS: u64 = 5000;

/// How SQLite makes a change whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Journal {
    Wal,
    Delete,
}

impl Journal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Journal::Wal => "wal",
            Journal::Delete => "delete",
        }
    }

    /// What SQLite has to be told so that nothing that was saved is lost in a power cut.
    pub(super) fn durable(self) -> &'static str {
        match self {
            Journal::Wal => "FULL",
            // Else the journal may be back, and undo the change.
            Journal::Delete => "EXTRA",
        }
    }
}

/// What a power cut may undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Safety {
    Durable,
    System,
    Never,
}

/// Whether what is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    IsMade,
    IsAnError,
}

/// All that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// The manager's name, for errors.
    pub(super) manager: String,
    /// Absolute: so no name means a database in memory, or an address.
    pub(super) path: PathBuf,
    /// The file as errors name it, where they may.
    pub(super) told_path: Option<PathBuf>,
    pub(super) names: Names,
    pub(super) missing: Missing,
    pub(super) journal: Journal,
    pub(super) safety: Safety,
    pub(super) patience: Duration,
    pub(super) customs: Customs,
}

impl Chosen {
    /// Reads all options but those that name the file. The path is not shown in errors.
    pub(super) fn read(
        settings: &mut Settings<'_>,
        file: &str,
        usual_table: &str,
    ) -> Result<Chosen> {
        let names = Names::read(settings, usual_table)?;
        let create = settings.switch("create")?.unwrap_or(true);
        let journals = [("wal", Journal::Wal), ("delete", Journal::Delete)];
        let safeties =
            [("durable", Safety::Durable), ("system", Safety::System), ("never", Safety::Never)];
        let busy_ms = settings.number("busyTimeoutMs", 0..=BUSY_MS_MAX)?.unwrap_or(BUSY_MS);
        Ok(Chosen {
            manager: settings.manager().to_owned(),
            path: std::path::absolute(file)
                .map_err(|error| Error::io("open the database", error))?,
            told_path: None,
            names,
            missing: if create { Missing::IsMade } else { Missing::IsAnError },
            journal: settings.choice("journal", &journals)?.unwrap_or(Journal::Wal),
            safety: settings.choice("durability", &safeties)?.unwrap_or(Safety::System),
            patience: Duration::from_millis(busy_ms),
            customs: Customs::read(settings)?,
        })
    }

    /// The value of SQLite's `synchronous`.
    pub(super) fn synchronous(&self) -> &'static str {
        match self.safety {
            Safety::Durable => self.journal.durable(),
            Safety::System => "NORMAL",
            Safety::Never => "OFF",
        }
    }
}
