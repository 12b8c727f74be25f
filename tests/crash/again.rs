//! Plays in which a power cut takes a large value, and the very same value is saved again
//! before anybody has looked at the entry that lost it: what was lost must not become whole
//! by it, and the blocks that both name belong to one of them.
//!
//! Each request is a process of its own. The index is so large that the pass after a reboot
//! takes a while to come to a session in its last segment, unless a play says otherwise.

use cloakroom::ByteContainer;
use cloakroom::storage::simulated::{LENGTH, SimulatedDisk};
use siphasher::sip128::SipHasher24;

use crate::play::Play;
use crate::plays::Scenes;
use crate::rot::{options, visit};

const LARGE: &[u8] = &[9; 40_000];

/// A disk with a container of so many sessions, all of them durable, and its pass done.
fn settled(seed: u64, sessions: u32) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let made = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options()).unwrap();
    for number in 0..sessions {
        made.save(format!("filler {number}"), b"1").unwrap();
        if number % 400 == 0 {
            made.sync().unwrap();
            disk.write_back();
        }
    }
    drop(made);
    settle(&disk);
    disk.power_cut_with(&mut |_, images| images - 1);
    settle(&disk);
    disk
}

/// Everything becomes durable, and the pass is done.
fn settle(disk: &SimulatedDisk) {
    run_pass(disk);
    for _ in 0..4 {
        visit(disk).sync().unwrap();
    }
    disk.write_back();
}

fn run_pass(disk: &SimulatedDisk) {
    let container = visit(disk);
    let moves_on = || {
        container.set_deadline("nobody", None).unwrap();
        container.info().unwrap().rebuilding
    };
    while moves_on() {}
}

fn tag(disk: &SimulatedDisk, id: &str) -> [u8; 16] {
    let layout = cloakroom::format::layout();
    let header = layout.iter().find(|structure| structure.name == "static header").unwrap();
    let key = header.fields.iter().find(|field| field.name == "key").unwrap();
    let key: [u8; 16] = disk.bytes()[key.offset..][..16].try_into().unwrap();
    SipHasher24::new_with_key(&key).hash(id.as_bytes()).as_bytes()
}

/// An id that begins like this, in the first segment or in the last.
fn id_in(disk: &SimulatedDisk, beginning: &str, last: bool) -> String {
    let segments = u64::from(visit(disk).info().unwrap().segments);
    let power = 1 << segments.ilog2();
    let segment = |id: &String| {
        let half = u64::from_le_bytes(tag(disk, id)[..8].try_into().unwrap());
        let wide = half % (2 * power);
        if wide < segments { wide } else { half % power }
    };
    let wanted = if last { segments - 1 } else { 0 };
    let mut ids = (0..).map(|number| format!("{beginning} {number}"));
    ids.find(|id| segment(id) == wanted).unwrap()
}

/// The line of a session's entry.
fn line_of(disk: &SimulatedDisk, id: &str) -> u64 {
    let (bytes, tag) = (disk.bytes(), tag(disk, id));
    bytes.chunks(64).position(|line| line[..16] == tag).unwrap() as u64
}

fn load(disk: &SimulatedDisk, id: &str) -> Option<Vec<u8>> {
    visit(disk).load(id).unwrap().map(|session| session.value)
}

/// The session of `id` goes on, others come, and `other`, which is durable, stays.
fn goes_on_beside(disk: &SimulatedDisk, id: &str, other: &str) {
    for round in 0..6 {
        visit(disk).save(id, format!("next {round}").as_bytes()).unwrap();
        visit(disk).sync().unwrap();
    }
    for number in 0..4 {
        visit(disk).save(format!("newcomer {number}"), &[number; 40_000]).unwrap();
    }
    assert_eq!(load(disk, other).as_deref(), Some(LARGE), "a durable session is lost");
    let report = visit(disk).check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
}

/// The cut takes the end of the file with the value, and all else is on the disk. Before the
/// pass comes there, somebody else saves the same, which goes to the same place.
pub(crate) fn a_lost_value_is_saved_by_another(scenes: &Scenes<'_>) -> Play {
    let disk = settled(1, 5000);
    let id = id_in(&disk, "session", true);
    visit(&disk).save(&id, b"old").unwrap();
    settle(&disk);
    // Neither of these is durable.
    visit(&disk).save("of a class of its own", &[5; 5000]).unwrap();
    visit(&disk).save(&id, LARGE).unwrap();
    disk.power_cut_with(&mut |line, images| if line == LENGTH { 0 } else { images - 1 });
    assert_eq!(load(&disk, &id).as_deref(), Some(&b"old"[..]));
    visit(&disk).save("other", LARGE).unwrap();
    visit(&disk).sync().unwrap();
    assert_eq!(load(&disk, &id).as_deref(), Some(&b"old"[..]), "what the cut took is back");
    goes_on_beside(&disk, &id, "other");
    scenes.crowd(30)
}

/// The same, where the session's own request is made once more.
pub(crate) fn a_lost_value_is_saved_once_more(scenes: &Scenes<'_>) -> Play {
    let disk = settled(1, 5000);
    let id = id_in(&disk, "session", true);
    visit(&disk).save(&id, b"old").unwrap();
    settle(&disk);
    visit(&disk).save("of a class of its own", &[5; 5000]).unwrap();
    visit(&disk).save(&id, LARGE).unwrap();
    disk.power_cut_with(&mut |line, images| if line == LENGTH { 0 } else { images - 1 });
    visit(&disk).save(&id, LARGE).unwrap();
    run_pass(&disk);
    visit(&disk).sync().unwrap();
    settle(&disk);
    let others = visit(&disk);
    for number in 0..240 {
        others.save(format!("newcomer {number}"), &[1; 20_000]).unwrap();
    }
    drop(others);
    goes_on_beside(&disk, "another", &id);
    scenes.crowd(30)
}

/// The pass of a small container is over, and has let go of what the first cut took; the
/// second cut brings back the entry that named it.
pub(crate) fn a_lost_value_is_saved_before_another_cut(scenes: &Scenes<'_>) -> Play {
    let disk = settled(2, 20);
    visit(&disk).save("session", b"old").unwrap();
    settle(&disk);
    visit(&disk).save("of a class of its own", &[5; 5000]).unwrap();
    visit(&disk).save("session", LARGE).unwrap();
    disk.power_cut_with(&mut |line, images| if line == LENGTH { 0 } else { images - 1 });
    visit(&disk).save("other", LARGE).unwrap();
    run_pass(&disk);
    let entry = line_of(&disk, "session");
    disk.power_cut_with(&mut |line, images| if line == entry { 0 } else { images - 1 });
    assert_eq!(load(&disk, "session").as_deref(), Some(&b"old"[..]), "what a cut took is back");
    visit(&disk).sync().unwrap();
    goes_on_beside(&disk, "session", "other");
    scenes.crowd(30)
}

/// The value's block was another session's before the cut, which brings back the entry that
/// had named it first. The other one lets go of the block while the pass has not come there.
pub(crate) fn a_block_that_two_name_is_let_go(scenes: &Scenes<'_>) -> Play {
    let disk = settled(3, 5000);
    let id = id_in(&disk, "session", true);
    let neighbour = id_in(&disk, &"neighbour ".repeat(24), false);
    visit(&disk).save(&id, b"old").unwrap();
    visit(&disk).save(&neighbour, b"small").unwrap();
    settle(&disk);
    visit(&disk).save(&id, LARGE).unwrap();
    let entry = line_of(&disk, &id);
    let dirty = disk.dirty_lines();
    let image = dirty.iter().find(|(line, _)| *line == entry).unwrap().1 - 1;
    // In the same epoch it is saved again, and the neighbour takes the block.
    visit(&disk).save(&id, b"third").unwrap();
    visit(&disk).save(&neighbour, &[8; 40_000]).unwrap();
    disk.power_cut_with(&mut |line, images| if line == entry { image } else { images - 1 });
    let after_the_cut = load(&disk, &id);
    visit(&disk).save(&neighbour, b"small").unwrap();
    visit(&disk).sync().unwrap();
    visit(&disk).save(&neighbour, b"small again").unwrap();
    assert!(visit(&disk).info().unwrap().rebuilding, "the pass has not come to the session");
    visit(&disk).save("other", LARGE).unwrap();
    visit(&disk).sync().unwrap();
    assert_eq!(load(&disk, &id), after_the_cut, "what the cut took is back");
    goes_on_beside(&disk, &id, "other");
    scenes.crowd(30)
}
