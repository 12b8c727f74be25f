//! What the suite asks of a manager that is opened for one of its checks.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{SweepPolicy, Timeouts};

const MINUTE_MS: u128 = 60_000;

/// How a manager is to be opened for a check.
///
/// ```
/// use cloakroom::testing::Opening;
///
/// let options = Opening::new().options();
/// assert_eq!(serde_json::Value::from(options), serde_json::json!({ "touchPercent": 80 }));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opening {
    /// Timeouts of sessions that have none of their own. They are whole minutes, since that
    /// is what a configuration can say.
    pub timeouts: Timeouts,
    /// Share of the idle time below which a touch is written.
    pub touch_percent: u8,
    /// Longest value, in bytes of JSON; none: 4 MiB.
    pub value_len_max: Option<usize>,
    /// Whether sessions that have expired may be removed without a sweep. A manager that
    /// never does that need not look here.
    pub sweep: SweepPolicy,
}

impl Opening {
    /// That of most checks: no timeouts, and everything else as managers have it where
    /// nothing is said.
    ///
    /// ```
    /// # use cloakroom::testing::Opening;
    /// assert_eq!(Opening::new().value_len_max, None);
    /// ```
    pub fn new() -> Opening {
        Opening {
            timeouts: Timeouts::NONE,
            touch_percent: 80,
            value_len_max: None,
            sweep: SweepPolicy::WithChanges,
        }
    }

    /// Those of the wishes that every manager of this crate has an option for: `idleMinutes`,
    /// `absoluteMinutes`, `touchPercent` and `maxBytes`.
    ///
    /// ```
    /// # use cloakroom::{Timeouts, testing::Opening};
    /// # use std::time::Duration;
    /// let mut opening = Opening::new();
    /// opening.timeouts = Timeouts::NONE.idle(Duration::from_secs(600));
    /// assert_eq!(opening.options()["idleMinutes"], 10);
    /// ```
    pub fn options(&self) -> Map<String, Value> {
        let minutes = |time: Duration| json!((time.as_millis() / MINUTE_MS) as u64);
        let mut options = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("idleMinutes", self.timeouts.idle_timeout().map(minutes));
        add("absoluteMinutes", self.timeouts.absolute_timeout().map(minutes));
        add("touchPercent", Some(self.touch_percent.into()));
        add("maxBytes", self.value_len_max.map(Value::from));
        options
    }
}

impl Default for Opening {
    fn default() -> Opening {
        Opening::new()
    }
}
