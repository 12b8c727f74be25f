//! Rewriting after a failed sync, told as stories: what it must have written when a sync
//! after it succeeds, and what may not keep others from saving meanwhile.

use std::time::Duration;

use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, IdForm, MapPolicy, Options};

pub(crate) fn options(durability: Durability) -> Options {
    let hasty = Options::new().ids(IdForm::Plain).lock_deadline(Duration::from_millis(2));
    hasty.durability(durability).map(MapPolicy::Never)
}

fn open(disk: &SimulatedDisk, durability: Durability) -> ByteContainer {
    ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options(durability)).unwrap()
}

/// A container of so many sessions, synced.
pub(crate) fn with_sessions(disk: &SimulatedDisk, sessions: u32, value: &[u8]) -> ByteContainer {
    let storage = Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::create_on(storage, options(Durability::Never)).unwrap();
    for session in 0..sessions {
        container.save(session.to_le_bytes(), value).unwrap();
    }
    container.sync().unwrap();
    container
}

/// Half of the sessions are not on the disk when a sync fails; those who write again are
/// killed at every third call, others save in between, a sync succeeds, the power is cut.
#[test]
fn what_many_rewriters_wrote_is_whole() {
    const SESSIONS: u32 = 300;
    for (seed, call) in (1..3).flat_map(|seed| (0..700).step_by(3).map(move |call| (seed, call))) {
        let disk = SimulatedDisk::new(seed);
        let mut random = SimulatedRng::new(1000 * seed + call);
        let container = with_sessions(&disk, SESSIONS, &[1; 5000]);
        let mut newest = vec![1; SESSIONS as usize];
        for session in (0..SESSIONS).filter(|_| random.chance(1, 2)) {
            container.save(session.to_le_bytes(), &[2; 5000]).unwrap();
            newest[session as usize] = 2;
        }
        disk.fail_syncs(1);
        container.sync().unwrap_err();
        drop(container);
        for byte in [3, 4] {
            let process = disk.spawn();
            disk.kill_at(process, call);
            let storage = Box::new(disk.open(process));
            if let Ok(container) = ByteContainer::open_on(storage, options(Durability::Never)) {
                let _ = container.sync();
            }
            disk.clear_script();
            disk.kill(process);
            let between = open(&disk, Durability::Never);
            for _ in 0..random.below(10) {
                let session = random.below(SESSIONS as usize);
                between.save((session as u32).to_le_bytes(), &[byte; 5000]).unwrap();
                newest[session] = byte;
            }
        }
        open(&disk, Durability::Never).sync().unwrap();
        let policy = if call % 2 == 0 { CutPolicy::Oldest } else { CutPolicy::draw(&mut random) };
        disk.power_cut(policy, &mut random);
        let found = open(&disk, Durability::Never);
        for (session, byte) in newest.into_iter().enumerate() {
            let value = found.load((session as u32).to_le_bytes()).unwrap().unwrap().value;
            assert_eq!(value[0], byte, "session {session}, seed {seed}, killed at {call}");
        }
        assert!(found.check().unwrap().is_sound());
    }
}

/// After a reboot the pass was not done, and saves that nobody wanted on the disk asked
/// for a sync, to save space, and failed with it.
#[test]
fn saves_go_on_while_every_sync_fails() {
    for durability in [Durability::Never, Durability::Interval(Duration::from_secs(1))] {
        let disk = SimulatedDisk::new(1);
        drop(with_sessions(&disk, 4000, &[7; 1000]));
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
        let first = open(&disk, Durability::Never);
        first.set_deadline("nobody", None).unwrap();
        disk.set_sync_failure(1, 1);
        first.sync().unwrap_err();
        for number in 0..1000u32 {
            open(&disk, durability).save(number.to_le_bytes(), &[8; 1000]).unwrap();
        }
        disk.set_sync_failure(0, 1);
        open(&disk, Durability::Durable).save("x", b"x").unwrap();
    }
}
