//! What the tool's `restore` makes of any input.
//!
//! A wrong line is refused without a panic; what it took must come back from a dump as
//! the same sessions.

#![no_main]

use std::cell::RefCell;

use cloakroom::ByteContainer;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // Each is used in part here.
#[path = "../../src/bin/cloakroom/escape.rs"]
mod escape;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/output.rs"]
mod output;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/restore.rs"]
mod restore;
mod tool;
#[allow(dead_code)]
#[path = "../../src/bin/cloakroom/units.rs"]
mod units;

pub(crate) use tool::{DONE, Done, Failure};

fuzz_target!(|bytes: &[u8]| {
    // Most inputs are refused, and leave the container as it was.
    thread_local! {
        static KEPT: RefCell<Option<ByteContainer>> = const { RefCell::new(None) };
    }
    let container = KEPT.take().unwrap_or_else(tool::container);
    let mut restored = 0;
    let done = restore::restore(&container, &mut &*bytes, &mut restored);
    if restored == 0 {
        KEPT.set(Some(container));
    } else if done.is_ok() {
        tool::again(&container);
    }
});
