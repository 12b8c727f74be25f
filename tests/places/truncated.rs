//! Somebody else cuts the file off. That is outside the promise, but short of it
//! nothing worse may happen than that the sessions which were cut off are gone.

use std::fs::{self, OpenOptions};

use cloakroom::{ByteContainer, DamageKind, ErrorKind, NotAContainer};

use crate::{bytes, quick};

const COUNT: u64 = 400;
const LEN: usize = 2000;

fn container(path: &std::path::Path) -> ByteContainer {
    let container = ByteContainer::create(path, quick()).unwrap();
    for number in 0..COUNT {
        container.save(number.to_le_bytes(), &bytes(number, LEN)).unwrap();
    }
    container.sync().unwrap();
    container
}

/// Loads all: how many are whole, and how many are told to be damaged or lost.
fn tally(container: &ByteContainer) -> (u64, u64) {
    let (mut whole, mut lost) = (0, 0);
    for number in 0..COUNT {
        match container.load(number.to_le_bytes()) {
            Ok(Some(session)) => {
                assert!(session.value == bytes(number, LEN), "a torn session");
                whole += 1;
            }
            Ok(None) => panic!("a session that was cut off seems never to have been"),
            Err(error) => {
                let kind = error.kind();
                let told = matches!(kind, ErrorKind::Damaged(_) | ErrorKind::Io { .. });
                assert!(told, "{error}");
                lost += 1;
            }
        }
    }
    (whole, lost)
}

#[test]
fn a_file_that_is_cut_off_keeps_the_sessions_before_the_cut_and_reports_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let open = container(&path);
    let len = fs::metadata(&path).unwrap().len();
    assert!(len > 1 << 19, "{len}");
    for cut in [len - 1, len - 70_000, len / 2 + 100, 200_000, 131_072] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        // Handles of before and of after see the same.
        let again = ByteContainer::open(&path, quick()).unwrap();
        let readable = tally(&open);
        assert_eq!(readable, tally(&again), "cut at {cut}");
        assert_eq!(readable.0 + readable.1, COUNT);
        let report = again.check().unwrap();
        assert!(report.damage.iter().any(|finding| finding.what.contains("cut short")));
        assert_eq!(again.iter().filter(Result::is_ok).count() as u64, readable.0, "cut at {cut}");
    }
    assert_eq!(tally(&open).0, 0);
    // Nothing is saved over what was lost.
    let refused = open.save(7u64.to_le_bytes(), b"a hat").unwrap_err();
    let ErrorKind::Damaged(damage) = refused.kind() else { panic!("{refused}") };
    assert_eq!(damage.kind, DamageKind::CutShort);
}

#[test]
fn a_file_that_is_cut_to_less_than_two_blocks_is_refused_by_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let open = container(&path);
    for cut in [131_071, 65_536, 4096, 0] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let error = ByteContainer::open(&path, quick()).unwrap_err();
        let why = matches!(
            error.kind(),
            ErrorKind::NotAContainer(NotAContainer::CutShort | NotAContainer::Empty)
        );
        assert!(why, "{error}");
        let error = open.save("visitor", b"a hat").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Damaged(_) | ErrorKind::Io { .. }), "{error}");
        assert_eq!(fs::metadata(&path).unwrap().len(), cut, "it was written to");
    }
}
