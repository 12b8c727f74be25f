//! A session goes on under another id: what stays, where the old id leads and for how long,
//! and values that are read once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::expect::{Verdict, Went, absent, demand, equal, loaded, lost, refused, won};
use super::races::count_up;
use super::stage::{Check, Stage, together};
use crate::session::Capability;
use crate::{ErrorKind, Properties, Timeouts};

const ROTATION: &[Capability] = &[Capability::Rotation];

pub(super) const CHECKS: &[Check] = &[
    Check::new("rotation: all but the id stays", stays).needs(ROTATION),
    Check::new("rotation: the old id leads to the session within the grace", leads).needs(ROTATION),
    Check::new("rotation: after the grace the old id has none and says why", over).needs(ROTATION),
    Check::new("rotation: an id that is taken or gone is a conflict", conflicts).needs(ROTATION),
    Check::new("rotation: a logout by the old id is one", logout).needs(ROTATION),
    Check::new("rotation: no update is lost at a login", counted).needs(ROTATION),
    Check::new("flash: a member is taken once", taken_once),
];

/// Longer than any check takes.
const GRACE: Duration = Duration::from_secs(3600);
const ROUNDS: u64 = 20;

fn stays(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let own = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(7 * 3600)));
    let value = json!({ "user": "ada", "cart": [1, 2, 3] });
    sessions.save("old", &value, Some(&own)).went("save")?;
    let before = loaded(&*sessions, "old", "before rotate")?;
    // So that what is reckoned anew differs.
    thread::sleep(Duration::from_millis(20));
    let version = won(sessions.rotate("old", "new", GRACE), "rotate")?;
    let after = loaded(&*sessions, "new", "after rotate")?;
    equal("value after rotate", &after.value, &value)?;
    equal("times after rotate", after.times, before.times)?;
    equal("properties after rotate", &after.properties, &own)?;
    equal("version after rotate", after.version, version)?;
    equal("len after rotate", sessions.len().went("len")?, 1)
}

fn leads(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("old", &json!(1), None).went("save")?;
    won(sessions.rotate("old", "new", GRACE), "rotate")?;
    let by_old = loaded(&*sessions, "old", "by the old id")?;
    equal("session by the old id", &by_old, &loaded(&*sessions, "new", "by the new id")?)?;
    won(sessions.replace("old", &json!(2)), "replace by the old id")?;
    let value = loaded(&*sessions, "new", "after a replace by the old id")?.value;
    equal("value after a replace by the old id", value, json!(2))?;
    lost(sessions.create("old", &json!(3), None), "create of an id that leads to a session")?;
    let touched = sessions.touch("old").went("touch by the old id")?;
    equal("touch by the old id", touched, true)?;
    lost(sessions.rotate("old", "newer", GRACE), "rotate of an id that only leads to a session")?;
    won(sessions.rotate("new", "newer", GRACE), "rotate once more")?;
    let value = loaded(&*sessions, "old", "by the first of three ids")?.value;
    equal("value by the first of three ids", value, json!(2))?;
    let mut ids = Vec::new();
    let walk = &mut |walked: crate::session::Walked| {
        ids.extend(walked.map(|(kept_id, _)| kept_id));
        std::ops::ControlFlow::Continue(())
    };
    sessions.walk(walk).went("walk")?;
    equal("ids of a walk", ids, vec![sessions.kept_id("newer").went("kept_id")?])
}

fn over(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("old", &json!(1), None).went("save")?;
    won(sessions.rotate("old", "new", Duration::ZERO), "rotate without a grace")?;
    absent(&*sessions, "old", "after the grace")?;
    lost(sessions.replace("old", &json!(2)), "replace after the grace")?;
    lost(sessions.create("old", &json!(2), None), "create after the grace")?;
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::Rotated);
    let saved = sessions.save("old", &json!(2), None);
    refused(saved, is_it, "Rotated", "save after the grace")?;
    absent(&*sessions, "old", "after operations by an id that was given up")?;
    loaded(&*sessions, "new", "by the new id")?;
    let rotated = sessions.rotated("old").went("rotated")?;
    let kept_id = sessions.kept_id("new").went("kept_id")?;
    let to = rotated.map(|rotated| rotated.to_kept_id);
    equal("what rotated says of the old id", to, Some(kept_id.into_bytes()))?;
    for id in ["new", "nobody"] {
        let rotated = sessions.rotated(id).went("rotated")?;
        equal(format_args!("what rotated says of {id:?}"), rotated, None)?;
    }
    Ok(())
}

fn conflicts(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("one", &json!(1), None).went("save")?;
    sessions.save("two", &json!(2), None).went("save")?;
    for (old, new) in [("nobody", "fresh"), ("one", "two"), ("one", "one")] {
        let outcome = sessions.rotate(old, new, GRACE);
        lost(outcome, format_args!("rotate of {old:?} to {new:?}"))?;
    }
    absent(&*sessions, "fresh", "after rotate of nobody")?;
    for (id, value) in [("one", 1), ("two", 2)] {
        let found = loaded(&*sessions, id, "after conflicts")?.value;
        equal(format_args!("value of {id:?} after conflicts"), found, json!(value))?;
    }
    Ok(())
}

fn logout(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("old", &json!(1), None).went("save")?;
    won(sessions.rotate("old", "new", GRACE), "rotate")?;
    let removed = sessions.remove("old").went("remove by the old id")?;
    equal("remove by the old id", removed, true)?;
    absent(&*sessions, "new", "after remove by the old id")?;
    absent(&*sessions, "old", "after remove by the old id")?;
    lost(sessions.replace("old", &json!(2)), "replace by the old id after remove")?;
    lost(sessions.replace("new", &json!(2)), "replace by the new id after remove")
}

fn counted(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("id 0", &json!(0), None).went("save")?;
    for round in 0..ROUNDS {
        let (old, new) = (format!("id {round}"), format!("id {}", round + 1));
        together(4, |thread| {
            if thread == 0 {
                return won(sessions.rotate(&old, &new, GRACE), "rotate").map(drop);
            }
            (0..5).try_for_each(|_| count_up(&*sessions, &old))
        })?;
        let value = loaded(&*sessions, &new, "after a login among updates")?.value;
        equal("value after a login among updates", value, json!(15 * (round + 1)))?;
    }
    Ok(())
}

fn taken_once(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let nothing = sessions.take("nobody", "notice").went("take from nobody")?;
    equal("take from nobody", nothing, None)?;
    absent(&*sessions, "nobody", "after take from nobody")?;
    for round in 0..ROUNDS {
        let value = json!({ "notice": round, "user": "ada" });
        sessions.save("ticket", &value, None).went("save")?;
        let taken = AtomicU64::new(0);
        together(4, |_| {
            if let Some(value) = sessions.take("ticket", "notice").went("take")? {
                demand!(value == json!(round), "take: expected {round}, found {value}");
                taken.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
        equal("how often a member was taken", taken.into_inner(), 1)?;
        let value = loaded(&*sessions, "ticket", "after take")?.value;
        equal("value after take", value, json!({ "user": "ada" }))?;
    }
    let text = sessions.save("ticket", &json!("text"), None).went("save")?;
    let nothing = sessions.take("ticket", "notice").went("take from text")?;
    equal("take from text", nothing, None)?;
    let version = loaded(&*sessions, "ticket", "after take from text")?.version;
    equal("version after take from text", version, text)
}
