//! An index of more segments than the control page has room to name: the rest of the
//! segment table lies in blocks of its own, which a recovery must keep, too.

use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability};

use crate::stage::{self, create, open};

/// The control page names so many segments.
const NAMED_THERE: u32 = 256;
/// So that the next split is of one of the last that it names.
const SESSIONS: u32 = 130_000;
const ROUNDS: u32 = 5;
/// Of each round, so long that they need blocks of their own.
const NEWCOMERS: u32 = 1_500;

fn grown() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let container = create(&disk);
    for session in 0..SESSIONS {
        container.save(session.to_le_bytes(), &[1; 40]).unwrap();
        if session % 5_000 == 0 {
            container.sync().unwrap();
        }
    }
    for _ in 0..3 {
        container.sync().unwrap();
    }
    disk
}

/// Sessions come until segments are split off.
fn split(container: &ByteContainer, round: u32) {
    for number in 0..60_000 {
        if container.info().unwrap().splitting {
            return;
        }
        container.save(format!("come {round} {number}"), b"1").unwrap();
    }
    panic!("the index does not grow: {:?}", container.info().unwrap());
}

fn assert_there(container: &ByteContainer, sessions: impl Iterator<Item = u32>, value: &[u8]) {
    for session in sessions {
        let found = container.load(session.to_le_bytes()).unwrap();
        assert_eq!(found.expect("a session is lost").value, value, "{session}");
    }
}

#[test]
fn an_index_beyond_the_control_page_outlives_cuts_and_failed_syncs() {
    let disk = grown();
    let mut rng = SimulatedRng::new(1);
    for round in 0..ROUNDS {
        let container = open(&disk, Durability::Never);
        // Not on the disk when the power goes, some of them.
        for session in (0..SESSIONS).skip(round as usize).step_by(97) {
            container.save(session.to_le_bytes(), &[1; 40]).unwrap();
        }
        if round % 2 == 0 {
            split(&container, round);
            disk.fail_syncs(1);
            container.sync().unwrap_err();
            // Now what the split wrote into the table must be written once more.
            for _ in 0..3 {
                container.sync().unwrap();
                container.save("passing by", b"1").unwrap();
            }
            assert!(!container.info().unwrap().splitting);
        }
        drop(container);
        disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
        let container = open(&disk, Durability::Never);
        for _ in 0..SESSIONS {
            container.set_deadline("nobody", None).unwrap();
            if !container.info().unwrap().rebuilding {
                break;
            }
        }
        container.sync().unwrap();
        container.sync().unwrap();
        let newcomers = SESSIONS + round * NEWCOMERS..SESSIONS + (round + 1) * NEWCOMERS;
        for session in newcomers.clone() {
            container.save(session.to_le_bytes(), &[2; 2_000]).unwrap();
        }
        container.sync().unwrap();
        assert_there(&container, (0..SESSIONS).step_by(7), &[1; 40]);
        assert_there(&container, newcomers, &[2; 2_000]);
    }
    let segments = open(&disk, Durability::Never).info().unwrap().segments;
    assert!(segments > NAMED_THERE, "{segments} segments");
    let report = open(&disk, Durability::Never).check().unwrap();
    stage::assert_sound(&report);
}
