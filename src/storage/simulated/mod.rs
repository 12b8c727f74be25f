//! A simulated disk on which processes can be killed and the power be cut.
//!
//! [`SimulatedDisk`] holds one file: the page cache that all processes see, and
//! for every 64-byte line what the disk below may hold. [`SimulatedStorage`] is
//! one open of that file by one logical process. Every call asks a hook first,
//! so that a test can switch to another process there, kill one or cut the power.
//!
//! Same seed and same calls, same run: nothing here may read a real clock, a real
//! random number or anything that depends on an address. A dead process must
//! never have an effect again, whatever its destructors do.

mod disk;
mod hook;
mod medium;
mod rng;
mod storage;
#[cfg(test)]
mod tests;
mod world;

pub use disk::SimulatedDisk;
pub use hook::{Call, Failing, Hook, Operation, Verdict};
pub use medium::{CutPolicy, LENGTH};
pub use rng::SimulatedRng;
pub use storage::SimulatedStorage;
pub use world::{ProcessId, Snapshot};
