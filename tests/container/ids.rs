//! What a container keeps of ids, and who may ask by what.

use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Change, ErrorKind, IdForm, Options, Outcome, Updated};

use crate::fixture::{Fixture, quick, refusal};

/// The SHA-256 of `abc` (FIPS 180-2).
const ABC: &[u8] = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn hashed() -> Options {
    quick().ids(IdForm::Sha256)
}

#[test]
fn an_id_is_nowhere_in_a_file_that_keeps_them_as_sha_256() {
    let storage = MemoryStorage::new();
    let container = ByteContainer::create_on(Box::new(storage.share()), hashed()).unwrap();
    let id = "the secret of a visitor";
    container.save(id, b"a hat").unwrap();
    container.save(id, &vec![b'x'; 100_000]).unwrap();
    container.set_deadline(id, Some(u64::MAX)).unwrap();
    container.sync().unwrap();
    let bytes = storage.to_bytes();
    assert!(!bytes.windows(id.len()).any(|part| part == id.as_bytes()));
    let kept = container.kept_id(id).unwrap();
    assert!(bytes.windows(kept.len()).any(|part| part == kept));
}

#[test]
fn every_operation_takes_the_id_and_a_walk_gives_its_sha_256() {
    let fixture = Fixture::memory();
    let container = fixture.create(hashed());
    assert_eq!(container.id_form(), IdForm::Sha256);
    assert!(matches!(container.create_session("abc", b"1").unwrap(), Outcome::Saved(_)));
    assert_eq!(container.create_session("abc", b"1").unwrap(), Outcome::Conflict);
    let version = container.save("abc", b"2").unwrap();
    assert!(container.save_if("abc", version, b"3").unwrap().saved().is_some());
    assert!(container.replace("abc", b"4").unwrap().saved().is_some());
    let updated = container.update("abc", |session| {
        assert_eq!(session.unwrap().value, b"4");
        Change::Save(b"5".to_vec())
    });
    assert!(matches!(updated.unwrap(), Updated::Saved(_)));
    assert!(container.set_deadline("abc", Some(u64::MAX)).unwrap());
    assert_eq!(container.load("abc").unwrap().unwrap().value, b"5");
    let ids: Vec<Vec<u8>> = container.iter().map(|item| item.unwrap().0).collect();
    assert_eq!(ids, [ABC]);
    assert_eq!(container.kept_id("abc").unwrap(), ABC);
    assert!(!container.contains(ABC).unwrap(), "what is in the file opens nothing");
    assert!(container.remove("abc").unwrap());
    assert!(!container.contains("abc").unwrap());
}

#[test]
fn a_handle_that_takes_kept_ids_takes_no_others() {
    let fixture = Fixture::memory();
    let container = fixture.create(hashed());
    container.save("abc", b"1").unwrap();
    let beside = fixture.open(hashed().kept_ids());
    assert_eq!(beside.load(ABC).unwrap().unwrap().value, b"1");
    beside.save(ABC, b"2").unwrap();
    assert_eq!(container.load("abc").unwrap().unwrap().value, b"2");
    for other in [&b"abc"[..], b"", &ABC.to_ascii_uppercase(), &ABC[1..], &[b'0'; 65]] {
        let refused = [
            refusal(beside.load(other)),
            refusal(beside.save(other, b"3")),
            refusal(beside.remove(other)),
        ];
        for kind in refused {
            assert!(matches!(kind, ErrorKind::InvalidId { len } if len == other.len()), "{kind}");
        }
    }
    let ids: Vec<Vec<u8>> = beside.iter().map(|item| item.unwrap().0).collect();
    assert_eq!(ids, [ABC]);
}

#[test]
fn a_container_that_keeps_ids_as_they_are_takes_any_as_kept() {
    let fixture = Fixture::memory();
    fixture.create(quick()).save("abc", b"1").unwrap();
    let beside = fixture.open(quick().kept_ids());
    assert!(beside.contains("abc").unwrap());
    assert!(matches!(refusal(beside.load("")), ErrorKind::InvalidId { len: 0 }));
    assert_eq!(beside.kept_id("abc").unwrap(), b"abc");
}

#[test]
fn a_container_of_the_other_form_is_not_opened_and_not_changed() {
    for (made, asked) in [(IdForm::Plain, IdForm::Sha256), (IdForm::Sha256, IdForm::Plain)] {
        let fixture = Fixture::file();
        fixture.create(quick().ids(made)).save("abc", b"1").unwrap();
        let before = std::fs::read(fixture.path()).unwrap();
        let options = quick().ids(asked);
        let refused = [
            refusal(ByteContainer::open(fixture.path(), options.clone())),
            refusal(ByteContainer::open_read_only(fixture.path(), options)),
        ];
        for kind in refused {
            assert!(matches!(kind, ErrorKind::OtherIds { found } if found == made), "{kind}");
        }
        assert!(std::fs::read(fixture.path()).unwrap() == before);
        let unasked = ByteContainer::open(fixture.path(), Options::new()).unwrap();
        assert!(unasked.contains("abc").unwrap());
    }
}

#[test]
fn a_file_of_the_other_form_that_takes_the_name_is_not_written_to() {
    let fixture = Fixture::file();
    let container = fixture.create(hashed());
    container.save("abc", b"1").unwrap();
    let other = Fixture::file();
    drop(other.create(quick()));
    std::fs::rename(other.path(), fixture.path()).unwrap();
    let kind = refusal(container.save("abc", b"2"));
    assert!(matches!(kind, ErrorKind::OtherIds { found: IdForm::Plain }), "{kind}");
    assert!(ByteContainer::open(fixture.path(), Options::new()).unwrap().is_empty().unwrap());
    // So that the other place is a container still, as its test leaves it.
    std::fs::copy(fixture.path(), other.path()).unwrap();
}
