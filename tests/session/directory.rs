//! Sessions in a directory, as applications use them: what the files are called, what is
//! done about files that are no sessions, and other processes.

mod permissions;
mod processes;
mod role;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cloakroom::session::{self, Capability, DirectoryManager, SessionManager, Walked};
use cloakroom::{DamageKind, ErrorKind, Outcome, Properties, Result, Timeouts, Updated};
use serde_json::{Value, json};

fn open_with(dir: &Path, more: Value) -> Result<Box<dyn SessionManager>> {
    let mut options = json!({ "sessionDriver": "directory", "dir": dir });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    let configuration = json!({ "session": { "manager": "it", "managers": { "it": options } } });
    session::open(&configuration).map(|opened| opened.manager)
}

fn walked(manager: &dyn SessionManager) -> Vec<Walked> {
    let mut all = Vec::new();
    manager
        .walk(&mut |item| {
            all.push(item);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn path_of(manager: &dyn SessionManager, dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("session-{}.json", manager.kept_id(id).unwrap()))
}

fn is_damage(error: &cloakroom::Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged(damage) if damage.kind == DamageKind::SessionFile)
}

#[test]
fn a_session_is_a_json_file_with_its_value_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = DirectoryManager::open(dir.path()).unwrap();
    let own = Properties::new().timeouts(Timeouts::NONE);
    let Outcome::Saved(version) =
        manager.create("visitor", &json!({ "coats": 1 }), Some(&own)).unwrap()
    else {
        panic!("there was none");
    };
    let bytes = fs::read(path_of(&manager, dir.path(), "visitor")).unwrap();
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(file["cloakroom_session"], 1);
    assert_eq!(file["value"], json!({ "coats": 1 }));
    assert_eq!(file["version"], version.to_string());
    assert_eq!(file["timeouts"], json!({ "idle_ms": null, "absolute_ms": null }));
    assert_eq!(file["deadline_ms"], Value::Null);
    let saved = manager.load("visitor").unwrap().unwrap();
    assert_eq!((saved.version, saved.properties), (version, own));
    assert_eq!(file["created_ms"], saved.times.created_ms);
}

#[test]
fn conditions_hold_of_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open_with(dir.path(), json!({ "durability": "durable" })).unwrap();
    assert_eq!(manager.replace("visitor", &json!(1)).unwrap(), Outcome::Conflict);
    let first = manager.create("visitor", &json!(1), None).unwrap().saved().unwrap();
    assert_eq!(manager.create("visitor", &json!(2), None).unwrap(), Outcome::Conflict);
    let second = manager.save_if("visitor", first, &json!(3)).unwrap().saved().unwrap();
    assert_eq!(manager.save_if("visitor", first, &json!(4)).unwrap(), Outcome::Conflict);
    assert_ne!(first, second);
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, json!(3));
    assert!(manager.remove("visitor").unwrap() && !manager.remove("visitor").unwrap());
    let gone = manager.update("visitor", &mut |session| {
        assert_eq!(session, None);
        cloakroom::Change::Remove
    });
    assert_eq!(gone.unwrap(), Updated::Removed);
    assert!(manager.is_empty().unwrap());
    manager.sync().unwrap();
    assert!(manager.capabilities().has(Capability::PowerCuts));
    assert!(!manager.capabilities().has(Capability::CheapSweep));
    manager.close().unwrap();
}

#[test]
fn hostile_ids_stay_within_the_directory_and_apart() {
    let outer = tempfile::tempdir().unwrap();
    let long = "x".repeat(242);
    let ids = [
        "../escaped",
        "/tmp/escaped",
        "..",
        ".",
        "a\0b",
        "a/b",
        "a%2fb",
        "A",
        "a",
        "%",
        "\n",
        ".cloakroom-lock",
        "\u{1f9e5}",
        &long,
    ];
    for form in ["plain", "sha256"] {
        let dir = outer.path().join(form);
        let manager = open_with(&dir, json!({ "ids": form })).unwrap();
        for id in ids {
            manager.save(id, &json!(id), None).unwrap();
        }
        for id in ids {
            assert_eq!(manager.load(id).unwrap().unwrap().value, json!(id), "{id:?}");
        }
        assert_eq!(manager.len().unwrap(), ids.len() as u64);
        let mut shown: Vec<String> =
            walked(manager.as_ref()).into_iter().map(|item| item.unwrap().0).collect();
        let mut kept: Vec<String> = ids.iter().map(|id| manager.kept_id(id).unwrap()).collect();
        shown.sort();
        kept.sort();
        assert_eq!(shown, kept);
        for refused in ["", &"x".repeat(256)] {
            let error = manager.save(refused, &json!(1), None).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidId { .. }), "{error}");
        }
        assert_eq!(names(&dir).len(), ids.len() + 1, "and the lock file");
    }
    assert_eq!(names(outer.path()), ["plain", "sha256"], "nothing else was made");
    let plain = open_with(&outer.path().join("plain"), json!({ "ids": "plain" })).unwrap();
    let error = plain.load(&"x".repeat(243)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidId { len: 256 }), "{error}");
    assert!(error.to_string().ends_with("256 bytes is too long (at most 255)"), "{error}");
}

#[test]
fn files_that_are_no_sessions_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let digits = "0123456789abcdef".repeat(4);
    let foreign = [
        "README".to_owned(),
        "session-notes.json".to_owned(),
        format!("session-{digits}.json.bak"),
        format!("other-{digits}.json"),
        ".hidden".to_owned(),
    ];
    for name in &foreign {
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    fs::create_dir(dir.path().join("a folder")).unwrap();
    let manager = DirectoryManager::open(dir.path()).unwrap();
    assert!(manager.is_empty().unwrap() && walked(&manager).is_empty());
    manager.save("visitor", &json!(1), None).unwrap();
    manager.remove("visitor").unwrap();
    assert!(manager.sweep(u64::MAX, &mut |_, _| ControlFlow::Continue(())).unwrap().is_done());
    for name in &foreign {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "mine");
    }
}

#[test]
fn what_has_a_sessions_name_and_is_none_harms_that_id_alone() {
    let dir = tempfile::tempdir().unwrap();
    let manager = DirectoryManager::open(dir.path()).unwrap();
    manager.save("good", &json!("a coat"), None).unwrap();
    let path = |id: &str| path_of(&manager, dir.path(), id);
    let whole = fs::read(path("good")).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("cut short"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("of another"), "{\"user\": \"hunter2\"}").unwrap();
    fs::write(path("no text"), [0xff; 100]).unwrap();
    symlink(path("good"), path("a link")).unwrap();
    fs::create_dir(path("a folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("a pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs::File::create(path("huge")).unwrap().set_len(1 << 40).unwrap();
    let files = ["empty", "cut short", "of another", "no text", "a link", "a pipe", "huge"];
    let all = files.len() + 1;
    for id in files.into_iter().chain(["a folder"]) {
        let error = manager.load(id).unwrap_err();
        assert!(is_damage(&error), "{id}: {error}");
        assert_eq!(error.path(), Some(path(id).as_path()));
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(is_damage(&manager.replace(id, &json!(1)).unwrap_err()));
        assert!(is_damage(&manager.touch(id).unwrap_err()));
        assert!(is_damage(&manager.create(id, &json!(1), None).unwrap_err()));
    }
    let before = names(dir.path());
    let swept = manager.sweep(u64::MAX, &mut |_, _| panic!("nobody has expired")).unwrap();
    assert!(swept.is_done() && swept.removed == 0);
    assert_eq!(names(dir.path()), before);
    let (shown, damaged): (Vec<_>, Vec<_>) = walked(&manager).into_iter().partition(Result::is_ok);
    assert_eq!((shown.len(), damaged.len()), (1, all));
    assert!(damaged.iter().all(|item| item.as_ref().is_err_and(is_damage)));
    // A save of that id, or its removal, makes it good; a link leads nowhere else.
    for id in files {
        manager.save(id, &json!("a hat"), None).unwrap();
        assert_eq!(manager.load(id).unwrap().unwrap().value, json!("a hat"), "{id}");
    }
    fs::write(path("empty"), "").unwrap();
    assert!(!manager.remove("empty").unwrap() && !path("empty").exists());
    assert!(manager.save("a folder", &json!(1), None).is_err());
    assert!(manager.remove("a folder").is_err() && path("a folder").is_dir());
    assert_eq!(manager.load("good").unwrap().unwrap().value, json!("a coat"));
    assert_eq!(names(dir.path()).iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
fn a_session_of_a_later_program_is_neither_loaded_nor_lost() {
    let dir = tempfile::tempdir().unwrap();
    let manager = DirectoryManager::open(dir.path()).unwrap();
    let path = path_of(&manager, dir.path(), "visitor");
    let later = r#"{"cloakroom_session": 7, "anything": []}"#;
    fs::write(&path, later).unwrap();
    for refused in [
        manager.load("visitor").unwrap_err(),
        manager.save("visitor", &json!(1), None).unwrap_err(),
        manager.remove("visitor").unwrap_err(),
    ] {
        assert!(matches!(refused.kind(), ErrorKind::Newer { .. }), "{refused}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), later);
}

#[test]
fn a_directory_that_is_none_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let missing = dir.path().join("missing");
    for (path, options, kind) in [
        (&file, json!({}), std::io::ErrorKind::NotADirectory),
        (&file.join("below"), json!({}), std::io::ErrorKind::NotADirectory),
        (&missing, json!({ "create": false }), std::io::ErrorKind::NotFound),
        (&missing.join("below"), json!({}), std::io::ErrorKind::NotFound),
    ] {
        let error = open_with(path, options).unwrap_err();
        let ErrorKind::Io { source, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(source.kind(), kind, "{error}");
        assert_eq!(error.path(), Some(path.as_path()));
    }
    assert_eq!(names(dir.path()), ["file"]);
    fs::create_dir(&missing).unwrap();
    open_with(&missing, json!({ "create": false })).unwrap();
}

#[test]
fn a_prefix_or_suffix_that_makes_no_names_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SESSIONS");
    for (option, value) in [
        ("prefix", "../"),
        ("prefix", "a/b"),
        ("prefix", "a\0"),
        ("prefix", "."),
        ("prefix", ".cloakroom-"),
        ("suffix", "/x"),
        ("suffix", "\0"),
        ("suffix", &"x".repeat(184)),
    ] {
        let error = open_with(&path, json!({ option: value })).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Configuration(_)), "{error}");
        assert!(error.to_string().contains(&format!("option \"{option}\"")), "{error}");
    }
    assert!(!path.exists(), "nothing was opened");
    let bare = open_with(&path, json!({ "prefix": "", "suffix": "", "ids": "plain" })).unwrap();
    bare.save("..", &json!(1), None).unwrap();
    assert_eq!(names(&path), ["%2e%2e", ".cloakroom-lock"]);
    // Others with another prefix do not see them.
    let other = open_with(&path, json!({})).unwrap();
    assert!(other.is_empty().unwrap());
}

#[test]
fn no_error_tells_a_plain_id() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open_with(dir.path(), json!({ "ids": "plain" })).unwrap();
    fs::write(dir.path().join("session-hunter2.json"), "").unwrap();
    let error = manager.load("hunter2").unwrap_err();
    assert!(is_damage(&error) && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(error.path(), Some(dir.path()));
    let items = walked(manager.as_ref());
    assert!(!items[0].as_ref().unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_session_moves_to_another_directory_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) =
        (DirectoryManager::open(from.path()).unwrap(), DirectoryManager::open(to.path()).unwrap());
    let own = Timeouts::NONE.absolute(std::time::Duration::from_secs(3600));
    from.save("visitor", &json!([1.5, "two"]), Some(&Properties::new().timeouts(own))).unwrap();
    from.walk(&mut |item| {
        let (kept_id, session) = item.unwrap();
        to.restore(&kept_id, &session).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    let (before, after) =
        (from.load("visitor").unwrap().unwrap(), to.load("visitor").unwrap().unwrap());
    assert_eq!((before.value, before.times), (after.value, after.times));
    assert_eq!(before.properties, after.properties);
    assert!(to.restore("visitor", &from.load("visitor").unwrap().unwrap()).is_err(), "no digits");
}
