//! The golden files: containers made on the simulated disk, where a seed stands
//! for chance and the clock stands still, so that the same calls make the same
//! bytes.
//!
//! `CLOAKROOM_MAKE_GOLDEN=1 cargo test --test format` writes them to tests/data,
//! which is to be done with each change of format 0.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::storage::simulated::{Operation, SimulatedDisk, Verdict};
use cloakroom::{ByteContainer, Durability, IdForm, Options, Properties, Timeouts};

use super::sha256::sha_256;

/// When everything in the golden files was saved.
pub(crate) const MADE_MS: u64 = 1_700_000_000_000;
/// The first moment of the year 2100.
pub(crate) const DEADLINE_MS: u64 = 4_102_444_800_000;
/// The session that the worked example of FORMAT.md looks up.
pub(crate) const ALICE: &[u8] = b"alice";

/// One golden file.
#[derive(Debug)]
pub(crate) struct Golden {
    /// Its name in tests/data.
    pub(crate) name: &'static str,
    /// How it keeps ids.
    pub(crate) ids: IdForm,
    /// What it has to contain, byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// The sessions that a load finds in it, by id.
    pub(crate) sessions: Vec<Expected>,
    /// Ids that lead to the session of another one.
    pub(crate) led: Vec<(&'static [u8], &'static [u8])>,
    /// Ids that a load does not find, though the file knows them.
    pub(crate) absent: Vec<&'static [u8]>,
}

/// A session in a golden file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expected {
    pub(crate) id: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) deadline_ms: Option<u64>,
    /// Idle and absolute, in milliseconds, 0 for none, if it has timeouts of its own.
    pub(crate) timeouts: Option<(u64, u64)>,
}

impl Golden {
    /// What a walk finds in it: ids as they are kept.
    pub(crate) fn walked(&self) -> BTreeSet<Expected> {
        let kept = |session: &Expected| match self.ids {
            IdForm::Plain => session.clone(),
            IdForm::Sha256 => Expected { id: sha_256(&session.id), ..session.clone() },
        };
        self.sessions.iter().map(kept).collect()
    }
}

/// Where the golden files lie.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// All golden files, made anew.
pub(crate) fn all() -> Vec<Golden> {
    vec![empty(), small(), large(), hashed(), rotated()]
}

fn empty() -> Golden {
    let disk = SimulatedDisk::new(1);
    drop(container_on(&disk, IdForm::Plain));
    Golden {
        name: "v0-empty.room",
        ids: IdForm::Plain,
        bytes: disk.bytes(),
        sessions: Vec::new(),
        led: Vec::new(),
        absent: vec![ALICE],
    }
}

fn small() -> Golden {
    let disk = SimulatedDisk::new(2);
    let container = container_on(&disk, IdForm::Plain);
    let cart = br#"{"cart":["umbrella","hat"],"visits":41}"#;
    let saves: [(&[u8], Vec<u8>); 5] = [
        (ALICE, br#"{"visits":1}"#.to_vec()),
        (b"bob", cart.to_vec()),
        (b"nothing", Vec::new()),
        (b"\x00\xff\r\n\x1b[0m", b"the id is no text".to_vec()),
        (b"carol", text(200)),
    ];
    for (id, value) in &saves {
        container.save(id, value).unwrap();
    }
    container.save("late", b"its deadline has passed").unwrap();
    container.save("gone", b"removed").unwrap();
    container.set_deadline("bob", Some(DEADLINE_MS)).unwrap();
    container.set_deadline("late", Some(MADE_MS + 1)).unwrap();
    container.sync().unwrap();
    container.remove("gone").unwrap();
    container.save(ALICE, br#"{"visits":2}"#).unwrap();
    // The second version is pending while a sync of its epoch runs, and then the
    // third one is published in the next epoch: so all three words differ.
    let third = br#"{"visits":3}"#;
    save_during_sync(&disk, &container, ALICE, third);
    drop(container);
    let expected = |(id, value): &(&[u8], Vec<u8>)| Expected {
        id: id.to_vec(),
        value: if *id == ALICE { third.to_vec() } else { value.clone() },
        deadline_ms: (*id == b"bob").then_some(DEADLINE_MS),
        timeouts: None,
    };
    Golden {
        name: "v0-small.room",
        ids: IdForm::Plain,
        bytes: disk.bytes(),
        sessions: saves.iter().map(expected).collect(),
        led: Vec::new(),
        absent: vec![b"gone", b"late", b"nobody"],
    }
}

fn large() -> Golden {
    let disk = SimulatedDisk::new(3);
    let container = container_on(&disk, IdForm::Plain);
    let longest_id = [b'i'; 255];
    let sessions = [
        (&b"large"[..], text(100_000)),
        (b"little", b"{}".to_vec()),
        (&longest_id, b"the longest id".to_vec()),
    ];
    for (id, value) in &sessions {
        container.save(id, value).unwrap();
    }
    container.sync().unwrap();
    drop(container);
    let expected = sessions.map(|(id, value)| expected(id, value));
    Golden {
        name: "v0-large.room",
        ids: IdForm::Plain,
        bytes: disk.bytes(),
        sessions: expected.to_vec(),
        led: Vec::new(),
        absent: vec![b"huge"],
    }
}

fn expected(id: &[u8], value: Vec<u8>) -> Expected {
    Expected { id: id.to_vec(), value, deadline_ms: None, timeouts: None }
}

/// Ids as SHA-256, one of them that is the digits of another; and timeouts.
fn hashed() -> Golden {
    let disk = SimulatedDisk::new(4);
    let container = container_on(&disk, IdForm::Sha256);
    let digits = sha_256(ALICE);
    let sessions = [(ALICE, b"{}".to_vec()), (&digits[..], text(5)), (&[b'i'; 255], text(100))];
    for (id, value) in &sessions {
        container.save(id, value).unwrap();
    }
    let idle = Timeouts::NONE.idle(Duration::from_millis(DEADLINE_MS - MADE_MS));
    let kept = [("idle", idle), ("both", idle.absolute(Duration::MAX)), ("ever", Timeouts::NONE)];
    let kept = kept.map(|(id, own)| {
        container.save_with(id, b"1", &Properties::new().timeouts(own)).unwrap();
        container.save(id, b"2").unwrap();
        let ms =
            |timeout: Option<Duration>| timeout.map_or(0, |timeout| timeout.as_millis() as u64);
        Expected {
            deadline_ms: own.idle_timeout().map(|_| DEADLINE_MS),
            timeouts: Some((ms(own.idle_timeout()), ms(own.absolute_timeout()))),
            ..expected(id.as_bytes(), b"2".to_vec())
        }
    });
    container.sync().unwrap();
    drop(container);
    let mut expected = sessions.map(|(id, value)| expected(id, value)).to_vec();
    expected.extend(kept);
    Golden {
        name: "v0-hashed.room",
        ids: IdForm::Sha256,
        bytes: disk.bytes(),
        sessions: expected,
        led: Vec::new(),
        absent: vec![b"bob"],
    }
}

/// A login whose old id still leads to the session, one whose does not, and one that was
/// saved since by the old id.
fn rotated() -> Golden {
    let disk = SimulatedDisk::new(5);
    let container = container_on(&disk, IdForm::Sha256);
    let grace = Duration::from_millis(DEADLINE_MS - MADE_MS);
    for (old, new, grace) in [
        (&b"guest"[..], &b"ada"[..], grace),
        (b"left", b"went on", Duration::ZERO),
        (b"first", b"second", grace),
        (b"second", b"third", grace),
    ] {
        if old != b"second" {
            container.save(old, &text(old.len())).unwrap();
        }
        if old == b"guest" {
            container.set_deadline(old, Some(DEADLINE_MS)).unwrap();
        }
        container.rotate(old, new, grace).unwrap().saved().unwrap();
    }
    container.save("first", b"by the first of three ids").unwrap();
    container.sync().unwrap();
    drop(container);
    let ada = Expected { deadline_ms: Some(DEADLINE_MS), ..expected(b"ada", text(5)) };
    let went_on = expected(b"went on", text(4));
    let third = expected(b"third", b"by the first of three ids".to_vec());
    Golden {
        name: "v0-rotated.room",
        ids: IdForm::Sha256,
        bytes: disk.bytes(),
        sessions: vec![ada, went_on, third],
        led: vec![(b"guest", b"ada"), (b"first", b"third"), (b"second", b"third")],
        absent: vec![b"left"],
    }
}

fn container_on(disk: &SimulatedDisk, ids: IdForm) -> ByteContainer {
    let storage = Box::new(disk.open(disk.spawn()));
    ByteContainer::create_on(storage, options().ids(ids)).unwrap()
}

/// Only the syncs that are asked for.
fn options() -> Options {
    Options::new().durability(Durability::Never)
}

/// Syncs, and lets another process save while the sync runs.
fn save_during_sync(disk: &SimulatedDisk, container: &ByteContainer, id: &[u8], value: &[u8]) {
    let other = ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options()).unwrap();
    let saved = AtomicBool::new(false);
    let (id, value) = (id.to_vec(), value.to_vec());
    disk.set_hook(Some(Arc::new(move |call| {
        if call.operation == Operation::SyncEnd && !saved.swap(true, Ordering::Relaxed) {
            other.save(&id, &value).unwrap();
        }
        Verdict::Proceed
    })));
    container.sync().unwrap();
    disk.set_hook(None);
}

/// Text of this length that names its places.
fn text(len: usize) -> Vec<u8> {
    let line = |number: usize| format!("line {number:05} of a long value\n").into_bytes();
    (0..).flat_map(line).take(len).collect()
}
