//! What makes strangers' bytes fit to be printed, and printed JSON one line.
//!
//! A character is hidden if a terminal obeys it instead of showing it: the
//! controls of ASCII and Latin-1, DEL, line separators, and the marks that turn
//! the direction of writing (they make a line read as something it is not).
//! Nothing here may let one through, and nothing may change what JSON means.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Whether a terminal obeys this character instead of showing it.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// The text with every hidden character as `\u{9b}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |to, c| to.extend(c.escape_unicode()))
}

/// The JSON text with every hidden character as `\u009b`, except line ends
/// between tokens. Tabs there become spaces, and carriage returns nothing: a
/// terminal would write the rest of the line over what it has shown.
pub(crate) fn visible_json(json: &str) -> Cow<'_, str> {
    let is_hidden = |c| c != '\n' && is_hidden(c);
    escaped(json, is_hidden, |to, c| match c {
        '\t' => to.push(' '),
        '\r' => {}
        _ => to.push_str(&format!("\\u{:04x}", u32::from(c))),
    })
}

/// An id for people: as [`visible`], with the bytes that are no UTF-8 as `\xff`
/// and backslashes doubled, so that no two ids look the same.
pub(crate) fn visible_id(id: &[u8]) -> String {
    let mut shown = String::with_capacity(id.len());
    for chunk in id.utf8_chunks() {
        shown.push_str(&visible(&chunk.valid().replace('\\', "\\\\")));
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

fn escaped(
    text: &str,
    is_hidden: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            escape(&mut escaped, c);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The bytes as text, if they are JSON.
pub(crate) fn json_of(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(text)
}

/// The same JSON without whitespace between tokens, hence on one line.
pub(crate) fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let mut in_string = false;
    let mut after_backslash = false;
    for c in json.chars() {
        if in_string {
            in_string = after_backslash || c != '"';
            after_backslash = !after_backslash && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        compact.push(c);
    }
    compact
}

/// The same JSON with hidden characters in place of the escapes that
/// [`visible_json`] made of them. So a value is never longer when it is restored
/// than it was when it was dumped, and a dump can always be restored.
pub(crate) fn unescaped(json: &str) -> String {
    let mut unescaped = String::with_capacity(json.len());
    let mut rest = json;
    // In JSON a backslash stands in strings only, and with the character after
    // it makes an escape.
    while let Some((before, escape)) = rest.split_once('\\') {
        unescaped.push_str(before);
        if let Some((c, after)) = hidden_escape(escape) {
            unescaped.push(c);
            rest = after;
        } else {
            let length = escape.chars().next().map_or(0, char::len_utf8);
            let (first, after) = escape.split_at(length);
            unescaped.push('\\');
            unescaped.push_str(first);
            rest = after;
        }
    }
    unescaped.push_str(rest);
    unescaped
}

/// The hidden character of `u009b...`, and what follows. JSON strings may not
/// hold the controls of ASCII themselves: their escapes stay.
fn hidden_escape(escape: &str) -> Option<(char, &str)> {
    let digits = escape.strip_prefix('u')?;
    let (digits, after) = digits.split_at_checked(4)?;
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    (is_hidden(c) && c >= '\x7f').then_some((c, after))
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(nibble.into(), 16));
        }
    }
    digits
}

/// The bytes of [`hex`]; `None` for anything else.
pub(crate) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).map(|nibble| nibble as u8);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        for code in 0..=0x10_ffff {
            let Some(c) = char::from_u32(code) else {
                continue;
            };
            let obeyed = code < 0x20
                || (0x7f..0xa0).contains(&code)
                || [0x61c, 0x200e, 0x200f, 0x2028, 0x2029].contains(&code)
                || (0x202a..=0x202e).contains(&code)
                || (0x2066..=0x2069).contains(&code);
            let shown = visible(c.encode_utf8(&mut [0; 4])).into_owned();
            assert_eq!(shown.contains(c), !obeyed, "{code:x}");
            assert!(obeyed == shown.starts_with("\\u{"), "{code:x}");
            assert_eq!(visible_json(&format!("\"{c}\"")).contains(c), !obeyed || c == '\n');
        }
    }

    #[test]
    fn no_two_ids_look_the_same() {
        assert_eq!(visible_id(b"a\xffb\x1b[31m"), "a\\xffb\\u{1b}[31m");
        assert_eq!(visible_id(b"a\\xff"), "a\\\\xff");
        assert_eq!(visible_id("k\u{e4}se \u{202e}x".as_bytes()), "k\u{e4}se \\u{202e}x");
    }

    #[test]
    fn compact_json_keeps_its_strings() {
        let cases = [
            (" { \"a\" : [ 1 ,\r\n\t2 ] } ", "{\"a\":[1,2]}"),
            ("\" a \\\" b \\\\\" ", "\" a \\\" b \\\\\""),
            ("[\"\\\\\", \" \"]", "[\"\\\\\",\" \"]"),
            ("1", "1"),
        ];
        for (wide, narrow) in cases {
            assert_eq!(compact(wide), narrow);
        }
    }

    #[test]
    fn escapes_of_hidden_characters_come_and_go() {
        let raw = "{\"\u{7f}\u{9b}\":\"\u{202e}\\u001b \\\\u009b \u{e4} \\n\"}";
        let shown = visible_json(raw);
        let expected = "{\"\\u007f\\u009b\":\"\\u202e\\u001b \\\\u009b \u{e4} \\n\"}";
        assert_eq!(shown, expected);
        assert_eq!(unescaped(&shown), raw);
        assert_eq!(unescaped("\"\\u007F\\ud800\\u00e4\\u12\""), "\"\u{7f}\\ud800\\u00e4\\u12\"");
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        assert_eq!(hex(b"\x00\xffz"), "00ff7a");
        assert_eq!(unhex(b"00FF7a").as_deref(), Some(&b"\x00\xffz"[..]));
        assert_eq!(unhex(b"").as_deref(), Some(&b""[..]));
        for wrong in [&b"0"[..], b"0g", b"+1", b" 1"] {
            assert_eq!(unhex(wrong), None);
        }
    }
}
