//! Sessions that go on under another id, and what the old one still leads to.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use cloakroom::{
    ByteContainer, Change, IdForm, Options, Outcome, Properties, SweepPolicy, Timeouts,
};

use crate::fixture::{Fixture, assert_sound, quick};

const GRACE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

fn value(container: &ByteContainer, id: &str) -> Option<Vec<u8>> {
    container.load(id).unwrap().map(|session| session.value)
}

/// A container in which the session of "old" was rotated to "new".
fn rotated(fixture: &Fixture, options: Options) -> ByteContainer {
    let container = fixture.create(options);
    container.save("old", b"a cart").unwrap();
    let outcome = container.rotate("old", "new", GRACE).unwrap();
    let session = container.load("new").unwrap().unwrap();
    assert_eq!(outcome, Outcome::Saved(session.version));
    container
}

#[test]
fn a_rotated_session_keeps_all_but_its_id() {
    for (fixture, form) in
        [(Fixture::file(), IdForm::Plain), (Fixture::simulated(), IdForm::Sha256)]
    {
        let container = fixture.create(quick().ids(form).timeouts(Timeouts::NONE.idle(HOUR)));
        let own = Properties::new().timeouts(Timeouts::NONE.idle(2 * HOUR).absolute(24 * HOUR));
        for (id, len) in [("empty", 0), ("short", 5), ("long", 30_000), ("large", 200_000)] {
            container.save_with(id, &vec![7; len], &own).unwrap();
            let before = container.load(id).unwrap().unwrap();
            let new_id = format!("{id} goes on");
            let rotated = container.rotate(id, &new_id, GRACE).unwrap();
            let after = container.load(&new_id).unwrap().unwrap();
            assert_eq!(rotated, Outcome::Saved(after.version), "{id}");
            assert_eq!((&after.value, after.times), (&before.value, before.times), "{id}");
            assert_eq!(after.properties, own, "{id}");
            let by_old_id = container.load(id).unwrap().unwrap();
            assert_eq!(by_old_id, after, "{id}");
        }
        assert_eq!(container.len().unwrap(), 4);
        let report = container.check().unwrap();
        assert_eq!((report.sessions, report.forwards), (4, 4));
        assert_eq!(fixture.open_read_only(Options::new()).iter().count(), 4);
    }
}

#[test]
fn within_its_grace_the_old_id_is_as_good_as_the_new_one() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    let other = fixture.open(quick());
    other.save("old", b"two coats").unwrap();
    assert_eq!(value(&container, "new").as_deref(), Some(&b"two coats"[..]));
    let version = other.load("new").unwrap().unwrap().version;
    assert!(other.save_if("old", version, b"three").unwrap().saved().is_some());
    assert!(other.replace("old", b"four").unwrap().saved().is_some());
    assert_eq!(other.create_session("old", b"five").unwrap(), Outcome::Conflict);
    other
        .update("old", |session| {
            assert_eq!(session.unwrap().value, b"four");
            Change::Save(b"six".to_vec())
        })
        .unwrap();
    assert!(other.touch("old").unwrap() && other.contains("old").unwrap());
    assert!(other.set_deadline("old", Some(1 << 45)).unwrap());
    let session = container.load("new").unwrap().unwrap();
    assert_eq!((session.value, session.times.deadline_ms), (b"six".to_vec(), Some(1 << 45)));
    let all: HashSet<_> = container.iter().map(|item| item.unwrap().0).collect();
    assert_eq!(all, HashSet::from([container.kept_id("new").unwrap()]));
    // A logout by a request that still has the old cookie.
    assert!(other.remove("old").unwrap());
    assert!(!container.contains("new").unwrap() && !container.contains("old").unwrap());
    assert_eq!(other.replace("old", b"back?").unwrap(), Outcome::Conflict);
    assert!(container.is_empty().unwrap());
}

#[test]
fn after_its_grace_the_old_id_has_no_session_and_says_why() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick().timeouts(Timeouts::NONE.idle(HOUR)));
    let told = container.rotated("old").unwrap().unwrap();
    assert_eq!(told.to_kept_id, container.kept_id("new").unwrap());
    assert_eq!(told.until_ms - told.rotated_ms, 30_000);
    fixture.disk().set_now_ms(told.until_ms - 1);
    assert!(container.contains("old").unwrap());
    fixture.disk().set_now_ms(told.until_ms);
    assert!(!container.contains("old").unwrap());
    assert_eq!(container.rotated("old").unwrap(), Some(told.clone()));
    assert_eq!(container.rotated("new").unwrap(), None);
    assert_eq!(container.rotated("another").unwrap(), None);
    assert_eq!(container.replace("old", b"").unwrap(), Outcome::Conflict);
    assert!(!container.touch("old").unwrap() && !container.remove("old").unwrap());
    assert!(container.contains("new").unwrap());
}

#[test]
fn a_session_that_is_made_under_the_old_id_is_another_one() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    fixture.disk().advance(GRACE);
    container.save("old", b"a guest").unwrap();
    assert_eq!(value(&container, "old").as_deref(), Some(&b"a guest"[..]));
    assert_eq!(value(&container, "new").as_deref(), Some(&b"a cart"[..]));
    assert_eq!(container.rotated("old").unwrap(), None);
    assert_eq!(container.len().unwrap(), 2);
    assert_sound(&container);
}

#[test]
fn what_was_logged_out_is_not_made_again_under_the_new_id() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    container.remove("new").unwrap();
    // A save that asks for nothing makes a session, of the id that it names.
    container.save("old", b"a guest").unwrap();
    assert!(!container.contains("new").unwrap());
    assert_eq!(value(&container, "old").as_deref(), Some(&b"a guest"[..]));
}

#[test]
fn a_rotation_that_cannot_be_is_a_conflict_and_changes_nothing() {
    let fixture = Fixture::memory();
    let container = fixture.create(quick());
    container.save("one", b"1").unwrap();
    container.save("two", b"2").unwrap();
    let before: Vec<_> = ["one", "two"].map(|id| container.load(id).unwrap()).into();
    for (old, new) in [("nobody", "fresh"), ("one", "two"), ("one", "one"), ("nobody", "nobody")] {
        assert_eq!(container.rotate(old, new, GRACE).unwrap(), Outcome::Conflict, "{old} {new}");
    }
    assert_eq!(["one", "two"].map(|id| container.load(id).unwrap()).to_vec(), before);
    assert_eq!(container.len().unwrap(), 2);
    let long = [b'x'; 256];
    assert!(container.rotate("one", long, GRACE).is_err());
    assert!(container.rotate(long, "fresh", GRACE).is_err());
    assert!(container.rotate("one", "", GRACE).is_err());
    assert!(fixture.open_read_only(quick()).rotate("one", "fresh", GRACE).is_err());
}

#[test]
fn an_id_that_leads_to_a_session_is_taken() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    container.save("other", b"").unwrap();
    assert_eq!(container.rotate("other", "old", GRACE).unwrap(), Outcome::Conflict);
    fixture.disk().advance(GRACE);
    assert!(container.rotate("other", "old", GRACE).unwrap().saved().is_some());
    assert_eq!(value(&container, "old").as_deref(), Some(&b""[..]));
}

#[test]
fn logins_in_a_row_lead_from_each_id_to_the_last() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    container.save("id 0", b"a cart").unwrap();
    for number in 0..8 {
        // By the first id, which leads on.
        let next = format!("id {}", number + 1);
        assert!(container.rotate("id 0", next, GRACE).unwrap().saved().is_some(), "{number}");
    }
    for number in 0..9 {
        assert!(container.contains(format!("id {number}")).unwrap(), "{number}");
    }
    assert_eq!(container.len().unwrap(), 1);
    container.rotate("id 8", "id 9", GRACE).unwrap().saved().unwrap();
    assert!(!container.contains("id 0").unwrap(), "eight forwards are enough");
    assert!(container.contains("id 1").unwrap());
}

#[test]
fn a_session_that_goes_back_to_its_first_id_does_not_go_round() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    fixture.disk().advance(GRACE);
    container.rotate("new", "old", GRACE).unwrap().saved().unwrap();
    assert_eq!(container.load("old").unwrap(), container.load("new").unwrap());
    assert_eq!(container.rotated("old").unwrap(), None);
    fixture.disk().advance(GRACE);
    assert!(container.contains("old").unwrap() && !container.contains("new").unwrap());
}

#[test]
fn forwards_are_swept_and_shown_to_nobody() {
    let fixture = Fixture::simulated();
    let idle = Timeouts::NONE.idle(HOUR);
    let container = fixture.create(quick().timeouts(idle).sweep(SweepPolicy::OnRequest));
    for number in 0..20 {
        container.save(format!("old {number}"), b"a cart").unwrap();
        let new_id = format!("new {number}");
        container.rotate(format!("old {number}"), new_id, GRACE).unwrap().saved().unwrap();
    }
    fixture.disk().advance(HOUR / 2);
    for number in 0..20 {
        assert!(container.touch(format!("new {number}")).unwrap());
    }
    fixture.disk().advance(HOUR / 2 + Duration::from_secs(2));
    let mut shown = 0;
    let swept = container.sweep_with(u64::MAX, |_, _| {
        shown += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((swept.unwrap().removed, shown), (20, 0));
    assert_eq!(container.len().unwrap(), 20);
    assert_eq!(container.check().unwrap().forwards, 0);
}

#[test]
fn the_forward_of_a_session_without_a_deadline_goes_after_a_day() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick().sweep(SweepPolicy::OnRequest));
    fixture.disk().advance(Duration::from_secs(86_400) + GRACE);
    assert_eq!(container.rotated("old").unwrap(), None);
    fixture.disk().advance(Duration::from_secs(2));
    assert_eq!(container.sweep(u64::MAX).unwrap().removed, 1);
    assert_eq!(container.len().unwrap(), 1);
    assert!(container.contains("new").unwrap());
}

#[test]
fn a_guard_asked_for_by_the_old_id_is_one_of_the_session() {
    let fixture = Fixture::file();
    let container = rotated(&fixture, quick());
    let request = container.guard("old", Duration::ZERO).unwrap();
    assert!(container.guard("new", Duration::ZERO).is_err());
    assert!(container.guard("old", Duration::ZERO).is_err());
    drop(request);
    let request = container.guard("new", Duration::ZERO).unwrap();
    assert!(container.guard("old", Duration::ZERO).is_err());
    drop(request);
}

#[test]
fn who_waits_for_a_guard_while_the_session_is_rotated_guards_where_it_went() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("old", b"a cart").unwrap();
    let request = container.guard("old", Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| container.guard("old", Duration::from_secs(20)).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        container.rotate("old", "new", GRACE).unwrap().saved().unwrap();
        drop(request);
        let guard = waiting.join().unwrap();
        assert!(container.guard("new", Duration::ZERO).is_err());
        drop(guard);
    });
}

#[test]
fn of_many_logins_at_once_none_loses_the_session() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("old", &0u32.to_le_bytes()).unwrap();
    let counted = |id: &str| {
        container.update(id, |session| {
            let bytes: [u8; 4] = session.expect("it lives").value.try_into().unwrap();
            Change::Save((u32::from_le_bytes(bytes) + 1).to_le_bytes().to_vec())
        })
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (container, counted) = (&container, &counted);
            scope.spawn(move || {
                for number in 0..2 {
                    counted("old").unwrap();
                    let new_id = format!("new {thread} {number}");
                    let login = container.rotate("old", &new_id, HOUR).unwrap();
                    assert!(login.saved().is_some(), "{new_id}");
                    counted(&new_id).unwrap();
                }
            });
        }
    });
    let last = container.load("old").unwrap().expect("eight forwards lead to it");
    assert_eq!(last.value, 16u32.to_le_bytes());
    assert_eq!(container.len().unwrap(), 1);
    assert_eq!(container.check().unwrap().forwards, 8);
}
