//! Plays with bytes on the disk that are not what was written there, or are again.

use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{CutPolicy, SimulatedDisk, SimulatedRng};
use cloakroom::{ByteContainer, Durability, IdForm, MapPolicy, Options};

use crate::play::Play;
use crate::plays::Scenes;

const OTHERS: u32 = 300;
/// The line where the third block begins: the first with records.
const RECORDS: usize = 2 * 1024;
const VALUE: &[u8] = b"of one length";

/// A disk with what is on this one, but for a bit of the record that this value of this
/// session lies in: of its checksum, which comes first.
fn rotten(disk: &SimulatedDisk, id: &str, value: &[u8]) -> SimulatedDisk {
    let mut image = disk.bytes();
    let place = image.windows(value.len()).position(|window| window == value).unwrap();
    let head = cloakroom::format::layout().iter().find(|known| known.name == "record").unwrap();
    // It has no timeouts, which come behind this.
    let last = head.fields.iter().find(|field| field.name == "saved").unwrap();
    let head_len = last.offset + last.size;
    image[place - id.len() - head_len] ^= 1;
    SimulatedDisk::with_bytes(1, &image)
}

pub(crate) fn options() -> Options {
    Options::new()
        .ids(IdForm::Plain)
        .durability(Durability::Never)
        .map(MapPolicy::Never)
        .lock_deadline(Duration::from_millis(2))
}

/// A process that lives for one request.
pub(crate) fn visit(disk: &SimulatedDisk) -> ByteContainer {
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
        let disk = rotten(&disk, "damaged", b"of one lengtH");
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

/// A bit of a block's head rots while the pass goes over the index: what it had marked in the
/// block must not be given to newcomers.
pub(crate) fn a_head_rots_during_the_pass(scenes: &Scenes<'_>) -> Play {
    const SESSIONS: u32 = 400;
    let value = |number: u32| [&number.to_le_bytes()[..], &[3; 900]].concat();
    for steps in [20, 60, 100] {
        let disk = SimulatedDisk::new(1);
        let made = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options()).unwrap();
        for number in 0..SESSIONS {
            made.save(format!("session {number}"), &value(number)).unwrap();
        }
        made.sync().unwrap();
        made.sync().unwrap();
        drop(made);
        disk.write_back();
        disk.power_cut(CutPolicy::Newest, &mut SimulatedRng::new(1));
        for _ in 0..steps {
            visit(&disk).set_deadline("nobody", None).unwrap();
        }
        assert!(visit(&disk).info().unwrap().rebuilding);
        let place = 64 * RECORDS + 30;
        let rotten = disk.bytes()[place] ^ 1;
        disk.allow_unlocked_writes(true);
        disk.open(disk.spawn()).write_at(&[rotten], place as u64).unwrap();
        disk.allow_unlocked_writes(false);
        disk.write_back();
        for number in 0..200 {
            visit(&disk).save(format!("newcomer {number}"), &value(number)).unwrap();
            if number % 10 == 0 {
                visit(&disk).sync().unwrap();
            }
        }
        let container = visit(&disk);
        assert!(!container.info().unwrap().rebuilding);
        for number in 0..SESSIONS {
            let found = container.load(format!("session {number}")).unwrap();
            assert_eq!(found.map(|found| found.value), Some(value(number)), "{number}");
        }
    }
    scenes.crowd(30)
}

/// A power cut leaves the beginning of a version's record, whose end is written again by
/// a later version that ends alike; and then the power is cut once more. Each cut
/// decides about the index, the beginning of that record, and all else.
pub(crate) fn the_same_end_comes_again(scenes: &Scenes<'_>) -> Play {
    for (first, second) in (0..64).map(|number| (number / 8, number % 8)) {
        let told = cut_twice(first, second, &|_| {});
        assert!(told.is_fine(), "cut {first:b}, then {second:b}: {told:?}");
    }
    scenes.crowd(30)
}

/// The same where somebody is killed between the cuts: while they let go of what the
/// first one took.
pub(crate) fn the_same_end_comes_again_after_a_kill(scenes: &Scenes<'_>) -> Play {
    type Deed = fn(&ByteContainer);
    let deeds: [Deed; 3] = [
        |container| drop(container.save("session", &value(3))),
        |container| drop(container.remove("session")),
        |container| {
            for number in 0..300 {
                if container.set_deadline(format!("nobody {number}"), None).is_err() {
                    return;
                }
            }
        },
    ];
    let mut kills = 0;
    for (deed, call) in deeds.into_iter().flat_map(|deed| (0..60).map(move |call| (deed, call))) {
        for (first, second) in [(1, 4), (3, 4), (3, 6)] {
            let told = cut_twice(first, second, &|disk| {
                visit(disk).set_deadline("nobody", None).unwrap();
                let process = disk.spawn();
                disk.kill_at(process, call);
                let storage = Box::new(disk.open(process));
                if let Ok(container) = ByteContainer::open_on(storage, options()) {
                    deed(&container);
                }
                disk.clear_script();
                disk.kill(process);
            });
            assert!(told.is_fine(), "killed at {call}, cut {first:b}, then {second:b}: {told:?}");
            kills += 1;
        }
    }
    let play = scenes.crowd(31);
    play.kills.set(kills);
    play
}

/// Two values that end alike begin so.
fn value(first: u8) -> Vec<u8> {
    [&[first; 64][..], &[7; 900]].concat()
}

/// First bytes of what was read after the first cut, after what was done then, and after
/// the second cut.
#[derive(Debug)]
struct Told([Option<u8>; 3]);

impl Told {
    fn is_fine(&self) -> bool {
        let [before, meanwhile, after] = self.0;
        after == before || after == meanwhile
    }
}

/// A session is saved, synced, saved again, and the power is cut, so that of the index,
/// the first lines of the record and the rest these are new whose bits are set. Then
/// `meanwhile` is done, the pass comes to its end, others save what ends alike, and the
/// power is cut again.
fn cut_twice(first: usize, second: usize, meanwhile: &dyn Fn(&SimulatedDisk)) -> Told {
    let disk = SimulatedDisk::new(1);
    let maker = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options());
    maker.unwrap().save("session", &value(0)).unwrap();
    visit(&disk).sync().unwrap();
    visit(&disk).save("session", &value(1)).unwrap();
    let image = disk.bytes();
    let begin = image.windows(64).position(|window| window == [1; 64]).unwrap() / 64;
    let cut = |bits: usize| {
        disk.power_cut_with(&mut |line, images| {
            let group = match line as usize {
                line if line < RECORDS => 0,
                line if (begin..begin + 2).contains(&line) => 1,
                _ => 2,
            };
            if bits >> group & 1 == 1 { images - 1 } else { 0 }
        });
    };
    let read = || visit(&disk).load("session").unwrap().map(|session| session.value[0]);
    cut(first);
    let before = read();
    meanwhile(&disk);
    let then = read();
    for number in 0..300 {
        visit(&disk).set_deadline(format!("nobody {number}"), None).unwrap();
    }
    for number in 0..8 {
        visit(&disk).save(format!("other {number}"), &value(2)).unwrap();
    }
    cut(second);
    Told([before, then, read()])
}
