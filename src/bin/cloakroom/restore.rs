//! `restore`: reads what `dump` wrote.
//!
//! Lines come from anywhere: each is checked before its session is saved, a
//! wrong one stops the command with its number, and none may be longer than the
//! longest that `dump` writes. Versions are not restored: a container never
//! gives one out twice.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use cloakroom::{
    ByteContainer, ErrorKind, IdForm, Options, Properties, SweepPolicy, Timeouts, Times,
};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::escape::{unescaped, unhex};
use crate::output::{Object, Output, message};
use crate::units::count;
use crate::{DONE, Done, Failure};

/// Save the sessions of a dump, read from standard input
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container; it must exist
    file: PathBuf,
}

const HELP: &str = "\
Example: cloakroom create NEW && cloakroom restore NEW < backup.ndjson
IDs that are not SHA-256 yet become so in a container that keeps them as that; a dump with SHA-256
cannot go into one that does not.
Sessions that the container has already are replaced. Times are those of the dump, versions new.
A wrong line stops it, and so does damage of the container (exit code 1); the sessions of the
lines before are restored then.
With --json: {\"restored\": NUMBER}";

/// A value of 4 MiB, each byte escaped as \u007f, and the rest of the line.
const LINE_MAX: usize = 25 << 20;

/// Times are kept in 48 bits.
const TIME_MS_END: u64 = 1 << 48;

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    // A dump has ids as they are kept.
    let options = Options::new().kept_ids().sweep(SweepPolicy::OnRequest);
    let container = ByteContainer::open(&args.file, options)?;
    let mut restored = 0;
    let result = restore(&container, &mut io::stdin().lock(), &mut restored);
    // Also when a line was wrong: what was restored is to stay.
    let synced = container.sync();
    result?;
    synced?;
    if out.is_json() {
        out.object(Object::new().number("restored", restored))?;
    } else {
        message(&format!("restored {}", count(restored, "session")));
    }
    Ok(DONE)
}

pub(crate) fn restore(
    container: &ByteContainer,
    input: &mut impl BufRead,
    restored: &mut u64,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        bytes.clear();
        let read = input.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|error| Failure::Stream("read standard input", error))? == 0 {
            break;
        }
        let wrong = |why: &str| Failure::Input(format!("line {number}: {why}"));
        let Some(line) = Line::parse(&bytes).map_err(|why| wrong(&why))? else {
            continue;
        };
        let id = line.id.kept_in(container).map_err(|why| wrong(&why))?;
        container.restore(id, &line.value, line.times, &line.properties).map_err(|error| {
            match error.kind() {
                ErrorKind::InvalidId { .. } | ErrorKind::TooLarge { .. } => {
                    wrong(&error.to_string())
                }
                // No other line would fare better.
                _ => Failure::Container(error),
            }
        })?;
        *restored += 1;
    }
    Ok(())
}

/// An id of a dump.
#[derive(Debug, PartialEq, Eq)]
enum DumpedId {
    /// From a container that keeps ids as they are.
    Plain(Vec<u8>),
    Sha256(String),
}

impl DumpedId {
    /// What the container keeps of it.
    fn kept_in(self, container: &ByteContainer) -> Result<Vec<u8>, String> {
        match (self, container.id_form()) {
            (DumpedId::Plain(id), _) => container.kept_id(id).map_err(|error| error.to_string()),
            (DumpedId::Sha256(digits), IdForm::Sha256) => Ok(digits.into_bytes()),
            (DumpedId::Sha256(_), IdForm::Plain) => {
                Err("an id as SHA-256, for a container that keeps ids as they are".into())
            }
        }
    }
}

/// One line of a dump.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: DumpedId,
    times: Times,
    properties: Properties,
    value: Vec<u8>,
}

impl Line {
    /// `None` for a blank line. Messages do not repeat what the line holds.
    fn parse(bytes: &[u8]) -> Result<Option<Line>, String> {
        if bytes.len() > LINE_MAX {
            return Err(format!("longer than {LINE_MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let mut fields: Fields<'_> = serde_json::from_str(text).map_err(|error| {
            format!("not a JSON object on one line (column {})", error.column())
        })?;
        let line = Line {
            id: match fields.take::<String>("id_sha256", "text")? {
                Some(digits) => DumpedId::Sha256(digits),
                None => DumpedId::Plain(match fields.take::<String>("id", "text")? {
                    Some(id) => id.into_bytes(),
                    None => fields.bytes("id_hex")?.ok_or("no `id`, `id_sha256` or `id_hex`")?,
                }),
            },
            times: Times {
                created_ms: fields.take("created_ms", "a number")?.ok_or("no `created_ms`")?,
                saved_ms: fields.take("saved_ms", "a number")?.ok_or("no `saved_ms`")?,
                deadline_ms: fields.take("deadline_ms", "a number or null")?.flatten(),
            },
            properties: match fields.take("timeouts", "an object")? {
                Some(own) => Properties::new().timeouts(timeouts(own)?),
                None => Properties::new(),
            },
            value: match fields.take::<&RawValue>("value", "JSON")? {
                Some(value) => unescaped(value.get()).into_bytes(),
                None => fields.bytes("value_hex")?.ok_or("neither `value` nor `value_hex`")?,
            },
        };
        let Times { created_ms, saved_ms, deadline_ms } = line.times;
        if [Some(created_ms), Some(saved_ms), deadline_ms]
            .into_iter()
            .flatten()
            .any(|ms| ms >= TIME_MS_END)
        {
            return Err("a time that no container can keep".to_owned());
        }
        // Any text will do: nothing is made of it.
        fields.take::<String>("version", "text")?;
        match fields.0.is_empty() {
            true => Ok(Some(line)),
            false => Err("a field that is unknown or one too many".into()),
        }
    }
}

/// The timeouts of a session's own.
fn timeouts(mut fields: Fields<'_>) -> Result<Timeouts, String> {
    let mut take = |name: &str| match fields.take::<Option<u64>>(name, "a number or null")? {
        None | Some(None) => Ok(None),
        Some(Some(ms @ 1..TIME_MS_END)) => Ok(Some(Duration::from_millis(ms))),
        Some(_) => Err("a timeout that no container can keep".to_owned()),
    };
    let (idle, absolute) = (take("idle_ms")?, take("absolute_ms")?);
    if !fields.0.is_empty() {
        return Err("a field that is unknown or one too many".to_owned());
    }
    let mut timeouts = Timeouts::NONE;
    timeouts = idle.map_or(timeouts, |idle| timeouts.idle(idle));
    Ok(absolute.map_or(timeouts, |absolute| timeouts.absolute(absolute)))
}

/// The fields of an object, with their values not yet looked at.
#[derive(Debug)]
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The value of a field, which is then no longer there.
    fn take<T: Deserialize<'a>>(&mut self, name: &str, kind: &str) -> Result<Option<T>, String> {
        let Some(index) = self.0.iter().position(|field| field.0 == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(index);
        let value = serde_json::from_str(value.get());
        value.map(Some).map_err(|_| format!("`{name}` is not {kind}"))
    }

    fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(digits) = self.take::<String>(name, "text")? else {
            return Ok(None);
        };
        let bytes = unhex(digits.as_bytes());
        bytes.map(Some).ok_or_else(|| format!("`{name}` is not hexadecimal"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Line>, String> {
        Line::parse(text.as_bytes())
    }

    #[test]
    fn a_line_of_a_dump_is_understood() {
        let times = Times { created_ms: 1, saved_ms: 2, deadline_ms: Some(3) };
        let (id, value) = (DumpedId::Plain(b"a".into()), b"[\"\x7f\"]".into());
        let line = Line { id, times, properties: Properties::new(), value };
        let text = r#"{"id":"a","version":"0","created_ms":1,"saved_ms":2,"deadline_ms":3,"#;
        assert_eq!(parse(&format!("{text}\"value\":[\"\\u007f\"]}}\n")), Ok(Some(line)));
        let text = r#"{"id_hex":"ff","created_ms":1,"saved_ms":2,"value_hex":"00"}"#;
        let line = parse(text).map(|line| line.map(|line| (line.id, line.value)));
        assert_eq!(line, Ok(Some((DumpedId::Plain(vec![255]), vec![0]))));
        let text = r#"{"id_sha256":"ff","created_ms":1,"saved_ms":2,"value":1}"#;
        let id = parse(text).map(|line| line.map(|line| line.id));
        assert_eq!(id, Ok(Some(DumpedId::Sha256("ff".into()))));
        assert_eq!(parse(" \r\n"), Ok(None));
    }

    #[test]
    fn a_wrong_line_is_refused_with_the_reason() {
        let cases = [
            ("[]", "not a JSON object on one line (column 0)"),
            ("{", "not a JSON object on one line (column 1)"),
            ("{} {}", "not a JSON object on one line (column 4)"),
            ("{}", "no `id`, `id_sha256` or `id_hex`"),
            (r#"{"id":7}"#, "`id` is not text"),
            (r#"{"id_hex":"7"}"#, "`id_hex` is not hexadecimal"),
            (r#"{"id":"a","saved_ms":1}"#, "no `created_ms`"),
            (r#"{"id":"a","created_ms":-1}"#, "`created_ms` is not a number"),
            (r#"{"id":"a","created_ms":1.5}"#, "`created_ms` is not a number"),
            (r#"{"id":"a","created_ms":1,"saved_ms":1}"#, "neither `value` nor `value_hex`"),
            (
                r#"{"id":"a","created_ms":1,"saved_ms":1,"timeouts":{"idle_ms":0}}"#,
                "a timeout that no container can keep",
            ),
            (
                r#"{"id":"a","created_ms":1,"saved_ms":1,"timeouts":{"ttl":1}}"#,
                "a field that is unknown or one too many",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
        let whole = r#""id":"a","created_ms":1,"saved_ms":1,"value":1"#;
        for more in ["\"id\":\"b\"", "\"id_hex\":\"00\"", "\"ttl\":1"] {
            let why = "a field that is unknown or one too many";
            assert_eq!(parse(&format!("{{{whole},{more}}}")), Err(why.to_owned()));
        }
        assert_eq!(Line::parse(b"\xff"), Err("not UTF-8".to_owned()));
        let long = vec![b' '; LINE_MAX + 1];
        assert!(Line::parse(&long).is_err_and(|why| why.starts_with("longer than")));
    }
}
