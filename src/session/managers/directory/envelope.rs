//! What is in a session's file: one JSON object with the value and what is kept beside it.
//!
//! It has a format number, and exactly the members that this format has; whatever is not
//! that is no session. Numbers are read as what they may be and lead to no allocation; a
//! value is taken apart only by whoever wants it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::super::life::Life;
use crate::json;
use crate::{
    DamageKind, Error, ErrorKind, Newer, Properties, Result, Session, Timeouts, Times, Version,
};

/// The number of the format that is described here.
const FORMAT: u32 = 1;
const FORMAT_MEMBER: &str = "cloakroom_session";
/// Format, version, three times, timeouts and value.
const MEMBERS: usize = 7;

/// More than anything beside the value takes, in bytes.
pub(super) const LEN_MAX: usize = 4096;

/// A session as its file has it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) life: Life,
    /// The value, as JSON.
    pub(super) text: String,
}

/// What has the name of a session's file and is none.
pub(super) fn no_session() -> Error {
    Error::damaged(0, DamageKind::SessionFile)
}

impl Kept {
    pub(super) fn encode(&self) -> String {
        let Life { times, properties, version } = &self.life;
        let Times { created_ms, saved_ms, deadline_ms } = times;
        let or_null = |ms: Option<u64>| ms.map_or("null".to_owned(), |ms| ms.to_string());
        let ms = |timeout: Option<Duration>| or_null(timeout.map(|time| time.as_millis() as u64));
        let timeouts = properties.own_timeouts().map_or("null".to_owned(), |own| {
            let (idle, absolute) = (ms(own.idle_timeout()), ms(own.absolute_timeout()));
            format!("{{\"idle_ms\":{idle},\"absolute_ms\":{absolute}}}")
        });
        format!(
            "{{\"{FORMAT_MEMBER}\":{FORMAT},\"version\":\"{version}\",\
             \"created_ms\":{created_ms},\"saved_ms\":{saved_ms},\"deadline_ms\":{},\
             \"timeouts\":{timeouts},\"value\":{}}}\n",
            or_null(*deadline_ms),
            self.text
        )
    }

    /// # Errors
    /// [`ErrorKind::Damaged`] for what is no session, [`ErrorKind::Newer`] for one of a later
    /// format.
    pub(super) fn decode(bytes: &[u8]) -> Result<Kept> {
        let members: BTreeMap<&str, &RawValue> =
            serde_json::from_slice(bytes).map_err(|_| no_session())?;
        let format: u32 = member(&members, FORMAT_MEMBER)?;
        if format > FORMAT {
            return Err(ErrorKind::Newer { found: Newer::Version(format) }.into());
        }
        if format != FORMAT || members.len() != MEMBERS {
            return Err(no_session());
        }
        let version: String = member(&members, "version")?;
        let times = Times {
            created_ms: member(&members, "created_ms")?,
            saved_ms: member(&members, "saved_ms")?,
            deadline_ms: member(&members, "deadline_ms")?,
        };
        let life = Life {
            times,
            properties: properties(member(&members, "timeouts")?)?,
            version: version.parse::<Version>().map_err(|_| no_session())?,
        };
        let text = members.get("value").ok_or_else(no_session)?.get().to_owned();
        Ok(Kept { life, text })
    }

    pub(super) fn session(self) -> Result<Session<Value>> {
        let value = json::value_of(self.text.as_bytes()).map_err(|_| no_session())?;
        Ok(self.life.session(value))
    }
}

fn member<T: DeserializeOwned>(members: &BTreeMap<&str, &RawValue>, name: &str) -> Result<T> {
    let raw = members.get(name).ok_or_else(no_session)?;
    serde_json::from_str(raw.get()).map_err(|_| no_session())
}

fn properties(own: Option<BTreeMap<String, Option<u64>>>) -> Result<Properties> {
    let Some(own) = own else { return Ok(Properties::new()) };
    let (Some(idle_ms), Some(absolute_ms), 2) =
        (own.get("idle_ms"), own.get("absolute_ms"), own.len())
    else {
        return Err(no_session());
    };
    let mut timeouts = Timeouts::NONE;
    if let Some(ms) = idle_ms {
        timeouts = timeouts.idle(Duration::from_millis(*ms));
    }
    if let Some(ms) = absolute_ms {
        timeouts = timeouts.absolute(Duration::from_millis(*ms));
    }
    Ok(Properties::new().timeouts(timeouts))
}
