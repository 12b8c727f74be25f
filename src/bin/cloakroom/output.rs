//! The only way to standard output and standard error.
//!
//! Ids and values come from strangers, and a terminal obeys what it is sent. So
//! both exits make characters visible that are not: [`Output::line`] for people,
//! [`Output::json`] within JSON text. A reader that goes away (`| head`) is not
//! an error: printing goes nowhere from then on, and [`Output::is_closed`] tells
//! long commands to stop.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::time::Duration;

use cloakroom::{IdForm, Session, Timeouts};

use crate::Failure;
use crate::escape::{compact, hex, json_of, visible, visible_json};

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Human,
    Json,
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    stream: BufWriter<Stdout>,
    form: Form,
    closed: bool,
}

impl Output {
    pub(crate) fn new(form: Form) -> Output {
        Output { stream: BufWriter::with_capacity(1 << 16, io::stdout()), form, closed: false }
    }

    /// Whether `--json` was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints a line for people.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.print(&visible(text))
    }

    /// Prints JSON text, which must be valid: only then can the characters that
    /// are made visible stand in strings alone, where an escape means the same.
    pub(crate) fn json(&mut self, text: &str) -> Result<(), Failure> {
        self.print(&visible_json(text))
    }

    /// Prints an object on one line.
    pub(crate) fn object(&mut self, object: Object) -> Result<(), Failure> {
        self.json(&object.finish())
    }

    /// Says on standard error what went wrong, in the form asked for.
    pub(crate) fn complain(&self, text: &str) {
        match self.form {
            Form::Human => message(&format!("cloakroom: {text}")),
            Form::Json => say(&visible_json(&Object::new().text("error", text).finish())),
        }
    }

    /// Hands over what was printed.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.stream.flush();
        self.settle(flushed)
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let written = writeln!(self.stream, "{text}");
        self.settle(written)
    }

    fn settle(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(|error| Failure::Stream("write standard output", error)),
        }
    }
}

/// Prints a line for people on standard error.
pub(crate) fn message(text: &str) {
    say(&visible(text));
}

/// Prints on standard error over what this printed there before, for a terminal.
pub(crate) fn overwrite(text: &str) {
    let _ = write!(io::stderr(), "\r{}", visible(text));
}

/// Where standard error fails there is nobody left to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A JSON object in the making. Its fields keep their order.
#[derive(Debug)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn new() -> Object {
        Object { text: String::from("{") }
    }

    /// The fields that everything about a session starts with: its id, `version`,
    /// `created_ms`, `saved_ms`, `deadline_ms`, and `timeouts` if it has some of its own.
    pub(crate) fn of_session<T>(id: &[u8], form: IdForm, session: &Session<T>) -> Object {
        let object = Object::new()
            .id(id, form)
            .text("version", &session.version.to_string())
            .number("created_ms", session.times.created_ms)
            .number("saved_ms", session.times.saved_ms)
            .optional("deadline_ms", session.times.deadline_ms);
        match session.properties.own_timeouts() {
            Some(own) => object.raw("timeouts", &Object::of_timeouts(own).finish()),
            None => object,
        }
    }

    /// `idle_ms` and `absolute_ms`.
    fn of_timeouts(timeouts: Timeouts) -> Object {
        let ms = |timeout: Duration| timeout.as_millis() as u64;
        Object::new()
            .optional("idle_ms", timeouts.idle_timeout().map(ms))
            .optional("absolute_ms", timeouts.absolute_timeout().map(ms))
    }

    /// `id_sha256` for what is kept of an id, `id` for the id itself, or `id_hex` where
    /// its bytes are not UTF-8.
    pub(crate) fn id(self, id: &[u8], form: IdForm) -> Object {
        match (form, std::str::from_utf8(id)) {
            (IdForm::Plain, Ok(text)) => self.text("id", text),
            (IdForm::Sha256, Ok(digits)) => self.text("id_sha256", digits),
            (_, Err(_)) => self.text("id_hex", &hex(id)),
        }
    }

    /// `value` on one line, or `value_hex` for bytes that are not JSON.
    pub(crate) fn value(self, value: &[u8]) -> Object {
        match json_of(value) {
            Some(text) => self.raw("value", &compact(text)),
            None => self.text("value_hex", &hex(value)),
        }
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Object {
        let mut quoted = String::with_capacity(value.len() + 2);
        quote(&mut quoted, value);
        self.raw(name, &quoted)
    }

    pub(crate) fn number(self, name: &str, value: u64) -> Object {
        self.raw(name, &value.to_string())
    }

    pub(crate) fn optional(self, name: &str, value: Option<u64>) -> Object {
        match value {
            Some(value) => self.number(name, value),
            None => self.raw(name, "null"),
        }
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Object {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(crate) fn array(self, name: &str, items: impl IntoIterator<Item = Object>) -> Object {
        let items: Vec<String> = items.into_iter().map(Object::finish).collect();
        self.raw(name, &format!("[{}]", items.join(",")))
    }

    /// A field whose value is JSON text already, on one line.
    pub(crate) fn raw(mut self, name: &str, json: &str) -> Object {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        quote(&mut self.text, name);
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// Appends `value` as a JSON string. Controls beyond ASCII are left to the
/// exits.
fn quote(to: &mut String, value: &str) {
    to.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            '\n' => to.push_str("\\n"),
            '\t' => to.push_str("\\t"),
            '\0'..='\x1f' => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => to.push(c),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_json_with_its_fields_in_order() {
        let object = Object::new()
            .text("a", "\"\\\n\t\u{1}x")
            .optional("b", None)
            .flag("c", true)
            .array("d", [Object::new(), Object::new().number("e", 1)])
            .finish();
        assert_eq!(object, r#"{"a":"\"\\\n\t\u0001x","b":null,"c":true,"d":[{},{"e":1}]}"#);
        assert!(json_of(object.as_bytes()).is_some());
    }

    #[test]
    fn ids_and_values_that_are_no_text_are_printed_as_hexadecimal() {
        let text = Object::new().id(b"a", IdForm::Plain).value(b"[1, 2]").finish();
        assert_eq!(text, r#"{"id":"a","value":[1,2]}"#);
        let kept = Object::new().id(b"00", IdForm::Sha256).finish();
        assert_eq!(kept, r#"{"id_sha256":"00"}"#);
        let bytes = Object::new().id(b"\xff", IdForm::Plain).value(b"[1,").finish();
        assert_eq!(bytes, r#"{"id_hex":"ff","value_hex":"5b312c"}"#);
    }
}
