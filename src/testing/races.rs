//! Several threads on one manager: nothing torn, nothing lost, and one winner where there
//! can be one only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::expect::{Verdict, Went, demand, equal, loaded, shown};
use super::expiry::{past, restore};
use super::stage::{Check, Stage, together};
use crate::session::SessionManager;
use crate::{Change, Outcome};

pub(super) const CHECKS: &[Check] = &[
    Check::new("threads: no load is torn or goes back", whole),
    Check::new("threads: no update is lost", counted),
    Check::new("threads: one of several save_if wins", one_save_if),
    Check::new("threads: one of several create wins", one_create),
];

const TORN_FOR: Duration = Duration::from_millis(250);
const ROUNDS: u64 = 20;
/// Who races in one.
const RACERS: usize = 8;

/// A value that tells whose it is, and whether all of it is there.
pub(super) fn marked(id: &str, writer: usize, count: u64) -> Value {
    let fill = "x".repeat((count * 37 % 3000) as usize);
    let sum = crc32fast::hash(format!("{id} {writer} {count} {fill}").as_bytes());
    json!({ "id": id, "writer": writer, "count": count, "fill": fill, "sum": sum })
}

/// Who wrote a value of this id, and the how manieth it is.
pub(super) fn mark_of(id: &str, value: &Value) -> Verdict<(u64, u64)> {
    let (writer, count) = (value["writer"].as_u64(), value["count"].as_u64());
    if let (Some(writer), Some(count)) = (writer, count)
        && *value == marked(id, writer as usize, count)
    {
        return Ok((writer, count));
    }
    let found = shown(&value.to_string());
    Err(format!("load: expected a value as it was saved for this id, found a torn one: {found}"))
}

/// Reads the ids for a while: every value is whole, and none of a writer is older than one
/// seen before.
pub(super) fn read_whole(
    sessions: &dyn SessionManager,
    ids: &[&str],
    more: impl Fn() -> bool,
) -> Verdict {
    let mut newest = BTreeMap::new();
    while more() {
        for id in ids {
            let Some(session) = sessions.load(id).went("load")? else { continue };
            let (writer, count) = mark_of(id, &session.value)?;
            let before = newest.insert((*id, writer), count).unwrap_or(0);
            demand!(
                count >= before,
                "load: expected nothing older than what was loaded before ({before}), found {count}"
            );
        }
    }
    Ok(())
}

fn whole(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let ids = ["one", "another"];
    let begun = Instant::now();
    let more = || begun.elapsed() < TORN_FOR;
    together(4, |thread| {
        if thread >= 2 {
            return read_whole(&*sessions, &ids, more);
        }
        let mut count = 0;
        while more() {
            count += 1;
            for id in ids {
                sessions.save(id, &marked(id, thread, count), None).went("save")?;
            }
        }
        Ok(())
    })?;
    for id in ids {
        mark_of(id, &loaded(&*sessions, id, "after all saves")?.value)?;
    }
    Ok(())
}

pub(super) fn count_up(sessions: &dyn SessionManager, id: &str) -> Verdict {
    let up = &mut |session: Option<crate::Session<Value>>| {
        let count = session.and_then(|session| session.value.as_u64()).unwrap_or(0);
        Change::Save(json!(count + 1))
    };
    sessions.update(id, up).went("update").map(drop)
}

fn counted(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    together(RACERS, |_| (0..50).try_for_each(|_| count_up(&*sessions, "counter")))?;
    let value = loaded(&*sessions, "counter", "after 8 threads of 50 updates")?.value;
    equal("value after 8 threads of 50 updates", value, json!(400))
}

fn race(
    sessions: &dyn SessionManager,
    operation: &str,
    attempt: impl Fn(&Value) -> crate::Result<Outcome> + Sync,
) -> Verdict {
    let (wins, winner) = (AtomicU64::new(0), AtomicU64::new(0));
    together(RACERS, |thread| {
        let outcome = attempt(&json!(thread)).went(operation)?;
        if outcome.saved().is_some() {
            wins.fetch_add(1, Ordering::Relaxed);
            winner.store(thread as u64, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let wins = wins.into_inner();
    equal(format_args!("winners of {RACERS} threads that {operation}"), wins, 1)?;
    let value = loaded(sessions, "ticket", format_args!("after {operation}"))?.value;
    equal(format_args!("value after {operation}"), value, json!(winner.into_inner()))
}

fn one_save_if(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for _ in 0..ROUNDS {
        let version = sessions.save("ticket", &json!("before"), None).went("save")?;
        let attempt = |value: &Value| sessions.save_if("ticket", version, value);
        race(&*sessions, "save_if of the same version", attempt)?;
    }
    Ok(())
}

fn one_create(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for round in 0..ROUNDS {
        let attempt = |value: &Value| sessions.create("ticket", value, None);
        race(&*sessions, "create of the same id", attempt)?;
        if round % 2 == 0 {
            sessions.remove("ticket").went("remove")?;
        } else {
            // An id that was taken, and is so no more.
            restore(&*sessions, "ticket", &past(json!("over"), Some(1)))?;
        }
    }
    Ok(())
}
