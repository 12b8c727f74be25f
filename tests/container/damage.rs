//! Flipped bits and cut-off ends: nothing panics, nothing hangs, and what was
//! not hit stays readable.
//!
//! A session is hit when its entry or its record is. Lines that stand for many
//! sessions (the root line, the segment table, a segment's head) may take these
//! with them, but then a load must say so: it is an error, never "no session"
//! and never another value.

use std::collections::BTreeMap;
use std::ops::Range;

use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Change, DamageKind, ErrorKind};

use crate::fixture::{bytes, field, number, quick, refusal};

const LINE: usize = 64;
const BLOCK: usize = 65536;
const SESSIONS: u64 = 6;

/// A small container, and which of its bytes are whose.
struct Sample {
    image: Vec<u8>,
    /// Entry and record of each session, and the blocks of a large value.
    own: BTreeMap<u64, Vec<Range<usize>>>,
}

fn saved(id: u64) -> Vec<u8> {
    bytes(id, [60, 700, 90, 3000, 150_000, 0][id as usize])
}

impl Sample {
    fn new() -> Sample {
        let storage = MemoryStorage::new();
        let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
        for id in 0..SESSIONS {
            container.save(id.to_le_bytes(), &saved(id)).unwrap();
        }
        container.sync().unwrap();
        drop(container);
        let image = storage.to_bytes();
        let mut own = BTreeMap::new();
        let entries = BLOCK + field("segment", "entries").start..2 * BLOCK;
        for entry in entries.step_by(LINE) {
            let line = &image[entry..entry + LINE];
            let place = number(&line[field("entry", "cur")], field("word", "place"));
            if place != 0 {
                let (id, ranges) = owned(&image, entry, place as usize * LINE);
                own.insert(id, ranges);
            }
        }
        assert_eq!(own.len() as u64, SESSIONS);
        Sample { image, own }
    }

    fn is_hit(&self, id: u64, at: &Range<usize>) -> bool {
        self.own[&id].iter().any(|own| own.start < at.end && at.start < own.end)
    }
}

/// The id in a record, and what belongs to that session.
fn owned(image: &[u8], entry: usize, record: usize) -> (u64, Vec<Range<usize>>) {
    let get = |name| number(&image[record..], field("record", name)) as usize;
    let (length, head) = (get("length"), get("head_len"));
    let id = record + head..record + head + 8;
    let mut ranges = vec![entry..entry + LINE, record..record + length];
    let after = record + head + get("id_len");
    if get("value_len") > BLOCK / 2 {
        let size = field("piece", "check").end;
        for piece in (after..record + length).step_by(size) {
            let block = number(&image[piece..], field("piece", "block")) as usize * BLOCK;
            ranges.push(block + LINE..block + BLOCK);
        }
    }
    (number(image, id), ranges)
}

/// Does everything with a damaged image. `at` is what was hit.
fn survive(sample: &Sample, image: Vec<u8>, at: Range<usize>, thorough: bool) {
    let storage = MemoryStorage::from_bytes(image);
    let open = || ByteContainer::open_on(Box::new(storage.share()), quick());
    let Ok(container) = open() else {
        assert!(at.start == 0 && at.end > BLOCK, "one header is intact: {at:?}");
        return;
    };
    verify(sample, &container, &at);
    // Saving goes on, whatever it meets, and harms nobody else.
    let _ = container.save("another", &bytes(1, 400));
    let _ = container.save(0u64.to_le_bytes(), &saved(0));
    let _ = container.remove("another");
    let _ = container.update("another", |_| Change::Save(bytes(2, 70_000)));
    let _ = container.set_deadline("another", None);
    verify(sample, &container, &at);
    if thorough {
        let walked = container.iter().take(2000).count();
        assert!(walked < 2000, "the walk does not end: {at:?}");
        let _ = container.len();
        let _ = container.info();
        let _ = container.check().unwrap();
        let _ = container.sync();
        verify(sample, &open().unwrap(), &at);
    }
}

fn verify(sample: &Sample, container: &ByteContainer, at: &Range<usize>) {
    for id in 0..SESSIONS {
        match container.load(id.to_le_bytes()) {
            Ok(Some(session)) => assert!(session.value == saved(id), "{id} is wrong: {at:?}"),
            Ok(None) => assert!(sample.is_hit(id, at), "{id} is lost: {at:?}"),
            Err(error) => {
                let damaged = matches!(error.kind(), ErrorKind::Damaged(_));
                let shared = at.start < 2 * BLOCK;
                assert!(damaged && (shared || sample.is_hit(id, at)), "{id}, {at:?}: {error}");
            }
        }
    }
}

#[test]
fn an_untouched_sample_is_sound() {
    let sample = Sample::new();
    let storage = MemoryStorage::from_bytes(sample.image.clone());
    let container = ByteContainer::open_on(Box::new(storage), quick()).unwrap();
    assert!(container.check().unwrap().is_sound());
    verify(&sample, &container, &(0..0));
}

#[test]
fn any_flipped_bit_in_the_metadata_is_survived() {
    let sample = Sample::new();
    let used = |line: &usize| sample.image[*line..line + LINE].iter().any(|byte| *byte != 0);
    let lines = (0..sample.image.len()).step_by(LINE);
    let index = lines.clone().take(2 * BLOCK / LINE).filter(used);
    let heads = lines.skip(2 * BLOCK / LINE).step_by(BLOCK / LINE);
    for line in index.chain(heads) {
        for at in line..line + LINE {
            let mut image = sample.image.clone();
            image[at] ^= 1 << (at % 8);
            survive(&sample, image, at..at + 1, at % 8 == 0);
        }
    }
}

/// A container whose image has one bit flipped at this place.
fn flipped(sample: &Sample, at: usize) -> ByteContainer {
    let mut image = sample.image.clone();
    image[at] ^= 4;
    ByteContainer::open_on(Box::new(MemoryStorage::from_bytes(image)), quick()).unwrap()
}

#[test]
fn a_walk_tells_of_an_entry_that_is_damaged() {
    let sample = Sample::new();
    for own in sample.own.values() {
        let container = flipped(&sample, own[0].start + 20);
        let (found, lost): (Vec<_>, Vec<_>) = container.iter().partition(Result::is_ok);
        assert_eq!(found.len() as u64, SESSIONS - 1);
        let [Err(error)] = &lost[..] else { panic!("{lost:?}") };
        let ErrorKind::Damaged(damage) = error.kind() else { panic!("{error}") };
        assert_eq!((damage.kind, damage.offset), (DamageKind::Entry, own[0].start as u64));
    }
}

#[test]
fn the_sessions_of_a_segment_are_found_though_its_head_is_damaged() {
    let sample = Sample::new();
    let container = flipped(&sample, BLOCK + field("segment", "reach line").start + 1);
    for id in 0..SESSIONS {
        assert_eq!(container.load(id.to_le_bytes()).unwrap().unwrap().value, saved(id));
    }
    assert!(container.load("nobody").unwrap().is_none());
    assert_eq!(container.iter().filter(Result::is_ok).count() as u64, SESSIONS);
    let report = container.check().unwrap();
    assert_eq!((report.sessions, report.damage.len()), (SESSIONS, 1), "{report:?}");
}

#[test]
fn a_check_counts_the_sessions_though_the_control_line_is_damaged() {
    let sample = Sample::new();
    let page = field("block 0", "control page").start;
    let container = flipped(&sample, page + field("control page", "control line").start + 3);
    let report = container.check().unwrap();
    assert_eq!((report.sessions, report.damage.len()), (SESSIONS, 1), "{report:?}");
}

#[test]
fn a_check_counts_no_session_that_cannot_be_read() {
    let sample = Sample::new();
    for record in sample.own.values().flat_map(|own| &own[1..]) {
        let container = flipped(&sample, record.start + 30);
        let found = container.iter().filter(Result::is_ok).count() as u64;
        let report = container.check().unwrap();
        assert_eq!((report.sessions, report.damage_count), (found, 1), "{report:?}");
        assert_eq!(found, SESSIONS - 1);
    }
}

/// The session's newest version is damaged, and was never synced.
fn with_unsynced_damage(older: &[&[u8]]) -> ByteContainer {
    let storage = MemoryStorage::new();
    let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
    for value in older {
        container.save("id", value).unwrap();
        container.sync().unwrap();
    }
    container.save("id", b"the newest").unwrap();
    let mut image = storage.to_bytes();
    let at = image.windows(10).position(|bytes| bytes == b"the newest").unwrap();
    image[at] ^= 4;
    ByteContainer::open_on(Box::new(MemoryStorage::from_bytes(image)), quick()).unwrap()
}

#[test]
fn a_check_counts_a_session_whose_older_version_serves_and_none_that_has_none() {
    let container = with_unsynced_damage(&[b"older"]);
    assert_eq!(container.load("id").unwrap().unwrap().value, b"older");
    let report = container.check().unwrap();
    assert_eq!((report.sessions, report.damage_count, report.note_count > 0), (1, 0, true));
    assert!(report.live_bytes > 0);

    let container = with_unsynced_damage(&[]);
    assert!(container.load("id").unwrap().is_none());
    let report = container.check().unwrap();
    assert_eq!((report.sessions, report.damage_count, report.note_count > 0), (0, 0, true));
    assert_eq!(report.live_bytes, 0);
}

#[test]
fn a_check_says_what_damage_means_and_what_to_do_about_it() {
    let sample = Sample::new();
    let page = field("block 0", "control page").start;
    let in_page = |name| page + field("control page", name).start + 3;
    let cases = [
        ("control line", SESSIONS, ["nothing can be saved any more", "can be read", "restore NEW"]),
        ("root line", 0, ["no session can be found", "none saved", "put a backup"]),
        ("segment table", 0, ["cannot be found", "the rest can be read", "restore NEW"]),
    ];
    for (place, readable, words) in cases {
        let container = flipped(&sample, in_page(place));
        let report = container.check().unwrap();
        let [finding] = &report.damage[..] else { panic!("{report:?}") };
        for word in words {
            assert!(finding.what.contains(word), "{place}: {finding}");
        }
        let readable_now = container.iter().filter(Result::is_ok).count() as u64;
        assert_eq!((report.sessions, readable_now), (readable, readable), "{place}");
        assert!(container.save("new", b"new").is_err(), "{place}");
    }
}

#[test]
fn any_flipped_bit_in_a_record_is_noticed() {
    let sample = Sample::new();
    let records = sample.own.values().flat_map(|own| &own[1..]);
    for at in records.flat_map(|record| record.clone().step_by(97)) {
        let mut image = sample.image.clone();
        image[at] ^= 1 << (at % 8);
        survive(&sample, image, at..at + 1, at % 16 == 0);
    }
}

#[test]
fn whole_lines_pages_and_blocks_that_are_lost_are_survived() {
    let sample = Sample::new();
    let len = sample.image.len();
    let lines = (0..2 * BLOCK).step_by(LINE).map(|at| at..at + LINE);
    let lines = lines.filter(|line| sample.image[line.clone()].iter().any(|byte| *byte != 0));
    let pages = (0..len).step_by(4096).map(|at| at..at + 4096);
    let blocks = (0..len).step_by(BLOCK).map(|at| at..at + BLOCK);
    for at in lines.chain(pages).chain(blocks) {
        for fill in [0x00, 0xff, 0x42] {
            let mut image = sample.image.clone();
            image[at.clone()].fill(fill);
            if at.start == 0 && at.end >= BLOCK {
                // Both headers: no container any more.
                let storage = MemoryStorage::from_bytes(image);
                assert!(ByteContainer::open_on(Box::new(storage), quick()).is_err());
                continue;
            }
            survive(&sample, image, at.clone(), true);
        }
    }
}

#[test]
fn a_container_cut_short_at_any_length_gives_what_is_left() {
    let sample = Sample::new();
    let len = sample.image.len();
    let lengths = (0..len).step_by(1021).chain((0..len).step_by(4096));
    for len in lengths {
        let storage = MemoryStorage::from_bytes(sample.image[..len].to_vec());
        let opened = ByteContainer::open_on(Box::new(storage.share()), quick());
        let Ok(container) = opened else {
            assert!(len < 2 * BLOCK, "{len}");
            continue;
        };
        let gone = len..usize::MAX;
        verify(&sample, &container, &gone);
        let walked = container.iter().take(2000).count();
        assert!(walked < 2000);
        let _ = container.check().unwrap();
        assert!(storage.to_bytes() == sample.image[..len], "reading wrote");
    }
}

#[test]
fn a_container_cut_short_takes_no_changes_and_says_why() {
    let sample = Sample::new();
    let len = sample.image.len();
    let within = (2 * BLOCK..len).step_by(3 * 1021);
    let between = (2 * BLOCK..len).step_by(BLOCK);
    for len in between.chain(within) {
        let image = &sample.image[..len];
        let storage = MemoryStorage::from_bytes(image.to_vec());
        let container = ByteContainer::open_on(Box::new(storage.share()), quick()).unwrap();
        let cut = |kind| match kind {
            ErrorKind::Damaged(damage) => damage.kind == DamageKind::CutShort,
            _ => false,
        };
        assert!(cut(refusal(container.save("new", b"new"))));
        assert!(cut(refusal(container.remove(0u64.to_le_bytes()))));
        assert!(cut(refusal(container.sync())));
        let found = container.check().unwrap().damage;
        assert!(found.iter().any(|finding| finding.what.contains("cut short")), "{found:?}");
        verify(&sample, &container, &(len..usize::MAX));
        drop(container);
        assert!(storage.to_bytes() == image, "something was written");
    }
}

#[test]
fn a_damaged_session_can_be_saved_anew_or_removed() {
    let sample = Sample::new();
    for (id, own) in &sample.own {
        for range in &own[1..] {
            let mut image = sample.image.clone();
            image[range.start + range.len() / 2] ^= 0x10;
            let storage = MemoryStorage::from_bytes(image);
            let container = ByteContainer::open_on(Box::new(storage), quick()).unwrap();
            if id % 2 == 0 {
                container.save(id.to_le_bytes(), b"new").unwrap();
                let session = container.load(id.to_le_bytes()).unwrap();
                assert_eq!(session.unwrap().value, b"new");
            } else {
                container.remove(id.to_le_bytes()).unwrap();
                assert_eq!(container.load(id.to_le_bytes()).unwrap(), None);
            }
            // Once that is durable, nothing names the damaged version any more.
            for _ in 0..2 {
                container.sync().unwrap();
                container.save(id.to_le_bytes(), b"newer").unwrap();
            }
            let report = container.check().unwrap();
            assert!(report.is_sound(), "{:#?}", report.damage);
        }
    }
}
