//! Timeouts: of handles, of sessions' own, and what a touch does, by a clock that the test
//! sets.

use std::time::Duration;

use cloakroom::{ByteContainer, Change, Options, Properties, SweepPolicy, Timeouts, Times};

use crate::fixture::{Fixture, quick, value};

const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Half an hour idle, eight hours at most.
fn usual() -> Timeouts {
    Timeouts::NONE.idle(ms(30 * MINUTE)).absolute(ms(8 * HOUR))
}

fn options() -> Options {
    quick().timeouts(usual()).sweep(SweepPolicy::OnRequest)
}

fn now_ms(fixture: &Fixture) -> u64 {
    let process = fixture.disk().spawn();
    cloakroom::storage::Storage::now_ms(&fixture.disk().open(process))
}

fn later(fixture: &Fixture, by_ms: u64) -> u64 {
    let later = now_ms(fixture) + by_ms;
    fixture.disk().set_now_ms(later);
    later
}

fn deadline(container: &ByteContainer, id: &str) -> Option<u64> {
    container.load(id).unwrap().unwrap().times.deadline_ms
}

#[test]
fn a_session_ends_to_the_millisecond_when_nobody_comes() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    container.save("visitor", b"a hat").unwrap();
    later(&fixture, 30 * MINUTE - 1);
    assert!(container.contains("visitor").unwrap());
    later(&fixture, 1);
    assert!(!container.contains("visitor").unwrap());
    assert!(!container.touch("visitor").unwrap());
    assert!(!container.contains("visitor").unwrap());
}

#[test]
fn a_session_that_is_used_all_the_time_ends_to_the_millisecond_all_the_same() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let start = now_ms(&fixture);
    container.save("saved", b"0").unwrap();
    container.save("touched", b"0").unwrap();
    while now_ms(&fixture) < start + 8 * HOUR - 1 {
        assert!(container.touch("touched").unwrap());
        container.update("saved", |session| Change::Save(session.unwrap().value.to_vec())).unwrap();
        fixture.disk().set_now_ms((now_ms(&fixture) + 20 * MINUTE).min(start + 8 * HOUR - 1));
    }
    assert_eq!(deadline(&container, "saved"), Some(start + 8 * HOUR));
    assert_eq!(deadline(&container, "touched"), Some(start + 8 * HOUR));
    later(&fixture, 1);
    assert!(!container.contains("saved").unwrap() && !container.contains("touched").unwrap());
}

#[test]
fn a_touch_is_written_only_when_a_share_of_the_idle_time_is_over() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    container.save("visitor", b"a hat").unwrap();
    let given = deadline(&container, "visitor");
    let before = fixture.disk().bytes();
    later(&fixture, 6 * MINUTE);
    assert!(container.touch("visitor").unwrap());
    assert!(fixture.disk().bytes() == before, "24 of 30 minutes are left: 80 %");
    assert_eq!(deadline(&container, "visitor"), given);
    let now = later(&fixture, 1);
    assert!(container.touch("visitor").unwrap());
    assert_eq!(deadline(&container, "visitor"), Some(now + 30 * MINUTE));

    let eager = fixture.open(options().touch_percent(100));
    let now = later(&fixture, 1);
    assert!(eager.touch("visitor").unwrap());
    assert_eq!(deadline(&container, "visitor"), Some(now + 30 * MINUTE));
    let lazy = fixture.open(options().touch_percent(0));
    later(&fixture, 30 * MINUTE - 1);
    assert!(lazy.touch("visitor").unwrap());
    later(&fixture, 1);
    assert!(!container.contains("visitor").unwrap());
}

#[test]
fn a_touch_changes_neither_value_nor_version() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let version = container.save("visitor", b"a hat").unwrap();
    later(&fixture, 20 * MINUTE);
    assert!(container.touch("visitor").unwrap());
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!((session.value.as_slice(), session.version), (&b"a hat"[..], version));
    assert_eq!(session.times.saved_ms + 20 * MINUTE, now_ms(&fixture));
}

#[test]
fn without_timeouts_a_touch_does_nothing_and_a_save_keeps_the_deadline() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let before = fixture.disk().bytes();
    assert!(container.touch("visitor").unwrap());
    assert!(fixture.disk().bytes() == before);
    let end = now_ms(&fixture) + HOUR;
    assert!(container.set_deadline("visitor", Some(end)).unwrap());
    assert!(container.touch("visitor").unwrap());
    container.save("visitor", b"a coat").unwrap();
    assert_eq!(deadline(&container, "visitor"), Some(end));
}

#[test]
fn timeouts_of_its_own_stay_with_a_session_whoever_saves_it() {
    for len in [10, 100_000] {
        let fixture = Fixture::simulated();
        let container = fixture.create(options());
        let own = Properties::new().timeouts(Timeouts::NONE.idle(ms(30 * DAY)));
        container.save_with("remembered", &vec![1; len], &own).unwrap();
        container.save("usual", b"a hat").unwrap();
        let other = fixture.open(quick());
        for step in 0..5 {
            let now = later(&fixture, DAY);
            let saved = other.replace("remembered", &vec![step; len]).unwrap();
            assert!(saved.saved().is_some());
            let session = container.load("remembered").unwrap().unwrap();
            assert_eq!(session.properties, own);
            assert_eq!(session.times.deadline_ms, Some(now + 30 * DAY));
            other.sync().unwrap();
        }
        let now = later(&fixture, 10 * DAY);
        assert!(fixture.open(quick()).touch("remembered").unwrap());
        assert_eq!(deadline(&container, "remembered"), Some(now + 30 * DAY));
        assert!(!container.contains("usual").unwrap());
        let (_, session) = container.iter().next().unwrap().unwrap();
        assert_eq!(session.properties, own);
    }
}

#[test]
fn properties_are_replaced_and_end_with_the_session() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let for_ever = Properties::new().timeouts(Timeouts::NONE);
    let made = container.create_session_with("robot", b"1", &for_ever).unwrap();
    assert!(made.saved().is_some());
    assert_eq!(deadline(&container, "robot"), None);
    later(&fixture, 365 * DAY);
    container.save("robot", b"2").unwrap();
    assert_eq!(deadline(&container, "robot"), None);

    let short = Properties::new().timeouts(Timeouts::NONE.idle(ms(MINUTE)));
    container.save_with("robot", b"3", &short).unwrap();
    assert_eq!(deadline(&container, "robot"), Some(now_ms(&fixture) + MINUTE));
    container.save_with("robot", b"4", &Properties::new()).unwrap();
    assert!(!container.contains("robot").unwrap(), "the usual absolute timeout is long over");
}

#[test]
fn a_new_life_has_nothing_of_the_one_before() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let for_ever = Properties::new().timeouts(Timeouts::NONE);
    for how in ["removed", "expired"] {
        container.save_with("robot", b"1", &for_ever).unwrap();
        if how == "removed" {
            assert!(container.remove("robot").unwrap());
        } else {
            assert!(container.set_deadline("robot", Some(now_ms(&fixture))).unwrap());
        }
        container.save("robot", b"2").unwrap();
        let session = container.load("robot").unwrap().unwrap();
        assert_eq!(session.properties, Properties::new(), "{how}");
        assert_eq!(session.times.deadline_ms, Some(now_ms(&fixture) + 30 * MINUTE), "{how}");
    }
}

/// What a visit does, by a process of its own that knows nothing of the others.
fn visit(fixture: &Fixture) {
    let process = fixture.open(options().touch_percent(100).sweep(SweepPolicy::WithChanges));
    let own = Properties::new().timeouts(Timeouts::NONE.idle(ms(30 * MINUTE)));
    process.save("saved", b"a coat").unwrap();
    assert!(process.touch("touched").unwrap());
    process.save_with("own", b"a coat", &own).unwrap();
}

/// So many milliseconds before or after the time it is, one visit after another.
#[test]
fn a_clock_that_is_set_back_loses_nobody_however_it_goes_on() {
    const HISTORIES: &[&[u64]] = &[
        &[MINUTE],
        &[HOUR, HOUR - 10 * MINUTE],
        &[DAY],
        &[25 * HOUR + 30 * MINUTE],
        &[20 * HOUR, 40 * HOUR],
        &[2 * DAY, DAY, HOUR],
        &[10_000 * DAY],
        &[19_000 * DAY, 7 * DAY],
        &[7 * DAY, 19_000 * DAY, 7 * DAY, 3 * DAY],
    ];
    for quiet in [0, 3 * DAY] {
        for history in HISTORIES {
            let fixture = Fixture::simulated();
            let container = fixture.create(options());
            // Nobody comes for a while, so that nothing has noted the time.
            let start = later(&fixture, quiet);
            container.save("touched", b"a hat").unwrap();
            visit(&fixture);
            for back in *history {
                fixture.disk().set_now_ms(start - back);
                visit(&fixture);
                later(&fixture, 10 * MINUTE);
                visit(&fixture);
            }
            fixture.disk().set_now_ms(start + 30 * MINUTE - 1);
            for id in ["saved", "touched", "own"] {
                assert!(container.contains(id).unwrap(), "{id}, set back by {history:?}");
            }
            assert_eq!(value(&container, "saved"), b"a coat");
            // Who does not come back is over all the same.
            later(&fixture, 30 * MINUTE);
            assert!(!container.contains("saved").unwrap());
        }
    }
}

#[test]
fn what_a_clock_that_was_ahead_has_given_ends_with_the_absolute_timeout() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let start = now_ms(&fixture);
    container.save("visitor", b"a hat").unwrap();
    fixture.disk().set_now_ms(start + 20 * MINUTE);
    container.save("visitor", b"a hat").unwrap();
    fixture.disk().set_now_ms(start + MINUTE);
    assert!(container.touch("visitor").unwrap());
    assert_eq!(deadline(&container, "visitor"), Some(start + 50 * MINUTE));
    assert!(container.set_deadline("visitor", Some(start + 4000 * DAY)).unwrap());
    assert!(container.touch("visitor").unwrap());
    assert_eq!(deadline(&container, "visitor"), Some(start + 8 * HOUR));
}

#[test]
fn the_same_timeouts_given_again_change_nothing_and_others_count_at_once() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let start = now_ms(&fixture);
    let idle = |hours| Properties::new().timeouts(Timeouts::NONE.idle(ms(hours * HOUR)));
    container.save_with("visitor", b"1", &idle(10)).unwrap();
    fixture.disk().set_now_ms(start - HOUR);
    container.save_with("visitor", b"2", &idle(10)).unwrap();
    assert_eq!(deadline(&container, "visitor"), Some(start + 10 * HOUR));
    container.save_with("visitor", b"3", &idle(1)).unwrap();
    assert_eq!(deadline(&container, "visitor"), Some(start));
    container.save_with("visitor", b"4", &Properties::new()).unwrap();
    assert_eq!(deadline(&container, "visitor"), Some(start - HOUR + 30 * MINUTE));
}

#[test]
fn a_touch_of_who_is_over_says_so() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    container.save("visitor", b"a hat").unwrap();
    let start = now_ms(&fixture);
    assert!(container.set_deadline("visitor", Some(start + 20 * HOUR)).unwrap());
    later(&fixture, 9 * HOUR);
    assert!(!container.touch("visitor").unwrap(), "eight hours are over");
    assert!(!container.contains("visitor").unwrap());
}

#[test]
fn a_short_idle_timeout_is_one_too() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick().timeouts(Timeouts::NONE.idle(ms(50))));
    container.save("visitor", b"a hat").unwrap();
    for _ in 0..10 {
        let now = later(&fixture, 25);
        assert!(container.touch("visitor").unwrap());
        assert_eq!(deadline(&container, "visitor"), Some(now + 50));
    }
}

#[test]
fn what_is_restored_has_the_times_and_timeouts_that_it_is_given() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    let created_ms = now_ms(&fixture) - HOUR;
    let times = Times { created_ms, saved_ms: created_ms, deadline_ms: None };
    let own = Properties::new().timeouts(Timeouts::NONE.absolute(ms(2 * HOUR)));
    container.restore("visitor", b"a hat", times, &own).unwrap();
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!((session.times, &session.properties), (times, &own));
    container.save("visitor", b"a hat").unwrap();
    assert_eq!(deadline(&container, "visitor"), Some(created_ms + 2 * HOUR));
}
