//! Processes that are killed wherever they are: what they had saved is there, nothing is
//! torn, and nobody waits for the dead.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::child::{Part, tell, wait};
use super::expect::{Verdict, Went, demand, equal, loaded};
use super::operations::walked;
use super::races::{mark_of, marked};
use super::stage::{Check, Stage};
use crate::Change;
use crate::session::Capability;

pub(super) const CHECKS: &[Check] = &[
    Check::new("crashes: what a killed process had saved is there", outlived)
        .needs(&[Capability::Kills]),
    Check::new("crashes: one that is killed while it saves leaves nothing torn", in_saves)
        .needs(&[Capability::Kills]),
    Check::new("crashes: others go on after one that is killed in an update", in_update)
        .needs(SHARED),
    Check::new("crashes: others get a guard after one that is killed with it", with_guard)
        .needs(&[Capability::Kills, Capability::Processes, Capability::Guards]),
];

const SHARED: &[Capability] = &[Capability::Kills, Capability::Processes];

pub(super) const PARTS: &[Part] = &[
    ("saves and waits", saves),
    ("saves until it is killed", saves_on),
    ("waits in an update", waits_in_update),
    ("waits with a guard", waits_with_guard),
    ("goes on after a death", goes_on),
];

/// How many are killed while they save, and after how long at the most.
const KILLED: u64 = 6;
const KILLED_AFTER: Duration = Duration::from_millis(12);
const IDS: [&str; 3] = ["one", "another", "a third"];

fn saves(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    for number in 0..20 {
        sessions.save(&format!("ticket {number}"), &json!(number), None).went("save")?;
    }
    sessions.remove("ticket 3").went("remove")?;
    tell("saved");
    wait();
    Ok(())
}

fn outlived(stage: &Stage) -> Verdict {
    let mut saver = stage.start("saves and waits", "")?;
    saver.hear("saved")?;
    saver.kill();
    let sessions = stage.open();
    for number in (0..20).filter(|number| *number != 3) {
        let id = format!("ticket {number}");
        let value = loaded(&*sessions, &id, "of what a killed process had saved")?.value;
        equal("value that a killed process had saved", value, json!(number))?;
    }
    equal("len after a kill", sessions.len().went("len")?, 19)
}

fn saves_on(stage: &Stage, argument: &str) -> Verdict {
    let (sessions, writer) = (stage.open(), argument.parse().unwrap_or(0));
    tell("begins");
    for count in 1.. {
        for id in IDS {
            sessions.save(id, &marked(id, writer, count), None).went("save")?;
        }
        if count % 7 == 0 {
            sessions.remove("a third").went("remove")?;
        }
    }
    Ok(())
}

fn in_saves(stage: &Stage) -> Verdict {
    for round in 1..=KILLED {
        let mut saver = stage.start("saves until it is killed", &round.to_string())?;
        saver.hear("begins")?;
        thread::sleep(KILLED_AFTER.mul_f64(round as f64 / KILLED as f64));
        saver.kill();
        stage.start("goes on after a death", "saves")?.finish()?;
        let sessions = stage.open();
        for id in IDS {
            if let Some(session) = sessions.load(id).went("load after a kill")? {
                mark_of(id, &session.value)?;
            }
        }
        walked(&*sessions)?;
    }
    Ok(())
}

/// Part: what must work soon after somebody was killed, whatever that one was at. It is a
/// process of its own, so that it can be ended if it hangs.
fn goes_on(stage: &Stage, held: &str) -> Verdict {
    let (sessions, begun) = (stage.open(), Instant::now());
    if held == "ticket" {
        let session = loaded(&*sessions, "ticket", "after a kill")?;
        equal("value after a kill in an update", session.value, json!("before"))?;
    }
    for id in [held, "somebody else"] {
        sessions.save(id, &json!("after"), None).went("save after a kill")?;
        let mut seen = None;
        let change = &mut |session| {
            seen = session;
            Change::Save(json!("updated"))
        };
        sessions.update(id, change).went("update after a kill")?;
        let found = seen.map(|session| session.value);
        equal("what update shows after a kill", found, Some(json!("after")))?;
        if sessions.capabilities().has(Capability::Guards) {
            drop(sessions.guard(id, stage.setting.patience / 2).went("guard after a kill")?);
        }
        let removed = sessions.remove(id).went("remove after a kill")?;
        equal("remove after a kill", removed, true)?;
    }
    let took = begun.elapsed();
    let soon = stage.setting.patience / 2;
    demand!(took < soon, "operations after a kill: expected an end in {soon:?}, found {took:?}");
    sessions.close().went("close after a kill")
}

fn waits_in_update(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    let update = sessions.update("ticket", &mut |_| {
        tell("in the update");
        wait();
        Change::Save(json!("from the dead"))
    });
    update.went("update").map(drop)
}

fn in_update(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!("before"), None).went("save")?;
    let mut holder = stage.start("waits in an update", "")?;
    holder.hear("in the update")?;
    holder.kill();
    stage.start("goes on after a death", "ticket")?.finish().map(drop)
}

fn waits_with_guard(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    let guard = sessions.guard("ticket", stage.setting.patience).went("guard")?;
    tell("holds it");
    wait();
    drop(guard);
    Ok(())
}

fn with_guard(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("ticket", &json!("before"), None).went("save")?;
    let mut holder = stage.start("waits with a guard", "")?;
    holder.hear("holds it")?;
    holder.kill();
    stage.start("goes on after a death", "ticket")?.finish().map(drop)
}
