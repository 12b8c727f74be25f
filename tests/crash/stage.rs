//! The stage: keys, their histories, an observer, and values that say whose they
//! are.
//!
//! The observer reads through the engine's own lock-free reader, on a handle that
//! no hook interrupts. It must never write.

use std::collections::HashMap;

use cloakroom::storage::simulated::{SimulatedDisk, Snapshot};
use cloakroom::{ByteContainer, Durability, Options};
use siphasher::sip128::SipHasher24;

use crate::history::{History, Value};

/// Ids that the processes fight over.
pub(crate) const HOT_KEYS: usize = 8;
/// Lengths of values, over several extent classes and into blocks of their own.
const LENGTHS: [usize; 8] = [40, 60, 200, 330, 700, 1200, 5000, 40_000];

/// What is in the container when a run begins.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) snapshot: Snapshot,
    /// Sessions that nobody touches.
    pub(crate) filler: Vec<Vec<u8>>,
    pub(crate) hot: Vec<Vec<u8>>,
}

/// A value: its number, the key it belongs to, and bytes that follow from both.
pub(crate) fn value_bytes(key: &[u8], number: u64, lengths: usize) -> Vec<u8> {
    let len = LENGTHS[(number % lengths.min(LENGTHS.len()) as u64) as usize];
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(lengths as u64).to_le_bytes());
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    let seed = key.iter().fold(number, |seed, byte| seed.rotate_left(5) ^ u64::from(*byte));
    while bytes.len() < len {
        bytes.push((seed.wrapping_mul(bytes.len() as u64 | 1) >> 32) as u8);
    }
    bytes
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

/// Ids whose entries begin their probes at the same few lines of the first
/// segment.
fn crowded_ids(disk: &SimulatedDisk, count: usize) -> Vec<Vec<u8>> {
    let layout = cloakroom::format::layout();
    let header = layout.iter().find(|structure| structure.name == "static header").unwrap();
    let key = header.fields.iter().find(|field| field.name == "key").unwrap();
    let bytes = disk.bytes();
    let key: [u8; 16] = bytes[key.offset..key.offset + 16].try_into().unwrap();
    let hasher = SipHasher24::new_with_key(&key);
    let near = |id: &[u8]| {
        let tag = hasher.hash(id).as_bytes();
        u64::from_le_bytes(tag[8..].try_into().unwrap()) % 1016 < 3
    };
    let ids = (0u32..).map(|number| format!("crowd-{number}").into_bytes());
    ids.filter(|id| near(id)).take(count).collect()
}

/// The scenes: an empty container, one about to grow from one segment, one about
/// to grow from three, and one where probes are long.
pub(crate) fn scenes() -> Vec<Scene> {
    let plain = |count: usize| {
        move |_: &SimulatedDisk| -> Vec<Vec<u8>> {
            (0..count).map(|number| format!("filler-{number}").into_bytes()).collect()
        }
    };
    vec![
        scene("empty", 1, plain(0)),
        scene("one segment, nearly full", 2, plain(616)),
        scene("more segments", 3, plain(1190)),
        scene("long probes", 4, |disk| crowded_ids(disk, 70)),
    ]
}

fn scene(name: &'static str, seed: u64, ids: impl Fn(&SimulatedDisk) -> Vec<Vec<u8>>) -> Scene {
    let disk = SimulatedDisk::new(seed);
    disk.allow_unlocked_writes(false);
    let process = disk.spawn();
    let options = Options::new().durability(Durability::Never);
    let container = ByteContainer::create_on(Box::new(disk.open(process)), options).unwrap();
    let mut all = ids(&disk);
    let hot: Vec<Vec<u8>> = if name == "long probes" {
        all.split_off(all.len() - HOT_KEYS)
    } else {
        (0..HOT_KEYS).map(|number| format!("hot-{number}").into_bytes()).collect()
    };
    for id in &all {
        container.save(id, &value_bytes(id, 0, 1)).unwrap();
    }
    container.sync().unwrap();
    container.sync().unwrap();
    drop(container);
    disk.write_back();
    Scene { name, snapshot: disk.snapshot(), filler: all, hot }
}

/// The histories of all hot keys.
pub(crate) fn histories(scene: &Scene) -> HashMap<Vec<u8>, History> {
    scene.hot.iter().map(|key| (key.clone(), History::new(None))).collect()
}
