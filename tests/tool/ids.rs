//! Ids that the container keeps as SHA-256: what the tool takes, and what it shows.

use serde_json::json;

use super::Fixture;

/// The SHA-256 of `abc` (FIPS 180-2).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn hashed() -> Fixture {
    let f = Fixture::empty();
    f.run(&["create", "FILE"]).done();
    f
}

#[test]
fn create_keeps_ids_as_sha_256_unless_told_otherwise() {
    let f = Fixture::empty();
    let created = f.run(&["create", "FILE", "--json"]).done().object();
    assert_eq!(created["ids"], "sha256");
    assert_eq!(f.run(&["info", "FILE", "--json"]).done().object()["ids"], "sha256");
    assert!(f.run(&["info", "FILE"]).done().out.contains("ids       sha256\n"));
    let plain = Fixture::empty();
    let created = plain.run(&["create", "FILE", "--ids", "plain", "--json"]).done().object();
    assert_eq!(created["ids"], "plain");
    let wrong = Fixture::empty().run(&["create", "FILE", "--ids", "md5"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("sha256") && wrong.err.contains("plain"), "{wrong:?}");
}

#[test]
fn a_visitors_id_is_hashed_by_the_tool_and_a_kept_one_is_not() {
    let f = hashed();
    let put = f.run(&["put", "FILE", "abc", "1", "--json"]).done().object();
    assert_eq!(put["id"], "abc");
    assert_eq!(f.run(&["get", "FILE", "abc"]).done().out, "1\n");
    assert_eq!(f.run(&["get", "FILE", "--kept", ABC]).done().out, "1\n");
    assert_eq!(f.run(&["get", "FILE", ABC]).code, Some(1), "who has read the file cannot log in");
    let got = f.run(&["get", "FILE", "--kept", ABC, "--json"]).done().object();
    assert_eq!((&got["id_sha256"], got.get("id")), (&json!(ABC), None));
    let put = f.run(&["put", "FILE", "--kept", ABC, "2", "--json"]).done().object();
    assert_eq!(put["id_sha256"], ABC);
    assert_eq!(f.run(&["get", "FILE", "abc"]).done().out, "2\n");
    f.run(&["put", "FILE", "--kept", "abc", "3"]).refused("64 hexadecimal digits");
    f.run(&["rm", "FILE", "--kept", ABC, "nope"]).refused("64 hexadecimal digits");
    assert_eq!(f.run(&["get", "FILE", "abc"]).done().out, "2\n");
    let removed = f.run(&["rm", "FILE", "--kept", ABC, "--json"]).done().object();
    assert_eq!(removed, json!({"removed": 1, "ids": [{"id_sha256": ABC, "removed": true}]}));
    assert_eq!(f.run(&["get", "FILE", "abc"]).code, Some(1));
}

#[test]
fn what_is_listed_is_what_is_kept() {
    let f = hashed();
    f.run(&["put", "FILE", "abc", "1"]).done();
    assert!(f.run(&["ls", "FILE"]).done().out.contains(ABC));
    assert_eq!(f.run(&["ls", "FILE", "--json"]).done().object()["id_sha256"], ABC);
    assert_eq!(f.run(&["dump", "FILE"]).done().object()["id_sha256"], ABC);
    f.opened().set_deadline("abc", Some(1)).unwrap();
    let archive = f.dir.path().join("expired.ndjson");
    f.run(&["sweep", "FILE", "--json", "--archive", archive.to_str().unwrap()]).done();
    let archived = std::fs::read_to_string(archive).unwrap();
    assert!(archived.contains(&format!("\"id_sha256\":\"{ABC}\"")), "{archived}");
}

#[test]
fn a_dump_goes_into_a_container_of_the_same_form_or_becomes_hashed() {
    let (plain, sha) = (Fixture::new(), hashed());
    plain.run(&["put", "FILE", "abc", "1"]).done();
    let dump = plain.run(&["dump", "FILE"]).done().out;
    assert_eq!(sha.run_with(&["restore", "FILE"], dump.as_bytes()).code, Some(0));
    assert_eq!(sha.run(&["get", "FILE", "abc"]).done().out, "1\n");

    let dump = sha.run(&["dump", "FILE"]).done().out;
    let again = hashed();
    assert_eq!(again.run_with(&["restore", "FILE"], dump.as_bytes()).code, Some(0));
    assert_eq!(again.run(&["get", "FILE", "abc"]).done().out, "1\n");
    let why = "line 1: an id as SHA-256, for a container that keeps ids as they are";
    plain.run_with(&["restore", "FILE"], dump.as_bytes()).refused(why);
    let line = r#"{"id_sha256":"abc","created_ms":1,"saved_ms":1,"value":1}"#;
    again.run_with(&["restore", "FILE"], line.as_bytes()).refused("64 hexadecimal digits");
}
