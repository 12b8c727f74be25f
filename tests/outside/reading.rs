//! Reading a session that describes itself.

use cloakroom::{ByteContainer, Result};

use crate::ledger::Reading;
use crate::value::{self, FAR_MS};

/// A session as it reads, or what is wrong with its value.
pub(crate) fn read(
    container: &ByteContainer,
    key: u16,
) -> Result<std::result::Result<Option<Reading>, String>> {
    let Some(session) = container.load(value::id(key))? else {
        return Ok(Ok(None));
    };
    let touch = session.times.deadline_ms.map_or(0, |deadline_ms| deadline_ms - FAR_MS);
    let number = value::number_of(key, &session.value);
    Ok(number.map(|number| Some(Reading { number, touch: touch as u32 })))
}
