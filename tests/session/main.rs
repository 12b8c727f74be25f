//! Session managers, chosen by name and told by a JSON configuration.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod configuration;
mod directory;
mod kept;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "testing")]
mod suite;
#[cfg(feature = "testing")]
mod wrong;
