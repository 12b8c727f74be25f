//! `sweep`: what has expired goes, and is archived first where that is asked for.

use cloakroom::{ByteContainer, Durability, Options, SweepPolicy};
use serde_json::json;

use super::{Fixture, Ran};

/// A container with two sessions that have expired and one that has not.
fn with_expired() -> Fixture {
    let f = Fixture::new();
    let options = Options::new().durability(Durability::Never).sweep(SweepPolicy::OnRequest);
    let container = ByteContainer::open(&f.file, options).unwrap();
    for (id, deadline_ms) in [("a", Some(1)), ("b", Some(2)), ("c", Some(4_000_000_000_000))] {
        container.save(id, format!("{{\"who\":\"{id}\"}}").as_bytes()).unwrap();
        container.set_deadline(id, deadline_ms).unwrap();
    }
    f
}

fn expired(f: &Fixture) -> u64 {
    f.opened().check().unwrap().expired
}

fn said(ran: &Ran, what: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.err.contains(what), "{ran:?}");
}

#[test]
fn what_has_expired_goes_and_nothing_else() {
    let f = with_expired();
    said(&f.run(&["sweep", "FILE", "--dry-run"]), "expired: 2 sessions");
    assert_eq!(f.run(&["sweep", "FILE", "--dry-run", "--json"]).done().object()["expired"], 2);
    assert_eq!(expired(&f), 2);
    said(&f.run(&["sweep", "FILE"]), "removed 2 sessions");
    assert_eq!((expired(&f), f.opened().len().unwrap()), (0, 1));
    let again = f.run(&["sweep", "FILE", "--json"]).done().object();
    assert_eq!(again, json!({"removed": 0, "done": true}));
}

#[test]
fn a_limit_leaves_the_rest_for_another_time() {
    let f = with_expired();
    let first = f.run(&["sweep", "FILE", "--limit", "1", "--json"]).done().object();
    assert_eq!(first, json!({"removed": 1, "done": false}));
    assert_eq!(expired(&f), 1);
}

#[test]
fn what_goes_is_archived_as_dump_prints_it() {
    let f = with_expired();
    let archive = f.dir.path().join("expired.ndjson");
    let path = archive.to_str().unwrap();
    said(&f.run(&["sweep", "FILE", "--archive", path, "--limit", "1"]), "removed 1 session");
    said(&f.run(&["sweep", "FILE", "--archive", path]), "removed 1 session");
    let text = std::fs::read_to_string(&archive).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut ids: Vec<_> = lines.iter().map(|line| line["value"]["who"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some("a"), Some("b")]);
    assert!(lines.iter().all(|line| line["deadline_ms"].as_u64().unwrap() < 3));
    std::fs::remove_file(&archive).unwrap();
}

#[test]
fn what_a_crash_left_of_a_line_harms_no_other() {
    let f = with_expired();
    let archive = f.dir.path().join("expired.ndjson");
    std::fs::write(&archive, "{\"id\":\"torn").unwrap();
    let path = archive.to_str().unwrap();
    said(&f.run(&["sweep", "FILE", "--archive", path]), "removed 2 sessions");
    let text = std::fs::read_to_string(&archive).unwrap();
    let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert_eq!((whole.count(), text.lines().count()), (2, 3), "{text}");
    std::fs::remove_file(&archive).unwrap();
}

#[test]
fn the_container_is_no_archive_of_its_own() {
    let f = with_expired();
    let len = std::fs::metadata(&f.file).unwrap().len();
    let path = f.file.to_str().unwrap();
    f.run(&["sweep", "FILE", "--archive", path]).refused("the container itself");
    assert_eq!(std::fs::metadata(&f.file).unwrap().len(), len);
    assert_eq!(expired(&f), 2);
}

#[test]
fn nothing_goes_that_cannot_be_archived() {
    let f = with_expired();
    f.run(&["sweep", "FILE", "--archive", "/no/such/directory/x"]).refused("open the archive");
    f.run(&["sweep", "FILE", "--archive", "/dev/full"]).refused("write to the archive");
    assert_eq!(expired(&f), 2);
}

#[test]
fn no_other_command_removes_what_has_expired() {
    let f = with_expired();
    f.run(&["put", "FILE", "d", "1"]).done();
    f.run(&["rm", "FILE", "d"]).done();
    assert_eq!(expired(&f), 2);
}
