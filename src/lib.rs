//! One ordinary file that keeps every visitor's session: JSON state by session
//! id, shared by any number of processes at once, safe through kill -9 and power
//! cuts, with no server and no second file beside it.
//!
//! [`Container`] keeps JSON: any type that serde can write, or JSON text.
//! [`ByteContainer`] below it keeps bytes.
//!
//! ```
//! use cloakroom::{Change, Container, Options};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Default)]
//! struct Cart {
//!     items: Vec<String>,
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("sessions.room");
//! let sessions = Container::create(&path, Options::new())?;
//! sessions.update("visitor-1", |session| {
//!     let mut cart: Cart = session.map(|session| session.value).unwrap_or_default();
//!     cart.items.push("umbrella".into());
//!     Change::Save(cart)
//! })?;
//! let cart: Cart = sessions.load("visitor-1")?.unwrap().value;
//! assert_eq!(cart.items, ["umbrella"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The layers, from the top: each uses only those below it.
#[cfg(feature = "testing")]
pub mod testing;

pub mod session;

mod json;

mod id;

mod container;

pub mod storage;

mod error;

pub mod format;

/// The rules of the protocol, for tests that break them.
#[cfg(feature = "sabotage")]
pub use container::rules;
pub use container::{
    Archive, ByteContainer, Change, Durability, Finding, Guard, Info, MapPolicy, Options, Outcome,
    Properties, Report, Rotated, Session, Sessions, SweepEnd, SweepPolicy, Swept, Timeouts, Times,
    Updated, Version,
};
pub use error::{
    Awaited, Damage, DamageKind, Error, ErrorKind, Newer, NotAContainer, ReadOnly, Result,
};
pub use format::IdForm;
pub use id::{NotASessionId, SessionId};
pub use json::{Container, Text};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
