//! The plays: for each rule that chance seldom puts to the test, the steps that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom::Durability::Never;
use cloakroom::storage::simulated::{Call, SimulatedDisk, Verdict};
use cloakroom::{ByteContainer, Options};

use crate::play::{LARGE, LONG, Person, Play, SHORT, THIRD};
use crate::stage::{self, Scene};
use crate::{again, edges, lives, overlaps, rot, rotating, splits};

/// One play, by name; it panics where a rule is broken.
pub(crate) type Script = fn(&Scenes<'_>) -> Play;

/// The scenes by name.
pub(crate) struct Scenes<'a>(pub(crate) &'a [Scene]);

impl Scenes<'_> {
    fn get(&self, name: &str) -> &Scene {
        self.0.iter().find(|scene| scene.name == name).unwrap()
    }

    pub(crate) fn crowd(&self, seed: u64) -> Play {
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
    // Two of each class, so that every empty block is used again and that some do
    // not lie where extents of its earlier class begin.
    for (number, len) in [5000, 3000, 1800, 1200, 400].into_iter().enumerate() {
        for twice in 0..2 {
            who.container.save(format!("class-{number}-{twice}"), &vec![1; len]).unwrap();
        }
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

/// A sync fails, and so does the next one, which had written everything again, whether
/// it can say so or dies.
pub(crate) fn a_sync_fails_after_rewriting(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(12);
    for seed in 0..12 {
        play = play.followed_by(scenes.crowd(1200 + seed));
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        play.fail_sync(&who);
        if seed % 2 == 0 {
            play.fail_sync(&who);
        } else {
            play.die_failing(&who);
        }
        play.sync(&play.enter(Never));
        play.cut_in_all_ways(1);
    }
    play
}

/// A syncer dies before it can say that its sync failed. What the failure takes is
/// left to chance.
pub(crate) fn a_syncer_dies_failing(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(8);
    for seed in 0..12 {
        play = play.followed_by(scenes.crowd(800 + seed));
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        play.die_failing(&who);
        play.sync(&play.enter(Never));
        play.cut_in_all_ways(1);
    }
    play
}

/// A sync fails, and then somebody with another view recovers.
pub(crate) fn recovered_after_a_failed_sync(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(9);
    for seed in 0..12 {
        play = play.followed_by(scenes.crowd(900 + seed));
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        play.fail_sync(&who);
        play.sync(&play.enter_by(10, Never));
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
        play.cut_in_all_ways(3);
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
    let act = |who: &Person| {
        let _ = play.try_save(who, 2, SHORT);
    };
    play.die_at_each_call(Never, act, || {
        play.aftermath();
    });
    play.die_at_each_call(Never, act, || play.cut_in_all_ways(2));
    play
}

/// More ids than the reach covers, all at one place and in one epoch.
pub(crate) fn a_crowd_outgrows_the_reach(scenes: &Scenes<'_>) -> Play {
    let crowd = stage::crowded_ids(&scenes.crowd(13).disk, 72, 1);
    let play = Play::on(scenes.crowd(13).disk.clone(), crowd, Vec::new());
    let who = play.enter(Never);
    for key in 0..66 {
        play.save(&who, key, SHORT);
    }
    drop(who);
    play.cut_in_all_ways(5);
    play
}

/// The reach was raised twice, and nobody has synced.
pub(crate) fn the_reach_is_raised_twice(scenes: &Scenes<'_>) -> Play {
    let crowd = stage::crowded_ids(&scenes.crowd(14).disk, 72, 1);
    let play = Play::on(scenes.crowd(14).disk.clone(), crowd, Vec::new());
    let who = play.enter(Never);
    for key in 0..64 {
        play.save(&who, key, SHORT);
    }
    // It asks for more room, and dies before it has synced.
    play.die_syncing(&who, |who| {
        let _ = play.try_save(who, 64, SHORT);
    });
    let next = play.enter(Never);
    play.die_syncing(&next, |next| {
        let _ = play.try_save(next, 65, SHORT);
    });
    drop((who, next));
    play.cut_in_all_ways(5);
    play
}

/// Each key is saved and removed while a split is under way, by somebody who
/// dies of it at each call; then the split comes to its end.
fn died_in_a_split(play: Play) -> Play {
    for key in 0..play.keys.len() {
        let save = |who: &Person| {
            let _ = play.try_save(who, key, SHORT);
        };
        play.die_at_each_call(Never, save, || play.aftermath_quick());
        let who = play.enter(Never);
        play.save(&who, key, SHORT);
        drop(who);
        play.die_at_each_call(Never, save, || play.aftermath_quick());
        let remove = |who: &Person| {
            let _ = play.try_remove(who, key);
        };
        play.die_at_each_call(Never, remove, || play.aftermath_quick());
    }
    play
}

/// See above, while the new segments are being filled.
pub(crate) fn died_while_filling(scenes: &Scenes<'_>) -> Play {
    died_in_a_split(Play::new(scenes.get("filling"), 15))
}

/// See above, while the old ones are kept in step.
pub(crate) fn died_while_settling(scenes: &Scenes<'_>) -> Play {
    died_in_a_split(Play::new(scenes.get("settling"), 16))
}

/// New sessions come while the old segments are kept in step, and the power goes.
pub(crate) fn sessions_come_while_settling(scenes: &Scenes<'_>) -> Play {
    let play = Play::new(scenes.get("settling"), 17);
    let who = play.enter(Never);
    for key in 0..play.keys.len() {
        play.save(&who, key, SHORT);
    }
    for number in 0..60 {
        who.container.save(format!("come-{number}"), b"1").unwrap();
    }
    drop(who);
    play.cut_around_the_control_page();
    play
}

/// Sessions come until the index grows, and the power goes at once.
pub(crate) fn the_index_grows_and_the_power_goes(scenes: &Scenes<'_>) -> Play {
    let play = Play::new(scenes.get("one segment, nearly full"), 18);
    let who = play.enter(Never);
    for number in 0..20 {
        who.container.save(format!("come-{number}"), b"1").unwrap();
    }
    assert!(who.container.info().unwrap().splitting);
    drop(who);
    play.cut_around_the_control_page();
    play
}

/// A long crowd is split, and must be found in its new segment.
pub(crate) fn a_crowd_is_split(scenes: &Scenes<'_>) -> Play {
    let crowd = stage::crowded_ids(&scenes.crowd(19).disk, 200, 1);
    let play = Play::on(scenes.crowd(19).disk.clone(), crowd, Vec::new());
    let who = play.enter(Never);
    for key in 0..200 {
        play.save(&who, key, SHORT);
        if key % 8 == 0 {
            // The reach rises in time, and no split is needed for it.
            play.sync(&who);
        }
    }
    assert!(!who.container.info().unwrap().splitting);
    play.grow(&who);
    for _ in 0..3 {
        play.sync(&who);
    }
    drop(who);
    play.aftermath();
    play
}

/// A split is dropped by recovery, its block is used for something else, and the
/// index grows again.
pub(crate) fn a_split_is_repeated(scenes: &Scenes<'_>) -> Play {
    let play = Play::new(scenes.get("filling"), 22);
    play.cut(&mut |_, images| images - 1);
    let who = play.enter(Never);
    play.pass(&who);
    play.sync(&who);
    for key in 0..6 {
        play.save(&who, key, LARGE);
    }
    play.grow(&who);
    for _ in 0..3 {
        play.sync(&who);
    }
    drop(who);
    play.aftermath();
    play
}

/// Three versions, the second of which is not durable, by processes that live for
/// one request.
pub(crate) fn saved_three_times(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(23);
    play.save(&play.enter(Never), 0, SHORT);
    play.sync(&play.enter(Never));
    play.save(&play.enter(Never), 0, SHORT);
    play.save(&play.enter(Never), 0, SHORT);
    play.cut_in_all_ways(10);
    play
}

/// A cut takes a version, somebody recovers and perhaps finds free space again, and
/// the power goes once more.
pub(crate) fn cut_again_after_recovery(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(24);
    play.lose_a_record();
    for passes in 0..3 {
        play.branching(|| {
            let who = play.enter(Never);
            play.save(&who, 1, SHORT);
            if passes > 0 {
                play.pass(&who);
            }
            if passes != 1 {
                play.sync(&who);
            }
            drop(who);
            play.cut_in_all_ways(10);
        });
    }
    play
}

/// A load begins, the index grows, and the load goes on.
pub(crate) fn a_load_sleeps_through_a_split(scenes: &Scenes<'_>) -> Play {
    let play = Play::new(scenes.get("filling"), 20);
    let filler: Vec<_> = scenes.get("filling").filler.iter().take(60).cloned().collect();
    for (number, id) in filler.iter().enumerate() {
        play.branching(|| {
            let who = play.enter(Never);
            let process = who.process;
            let (other, calls) = (play.disk.clone(), AtomicU32::new(0));
            play.disk.set_hook(Some(Arc::new(move |call: &Call| {
                if call.process == process && calls.fetch_add(1, Ordering::Relaxed) == 1 {
                    grow_meanwhile(&other, number);
                }
                Verdict::Proceed
            })));
            let loaded = who.container.load(id).unwrap();
            play.disk.set_hook(None);
            assert!(loaded.is_some(), "a load missed a session that moved");
        });
    }
    play
}

fn grow_meanwhile(disk: &SimulatedDisk, number: usize) {
    let storage = Box::new(disk.open(disk.spawn()));
    let container = ByteContainer::open_on(storage, Options::new().durability(Never)).unwrap();
    for _ in 0..3 {
        container.sync().unwrap();
    }
    for other in 0..200 {
        container.save(format!("meanwhile-{number}-{other}"), b"1").unwrap();
    }
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
    ("a_sync_fails_after_rewriting", a_sync_fails_after_rewriting),
    ("a_syncer_dies_failing", a_syncer_dies_failing),
    ("recovered_after_a_failed_sync", recovered_after_a_failed_sync),
    ("syncs_fail_again_and_again", syncs_fail_again_and_again),
    ("a_recovery_is_left_undone", a_recovery_is_left_undone),
    ("recovery_is_cut_short", recovery_is_cut_short),
    ("a_crowd_outgrows_the_reach", a_crowd_outgrows_the_reach),
    ("the_reach_is_raised_twice", the_reach_is_raised_twice),
    ("died_while_filling", died_while_filling),
    ("died_while_settling", died_while_settling),
    ("sessions_come_while_settling", sessions_come_while_settling),
    ("the_index_grows_and_the_power_goes", the_index_grows_and_the_power_goes),
    ("a_crowd_is_split", a_crowd_is_split),
    ("a_split_is_repeated", a_split_is_repeated),
    ("saved_three_times", saved_three_times),
    ("cut_again_after_recovery", cut_again_after_recovery),
    ("a_load_sleeps_through_a_split", a_load_sleeps_through_a_split),
    ("a_recovery_waits_for_a_syncer", overlaps::a_recovery_waits_for_a_syncer),
    ("a_batch_grows_while_it_is_synced", splits::a_batch_grows_while_it_is_synced),
    ("split_off_while_the_pass_runs", splits::split_off_while_the_pass_runs),
    ("a_recoverer_dies_failing", overlaps::a_recoverer_dies_failing),
    ("two_syncs_overlap", overlaps::two_syncs_overlap),
    ("saved_during_a_sync", overlaps::saved_during_a_sync),
    ("saved_and_trimmed_at_once", edges::saved_and_trimmed_at_once),
    ("a_lost_extent_is_taken", edges::a_lost_extent_is_taken),
    ("a_head_of_a_larger_class_is_left", edges::a_head_of_a_larger_class_is_left),
    ("died_superseding", edges::died_superseding),
    ("a_damaged_session_is_saved_over", rot::a_damaged_session_is_saved_over),
    ("a_life_ends_and_another_begins", lives::a_life_ends_and_another_begins),
    ("lives_follow_each_other", lives::lives_follow_each_other),
    ("a_life_ends_before_it_is_durable", lives::a_life_ends_before_it_is_durable),
    ("the_same_end_comes_again", rot::the_same_end_comes_again),
    ("the_same_end_comes_again_after_a_kill", rot::the_same_end_comes_again_after_a_kill),
    ("a_head_rots_during_the_pass", rot::a_head_rots_during_the_pass),
    ("a_lost_value_is_saved_by_another", again::a_lost_value_is_saved_by_another),
    ("a_lost_value_is_saved_once_more", again::a_lost_value_is_saved_once_more),
    ("a_lost_value_is_saved_before_another_cut", again::a_lost_value_is_saved_before_another_cut),
    ("a_block_that_two_name_is_let_go", again::a_block_that_two_name_is_let_go),
    ("rotated_and_cut", rotating::rotated_and_cut),
    ("killed_while_rotating", rotating::killed_while_rotating),
    ("a_durable_rotation_stays", rotating::a_durable_rotation_stays),
    ("saved_while_it_is_rotated", rotating::saved_while_it_is_rotated),
    ("a_forward_is_lost", rotating::a_forward_is_lost),
    ("removed_twice", edges::removed_twice),
    ("large_values_come_and_go", edges::large_values_come_and_go),
    ("killed_with_extents_taken", edges::killed_with_extents_taken),
    ("made_and_cut", edges::made_and_cut),
    ("a_file_loses_its_name", edges::a_file_loses_its_name),
    ("a_record_rots", edges::a_record_rots),
    ("a_server_forks", edges::a_server_forks),
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
