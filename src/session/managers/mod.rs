//! The managers that come along, and the names by which a configuration finds them.

pub(super) mod container;
mod cpdo;
pub(super) mod directory;
pub(super) mod memory;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;

use super::{SessionManager, Settings};
use crate::Result;

type Factory = fn(Settings<'_>) -> Result<Box<dyn SessionManager>>;

/// Names of each driver, the first being its own and the others those that cson had.
pub(super) const DRIVERS: &[(&[&str], Factory)] = &[
    (&["container", "whio_ht", "whio_epfs"], container::open),
    (&["directory", "file"], directory::open),
    (&["memory"], memory::open),
    (&["cpdo"], cpdo::open),
    #[cfg(feature = "sqlite")]
    (&["sqlite"], sqlite::open),
];
