//! Values of every size from 0 bytes to 4 MiB, above all those at which the way
//! they are stored changes: the sizes of the extent classes and the whole
//! blocks of a large value, as the format's own tables have them.

use std::collections::BTreeSet;

use cloakroom::{Change, ErrorKind, Outcome};

use crate::fixture::{Fixture, bytes, field, number, quick, refusal, value};

const MAX: usize = 4 << 20;
const BLOCK: usize = 65536;

/// Bytes of a record without timeouts before the id.
fn record_head() -> usize {
    let tables = cloakroom::format::layout();
    let record = tables.iter().find(|structure| structure.name == "record").unwrap();
    let last = record.fields.iter().find(|field| field.name == "saved");
    last.map_or(0, |field| field.offset + field.size)
}

/// Sizes of the classes of a new container, from its header.
fn classes(fixture: &Fixture) -> Vec<usize> {
    let header = std::fs::read(fixture.path()).unwrap();
    let count = number(&header, field("static header", "class_count"));
    let table = &header[field("static header", "classes")];
    let lines = table.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let lines = lines.take(usize::try_from(count).unwrap());
    lines.map(|lines| usize::from(lines) * 64).collect()
}

#[test]
fn a_handle_saves_no_more_of_a_session_than_it_is_told_by_any_way() {
    let fixture = Fixture::memory();
    let container = fixture.create(quick());
    let version = container.save("visitor", &[1; 2000]).unwrap();
    let limited = fixture.open(quick().value_len_max(1000));
    assert_eq!(value(&limited, "visitor").len(), 2000, "what is there can be loaded");
    let large = [2; 1001];
    let none = cloakroom::Properties::new();
    let refused = [
        refusal(limited.save("visitor", &large)),
        refusal(limited.save_with("visitor", &large, &none)),
        refusal(limited.create_session("another", &large)),
        refusal(limited.create_session_with("another", &large, &none)),
        refusal(limited.replace("visitor", &large)),
        refusal(limited.save_if("visitor", version, &large)),
        refusal(limited.update("visitor", |_| cloakroom::Change::Save(large.to_vec()))),
        refusal(limited.restore("visitor", &large, cloakroom::Times::default(), &none)),
    ];
    for kind in refused {
        assert!(matches!(kind, ErrorKind::TooLarge { len: 1001, max: 1000 }), "{kind}");
    }
    assert_eq!(value(&container, "visitor"), [1; 2000]);
    limited.save("visitor", &[3; 1000]).unwrap();
    let text = cloakroom::Container::from_bytes(limited);
    let refused = text.save("visitor", &"x".repeat(999)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::TooLarge { len: 1001, max: 1000 }));
    text.save("visitor", &"x".repeat(998)).unwrap();
}

#[test]
fn values_of_every_class_and_around_it_round_trip() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let classes = classes(&fixture);
    assert!(classes.len() > 20 && classes.is_sorted());
    let overhead = record_head() + "visitor".len();
    let mut sizes = BTreeSet::from([0, 1, 2, 63, 64, 65]);
    for class in classes {
        sizes.extend(class - overhead - 1..=class - overhead + 1);
    }
    // One id, whose value changes its class each time, and one for each size.
    for len in &sizes {
        let saved = bytes(*len as u64, *len);
        container.save("visitor", &saved).unwrap();
        assert!(value(&container, "visitor") == saved, "{len} bytes");
        container.save(len.to_string(), &saved).unwrap();
    }
    for len in &sizes {
        let loaded = value(&container, len.to_string());
        assert!(loaded == bytes(*len as u64, *len), "{len} bytes");
    }
}

#[test]
fn large_values_round_trip_at_the_edges_of_their_blocks() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let piece = BLOCK - 64;
    let mut sizes = BTreeSet::from([MAX - 1, MAX, 1 << 20]);
    for pieces in [1, 2, 3, 16] {
        sizes.extend(pieces * piece - 1..=pieces * piece + 1);
    }
    for len in sizes {
        let saved = bytes(len as u64, len);
        container.save("visitor", &saved).unwrap();
        assert!(value(&container, "visitor") == saved, "{len} bytes");
        let mut walk = container.iter();
        assert!(walk.next().unwrap().unwrap().1.value == saved, "{len} bytes");
    }
}

#[test]
fn a_value_of_more_than_4_mib_is_refused_and_nothing_changes() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let version = container.save("visitor", b"a hat").unwrap();
    let before = std::fs::read(fixture.path()).unwrap();
    let large = vec![1; MAX + 1];
    let refusals = [
        refusal(container.save("visitor", &large)),
        refusal(container.create_session("another", &large)),
        refusal(container.replace("visitor", &large)),
        refusal(container.save_if("visitor", version, &large)),
        refusal(container.restore(
            "visitor",
            &large,
            cloakroom::Times::default(),
            &cloakroom::Properties::new(),
        )),
        refusal(container.update("visitor", |_| Change::Save(large.clone()))),
    ];
    for kind in refusals {
        let ErrorKind::TooLarge { len, max } = kind else {
            panic!("{kind:?}");
        };
        assert_eq!((len, max), (MAX as u64 + 1, MAX as u64));
    }
    assert!(before == std::fs::read(fixture.path()).unwrap());
    assert_eq!(value(&container, "visitor"), b"a hat");
}

#[test]
fn overwriting_large_values_for_ever_keeps_the_file_small() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    for round in 0..60usize {
        let saved = bytes(round as u64, 1_000_000 + round * 1000);
        let outcome = if round % 2 == 0 {
            Outcome::Saved(container.save("visitor", &saved).unwrap())
        } else {
            container.replace("visitor", &saved).unwrap()
        };
        assert!(outcome.saved().is_some());
        if round % 5 == 4 {
            container.sync().unwrap();
        }
    }
    let info = container.info().unwrap();
    assert!(info.length < 16_000_000, "{} bytes for a value of one", info.length);
}

#[test]
fn overwriting_with_changing_sizes_for_ever_keeps_the_file_small() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let mut length = 0;
    for round in 0..40u64 {
        for id in 0..200u64 {
            let len = (id * 37 + round * 611) % 9000;
            container.save(id.to_le_bytes(), &bytes(round, len as usize)).unwrap();
        }
        container.sync().unwrap();
        if round == 19 {
            length = container.info().unwrap().length;
        }
    }
    let later = container.info().unwrap().length;
    assert!(later <= length * 3 / 2, "from {length} to {later} bytes");
}
