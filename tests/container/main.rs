//! The container as applications use it: through the public API, on a real
//! file, in memory and on the simulated disk.
//!
//! Each test reads as a sentence. A container that a test leaves behind is
//! checked when its fixture is dropped, and its directory must hold nothing
//! else. Tests that need other processes run this binary again in a role.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod behaviour;
mod damage;
mod deadlines;
mod faults;
mod fixture;
mod forged;
mod full;
mod growth;
mod guards;
mod ids;
mod iteration;
mod kills;
mod model;
mod options;
mod permissions;
mod processes;
mod refused;
mod replaced;
mod role;
mod rotating;
mod sizes;
mod sweeping;
mod threads;
mod ticking;
mod timeouts;
#[path = "../outside/wrapped.rs"]
mod wrapped;
