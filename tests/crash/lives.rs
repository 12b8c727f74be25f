//! Plays of sessions whose time is over, and of the next ones under the same ids.
//!
//! A session past its deadline never comes back (invariant 15), though the version that
//! took its place may be lost: neither under that version's deadline nor without any.

use std::time::Duration;

use cloakroom::Durability::{Durable, Never};
use cloakroom::storage::simulated::SimulatedDisk;
use cloakroom::{ByteContainer, MapPolicy, Options};

use crate::play::{LARGE, LONG, Play, SHORT};
use crate::plays::Scenes;

/// Of the key's session, from now on.
const LIFE_MS: u64 = 1000;
const LINES_BEFORE_RECORDS: u64 = 2 * 1024;

/// A session is over, by the clock or by a logout; the next one is saved several times.
pub(crate) fn a_life_ends_and_another_begins(scenes: &Scenes<'_>) -> Play {
    let mut play = scenes.crowd(40);
    for (by_clock, saves) in [(true, 1), (false, 1), (true, 2), (false, 3)] {
        play = play.followed_by(scenes.crowd(40));
        let who = play.enter(Never);
        play.save(&who, 0, SHORT);
        play.give_time(&who, 0, LIFE_MS);
        play.sync(&who);
        if by_clock {
            play.let_time_pass(&[0], LIFE_MS);
        } else {
            play.end(&who, 0);
            play.sync(&who);
        }
        for _ in 0..saves {
            play.save(&who, 0, LONG);
        }
        drop(who);
        play.cut_in_all_ways(20);
    }
    play
}

/// The next one is large, is removed and made again, and somebody syncs in between.
pub(crate) fn lives_follow_each_other(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(41);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.give_time(&who, 0, LIFE_MS);
    play.sync(&who);
    play.let_time_pass(&[0], LIFE_MS);
    play.save(&who, 0, LARGE);
    play.remove(&who, 0);
    play.save(&who, 0, SHORT);
    play.fail_sync(&who);
    play.save(&who, 0, LONG);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

/// A session is over while a sync is under way that may make its newest version durable.
pub(crate) fn a_life_ends_before_it_is_durable(scenes: &Scenes<'_>) -> Play {
    let play = scenes.crowd(42);
    let who = play.enter(Never);
    play.save(&who, 0, SHORT);
    play.give_time(&who, 0, LIFE_MS);
    play.sync(&who);
    play.save(&who, 0, LONG);
    play.die_syncing(&play.enter(Never), |other| drop(other.container.sync()));
    play.let_time_pass(&[0], LIFE_MS);
    play.save(&who, 0, SHORT);
    drop(who);
    play.cut_in_all_ways(20);
    play
}

fn handle(disk: &SimulatedDisk, durability: cloakroom::Durability) -> ByteContainer {
    let options = Options::new().durability(durability).map(MapPolicy::Never);
    ByteContainer::open_on(Box::new(disk.open(disk.spawn())), options).unwrap()
}

/// A cut that leaves the index as it is and takes the records.
fn cut_the_records(disk: &SimulatedDisk) {
    disk.power_cut_with(&mut |line, images| {
        if line < LINES_BEFORE_RECORDS { images - 1 } else { 0 }
    });
}

/// A logout that was acknowledged as durable stays one, whatever is lost after it.
#[test]
fn a_durable_logout_is_not_undone_by_what_is_lost_after_it() {
    let disk = SimulatedDisk::new(1);
    let first = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), Options::new());
    drop(first.unwrap());
    let container = handle(&disk, Durable);
    container.save("id", b"logged in").unwrap();
    assert!(container.set_deadline("id", Some(1)).unwrap());
    assert!(container.load("id").unwrap().is_none());
    handle(&disk, Never).save("id", b"a visitor").unwrap();
    cut_the_records(&disk);
    for _ in 0..3 {
        let container = handle(&disk, Never);
        assert!(container.load("id").unwrap().is_none());
        container.save("another", b"a visitor").unwrap();
        container.sync().unwrap();
    }
}

/// A session was removed and another one made under its id, all at once. If the first one
/// comes back, then with its deadline.
#[test]
fn who_comes_back_after_a_cut_has_no_more_time_than_before() {
    for sync_fails in [false, true] {
        let disk = SimulatedDisk::new(1);
        let first = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), Options::new());
        drop(first.unwrap());
        let container = handle(&disk, Never);
        let deadline_ms = container.info().unwrap().created_ms + LIFE_MS;
        container.save("id", b"the first").unwrap();
        container.set_deadline("id", Some(deadline_ms)).unwrap();
        container.sync().unwrap();
        container.remove("id").unwrap();
        if sync_fails {
            disk.fail_syncs(1);
            container.sync().unwrap_err();
        }
        container.save("id", b"the second").unwrap();
        drop(container);
        cut_the_records(&disk);
        if let Some(found) = handle(&disk, Never).load("id").unwrap() {
            assert_eq!(found.times.deadline_ms, Some(deadline_ms), "{:?}", found.value);
        }
        disk.advance(Duration::from_millis(LIFE_MS));
        assert!(handle(&disk, Never).load("id").unwrap().is_none());
    }
}
