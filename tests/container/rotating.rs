//! Sessions that go on under another id, and what the old one still leads to.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloakroom::storage::simulated::{Call, Operation, Verdict};
use cloakroom::{
    ByteContainer, Change, Durability, ErrorKind, IdForm, Options, Outcome, Properties,
    SweepPolicy, Timeouts, Times, Updated,
};

use crate::fixture::{Fixture, quick, refusal};

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

/// Else whoever loads a session by the old id, and saves it after the grace, would bring back
/// under it what the login was to keep from whoever knows it.
#[test]
fn an_id_that_was_given_up_has_no_session_as_long_as_that_is_remembered() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick().timeouts(Timeouts::NONE.idle(HOUR)));
    let logged_in = value(&container, "old").unwrap();
    fixture.disk().advance(GRACE);
    let saved = refusal(container.save("old", &logged_in));
    assert!(matches!(saved, ErrorKind::Rotated), "{saved:?}");
    let saves = |session: Option<cloakroom::Session<&[u8]>>| {
        assert!(session.is_none());
        Change::Save(logged_in.clone())
    };
    let updated = refusal(container.update("old", saves));
    assert!(matches!(updated, ErrorKind::Rotated), "{updated:?}");
    assert_eq!(container.update("old", |_| Change::Keep).unwrap(), Updated::Kept);
    assert_eq!(container.create_session("old", b"").unwrap(), Outcome::Conflict);
    assert_eq!(container.rotate("new", "old", GRACE).unwrap(), Outcome::Conflict);
    assert!(!container.contains("old").unwrap() && container.contains("new").unwrap());
    fixture.disk().advance(HOUR);
    container.save("old", b"a guest").unwrap();
    assert_eq!(value(&container, "old").as_deref(), Some(&b"a guest"[..]));
}

#[test]
fn a_removal_or_a_restored_session_ends_what_an_id_remembers() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    fixture.disk().advance(GRACE);
    container.restore("old", b"a hat", Times::default(), &Properties::new()).unwrap();
    assert_eq!(value(&container, "old").as_deref(), Some(&b"a hat"[..]));
    assert_eq!(value(&container, "new").as_deref(), Some(&b"a cart"[..]));
    assert_eq!((container.rotated("old").unwrap(), container.len().unwrap()), (None, 2));
    container.rotate("old", "newer", Duration::ZERO).unwrap().saved().unwrap();
    assert!(!container.remove("old").unwrap(), "there was no session");
    container.save("old", b"a guest").unwrap();
    assert_eq!(container.len().unwrap(), 3);
}

#[test]
fn what_was_logged_out_is_not_made_again_by_the_old_id() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    container.remove("new").unwrap();
    assert!(container.save("old", b"a cart").is_err());
    assert!(!container.contains("new").unwrap() && !container.contains("old").unwrap());
}

/// Who knew the old id must not take the session with him.
#[test]
fn a_session_is_rotated_by_its_own_id_only() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick());
    assert_eq!(container.rotate("old", "stolen", GRACE).unwrap(), Outcome::Conflict);
    assert!(!container.contains("stolen").unwrap());
    fixture.disk().advance(GRACE);
    assert!(container.contains("new").unwrap());
}

#[test]
fn a_clock_that_is_set_back_opens_no_old_id_again() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    container.save("old", b"a cart").unwrap();
    container.rotate("old", "new", Duration::ZERO).unwrap().saved().unwrap();
    let rotated_ms = container.rotated("old").unwrap().unwrap().rotated_ms;
    for back_ms in [1, 1000, 3_600_000] {
        fixture.disk().set_now_ms(rotated_ms - back_ms);
        assert!(!container.contains("old").unwrap(), "{back_ms}");
        assert!(!container.touch("old").unwrap(), "{back_ms}");
    }
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
fn logins_in_a_row_lead_from_each_id_to_the_last() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    container.save("id 0", b"a cart").unwrap();
    for number in 0..8 {
        let (old, new) = (format!("id {number}"), format!("id {}", number + 1));
        assert!(container.rotate(old, new, GRACE).unwrap().saved().is_some(), "{number}");
    }
    for number in 0..9 {
        assert!(container.contains(format!("id {number}")).unwrap(), "{number}");
    }
    assert_eq!(container.len().unwrap(), 1);
    container.rotate("id 8", "id 9", GRACE).unwrap().saved().unwrap();
    assert!(!container.contains("id 0").unwrap(), "eight forwards are enough");
    assert!(container.contains("id 1").unwrap());
    assert!(container.save("id 0", b"again").is_err());
}

#[test]
fn a_walk_gives_a_session_that_goes_where_it_has_been() {
    let fixture = Fixture::simulated();
    let container = fixture.create(quick());
    for number in 0..2000 {
        container.save(format!("old {number}"), b"a cart").unwrap();
    }
    fixture.disk().advance(Duration::from_millis(5));
    let mut seen = HashSet::new();
    for (number, item) in container.iter().enumerate() {
        let (kept_id, _) = item.unwrap();
        seen.insert(kept_id);
        if number == 900 {
            fixture.disk().advance(Duration::from_millis(5));
            for number in 0..2000 {
                let (old, new) = (format!("old {number}"), format!("new {number}"));
                container.rotate(old, new, GRACE).unwrap().saved().unwrap();
            }
        }
    }
    for number in 0..2000 {
        let ids = ["old", "new"].map(|name| format!("{name} {number}"));
        let given = |id: &String| seen.contains(&container.kept_id(id).unwrap());
        assert!(ids.iter().any(given), "{number}");
    }
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
fn a_forward_goes_a_day_after_its_grace_though_its_session_has_no_deadline() {
    let fixture = Fixture::simulated();
    let container = rotated(&fixture, quick().sweep(SweepPolicy::OnRequest));
    container.sync().unwrap();
    trim(&container);
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
fn who_rotates_a_session_under_guard_keeps_off_those_with_the_old_id() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("old", b"a cart").unwrap();
    let request = container.guard("old", Duration::ZERO).unwrap();
    container.rotate("old", "new", GRACE).unwrap().saved().unwrap();
    assert!(container.guard("old", Duration::ZERO).is_err());
    drop(request);
    assert!(container.guard("old", Duration::ZERO).is_ok());
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
fn of_many_logins_at_once_one_has_the_session() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let counted = |id: &str| {
        container.update(id, |session| {
            let bytes: [u8; 4] = session.expect("it lives").value.try_into().unwrap();
            Change::Save((u32::from_le_bytes(bytes) + 1).to_le_bytes().to_vec())
        })
    };
    for round in 0..10 {
        let old = format!("old {round}");
        container.save(&old, &0u32.to_le_bytes()).unwrap();
        let logins = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (container, counted, old, logins) = (&container, &counted, &old, &logins);
                scope.spawn(move || {
                    counted(old).unwrap();
                    let new_id = format!("new {round} {thread}");
                    if container.rotate(old, &new_id, HOUR).unwrap().saved().is_some() {
                        logins.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(!container.contains(&new_id).unwrap(), "a copy is left");
                    }
                    counted(old).unwrap();
                });
            }
        });
        assert_eq!(logins.into_inner(), 1);
        let last = container.load(&old).unwrap().expect("it leads to it");
        assert_eq!(last.value, 8u32.to_le_bytes());
    }
    assert_eq!(container.len().unwrap(), 10);
    assert_eq!(container.check().unwrap().forwards, 10);
}

/// The sync of a durable rotation fails when all is published: the error is told, and the session
/// is not lost.
#[test]
fn a_rotation_that_is_told_to_have_failed_loses_no_session() {
    for durability in [Durability::Durable, Durability::Never] {
        for failing in 0..4 {
            let fixture = Fixture::simulated();
            let container = fixture.create(Options::new().durability(durability));
            container.save("old", b"a cart").unwrap();
            container.sync().unwrap();
            let syncs = Arc::new(AtomicU32::new(0));
            let disk = fixture.disk().clone();
            fixture.disk().set_hook(Some(Arc::new(move |call: &Call| {
                let begins = call.operation == Operation::SyncBegin;
                if begins && syncs.fetch_add(1, Ordering::Relaxed) == failing {
                    disk.fail_syncs(1);
                }
                Verdict::Proceed
            })));
            let told = container.rotate("old", "new", GRACE);
            fixture.disk().set_hook(None);
            let by_new = value(&container, "new");
            assert_eq!(value(&container, "old").as_deref(), Some(&b"a cart"[..]), "{told:?}");
            if container.rotated("old").unwrap().is_some() {
                assert_eq!(by_new.as_deref(), Some(&b"a cart"[..]), "{told:?}");
            } else {
                assert!(told.is_err(), "there may be a copy, of which nobody was told");
            }
        }
    }
}

/// Has every line of the index trimmed: by saves of classes that have no block with room yet.
fn trim(container: &ByteContainer) {
    for len in [900, 1100, 1300, 1700, 2100, 2600, 3300, 4100] {
        container.save(format!("of {len} bytes"), &vec![1; len]).unwrap();
        container.remove(format!("of {len} bytes")).unwrap();
    }
}
