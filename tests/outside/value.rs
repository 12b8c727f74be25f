//! Sessions that describe themselves.
//!
//! A value tells its id, the number of the operation that saved it and a
//! checksum, and all of it follows from the id and the number: what is read is
//! one value that was saved once under this id, whole, or it is wrong.

use crate::dice::Dice;

/// Keys from here on are saved once and are small; they make the index grow.
pub(crate) const FRESH: u16 = 1000;

/// Keys from here on count, and many writers share them.
pub(crate) const COUNTERS: u16 = 65_000;

/// The id of a session.
pub(crate) fn id(key: u16) -> String {
    // Some are as long as ids may be.
    let width = if key % 13 == 5 { 240 } else { 1 };
    format!("visitor-{key:0width$}")
}

/// The key of an id.
pub(crate) fn key_of(text: &[u8]) -> Option<u16> {
    let text = str::from_utf8(text).ok()?;
    let key = text.strip_prefix("visitor-")?.parse().ok()?;
    (id(key) == text).then_some(key)
}

/// What the operation of this number saves.
pub(crate) fn value(key: u16, number: u32) -> Vec<u8> {
    let mut dice = Dice::new(u64::from(key) << 32 | u64::from(number));
    let share = dice.below(100);
    let len = match share {
        _ if key >= FRESH => dice.below(300),
        // A few are small but for some that are large, so that loads are short.
        0..98 if key % 20 == 3 => dice.below(250),
        0..60 => dice.below(700),
        60..85 => dice.below(4000),
        85..95 => dice.below(20_000),
        95..98 => dice.below(70_000),
        _ => dice.below(200_000),
    };
    let mut value = format!("{key} {number} ").into_bytes();
    value.reserve(len as usize + 12);
    let end = value.len() + len as usize;
    while value.len() < end {
        value.extend_from_slice(&dice.next().to_le_bytes());
    }
    value.extend_from_slice(&crc32fast::hash(&value).to_le_bytes());
    value
}

/// The number of the operation that saved this under `key`; what is wrong with
/// it if none did.
pub(crate) fn number_of(key: u16, read: &[u8]) -> Result<u32, String> {
    let told = || {
        let mut words = read.split(|byte| *byte == b' ');
        let (key, number) = (words.next()?, words.next()?);
        let key: u16 = str::from_utf8(key).ok()?.parse().ok()?;
        let number: u32 = str::from_utf8(number).ok()?.parse().ok()?;
        Some((key, number))
    };
    let len = read.len();
    match told() {
        None => Err(format!("{len} bytes that tell no key and number")),
        Some((other, number)) if other != key => {
            Err(format!("the value of key {other}, number {number}"))
        }
        Some((_, number)) if value(key, number) == read => Ok(number),
        Some((_, number)) => Err(format!("{len} bytes that are not all of number {number}")),
    }
}

/// The value of a counter, and back.
pub(crate) fn count_of(read: Option<&[u8]>) -> Option<u32> {
    match read {
        None => Some(0),
        Some(bytes) => Some(u32::from_le_bytes(bytes.try_into().ok()?)),
    }
}

/// Deadlines tell the number of the touch: so many milliseconds after this.
pub(crate) const FAR_MS: u64 = 4_102_444_800_000;
