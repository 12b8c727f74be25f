//! Plays with rot: a bit on the disk that is not what was written there.

use std::time::Duration;

use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

use crate::play::Play;
use crate::plays::Scenes;

const OTHERS: u32 = 300;
const VALUE: &[u8] = b"of one length";

/// A disk with what is on this one, but for a bit where these bytes lie.
fn rotten(disk: &SimulatedDisk, bytes: &[u8]) -> SimulatedDisk {
    let mut image = disk.bytes();
    let at = image.windows(bytes.len()).position(|window| window == bytes).unwrap();
    image[at] ^= 1;
    SimulatedDisk::with_bytes(1, &image)
}

fn options() -> Options {
    Options::new()
        .durability(Durability::Never)
        .map(MapPolicy::Never)
        .lock_deadline(Duration::from_millis(2))
}

/// A process that lives for one request.
fn visit(disk: &SimulatedDisk) -> ByteContainer {
    ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options()).unwrap()
}

/// A damaged session is saved over or removed after its space was given to another.
/// Each request is a process of its own. Nobody else's session is touched.
pub(crate) fn a_damaged_session_is_saved_over(scenes: &Scenes<'_>) -> Play {
    for gone in [false, true] {
        // A small container: all records are neighbours.
        let disk = SimulatedDisk::new(1);
        let first = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options());
        let first = first.unwrap();
        first.save("damaged", b"of one lengtH").unwrap();
        first.save("beside", VALUE).unwrap();
        first.sync().unwrap();
        drop(first);
        // After a reboot somebody recovers, and the pass finds no record where the
        // damaged one is, so that another session is given its place.
        let disk = rotten(&disk, b"of one lengtH");
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
        for number in 0..OTHERS {
            visit(&disk).save(format!("other {number}"), VALUE).unwrap();
        }
        if gone {
            visit(&disk).remove("damaged").unwrap();
        }
        for _ in 0..3 {
            visit(&disk).save("damaged", VALUE).unwrap();
            visit(&disk).sync().unwrap();
        }
        visit(&disk).save("last", VALUE).unwrap();
        let last = visit(&disk);
        for number in 0..OTHERS {
            let session = last.load(format!("other {number}")).unwrap();
            assert_eq!(session.map(|session| session.value), Some(VALUE.to_vec()), "{number}");
        }
        assert_eq!(last.load("damaged").unwrap().unwrap().value, VALUE);
        let report = last.check().unwrap();
        assert!(report.is_sound(), "{:#?}", report.damage);
    }
    scenes.crowd(30)
}
