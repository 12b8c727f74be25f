//! One session at a time: `put`, `get`, `rm`, and `ls`, which shows them all.

use cloakroom::{Properties, Times};
use serde_json::json;

use super::Fixture;

#[test]
fn what_was_put_is_got_back() {
    let f = Fixture::new();
    assert_eq!(f.run(&["put", "FILE", "a", "{\"n\": 1}"]).done().out, "");
    assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "{\"n\": 1}\n");
    f.run_with(&["put", "FILE", "a"], b" [2] \r\n").done();
    assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "[2]\n");
    f.run_with(&["put", "FILE", "a", "-"], b"3").done();
    assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "3\n");
    f.run(&["put", "FILE", "a", "-4.5"]).done();
    assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "-4.5\n");
    f.run(&["put", "--hex", "FILE", "00fF", "null"]).done();
    assert_eq!(f.run(&["get", "FILE", "00ff", "--hex"]).done().out, "null\n");
    assert_eq!(f.opened().load([0, 255]).unwrap().unwrap().value, b"null");
}

#[test]
fn put_and_get_with_json_tell_version_and_times() {
    let f = Fixture::new();
    let put = f.run(&["put", "FILE", "a", "[1, 2]", "--json"]).done().object();
    let session = f.opened().load("a").unwrap().unwrap();
    let version = session.version.to_string();
    assert_eq!(put, json!({"id": "a", "version": version}));
    let got = f.run(&["--json", "get", "FILE", "a"]).done();
    let expected = format!(
        "{{\"id\":\"a\",\"version\":\"{version}\",\"created_ms\":{},\"saved_ms\":{},\
         \"deadline_ms\":null,\"value\":[1,2]}}\n",
        session.times.created_ms, session.times.saved_ms
    );
    assert_eq!(got.out, expected);
}

#[test]
fn what_put_refuses_is_not_saved() {
    let f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    f.run(&["put", "FILE", "a", "{"]).refused("not the JSON expected: EOF");
    f.run(&["put", "FILE", "a", ""]).refused("not the JSON expected");
    f.run_with(&["put", "FILE", "a"], b"\"\xff\"").refused("not UTF-8");
    let large = format!("\"{}\"", "x".repeat((4 << 20) - 1));
    f.run_with(&["put", "FILE", "a"], large.as_bytes()).refused("4194305 bytes is too large");
    let huge = vec![b' '; (16 << 20) + 1];
    f.run_with(&["put", "FILE", "a"], &huge).refused("longer than 16777216 bytes");
    f.run(&["put", "FILE", "", "1"]).refused("must not be empty");
    f.run(&["put", "FILE", &"x".repeat(256), "1"]).refused("256 bytes is too long");
    f.run(&["put", "FILE", "0", "1", "--hex"]).refused("not hexadecimal");
    assert_eq!(f.dumped().len(), 1);
    assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "1\n");
}

#[test]
fn what_is_not_there_is_exit_code_1() {
    let f = Fixture::new();
    let get = f.run(&["get", "FILE", "a\u{1b}"]);
    assert_eq!((get.code, get.out.as_str()), (Some(1), ""));
    assert_eq!(get.err, "cloakroom: not found: a\\u{1b}\n");
    let get = f.run(&["get", "FILE", "a", "--json"]);
    assert_eq!((get.code, get.out.as_str()), (Some(1), ""));
    assert_eq!(get.err, "{\"error\":\"not found: a\"}\n");

    f.opened().save("old", b"1").unwrap();
    f.opened().set_deadline("old", Some(1)).unwrap();
    assert_eq!(f.run(&["get", "FILE", "old"]).code, Some(1));
}

#[test]
fn rm_removes_what_there_is_and_names_the_rest() {
    let f = Fixture::new();
    for id in ["a", "b", "c", "d"] {
        f.run(&["put", "FILE", id, "1"]).done();
    }
    assert_eq!(f.run(&["rm", "FILE", "a"]).done().out, "");
    let rm = f.run(&["rm", "FILE", "b", "a", "c"]);
    assert_eq!((rm.code, rm.out.as_str()), (Some(1), ""));
    assert_eq!(rm.err, "cloakroom: not found: a\n");
    let rm = f.run(&["rm", "FILE", "--hex", "--json", "64", "ff"]);
    assert_eq!(rm.code, Some(1));
    let ids = json!([{"id": "d", "removed": true}, {"id_hex": "ff", "removed": false}]);
    assert_eq!(rm.object(), json!({"removed": 1, "ids": ids}));
    assert_eq!(f.dumped().len(), 0);
}

#[test]
fn rm_goes_on_after_damage_and_tells_of_all() {
    let mut f = Fixture::new();
    let container = f.opened();
    let ids: Vec<String> = (0..3000).map(|number| format!("{number}")).collect();
    for id in &ids {
        container.save(id, b"1").unwrap();
    }
    container.sync().unwrap();
    assert!(container.info().unwrap().segments > 1);
    drop(container);
    let segment_table = 5120;
    let sound = f.damage([segment_table + 2]);
    let damaged = f.opened();
    let (lost, spared): (Vec<_>, Vec<_>) = ids.iter().partition(|id| damaged.load(id).is_err());

    let rm = f.run(&["rm", "--json", "FILE", spared[0], lost[0], spared[1]]);
    assert_eq!(rm.code, Some(1));
    let report = rm.object();
    let tried = report["ids"].as_array().unwrap();
    assert_eq!(report["removed"], 2, "{report}");
    for (tried, (id, removed)) in
        tried.iter().zip([(spared[0], true), (lost[0], false), (spared[1], true)])
    {
        assert_eq!((&tried["id"], &tried["removed"]), (&json!(id), &json!(removed)));
    }
    assert!(tried[1]["error"].as_str().unwrap().contains("damaged: the segment table"));
    assert!(rm.err.contains(&format!("not removed: {}: ", lost[0])), "{rm:?}");
    for id in &spared[..2] {
        assert!(!damaged.contains(id).unwrap());
    }
    f.file = sound;
}

#[test]
fn a_wrong_id_keeps_rm_from_removing_any() {
    let f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    f.run(&["rm", "FILE", "a", ""]).refused("must not be empty");
    f.run(&["rm", "FILE", "--hex", "61", "6"]).refused("not hexadecimal");
    assert_eq!(f.dumped().len(), 1);
}

#[test]
fn ls_shows_a_line_for_each_session() {
    let f = Fixture::new();
    let times =
        Times { created_ms: 0, saved_ms: 951_782_400_000, deadline_ms: Some((1 << 48) - 1) };
    let version = f.opened().restore("a \u{1b}", b"[1, 2]", times, &Properties::new()).unwrap();
    let table = f.run(&["ls", "FILE"]).done().out;
    let lines: Vec<&str> = table.lines().collect();
    let heads: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["CREATED", "SAVED", "LEFT", "SIZE", "VERSION", "ID"]);
    assert_eq!(lines.len(), 2);
    let row = lines[1];
    assert!(row.starts_with("1970-01-01T00:00:00Z  2000-02-29T00:00:00Z "), "{row}");
    assert!(row.ends_with(&format!(" 6 B  {version}  a \\u{{1b}}")), "{row}");

    let listed = f.run(&["ls", "FILE", "--json"]).done();
    let expected = format!(
        "{{\"id\":\"a \\u001b\",\"version\":\"{version}\",\"created_ms\":0,\
         \"saved_ms\":951782400000,\"deadline_ms\":281474976710655,\"size\":6}}\n"
    );
    assert_eq!(listed.out, expected);
}
