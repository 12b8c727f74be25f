//! Who was removed stays gone: no operation that needs a session makes one, whatever it saw
//! before.

use serde_json::json;

use super::expect::{Verdict, Went, absent, demand, equal, loaded, lost, won};
use super::stage::{Check, Stage, together};
use crate::Change;

pub(super) const CHECKS: &[Check] = &[
    Check::new("removed: replace does not bring a session back", not_by_replace),
    Check::new("removed: save_if does not bring a session back", not_by_save_if),
    Check::new("removed: update does not show a session", not_by_update),
    Check::new("removed: touch does not bring a session back", not_by_touch),
    Check::new("removed: a version of an earlier life is no version of this one", earlier_life),
    Check::new("removed: a session stays gone that is used while it is removed", at_once),
];

const ROUNDS: u32 = 50;

fn not_by_replace(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.remove("ticket").went("remove")?;
    let outcome = sessions.replace("ticket", &json!(2));
    absent(&*sessions, "ticket", "after remove and replace")?;
    lost(outcome, "replace after remove")
}

fn not_by_save_if(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let version = sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.remove("ticket").went("remove")?;
    let outcome = sessions.save_if("ticket", version, &json!(2));
    absent(&*sessions, "ticket", "after remove and save_if")?;
    lost(outcome, "save_if after remove")
}

fn not_by_update(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.remove("ticket").went("remove")?;
    let mut seen = None;
    let look = &mut |session| {
        seen = session;
        Change::Keep
    };
    sessions.update("ticket", look).went("update")?;
    equal("what update shows after remove", seen, None)?;
    absent(&*sessions, "ticket", "after remove and update")
}

fn not_by_touch(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!(1), None).went("save")?;
    sessions.remove("ticket").went("remove")?;
    let touched = sessions.touch("ticket").went("touch")?;
    absent(&*sessions, "ticket", "after remove and touch")?;
    equal("touch after remove", touched, false)
}

fn earlier_life(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut earlier = Vec::new();
    for life in 0..10 {
        // The same value, so that nothing but the life tells them apart.
        let made = sessions.create("ticket", &json!("the same"), None);
        let version = won(made, "create after remove")?;
        for version in &earlier {
            let outcome = sessions.save_if("ticket", *version, &json!("another"));
            lost(outcome, "save_if of a version of an earlier life")?;
        }
        let session = loaded(&*sessions, "ticket", format_args!("in life {life}"))?;
        equal("version in a new life", session.version, version)?;
        earlier.push(version);
        sessions.remove("ticket").went("remove")?;
    }
    Ok(())
}

/// Whichever comes first, the session is gone when both are done.
fn at_once(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for operation in ["replace", "save_if", "touch", "update"] {
        for round in 0..ROUNDS {
            let version = sessions.save("ticket", &json!(round), None).went("save")?;
            together(2, |thread| {
                match (thread, operation) {
                    (0, _) => {
                        let removed = sessions.remove("ticket").went("remove")?;
                        demand!(removed, "remove of a session: expected true, found false");
                    }
                    (_, "replace") => {
                        let _ = sessions.replace("ticket", &json!("new")).went(operation)?;
                    }
                    (_, "save_if") => {
                        let outcome = sessions.save_if("ticket", version, &json!("new"));
                        let _ = outcome.went(operation)?;
                    }
                    (_, "touch") => drop(sessions.touch("ticket").went(operation)?),
                    _ => {
                        let change = sessions.update("ticket", &mut |session| match session {
                            Some(_) => Change::Save(json!("new")),
                            None => Change::Keep,
                        });
                        change.went(operation)?;
                    }
                }
                Ok(())
            })?;
            absent(&*sessions, "ticket", format_args!("after remove and {operation} at once"))?;
        }
    }
    Ok(())
}
