//! The stage: keys, their histories, an observer, and values that say whose they
//! are.
//!
//! The observer reads through the engine's own lock-free reader, on a handle that
//! no hook interrupts. It must never write.

use std::collections::{HashMap, VecDeque};

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{SimulatedDisk, Snapshot};
use cloakroom::{ByteContainer, Durability, Finding, IdForm, Options, Report};
use siphasher::sip128::SipHasher24;

use crate::history::{History, Value};

/// Ids that the processes fight over.
pub(crate) const HOT_KEYS: usize = 8;
/// Sessions that scenes leave to be saved before the index grows.
const SESSIONS_TO_GROW: usize = 4;
/// Lengths of values, over several extent classes and into blocks of their own.
pub(crate) const LENGTHS: [usize; 9] = [40, 60, 200, 330, 700, 1200, 5000, 40_000, 20_000];

/// A figure for the table in tests/README.md, past the capture of the test harness.
pub(crate) fn say(what: &str, number: u64) {
    use std::io::Write;
    let line = format!("reached: {what} = {number}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// What is in the container when a run begins.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) snapshot: Snapshot,
    /// Sessions that nobody touches.
    pub(crate) filler: Vec<Vec<u8>>,
    pub(crate) hot: Vec<Vec<u8>>,
}

/// A disk on which the scene begins, with chances of its own for each seed.
pub(crate) fn set(scene: &Scene, seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.restore(&scene.snapshot);
    // The scene brings its own sequence of chances; each seed goes on elsewhere in it.
    let mut drawn = vec![0; 8 * (seed % 4001) as usize];
    disk.open(disk.spawn()).random(&mut drawn).unwrap();
    disk
}

/// A value: its number, the key it belongs to, then bytes that follow from both, and in
/// its second half from the key alone: sessions often change near their beginning only,
/// and a part of an earlier version must not pass for the rest of a later one.
pub(crate) fn value_bytes(key: &[u8], number: u64, lengths: usize) -> Vec<u8> {
    let len = LENGTHS[(number % lengths.min(LENGTHS.len()) as u64) as usize];
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(lengths as u64).to_le_bytes());
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    let of_key = key.iter().fold(1, |seed, byte| mixed(seed ^ u64::from(*byte)));
    let of_both = mixed(of_key ^ number);
    while bytes.len() < len {
        let seed = if bytes.len() < len / 2 { of_both } else { of_key };
        bytes.extend_from_slice(&mixed(seed ^ bytes.len() as u64).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A number of which each bit depends on each bit of the other (splitmix64; Steele, Lea
/// and Flood, 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The number in a value, which must be whole and of this key.
pub(crate) fn number_of(key: &[u8], bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let lengths = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    assert!(bytes == value_bytes(key, number, lengths as usize), "a value is torn or another's");
    number
}

/// Reads a key.
pub(crate) fn read(observer: &ByteContainer, key: &[u8]) -> Value {
    let session = observer.load(key).unwrap_or_else(|error| panic!("load: {error}"));
    session.map(|session| number_of(key, &session.value))
}

pub(crate) fn observer(disk: &SimulatedDisk) -> ByteContainer {
    let process = disk.spawn();
    ByteContainer::open_read_only_on(Box::new(disk.open(process)), Options::new()).unwrap()
}

/// Ids whose entries begin their probes at the same few lines of a segment.
pub(crate) fn crowded_ids(disk: &SimulatedDisk, count: usize, lines: u64) -> Vec<Vec<u8>> {
    let layout = cloakroom::format::layout();
    let header = layout.iter().find(|structure| structure.name == "static header").unwrap();
    let key = header.fields.iter().find(|field| field.name == "key").unwrap();
    let bytes = disk.bytes();
    let key: [u8; 16] = bytes[key.offset..key.offset + 16].try_into().unwrap();
    let hasher = SipHasher24::new_with_key(&key);
    let near = |id: &[u8]| {
        let tag = hasher.hash(id).as_bytes();
        u64::from_le_bytes(tag[8..].try_into().unwrap()) % 1016 < lines
    };
    let ids = (0u32..).map(|number| format!("crowd-{number}").into_bytes());
    ids.filter(|id| near(id)).take(count).collect()
}

/// The scenes: an empty container, one about to grow from one segment, one about
/// to grow from several, and one where probes are long.
pub(crate) fn scenes() -> Vec<Scene> {
    vec![
        scene("empty", 1, |_, _| Vec::new()),
        scene("crowd", 7, |disk, _| crowded_ids(disk, HOT_KEYS, 1)),
        scene("one segment, nearly full", 2, |disk, container| {
            fill(disk, container, 1, Growth::Near)
        }),
        scene("three segments, nearly full", 3, |disk, container| {
            fill(disk, container, 3, Growth::Near)
        }),
        scene("filling", 5, |disk, container| fill(disk, container, 1, Growth::Filling)),
        scene("settling", 6, |disk, container| fill(disk, container, 2, Growth::Settling)),
        scene("long probes", 4, |disk, container| {
            let ids = crowded_ids(disk, 70, 3);
            for id in &ids[..ids.len() - HOT_KEYS] {
                container.save(id, &value_bytes(id, 0, 1)).unwrap();
            }
            container.sync().unwrap();
            ids
        }),
    ]
}

/// A larger index, of which several segments are about to be split off at once. A third
/// of its sessions have older versions.
pub(crate) fn large_scene() -> Scene {
    scene("six segments", 8, |disk, container| {
        let ids = fill(disk, container, 6, Growth::Near);
        let options = Options::new().durability(Durability::Never);
        let storage = Box::new(disk.open(disk.spawn()));
        let container = ByteContainer::open_on(storage, options).unwrap();
        for _ in 0..2 {
            for id in ids.iter().step_by(3) {
                container.save(id, &value_bytes(id, 0, 1)).unwrap();
            }
            container.sync().unwrap();
            disk.write_back();
        }
        ids
    })
}

/// How far the growth of the index has come when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Near,
    Filling,
    Settling,
}

/// Saves sessions in an index of so many segments until it grows, or nearly so.
fn fill(
    disk: &SimulatedDisk,
    container: &ByteContainer,
    segments: u32,
    growth: Growth,
) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    let mut before = VecDeque::new();
    loop {
        // With fewer no segment is nearly full.
        if ids.len() >= 200 * segments as usize {
            before.push_back(disk.snapshot());
        }
        if before.len() > SESSIONS_TO_GROW {
            before.pop_front();
        }
        let id = format!("filler-{}", ids.len()).into_bytes();
        container.save(&id, &value_bytes(&id, 0, 1)).unwrap();
        ids.push(id);
        let info = container.info().unwrap();
        if !info.splitting {
            // What the system has written by itself: a run begins with few lines
            // undecided.
            disk.write_back();
            continue;
        }
        if info.segments == segments {
            match growth {
                Growth::Near => {
                    disk.restore(&before[0]);
                    ids.truncate(ids.len() - before.len());
                }
                // The last one may be lost: nobody has synced it.
                Growth::Filling => ids.truncate(ids.len() - 1),
                Growth::Settling => container.sync().unwrap(),
            }
            return ids;
        }
        for _ in 0..3 {
            container.sync().unwrap();
        }
    }
}

fn scene(
    name: &'static str,
    seed: u64,
    make: impl Fn(&SimulatedDisk, &ByteContainer) -> Vec<Vec<u8>>,
) -> Scene {
    let disk = SimulatedDisk::new(seed);
    let process = disk.spawn();
    let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
    let container = ByteContainer::create_on(Box::new(disk.open(process)), options).unwrap();
    let mut all = make(&disk, &container);
    let hot: Vec<Vec<u8>> = if matches!(name, "long probes" | "crowd") {
        all.split_off(all.len() - HOT_KEYS)
    } else {
        (0..HOT_KEYS).map(|number| format!("hot-{number}").into_bytes()).collect()
    };
    drop(container);
    Scene { name, snapshot: disk.snapshot(), filler: all, hot }
}

/// The histories of all hot keys.
pub(crate) fn histories(scene: &Scene) -> HashMap<Vec<u8>, History> {
    scene.hot.iter().map(|key| (key.clone(), History::new(None))).collect()
}

/// Fails with what a check found, if it is damage, or if something is later than a
/// deadline that it stands for, which no kill may leave, and no cut once the pass is done.
pub(crate) fn assert_sound(report: &Report) {
    let is_late = |finding: &&Finding| finding.what.contains("a bound is later");
    let late: Vec<_> = report.notes.iter().filter(is_late).collect();
    assert!(report.is_sound() && late.is_empty(), "{:?} {late:?}", report.damage);
}

/// A new process that makes a container and never syncs.
pub(crate) fn create(disk: &SimulatedDisk) -> ByteContainer {
    let storage = Box::new(disk.open(disk.spawn()));
    let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
    ByteContainer::create_on(storage, options).unwrap()
}

/// A new process that opens it.
pub(crate) fn open(disk: &SimulatedDisk, durability: Durability) -> ByteContainer {
    let storage = Box::new(disk.open(disk.spawn()));
    ByteContainer::open_on(storage, Options::new().durability(durability)).unwrap()
}
