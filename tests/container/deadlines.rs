//! Deadlines and times, by a clock that the test sets.

use std::time::Duration;

use cloakroom::{ByteContainer, Change, Outcome, Properties, Times};

use crate::fixture::{Fixture, quick, value};

const DAY: Duration = Duration::from_secs(86_400);

fn now_ms(fixture: &Fixture) -> u64 {
    let process = fixture.disk().spawn();
    cloakroom::storage::Storage::now_ms(&fixture.disk().open(process))
}

/// A container with a session that expires in one second.
fn expiring(fixture: &Fixture) -> (ByteContainer, u64) {
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let deadline = now_ms(fixture) + 1000;
    assert!(container.set_deadline("visitor", Some(deadline)).unwrap());
    (container, deadline)
}

#[test]
fn a_session_expires_at_its_deadline_and_not_before() {
    let fixture = Fixture::simulated();
    let (container, deadline) = expiring(&fixture);
    fixture.disk().set_now_ms(deadline - 1);
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!(session.times.deadline_ms, Some(deadline));
    assert!(container.contains("visitor").unwrap());
    assert_eq!(container.iter().count(), 1);
    fixture.disk().set_now_ms(deadline);
    assert_eq!(container.load("visitor").unwrap(), None);
    assert_eq!(container.load_into("visitor", &mut Vec::new()).unwrap(), None);
    assert!(!container.contains("visitor").unwrap());
    assert_eq!(container.iter().count(), 0);
    let report = container.check().unwrap();
    assert_eq!((report.sessions, report.expired), (0, 1));
    let reader = fixture.open_read_only(quick());
    assert_eq!(reader.load("visitor").unwrap(), None);
}

#[test]
fn an_expired_session_is_as_good_as_none_to_every_operation() {
    let fixture = Fixture::simulated();
    let (container, _) = expiring(&fixture);
    let version = container.load("visitor").unwrap().unwrap().version;
    fixture.disk().advance(DAY);
    assert_eq!(container.replace("visitor", b"").unwrap(), Outcome::Conflict);
    let late = container.save_if("visitor", version, b"").unwrap();
    assert_eq!(late, Outcome::Conflict);
    assert!(!container.set_deadline("visitor", None).unwrap());
    container
        .update("visitor", |session| {
            assert!(session.is_none());
            Change::Keep
        })
        .unwrap();
    assert!(!container.contains("visitor").unwrap());
    let made = container.create_session("visitor", b"a coat").unwrap();
    assert!(made.saved().is_some());
    assert_eq!(value(&container, "visitor"), b"a coat");
}

#[test]
fn a_save_after_expiry_starts_a_new_life() {
    let fixture = Fixture::simulated();
    let (container, _) = expiring(&fixture);
    let old = container.load("visitor").unwrap().unwrap();
    fixture.disk().advance(DAY);
    let version = container.save("visitor", b"a coat").unwrap();
    let new = container.load("visitor").unwrap().unwrap();
    assert_eq!((new.value.as_slice(), new.version), (&b"a coat"[..], version));
    assert_eq!(new.times.deadline_ms, None);
    assert!(new.times.created_ms >= old.times.created_ms + 86_400_000);
    assert_eq!(container.len().unwrap(), 1);
}

#[test]
fn an_expired_session_can_be_removed_as_if_it_were_not_there() {
    let fixture = Fixture::simulated();
    let (container, deadline) = expiring(&fixture);
    fixture.disk().advance(DAY);
    assert!(!container.remove("visitor").unwrap());
    // It does not come back when the clock is set back.
    fixture.disk().set_now_ms(deadline - 1);
    assert_eq!(container.load("visitor").unwrap(), None);
}

#[test]
fn touch_moves_the_deadline_and_keeps_all_else() {
    let fixture = Fixture::simulated();
    let (container, deadline) = expiring(&fixture);
    let before = container.load("visitor").unwrap().unwrap();
    for moved in [Some(deadline + 5000), None, Some(deadline + 1), None] {
        assert!(container.set_deadline("visitor", moved).unwrap());
        let after = container.load("visitor").unwrap().unwrap();
        assert_eq!(after.times.deadline_ms, moved);
        assert_eq!(after.times.created_ms, before.times.created_ms);
        assert_eq!(after.times.saved_ms, before.times.saved_ms);
        assert_eq!((&after.value, after.version), (&before.value, before.version));
    }
    fixture.disk().advance(DAY);
    assert!(container.contains("visitor").unwrap());
    // A deadline that has passed ends it at once.
    assert!(container.set_deadline("visitor", Some(deadline)).unwrap());
    assert!(!container.contains("visitor").unwrap());
    assert!(!container.set_deadline("visitor", None).unwrap());
}

#[test]
fn a_deadline_stays_when_the_session_is_saved() {
    let fixture = Fixture::simulated();
    let (container, deadline) = expiring(&fixture);
    container.save("visitor", b"a coat").unwrap();
    assert!(container.replace("visitor", b"a cane").unwrap().saved().is_some());
    container
        .update("visitor", |session| {
            assert_eq!(session.unwrap().times.deadline_ms, Some(deadline));
            Change::Save(b"a hat".to_vec())
        })
        .unwrap();
    let session = container.load("visitor").unwrap().unwrap();
    assert_eq!(session.times.deadline_ms, Some(deadline));
    fixture.disk().set_now_ms(deadline);
    assert!(!container.contains("visitor").unwrap());
}

#[test]
fn a_deadline_does_not_outlive_a_removal() {
    let fixture = Fixture::simulated();
    let (container, _) = expiring(&fixture);
    assert!(container.remove("visitor").unwrap());
    container.save("visitor", b"a coat").unwrap();
    fixture.disk().advance(DAY);
    assert_eq!(value(&container, "visitor"), b"a coat");
}

#[test]
fn restore_keeps_the_times_of_a_dump() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    let future = now_ms(&fixture) + 1000;
    for deadline_ms in [None, Some(future)] {
        let times = Times { created_ms: 1_000_000, saved_ms: 2_000_000, deadline_ms };
        container.restore("visitor", b"a hat", times, &Properties::new()).unwrap();
        let session = container.load("visitor").unwrap().unwrap();
        assert_eq!((session.value.as_slice(), session.times), (&b"a hat"[..], times));
    }
    // What had expired when it was dumped has expired here, too.
    let times = Times { created_ms: 1, saved_ms: 2, deadline_ms: Some(3) };
    container.restore("another", b"a coat", times, &Properties::new()).unwrap();
    assert_eq!(container.load("another").unwrap(), None);
}

#[test]
fn times_that_no_clock_shows_are_no_reason_to_panic() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    let times = Times { created_ms: u64::MAX, saved_ms: u64::MAX, deadline_ms: Some(u64::MAX) };
    container.restore("visitor", b"a hat", times, &Properties::new()).unwrap();
    assert!(container.set_deadline("visitor", Some(u64::MAX)).unwrap());
    assert_eq!(value(&container, "visitor"), b"a hat");
    // A deadline of 0 has passed long ago.
    assert!(container.set_deadline("visitor", Some(0)).unwrap());
    assert_eq!(container.load("visitor").unwrap(), None);
}

#[test]
fn a_clock_set_back_loses_nothing() {
    let fixture = Fixture::simulated();
    let container = fixture.create(cloakroom::Options::new());
    container.save("visitor", b"a hat").unwrap();
    fixture.disk().set_now_ms(1);
    container.save("another", b"a coat").unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
    assert_eq!(value(&container, "another"), b"a coat");
    container.save("visitor", b"a cane").unwrap();
    assert_eq!(value(&container, "visitor"), b"a cane");
}
