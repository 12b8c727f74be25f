//! Files and tables that are somebody else's, names that are none, rows that are no sessions:
//! clear errors, and nothing is changed.

use std::ops::ControlFlow;
use std::path::Path;

use cloakroom::ErrorKind;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{kind, manager, opened, place};

/// The sentence of a refusal that is about the configuration.
fn refusal(options: Value) -> String {
    let Err(error) = opened(options) else { panic!("it is to be refused") };
    assert!(matches!(error.kind(), ErrorKind::Configuration(_)), "{error}");
    error.to_string()
}

fn sql(file: &Path, statements: &str) {
    Connection::open(file).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn a_hostile_name_is_refused_by_the_name_of_its_option() {
    let (_folder, file) = place();
    let long = "n".repeat(64);
    for option in ["table", "fieldId", "fieldTimestamp", "fieldSession", "fieldDeadline"] {
        for name in ["", "1a", "a b", "a\"b", "a;--", "x'y", "\u{e4}", "a\0b", "main.a", &long] {
            let mut options = json!({ "file": file });
            options[option] = json!(name);
            let error = refusal(options);
            assert!(error.contains(&format!("option \"{option}\" has to be a name")), "{error}");
            assert!(name.len() < 3 || !error.contains(name), "{error}");
        }
    }
    let reserved = refusal(json!({ "file": file, "table": "SQLite_x" }));
    assert!(reserved.contains("\"table\" must not begin"), "{reserved}");
    let twice = refusal(json!({ "file": file, "fieldIdle": "JSON", "fieldSession": "json" }));
    assert!(twice.contains("\"fieldSession\" names the column") && twice.contains("\"fieldIdle\""));
    assert!(!file.exists(), "nothing was opened");
    // Words of SQL are names like any other.
    let options = json!({ "file": file, "table": "select", "fieldId": "from", "fieldIdle": "_" });
    opened(options).unwrap().save("a", &json!(1), None).unwrap();
    let longest = "n".repeat(63);
    opened(json!({ "file": file, "table": longest })).unwrap().save("a", &json!(1), None).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_left_as_it_is() {
    let (folder, file) = place();
    let long = b"SQLite it is not ".repeat(1000);
    for bytes in [&b"hello"[..], &long] {
        std::fs::write(&file, bytes).unwrap();
        let error = opened(json!({ "file": file })).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
        assert!(error.to_string().contains("the file is no SQLite database"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    let error = opened(json!({ "file": folder.path() })).unwrap_err().to_string();
    assert!(error.contains("no ordinary file"), "{error}");
}

#[test]
fn what_is_missing_is_made_only_where_that_was_allowed() {
    let (folder, file) = place();
    let missing = opened(json!({ "file": file, "create": false })).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::Io { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound));
    assert!(!file.exists());
    sql(&file, "CREATE TABLE other (id INTEGER); INSERT INTO other VALUES (7)");
    let before = std::fs::read(&file).unwrap();
    let no_table = refusal(json!({ "file": file, "create": false }));
    assert!(no_table.contains("the database has no table"), "{no_table}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    manager(&file).save("a", &json!(1), None).unwrap();
    let count: i64 = Connection::open(&file)
        .unwrap()
        .query_row("SELECT id FROM other", [], |r| r.get(0))
        .unwrap();
    assert_eq!(count, 7, "what else is in the file stays");
    sql(&file, "DROP INDEX cloakroom_sessions_deadline");
    let no_index = refusal(json!({ "file": file, "create": false }));
    assert!(no_index.contains("no index") && no_index.contains("\"fieldDeadline\""), "{no_index}");
    manager(&file).close().unwrap();
    opened(json!({ "file": file, "create": false, "ids": "plain" })).unwrap().close().unwrap();
}

const WHOLE: &[(&str, &str)] = &[
    ("fieldId", "id VARCHAR(64) PRIMARY KEY"),
    ("fieldVersion", "version TEXT"),
    ("fieldCreated", "created BIGINT"),
    ("fieldTimestamp", "last_saved INTEGER"),
    ("fieldDeadline", "deadline INTEGER"),
    ("fieldIdle", "idle INTEGER"),
    ("fieldAbsolute", "absolute INTEGER"),
    ("fieldSession", "json TEXT"),
];

fn table_of(columns: &[&str]) -> String {
    format!("CREATE TABLE cloakroom_sessions ({})", columns.join(", "))
}

#[test]
fn a_table_that_lacks_a_column_is_refused_by_the_option_of_that_column() {
    for (missing, _) in WHOLE {
        let (folder, file) = place();
        let rest = WHOLE.iter().filter(|(option, _)| option != missing);
        let rest: Vec<&str> = rest.map(|(_, column)| *column).chain(["more TEXT"]).collect();
        sql(&file, &table_of(&rest));
        let before = std::fs::read(&file).unwrap();
        let error = refusal(json!({ "file": file }));
        assert!(error.contains(&format!("no column for option \"{missing}\"")), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "nothing was changed");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_table_whose_columns_do_not_fit_is_refused() {
    let all: Vec<&str> = WHOLE.iter().map(|(_, column)| *column).collect();
    let with = |place: usize, column: &'static str| {
        let mut columns = all.clone();
        columns[place] = column;
        table_of(&columns)
    };
    let further = |column: &'static str| table_of(&[&all[..], &[column]].concat());
    for (table, why) in [
        (with(0, "id TEXT"), "primary key"),
        (with(0, "id TEXT COLLATE NOCASE PRIMARY KEY"), "primary key"),
        (with(0, "id INTEGER PRIMARY KEY"), "\"fieldId\" has to be of type TEXT"),
        (with(4, "deadline TEXT"), "\"fieldDeadline\" has to be of type INTEGER"),
        (with(7, "json BLOB"), "\"fieldSession\" has to be of type TEXT"),
        (further("name TEXT NOT NULL"), "further column"),
        ("CREATE VIEW cloakroom_sessions AS SELECT 1 AS id".to_owned(), "no table"),
        ("CREATE TABLE cloakroom_sessions_clock (one)".to_owned(), "side table"),
    ] {
        let (_folder, file) = place();
        sql(&file, &table);
        let before = std::fs::read(&file).unwrap();
        let error = refusal(json!({ "file": file }));
        assert!(error.contains(why), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "nothing was changed");
    }
    for table in [further("name TEXT"), with(0, "id TEXT UNIQUE")] {
        let (_folder, file) = place();
        sql(&file, &table);
        let it = manager(&file);
        it.save("a", &json!(1), None).unwrap();
        it.save("a", &json!(2), None).unwrap();
        assert_eq!(it.len().unwrap(), 1);
    }
}

#[test]
fn a_row_that_is_no_session_harms_nobody_else_and_can_be_replaced() {
    let (_folder, file) = place();
    let it = manager(&file);
    for id in ["a", "b", "c", "d", "e", "f"] {
        it.save(id, &json!("a secret"), None).unwrap();
    }
    for (id, change) in [
        ("b", "version = 'none'"),
        ("c", "json = '[1'"),
        ("d", "last_saved = 'noon'"),
        ("e", "deadline = -1"),
    ] {
        sql(&file, &format!("UPDATE cloakroom_sessions SET {change} WHERE id = '{id}'"));
        let error = it.load(id).unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains("noon"), "{error}");
    }
    sql(&file, "UPDATE cloakroom_sessions SET id = x'00ff' WHERE id = 'f'");
    let (mut whole, mut broken) = (0, 0);
    it.walk(&mut |walked| {
        *(if walked.is_ok() { &mut whole } else { &mut broken }) += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((whole, broken), (1, 5));
    // One of them has expired, and stays, since nobody could see it.
    assert!(kind(it.sweep(9, &mut |_, _| ControlFlow::Continue(()))).contains("Io"));
    assert_eq!(it.len().unwrap(), 6);
    it.save("b", &json!(1), None).unwrap();
    assert!(it.load("b").unwrap().is_some());
    it.remove("d").unwrap();
    assert!(it.load("d").unwrap().is_none());
}

#[test]
fn a_database_that_was_damaged_is_an_error() {
    let (_folder, file) = place();
    let it = manager(&file);
    for number in 0..200 {
        it.save(&number.to_string(), &json!("a coat"), None).unwrap();
    }
    it.close().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let error = opened(json!({ "file": file, "ids": "plain" }))
        .and_then(|it| (0..200).try_for_each(|number| it.load(&number.to_string()).map(drop)));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}
