//! The managers that come along, and the names by which a configuration finds them.

pub(super) mod container;
pub(super) mod directory;
pub(super) mod memory;

use super::{SessionManager, Settings};
use crate::Result;

type Factory = fn(Settings<'_>) -> Result<Box<dyn SessionManager>>;

/// Names of each driver, the first being its own and the others those that cson had.
pub(super) const DRIVERS: &[(&[&str], Factory)] = &[
    (&["container", "whio_ht", "whio_epfs"], container::open),
    (&["directory", "file"], directory::open),
    (&["memory"], memory::open),
];
