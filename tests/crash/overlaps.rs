//! Plays in which others go on while somebody syncs, and their sync ends well, fails,
//! or never ends.

use std::sync::Arc;

use cloakroom::Durability::Never;
use cloakroom::storage::simulated::{Call, Operation, Verdict};

use crate::play::{LONG, Play, SHORT};
use crate::plays::Scenes;

/// Two syncs overlap, and the second one never ends: what the first one made
/// durable must have been kept by the saves of both epochs.
pub(crate) fn two_syncs_overlap(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(30);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.save(&who, 0, SHORT);
    let (second, third) = (play.enter(Never), play.enter(Never));
    let (first_id, second_id) = (who.process, second.process);
    let values = [play.value(0, SHORT), play.value(0, SHORT)];
    let [(sixth, six), (seventh, seven)] = values;
    let key = play.keys[0].clone();
    play.disk.set_hook(Some(Arc::new(move |call: &Call| {
        let ends = call.operation == Operation::SyncEnd;
        if ends && call.process == first_id {
            second.container.save(&key, &six).unwrap();
            let _ = second.container.sync();
        }
        if ends && call.process == second_id {
            third.container.save(&key, &seven).unwrap();
            return Verdict::Kill;
        }
        Verdict::Proceed
    })));
    who.container.sync().unwrap();
    play.disk.set_hook(None);
    play.was_synced_before(0, &[sixth, seventh]);
    play.cut_in_all_ways(20);
    play
}

/// A session is saved while it is being synced, and once more when the sync is done.
pub(crate) fn saved_during_a_sync(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(40);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.save(&who, 0, SHORT);
    let (other, first_id, key) = (play.enter(Never), who.process, play.keys[0].clone());
    let (number, value) = play.value(0, SHORT);
    play.disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.operation == Operation::SyncEnd && call.process == first_id {
            other.container.save(&key, &value).unwrap();
        }
        Verdict::Proceed
    })));
    who.container.sync().unwrap();
    play.disk.set_hook(None);
    play.was_synced_before(0, &[number]);
    play.save(&who, 0, SHORT);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// Somebody syncs; meanwhile somebody with another view wants to save, and has to
/// recover first; the sync fails, and the syncer dies before it can say so.
pub(crate) fn a_recovery_waits_for_a_syncer(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(21);
    for round in 0..8 {
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        let other = Arc::new(play.enter_by(200 + round, Never));
        play.die_failing_while(&who, &other, &[1, 2]);
        if round % 2 == 1 {
            // What this one writes again brings the rest of the page with it.
            play.save(&other, 2, LONG);
        }
        let next = play.enter(Never);
        play.sync(&next);
        drop((who, other, next));
        play.cut_in_all_ways(1);
    }
    play
}

/// The sync of a recovery fails, and the process dies before it can say so.
pub(crate) fn a_recoverer_dies_failing(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(22);
    for round in 0..4 {
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        let other = play.enter_by(200 + round, Never);
        play.die_failing(&other);
        let next = play.enter(Never);
        play.sync(&next);
        drop((who, other, next));
        play.cut_in_all_ways(1);
    }
    play
}
