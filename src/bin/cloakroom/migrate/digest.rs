//! What two stores are compared by: a digest of each session, and the sum of them, in which
//! order does not count.
//!
//! A session's digest is the SHA-256 of its id as it is kept, its value, its times and its
//! timeouts: every part with its kind and its length, objects by their keys. So the same
//! session has the same digest in every manager, however that writes JSON. Digests of a store
//! are added as numbers, modulo 2^256.

use std::fmt;
use std::time::Duration;

use cloakroom::{Session, Timeouts};
use hmac_sha256::Hash;
use serde_json::Value;

/// The digest of a session, or of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of_id(kept_id: &str) -> Digest {
        Digest(Hash::hash(kept_id.as_bytes()))
    }

    pub(super) fn of_session(kept_id: &str, session: &Session<Value>) -> Digest {
        let mut parts = Parts(Hash::new());
        parts.text(b'i', kept_id);
        let times = session.times;
        parts.number(b'c', times.created_ms);
        parts.number(b's', times.saved_ms);
        parts.optional(b'd', times.deadline_ms);
        if let Some(own) = session.properties.own_timeouts() {
            parts.timeouts(own);
        }
        parts.value(&session.value);
        Digest(parts.0.finalize())
    }

    /// The beginning of it: enough to tell whether something is what it was.
    pub(super) fn short(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

struct Parts(Hash);

impl Parts {
    fn number(&mut self, kind: u8, number: u64) {
        self.0.update([kind]);
        self.0.update(number.to_le_bytes());
    }

    fn optional(&mut self, kind: u8, number: Option<u64>) {
        match number {
            Some(number) => self.number(kind, number),
            None => self.0.update([kind.to_ascii_uppercase()]),
        }
    }

    fn text(&mut self, kind: u8, text: &str) {
        self.number(kind, text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn timeouts(&mut self, timeouts: Timeouts) {
        let ms = |timeout: Duration| timeout.as_millis() as u64;
        self.optional(b'l', timeouts.idle_timeout().map(ms));
        self.optional(b'b', timeouts.absolute_timeout().map(ms));
    }

    /// As deep as a value is, which has 127 levels at most.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"0"),
            Value::Bool(false) => self.0.update(b"-"),
            Value::Bool(true) => self.0.update(b"+"),
            Value::Number(number) => self.text(b'#', &number.to_string()),
            Value::String(text) => self.text(b'"', text),
            Value::Array(items) => {
                self.number(b'[', items.len() as u64);
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(members) => {
                self.number(b'{', members.len() as u64);
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in members {
                    self.text(b'"', key);
                    self.value(value);
                }
            }
        }
    }
}

/// A sum of digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum([u8; 32]);

impl Sum {
    pub(super) fn add(&mut self, digest: Digest) {
        let mut carry = 0;
        for (to, byte) in self.0.iter_mut().zip(digest.0) {
            let sum = u16::from(*to) + u16::from(byte) + carry;
            *to = sum as u8;
            carry = sum >> 8;
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use cloakroom::{Properties, Times, Version};
    use serde_json::json;

    use super::*;

    fn session(value: Value) -> Session<Value> {
        let times = Times { created_ms: 1, saved_ms: 2, deadline_ms: Some(3) };
        let version = Version::from_bytes([7; 16]);
        Session { value, version, times, properties: Properties::new() }
    }

    #[test]
    fn what_differs_in_anything_has_another_digest() {
        let same = session(json!({"a": [1, 2], "b": "x"}));
        let digest = Digest::of_session("id", &same);
        let other_version = Session { version: Version::from_bytes([8; 16]), ..same.clone() };
        assert_eq!(Digest::of_session("id", &other_version), digest);

        let mut others = vec![("ie", same.clone())];
        for value in [
            json!({"a": [1, 2], "b": "y"}),
            json!({"a": [1, 2.0], "b": "x"}),
            json!({"a": [1], "b": [2, "x"]}),
            json!({"a": [2, 1], "b": "x"}),
            json!({"a": [1, 2], "c": "x"}),
            json!([["a", [1, 2]], ["b", "x"]]),
            json!(null),
            json!(false),
            json!(true),
            json!(""),
            json!([]),
            json!({}),
        ] {
            others.push(("id", session(value)));
        }
        for (created_ms, saved_ms, deadline_ms) in
            [(0, 2, Some(3)), (1, 0, Some(3)), (1, 2, Some(0)), (1, 2, None)]
        {
            let times = Times { created_ms, saved_ms, deadline_ms };
            others.push(("id", Session { times, ..same.clone() }));
        }
        let ms = Duration::from_millis(5);
        for timeouts in [
            Timeouts::NONE,
            Timeouts::NONE.idle(ms),
            Timeouts::NONE.absolute(ms),
            Timeouts::NONE.idle(ms).absolute(ms),
        ] {
            let properties = Properties::new().timeouts(timeouts);
            others.push(("id", Session { properties, ..same.clone() }));
        }
        let digests = others.iter().map(|(id, session)| Digest::of_session(id, session));
        let mut digests: Vec<[u8; 32]> = digests.chain([digest]).map(|digest| digest.0).collect();
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_sum_knows_no_order_and_carries() {
        let (mut one, mut other) = (Sum::default(), Sum::default());
        let digests = [Digest([0xff; 32]), Digest([1; 32]), Digest::of_id("a")];
        digests.iter().for_each(|digest| one.add(*digest));
        digests.iter().rev().for_each(|digest| other.add(*digest));
        assert_eq!(one, other);
        let mut sum = Sum::default();
        let mut small = [0; 32];
        small[0] = 0xff;
        sum.add(Digest(small));
        sum.add(Digest(small));
        assert_eq!(sum.to_string(), format!("{}1fe", "0".repeat(61)));
        small = [0xff; 32];
        sum.add(Digest(small));
        assert_eq!(sum.to_string(), format!("{}1fd", "0".repeat(61)), "modulo 2^256");
    }
}
