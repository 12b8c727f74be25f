//! Rewriting after a failed sync, told as stories: what it must have written when a sync
//! after it succeeds, and what may not keep others from saving meanwhile.

use std::io;
use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng, SimulatedStorage};
use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

use crate::wrapped::{Wrapped, Wrapper};

fn options(durability: Durability) -> Options {
    let hasty = Options::new().lock_deadline(Duration::from_millis(2));
    hasty.durability(durability).map(MapPolicy::Never)
}

fn open(disk: &SimulatedDisk, durability: Durability) -> ByteContainer {
    ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options(durability)).unwrap()
}

/// A container of so many sessions, synced.
fn with_sessions(disk: &SimulatedDisk, sessions: u32, value: &[u8]) -> ByteContainer {
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
        first.touch("nobody", None).unwrap();
        disk.set_sync_failure(1, 1);
        first.sync().unwrap_err();
        for number in 0..1000u32 {
            open(&disk, durability).save(number.to_le_bytes(), &[8; 1000]).unwrap();
        }
        disk.set_sync_failure(0, 1);
        open(&disk, Durability::Durable).save("x", b"x").unwrap();
    }
}

/// A file on a medium that cannot give back the page at some place.
#[derive(Debug)]
struct BadSector {
    storage: SimulatedStorage,
    place: u64,
}

impl Wrapper for BadSector {
    fn below(&self) -> &dyn Storage {
        &self.storage
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        const EIO: i32 = 5;
        if (offset..offset + bytes.len() as u64).contains(&self.place) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.storage.read_at(bytes, offset)
    }
}

/// A bad sector that nobody needed kept the rewriting from its end, and with it every
/// durable save; or the pass after a reboot, and with it every change.
#[test]
fn a_bad_sector_stops_nobody_else() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 1000, &[7; 1000]);
    let blocks = container.info().unwrap().length >> 16;
    container.save("x", b"x").unwrap();
    disk.fail_syncs(1);
    container.sync().unwrap_err();
    drop(container);
    let save = |place, number| {
        let storage = BadSector { storage: disk.open(disk.spawn()), place };
        let durable = options(Durability::Durable);
        let other = ByteContainer::open_on(Box::new(Wrapped(storage)), durable).unwrap();
        other.save(format!("new {number}"), &[1; 100])
    };
    for number in 0..20 {
        save(9 << 16, number).unwrap();
    }
    // Heads of blocks and what is in them, the last one too, and entries of the index.
    for place in (3..blocks).flat_map(|block| [block << 16, (block << 16) + 4096]) {
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
        let refused = (0..40).filter(|number| save(place, 100 + number).is_err()).count();
        // Some are on it themselves.
        assert!(refused < 20, "{refused} of 40 saves failed, bad at {place}");
    }
}

/// What a failed sync left in doubt cannot all be read any more. A recovery that began then
/// failed at it for ever, and with it every save.
#[test]
fn a_bad_sector_keeps_no_recovery_from_its_end() {
    let disk = SimulatedDisk::new(1);
    let container = with_sessions(&disk, 200, &[7; 1000]);
    for session in 0..200u32 {
        container.save(session.to_le_bytes(), &[8; 1000]).unwrap();
    }
    disk.fail_syncs(1);
    container.sync().unwrap_err();
    let blocks = container.info().unwrap().length >> 16;
    drop(container);
    let visit = |place, mount, durability| {
        let process = disk.spawn();
        disk.set_mount(process, mount);
        let storage = Box::new(Wrapped(BadSector { storage: disk.open(process), place }));
        ByteContainer::open_on(storage, options(durability)).unwrap()
    };
    // Some are on it themselves.
    let live = |place, mount, durability| {
        let refused = (0..40).filter(|number| {
            visit(place, mount, durability).save(format!("new {number}"), &[1; 100]).is_err()
        });
        let refused = refused.count();
        assert!(refused < 20, "{refused} of 40 saves failed, bad at {place}");
    };
    for place in (1..blocks).flat_map(|block| [0, 5, 15].map(|page| (block << 16) + 4096 * page)) {
        let here = disk.snapshot();
        live(place, None, Durability::Never);
        disk.restore(&here);
        live(place, Some(2), Durability::Never);
        live(place, Some(1), Durability::Never);
        for _ in 0..2 {
            disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
            live(place, None, Durability::Durable);
        }
        disk.restore(&here);
    }
}
