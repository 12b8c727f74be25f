//! What each operation does, in sentences that hold on every storage.

use cloakroom::{ByteContainer, Change, ErrorKind, Outcome, Updated, Version};

use crate::fixture::{Fixture, bytes, quick, refusal, value};

/// Makes each sentence a test on a file, in memory and on the simulated disk.
macro_rules! everywhere {
    ($($sentence:ident)*) => {
        mod on_a_file {
            $(#[test] fn $sentence() { super::$sentence(&super::Fixture::file()) })*
        }
        mod in_memory {
            $(#[test] fn $sentence() { super::$sentence(&super::Fixture::memory()) })*
        }
        mod on_a_simulated_disk {
            $(#[test] fn $sentence() { super::$sentence(&super::Fixture::simulated()) })*
        }
    };
}

everywhere! {
    a_saved_session_loads
    a_session_is_kept_when_the_container_is_opened_again
    overwriting_replaces_the_value_and_keeps_the_birth
    ids_may_be_any_1_to_255_bytes
    ids_of_no_or_too_many_bytes_are_refused_and_nothing_changes
    a_removed_session_is_gone_and_may_come_again
    create_session_saves_only_where_there_is_none
    replace_saves_only_where_there_is_one
    save_if_saves_only_over_the_version_it_names
    update_saves_removes_or_keeps
    an_update_sees_what_is_there
    saving_from_inside_update_is_refused
    a_panic_inside_update_leaves_the_container_usable
    versions_differ_and_survive_being_written_down
    load_into_replaces_what_the_buffer_held
    len_counts_sessions
    info_tells_what_there_is
    a_read_only_handle_reads_and_refuses_to_write
    sync_makes_everything_durable
    thousands_of_sessions_are_all_found
}

fn a_saved_session_loads(fixture: &Fixture) {
    let container = fixture.create(quick());
    assert_eq!(container.load("visitor").unwrap(), None);
    assert!(!container.contains("visitor").unwrap());
    let version = container.save("visitor", b"a hat").unwrap();
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!(session.value, b"a hat");
    assert_eq!(session.version, version);
    assert_eq!(session.times.created_ms, session.times.saved_ms);
    assert_eq!(session.times.deadline_ms, None);
    assert!(container.contains("visitor").unwrap());
    assert_eq!(container.load("another").unwrap(), None);
}

fn a_session_is_kept_when_the_container_is_opened_again(fixture: &Fixture) {
    let container = fixture.create(quick());
    let version = container.save("visitor", b"a hat").unwrap();
    drop(container);
    let session = fixture.open(quick()).load("visitor").unwrap().unwrap();
    assert_eq!((session.value.as_slice(), session.version), (&b"a hat"[..], version));
}

fn overwriting_replaces_the_value_and_keeps_the_birth(fixture: &Fixture) {
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let first = container.load("visitor").unwrap().unwrap();
    for len in [0, 1, 300, 5000, 40_000, 200_000, 3, 70_000, 0] {
        let saved = bytes(len as u64, len);
        let version = container.save("visitor", &saved).unwrap();
        let session = container.load("visitor").unwrap().unwrap();
        assert!(session.value == saved, "{len} bytes came back otherwise");
        assert_eq!(session.version, version);
        assert_eq!(session.times.created_ms, first.times.created_ms);
        assert!(session.times.saved_ms >= first.times.saved_ms);
    }
}

fn ids_may_be_any_1_to_255_bytes(fixture: &Fixture) {
    let container = fixture.create(quick());
    let mut ids: Vec<Vec<u8>> =
        (1..=255).map(|len| bytes(len, usize::try_from(len).unwrap())).collect();
    ids.extend([vec![0], vec![0, 0], vec![255], b"\xff\xfe".to_vec()]);
    ids.extend([b"../x".to_vec(), b"a\nb".to_vec(), vec![0; 255]]);
    for id in &ids {
        container.save(id, id).unwrap();
    }
    for id in &ids {
        assert_eq!(&value(&container, id), id);
    }
    let mut found: Vec<_> = container.iter().map(|item| item.unwrap().0).collect();
    found.sort();
    ids.sort();
    ids.dedup();
    assert_eq!(found, ids);
}

fn ids_of_no_or_too_many_bytes_are_refused_and_nothing_changes(fixture: &Fixture) {
    let container = fixture.create(quick());
    let version = container.save("visitor", b"a hat").unwrap();
    for id in [vec![], vec![7; 256], vec![7; 70_000]] {
        let refusals = [
            refusal(container.save(&id, b"")),
            refusal(container.load(&id)),
            refusal(container.contains(&id)),
            refusal(container.remove(&id)),
            refusal(container.set_deadline(&id, None)),
            refusal(container.create_session(&id, b"")),
            refusal(container.replace(&id, b"")),
            refusal(container.save_if(&id, version, b"")),
            refusal(container.update(&id, |_| panic!("called"))),
        ];
        for kind in refusals {
            assert!(matches!(kind, ErrorKind::InvalidId { len } if len == id.len()), "{kind:?}");
        }
    }
    assert_eq!(container.len().unwrap(), 1);
}

fn a_removed_session_is_gone_and_may_come_again(fixture: &Fixture) {
    let container = fixture.create(quick());
    assert!(!container.remove("visitor").unwrap());
    let first = container.save("visitor", b"a hat").unwrap();
    assert!(container.remove("visitor").unwrap());
    assert!(!container.remove("visitor").unwrap());
    assert_eq!(container.load("visitor").unwrap(), None);
    assert_eq!(container.iter().count(), 0);
    assert!(!container.set_deadline("visitor", None).unwrap());
    let second = container.save("visitor", b"a hat").unwrap();
    assert_ne!(first, second);
    assert_eq!(value(&container, "visitor"), b"a hat");
}

fn create_session_saves_only_where_there_is_none(fixture: &Fixture) {
    let container = fixture.create(quick());
    let made = container.create_session("visitor", b"a hat").unwrap();
    assert_eq!(made.saved(), Some(version(&container, "visitor")));
    let again = container.create_session("visitor", b"a coat").unwrap();
    assert_eq!(again, Outcome::Conflict);
    assert_eq!(value(&container, "visitor"), b"a hat");
    container.remove("visitor").unwrap();
    let again = container.create_session("visitor", b"a coat").unwrap();
    assert!(again.saved().is_some());
    assert_eq!(value(&container, "visitor"), b"a coat");
}

fn replace_saves_only_where_there_is_one(fixture: &Fixture) {
    let container = fixture.create(quick());
    let none = container.replace("visitor", b"a hat").unwrap();
    assert_eq!(none, Outcome::Conflict);
    container.save("visitor", b"a hat").unwrap();
    let replaced = container.replace("visitor", b"a coat").unwrap();
    assert_eq!(replaced.saved(), Some(version(&container, "visitor")));
    container.remove("visitor").unwrap();
    let gone = container.replace("visitor", b"a hat").unwrap();
    assert_eq!(gone, Outcome::Conflict);
    assert_eq!(container.load("visitor").unwrap(), None);
}

fn save_if_saves_only_over_the_version_it_names(fixture: &Fixture) {
    let container = fixture.create(quick());
    let first = container.save("visitor", b"a hat").unwrap();
    let second = container.save_if("visitor", first, b"a coat").unwrap();
    let late = container.save_if("visitor", first, b"a cane").unwrap();
    assert_eq!(late, Outcome::Conflict);
    assert_eq!(value(&container, "visitor"), b"a coat");
    assert_eq!(second.saved(), Some(version(&container, "visitor")));
    // The same bytes once more are another version.
    container.save("visitor", b"a hat").unwrap();
    let late = container.save_if("visitor", first, b"a cane").unwrap();
    assert_eq!(late, Outcome::Conflict);
    let other = container.save_if("other", first, b"a cane").unwrap();
    assert_eq!(other, Outcome::Conflict);
    container.remove("visitor").unwrap();
    let gone = container.save_if("visitor", first, b"a cane").unwrap();
    assert_eq!(gone, Outcome::Conflict);
    assert_eq!(container.len().unwrap(), 0);
}

fn update_saves_removes_or_keeps(fixture: &Fixture) {
    let container = fixture.create(quick());
    let kept = container.update("visitor", |_| Change::Keep).unwrap();
    assert_eq!(kept, Updated::Kept);
    assert!(!container.contains("visitor").unwrap());
    let saved = container.update("visitor", |_| Change::Save(b"a hat".to_vec()));
    assert_eq!(saved.unwrap(), Updated::Saved(version(&container, "visitor")));
    let before = version(&container, "visitor");
    let kept = container.update("visitor", |_| Change::Keep).unwrap();
    assert_eq!(kept, Updated::Kept);
    assert_eq!(version(&container, "visitor"), before);
    let removed = container.update("visitor", |_| Change::Remove).unwrap();
    assert_eq!(removed, Updated::Removed);
    assert!(!container.contains("visitor").unwrap());
    let too_large = container.update("visitor", |_| Change::Save(vec![0; (4 << 20) + 1]));
    assert!(matches!(refusal(too_large), ErrorKind::TooLarge { .. }));
    assert!(!container.contains("visitor").unwrap());
}

fn an_update_sees_what_is_there(fixture: &Fixture) {
    let container = fixture.create(quick());
    let mut seen = None;
    container
        .update("visitor", |session| {
            seen = Some(session.is_none());
            Change::Keep
        })
        .unwrap();
    assert_eq!(seen, Some(true));
    let saved = container.save("visitor", b"a hat").unwrap();
    container
        .update("visitor", |session| {
            let session = session.unwrap();
            assert_eq!((session.value, session.version), (&b"a hat"[..], saved));
            Change::Save([session.value, b" and a coat"].concat())
        })
        .unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat and a coat");
}

fn saving_from_inside_update_is_refused(fixture: &Fixture) {
    let container = fixture.create(quick());
    container.save("another", b"a cane").unwrap();
    let mut refusals = Vec::new();
    container
        .update("visitor", |_| {
            refusals.push(refusal(container.save("another", b"")));
            refusals.push(refusal(container.remove("another")));
            refusals.push(refusal(container.set_deadline("another", None)));
            refusals.push(refusal(container.update("another", |_| Change::Remove)));
            refusals.push(refusal(container.sync()));
            // Reading is allowed.
            assert_eq!(value(&container, "another"), b"a cane");
            Change::Save(b"a hat".to_vec())
        })
        .unwrap();
    assert_eq!(refusals.len(), 5);
    for kind in refusals {
        assert!(matches!(kind, ErrorKind::Reentered), "{kind:?}");
    }
    assert_eq!(value(&container, "visitor"), b"a hat");
    assert_eq!(value(&container, "another"), b"a cane");
}

fn a_panic_inside_update_leaves_the_container_usable(fixture: &Fixture) {
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        container.update("visitor", |_| {
            // Unwinds without the noise of a panic message.
            std::panic::resume_unwind(Box::new("on purpose"))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(value(&container, "visitor"), b"a hat");
    container.save("visitor", b"a coat").unwrap();
    let second = fixture.open(quick());
    second.save("another", b"a cane").unwrap();
    assert_eq!(value(&second, "visitor"), b"a coat");
}

fn versions_differ_and_survive_being_written_down(fixture: &Fixture) {
    let container = fixture.create(quick());
    let mut seen = std::collections::HashSet::new();
    for round in 0..200 {
        if round % 10 == 9 {
            container.remove("visitor").unwrap();
        }
        let version = container.save("visitor", b"always the same").unwrap();
        assert!(seen.insert(version), "{version} came twice");
        let text = version.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(text.parse::<Version>().unwrap(), version);
        assert_eq!(Version::from_bytes(version.to_bytes()), version);
    }
}

fn load_into_replaces_what_the_buffer_held(fixture: &Fixture) {
    let container = fixture.create(quick());
    let mut buffer = b"left over from before".to_vec();
    for len in [3, 0, 9000, 100_000, 17] {
        let saved = bytes(len as u64, len);
        let version = container.save("visitor", &saved).unwrap();
        let session = container.load_into("visitor", &mut buffer).unwrap();
        assert_eq!(session.unwrap().version, version);
        assert!(buffer == saved, "{len} bytes came back otherwise");
    }
    assert_eq!(container.load_into("another", &mut buffer).unwrap(), None);
}

fn len_counts_sessions(fixture: &Fixture) {
    let container = fixture.create(quick());
    assert!(container.is_empty().unwrap());
    for number in 0..3000u64 {
        container.save(number.to_le_bytes(), b"x").unwrap();
        container.save(number.to_le_bytes(), b"y").unwrap();
    }
    assert_eq!(container.len().unwrap(), 3000);
    for number in 0..1000u64 {
        assert!(container.remove(number.to_le_bytes()).unwrap());
    }
    assert_eq!(container.len().unwrap(), 2000);
    assert_eq!(container.iter().count(), 2000);
    assert_eq!(container.check().unwrap().sessions, 2000);
    assert!(!container.is_empty().unwrap());
}

fn info_tells_what_there_is(fixture: &Fixture) {
    let container = fixture.create(quick());
    let empty = container.info().unwrap();
    assert_eq!((empty.version, empty.features), (0, (0, 0)));
    assert_eq!((empty.sessions, empty.segments), (0, 1));
    assert_eq!((empty.suspect_sync, empty.splitting), (false, false));
    assert!(empty.created_ms > 1_600_000_000_000);
    assert_ne!(empty.uuid, [0; 16]);
    container.save("visitor", b"a hat").unwrap();
    container.sync().unwrap();
    let info = fixture.open_read_only(quick()).info().unwrap();
    assert_eq!((info.uuid, info.sessions), (empty.uuid, 1));
    assert_eq!(info.blocks, info.length / 65536);
    assert!(info.synced_epoch < info.write_epoch);
    assert!(info.synced_epoch > empty.synced_epoch);
}

fn a_read_only_handle_reads_and_refuses_to_write(fixture: &Fixture) {
    let container = fixture.create(quick());
    let version = container.save("visitor", b"a hat").unwrap();
    let reader = fixture.open_read_only(quick());
    let refusals = [
        refusal(reader.save("visitor", b"")),
        refusal(reader.create_session("another", b"")),
        refusal(reader.replace("visitor", b"")),
        refusal(reader.save_if("visitor", version, b"")),
        refusal(reader.restore(
            "visitor",
            b"",
            cloakroom::Times::default(),
            &cloakroom::Properties::new(),
        )),
        refusal(reader.update("visitor", |_| Change::Keep)),
        refusal(reader.remove("visitor")),
        refusal(reader.set_deadline("visitor", None)),
        refusal(reader.sync()),
    ];
    for kind in refusals {
        assert!(matches!(kind, ErrorKind::ReadOnly(cloakroom::ReadOnly::Handle)), "{kind:?}");
    }
    assert_eq!(value(&reader, "visitor"), b"a hat");
    container.save("visitor", b"a coat").unwrap();
    assert_eq!(value(&reader, "visitor"), b"a coat");
    assert_eq!((reader.len().unwrap(), reader.iter().count()), (1, 1));
}

fn sync_makes_everything_durable(fixture: &Fixture) {
    let container = fixture.create(quick());
    for number in 0..100u64 {
        container.save(number.to_le_bytes(), b"x").unwrap();
    }
    let epoch = container.info().unwrap().write_epoch;
    container.sync().unwrap();
    let info = container.info().unwrap();
    assert!(info.synced_epoch >= epoch && !info.suspect_sync);
}

fn thousands_of_sessions_are_all_found(fixture: &Fixture) {
    let container = fixture.create(quick());
    for number in 0..5000u64 {
        let saved = bytes(number, (number % 700) as usize);
        container.save(number.to_string(), &saved).unwrap();
    }
    assert!(container.info().unwrap().segments > 4);
    let again = fixture.open(quick());
    for number in 0..5000u64 {
        assert_eq!(value(&again, number.to_string()), bytes(number, (number % 700) as usize));
    }
}

fn version(container: &ByteContainer, id: &str) -> Version {
    container.load(id).unwrap().unwrap().version
}

#[test]
fn only_32_hexadecimal_digits_are_a_version() {
    let signed = format!("+{}", "0".repeat(31));
    for text in ["", "xyz", "00", &signed, &"0".repeat(31), &"0".repeat(33), &"f".repeat(40)] {
        let parsed = text.parse::<Version>();
        assert!(parsed.is_err(), "{text:?} is taken for a version");
    }
}
