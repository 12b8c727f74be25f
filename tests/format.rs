//! FORMAT.md says what the program does: its tables are the program's own, its
//! example is a real file, and a reader written from it alone finds every
//! session.
//!
//! After a change of the format, `CLOAKROOM_MAKE_GOLDEN=1 cargo test --test
//! format` makes the golden files, the worked example and the snapshot of the
//! layout anew; the tables and sentences of FORMAT.md are to be changed by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "format/example.rs"]
mod example;
#[path = "format/golden.rs"]
mod golden;
#[path = "format/reader.rs"]
mod reader;
#[path = "format/sha256.rs"]
mod sha256;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use cloakroom::format::layout;
use cloakroom::storage::simulated::SimulatedDisk;
use cloakroom::{ByteContainer, Durability, Options};
use golden::{Expected, Golden, MADE_MS};
use reader::{Reader, Session};

const TOOL: &str = env!("CARGO_BIN_EXE_cloakroom");
/// The golden file that FORMAT.md shows.
const EXAMPLE: &str = "v0-small.room";

/// A row of a table: structure, offset, size, name.
type Row = (String, usize, usize, String);

fn format_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md")
}

fn format_text() -> String {
    make_if_asked();
    fs::read_to_string(format_path()).unwrap()
}

/// The golden files with what they have on the disk.
fn golden_files() -> Vec<(Golden, Vec<u8>)> {
    make_if_asked();
    let read = |golden: Golden| {
        let bytes = fs::read(golden::directory().join(golden.name)).unwrap();
        (golden, bytes)
    };
    golden::all().into_iter().map(read).collect()
}

/// Makes all that is made, once and before any test reads it, if that was asked
/// for.
fn make_if_asked() {
    static MADE: Once = Once::new();
    if std::env::var_os("CLOAKROOM_MAKE_GOLDEN").is_some_and(|value| value == "1") {
        MADE.call_once(make);
    }
}

fn make() {
    for golden in golden::all() {
        write(&golden::directory().join(golden.name), &golden.bytes);
        if golden.name == EXAMPLE {
            let text = fs::read_to_string(format_path()).unwrap();
            let text = example::put_into(&text, &example::example(&golden.bytes));
            write(&format_path(), text.as_bytes());
        }
    }
    write(&golden::directory().join("layout.txt"), layout_snapshot().as_bytes());
}

fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(bytes) {
        fs::write(path, bytes).unwrap();
    }
}

/// What the tool prints of the layout, below a comment.
fn layout_snapshot() -> String {
    let ran = Command::new(TOOL).args(["inspect", "--layout"]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    format!(
        "# What `cloakroom inspect --layout` prints. A changed line means a changed format.\n{}",
        String::from_utf8(ran.stdout).unwrap()
    )
}

/// The rows of all tables in FORMAT.md that are headed OFFSET SIZE NAME MEANING,
/// below the heading that stands before.
fn rows_of(text: &str) -> Vec<Row> {
    let mut structure = String::new();
    let mut inside = false;
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            structure = heading.to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        inside = line.starts_with('|') && (inside || cells[1] == "OFFSET");
        if !inside || cells[1] == "OFFSET" || cells[1].starts_with('-') {
            continue;
        }
        let number = |text: &str| text.parse::<usize>().unwrap();
        rows.push((structure.clone(), number(cells[1]), number(cells[2]), cells[3].to_owned()));
    }
    rows
}

fn expected_of(session: Session) -> Expected {
    let deadline_ms = (session.deadline != 0).then_some(session.deadline);
    Expected { id: session.id, value: session.value, deadline_ms, timeouts: session.timeouts }
}

#[test]
fn the_tables_of_format_md_are_those_of_the_program() {
    let row = |structure: &cloakroom::format::Structure| {
        let name = structure.name.to_owned();
        let fields = structure.fields.iter();
        let row = |field: &cloakroom::format::Field| {
            (name.clone(), field.offset, field.size, field.name.to_owned())
        };
        fields.map(row).collect::<Vec<Row>>()
    };
    let wanted: Vec<Row> = layout().iter().flat_map(row).collect();
    assert_eq!(rows_of(&format_text()), wanted);
}

#[test]
fn the_golden_files_are_made_again_byte_for_byte() {
    for (golden, bytes) in golden_files() {
        let same = golden.bytes.iter().zip(&bytes).take_while(|(made, kept)| made == kept).count();
        assert!(
            golden.bytes == bytes,
            "{} differs from byte {same} on: has the format changed?",
            golden.name
        );
    }
}

#[test]
fn the_program_reads_the_golden_files() {
    let directory = tempfile::tempdir().unwrap();
    for (golden, bytes) in golden_files() {
        let path = directory.path().join(golden.name);
        fs::write(&path, &bytes).unwrap();
        let container = ByteContainer::open_read_only(&path, Options::new()).unwrap();
        for wanted in &golden.sessions {
            let session = container.load(&wanted.id).unwrap().unwrap();
            assert_eq!(session.value, wanted.value, "{}", golden.name);
            assert_eq!(session.times.deadline_ms, wanted.deadline_ms, "{}", golden.name);
            let ms = |timeout: Option<Duration>| timeout.map_or(0, |t| t.as_millis() as u64);
            let own = session.properties.own_timeouts();
            let own = own.map(|own| (ms(own.idle_timeout()), ms(own.absolute_timeout())));
            assert_eq!(own, wanted.timeouts, "{}", golden.name);
            assert_eq!(
                (session.times.created_ms, session.times.saved_ms),
                (MADE_MS, MADE_MS),
                "{}",
                golden.name
            );
        }
        for id in &golden.absent {
            assert!(container.load(id).unwrap().is_none(), "{}", golden.name);
        }
        for (id, other) in &golden.led {
            let session = container.load(id).unwrap();
            assert!(session.is_some() && session == container.load(other).unwrap());
            let rotated = container.rotated(id).unwrap().unwrap();
            assert_eq!((rotated.rotated_ms, rotated.until_ms), (MADE_MS, golden::DEADLINE_MS));
        }
        let ids: BTreeSet<Vec<u8>> = container.iter().map(|item| item.unwrap().0).collect();
        let wanted: BTreeSet<Vec<u8>> =
            golden.walked().into_iter().map(|session| session.id).collect();
        assert_eq!(ids, wanted, "{}", golden.name);
        let report = container.check().unwrap();
        assert!(report.is_sound(), "{}: {:?}", golden.name, report.damage);
        drop(container);
        assert!(fs::read(&path).unwrap() == bytes, "{} was changed by a reader", golden.name);
    }
}

#[test]
fn the_worked_example_shows_the_bytes_of_the_golden_file() {
    let files = golden_files();
    let (_, bytes) = files.iter().find(|(golden, _)| golden.name == EXAMPLE).unwrap();
    let text = format_text();
    let shown = example::shown(&text);
    let mut rows = 0;
    for (offset, row) in example::rows(shown) {
        assert_eq!(row, bytes[offset..offset + row.len()], "at {offset:#x}");
        rows += 1;
    }
    assert!(rows > 20, "only {rows} rows were found");
    assert_eq!(shown.trim(), example::example(bytes).trim());
}

#[test]
fn the_three_words_of_the_example_differ_and_name_three_versions() {
    for (golden, bytes) in golden_files() {
        if golden.name != EXAMPLE {
            continue;
        }
        let reader = Reader::open(&bytes);
        let line = reader.line(reader.path(golden::ALICE).entry.unwrap());
        let visits = line[16..40].chunks_exact(8).map(|word| {
            let (_, record) = reader.record_bytes(word).unwrap();
            record.iter().rev().find(|byte| byte.is_ascii_digit()).copied()
        });
        assert_eq!(visits.collect::<Vec<_>>(), [Some(b'3'), Some(b'2'), Some(b'1')]);
    }
}

#[test]
fn a_reader_written_from_format_md_finds_every_session_of_the_golden_files() {
    for (golden, bytes) in golden_files() {
        let reader = Reader::open(&bytes);
        for wanted in &golden.sessions {
            let session = reader.find(&wanted.id, MADE_MS + 1).unwrap();
            assert_eq!((session.created, session.saved), (MADE_MS, MADE_MS));
            let found = Expected { id: wanted.id.clone(), ..expected_of(session) };
            assert_eq!(found, *wanted, "{}", golden.name);
        }
        for id in &golden.absent {
            assert_eq!(reader.find(id, MADE_MS + 1), None, "{}", golden.name);
        }
        for (id, other) in &golden.led {
            let session = reader.find(id, MADE_MS + 1);
            assert!(session.is_some() && session == reader.find(other, MADE_MS + 1));
            assert_eq!(reader.find(id, golden::DEADLINE_MS), None, "{}", golden.name);
        }
        let walked: BTreeSet<Expected> =
            reader.walk(MADE_MS + 1).into_iter().map(expected_of).collect();
        assert_eq!(walked, golden.walked(), "{}", golden.name);
    }
}

#[test]
fn a_reader_written_from_format_md_needs_only_one_of_the_two_headers() {
    for (golden, mut bytes) in golden_files() {
        bytes[..4096].fill(0);
        assert_eq!(Reader::open(&bytes).walk(0).len() - expired(&golden), golden.sessions.len());
    }
}

/// How many sessions of a golden file are there only before their deadline.
fn expired(golden: &Golden) -> usize {
    golden.absent.iter().filter(|id| **id == b"late").count()
}

#[test]
fn a_reader_written_from_format_md_takes_the_older_version_where_a_record_is_lost() {
    for (golden, mut bytes) in golden_files() {
        if golden.name != EXAMPLE {
            continue;
        }
        for wanted in [&br#"{"visits":3}"#[..], br#"{"visits":2}"#, br#"{"visits":1}"#] {
            let reader = Reader::open(&bytes);
            let found = reader.find(golden::ALICE, 0).unwrap();
            assert_eq!(found.value, wanted);
            let line = reader.line(reader.path(golden::ALICE).entry.unwrap());
            let newest = line[16..40].chunks_exact(8).find_map(|word| reader.record_bytes(word));
            let (offset, record) = newest.unwrap();
            let last = offset + record.len() - 1;
            bytes[last] ^= 1;
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("cut.room");
            fs::write(&path, &bytes).unwrap();
            let program = ByteContainer::open_read_only(&path, Options::new()).unwrap();
            let theirs = program.load(golden::ALICE).unwrap().map(|session| session.value);
            let ours = Reader::open(&bytes).find(golden::ALICE, 0).map(|session| session.value);
            assert_eq!(theirs, ours);
        }
    }
}

#[test]
fn a_reader_written_from_format_md_finds_and_walks_three_thousand_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.room");
    let options = Options::new().durability(Durability::Never);
    let container = ByteContainer::create(&path, options).unwrap();
    let id = |number: u32| format!("visitor-{number}").into_bytes();
    let value = |number: u32| vec![b'v'; (number as usize * 37) % 2000];
    let mut wanted = BTreeSet::new();
    for number in 0..3500 {
        container.save(id(number), &value(number)).unwrap();
        if number % 7 == 0 {
            container.remove(id(number)).unwrap();
        } else {
            wanted.insert((id(number), value(number)));
        }
        if number % 500 == 0 {
            container.sync().unwrap();
        }
    }
    assert_eq!(wanted.len(), 3000);
    let now = 0;
    let bytes = fs::read(&path).unwrap();
    let reader = Reader::open(&bytes);
    assert!(reader.segments() > 2, "the index did not grow");
    for number in 0..3500 {
        let found = reader.find(&id(number), now).map(|session| session.value);
        assert_eq!(found, (number % 7 != 0).then(|| value(number)), "{number}");
    }
    let walked = reader.walk(now);
    assert_eq!(walked.len(), wanted.len());
    let walked: BTreeSet<_> =
        walked.into_iter().map(|session| (session.id, session.value)).collect();
    let kept = |(id, value): (Vec<u8>, Vec<u8>)| (reader.kept(&id), value);
    assert!(walked == wanted.into_iter().map(kept).collect());
}

#[test]
fn the_layout_that_the_tool_prints_is_the_one_kept() {
    make_if_asked();
    let kept = fs::read_to_string(golden::directory().join("layout.txt")).unwrap();
    assert_eq!(layout_snapshot(), kept, "a changed line means a changed format");
}

#[test]
fn the_checksum_and_the_hash_of_the_reader_are_the_published_ones() {
    assert_eq!(reader::crc(0, b"123456789"), 0xCBF4_3926);
    assert_eq!(reader::crc(reader::crc(0, b"1234"), b"56789"), 0xCBF4_3926);
    let key: [u8; 16] = std::array::from_fn(|byte| byte as u8);
    let digits = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256::sha_256(b"abc"), digits, "the first example of FIPS 180-2");
    let tag = reader::sip_hash_128(&key, &[]);
    // The first vector of the reference implementation with 128 bits of output.
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "a3817f04ba25a8e66df67214c7550293");
}

/// A cut took the first version of a session's new life; that of the life before, which is
/// over, must not be taken for it by the stranger either.
#[test]
fn the_reader_does_not_fall_back_on_a_life_that_is_over() {
    let disk = SimulatedDisk::new(1);
    let options = || Options::new().durability(Durability::Never);
    let storage = || Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::create_on(storage(), options()).unwrap();
    for id in ["over", "going on"] {
        container.save(id, b"before").unwrap();
    }
    container.set_deadline("over", Some(1)).unwrap();
    container.sync().unwrap();
    for id in ["over", "going on"] {
        container.save(id, b"after").unwrap();
    }
    drop(container);
    disk.power_cut_with(&mut |line, images| if line < 2 * 1024 { images - 1 } else { 0 });
    let image = disk.bytes();
    let reader = Reader::open(&image);
    let found = |id: &str| reader.find(id.as_bytes(), MADE_MS).map(|session| session.value);
    assert_eq!((found("over"), found("going on")), (None, Some(b"before".to_vec())));
    let container = ByteContainer::open_on(storage(), options()).unwrap();
    assert!(container.load("over").unwrap().is_none());
    assert_eq!(container.load("going on").unwrap().unwrap().value, b"before");
}
