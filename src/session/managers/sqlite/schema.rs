//! The session table, its index and the side table: whether they are there and as they have
//! to be, and how they are made.
//!
//! Everything is looked at before anything is made, in one transaction each. Tables of
//! others are neither changed nor minded; one of the same name that is no session table is
//! refused.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::names::{Holds, Names, Needed, quoted};
use super::options::Missing;

/// Columns of the side table: one row, with what the clock has told, and how often
/// somebody has synced.
pub(super) const CLOCK_COLUMNS: [&str; 4] = ["one", "seen", "doubt", "syncs"];

/// Why a table is not used.
#[derive(Debug)]
pub(super) enum Refusal {
    Sqlite(rusqlite::Error),
    /// The sentence that says why.
    Unfit(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Sqlite(error)
    }
}

/// What there has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Table,
    Index,
    Clock,
}

impl Part {
    fn what(self) -> &'static str {
        match self {
            Part::Table => "table that option \"table\" names",
            Part::Index => "index on the column that \"fieldDeadline\" names",
            Part::Clock => "side table, which has the table's name and \"_clock\"",
        }
    }
}

/// Looks at all that there has to be, and makes what is missing, or says that it is.
pub(super) fn ensure(
    connection: &Connection,
    names: &Names,
    missing: Missing,
    now_ms: u64,
) -> Result<(), Refusal> {
    let looking = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let lacking = lacking(&looking, names)?;
    drop(looking);
    let Some(first) = lacking.first() else { return Ok(()) };
    if missing == Missing::IsAnError {
        return Err(Refusal::Unfit(format!("the database has no {}", first.what())));
    }
    make(connection, names, now_ms)
}

/// Others may be making the same meanwhile.
fn make(connection: &Connection, names: &Names, now_ms: u64) -> Result<(), Refusal> {
    let making = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for part in lacking(&making, names)? {
        making.execute_batch(&statement(part, names))?;
        if part == Part::Clock {
            let clock = quoted(&names.clock());
            let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
            making.execute(&format!("INSERT INTO main.{clock} VALUES (1, ?1, 0, 0)"), [now_ms])?;
        }
    }
    making.commit()?;
    Ok(())
}

fn statement(part: Part, names: &Names) -> String {
    let table = quoted(&names.table);
    match part {
        Part::Table => {
            let columns = names.columns.iter().map(|column| {
                let kind = match column.holds {
                    Holds::Text => "TEXT",
                    Holds::Integer => "INTEGER",
                };
                let needed = match column.needed {
                    Needed::Always => " NOT NULL",
                    Needed::Sometimes => "",
                };
                let key = if column.option == "fieldId" { " PRIMARY KEY" } else { "" };
                format!("{} {kind}{needed}{key}", quoted(&column.name))
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            format!("CREATE TABLE main.{table} ({columns})")
        }
        Part::Index => {
            let (index, deadline) = (quoted(&names.index()), quoted(names.column("fieldDeadline")));
            let id = quoted(names.column("fieldId"));
            format!("CREATE INDEX main.{index} ON {table} ({deadline}, {id})")
        }
        Part::Clock => {
            let clock = quoted(&names.clock());
            let [one, seen, doubt, syncs] = CLOCK_COLUMNS;
            format!(
                "CREATE TABLE main.{clock} ({one} INTEGER PRIMARY KEY, {seen} INTEGER NOT NULL, \
                 {doubt} INTEGER NOT NULL, {syncs} INTEGER NOT NULL)"
            )
        }
    }
}

/// What is missing, in the order in which it is made.
fn lacking(connection: &Connection, names: &Names) -> Result<Vec<Part>, Refusal> {
    let mut lacking = Vec::new();
    if !has_table(connection, &names.table, "option \"table\"")? {
        lacking.extend([Part::Table, Part::Index]);
    } else {
        fit(connection, names)?;
        if !has_index(connection, names)? {
            lacking.push(Part::Index);
        }
    }
    if has_table(connection, &names.clock(), "the side table of option \"table\"")? {
        let found = columns(connection, &names.clock())?;
        let has = |name: &&str| found.iter().any(|one| one.name.eq_ignore_ascii_case(name));
        if !CLOCK_COLUMNS.iter().all(has) {
            let why = "the side table of option \"table\" is somebody else's: it lacks a column";
            return Err(Refusal::Unfit(why.to_owned()));
        }
    } else {
        lacking.push(Part::Clock);
    }
    Ok(lacking)
}

/// Whether there is a table of this name, and nothing else.
fn has_table(connection: &Connection, name: &str, who: &str) -> Result<bool, Refusal> {
    let sql = "SELECT type FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let kind: Option<String> = connection.query_row(sql, [name], |row| row.get(0)).optional()?;
    match kind.as_deref() {
        None => Ok(false),
        Some("table") => Ok(true),
        Some(_) => Err(Refusal::Unfit(format!("{who} names something that is no table"))),
    }
}

struct Found {
    name: String,
    kind: String,
    /// A row needs a value here, and none is given by itself.
    demanding: bool,
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Found>, Refusal> {
    let sql = "SELECT name, upper(type), \"notnull\" AND dflt_value IS NULL \
               FROM pragma_table_info(?1, 'main')";
    let mut statement = connection.prepare(sql)?;
    let found = statement.query_map([table], |row| {
        Ok(Found { name: row.get(0)?, kind: row.get(1)?, demanding: row.get(2)? })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Fails if the table is no session table.
fn fit(connection: &Connection, names: &Names) -> Result<(), Refusal> {
    let found = columns(connection, &names.table)?;
    for column in &names.columns {
        let option = column.option;
        let same = |one: &&Found| one.name.eq_ignore_ascii_case(&column.name);
        let Some(one) = found.iter().find(same) else {
            let why = format!("the table has no column for option \"{option}\"");
            return Err(Refusal::Unfit(why));
        };
        // As SQLite tells the kinds from one another.
        let integer = one.kind.contains("INT");
        let text = ["CHAR", "CLOB", "TEXT"].iter().any(|word| one.kind.contains(word));
        let (right, kind) = match column.holds {
            Holds::Integer => (integer, "INTEGER"),
            Holds::Text => (text && !integer, "TEXT"),
        };
        if !right {
            let why = format!("the column for option \"{option}\" has to be of type {kind}");
            return Err(Refusal::Unfit(why));
        }
    }
    let ours = |one: &Found| names.columns.iter().any(|c| c.name.eq_ignore_ascii_case(&one.name));
    if found.iter().any(|one| one.demanding && !ours(one)) {
        let why = "the table has a further column that must not be empty, which no option names";
        return Err(Refusal::Unfit(why.to_owned()));
    }
    let alone = "SELECT count(*) FROM pragma_index_list(?1, 'main') AS list \
                 WHERE list.\"unique\" AND NOT list.partial AND \
                 (SELECT count(*) FROM pragma_index_xinfo(list.name, 'main') WHERE key) = 1 AND \
                 EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name, 'main') \
                 WHERE key AND name = ?2 COLLATE NOCASE AND coll = 'BINARY')";
    if count(connection, alone, names, "fieldId")? == 0 {
        let why = "the column for option \"fieldId\" has to be the primary key, or UNIQUE, and to \
                   tell small letters from capital ones";
        return Err(Refusal::Unfit(why.to_owned()));
    }
    Ok(())
}

fn has_index(connection: &Connection, names: &Names) -> Result<bool, Refusal> {
    let first = "SELECT count(*) FROM pragma_index_list(?1, 'main') AS list \
                 WHERE NOT list.partial AND \
                 EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name, 'main') \
                 WHERE seqno = 0 AND name = ?2 COLLATE NOCASE)";
    Ok(count(connection, first, names, "fieldDeadline")? != 0)
}

fn count(connection: &Connection, sql: &str, names: &Names, option: &str) -> Result<i64, Refusal> {
    let arguments = [names.table.as_str(), names.column(option)];
    Ok(connection.query_row(sql, arguments, |row| row.get(0))?)
}
