//! The scenes: a file, what a writer does to it, and what readers load meanwhile.
//!
//! Each is as small as the thing it is about allows. The files are made by the engine;
//! only the power cut comes from the simulated disk.

use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use cloakroom::ByteContainer;
use cloakroom::storage::simulated::SimulatedDisk;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::record;
use crate::schedule::{Between, Long};
use crate::storage::{File, Locks};
use crate::words::{PlainWords, words_of};

/// One thing that a writer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Saves the value with this number and length.
    Save(String, u64, usize),
    /// Removes the session.
    Remove(String),
    /// Moves its deadline.
    Touch(String, Option<u64>),
    /// Makes all durable.
    Sync,
}

/// A file and what happens to it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it is about.
    pub name: &'static str,
    /// The file at the start.
    pub image: Vec<u64>,
    /// What had been done to it.
    pub before: Vec<Act>,
    /// The page cache was lost since: the writer recovers.
    pub rebooted: bool,
    /// What the writer does.
    pub acts: Vec<Act>,
    /// What each reader loads, in order.
    pub readers: Vec<Vec<String>>,
    /// Preemptions in one execution.
    pub preemptions: usize,
}

/// Length of a value of which every byte is in a word of its own.
const SHORT: usize = 8;
/// Another extent class.
const LONGER: usize = 300;
/// In blocks of its own.
const LARGE: usize = 40_000;

fn save(id: &str, number: u64) -> Act {
    Act::Save(id.into(), number, SHORT)
}

fn save_len(id: &str, number: u64, len: usize) -> Act {
    Act::Save(id.into(), number, len)
}

fn remove(id: &str) -> Act {
    Act::Remove(id.into())
}

/// A new container in which these acts were done by a writer that is gone.
fn image(acts: &[Act]) -> Vec<u64> {
    let file = File::new(PlainWords::default(), 1);
    let created = ByteContainer::create_on(Box::new(file.share(2)), record::options()).unwrap();
    for act in acts {
        record::act(&created, act);
    }
    drop(created);
    file.words().to_vec()
}

/// Where an id's probe begins, and the low bits that choose its segment.
fn place(id: &str) -> (u64, u64) {
    static KEY: OnceLock<[u8; 16]> = OnceLock::new();
    // Random bits follow from the handle: all containers here have the same key.
    let key = KEY.get_or_init(|| {
        let words = image(&[]);
        let bytes: Vec<u8> = words[..16].iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[48..64].try_into().unwrap()
    });
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(id.as_bytes());
    let tag = hasher.finish128().as_bytes();
    let half = |at: usize| u64::from_le_bytes(tag[at..at + 8].try_into().unwrap());
    (half(8) % 1016, half(0))
}

/// Ids of eight bytes, so that values begin at a word.
fn ids(like: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    (0u32..).map(|number| format!("id{number:06}")).filter(move |id| like(id))
}

/// Two ids whose probes begin at the same line, one of those that a young handle's
/// first trim comes to.
fn neighbours() -> (String, String) {
    let first = ids(|id| place(id).0 < 200).next().unwrap();
    let line = place(&first).0;
    let other = ids(|id| id != first && place(id).0 == line).next().unwrap();
    (first, other)
}

const A: &str = "id000000";
const B: &str = "id000001";

/// The scenes that loom goes through.
pub fn small() -> Vec<Scene> {
    let (first, other) = neighbours();
    let far = ids(|id| place(id).0 > 500).next().unwrap();
    let scene = |name, before: Vec<Act>, acts: Vec<Act>, reader: &[&str], preemptions| Scene {
        name,
        image: image(&before),
        before,
        rebooted: false,
        acts,
        readers: vec![reader.iter().map(|id| id.to_string()).collect()],
        preemptions,
    };
    vec![
        scene("publish", vec![save(A, 0)], vec![save(A, 1)], &[A, A], 4),
        scene(
            "an extent used again by its own session",
            vec![save(A, 0)],
            vec![save(A, 1), save(A, 2)],
            &[A, A],
            2,
        ),
        scene(
            "an extent used again by another session",
            vec![save(A, 0)],
            vec![save(A, 1), save(B, 2)],
            &[A],
            3,
        ),
        scene(
            "another class",
            vec![save(A, 0)],
            vec![save_len(A, 1, LONGER), save_len(B, 2, LONGER), save(A, 3)],
            &[A, A],
            1,
        ),
        scene(
            "a superseded version trimmed and overwritten",
            vec![save(A, 0), Act::Sync, save(A, 1), Act::Sync],
            vec![save(A, 2), Act::Sync],
            &[A, A],
            1,
        ),
        scene(
            "removed, and saved again",
            vec![save(A, 0)],
            vec![remove(A), save(A, 1)],
            &[A, A],
            1,
        ),
        scene(
            "a line vacated, and taken by another session",
            vec![save(&first, 0), Act::Sync, remove(&first), Act::Sync],
            vec![save_len(&far, 1, LONGER), Act::Sync, save(&other, 2)],
            &[&other],
            1,
        ),
        scene(
            "touched, and expired",
            vec![save(A, 0)],
            vec![Act::Touch(A.into(), Some(1 << 41)), Act::Touch(A.into(), Some(5))],
            &[A, A],
            1,
        ),
        scene(
            "a value in blocks of its own",
            // So that all blocks that are used hold a value already.
            vec![save_len(A, 7, LARGE), save_len(A, 8, LARGE), save_len(A, 0, LARGE)],
            vec![save_len(A, 1, LARGE), save_len(A, 2, LARGE)],
            &[A],
            1,
        ),
        scene(
            "the file grows",
            vec![save(A, 0)],
            vec![save_len(A, 1, LONGER), save_len(B, 2, 2 * LONGER)],
            &[B],
            1,
        ),
        cut("a version that a power cut took"),
        reach("a probe beyond the old reach"),
    ]
    .into_iter()
    .chain(splits())
    .collect()
}

/// The newest version was lost in a power cut, the entry was not: a writer recovers and
/// cleans while readers fall back.
fn cut(name: &'static str) -> Scene {
    let disk = SimulatedDisk::new(3);
    let options = record::options();
    let open = |disk: &SimulatedDisk| Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::create_on(open(&disk), options).unwrap();
    let before = vec![save(A, 0), save(B, 0), Act::Sync];
    for act in &before {
        record::act(&container, act);
    }
    record::act(&container, &save(A, 1));
    // Of the lines only those of the segment, block 1, were written back.
    let choose = &mut |line: u64, _: usize| {
        let offset = line * 64;
        if (65536..131072).contains(&offset) { usize::MAX } else { 0 }
    };
    disk.power_cut_with(choose);
    drop(container);
    Scene {
        name,
        image: words_of(&disk.bytes()),
        before,
        rebooted: true,
        acts: vec![save(A, 2)],
        readers: vec![vec![A.into()]],
        preemptions: 1,
    }
}

/// So many sessions begin their probes at a few lines that the next one comes to lie
/// beyond the reach of the segment.
fn reach(name: &'static str) -> Scene {
    let line = place(A).0;
    let near = |id: &str| (place(id).0 + 1016 - line) % 1016 < 2;
    let ids: Vec<_> = ids(near).take(65).collect();
    let mut before: Vec<_> = ids[..64].iter().map(|id| save(id, 0)).collect();
    before.push(Act::Sync);
    Scene {
        name,
        image: image(&before),
        before,
        rebooted: false,
        acts: vec![save(&ids[64], 1)],
        readers: vec![vec![ids[64].clone()]],
        preemptions: 1,
    }
}

/// The index has so many sessions that the next one begins a split; and the same in
/// each phase of the split. Readers load a session that moves.
fn splits() -> Vec<Scene> {
    let growing = Growing::new();
    let (whole, filling, settling) = (&growing.whole, &growing.filling, &growing.settling);
    let (before, begun, moved) = (&growing.before, &growing.begun, &growing.moved);
    let scene = |name, image: &Vec<u64>, before: &Vec<Act>, acts| Scene {
        name,
        image: image.clone(),
        before: before.clone(),
        rebooted: false,
        acts,
        readers: vec![vec![moved.clone()]],
        preemptions: 1,
    };
    vec![
        scene("a split begins", whole, before, vec![growing.last.clone(), save(moved, 1)]),
        scene("new segments count from now on", filling, begun, vec![save(moved, 1), Act::Sync]),
        scene("a split ends", settling, begun, vec![Act::Sync, save(moved, 1)]),
        scene(
            "the line that a moved session left is taken",
            filling,
            begun,
            vec![Act::Sync, Act::Sync, save(&growing.taker, 3)],
        ),
    ]
}

/// An index before and in the phases of its first split.
struct Growing {
    whole: Vec<u64>,
    filling: Vec<u64>,
    settling: Vec<u64>,
    /// What was done up to `whole`, and the save that begins the split.
    before: Vec<Act>,
    last: Act,
    begun: Vec<Act>,
    /// A session that will move, at the line where its probe begins.
    moved: String,
    /// A later one that stays behind and takes that line when it may.
    taker: String,
}

impl Growing {
    fn new() -> Growing {
        let all: Vec<_> = ids(|_| true).take(700).collect();
        let file = File::new(PlainWords::default(), 1);
        let created = ByteContainer::create_on(Box::new(file.share(2)), record::options()).unwrap();
        let mut before: Vec<Act> = Vec::new();
        let mut images = Vec::new();
        for id in &all {
            images = vec![file.words().to_vec()];
            before.push(save(id, 0));
            record::act(&created, &save(id, 0));
            if created.info().unwrap().splitting {
                break;
            }
        }
        for _ in 0..2 {
            images.push(file.words().to_vec());
            created.sync().unwrap();
        }
        let [whole, filling, settling] = images.try_into().unwrap();
        let used: Vec<_> = all[..before.len()].to_vec();
        let at_home = |id: &&String| {
            let line = (65536 + 512 + 64 * place(id).0 as usize) / 8;
            place(id).1 % 2 == 1 && whole[line] == place(id).1
        };
        let moved = used.iter().find(at_home).unwrap().clone();
        let stays = |id: &str| place(id).1.is_multiple_of(2) && place(id).0 == place(&moved).0;
        let taker = ids(stays).find(|id| !used.contains(id)).unwrap();
        let last = before.pop().unwrap();
        let begun: Vec<_> = before.iter().chain([&last]).cloned().collect();
        Growing { whole, filling, settling, before, last, begun, moved, taker }
    }
}

/// The scenes that shuttle runs.
pub fn long() -> Vec<Long> {
    let growing = Growing::new();
    let nobody = |number: u32| format!("own{number:05}");
    let scene = |name, image: &[u64], hot: &str, quiet: &str, own: [String; 2]| Long {
        name,
        image: Arc::new(image.to_vec()),
        rebooted: false,
        hot: hot.into(),
        own,
        quiet: quiet.into(),
        between: Between::Sync,
        locks: Locks::Exclusive,
    };
    let own = || [nobody(1), nobody(2)];
    let small = image(&[save(A, 0), save(B, 0)]);
    let durable = image(&[save(A, 0), save(B, 0), Act::Sync]);
    let lost = cut("");
    let quiet = match &growing.before[..] {
        [.., Act::Save(id, ..)] => id.clone(),
        _ => A.into(),
    };
    let taker = [growing.taker.clone(), nobody(2)];
    vec![
        Long { between: Between::Save, ..scene("one epoch", &small, A, B, own()) },
        scene("several epochs", &durable, A, B, own()),
        scene("growth begins", &growing.whole, &growing.moved, &quiet, own()),
        scene("new segments are filled", &growing.filling, &growing.moved, &quiet, taker),
        scene("new segments settle", &growing.settling, &growing.moved, &quiet, own()),
        Long { rebooted: true, ..scene("after a power cut", &lost.image, A, B, own()) },
    ]
}
