//! The structures keep what is put into them and refuse what was changed.

#![allow(clippy::unwrap_used)]

use super::block::{BlockHead, Use};
use super::checksum::Seal;
use super::class::{Class, Classes};
use super::control::{Busy, Control, Phase, Root, Views};
use super::entry::{Entry, Slot};
use super::header::{Header, Unusable};
use super::pass::{Pass, Stage};
use super::record::{self, Content, Head, OwnTimeouts, Record, RecordTimes};
use super::segment::{self, Reach, Tally};
use super::tables::ListHeads;
use super::tag::{Tag, Tagger};
use super::word::{Named, Word};
use super::*;

const PLACE: u64 = 0x1_2340;

fn seal() -> Seal {
    Seal::of_uuid(&[7; 16])
}

fn every_flip_of(line: Line, refuse: impl Fn(&Line) -> bool) {
    for bit in 0..LINE_SIZE * 8 {
        let mut flipped = line;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refuse(&flipped), "bit {bit}");
    }
}

#[test]
fn an_entry_keeps_every_field_and_refuses_every_flipped_bit() {
    let entry = Entry {
        tag: Tag([3; 16]),
        cur: Word::record(0x4_0040, 0xdead_beef),
        mid: Word::tombstone(70),
        old: Word::record(0x8_0040, 1),
        epoch: 99,
        mid_age: 29,
        deadline_ms: TIME_MS_MAX,
        created_ms: 1_700_000_000_000,
        class: Class::from_code(5),
        forward: false,
        large: true,
        further: true,
        old_ended: true,
        mid_ended: true,
    };
    let line = Slot::Session(entry).encode(PLACE, seal());
    assert_eq!(Slot::decode(&line, PLACE, seal()), Some(Slot::Session(entry)));
    assert_eq!(Slot::decode(&line, PLACE + 64, seal()), None);
    every_flip_of(line, |line| Slot::decode(line, PLACE, seal()).is_none());
}

#[test]
fn no_debug_form_shows_the_key() {
    let key = [0xab; 16];
    let header = Header {
        compatible: 0,
        read_only: 0,
        uuid: [7; 16],
        key,
        created_ms: 1,
        ids: IdForm::Plain,
        classes: Classes::standard(),
    };
    let shown = format!("{header:?} {:?}", Tagger::new(&key));
    assert!(shown.contains("uuid"), "{shown}");
    assert!(!shown.contains("171, 171") && !shown.contains("key"), "{shown}");
}

#[test]
fn a_vacated_line_keeps_its_tag_and_epoch() {
    let slot = Slot::Vacated { tag: Tag([9; 16]), epoch: 12 };
    let line = slot.encode(PLACE, seal());
    assert_eq!(Slot::decode(&line, PLACE, seal()), Some(slot));
    assert_eq!(Slot::decode(&NEVER, PLACE, seal()), Some(Slot::Never));
}

#[test]
fn the_lines_of_the_control_page_keep_what_is_put_into_them() {
    let control = Control {
        write_epoch: 20,
        synced_epoch: 19,
        generation: 16,
        recovered_epoch: 16,
        settled_epoch: 11,
        synced_blocks: 12,
        synced_at_ms: 5,
        suspect: true,
        rewritten: 70_000,
        syncing: true,
        renew: true,
    };
    let line = control.encode(PLACE, seal());
    assert_eq!(Control::decode(&line, PLACE, seal()), Some(control));
    every_flip_of(line, |line| Control::decode(line, PLACE, seal()).is_none());

    let root = Root { segments: 3, batch: 1, phase: Phase::Settling, epoch: 8 };
    let line = root.encode(PLACE, seal());
    assert_eq!(Root::decode(&line, PLACE, seal()), Some(root));
    every_flip_of(line, |line| Root::decode(line, PLACE, seal()).is_none());

    let busy = Busy { tag: Tag([1; 16]), from: 0x2_0200, to: 0x3_0200 };
    assert_eq!(Busy::decode(&busy.encode(PLACE, seal()), PLACE, seal()), Some(busy));
    assert_eq!(Busy::decode(&NEVER, PLACE, seal()), None);

    let begun = Pass::begin(4, 9);
    let pass = Pass { stage: Stage::Blocks, position: 77, epoch: 6, unread: true, ..begun };
    let pass = Pass { full_epoch: 5, full_until_ms: 7_000, ..pass };
    let line = pass.encode(PLACE, seal());
    assert_eq!(Pass::decode(&line, PLACE, seal(), 4), pass);
    assert_eq!(Pass::decode(&line, PLACE, seal(), 5), Pass::begin(5, 9));

    let views = Views::default().with(1, 10).with(1, 11);
    assert!(views.knows(1, 10) && views.knows(1, 11) && !views.knows(2, 10));
    assert!(!views.with(2, 12).knows(2, 10));
    assert_eq!(Views::decode(&views.encode(PLACE, seal()), PLACE, seal()), views);
}

#[test]
fn list_heads_keep_their_lines_apart() {
    let mut heads = ListHeads::of(&[], PLACE, seal());
    let mut bytes = vec![0; tables::LIST_LINES * LINE_SIZE];
    for (list, block) in [(0, 4), (20, 6), (0, 5)] {
        let (line, place) = heads.set(list, block);
        let from = (place - PLACE) as usize;
        bytes[from..from + LINE_SIZE].copy_from_slice(&line);
    }
    let read = ListHeads::of(&bytes, PLACE, seal());
    assert_eq!([0, 1, 20].map(|list| read.get(list)), [5, 0, 6]);
    bytes[7] ^= 1;
    let read = ListHeads::of(&bytes, PLACE, seal());
    assert_eq!([0, 20].map(|list| read.get(list)), [0, 6]);
}

#[test]
fn a_block_head_keeps_its_bitmap_and_refuses_every_flipped_bit() {
    let mut head = BlockHead::taken(17, Use::Extents(Class::from_code(2).unwrap()));
    head.bitmap.set(0);
    head.bitmap.set(200);
    head.listed = true;
    head.next = 4;
    let line = head.encode(PLACE, seal());
    assert_eq!(BlockHead::decode(&line, PLACE, seal()), Some(head));
    every_flip_of(line, |line| BlockHead::decode(line, PLACE, seal()).is_none());
    assert_eq!(head.bitmap.first_clear(200), Some(1));
    head.bitmap.clear(0);
    head.bitmap.clear(200);
    assert!(head.bitmap.is_empty());
}

#[test]
fn reach_and_tally_keep_what_is_put_into_them() {
    let reach = Reach { lines: 128, segment: 3, epoch: 40 };
    assert_eq!(Reach::decode(&reach.encode(PLACE, seal()), PLACE, seal()), Some(reach));
    assert_eq!((reach.lines_before(), reach.next_step()), (64, Some(256)));
    let tally = Tally { lines: 3, sessions: 2 };
    assert_eq!(Tally::decode(&tally.encode(PLACE, seal()), PLACE, seal()), Some(tally));
}

#[test]
fn the_standard_classes_rise_by_an_eighth_and_waste_little_of_a_block() {
    let classes = Classes::standard();
    assert_eq!(Classes::from_lines(classes.lines()), Some(classes));
    assert_eq!(classes.size(Class::from_code(1).unwrap()), 256);
    assert_eq!(classes.largest_size(), 32704);
    let all = || (1..=classes.lines().len() as u8).filter_map(Class::from_code);
    for (class, next) in all().zip(all().skip(1)) {
        let (size, larger) = (classes.size(class), classes.size(next));
        // Few large extents fit a block at all, so their steps are wider.
        let step = if size < 4096 { size / 5 + 64 } else { size / 2 };
        // Few large extents fit a block at all, so their steps are wider.

        assert!(size < larger && larger <= size + step, "{size} {larger}");
        let used = size * usize::from(classes.per_block(class));
        assert!(used > 57000, "{size}: {used}");
    }
    for class in all() {
        let last = classes.per_block(class) - 1;
        let offset = classes.extent_offset(class, last);
        assert!(offset + classes.size(class) as u64 <= BLOCK_SIZE);
        assert_eq!(classes.extent_index(class, BLOCK_SIZE + offset), Some(last));
        assert_eq!(classes.for_len(classes.size(class)), Some(class));
    }
    assert_eq!(classes.for_len(32705), None);
}

#[test]
fn a_header_survives_and_a_wrong_newer_or_damaged_one_is_told_apart() {
    let header = Header {
        compatible: 0,
        read_only: 0,
        uuid: [1; 16],
        key: [2; 16],
        created_ms: 3,
        ids: IdForm::Sha256,
        classes: Classes::standard(),
    };
    let bytes = header.encode();
    let found = Header::decode(&bytes).unwrap();
    assert_eq!((found.uuid, found.ids, found.classes), (header.uuid, header.ids, header.classes));
    let mut other = bytes;
    other[0] = b'S';
    assert_eq!(Header::decode(&other).unwrap_err(), Unusable::NotAContainer);
    let mut other = bytes;
    other[300] ^= 1;
    assert_eq!(Header::decode(&other).unwrap_err(), Unusable::Damaged);
    let mut other = bytes;
    other[16] = 9;
    let check = checksum::plain(&other[..header::HEADER_SIZE - 4]);
    other[header::HEADER_SIZE - 4..].copy_from_slice(&check.to_le_bytes());
    assert_eq!(Header::decode(&other).unwrap_err(), Unusable::Version(9));
}

#[test]
fn a_record_matches_its_word_and_no_other() {
    let times = RecordTimes { nonce: 1, saved_ms: 2 };
    let head = Head { times, timeouts: None, content: Content::Value };
    let (bytes, check) = record::encode_inline(&head, b"id", b"{}", seal());
    let found = Record::decode(&bytes, check, seal()).unwrap();
    assert_eq!((found.id, found.inline_value(), found.head), (&b"id"[..], Some(&b"{}"[..]), head));
    assert!(Record::decode(&bytes, check ^ 1, seal()).is_none());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&flipped, check, seal()).is_none(), "bit {bit}");
    }
    let timeouts = Some(OwnTimeouts { idle_ms: 3, absolute_ms: u64::MAX });
    let head = Head { times, timeouts, content: Content::Value };
    let (bytes, check) = record::encode_inline(&head, b"id", b"{}", seal());
    assert_eq!(bytes.len(), record::inline_length(&head, 2, 2));
    let found = Record::decode(&bytes, check, seal()).unwrap();
    assert_eq!((found.id, found.head), (&b"id"[..], head));
}

#[test]
fn a_word_names_nothing_a_tombstone_or_a_record() {
    assert_eq!(Word::NOTHING.named(), Named::Nothing);
    assert_eq!(Word::tombstone(4).named(), Named::Tombstone);
    assert_eq!(Word::record(0x10040, 6).named(), Named::Record { offset: 0x10040, check: 6 });
    assert_ne!(Word::tombstone(4), Word::tombstone(5));
}

#[test]
fn growing_moves_entries_only_to_the_segments_that_are_split_off() {
    let tagger = Tagger::new(&[5; 16]);
    for segments in 1..70u32 {
        for batch in 1..=segment::batch_max(segments) {
            for number in 0..200u32 {
                let tag = tagger.tag(&number.to_le_bytes());
                let before = segment::segment_of(tag, segments);
                let after = segment::segment_of(tag, segments + batch);
                assert!(before < segments && after < segments + batch);
                assert!(
                    after == before || after >= segments && segment::parent_of(after) == before
                );
            }
        }
    }
}

#[test]
fn every_structure_is_without_gaps() {
    for structure in layout() {
        let mut end = 0;
        for field in structure.fields {
            assert_eq!(field.offset, end, "{} {}", structure.name, field.name);
            end += field.size;
        }
    }
}

#[test]
fn an_id_is_kept_as_it_is_or_as_its_sha_256() {
    assert_eq!(IdForm::Plain.kept(b"abc", &mut [0; 64]), b"abc");
    // The examples of FIPS 180-2.
    let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(IdForm::Sha256.kept(b"abc", &mut [0; 64]), digits.as_bytes());
    let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let digits = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    assert_eq!(IdForm::Sha256.kept(long, &mut [0; 64]), digits.as_bytes());
    let kept = digits.as_bytes();
    assert!(IdForm::Sha256.can_keep(kept) && IdForm::Plain.can_keep(kept));
    for other in [&kept[1..], &digits.to_uppercase().into_bytes(), b"", &[b'0'; 65]] {
        assert!(!IdForm::Sha256.can_keep(other));
    }
    assert!(!IdForm::Plain.can_keep(b"") && !IdForm::Plain.can_keep(&[0; 256]));
    assert_eq!(IdForm::from_code(2), None);
}

/// Of a few bytes a checksum says little, and another version might have the same ones.
#[test]
fn no_line_of_a_piece_is_like_one_of_another_version() {
    use super::record::{mask, piece_len};

    let stored = |nonce: u64| {
        let mut piece = vec![7];
        piece.resize(piece_len(1), 0);
        mask(&mut piece, nonce);
        piece
    };
    let (one, other) = (stored(0x0123_4567_89ab_cdef), stored(0x1122_3344_5566_7788));
    assert_eq!(one.len(), LINE_SIZE);
    assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    let mut back = one;
    mask(&mut back, 0x0123_4567_89ab_cdef);
    assert_eq!(back.split_first(), Some((&7, &[0; LINE_SIZE - 1][..])));
}
