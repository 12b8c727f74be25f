//! cson's driver for databases: the database is named by a dsn, such as `sqlite3:FILE`.
//!
//! It is here in every build, so that a configuration with another dsn, or for a build
//! without the feature, is told what is wrong with it. What stands in a dsn behind its first
//! colon may be a password: it never gets into an error.

use super::super::{SessionManager, Settings};
use crate::Result;

/// What stands before the colon of a dsn that this build understands.
const DATABASES: &str = if cfg!(feature = "sqlite") {
    "it has sqlite3"
} else {
    "it has none, since it was built without the feature sqlite"
};

pub(super) fn open(mut settings: Settings<'_>) -> Result<Box<dyn SessionManager>> {
    let dsn = settings.required_text("dsn")?;
    match dsn.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite3", "")) => Err(settings.wrong("dsn", "needs a file behind \"sqlite3:\"")),
        #[cfg(feature = "sqlite")]
        Some(("sqlite3", file)) => super::sqlite::open_dsn(settings, file),
        Some(_) => {
            let what =
                format!("asks for a database that this build has no driver for; {DATABASES}");
            Err(settings.wrong("dsn", &what))
        }
        None => Err(settings.wrong("dsn", "has to begin with a database and a colon")),
    }
}
