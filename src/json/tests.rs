//! What the JSON faces refuse, and what their errors must not say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};

use super::*;
use crate::{Properties, Times};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Coat {
    colour: Colour,
    pockets: u64,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
enum Colour {
    Red,
    Grey,
}

fn container() -> (tempfile::TempDir, Container) {
    let dir = tempfile::tempdir().unwrap();
    let container = Container::create(dir.path().join("sessions"), Options::new()).unwrap();
    (dir, container)
}

fn is_not_json<T: std::fmt::Debug>(result: Result<T>) -> bool {
    matches!(result.unwrap_err().kind(), ErrorKind::NotJson(_))
}

#[test]
fn text_that_is_not_json_is_refused_and_nothing_changes() {
    let (_dir, container) = container();
    let text = container.text();
    let version = text.save("id", "1").unwrap();
    for wrong in ["", " ", "{", "1 2", "nul", "'a'", "\"\n\"", "\u{feff}1", "[1,]", "\"\\x\"", "01"]
    {
        assert!(is_not_json(text.save("id", wrong)), "{wrong:?}");
        assert!(is_not_json(text.create_session("new", wrong)), "{wrong:?}");
        assert!(is_not_json(text.replace("id", wrong)), "{wrong:?}");
        assert!(is_not_json(text.save_if("id", version, wrong)), "{wrong:?}");
        assert!(
            is_not_json(text.restore("id", wrong, Times::default(), &Properties::new())),
            "{wrong:?}"
        );
        assert!(is_not_json(text.update("id", |_| Change::Save(wrong.into()))), "{wrong:?}");
    }
    assert_eq!(text.load("id").unwrap().unwrap().version, version);
    assert_eq!(container.len().unwrap(), 1);
}

#[test]
fn text_comes_back_byte_for_byte() {
    let (_dir, container) = container();
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let odd = [
        " { \"a\" :\n1 } ",
        "1e999",
        "\"\\ud800\"",
        "{\"a\":1,\"a\":2}",
        "\"\u{9b}\u{202e}\"",
        &deep,
    ];
    for value in odd {
        container.text().save("id", value).unwrap();
        assert_eq!(container.text().load("id").unwrap().unwrap().value, value);
    }
}

#[test]
fn stored_bytes_that_are_not_json_are_an_error_of_their_own() {
    let (_dir, container) = container();
    for wrong in [&b"coat"[..], b"", b"\"\xff\"", b"\x00"] {
        let version = container.bytes().save("id", wrong).unwrap();
        let mut value = String::from("old");
        assert!(is_not_json(container.load::<serde_json::Value>("id")));
        assert!(is_not_json(container.text().load("id")));
        assert!(is_not_json(container.text().load_into("id", &mut value)));
        assert_eq!(value, "");
        assert!(is_not_json(container.update::<u64>("id", |_| unreachable!())));
        assert!(is_not_json(container.text().update("id", |_| unreachable!())));
        assert_eq!(container.iter::<u64>().filter(Result::is_err).count(), 1);
        assert_eq!(container.text().iter().filter(Result::is_err).count(), 1);
        assert_eq!(container.bytes().load("id").unwrap().unwrap().version, version);
    }
}

#[test]
fn an_update_whose_value_serde_refuses_changes_nothing() {
    let (_dir, container) = container();
    container.save("id", &Vec::<(Vec<u8>, u8)>::new()).unwrap();
    #[derive(Deserialize)]
    struct Refused;
    impl Serialize for Refused {
        fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("the password is hunter2"))
        }
    }
    let before = container.text().load("id").unwrap();
    let refused = container.update::<Refused>("new", |_| Change::Save(Refused)).unwrap_err();
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
    assert!(is_not_json(container.save("id", &Refused)));
    assert_eq!(container.text().load("id").unwrap(), before);
    assert!(!container.contains("new").unwrap());
}

#[test]
fn load_into_uses_the_memory_again() {
    let (_dir, container) = container();
    container.text().save("id", "[1, 2, 3]").unwrap();
    let mut value = String::with_capacity(4096);
    let memory = value.as_ptr();
    container.text().load_into("id", &mut value).unwrap().unwrap();
    assert_eq!((value.as_str(), value.as_ptr()), ("[1, 2, 3]", memory));
    assert!(container.text().load_into("other", &mut value).unwrap().is_none());
    assert_eq!((value.as_str(), value.as_ptr()), ("", memory));
}

#[test]
fn an_error_says_where_and_what_was_expected_but_not_what_was_there() {
    let (dir, container) = container();
    let said = |text: &str| {
        container.text().save("secret-id", text).unwrap();
        container.load::<Coat>("secret-id").unwrap_err().to_string()
    };
    let wrong_type = said("{\"colour\":\"Red\",\"pockets\":\"hunter2, expected x\"}");
    assert!(wrong_type.contains("invalid type: string, expected u64 at line 1 column"));
    assert!(wrong_type.starts_with(&dir.path().join("sessions").display().to_string()));
    let messages = [
        wrong_type,
        said("{\"colour\":\"hunter2\",\"pockets\":1}"),
        said("{\"hunter2\":\"Red\",\"pockets\":1}"),
        said("\"hunter2\""),
        said("{\"colour\":\"Red\",\"pockets\":-1}"),
    ];
    for message in messages {
        assert!(!message.contains("hunter2") && !message.contains("secret"), "{message}");
        assert!(message.contains("expected") && message.contains("at line 1"), "{message}");
    }
    assert!(said("{\"colour\":\"Red\"}").contains("missing field `pockets` at line 1"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pocketless {}

#[derive(Debug, Deserialize)]
enum Uninhabited {}

#[derive(Debug)]
struct Talkative;

impl<'de> Deserialize<'de> for Talkative {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom(String::deserialize(from)?))
    }
}

#[test]
fn no_name_or_text_in_a_value_passes_for_a_piece_of_the_message() {
    let (_dir, container) = container();
    let names = [
        "hunter2",
        "a, expected hunter2",
        "a`, expected `hunter2",
        "`, there are no fields hunter2",
        "hunter2`, there are no fields",
        "a at line 3 column hunter2",
        "invalid type: string, hunter2",
        "unknown field `a`, hunter2",
        "missing field `hunter2` and `hunter2`",
    ];
    let told = |text: &str| {
        container.text().save("id", text).unwrap();
        [
            container.load::<Pocketless>("id").map(drop),
            container.load::<Coat>("id").map(drop),
            container.load::<Uninhabited>("id").map(drop),
            container.load::<Talkative>("id").map(drop),
            container.load::<Vec<char>>("id").map(drop),
        ]
        .map(|refused| refused.unwrap_err().to_string())
    };
    for name in names {
        let quoted = serde_json::to_string(name).unwrap();
        for text in [&quoted, &format!("{{{quoted}:1}}"), &format!("[{quoted}]")] {
            for message in told(text) {
                assert!(!message.contains("hunter2"), "{text}: {message}");
            }
        }
    }
    assert!(told("{\"a\":1}")[0].contains("unknown field, there are no fields at line 1"));
    assert!(told("{\"a\":1}")[1].contains("unknown field, expected `colour` or `pockets` at"));
    assert!(told("[\"hat\"]")[4].contains("invalid value: string, expected a character at"));
}

#[test]
fn all_errors_name_the_file_and_by_the_same_name() {
    let (dir, container) = container();
    container.save("id", "a coat").unwrap();
    let name = dir.path().join("./sessions");
    let bytes = ByteContainer::open(&name, Options::new()).unwrap();
    for container in [Container::open(name, Options::new()).unwrap(), Container::from_bytes(bytes)]
    {
        let typed = container.load::<u64>("id").unwrap_err();
        let other = container.load::<u64>("").unwrap_err();
        assert!(matches!(typed.kind(), ErrorKind::NotJson(_)), "{typed}");
        assert_eq!(typed.path().unwrap().as_os_str(), other.path().unwrap().as_os_str());
        assert_eq!(typed.path().unwrap(), dir.path().join("sessions"));
    }
}

#[test]
fn an_error_keeps_the_place_as_numbers() {
    let (_dir, container) = container();
    container.text().save("id", "[1,\n\"two\"]").unwrap();
    let error = container.load::<Vec<u64>>("id").unwrap_err();
    let ErrorKind::NotJson(source) = error.kind() else { panic!("{error}") };
    assert_eq!((source.line(), source.column()), (2, 5));
    assert!(source.is_data());
}

#[test]
fn what_could_never_be_loaded_again_is_refused() {
    let (_dir, container) = container();
    let nested = |depth| {
        let inner = serde_json::json!("[{\\\"");
        (0..depth).fold(inner, |inner, _| serde_json::json!([inner]))
    };
    container.save("id", &nested(127)).unwrap();
    assert_eq!(container.load::<serde_json::Value>("id").unwrap().unwrap().value, nested(127));
    for deep in [128, 200] {
        let refused = container.save("id", &nested(deep)).unwrap_err().to_string();
        assert!(refused.contains("nested deeper than 127 levels"), "{refused}");
        assert!(is_not_json(container.save("id", &nested(deep))));
    }
    assert_eq!(container.load::<serde_json::Value>("id").unwrap().unwrap().value, nested(127));
}

#[test]
fn each_float_comes_back_as_it_was() {
    let (_dir, container) = container();
    let mut bits = 1_u64;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let float = f64::from_bits(bits);
        if float.is_finite() {
            container.save("id", &float).unwrap();
            let found = container.load::<f64>("id").unwrap().unwrap().value;
            assert_eq!(found.to_bits(), float.to_bits(), "{float:?}");
        }
    }
}
