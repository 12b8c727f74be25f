//! The plays: for each rule that chance seldom puts to the test, the steps that do.

use cloakroom::Durability::{Durable, Never};

use crate::play::{LARGE, LONG, Play, SHORT, THIRD};
use crate::stage::Scene;

/// One play, by name; it panics where a rule is broken.
pub(crate) type Script = fn(&Scenes<'_>) -> Play;

/// The scenes by name.
pub(crate) struct Scenes<'a>(pub(crate) &'a [Scene]);

impl Scenes<'_> {
    fn get(&self, name: &str) -> &Scene {
        self.0.iter().find(|scene| scene.name == name).unwrap()
    }

    fn crowd(&self, seed: u64) -> Play {
        Play::new(self.get("crowd"), seed)
    }
}

/// An id comes back while the line that it vacated may still come back.
pub(crate) fn back_after_vacating(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(1);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.remove(&who, 0);
    play.sync(&who);
    play.trim(&who);
    play.save(&who, 1, SHORT);
    play.save(&who, 0, SHORT);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// The same, with a free line on the way to its own.
pub(crate) fn back_past_a_free_line(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(2);
    let who = play.enter(Never);
    play.save(&who, 1, SHORT);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.remove(&who, 1);
    play.sync(&who);
    play.trim(&who);
    play.sync(&who);
    play.remove(&who, 0);
    play.sync(&who);
    play.trim(&who);
    play.save(&who, 0, SHORT);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// A removal that is not durable, and a trim.
pub(crate) fn removed_and_trimmed_at_once(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(3);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.remove(&who, 0);
    play.trim(&who);
    play.save(&who, 1, SHORT);
    play.save(&who, 2, SHORT);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// Extents at the end of a block give way to a large value before its beginning,
/// in one epoch.
pub(crate) fn a_block_changes_class_at_once(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(4);
    let who = play.enter(Never);
    for key in 0..3 {
        play.save(&who, key, THIRD);
    }
    for key in 0..3 {
        play.save(&who, key, SHORT);
    }
    play.save(&who, 3, LARGE);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// A block that the pass never came to takes a large value.
pub(crate) fn an_unseen_block_changes_class(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(5);
    let who = play.enter(Never);
    for key in 0..3 {
        play.save(&who, key, THIRD);
    }
    play.sync(&who);
    for key in 0..3 {
        play.save(&who, key, SHORT);
    }
    play.sync(&who);
    play.cut(&mut |_, images| images - 1);
    let who = play.enter(Never);
    play.save(&who, 4, SHORT);
    play.pass(&who);
    for key in 3..6 {
        play.save(&who, key, LARGE);
    }
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// A block's head on the disk is older than the records in it.
pub(crate) fn a_head_of_an_earlier_class(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(6);
    let who = play.enter(Never);
    for key in 0..3 {
        play.save(&who, key, THIRD);
    }
    play.sync(&who);
    for key in 0..3 {
        play.save(&who, key, SHORT);
    }
    play.sync(&who);
    play.trim(&who);
    play.sync(&who);
    for key in 3..6 {
        play.save(&who, key, LONG);
    }
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// What a sync failed to write is written again.
pub(crate) fn a_sync_fails(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(7);
    for key in 0..4 {
        let who = play.enter(Never);
        play.save(&who, key, if key == 2 { LARGE } else { SHORT });
        play.fail_sync(&who);
        play.sync(&who);
        play.cut_in_all_ways(1);
    }
    play
}

/// A syncer dies before it can say that its sync failed.
pub(crate) fn a_syncer_dies_failing(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(8);
    for key in 0..4 {
        let who = play.enter(Never);
        play.save(&who, key, SHORT);
        play.die_failing(&who);
        let next = play.enter(Durable);
        play.save(&next, key + 1, SHORT);
        play.sync(&next);
        play.cut_in_all_ways(1);
    }
    play
}

/// A sync fails, and then somebody with another view recovers.
pub(crate) fn recovered_after_a_failed_sync(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(9);
    for key in 0..4 {
        let who = play.enter(Never);
        play.save(&who, key, SHORT);
        play.fail_sync(&who);
        let next = play.enter_by(10 + key as u64, Durable);
        play.save(&next, key + 1, SHORT);
        play.sync(&next);
        play.cut_in_all_ways(1);
    }
    play
}

/// Syncs fail again and again, and nobody recovers for it.
pub(crate) fn syncs_fail_again_and_again(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(10);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    let recoveries = play.disk.syncs_under_lock();
    for _ in 0..20 {
        play.fail_sync(&who);
        play.save(&who, 0, SHORT);
    }
    assert_eq!(play.disk.syncs_under_lock(), recoveries, "a recovery that nobody needs");
    play.cut_in_all_ways(20);
    play
}

/// Somebody with another view recovers and dies of it, while others go on.
pub(crate) fn a_recovery_is_left_undone(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(11);
    for call in 0..40 {
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        play.sync(&who);
        play.save(&who, 0, SHORT);
        let other = play.enter_by(100 + call, Never);
        play.disk.kill_at(other.process, call);
        play.try_save(&other, 1, SHORT);
        play.disk.clear_script();
        play.save(&who, 2, SHORT);
        play.save(&who, 0, SHORT);
        drop((other, who));
        if call % 4 == 0 {
            play.cut_in_all_ways(10);
        }
    }
    play
}

/// Recovery is cut short at each call, and again.
pub(crate) fn recovery_is_cut_short(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(12);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.sync(&who);
    play.save(&who, 0, SHORT);
    play.save(&who, 1, LONG);
    drop(who);
    play.cut(&mut |line, images| if line % 2 == 0 { 0 } else { images - 1 });
    let act = |who: &crate::play::Person| {
        let _ = play.try_save(who, 2, SHORT);
    };
    play.die_at_each_call(Never, act, || {
        play.aftermath();
    });
    play.die_at_each_call(Never, act, || play.cut_in_all_ways(2));
    play
}

/// Every play.
pub(crate) const ALL: &[(&str, Script)] = &[
    ("back_after_vacating", back_after_vacating),
    ("back_past_a_free_line", back_past_a_free_line),
    ("removed_and_trimmed_at_once", removed_and_trimmed_at_once),
    ("a_block_changes_class_at_once", a_block_changes_class_at_once),
    ("an_unseen_block_changes_class", an_unseen_block_changes_class),
    ("a_head_of_an_earlier_class", a_head_of_an_earlier_class),
    ("a_sync_fails", a_sync_fails),
    ("a_syncer_dies_failing", a_syncer_dies_failing),
    ("recovered_after_a_failed_sync", recovered_after_a_failed_sync),
    ("syncs_fail_again_and_again", syncs_fail_again_and_again),
    ("a_recovery_is_left_undone", a_recovery_is_left_undone),
    ("recovery_is_cut_short", recovery_is_cut_short),
];

#[test]
fn every_play_ends_well() {
    let all = crate::stage::scenes();
    for (name, script) in ALL {
        let begun = std::time::Instant::now();
        let play = script(&Scenes(&all));
        println!(
            "{name}: {} cuts, {} kills, {:?}",
            play.cuts.get(),
            play.kills.get(),
            begun.elapsed()
        );
    }
}
