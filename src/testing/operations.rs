//! What each operation means where nothing comes in between.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};

use super::expect::{Verdict, Went, absent, demand, equal, loaded, lost, refused, shown, won};
use super::stage::{Check, Stage};
use crate::format::IdForm;
use crate::format::id::NO_DIGITS;
use crate::session::{Capability, SessionManager};
use crate::storage::wall_clock_ms;
use crate::{Change, ErrorKind, Properties, Session, Times, Updated, Version};

pub(super) const CHECKS: &[Check] = &[
    Check::new("operations: a load gives what was saved", saves),
    Check::new("operations: a save keeps the time of creation", keeps_creation),
    Check::new("operations: create takes a free id only", creates),
    Check::new("operations: replace needs a session", replaces),
    Check::new("operations: save_if needs the very version", saves_if),
    Check::new("operations: update saves, removes and keeps", updates),
    Check::new("operations: remove says whether one lived", removes),
    Check::new("operations: touch leaves value and version", touches),
    Check::new("operations: versions never repeat", versions),
    Check::new("operations: walk, len and is_empty agree", walks),
    Check::new("operations: a restored session is as it was", restores),
    Check::new("operations: kept_id is the id or its hash", kept_ids),
    Check::new("operations: a guard is refused where there are none", no_guards),
    Check::new("operations: a rotation is refused where there are none", no_rotation),
    Check::new("operations: loads of nobody are counted", misses),
    Check::new("operations: sync and close say that all is well", closes),
    Check::new("operations: what was closed is there again", reopens).needs(&[Capability::Kills]),
];

fn saves(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    absent(&*sessions, "ticket", "before any save")?;
    let before_ms = wall_clock_ms();
    let version = sessions.save("ticket", &json!({ "coats": 1 }), None).went("save")?;
    let after_ms = wall_clock_ms();
    let session = loaded(&*sessions, "ticket", "after save")?;
    equal("value after save", &session.value, &json!({ "coats": 1 }))?;
    equal("version after save", session.version, version)?;
    equal("properties after save", &session.properties, &Properties::new())?;
    let Times { created_ms, saved_ms, deadline_ms } = session.times;
    demand!(
        (before_ms..=after_ms).contains(&saved_ms),
        "saved_ms after save: expected {before_ms} to {after_ms}, found {saved_ms}"
    );
    equal("created_ms after the first save", created_ms, saved_ms)?;
    equal("deadline_ms without timeouts", deadline_ms, None)?;
    absent(&*sessions, "another", "of another id")?;
    let next = sessions.save("ticket", &json!([2]), None).went("second save")?;
    let session = loaded(&*sessions, "ticket", "after the second save")?;
    equal("value after the second save", &session.value, &json!([2]))?;
    equal("version after the second save", session.version, next)?;
    equal("a second load", loaded(&*sessions, "ticket", "again")?, session)
}

fn keeps_creation(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut version = sessions.save("ticket", &json!(0), None).went("save")?;
    let created_ms = loaded(&*sessions, "ticket", "after save")?.times.created_ms;
    for operation in ["save", "replace", "save_if", "update"] {
        std::thread::sleep(Duration::from_millis(2));
        let (before_ms, value) = (wall_clock_ms(), json!(operation));
        version = match operation {
            "save" => sessions.save("ticket", &value, None).went(operation)?,
            "replace" => won(sessions.replace("ticket", &value), operation)?,
            "save_if" => won(sessions.save_if("ticket", version, &value), operation)?,
            _ => updated(&*sessions, "ticket", &value)?,
        };
        let session = loaded(&*sessions, "ticket", format_args!("after {operation}"))?;
        equal(format_args!("value after {operation}"), &session.value, &value)?;
        equal(format_args!("version after {operation}"), session.version, version)?;
        let times = session.times;
        equal(format_args!("created_ms after {operation}"), times.created_ms, created_ms)?;
        demand!(
            times.saved_ms >= before_ms,
            "saved_ms after {operation}: expected {before_ms} or more, found {}",
            times.saved_ms
        );
    }
    sessions.remove("ticket").went("remove")?;
    sessions.save("ticket", &json!(1), None).went("save after remove")?;
    let again_ms = loaded(&*sessions, "ticket", "of a new life")?.times.created_ms;
    demand!(
        again_ms > created_ms,
        "created_ms of a new life: expected more than {created_ms}, found {again_ms}"
    );
    Ok(())
}

/// The version of an update that saves.
fn updated(sessions: &dyn SessionManager, id: &str, value: &Value) -> Verdict<Version> {
    match sessions.update(id, &mut |_| Change::Save(value.clone())).went("update")? {
        Updated::Saved(version) => Ok(version),
        other => Err(format!("update that saves: expected Saved, found {other:?}")),
    }
}

fn creates(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let version = won(sessions.create("ticket", &json!(1), None), "create of a free id")?;
    let first = loaded(&*sessions, "ticket", "after create")?;
    equal("version after create", first.version, version)?;
    lost(sessions.create("ticket", &json!(2), None), "create of an id that is taken")?;
    let now = loaded(&*sessions, "ticket", "after a create that was refused")?;
    equal("the session after a create that was refused", now, first)?;
    sessions.remove("ticket").went("remove")?;
    won(sessions.create("ticket", &json!(3), None), "create after remove")?;
    equal("value", loaded(&*sessions, "ticket", "after create")?.value, json!(3))
}

fn replaces(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    lost(sessions.replace("ticket", &json!(1)), "replace of what is not there")?;
    absent(&*sessions, "ticket", "after a replace that was refused")?;
    sessions.save("ticket", &json!(2), None).went("save")?;
    let version = won(sessions.replace("ticket", &json!(3)), "replace")?;
    let session = loaded(&*sessions, "ticket", "after replace")?;
    equal("session after replace", (session.version, session.value), (version, json!(3)))
}

fn saves_if(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let first = sessions.save("ticket", &json!(1), None).went("save")?;
    let foreign = sessions.save("another", &json!(1), None).went("save")?;
    let second = won(sessions.save_if("ticket", first, &json!(2)), "save_if of this version")?;
    let session = loaded(&*sessions, "ticket", "after save_if")?;
    equal("version after save_if", session.version, second)?;
    equal("value after save_if", &session.value, &json!(2))?;
    let made_up = Version::from_bytes([7; 16]);
    for (version, whose) in
        [(first, "an old version"), (foreign, "another's version"), (made_up, "no version")]
    {
        let outcome = sessions.save_if("ticket", version, &json!(3));
        lost(outcome, format_args!("save_if of {whose}"))?;
        let now = loaded(&*sessions, "ticket", format_args!("after a save_if of {whose}"))?;
        equal(format_args!("the session after a save_if of {whose}"), &now, &session)?;
    }
    lost(sessions.save_if("absent", second, &json!(3)), "save_if of what is not there")?;
    absent(&*sessions, "absent", "after a save_if that was refused")
}

fn updates(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut seen = None;
    let done = sessions.update("ticket", &mut |session| {
        seen = session;
        Change::Save(json!(1))
    });
    let Updated::Saved(version) = done.went("update of what is not there")? else {
        return Err("update that saves: expected Saved, found something else".to_owned());
    };
    equal("what update shows where there is none", &seen, &None)?;
    let session = loaded(&*sessions, "ticket", "after an update that saves")?;
    equal("version after update", session.version, version)?;
    equal("value after update", &session.value, &json!(1))?;
    let kept = sessions.update("ticket", &mut |session| {
        seen = session;
        Change::Keep
    });
    equal("update that keeps", kept.went("update that keeps")?, Updated::Kept)?;
    equal("what update shows", seen.as_ref(), Some(&session))?;
    let now = loaded(&*sessions, "ticket", "after an update that keeps")?;
    equal("the session after an update that keeps", now, session)?;
    for when in ["there is one", "there is none"] {
        let removed = sessions.update("ticket", &mut |_| Change::Remove).went("update")?;
        equal(format_args!("update that removes where {when}"), removed, Updated::Removed)?;
        absent(&*sessions, "ticket", "after an update that removes")?;
    }
    let kept = sessions.update("ticket", &mut |_| Change::Keep).went("update")?;
    equal("update that keeps nothing", kept, Updated::Kept)?;
    absent(&*sessions, "ticket", "after an update that keeps nothing")
}

fn removes(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    equal("remove of what never was", sessions.remove("ticket").went("remove")?, false)?;
    sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.save("another", &json!(2), None).went("save")?;
    equal("remove", sessions.remove("ticket").went("remove")?, true)?;
    absent(&*sessions, "ticket", "after remove")?;
    equal("remove of what was removed", sessions.remove("ticket").went("remove")?, false)?;
    equal("value of another", loaded(&*sessions, "another", "of another")?.value, json!(2))
}

fn touches(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    equal("touch of what never was", sessions.touch("ticket").went("touch")?, false)?;
    absent(&*sessions, "ticket", "after a touch of what never was")?;
    sessions.save("ticket", &json!(1), None).went("save")?;
    let session = loaded(&*sessions, "ticket", "after save")?;
    equal("touch", sessions.touch("ticket").went("touch")?, true)?;
    equal("the session after touch", &loaded(&*sessions, "ticket", "after touch")?, &session)?;
    won(sessions.save_if("ticket", session.version, &json!(2)), "save_if after touch")?;
    Ok(())
}

fn versions(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut seen = HashSet::new();
    let mut is_new = |version: Version, operation: &str| {
        demand!(
            seen.insert(version),
            "{operation}: expected a version that the id never had, found {version} again"
        );
        Ok(version)
    };
    for round in 0..50 {
        // Now and then the same value, which is another version all the same.
        let value = json!(round / 2);
        let made = won(sessions.create("ticket", &value, None), "create")?;
        is_new(made, "create")?;
        is_new(sessions.save("ticket", &value, None).went("save")?, "save")?;
        let replaced = is_new(won(sessions.replace("ticket", &value), "replace")?, "replace")?;
        let saved = won(sessions.save_if("ticket", replaced, &value), "save_if")?;
        is_new(saved, "save_if")?;
        is_new(updated(&*sessions, "ticket", &value)?, "update")?;
        let session = loaded(&*sessions, "ticket", "after update")?;
        let kept_id = sessions.kept_id("ticket").went("kept_id")?;
        sessions.restore(&kept_id, &session).went("restore")?;
        is_new(loaded(&*sessions, "ticket", "after restore")?.version, "restore")?;
        sessions.remove("ticket").went("remove")?;
    }
    Ok(())
}

fn walks(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    equal("is_empty at first", sessions.is_empty().went("is_empty")?, true)?;
    equal("len at first", sessions.len().went("len")?, 0)?;
    let mut there = BTreeMap::new();
    for number in 0..20 {
        let id = format!("ticket {number}");
        sessions.save(&id, &json!(number), None).went("save")?;
        let kept_id = sessions.kept_id(&id).went("kept_id")?;
        there.insert(kept_id, loaded(&*sessions, &id, "after save")?);
        equal("len after a save", sessions.len().went("len")?, number + 1)?;
    }
    equal("is_empty with sessions", sessions.is_empty().went("is_empty")?, false)?;
    equal("walk", walked(&*sessions)?, there.clone())?;
    sessions.save("ticket 7", &json!("again"), None).went("save")?;
    equal("len after a save of the same id", sessions.len().went("len")?, 20)?;
    sessions.remove("ticket 7").went("remove")?;
    equal("len after remove", sessions.len().went("len")?, 19)?;
    there.remove(&sessions.kept_id("ticket 7").went("kept_id")?);
    equal("walk after remove", walked(&*sessions)?, there)?;
    let mut visits = 0;
    let visit = &mut |_| {
        visits += 1;
        if visits == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    sessions.walk(visit).went("walk")?;
    equal("visits of a walk that is broken off at the third", visits, 3)
}

/// All that a walk shows; no id twice.
pub(super) fn walked(sessions: &dyn SessionManager) -> Verdict<BTreeMap<String, Session<Value>>> {
    let (mut all, mut wrong) = (BTreeMap::new(), None);
    let walk = sessions.walk(&mut |item| {
        match item {
            Ok((kept_id, session)) => {
                if all.insert(kept_id, session).is_some() {
                    wrong = Some("expected each session once, found one twice".to_owned());
                }
            }
            Err(error) => {
                wrong = Some(format!("expected sessions only, found an error: {error}"));
            }
        }
        ControlFlow::Continue(())
    });
    walk.went("walk")?;
    wrong.map_or(Ok(all), |wrong| Err(format!("walk: {wrong}")))
}

fn restores(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let version = sessions.save("ticket", &json!("before"), None).went("save")?;
    let now_ms = wall_clock_ms();
    let times = Times {
        created_ms: now_ms - 50_000,
        saved_ms: now_ms - 20_000,
        deadline_ms: Some(now_ms + 3_600_000),
    };
    let properties =
        Properties::new().timeouts(crate::Timeouts::NONE.idle(Duration::from_secs(7200)));
    let session = Session { value: json!({ "restored": true }), version, times, properties };
    for (id, there) in [("ticket", "there was one"), ("another", "there was none")] {
        let when = format!("after restore where {there}");
        let kept_id = sessions.kept_id(id).went("kept_id")?;
        sessions.restore(&kept_id, &session).went("restore")?;
        let found = loaded(&*sessions, id, &when)?;
        equal(format_args!("value {when}"), &found.value, &session.value)?;
        equal(format_args!("times {when}"), found.times, times)?;
        equal(format_args!("properties {when}"), &found.properties, &session.properties)?;
    }
    lost(sessions.save_if("ticket", version, &json!(1)), "save_if of the version before restore")?;
    sessions.save("ticket", &json!(2), None).went("save after restore")?;
    let found = loaded(&*sessions, "ticket", "after a save after restore")?;
    equal("created_ms after a save after restore", found.times.created_ms, times.created_ms)?;
    equal("len after restore", sessions.len().went("len")?, 2)?;
    for (kept_id, what) in [(String::new(), "an empty id"), ("k".repeat(256), "256 bytes")] {
        let restored = sessions.restore(&kept_id, &session);
        let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidId { .. });
        refused(restored, is_it, "InvalidId", format_args!("restore as {what}"))?;
    }
    Ok(())
}

fn kept_ids(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut all = HashSet::new();
    let long = "i".repeat(255);
    for id in ["ticket", "Ticket", "another", "a/b", long.as_str()] {
        let kept_id = sessions.kept_id(id).went("kept_id")?;
        let mut space = NO_DIGITS;
        let hashed = IdForm::Sha256.kept(id.as_bytes(), &mut space);
        demand!(
            kept_id == id || kept_id.as_bytes() == hashed,
            "kept_id: expected the id or its SHA-256, found {}",
            shown(&kept_id)
        );
        equal("kept_id once more", &sessions.kept_id(id).went("kept_id")?, &kept_id)?;
        demand!(all.insert(kept_id), "kept_id: expected another for each id, found one twice");
    }
    Ok(())
}

fn no_rotation(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    if sessions.capabilities().has(Capability::Rotation) {
        return Ok(());
    }
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported { .. });
    sessions.save("ticket", &json!(1), None).went("save")?;
    let rotated = sessions.rotate("ticket", "another", Duration::ZERO);
    refused(rotated, is_it, "Unsupported", "rotate without the capability")?;
    let rotated = sessions.rotated("ticket");
    refused(rotated, is_it, "Unsupported", "rotated without the capability")
}

fn misses(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!(1), None).went("save")?;
    equal("misses before any", sessions.misses(), 0)?;
    for guess in 0..10 {
        loaded(&*sessions, "ticket", "between guesses")?;
        absent(&*sessions, &format!("guess {guess}"), "of a guess")?;
    }
    equal("misses after 10 guesses", sessions.misses(), 10)
}

fn no_guards(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    if sessions.capabilities().has(Capability::Guards) {
        return sessions.guard("ticket", Duration::ZERO).went("guard").map(drop);
    }
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported { .. });
    let guard = sessions.guard("ticket", Duration::ZERO);
    refused(guard, is_it, "Unsupported", "guard of a manager that has none")
}

fn closes(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.sync().went("sync of nothing")?;
    sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.sync().went("sync")?;
    equal("value", loaded(&*sessions, "ticket", "after sync")?.value, json!(1))?;
    sessions.close().went("close")
}

fn reopens(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let properties = Properties::new().timeouts(crate::Timeouts::NONE);
    for number in 0..20 {
        let (id, given) = (format!("ticket {number}"), (number % 2 == 0).then_some(&properties));
        sessions.save(&id, &json!({ "number": number }), given).went("save")?;
    }
    sessions.remove("ticket 3").went("remove")?;
    let before = walked(&*sessions)?;
    sessions.close().went("close")?;
    let again = stage.open();
    equal("walk after close and open", walked(&*again)?, before)?;
    absent(&*again, "ticket 3", "of what was removed before close")?;
    equal("len after close and open", again.len().went("len")?, 19)?;
    drop(again);
    let dropped = stage.open();
    dropped.save("ticket 3", &json!("again"), None).went("save")?;
    drop(dropped);
    let value = loaded(&*stage.open(), "ticket 3", "after a manager was dropped")?.value;
    equal("value after a manager was dropped", value, json!("again"))
}
