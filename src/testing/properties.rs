//! A session's properties: kept by what gives none, and replaced by what gives some.

use std::time::Duration;

use serde_json::json;

use super::expect::{Verdict, Went, equal, loaded, won};
use super::stage::{Check, Stage};
use crate::session::SessionManager;
use crate::{Change, Properties, Timeouts};

pub(super) const CHECKS: &[Check] = &[
    Check::new("properties: a save without any keeps them", kept),
    Check::new("properties: a save with some replaces them", replaced),
    Check::new("properties: a new life begins without them", of_a_new_life),
];

fn hours(hours: u64) -> Properties {
    Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(hours * 3600)))
}

fn has(sessions: &dyn SessionManager, properties: &Properties, after: &str) -> Verdict {
    let session = loaded(sessions, "ticket", format_args!("after {after}"))?;
    equal(format_args!("properties after {after}"), &session.properties, properties)
}

fn kept(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let own = hours(7);
    let version = sessions.save("ticket", &json!(1), Some(&own)).went("save with properties")?;
    has(&*sessions, &own, "a save with them")?;
    won(sessions.save_if("ticket", version, &json!(2)), "save_if")?;
    has(&*sessions, &own, "save_if")?;
    sessions.save("ticket", &json!(3), None).went("save")?;
    has(&*sessions, &own, "a save without any")?;
    won(sessions.replace("ticket", &json!(4)), "replace")?;
    has(&*sessions, &own, "replace")?;
    sessions.update("ticket", &mut |_| Change::Save(json!(5))).went("update")?;
    has(&*sessions, &own, "update")?;
    sessions.touch("ticket").went("touch")?;
    has(&*sessions, &own, "touch")?;
    let mut shown = None;
    let look = &mut |session: Option<crate::Session<_>>| {
        shown = session.map(|session| session.properties);
        Change::Keep
    };
    sessions.update("ticket", look).went("update")?;
    equal("properties that update shows", shown, Some(own))
}

fn replaced(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let made = sessions.create("ticket", &json!(1), Some(&hours(7)));
    won(made, "create with properties")?;
    has(&*sessions, &hours(7), "create")?;
    for (own, after) in [
        (hours(8), "a save with others"),
        (Properties::new(), "a save with none of its own"),
        (Properties::new().timeouts(Timeouts::NONE), "a save with timeouts that never end"),
    ] {
        sessions.save("ticket", &json!(2), Some(&own)).went("save with properties")?;
        has(&*sessions, &own, after)?;
    }
    Ok(())
}

fn of_a_new_life(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for after in ["save", "create", "update"] {
        sessions.save("ticket", &json!(1), Some(&hours(7))).went("save with properties")?;
        sessions.remove("ticket").went("remove")?;
        match after {
            "save" => drop(sessions.save("ticket", &json!(2), None).went("save")?),
            "create" => drop(won(sessions.create("ticket", &json!(2), None), "create")?),
            _ => drop(sessions.update("ticket", &mut |_| Change::Save(json!(2))).went("update")?),
        }
        has(&*sessions, &Properties::new(), &format!("remove and {after}"))?;
    }
    Ok(())
}
