//! Many sessions: none is missed, and a walk shows each once, whatever comes and goes
//! meanwhile.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::expect::{Verdict, Went, demand, equal, loaded};
use super::stage::{Check, Stage};
use crate::session::SessionManager;

pub(super) const CHECKS: &[Check] = &[Check::new(
    "many: a walk shows each session once while others come and go",
    walked_meanwhile,
)];

/// How often somebody walks.
const WALKS: u32 = 2;
/// Who comes and goes at one time.
const COMING: u64 = 50;

fn value_of(number: u64) -> Value {
    json!({ "number": number })
}

fn walked_meanwhile(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let sessions = &*sessions;
    let count = stage.setting.sessions;
    let mut numbers = HashMap::new();
    for number in 0..count {
        let id = format!("ticket {number}");
        sessions.save(&id, &value_of(number), None).went("save")?;
        numbers.insert(sessions.kept_id(&id).went("kept_id")?, number);
    }
    equal("len of many", sessions.len().went("len")?, count)?;
    let more = AtomicBool::new(true);
    thread::scope(|scope| {
        let coming = scope.spawn(|| come_and_go(sessions, &more));
        let walked = (0..WALKS).try_for_each(|_| walk(sessions, &numbers));
        more.store(false, Ordering::Relaxed);
        coming.join().unwrap_or_else(|_| Err("save and remove: it panicked".to_owned()))?;
        walked
    })?;
    equal("len of many after all others have gone", sessions.len().went("len")?, count)?;
    for number in (0..count).step_by(97) {
        let value = loaded(sessions, &format!("ticket {number}"), "of one of many")?.value;
        equal("value of one of many", value, value_of(number))?;
    }
    Ok(())
}

fn come_and_go(sessions: &dyn SessionManager, more: &AtomicBool) -> Verdict {
    let mut round = 0;
    while more.load(Ordering::Relaxed) {
        let ids: Vec<String> = (0..COMING).map(|number| format!("{round} {number}")).collect();
        for id in &ids {
            sessions.save(id, &json!("coming"), None).went("save")?;
        }
        for id in &ids {
            sessions.remove(id).went("remove")?;
        }
        round += 1;
    }
    Ok(())
}

fn walk(sessions: &dyn SessionManager, numbers: &HashMap<String, u64>) -> Verdict {
    let mut seen = HashMap::new();
    let mut wrong = None;
    let walk = sessions.walk(&mut |item| {
        let (kept_id, session) = match item {
            Ok(item) => item,
            Err(error) => {
                wrong = Some(format!("found an error: {error}"));
                return ControlFlow::Break(());
            }
        };
        let expected = numbers.get(&kept_id).map_or(json!("coming"), |number| value_of(*number));
        if session.value != expected {
            wrong = Some("found the value of another".to_owned());
        }
        *seen.entry(kept_id).or_insert(0) += 1;
        ControlFlow::Continue(())
    });
    walk.went("walk")?;
    let wrong = wrong.unwrap_or_default();
    demand!(wrong.is_empty(), "walk: expected each session with its value, {wrong}");
    let twice = seen.values().filter(|times| **times > 1).count();
    equal("sessions that walk shows more than once", twice, 0)?;
    let missed = numbers.keys().filter(|kept_id| !seen.contains_key(*kept_id)).count();
    equal("sessions that walk misses", missed, 0)
}
