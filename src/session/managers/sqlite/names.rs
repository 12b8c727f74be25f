//! The names of the table and its columns, which a configuration may choose.
//!
//! They become parts of SQL: only plain identifiers are taken, and they are quoted wherever
//! they are used. An error names the option, never the name that it has.

use super::super::super::Settings;
use crate::Result;

/// Longest identifier, in bytes.
const NAME_LEN_MAX: usize = 63;
/// SQLite keeps such names for itself.
const RESERVED: &str = "sqlite_";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Integer,
}

/// One column of the session table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The option that names it.
    pub(super) option: &'static str,
    /// Its name, as it is.
    pub(super) name: String,
    pub(super) holds: Holds,
    /// Whether each session has something there.
    pub(super) needed: Needed,
}

/// Whether a column may be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    Always,
    Sometimes,
}

/// The columns in the order in which every statement has them.
const COLUMNS: [(&str, &str, Holds, Needed); 8] = [
    ("fieldId", "id", Holds::Text, Needed::Always),
    ("fieldVersion", "version", Holds::Text, Needed::Always),
    ("fieldCreated", "created", Holds::Integer, Needed::Always),
    ("fieldTimestamp", "last_saved", Holds::Integer, Needed::Always),
    ("fieldDeadline", "deadline", Holds::Integer, Needed::Sometimes),
    ("fieldIdle", "idle", Holds::Integer, Needed::Sometimes),
    ("fieldAbsolute", "absolute", Holds::Integer, Needed::Sometimes),
    ("fieldSession", "json", Holds::Text, Needed::Always),
];

/// All names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
}

impl Names {
    /// Reads the options.
    pub(super) fn read(settings: &mut Settings<'_>, usual_table: &str) -> Result<Names> {
        let table = name(settings, "table", usual_table)?;
        if table.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            return Err(settings.wrong("table", "must not begin with \"sqlite_\""));
        }
        let mut columns: Vec<Column> = Vec::with_capacity(COLUMNS.len());
        for (option, usual, holds, needed) in COLUMNS {
            let name = name(settings, option, usual)?;
            // SQLite takes a name in capital letters for the same.
            if let Some(other) = columns.iter().find(|one| one.name.eq_ignore_ascii_case(&name)) {
                let what = format!("names the column that is named by \"{}\"", other.option);
                return Err(settings.wrong(option, &what));
            }
            columns.push(Column { option, name, holds, needed });
        }
        Ok(Names { table, columns })
    }

    /// The side table, for what the clock has told.
    pub(super) fn clock(&self) -> String {
        format!("{}_clock", self.table)
    }

    /// The index by which a sweep finds whom it looks for.
    pub(super) fn index(&self) -> String {
        format!("{}_deadline", self.table)
    }

    /// The name of the column that this option names.
    pub(super) fn column(&self, option: &str) -> &str {
        let column = self.columns.iter().find(|column| column.option == option);
        column.map_or("", |column| &column.name)
    }
}

fn name(settings: &mut Settings<'_>, option: &'static str, usual: &str) -> Result<String> {
    let name = settings.text(option)?.unwrap_or(usual);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !begins || !name.chars().all(plain) || name.len() > NAME_LEN_MAX {
        let what = format!(
            "has to be a name of 1 to {NAME_LEN_MAX} letters, digits and _ that begins with no \
             digit"
        );
        return Err(settings.wrong(option, &what));
    }
    Ok(name.to_owned())
}

/// An identifier as SQL has it. The names that come here have no quotation mark.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
