//! Sweeping: what has expired goes, and nothing else, at a cost of what has expired.
//! The clock is the test's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use cloakroom::storage::Storage;
use cloakroom::{ByteContainer, Options, SweepEnd, SweepPolicy};

use crate::fixture::{Fixture, bytes, quick, value};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A handle that sweeps when it is asked to.
fn asked() -> Options {
    quick().sweep(SweepPolicy::OnRequest)
}

fn now_ms(fixture: &Fixture) -> u64 {
    fixture.disk().open(fixture.disk().spawn()).now_ms()
}

fn id(number: u64) -> String {
    format!("visitor-{number}")
}

/// A new session that ends so many milliseconds from now.
fn save_for(fixture: &Fixture, container: &ByteContainer, number: u64, ms: u64) {
    container.save(id(number), &bytes(number, 40)).unwrap();
    assert!(container.set_deadline(id(number), Some(now_ms(fixture) + ms)).unwrap());
}

/// Sessions in the file, those that have expired included.
fn kept(container: &ByteContainer) -> u64 {
    let report = container.check().unwrap();
    report.sessions + report.expired
}

#[test]
fn what_has_expired_goes_with_the_next_changes() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    for number in 0..3 {
        save_for(&fixture, &container, number, 1000 * (number + 1));
    }
    fixture.disk().set_now_ms(now_ms(&fixture) + 2500);
    for _ in 0..3 {
        container.save("another", b"a hat").unwrap();
    }
    assert_eq!(kept(&container), 2);
    assert_eq!(value(&container, id(2)), bytes(2, 40));
}

#[test]
fn a_handle_that_sweeps_on_request_leaves_what_has_expired_alone() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    save_for(&fixture, &container, 0, 1000);
    fixture.disk().set_now_ms(now_ms(&fixture) + 5000);
    for _ in 0..10 {
        container.save("another", b"a hat").unwrap();
    }
    assert_eq!(kept(&container), 2);
    assert_eq!(container.load(id(0)).unwrap(), None);
    assert_eq!(container.sweep(u64::MAX).unwrap().removed, 1);
    assert_eq!(kept(&container), 1);
}

#[test]
fn a_sweep_removes_all_that_has_expired_and_nothing_else_however_the_index_grew() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    let start = now_ms(&fixture);
    for number in 0..6000 {
        container.save(id(number), &bytes(number, 20)).unwrap();
        // A third has no deadline, a third one that will pass, a third a later one.
        match number % 3 {
            0 => {}
            1 => assert!(container.set_deadline(id(number), Some(start + 1000 + number)).unwrap()),
            _ => {
                assert!(container.set_deadline(id(number), Some(start + HOUR_MS + number)).unwrap())
            }
        }
        if number % 1000 == 0 {
            container.sync().unwrap();
        }
    }
    fixture.disk().set_now_ms(start + MINUTE_MS);
    let swept = container.sweep(u64::MAX).unwrap();
    assert_eq!((swept.removed, swept.end), (2000, SweepEnd::Done));
    assert_eq!((kept(&container), container.len().unwrap()), (4000, 4000));
    for number in (0..6000).filter(|number| number % 3 != 1) {
        assert_eq!(value(&container, id(number)), bytes(number, 20));
    }
    assert_eq!(container.sweep(u64::MAX).unwrap().removed, 0);
}

#[test]
fn sweeping_costs_what_has_expired_and_not_what_there_is() {
    let calls = [500, 20_000].map(|sessions| {
        let fixture = Fixture::simulated();
        let container = fixture.create(asked());
        let start = now_ms(&fixture);
        for number in 0..sessions {
            container.save(id(number), b"").unwrap();
            let ends = if number < 40 { start + 1000 } else { start + HOUR_MS };
            assert!(container.set_deadline(id(number), Some(ends)).unwrap());
            if number % 1000 == 0 {
                container.sync().unwrap();
            }
        }
        fixture.disk().set_now_ms(start + MINUTE_MS);
        let before = fixture.disk().calls();
        assert_eq!(container.sweep(u64::MAX).unwrap().removed, 40);
        fixture.disk().calls() - before
    });
    // They lie in 16 pages of one segment, or in 40 pages of 32 segments, which are found by
    // ways of three segments: reads and writes for each, and not for each session.
    let [few, many] = calls;
    assert!(few < 200 && many < 1000, "{few} calls among 500 sessions, {many} among 20,000");
}

#[test]
fn a_sweep_stops_at_its_limit_and_goes_on_another_time() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    for number in 0..100 {
        save_for(&fixture, &container, number, 1000);
    }
    fixture.disk().set_now_ms(now_ms(&fixture) + MINUTE_MS);
    let swept = container.sweep(30).unwrap();
    assert_eq!((swept.removed, swept.end), (30, SweepEnd::Limit));
    assert_eq!(kept(&container), 70);
    assert_eq!(container.sweep(0).unwrap().removed, 0);
    let swept = container.sweep(1000).unwrap();
    assert_eq!((swept.removed, swept.end), (70, SweepEnd::Done));
}

#[test]
fn each_session_is_shown_before_it_goes() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    for number in 0..200 {
        save_for(&fixture, &container, number, 1000 + 1000 * (number % 2) * HOUR_MS);
    }
    // So many that some share a page of the index.
    let large = bytes(7, 100_000);
    for number in 0..20 {
        container.save(format!("large-{number}"), &large).unwrap();
        container.set_deadline(format!("large-{number}"), Some(now_ms(&fixture) + 1000)).unwrap();
    }
    fixture.disk().set_now_ms(now_ms(&fixture) + MINUTE_MS);
    let mut shown = BTreeSet::new();
    let swept = container.sweep_with(u64::MAX, |id, session| {
        assert!(container.load(id).unwrap().is_none(), "nobody else sees it");
        assert!(session.times.deadline_ms.is_some());
        let id = String::from_utf8(id.to_vec()).unwrap();
        if id.starts_with("large") {
            assert_eq!(session.value, large);
        }
        assert!(shown.insert(id), "each is shown once");
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unwrap().removed, 120);
    let mut expected: BTreeSet<_> = (0..200).step_by(2).map(id).collect();
    expected.extend((0..20).map(|number| format!("large-{number}")));
    assert_eq!(shown, expected);
    assert_eq!(kept(&container), 100);
}

#[test]
fn who_comes_back_while_being_shown_stays() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    save_for(&fixture, &container, 0, 1000);
    fixture.disk().set_now_ms(now_ms(&fixture) + MINUTE_MS);
    let swept = container.sweep_with(u64::MAX, |id, _| {
        container.save(id, b"a new coat").unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unwrap().removed, 0);
    assert_eq!(value(&container, id(0)), b"a new coat");
}

#[test]
fn nothing_more_goes_once_the_application_has_said_so() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    for number in 0..10 {
        save_for(&fixture, &container, number, 1000);
    }
    fixture.disk().set_now_ms(now_ms(&fixture) + MINUTE_MS);
    let swept = container.sweep_with(u64::MAX, |_, _| ControlFlow::Break(()));
    assert_eq!(swept.unwrap().end, SweepEnd::Broken);
    assert_eq!(kept(&container), 10);
}

#[test]
fn a_sweep_each_night_finds_what_has_expired_by_then() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    for night in 0..6 {
        save_for(&fixture, &container, night, HOUR_MS);
        for _ in 0..24 {
            fixture.disk().set_now_ms(now_ms(&fixture) + HOUR_MS);
            container.save("somebody", b"here").unwrap();
        }
        fixture.disk().set_now_ms(now_ms(&fixture) + 1000);
        let swept = container.sweep(u64::MAX).unwrap();
        assert_eq!((swept.removed, swept.end), (1, SweepEnd::Done), "night {night}");
    }
}

/// The first time was doubted though it was right, and a wrong one was taken for its
/// confirmation.
#[test]
fn no_time_is_confirmed_by_one_that_is_far_from_it() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    let start = now_ms(&fixture);
    for number in 0..10 {
        save_for(&fixture, &container, number, 365 * DAY_MS);
    }
    for days in [2, 3652] {
        fixture.disk().set_now_ms(start + days * DAY_MS);
        for _ in 0..5 {
            container.save("another", b"a hat").unwrap();
        }
    }
    fixture.disk().set_now_ms(start + 2 * DAY_MS + HOUR_MS);
    for number in 0..10 {
        assert_eq!(value(&container, id(number)), bytes(number, 40));
    }
}

#[test]
fn what_is_shown_is_the_current_version_or_nothing() {
    let fixture = Fixture::simulated();
    let container = fixture.create(asked());
    let other = fixture.open(asked());
    for number in 0..400 {
        save_for(&fixture, &container, number, 1000);
    }
    container.sync().unwrap();
    let mut swept_by_other = false;
    for number in 0..400 {
        container.save(id(number), &bytes(1000 + number, 40)).unwrap();
    }
    fixture.disk().set_now_ms(now_ms(&fixture) + MINUTE_MS);
    let swept = container.sweep_with(u64::MAX, |shown, session| {
        let number = (0..400).find(|number| id(*number).as_bytes() == shown).unwrap();
        assert_eq!(session.value, bytes(1000 + number, 40));
        // Somebody else sweeps meanwhile, and what was there is used again.
        if !std::mem::replace(&mut swept_by_other, true) {
            other.sweep(u64::MAX).unwrap();
            for place in 0..600 {
                other.save(format!("new {place}"), &bytes(place, 40)).unwrap();
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!(swept.unwrap().end, SweepEnd::Done);
    assert_eq!(container.check().unwrap().expired, 0);
}

#[test]
fn a_clock_far_ahead_removes_nobody_until_it_is_confirmed() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    let start = now_ms(&fixture);
    for number in 0..10 {
        save_for(&fixture, &container, number, 7 * DAY_MS);
    }
    fixture.disk().set_now_ms(start + 3650 * DAY_MS);
    for _ in 0..5 {
        container.save("another", b"a hat").unwrap();
    }
    assert_eq!(container.sweep(u64::MAX).unwrap().end, SweepEnd::ClockInDoubt);
    assert_eq!(kept(&container), 11);
    // It was a mistake.
    fixture.disk().set_now_ms(start + HOUR_MS);
    assert_eq!(container.sweep(u64::MAX).unwrap().end, SweepEnd::Done);
    for number in 0..10 {
        assert_eq!(value(&container, id(number)), bytes(number, 40));
    }
    // It was none: nobody came for eight days.
    fixture.disk().set_now_ms(start + 8 * DAY_MS);
    assert_eq!(container.sweep(u64::MAX).unwrap().end, SweepEnd::ClockInDoubt);
    fixture.disk().set_now_ms(start + 8 * DAY_MS + MINUTE_MS);
    assert_eq!(container.sweep(u64::MAX).unwrap().removed, 10);
}
