//! What the tool's `dump` prints of a container that holds anything.
//!
//! Nothing that a terminal obeys may be printed, and what was printed must come back as
//! the same sessions.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use cloakroom::{Properties, Timeouts, Times};
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

#[derive(Arbitrary, Debug)]
struct Item<'a> {
    id: &'a [u8],
    value: Value<'a>,
    times: (u64, u64, Option<u64>),
    /// Timeouts of its own.
    own: Option<(Option<u64>, Option<u64>)>,
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Bytes(&'a [u8]),
    /// JSON, if all goes well: a string of this text.
    Text(&'a str),
}

fuzz_target!(|items: Vec<Item<'_>>| {
    let container = tool::container();
    for Item { id, value, times, own } in items.iter().take(20) {
        let text;
        let value = match value {
            Value::Bytes(bytes) => *bytes,
            Value::Text(value) => {
                text = serde_json::to_string(value).expect("text");
                text.as_bytes()
            }
        };
        let (created_ms, saved_ms, deadline_ms) = *times;
        let times = Times { created_ms, saved_ms, deadline_ms };
        let mut properties = Properties::new();
        if let Some(own) = own {
            let ms = |ms: &Option<u64>| ms.map(Duration::from_millis);
            let timeouts = ms(&own.0).map_or(Timeouts::NONE, |idle| Timeouts::NONE.idle(idle));
            let timeouts = ms(&own.1).map_or(timeouts, |absolute| timeouts.absolute(absolute));
            properties = properties.timeouts(timeouts);
        }
        let _ = container.restore(id, value, times, &properties);
    }
    tool::again(&container);
});
