//! Plays of a session that goes on under another id, and of what a kill, a power cut or
//! somebody else does to it on the way.
//!
//! The grace lasts longer than any play: so in each state of the disk the old id reads as the
//! session does, be it there or where the forward leads (invariant 26).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::Durability::{self, Durable, Never};
use cloakroom::Outcome;
use cloakroom::storage::simulated::{Call, Operation, Verdict};

use crate::play::{LARGE, LONG, Person, Play, SHORT};
use crate::plays::Scenes;
use crate::stage;

const GRACE: Duration = Duration::from_secs(3600);
/// Of the session, where it has a deadline.
const LIFE_MS: u64 = 1000;
const LINES_BEFORE_RECORDS: u64 = 2 * 1024;
const NEW: &str = "goes on so";

fn rotate(play: &Play, who: &Person) {
    let rotated = who.container.rotate(&play.keys[0], NEW, GRACE).unwrap();
    assert!(matches!(rotated, Outcome::Saved(_)));
}

/// Sessions of any size, with a deadline and without, and the power goes; also after the
/// session went on by the old id, which is a change of the new one.
pub(crate) fn rotated_and_cut(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(60);
    for (size, deadline, goes_on) in
        [(SHORT, true, false), (LONG, true, true), (LARGE, true, false), (SHORT, false, true)]
    {
        play = play.followed_by(scenes.crowd(60));
        let who = play.enter(Never);
        play.save(&who, 0, size);
        if deadline {
            play.give_time(&who, 0, 100 * LIFE_MS);
        }
        play.sync(&who);
        rotate(&play, &who);
        if goes_on {
            play.save(&who, 0, SHORT);
            play.sync(&who);
            play.save(&who, 0, LONG);
        }
        drop(who);
        play.cut_in_all_ways(20);
    }
    play
}

/// The process dies at each of its calls, and then the power goes.
pub(crate) fn killed_while_rotating(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(61);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.give_time(&who, 0, 100 * LIFE_MS);
    play.sync(&who);
    drop(who);
    let died = |durability: Durability| {
        play.die_at_each_call(
            durability,
            |who| drop(who.container.rotate(&play.keys[0], NEW, GRACE)),
            || {
                play.cut(&mut |_, images| images - 1);
                play.aftermath_quick();
                play.cut(&mut |_, _| 0);
                play.aftermath();
            },
        );
    };
    died(Never);
    died(Durable);
    play
}

/// A rotation that was acknowledged as durable is not undone: the new id has the session in
/// each state of the disk.
pub(crate) fn a_durable_rotation_stays(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(62);
    let who = play.enter(Durable);
    play.save(&who, 0, SHORT);
    rotate(&play, &who);
    drop(who);
    for oldest in [true, false] {
        play.branching(|| {
            play.cut(&mut |_, images| if oldest { 0 } else { images - 1 });
            let observer = stage::observer(&play.disk);
            let rotated = observer.rotated(&play.keys[0]).unwrap();
            assert!(rotated.is_some(), "a durable rotation is undone");
            assert!(observer.contains(NEW).unwrap());
            play.aftermath();
        });
    }
    play
}

/// While the copy is made durable somebody else saves the session by its old id.
pub(crate) fn saved_while_it_is_rotated(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(63);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.give_time(&who, 0, 100 * LIFE_MS);
    play.sync(&who);
    let other = Arc::new(play.enter(Never));
    let (process, once) = (who.process, AtomicBool::new(false));
    let (number, value) = play.value(0, LONG);
    let (person, key) = (Arc::clone(&other), play.keys[0].clone());
    play.disk.set_hook(Some(Arc::new(move |call: &Call| {
        let syncs = call.process == process && call.operation == Operation::SyncEnd;
        if syncs && !once.swap(true, Ordering::Relaxed) {
            person.container.save(&key, &value).unwrap();
        }
        Verdict::Proceed
    })));
    rotate(&play, &who);
    play.disk.set_hook(None);
    play.was_published(0, number);
    play.branching(|| play.aftermath_quick());
    play.cut_in_all_ways(20);
    play
}

/// The cut takes the forward's record and leaves the entry that names it: the session is
/// where it was, and has no more time than it had.
pub(crate) fn a_forward_is_lost(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(64);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.give_time(&who, 0, LIFE_MS);
    play.sync(&who);
    rotate(&play, &who);
    drop(who);
    play.cut(&mut |line, images| if line < LINES_BEFORE_RECORDS { images - 1 } else { 0 });
    play.let_time_pass(&[0], LIFE_MS);
    play.aftermath();
    play
}
