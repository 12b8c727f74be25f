//! Input and output fail, in every way and at every call.
//!
//! `sweep` runs every operation in every state of a container on the simulated
//! disk, counts the storage calls, and begins again for each of them, each way it
//! can fail, once and from then on. `traced` does the same to the release binary
//! from outside, `cut_short` lets the kernel do less than it was asked for.
//!
//! `CLOAKROOM_SEED=n` chooses the states and the power cuts,
//! `CLOAKROOM_SOAK_SECONDS=n` goes on with fresh seeds for so long.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod act;
mod commands;
mod cut_short;
mod faulty;
mod known;
mod run;
mod stage;
mod sweep;
mod tally;
mod traced;
#[path = "../outside/wrapped.rs"]
mod wrapped;
