//! What is printed, for whom, and what never is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Fixture, TOOL};

#[test]
fn hostile_names_and_values_cannot_reach_the_terminal() {
    let f = Fixture::new();
    let count = f.fill_with_oddities();
    // The control characters are looked for in `finish`.
    assert_eq!(f.run(&["ls", "FILE"]).done().out.lines().count(), count + 1);
    assert_eq!(f.run(&["ls", "FILE", "--json"]).done().objects().len(), count);
    for object in f.run(&["dump", "FILE"]).done().raw_objects() {
        let id = match object.get("id_hex") {
            Some(digits) => digits.trim_matches('"').to_owned(),
            None => {
                let id: String = serde_json::from_str(&object["id"]).unwrap();
                id.bytes().map(|byte| format!("{byte:02x}")).collect()
            }
        };
        let got = f.run(&["get", "FILE", "--hex", &id]);
        match object.get("value") {
            Some(_) => assert_eq!(got.code, Some(0)),
            None => drop(got.refused("the value is not JSON")),
        }
        let got = f.run(&["get", "FILE", "--hex", &id, "--json"]).done();
        assert_eq!(got.raw_objects(), [object]);
    }
    let name = "no\u{1b}[31m\u{202e}\u{9b}";
    f.run(&["info", name]).refused("No such file");
    f.run(&["info", name, "--json"]).refused("No such file");
    let usage = f.run(&["get", "FILE", "a", "b\u{1b}[31m\u{9b}"]);
    assert_eq!((usage.code, usage.out.as_str()), (Some(2), ""));
}

#[test]
fn what_is_escaped_still_means_the_same() {
    let f = Fixture::new();
    let value = "{\"\u{9b}\": [\"\u{202e}\\\"\u{7f}\",\t1,\r\n2]}";
    f.opened().save("a", value.as_bytes()).unwrap();
    let meant: Value = serde_json::from_str(value).unwrap();
    let got = f.run(&["get", "FILE", "a"]).done().out;
    assert_eq!(got, "{\"\\u009b\": [\"\\u202e\\\"\\u007f\", 1,\n2]}\n");
    assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), meant);
    assert_eq!(f.run(&["get", "FILE", "a", "--json"]).done().object()["value"], meant);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let f = Fixture::new();
    let container = f.opened();
    for number in 0..5000 {
        container.save(format!("session {number}"), &[b'1'; 100]).unwrap();
    }
    let mut command = Command::new(TOOL);
    command.arg("dump").arg(&f.file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn a_demo_whose_reader_goes_away_ends_well() {
    let f = Fixture::empty();
    let mut command = Command::new(TOOL);
    command.args(["demo", "--seconds", "1", "--file"]).arg(&f.file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("8 processes update"), "{line}");
    drop(out);
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{messages}");
    assert!(messages.lines().all(|line| line.ends_with(" killed")), "{messages}");
}

#[test]
fn demo_offers_no_json_and_has_none() {
    let f = Fixture::empty();
    let help = f.run(&["demo", "--help"]).done().out;
    assert!(help.contains("--seconds") && !help.contains("--json"), "{help}");
    f.run(&["demo", "--json"]).refused("it has no --json");
    f.run(&["--json", "demo"]).refused("it has no --json");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(TOOL).arg("dump").arg(&f.file).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("cloakroom: cannot write standard output: "), "{message}");
}

#[test]
fn wrong_usage_is_exit_code_2_with_a_suggestion() {
    let f = Fixture::empty();
    let wrong = f.run(&["chekc", "FILE"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
    assert!(wrong.err.contains("'check'"), "{wrong:?}");
    let wrong = f.run(&["chekc", "FILE", "--json"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
    let error: Value = serde_json::from_str(&wrong.err).unwrap();
    assert!(error["error"].as_str().unwrap().contains("'check'"));
    let nothing = f.run(&[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(2), ""));
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let f = Fixture::empty();
    let verbs = [
        "create", "put", "get", "rm", "ls", "dump", "restore", "info", "check", "inspect",
        "migrate",
    ];
    for verb in verbs {
        let help = f.run(&[verb, "--help"]).done().out;
        assert!(help.contains(&format!("cloakroom {verb} ")), "{help}");
        assert!(help.contains("Example") && help.contains("--json"), "{help}");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
    let version = f.run(&["--version"]).done().out;
    assert_eq!(version, format!("cloakroom {}\n", env!("CARGO_PKG_VERSION")));
}
