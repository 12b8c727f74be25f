//! What a configuration may say, and what is refused before anything is opened: cson's
//! published examples as they stand, and the mistakes that people make.

use cloakroom::session::{self, Opened, Registry};
use cloakroom::{ErrorKind, Result};
use serde_json::{Value, json};

/// cson's published configuration, but for the folder.
fn published(manager: &str, directory: &std::path::Path) -> Value {
    let in_it = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    json!({ "session": {
        "manager": manager,
        "cookieName": "cson_session_id",
        "cookieLifetimeMinutes": 10080,
        "managers": {
            "file": {
                "sessionDriver": "file", "dir": in_it("SESSIONS"), "prefix": "cson-session-",
                "suffix": ".json",
            },
            "mysql5": {
                "sessionDriver": "cpdo", "dsn": "mysql5:dbname=cpdo;host=localhost",
                "user": "cpdo", "password": "secret", "table": "cson_session", "fieldId": "id",
                "fieldTimestamp": "last_saved", "fieldSession": "json",
            },
            "sqlite3": {
                "sessionDriver": "cpdo", "dsn": format!("sqlite3:{}", in_it("sessions.sqlite3")),
                "user": null, "password": null, "table": "cson_session", "fieldId": "id",
                "fieldTimestamp": "last_saved", "fieldSession": "json",
            },
            "whio_ht": { "sessionDriver": "whio_ht", "file": in_it("sessions.whio_ht") },
            "whio_epfs": { "file": in_it("sessions.whio_epfs") },
        },
    } })
}

fn only(driver: &str, options: Value) -> Value {
    let mut options = options;
    options["sessionDriver"] = json!(driver);
    json!({ "session": { "manager": "it", "managers": { "it": options } } })
}

fn message(opened: Result<Opened>) -> String {
    let error = opened.expect_err("it is to be refused");
    assert!(matches!(error.kind(), ErrorKind::Configuration(_)), "{error}");
    error.to_string()
}

#[test]
fn the_published_configuration_opens_a_container_under_its_old_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["whio_ht", "whio_epfs"] {
        let opened = session::open(&published(name, dir.path())).unwrap();
        assert_eq!(opened.cookie.name, "cson_session_id");
        assert_eq!(opened.cookie.lifetime.unwrap().as_secs(), 7 * 24 * 60 * 60);
        opened.manager.save("a ticket", &json!({ "coats": 1 }), None).unwrap();
        let session = opened.manager.load("a ticket").unwrap().unwrap();
        let week_ms = 7 * 24 * 60 * 60 * 1000;
        let times = session.times;
        assert_eq!(times.deadline_ms, Some(times.saved_ms + week_ms), "the cookie's lifetime");
        opened.manager.close().unwrap();
        let again = session::open(&published(name, dir.path())).unwrap().manager;
        assert_eq!(again.load("a ticket").unwrap().unwrap().value, json!({ "coats": 1 }));
    }
}

#[test]
fn the_published_configuration_keeps_sessions_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let opened = session::open(&published("file", dir.path())).unwrap();
    opened.manager.save("a ticket", &json!({ "coats": 1 }), None).unwrap();
    let name = format!("cson-session-{}.json", opened.manager.kept_id("a ticket").unwrap());
    assert!(dir.path().join("SESSIONS").join(name).is_file());
    opened.manager.close().unwrap();
    let again = session::open(&published("file", dir.path())).unwrap().manager;
    let session = again.load("a ticket").unwrap().unwrap();
    assert_eq!(session.value, json!({ "coats": 1 }));
    let week_ms = 7 * 24 * 60 * 60 * 1000;
    let times = session.times;
    assert_eq!(times.deadline_ms, Some(times.saved_ms + week_ms), "the cookie's lifetime");
}

#[test]
fn what_is_not_understood_is_named_and_nothing_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.room");
    let with = |name: &str, value: Value| {
        let mut options = json!({ "file": file });
        options[name] = value;
        message(session::open(&only("container", options)))
    };
    let unknown = with("durabilty", json!("durable"));
    assert!(unknown.contains("no option \"durabilty\""), "{unknown}");
    assert!(unknown.contains("create, durability, file, "), "{unknown}");
    for (name, wrong, needed) in [
        ("file", json!(7), "has to be a text"),
        ("file", json!(""), "not empty"),
        ("create", json!("yes"), "true or false"),
        ("durability", json!("always"), "\"durable\", \"interval\", \"never\""),
        ("ids", json!("md5"), "\"sha256\", \"plain\""),
        ("idleMinutes", json!(-1), "a whole number from 0"),
        ("absoluteMinutes", json!(1.5), "a whole number from 0"),
        ("touchPercent", json!(101), "from 0 to 100"),
        ("maxBytes", json!(0), "from 1 to 4194304"),
        ("lockDeadlineMs", json!("5 s"), "a whole number"),
        ("sweep", json!(true), "\"changes\", \"request\""),
    ] {
        let message = with(name, wrong);
        assert!(message.contains(&format!("option \"{name}\"")), "{message}");
        assert!(message.contains(needed), "{message}");
    }
    assert!(!file.exists(), "nothing was opened");
}

#[test]
fn a_configuration_that_chooses_nothing_says_what_there_is() {
    let refused = |session: Value| message(session::open(&json!({ "session": session })));
    let none = refused(json!({ "manager": "b", "managers": { "a": {}, "c": {} } }));
    assert!(none.contains("no manager \"b\"") && none.contains("a, c"), "{none}");
    let driver = refused(json!({ "manager": "a", "managers": { "a": {} } }));
    assert!(driver.contains("no driver \"a\"") && driver.contains("container"), "{driver}");
    let typing = refused(json!({ "manger": "a", "managers": { "a": {} } }));
    assert!(typing.contains("\"manger\"") && typing.contains("cookieName"), "{typing}");
    for wrong in [
        json!({}),
        json!({ "manager": "a" }),
        json!({ "managers": {} }),
        json!({ "manager": 1, "managers": {} }),
        json!({ "manager": "a", "managers": [] }),
        json!({ "manager": "a", "managers": { "a": 1 } }),
        json!({ "manager": "a", "managers": { "a": { "sessionDriver": 1 } } }),
        json!({ "manager": "a", "cookieName": 1, "managers": { "a": {} } }),
        json!({ "manager": "a", "cookieLifetimeMinutes": "1", "managers": { "a": {} } }),
    ] {
        refused(wrong);
    }
    for wrong in [json!(null), json!([]), json!({ "sessions": {} }), json!({ "session": 1 })] {
        message(session::open(&wrong));
    }
}

#[test]
fn no_value_of_an_option_gets_into_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = session::open(&published("mysql5", dir.path())).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_database_that_this_build_has_no_driver_for_is_refused_without_a_word_of_its_dsn() {
    let dir = tempfile::tempdir().unwrap();
    let has = if cfg!(feature = "sqlite") { "it has sqlite3" } else { "it has none" };
    let published = message(session::open(&published("mysql5", dir.path())));
    assert!(published.contains("option \"dsn\"") && published.contains(has), "{published}");
    let mut dsns = vec!["mysql5:password=secret", "secret", ":secret", "SQLITE3:secret"];
    if cfg!(not(feature = "sqlite")) {
        dsns.push("sqlite3:secret");
    }
    for dsn in dsns {
        let options = json!({ "dsn": dsn, "user": "secret", "password": "secret" });
        let refused = message(session::open(&only("cpdo", options)));
        assert!(refused.contains("option \"dsn\"") && !refused.contains("secret"), "{refused}");
    }
    let none = message(session::open(&only("cpdo", json!({ "user": null }))));
    assert!(none.contains("option \"dsn\" is needed"), "{none}");
}

#[cfg(feature = "sqlite")]
#[test]
fn the_published_configuration_opens_an_sqlite_file_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let configuration = published("sqlite3", dir.path());
    let opened = session::open(&configuration).unwrap();
    opened.manager.save("a ticket", &json!({ "coats": 1 }), None).unwrap();
    opened.manager.close().unwrap();
    let file = dir.path().join("sessions.sqlite3");
    let database = rusqlite::Connection::open(&file).unwrap();
    let sql = "SELECT json FROM cson_session WHERE last_saved > 1600000000000";
    let text: String = database.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(text, "{\"coats\":1}");
    // Nothing of a dsn gets into an error, the file's name neither.
    std::fs::write(&file, "no database").unwrap();
    let error = session::open(&configuration).unwrap_err();
    assert!(!error.to_string().contains("sessions") && error.path().is_none(), "{error}");
    let empty = message(session::open(&only("cpdo", json!({ "dsn": "sqlite3:" }))));
    assert!(empty.contains("needs a file"), "{empty}");
}

#[test]
fn a_driver_of_ones_own_is_registered_once_under_a_short_name() {
    let mut registry = Registry::new();
    let count = registry.names().count();
    let factory = |mut settings: session::Settings<'_>| {
        let _ = settings.required_text("greeting")?;
        settings.finish()?;
        Registry::new().open(&only("memory", json!({}))).map(|opened| opened.manager)
    };
    registry.register("mine", factory).unwrap();
    assert_eq!(registry.names().count(), count + 1);
    assert!(registry.register("mine", factory).is_err(), "it is taken");
    assert!(registry.register("", factory).is_err());
    assert!(registry.register(&"m".repeat(31), factory).is_ok());
    assert!(registry.register(&"m".repeat(32), factory).is_err());
    let opened = registry.open(&only("mine", json!({ "greeting": "hello" }))).unwrap();
    opened.manager.save("a ticket", &json!(1), None).unwrap();
    assert_eq!(opened.manager.len().unwrap(), 1);
    let refused = message(registry.open(&only("mine", json!({ "greting": "hello" }))));
    assert!(refused.contains("\"greeting\" is needed"), "{refused}");
}
