//! Storages that do some calls otherwise than the one below them.
//!
//! A [`Wrapper`] says what it does otherwise; all else is passed on, also what a
//! [`Storage`] need not do, which else would be left out in silence.
//! `tests/tidy.rs` compares the list with the trait's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::storage::{Fill, LockName, Pause, ReadMap, Status, Storage, View};

macro_rules! pass_on {
    ($(fn $call:ident($($name:ident: $kind:ty),*) -> $result:ty;)*) => {
        /// What is done otherwise.
        pub(crate) trait Wrapper: Send + Sync + std::fmt::Debug {
            /// The storage below.
            fn below(&self) -> &dyn Storage;

            $(fn $call(&self, $($name: $kind),*) -> $result {
                self.below().$call($($name),*)
            })*
        }

        impl<W: Wrapper> Storage for Wrapped<W> {
            $(fn $call(&self, $($name: $kind),*) -> $result {
                self.0.$call($($name),*)
            })*
        }
    };
}

/// A wrapper as the storage that it is.
#[derive(Debug)]
pub(crate) struct Wrapped<W>(pub(crate) W);

pass_on! {
    fn status() -> io::Result<Status>;
    fn first_len() -> io::Result<u64>;
    fn read_at(bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(bytes: &[u8], offset: u64) -> io::Result<()>;
    fn extend(from: u64, to: u64, fill: Fill) -> io::Result<()>;
    fn sync() -> io::Result<()>;
    fn map(len: u64) -> io::Result<Option<Arc<dyn ReadMap>>>;
    fn try_lock(lock: LockName) -> io::Result<bool>;
    fn unlock(lock: LockName) -> io::Result<()>;
    fn lock_holder() -> Option<u32>;
    fn reopen() -> io::Result<Option<Box<dyn Storage>>>;
    fn abandon() -> ();
    fn view() -> io::Result<Option<View>>;
    fn is_marked() -> bool;
    fn mark() -> ();
    fn unmark() -> ();
    fn booted_ms() -> u64;
    fn process_id() -> u32;
    fn now_ms() -> u64;
    fn uptime() -> Duration;
    fn pause(pause: Pause) -> ();
    fn random(bytes: &mut [u8]) -> io::Result<()>;
}
