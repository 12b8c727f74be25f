//! Hostile places: where files lie, what others do to them, and what a process may
//! be like that opens one.
//!
//! Full disks, limits, renamed and removed files, strangers and stopped lock
//! holders are also in `tests/container`. What needs root or a program that is
//! missing prints `not run:` and is no pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod boots;
mod clock;
mod copies;
mod mount;
mod mounts;
mod network;
mod process;
mod role;
mod truncated;
#[path = "../outside/wrapped.rs"]
mod wrapped;

use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

/// No sync, no map.
fn quick() -> Options {
    Options::new().durability(Durability::Never).map(MapPolicy::Never)
}

/// A value that tells its number.
fn bytes(number: u64, len: usize) -> Vec<u8> {
    let start = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len as u64).map(|at| (start.wrapping_mul(at | 1) >> 56) as u8).collect()
}

/// The value of a session that must be there.
fn value(container: &ByteContainer, id: impl AsRef<[u8]>) -> Vec<u8> {
    container.load(id).unwrap().expect("no session").value
}

fn assert_sound(container: &ByteContainer) {
    let report = container.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
}

/// Says so past the capture of the test harness.
fn not_run(what: &str, why: &str) {
    use std::io::Write;
    std::io::stdout().write_all(format!("not run: {what}: {why}\n").as_bytes()).unwrap();
}
