//! More plays: of space, of syncs that overlap, and of files at their edges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom::Durability::{Durable, Never};
use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, ErrorKind, Finding, IdForm, Options};

use crate::inherited::Inherited;
use crate::play::{LARGE, LONG, MIDDLE, Person, Play, SHORT, THIRD};
use crate::plays::Scenes;
use crate::stage;
use crate::wrapped::Wrapped;

/// A version that is not durable, and a trim.
pub(crate) fn saved_and_trimmed_at_once(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(41);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.save(&who, 0, SHORT);
    play.trim(&who);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// The extent of a version that a cut took belongs to somebody else when the
/// session is saved again.
pub(crate) fn a_lost_extent_is_taken(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(42);
    play.lose_a_record();
    let who = play.enter(Never);
    play.save(&who, 1, LONG);
    play.save(&who, 0, SHORT);
    drop(who);
    play.check();
    play.aftermath();
    play
}

/// An empty block takes records of a smaller class, and of that a cut leaves all but
/// its head: the class of before, whose extents are larger, must not be believed.
/// Which block is empty in time depends on where a trim begins.
pub(crate) fn a_head_of_a_larger_class_is_left(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(44);
    for seed in 0..16 {
        play = play.followed_by(leave_a_head_of_a_larger_class(scenes, 440 + seed));
    }
    play
}

fn leave_a_head_of_a_larger_class(scenes: &Scenes<'_>, seed: u64) -> Play {
    let play = scenes.crowd(seed);
    // Processes that live for one request keep no spare extents.
    for size in [THIRD, SHORT] {
        let who = play.enter(Never);
        for key in 0..3 {
            play.save(&who, key, size);
        }
        play.sync(&who);
    }
    let who = play.enter(Never);
    play.trim(&who);
    play.sync(&who);
    let who = play.enter(Never);
    for key in 3..5 {
        play.save(&who, key, MIDDLE);
    }
    drop(who);
    play.cut(&mut |line, images| if line % 1024 == 0 { 0 } else { images - 1 });
    let who = play.enter(Never);
    play.pass(&who);
    play.sync(&who);
    // The first of the two goes, and what needs more space than it had comes.
    play.remove(&who, 3);
    play.sync(&who);
    play.trim(&who);
    play.sync(&who);
    drop(who);
    for key in 0..3 {
        play.save(&play.enter(Never), key, THIRD);
    }
    play.aftermath();
    play
}

/// Somebody dies at each call of a save that supersedes a version of another size.
pub(crate) fn died_superseding(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(43);
    for size in [SHORT, LONG] {
        let who = play.enter(Never);
        play.save(&who, 0, size);
        play.sync(&who);
    }
    let act = |who: &Person| {
        let _ = play.try_save(who, 0, LONG);
    };
    play.die_at_each_call(Never, act, || play.aftermath());
    play
}

/// A removal fails to become durable, and is asked for again.
pub(crate) fn removed_twice(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(31);
    for seed in 0..12 {
        play = play.followed_by(scenes.crowd(310 + seed));
        let who = play.enter(Durable);
        play.save(&who, 0, SHORT);
        play.disk.fail_syncs(1);
        assert!(!play.try_remove(&who, 0));
        play.remove(&who, 0);
        drop(who);
        play.cut_in_all_ways(2);
    }
    play
}

/// Large values come and go, and leave nothing behind.
pub(crate) fn large_values_come_and_go(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(32);
    let who = play.enter(Never);
    for _ in 0..6 {
        for size in [LARGE, SHORT, SHORT] {
            play.save(&who, 0, size);
            play.sync(&who);
        }
    }
    drop(who);
    assert_eq!(play.leaked(), None);
    play
}

/// Processes are killed with an extent just taken, again and again.
pub(crate) fn killed_with_extents_taken(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(33);
    let mut longest = 0;
    for round in 0..900 {
        let who = play.enter(Never);
        let process = who.process;
        if round % 5 != 0 {
            play.disk.set_hook(Some(Arc::new(move |call: &Call| match call.operation {
                Operation::Write { len: 1000.., .. } if call.process == process => Verdict::Kill,
                _ => Verdict::Proceed,
            })));
        }
        let _ = who.container.save(&play.keys[round % 4], &vec![1; 30_000]);
        play.disk.set_hook(None);
        play.disk.kill(process);
        longest = longest.max(play.disk.len());
        if round % 50 == 0 {
            play.disk.write_back();
        }
    }
    assert!(longest < 260 * 65536, "{longest} bytes for 120 KB");
    play
}

/// A container is made, and its maker dies at each call; then the power goes.
pub(crate) fn made_and_cut(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(34);
    for call in 0..60 {
        let disk = SimulatedDisk::new(call);
        let process = disk.spawn();
        disk.kill_at(process, call);
        let options = Options::new().ids(IdForm::Plain).durability(Never);
        let made = ByteContainer::create_on(Box::new(disk.open(process)), options).is_ok();
        disk.clear_script();
        let dead = disk.snapshot();
        for seed in 0..20 {
            disk.restore(&dead);
            let mut rng = SimulatedRng::new(seed);
            disk.power_cut(CutPolicy::draw(&mut rng), &mut rng);
            play.cuts.set(play.cuts.get() + 1);
            open_what_was_made(&disk, made);
        }
        play.kills.set(play.kills.get() + 1);
    }
    play
}

fn open_what_was_made(disk: &SimulatedDisk, made: bool) {
    let opened = ByteContainer::open_on(Box::new(disk.open(disk.spawn())), Options::new());
    match opened {
        Ok(container) => {
            container.save("x", b"1").unwrap();
            assert_eq!(container.load("x").unwrap().unwrap().value, b"1");
            // Its maker may have died between the two headers.
            let damage = container.check().unwrap().damage;
            let header = |finding: &Finding| finding.what.contains("of the two headers");
            assert!(damage.iter().all(|finding| header(finding) && !made), "{damage:?}");
        }
        Err(error) => {
            assert!(!made, "a container was made and is none: {error}");
            assert!(matches!(error.kind(), ErrorKind::NotAContainer(_)), "{error}");
        }
    }
}

/// The file loses its name under a handle.
pub(crate) fn a_file_loses_its_name(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(35);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.disk.set_links(0);
    assert!(who.container.save("x", b"1").is_err(), "saved into a file without a name");
    play
}

/// A durable record rots.
pub(crate) fn a_record_rots(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(36);
    let who = play.enter(Never);
    for _ in 0..2 {
        play.save(&who, 0, MIDDLE);
        play.sync(&who);
    }
    let value = who.container.load(&play.keys[0]).unwrap().unwrap().value;
    let mut bytes = play.disk.bytes();
    let place = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[place + 20] ^= 1;
    let rotten = SimulatedDisk::with_bytes(1, &bytes);
    let loaded = stage::observer(&rotten).load(&play.keys[0]);
    assert!(loaded.is_err(), "a durable version rotted, and a load says {loaded:?}");
    let writer = ByteContainer::open_on(Box::new(rotten.open(rotten.spawn())), Options::new());
    let writer = writer.unwrap();
    writer.save("other", b"1").unwrap();
    assert!(writer.load(&play.keys[0]).is_err(), "a recovery made damage a loss");
    play
}

/// A server forks while a handle is open; parent and child save at once.
pub(crate) fn a_server_forks(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(37);
    let process = play.disk.spawn();
    let shared = Arc::new(play.disk.open(process));
    let calls = Arc::new(AtomicU32::new(0));
    let open = || {
        let storage = Inherited::new(&shared);
        let options =
            Options::new().durability(Never).lock_deadline(std::time::Duration::from_millis(2));
        (storage.pid(), ByteContainer::open_on(Box::new(Wrapped(storage)), options).unwrap())
    };
    let (_, parent) = open();
    let (pid, child) = open();
    pid.store(7, Ordering::Relaxed);
    play.disk.set_hook(Some(Arc::new(move |call: &Call| {
        let writes = matches!(call.operation, Operation::Write { .. });
        if call.process == process && writes && calls.fetch_add(1, Ordering::Relaxed) == 1 {
            let _ = child.save("child", b"2");
        }
        Verdict::Proceed
    })));
    parent.save("parent", b"1").unwrap();
    play.disk.set_hook(None);
    assert_eq!(parent.load("parent").unwrap().unwrap().value, b"1");
    play.check();
    play
}
