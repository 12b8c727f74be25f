//! All of a container: `dump`, `restore`, `info`, `check`, `inspect`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use cloakroom::Timeouts;
use serde_json::json;

use super::Fixture;

#[test]
fn a_dump_restored_into_a_new_container_gives_the_same_dump() {
    let f = Fixture::new();
    let count = f.fill_with_oddities();
    let dump = f.run(&["dump", "FILE"]).done().out;
    assert_eq!(f.dumped().len(), count);
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&f.run(&["dump", "FILE", "--json"]).done().out), sorted(&dump));

    let copy = Fixture::new();
    let restored = copy.run_with(&["restore", "FILE"], dump.as_bytes());
    assert_eq!((restored.code, restored.out.as_str()), (Some(0), ""));
    assert_eq!(restored.err, format!("restored {count} sessions\n"));
    assert_eq!(copy.dumped(), f.dumped());

    // Once more over what is there, and without a line end after the last line.
    let again = copy.run_with(&["restore", "FILE", "--json"], dump.trim_end().as_bytes());
    assert_eq!(again.done().object(), json!({"restored": count}));
    assert_eq!(copy.dumped(), f.dumped());
}

#[test]
fn a_dump_says_what_the_library_knows() {
    let f = Fixture::new();
    f.fill_with_oddities();
    let container = f.opened();
    for line in f.run(&["dump", "FILE"]).done().raw_objects() {
        let id = match line.get("id") {
            Some(id) => serde_json::from_str::<String>(id).unwrap().into_bytes(),
            None => bytes_of(&line["id_hex"]),
        };
        let session = container.load(&id).unwrap().unwrap();
        assert_eq!(line["version"], format!("\"{}\"", session.version));
        assert_eq!(line["created_ms"], session.times.created_ms.to_string());
        assert_eq!(line["saved_ms"], session.times.saved_ms.to_string());
        assert_eq!(line["deadline_ms"], json!(session.times.deadline_ms).to_string());
        assert_eq!(line.get("timeouts").cloned(), session.properties.own_timeouts().map(text_of));
        match line.get("value_hex") {
            Some(digits) => assert_eq!(bytes_of(digits), session.value),
            None => assert!(std::str::from_utf8(&session.value).is_ok()),
        }
    }
}

/// Timeouts as they are dumped.
fn text_of(timeouts: Timeouts) -> String {
    let ms = |timeout: Duration| timeout.as_millis() as u64;
    let (idle, absolute) = (timeouts.idle_timeout(), timeouts.absolute_timeout());
    let (idle, absolute) = (json!(idle.map(ms)), json!(absolute.map(ms)));
    format!("{{\"idle_ms\":{idle},\"absolute_ms\":{absolute}}}")
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.trim_matches('"').as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_largest_value_can_be_dumped_and_restored_however_long_its_line_gets() {
    let f = Fixture::new();
    let value = format!("\"{}\"", "\u{7f}".repeat((4 << 20) - 2));
    f.opened().save("a", value.as_bytes()).unwrap();
    f.opened().save("b", &vec![0xff; 4 << 20]).unwrap();
    let dump = f.run(&["dump", "FILE"]).done().out;
    let copy = Fixture::new();
    let restored = copy.run_with(&["restore", "FILE", "--json"], dump.as_bytes());
    assert_eq!(restored.done().object(), json!({"restored": 2}));
    assert_eq!(copy.opened().load("a").unwrap().unwrap().value, value.as_bytes());
    assert_eq!(copy.opened().load("b").unwrap().unwrap().value, vec![0xff; 4 << 20]);
}

#[test]
fn restore_names_the_line_that_is_wrong_and_keeps_those_before() {
    let f = Fixture::new();
    let good = "{\"id\":\"a\",\"created_ms\":1,\"saved_ms\":1,\"value\":1}\n\n";
    let wrong = [
        "{\"id\":\"b\"}",
        "\u{1b}[31m",
        "{\"id\":\"\",\"created_ms\":1,\"saved_ms\":1,\"value\":1}",
        "{\"id\":\"b\",\"created_ms\":1,\"saved_ms\":1,\"value\":nul}",
        "{\"id\":\"b\",\"created_ms\":1,\"saved_ms\":1,\"value\":1,\"\u{1b}\":2}",
    ];
    for line in wrong {
        f.run(&["rm", "FILE", "a"]);
        let input = format!("{good}{line}\n{}", good.replace("\"a\"", "\"c\""));
        f.run_with(&["restore", "FILE"], input.as_bytes()).refused("line 3: ");
        assert_eq!(f.dumped().len(), 1);
        assert_eq!(f.run(&["get", "FILE", "a"]).done().out, "1\n");
    }
    f.run_with(&["restore", "FILE"], b"\xff\n").refused("line 1: not UTF-8");
    let long = vec![b' '; 26 << 20];
    f.run_with(&["restore", "FILE"], &long).refused("line 1: longer than");
}

#[test]
fn restore_blames_no_line_for_what_is_wrong_with_the_container() {
    let mut f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    let dump = f.run(&["dump", "FILE"]).done().out;
    let control_line = 4096;
    let sound = f.damage([control_line + 3]);
    let restored = f.run_with(&["restore", "FILE"], dump.as_bytes());
    assert_eq!((restored.code, restored.out.as_str()), (Some(1), ""));
    assert!(restored.err.contains("damaged: the control line"), "{restored:?}");
    assert!(!restored.err.contains("line 1"), "{restored:?}");

    f.file = sound;
    let outsider = fs::File::open(&f.file).unwrap();
    outsider.lock().unwrap();
    let restored = f.run_with(&["restore", "FILE"], dump.as_bytes());
    let text = restored.refused("locked by another writer").err;
    assert!(!text.contains("line 1"), "{text}");
}

#[test]
fn info_and_check_count_the_sessions() {
    let f = Fixture::new();
    f.fill_with_oddities();
    f.run(&["rm", "FILE", "plain"]).done();
    let info = f.run(&["info", "FILE", "--json"]).done().object();
    assert_eq!((&info["version"], &info["sessions"]), (&json!(0), &json!(8)));
    assert_eq!(info["length"], fs::metadata(&f.file).unwrap().len());
    assert_eq!(info["uuid"].as_str().unwrap().len(), 36);
    let fields: Vec<_> = info.as_object().unwrap().keys().cloned().collect();
    for field in ["blocks", "segments", "write_epoch", "synced_epoch", "synced_at_ms"] {
        assert!(info[field].is_u64() && fields.iter().any(|name| name == field), "{field}");
    }
    let check = f.run(&["check", "FILE", "--json"]).done().object();
    assert_eq!((&check["sound"], &check["damage"]), (&json!(true), &json!([])));
    assert_eq!(check["sessions"], 8);
    let text = f.run(&["info", "FILE"]).done().out;
    assert!(text.contains(info["uuid"].as_str().unwrap()), "{text}");
    assert!(f.run(&["check", "FILE"]).done().out.contains("sound: 8 sessions"));
}

#[test]
fn inspect_prints_the_layout_with_or_without_a_file() {
    let f = Fixture::new();
    let layout = f.run(&["inspect", "--layout"]).done().out;
    assert_eq!(f.run(&["inspect", "FILE", "--layout"]).done().out, layout);
    let json = f.run(&["inspect", "--layout", "--json"]).done().object();
    let structures = json["structures"].as_array().unwrap();
    assert_eq!(structures.len(), cloakroom::format::layout().len());
    for (shown, structure) in structures.iter().zip(cloakroom::format::layout()) {
        assert_eq!(shown["name"], structure.name);
        assert_eq!(shown["fields"].as_array().unwrap().len(), structure.fields.len());
        assert!(layout.contains(&format!("{}\n", structure.name)));
    }
    let header = structures.iter().find(|shown| shown["name"] == "static header").unwrap();
    let magic = json!({"offset": 0, "size": 16, "name": "magic"});
    assert_eq!(header["fields"][0], magic);
    assert_eq!(f.run(&["inspect", "FILE"]).code, Some(2));
}

#[test]
fn damage_is_found_and_the_other_sessions_are_still_printed() {
    let mut f = Fixture::new();
    // The version before the damaged one must not be taken for the newest.
    f.run(&["put", "FILE", "b", "\"before\""]).done();
    for (id, value) in [("a", "\"first\""), ("b", "\"second\""), ("c", "\"third\"")] {
        f.run(&["put", "FILE", id, value]).done();
    }
    let mut bytes = fs::read(&f.file).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - 6).filter(|at| &bytes[*at..*at + 6] == b"second").collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    let damaged = f.dir.path().join("damaged");
    fs::write(&damaged, &bytes).unwrap();
    let sound = std::mem::replace(&mut f.file, damaged);

    let check = f.run(&["check", "FILE", "--json"]);
    assert_eq!((check.code, check.err.as_str()), (Some(1), ""));
    let report = check.object();
    assert_eq!(report["sound"], false);
    assert!(report["damage"][0]["offset"].is_u64() && report["damage"][0]["what"].is_string());
    assert_eq!(f.run(&["check", "FILE"]).code, Some(1));
    let got = f.run(&["get", "FILE", "b"]);
    assert_eq!((got.code, got.out.as_str()), (Some(1), ""));
    assert!(got.err.contains("damaged"), "{got:?}");
    assert_eq!(f.run(&["get", "FILE", "c"]).done().out, "\"third\"\n");
    for verb in ["dump", "ls"] {
        let ran = f.run(&[verb, "FILE", "--json"]);
        assert_eq!((ran.code, ran.objects().len()), (Some(1), 2));
        assert!(ran.err.contains("damaged"), "{ran:?}");
    }
    assert!(fs::read(&f.file).unwrap() == bytes, "looking changed the file");
    // The file is a copy, so the first writer recovers; damage stays damage.
    for number in 0..300 {
        f.run(&["put", "FILE", &format!("new{}", number % 3), "1"]).done();
    }
    assert_eq!(f.run(&["get", "FILE", "b"]).code, Some(1));
    assert_eq!(f.run(&["check", "FILE"]).code, Some(1));
    f.run(&["put", "FILE", "b", "\"again\""]).done();
    assert_eq!(f.run(&["get", "FILE", "b"]).done().out, "\"again\"\n");
    assert_eq!(f.run(&["check", "FILE"]).code, Some(0));
    f.file = sound;
}

#[test]
fn where_nothing_can_be_saved_any_more_the_way_out_that_check_names_is_one() {
    let mut f = Fixture::new();
    f.fill_with_oddities();
    let before = f.dumped();
    let control_line = 4096;
    let sound = f.damage([control_line + 3]);
    let put = f.run(&["put", "FILE", "a", "1"]);
    assert_eq!(put.code, Some(1));
    assert!(put.err.contains("try `cloakroom check`"), "{put:?}");
    let check = f.run(&["check", "FILE"]);
    assert_eq!(check.code, Some(1));
    assert!(check.out.contains("nothing can be saved any more"), "{check:?}");
    assert!(check.out.contains("`cloakroom dump FILE | cloakroom restore NEW`"), "{check:?}");
    let dump = f.run(&["dump", "FILE"]).done().out;
    f.file = sound;

    let new = Fixture::new();
    new.run_with(&["restore", "FILE", "--json"], dump.as_bytes()).done();
    assert_eq!(new.dumped(), before);
    new.run(&["put", "FILE", "a", "1"]).done();
}

#[test]
fn check_counts_all_damage_and_lists_a_thousand_places() {
    let mut f = Fixture::new();
    let container = f.opened();
    for number in 0..1200 {
        container.save(format!("{number}"), b"\"a coat\"").unwrap();
    }
    container.sync().unwrap();
    drop(container);
    let bytes = fs::read(&f.file).unwrap();
    let places = (0..bytes.len() - 6).filter(|at| &bytes[*at..*at + 6] == b"a coat");
    let sound = f.damage(places);

    assert_eq!(f.run(&["ls", "FILE", "--json"]).out, "");
    let report = f.run(&["check", "FILE", "--json"]).object();
    let listed = report["damage"].as_array().unwrap().len();
    assert_eq!(
        (listed, &report["damage_count"], &report["sessions"]),
        (1000, &json!(1200), &json!(0))
    );
    let text = f.run(&["check", "FILE"]).out;
    assert!(text.contains("\ndamage: 200 more, which are not listed\n"), "{text}");
    assert!(text.contains("\n1200 damaged places: 0 sessions, "), "{text}");
    f.file = sound;
}

#[test]
fn damage_of_the_index_does_not_keep_a_dump_from_ending() {
    let mut f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    let bytes = fs::read(&f.file).unwrap();
    let damaged = f.dir.path().join("damaged");
    let sound = std::mem::replace(&mut f.file, damaged);
    // The control, root and table lines, the head of the segment, its entries.
    for start in [4096, 4160, 5120, 2 * 65536, 2 * 65536 + 512, 2 * 65536 + 4096] {
        let mut bytes = bytes.clone();
        bytes[start..start + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(&f.file, &bytes).unwrap();
        let options = cloakroom::Options::new();
        if let Ok(container) = cloakroom::ByteContainer::open_read_only(&f.file, options) {
            // First without the tool, which would print for ever.
            assert!(container.iter().take(100).count() < 100, "no end at {start}");
        }
        for verb in ["dump", "ls", "check", "info"] {
            let ran = f.run(&[verb, "FILE"]);
            assert!(ran.code.is_some(), "{ran:?}");
            assert_eq!(ran.code == Some(0), ran.err.is_empty() && !ran.out.contains("damage:"));
        }
        assert!(fs::read(&f.file).unwrap() == bytes, "looking changed the file");
    }
    f.file = sound;
}
