//! Plays in which an index of several segments grows while something else goes on.

use std::collections::HashMap;
use std::sync::Arc;

use cloakroom::Durability::Never;
use cloakroom::storage::simulated::{Call, Operation, SimulatedDisk, SimulatedRng, Verdict};
use cloakroom::{ByteContainer, IdForm, Options};

use crate::stage;

use crate::play::{Play, SHORT};
use crate::plays::Scenes;

/// A batch of segments is being synced, and more are added to it meanwhile.
pub(crate) fn a_batch_grows_while_it_is_synced(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(23);
    let who = play.enter(Never);
    play.grow(&who);
    for _ in 0..2 {
        play.sync(&who);
    }
    assert_eq!(who.container.info().unwrap().segments, 2);
    play.grow(&who);
    let (other, process) = (play.enter(Never), who.process);
    play.disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.process == process && call.operation == Operation::SyncEnd {
            for number in 0..300 {
                other.container.save(format!("meanwhile-{number}"), b"1").unwrap();
            }
        }
        Verdict::Proceed
    })));
    who.container.sync().unwrap();
    play.disk.set_hook(None);
    play.save(&who, 0, SHORT);
    drop(who);
    play.cut_in_all_ways(4);
    play
}

/// Segments of the index when the rounds begin: several are split off at once.
const SEGMENTS: u32 = 6;
const ROUNDS: u64 = 12;
/// Sessions that each round overwrites.
const OVERWRITTEN: u64 = 60;
/// More sessions than make an index of this size grow.
const COMING_MAX: u64 = 1500;

/// Sessions by number, and which of their values was saved last.
struct Crowd {
    container: ByteContainer,
    versions: HashMap<u64, u64>,
}

fn value(number: u64, version: u64) -> Vec<u8> {
    let mut value = format!("{number}:{version}:").into_bytes();
    value.resize(100, b'x');
    value
}

impl Crowd {
    fn save(&mut self, number: u64, version: u64) {
        self.container.save(number.to_le_bytes(), &value(number, version)).unwrap();
        self.versions.insert(number, version);
    }

    /// Somebody new comes.
    fn come(&mut self) -> cloakroom::Info {
        self.save(self.versions.len() as u64, 0);
        self.container.info().unwrap()
    }

    fn sync(&self) {
        self.container.sync().unwrap();
    }

    fn assert_all_there(&self) {
        for (number, version) in &self.versions {
            let session = self.container.load(number.to_le_bytes()).unwrap();
            let found = session.map(|session| session.value);
            assert_eq!(found, Some(value(*number, *version)), "session {number}");
        }
        let report = self.container.check().unwrap();
        stage::assert_sound(&report);
    }
}

/// The pass runs, and segments are split off, which takes blocks, for which entries
/// are trimmed: also entries of which a new segment has just got a copy.
pub(crate) fn split_off_while_the_pass_runs(_: &Scenes<'_>) -> Play {
    let disk = SimulatedDisk::new(1);
    disk.keep_inode();
    let options = || Options::new().ids(IdForm::Plain).durability(Never);
    let storage = Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::create_on(storage, options()).unwrap();
    let mut crowd = Crowd { container, versions: HashMap::new() };
    loop {
        let info = crowd.come();
        if crowd.versions.len().is_multiple_of(50) {
            crowd.sync();
        }
        if info.segments >= SEGMENTS && !info.splitting {
            break;
        }
    }
    crowd.sync();
    let mut random = SimulatedRng::new(1);
    for round in 0..ROUNDS {
        // Another view: they recover, and the pass begins.
        let process = disk.spawn();
        disk.set_mount(process, Some(1000 + round));
        let storage = Box::new(disk.open(process));
        crowd.container = ByteContainer::open_on(storage, options()).unwrap();
        let there = crowd.versions.len() as u64;
        let overwritten: Vec<u64> = (0..OVERWRITTEN).map(|_| random.next_u64() % there).collect();
        for step in 1..=2 {
            for number in &overwritten {
                crowd.save(*number, round * 10 + step);
            }
            crowd.sync();
        }
        let _ = (0..COMING_MAX).find(|_| crowd.come().splitting);
        for _ in 0..3 {
            crowd.sync();
        }
        for _ in 0..200 {
            let _ = crowd.come();
        }
        crowd.sync();
        for number in &overwritten {
            crowd.save(*number, round * 10 + 3);
        }
        for _ in 0..3 {
            crowd.sync();
        }
        crowd.assert_all_there();
    }
    Play::on(disk, Vec::new(), Vec::new())
}
