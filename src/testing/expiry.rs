//! Deadlines: which one a session has, and that nothing shows it from then on.
//!
//! Times are compared with the clock that was read before and after an operation, so a slow
//! machine makes no check fail; what needs a deadline that has passed restores one.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::expect::{Verdict, Went, absent, demand, equal, loaded, lost, won};
use super::opening::Opening;
use super::operations::walked;
use super::stage::{Check, Stage};
use crate::session::SessionManager;
use crate::storage::wall_clock_ms;
use crate::{Change, Properties, Session, SweepPolicy, Timeouts, Times, Updated, Version};

pub(super) const CHECKS: &[Check] = &[
    Check::new("expiry: a load gives a session until its deadline, to the millisecond", on_time),
    Check::new("expiry: load does not show an expired session", loads_none),
    Check::new("expiry: replace does not revive an expired session", replaces_none),
    Check::new("expiry: save_if does not revive an expired session", saves_none),
    Check::new("expiry: update does not show an expired session", updates_none),
    Check::new("expiry: touch does not revive an expired session", touches_none),
    Check::new("expiry: remove of an expired session says that none lived", removes_none),
    Check::new("expiry: walk does not show an expired session", walks_none),
    Check::new("expiry: a save begins an expired session anew", begins_anew),
    Check::new("expiry: the manager's timeouts make the deadline", of_the_manager),
    Check::new("expiry: timeouts of its own take their place", of_its_own),
    Check::new("expiry: an absolute timeout is not moved", absolute),
    Check::new("expiry: a touch moves the deadline where it is due", touches),
    Check::new("expiry: deadlines of restored sessions are kept", restored),
];

const MINUTE_MS: u64 = 60_000;
/// The latest time that is kept.
const LATEST_MS: u64 = (1 << 48) - 1;

fn minutes(minutes: u64) -> Duration {
    Duration::from_millis(minutes * MINUTE_MS)
}

fn own(timeouts: Timeouts) -> Properties {
    Properties::new().timeouts(timeouts)
}

/// A session as it is to be restored.
pub(super) fn past(value: Value, deadline_ms: Option<u64>) -> Session<Value> {
    let now_ms = wall_clock_ms();
    let times = Times { created_ms: now_ms - MINUTE_MS, saved_ms: now_ms - MINUTE_MS, deadline_ms };
    let properties = Properties::new();
    Session { value, version: Version::from_bytes([0; 16]), times, properties }
}

pub(super) fn restore(
    sessions: &dyn SessionManager,
    id: &str,
    session: &Session<Value>,
) -> Verdict<String> {
    let kept_id = sessions.kept_id(id).went("kept_id")?;
    sessions.restore(&kept_id, session).went("restore")?;
    Ok(kept_id)
}

fn wait_until(deadline_ms: u64) {
    while let Some(rest @ 1..) = (deadline_ms + 1).checked_sub(wall_clock_ms()) {
        thread::sleep(Duration::from_millis(rest));
    }
}

/// A manager that has a session "ticket" whose time is over, with the version that it had.
fn expired(stage: &Stage) -> Verdict<(Box<dyn SessionManager>, Version)> {
    let sessions = stage.open();
    let brief = own(Timeouts::NONE.idle(Duration::from_millis(20)));
    let version = sessions.save("ticket", &json!("old"), Some(&brief)).went("save")?;
    wait_until(wall_clock_ms() + 20);
    Ok((sessions, version))
}

fn on_time(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let brief = own(Timeouts::NONE.idle(Duration::from_millis(60)));
    for round in 0..3 {
        let before_ms = wall_clock_ms();
        sessions.save("ticket", &json!(round), Some(&brief)).went("save")?;
        let deadlines = before_ms + 60..=wall_clock_ms() + 60;
        loop {
            let before_ms = wall_clock_ms();
            let found = sessions.load("ticket").went("load")?;
            let after_ms = wall_clock_ms();
            match found {
                Some(session) => {
                    let deadline_ms = session.times.deadline_ms.unwrap_or(0);
                    demand!(
                        deadlines.contains(&deadline_ms),
                        "deadline_ms: expected {deadlines:?}, found {deadline_ms}"
                    );
                    demand!(
                        before_ms < deadline_ms,
                        "load: expected no session from {deadline_ms} on, found it at {before_ms}"
                    );
                }
                None => {
                    let first_ms = *deadlines.start();
                    demand!(
                        after_ms >= first_ms,
                        "load: expected a session until {first_ms}, found none at {after_ms}"
                    );
                }
            }
            if before_ms > deadlines.end() + 5 {
                break;
            }
            thread::sleep(Duration::from_micros(300));
        }
    }
    Ok(())
}

fn loads_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    absent(&*sessions, "ticket", "of an expired session")
}

fn replaces_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    lost(sessions.replace("ticket", &json!("new")), "replace of an expired session")?;
    absent(&*sessions, "ticket", "after replace of an expired session")
}

fn saves_none(stage: &Stage) -> Verdict {
    let (sessions, version) = expired(stage)?;
    let outcome = sessions.save_if("ticket", version, &json!("new"));
    lost(outcome, "save_if of an expired session")?;
    absent(&*sessions, "ticket", "after save_if of an expired session")
}

fn updates_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    let mut seen = None;
    let look = &mut |session| {
        seen = session;
        Change::Keep
    };
    equal("update", sessions.update("ticket", look).went("update")?, Updated::Kept)?;
    equal("what update shows of an expired session", seen, None)
}

fn touches_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    let touched = sessions.touch("ticket").went("touch")?;
    absent(&*sessions, "ticket", "after touch of an expired session")?;
    equal("touch of an expired session", touched, false)
}

fn removes_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    let removed = sessions.remove("ticket").went("remove")?;
    equal("remove of an expired session", removed, false)
}

fn walks_none(stage: &Stage) -> Verdict {
    let (sessions, _) = expired(stage)?;
    sessions.save("another", &json!(1), None).went("save")?;
    restore(&*sessions, "restored", &past(json!(2), Some(wall_clock_ms() - 1)))?;
    let all: Vec<String> = walked(&*sessions)?.into_keys().collect();
    let kept_id = sessions.kept_id("another").went("kept_id")?;
    equal("walk where one lives and two have expired", all, vec![kept_id])
}

fn begins_anew(stage: &Stage) -> Verdict {
    for operation in ["create", "save", "update"] {
        let (sessions, _) = expired(stage)?;
        let before_ms = wall_clock_ms();
        let (what, value) = (format!("{operation} of an expired session"), json!("new"));
        match operation {
            "create" => drop(won(sessions.create("ticket", &value, None), &what)?),
            "save" => drop(sessions.save("ticket", &value, None).went(&what)?),
            _ => drop(sessions.update("ticket", &mut |_| Change::Save(value.clone())).went(&what)?),
        }
        let session = loaded(&*sessions, "ticket", format_args!("after {what}"))?;
        equal(format_args!("value after {what}"), &session.value, &value)?;
        equal(format_args!("properties after {what}"), &session.properties, &Properties::new())?;
        let Times { created_ms, deadline_ms, .. } = session.times;
        equal(format_args!("deadline_ms after {what}"), deadline_ms, None)?;
        demand!(
            created_ms >= before_ms,
            "created_ms after {what}: expected {before_ms} or later, found {created_ms}"
        );
    }
    Ok(())
}

fn of_the_manager(stage: &Stage) -> Verdict {
    let idle = Opening { timeouts: Timeouts::NONE.idle(minutes(10)), ..Opening::new() };
    let sessions = stage.open_as(&idle);
    won(sessions.create("ticket", &json!(1), None), "create")?;
    let mut last_ms = 0;
    for after in ["create", "replace", "save", "update"] {
        match after {
            "create" => {}
            "replace" => drop(won(sessions.replace("ticket", &json!(2)), after)?),
            "save" => drop(sessions.save("ticket", &json!(3), None).went(after)?),
            _ => drop(sessions.update("ticket", &mut |_| Change::Save(json!(4))).went(after)?),
        }
        let times = loaded(&*sessions, "ticket", format_args!("after {after}"))?.times;
        let what = format!("deadline_ms after {after} with 10 minutes idle");
        // Another operation may have read a clock that was ahead.
        let deadline_ms = (times.saved_ms + 10 * MINUTE_MS).max(last_ms);
        equal(what, times.deadline_ms, Some(deadline_ms))?;
        last_ms = deadline_ms;
        thread::sleep(Duration::from_millis(3));
    }
    // It moves to a later time only.
    let late_ms = wall_clock_ms() + 60 * MINUTE_MS;
    restore(&*sessions, "late", &past(json!(1), Some(late_ms)))?;
    won(sessions.replace("late", &json!(2)), "replace")?;
    let deadline_ms = loaded(&*sessions, "late", "after replace")?.times.deadline_ms;
    equal("deadline_ms that was later than the idle time", deadline_ms, Some(late_ms))
}

fn of_its_own(stage: &Stage) -> Verdict {
    let both = Timeouts::NONE.idle(minutes(10)).absolute(minutes(60));
    let sessions = stage.open_as(&Opening { timeouts: both, ..Opening::new() });
    let remembered = own(Timeouts::NONE.idle(minutes(500)));
    let for_ever = own(Timeouts::NONE);
    let brief = own(Timeouts::NONE.idle(minutes(10)));
    for (given, minutes, what) in [
        (Some(&remembered), 500, "with 500 minutes of its own"),
        (None, 500, "without properties, the session having 500 minutes of its own"),
        (Some(&brief), 10, "with 10 minutes of its own, after 500"),
        (Some(&Properties::new()), 10, "with none of its own, after 10"),
    ] {
        sessions.save("ticket", &json!(1), given).went("save")?;
        let times = loaded(&*sessions, "ticket", format_args!("after a save {what}"))?.times;
        let expected_ms = times.saved_ms + minutes * MINUTE_MS;
        let what = format!("deadline_ms after a save {what}");
        equal(what, times.deadline_ms, Some(expected_ms))?;
    }
    sessions.save("ticket", &json!(2), Some(&for_ever)).went("save")?;
    sessions.save("ticket", &json!(3), None).went("save")?;
    let deadline_ms = loaded(&*sessions, "ticket", "after saves")?.times.deadline_ms;
    equal(
        "deadline_ms of a session that has its own timeouts, and they are none",
        deadline_ms,
        None,
    )
}

fn absolute(stage: &Stage) -> Verdict {
    let both = Timeouts::NONE.idle(minutes(10)).absolute(minutes(15));
    let sessions = stage.open_as(&Opening { timeouts: both, ..Opening::new() });
    for operation in ["save", "replace", "update", "touch"] {
        let now_ms = wall_clock_ms();
        let mut session = past(json!(1), Some(now_ms + MINUTE_MS));
        session.times.created_ms = now_ms - 10 * MINUTE_MS;
        restore(&*sessions, "ticket", &session)?;
        match operation {
            "save" => drop(sessions.save("ticket", &json!(2), None).went(operation)?),
            "replace" => drop(won(sessions.replace("ticket", &json!(2)), operation)?),
            "touch" => drop(sessions.touch("ticket").went(operation)?),
            _ => drop(sessions.update("ticket", &mut |_| Change::Save(json!(2))).went(operation)?),
        }
        let times = loaded(&*sessions, "ticket", format_args!("after {operation}"))?.times;
        let what = format!("deadline_ms after {operation} 10 minutes into 15");
        equal(what, times.deadline_ms, Some(session.times.created_ms + 15 * MINUTE_MS))?;
    }
    let brief = own(Timeouts::NONE.idle(minutes(1)).absolute(Duration::from_millis(30)));
    sessions.save("brief", &json!(1), Some(&brief)).went("save")?;
    let begun_ms = wall_clock_ms();
    while wall_clock_ms() <= begun_ms + 30 {
        // Whoever comes too late for it finds it gone, which is as it should be.
        let _ = sessions.replace("brief", &json!(2)).went("replace")?;
        let _ = sessions.touch("brief").went("touch")?;
        thread::sleep(Duration::from_millis(5));
    }
    absent(&*sessions, "brief", "after its absolute timeout, though it was used all the time")
}

fn touches(stage: &Stage) -> Verdict {
    let timeouts = Timeouts::NONE.idle(minutes(10));
    let sessions = stage.open_as(&Opening { timeouts, ..Opening::new() });
    for (id, left, what) in [
        ("long", 9, "9 of 10 minutes are left, with 80 %"),
        ("due", 7, "7 of 10 minutes are left, with 80 %"),
    ] {
        let before_ms = wall_clock_ms();
        let session = past(json!(id), Some(before_ms + left * MINUTE_MS));
        restore(&*sessions, id, &session)?;
        equal("touch", sessions.touch(id).went("touch")?, true)?;
        let now = loaded(&*sessions, id, "after touch")?;
        equal("value after touch", &now.value, &session.value)?;
        equal("saved_ms after touch", now.times.saved_ms, session.times.saved_ms)?;
        let found_ms = now.times.deadline_ms.unwrap_or(0);
        let expected = match id {
            "long" => before_ms + left * MINUTE_MS..=before_ms + left * MINUTE_MS,
            _ => before_ms + 10 * MINUTE_MS..=wall_clock_ms() + 10 * MINUTE_MS,
        };
        demand!(
            expected.contains(&found_ms),
            "deadline_ms after touch where {what}: expected {expected:?}, found {found_ms}"
        );
    }
    drop(sessions);
    let always = Opening { timeouts, touch_percent: 100, ..Opening::new() };
    let sessions = stage.open_as(&always);
    sessions.save("ticket", &json!(1), None).went("save")?;
    let first_ms = loaded(&*sessions, "ticket", "after save")?.times.deadline_ms;
    thread::sleep(Duration::from_millis(5));
    equal("touch", sessions.touch("ticket").went("touch")?, true)?;
    let next_ms = loaded(&*sessions, "ticket", "after touch")?.times.deadline_ms;
    demand!(
        next_ms > first_ms,
        "deadline_ms after touch, with 100 %: expected later than {first_ms:?}, found {next_ms:?}"
    );
    Ok(())
}

fn restored(stage: &Stage) -> Verdict {
    let opening = Opening { sweep: SweepPolicy::OnRequest, ..Opening::new() };
    let sessions = stage.open_as(&opening);
    let soon_ms = wall_clock_ms() + 40;
    for (deadline_ms, lives) in [
        (Some(0), false),
        (Some(1), false),
        (Some(wall_clock_ms() - 1), false),
        (Some(wall_clock_ms() + MINUTE_MS), true),
        (Some(LATEST_MS), true),
        (Some(u64::MAX), true),
        (None, true),
    ] {
        // What is there already is replaced, whether it had expired or not.
        let when = format!("of one restored with deadline {deadline_ms:?}");
        restore(&*sessions, "ticket", &past(json!(1), deadline_ms))?;
        equal(format_args!("len {when}"), sessions.len().went("len")?, 1)?;
        if lives {
            let times = loaded(&*sessions, "ticket", &when)?.times;
            let kept_ms = deadline_ms.map(|ms| ms.min(LATEST_MS));
            equal(format_args!("deadline_ms {when}"), times.deadline_ms, kept_ms)?;
            won(sessions.replace("ticket", &json!(2)), format_args!("replace {when}"))?;
        } else {
            absent(&*sessions, "ticket", &when)?;
            lost(sessions.replace("ticket", &json!(2)), format_args!("replace {when}"))?;
            equal(format_args!("touch {when}"), sessions.touch("ticket").went("touch")?, false)?;
        }
    }
    restore(&*sessions, "soon", &past(json!(1), Some(soon_ms)))?;
    wait_until(soon_ms);
    absent(&*sessions, "soon", "of one restored with a deadline that has passed since")
}
