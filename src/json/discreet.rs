//! What is left of an error of serde's when all that it may quote is taken out.
//!
//! serde's messages are sentences of a few forms, such as `invalid type: string
//! "hunter2", expected u64`. What was found may be of the value, and a name of a field
//! may hold anything, this very sentence included; what was expected is of the type.
//! So only what is known to be no quotation is kept: one of the words below, what
//! stands behind the last `, expected ` of a sentence that must end with it, and the
//! place. A sentence of any other form is left out as a whole.

use serde::de::Error as _;

/// How the sentences begin that end with what was expected.
const BEGINNINGS: &[&str] =
    &["invalid type: ", "invalid value: ", "invalid length ", "unknown field ", "unknown variant "];

/// How those end that have nothing to expect.
const NOTHING_EXPECTED: &[&str] = &["`, there are no fields", "`, there are no variants"];

/// What may have been found, without the quotation.
const KINDS: &[&str] = &[
    "boolean",
    "byte array",
    "character",
    "enum",
    "floating point",
    "integer",
    "map",
    "newtype struct",
    "newtype variant",
    "null",
    "number",
    "Option value",
    "sequence",
    "string",
    "struct variant",
    "tuple variant",
    "unit value",
    "unit variant",
];

/// What is nested deeper than can be loaded again: a sentence of our own, which quotes nothing.
pub(super) const TOO_DEEP: &str = "nested deeper than 127 levels";

/// The error without what it quotes of the value.
pub(super) fn discreet(error: serde_json::Error) -> serde_json::Error {
    if !error.is_data() {
        return error;
    }
    let message = error.to_string();
    let place = match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    };
    let sentence = message.strip_suffix(&place).unwrap_or_default();
    let kept = if sentence == TOO_DEEP { Some(sentence.to_owned()) } else { kept(sentence) };
    let kept = kept.unwrap_or_else(|| "the value does not fit its type".to_owned());
    // The error finds its line and column in the text.
    serde_json::Error::custom(kept + &place)
}

fn kept(sentence: &str) -> Option<String> {
    for beginning in ["missing field `", "duplicate field `"] {
        // These names are of the type.
        let name = sentence.strip_prefix(beginning).and_then(|rest| rest.strip_suffix('`'));
        if name.is_some_and(|name| !name.contains('`')) {
            return Some(sentence.to_owned());
        }
    }
    let beginning = BEGINNINGS.iter().find(|beginning| sentence.starts_with(**beginning))?;
    let subject = beginning.trim_end_matches([':', ' ']);
    if let Some(end) = NOTHING_EXPECTED.iter().find(|end| sentence.ends_with(**end)) {
        return Some(format!("{subject}{}", end.trim_start_matches('`')));
    }
    let (found, expected) = sentence.strip_prefix(beginning)?.rsplit_once(", expected ")?;
    let is_of = |kind: &&&str| found.strip_prefix(**kind).is_some_and(ends_or_quotes);
    Some(match KINDS.iter().find(is_of) {
        Some(kind) if beginning.ends_with(": ") => {
            format!("{subject}: {kind}, expected {expected}")
        }
        _ => format!("{subject}, expected {expected}"),
    })
}

fn ends_or_quotes(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(" `") || rest.starts_with(" \"")
}
