//! The sweep: it removes what has expired, each after it was shown, and nothing else.
//!
//! A manager may note deadlines for its sweep in whole seconds, rounded up: a load tells to
//! the millisecond, and a sweep need not find who has expired within the last second.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::expect::{Verdict, Went, demand, equal, loaded, won};
use super::expiry::{past, restore};
use super::opening::Opening;
use super::stage::{Check, Stage, together};
use crate::session::SessionManager;
use crate::storage::wall_clock_ms;
use crate::{Properties, Session, SweepEnd, SweepPolicy, Swept, Timeouts};

pub(super) const CHECKS: &[Check] = &[
    Check::new("sweep: each that has expired is shown once, and goes", shows_each),
    Check::new("sweep: what lives stays", spares),
    Check::new("sweep: what expires by itself goes", by_itself),
    Check::new("sweep: Break keeps the one that was shown", broken),
    Check::new("sweep: no more go than the limit says", limited),
    Check::new("sweep: who is refreshed meanwhile stays", refreshed),
    Check::new("sweep: two at once remove each session once", two_at_once),
];

const EXPIRED: u64 = 20;
/// From how long after its deadline on a sweep has to find a session.
const LATE_MS: u64 = 1000;

/// Whoever refreshes a session waits no longer than this within a sweep: a manager may
/// refuse others while it shows one.
const MEANWHILE: Duration = Duration::from_millis(200);

type Shown = BTreeMap<String, Session<Value>>;

fn open(stage: &Stage) -> Box<dyn SessionManager> {
    stage.open_as(&Opening { sweep: SweepPolicy::OnRequest, ..Opening::new() })
}

/// Sessions that have expired: what a sweep is to show of each. Their versions are not
/// known.
fn expire(sessions: &dyn SessionManager, count: u64) -> Verdict<Shown> {
    let expire = |number| {
        let session = past(json!({ "number": number }), Some(wall_clock_ms() - LATE_MS - number));
        Ok((restore(sessions, &format!("expired {number}"), &session)?, session))
    };
    (0..count).map(expire).collect()
}

/// Sweeps all; what it showed, each once.
fn sweep(sessions: &dyn SessionManager) -> Verdict<(Swept, Shown)> {
    let (mut shown, mut twice) = (Shown::new(), false);
    let swept = sessions.sweep(u64::MAX, &mut |kept_id, session| {
        twice |= shown.insert(kept_id.to_owned(), session).is_some();
        ControlFlow::Continue(())
    });
    let swept = swept.went("sweep")?;
    demand!(!twice, "sweep: expected that it shows each session once, found one twice");
    equal("end of a sweep of all", swept.end, SweepEnd::Done)?;
    Ok((swept, shown))
}

/// What was shown is what had expired, whatever versions it had.
fn is_shown(shown: &Shown, expired: &Shown) -> Verdict {
    let ids = |sessions: &Shown| sessions.keys().cloned().collect::<BTreeSet<_>>();
    equal("ids that a sweep shows", ids(shown), ids(expired))?;
    for (kept_id, session) in expired {
        let found = shown.get(kept_id);
        equal("value that a sweep shows", found.map(|found| &found.value), Some(&session.value))?;
        equal("times that a sweep shows", found.map(|found| found.times), Some(session.times))?;
    }
    Ok(())
}

fn shows_each(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    let expired = expire(&*sessions, EXPIRED)?;
    sessions.save("living", &json!(1), None).went("save")?;
    equal("len before a sweep", sessions.len().went("len")?, EXPIRED + 1)?;
    let (swept, shown) = sweep(&*sessions)?;
    is_shown(&shown, &expired)?;
    equal("sessions removed by a sweep", swept.removed, EXPIRED)?;
    equal("len after a sweep", sessions.len().went("len")?, 1)?;
    let (swept, shown) = sweep(&*sessions)?;
    equal("a second sweep", (swept.removed, shown.len()), (0, 0))
}

fn spares(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    let now_ms = wall_clock_ms();
    let hour = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(3600)));
    sessions.save("for ever", &json!(1), None).went("save")?;
    sessions.save("an hour", &json!(1), Some(&hour)).went("save")?;
    let mut living = vec!["for ever", "an hour"];
    for (id, deadline_ms) in
        [("none", None), ("in a minute", Some(now_ms + 60_000)), ("latest", Some(u64::MAX))]
    {
        restore(&*sessions, id, &past(json!(1), deadline_ms))?;
        living.push(id);
    }
    let mut future = past(json!(1), Some(now_ms + 60_000));
    future.times.created_ms = u64::MAX;
    future.times.saved_ms = u64::MAX;
    restore(&*sessions, "from the future", &future)?;
    living.push("from the future");
    let mut gone = BTreeSet::new();
    for (id, deadline_ms) in [("zero", 0), ("one", 1), ("just now", now_ms - LATE_MS)] {
        gone.insert(restore(&*sessions, id, &past(json!(1), Some(deadline_ms)))?);
    }
    let (swept, shown) = sweep(&*sessions)?;
    equal("sessions that a sweep shows", shown.into_keys().collect::<BTreeSet<_>>(), gone)?;
    equal("sessions removed by a sweep", swept.removed, 3)?;
    for id in &living {
        loaded(&*sessions, id, format_args!("of \"{id}\" after a sweep"))?;
    }
    equal("len after a sweep", sessions.len().went("len")?, living.len() as u64)
}

fn by_itself(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    let brief = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_millis(200)));
    let made = sessions.create("ticket", &json!("coat"), Some(&brief));
    let version = won(made, "create")?;
    let times = loaded(&*sessions, "ticket", "before its deadline")?.times;
    let deadline_ms = times.deadline_ms.unwrap_or(0);
    let (swept, shown) = loop {
        let late = wall_clock_ms() > deadline_ms + LATE_MS;
        let (swept, shown) = sweep(&*sessions)?;
        if late || swept.removed > 0 {
            break (swept, shown);
        }
        thread::sleep(Duration::from_millis(20));
    };
    demand!(
        wall_clock_ms() >= deadline_ms,
        "sweep: expected that who has not expired stays, found it gone"
    );
    equal("sessions removed by a sweep", swept.removed, 1)?;
    let found = shown.into_values().next().map(|s| (s.value, s.version, s.properties));
    equal("what a sweep shows", found, Some((json!("coat"), version, brief)))
}

fn broken(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    let expired = expire(&*sessions, EXPIRED)?;
    let (mut first, mut last) = (BTreeSet::new(), String::new());
    let swept = sessions.sweep(u64::MAX, &mut |kept_id, _| {
        if first.len() == 5 {
            kept_id.clone_into(&mut last);
            return ControlFlow::Break(());
        }
        first.insert(kept_id.to_owned());
        ControlFlow::Continue(())
    });
    let swept = swept.went("sweep")?;
    equal("end of a sweep that is broken off", swept.end, SweepEnd::Broken)?;
    demand!(
        swept.removed <= 5,
        "sweep that is broken off at the sixth: expected 5 removed at most, found {}",
        swept.removed
    );
    let left = EXPIRED - swept.removed;
    equal("len after a sweep that is broken off", sessions.len().went("len")?, left)?;
    let (_, shown) = sweep(&*sessions)?;
    demand!(
        shown.contains_key(&last),
        "sweep after one that was broken off: expected the session at which it was, found it gone"
    );
    let unseen =
        expired.keys().find(|kept_id| !first.contains(*kept_id) && !shown.contains_key(*kept_id));
    demand!(unseen.is_none(), "sweep: expected that each is shown before it goes, found one gone");
    Ok(())
}

fn limited(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    expire(&*sessions, EXPIRED)?;
    let mut left = EXPIRED;
    for limit in [0, 1, 7] {
        let mut shown = BTreeSet::new();
        let swept = sessions.sweep(limit, &mut |kept_id, _| {
            shown.insert(kept_id.to_owned());
            ControlFlow::Continue(())
        });
        let expected = Swept { removed: limit, end: SweepEnd::Limit };
        equal(format_args!("sweep of {limit} of {left}"), swept.went("sweep")?, expected)?;
        demand!(
            shown.len() as u64 >= limit,
            "sweep of {limit}: expected that each is shown before it goes, found {} shown",
            shown.len()
        );
        left -= limit;
        let what = format!("len after a sweep of {limit}");
        equal(what, sessions.len().went("len")?, left)?;
    }
    equal("sessions removed by a sweep of all", sweep(&*sessions)?.0.removed, left)
}

fn refreshed(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    let sessions = &*sessions;
    expire(sessions, EXPIRED)?;
    let hour_ms = wall_clock_ms() + 3_600_000;
    let ways = ["saved", "created", "restored", "updated"];
    let mut meant = BTreeMap::new();
    for way in ways {
        meant.insert(restore(sessions, way, &past(json!("old"), Some(1)))?, way);
    }
    let refresh = |way: &str| match way {
        "saved" => sessions.save(way, &json!("new"), None).went("save within a sweep").map(drop),
        "created" => {
            won(sessions.create(way, &json!("new"), None), "create within a sweep").map(drop)
        }
        "updated" => {
            let change = &mut |_| crate::Change::Save(json!("new"));
            sessions.update(way, change).went("update within a sweep").map(drop)
        }
        _ => restore(sessions, way, &past(json!("new"), Some(hour_ms))).map(drop),
    };
    thread::scope(|scope| {
        let refresh = &refresh;
        let mut running = Vec::new();
        let swept = sessions.sweep(u64::MAX, &mut |kept_id, _| {
            if let Some(way) = meant.remove(kept_id) {
                let (tell, told) = mpsc::channel();
                running.push(scope.spawn(move || {
                    let done = refresh(way);
                    let _ = tell.send(());
                    done
                }));
                // Where the manager lets nobody in meanwhile, it comes after the removal.
                let _ = told.recv_timeout(MEANWHILE);
            }
            ControlFlow::Continue(())
        });
        swept.went("sweep")?;
        for thread in running {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))?;
        }
        Ok::<_, String>(())
    })?;
    demand!(
        meant.is_empty(),
        "sweep: expected that it shows each, found {} not shown",
        meant.len()
    );
    for way in ways {
        let session = loaded(sessions, way, format_args!("of what was {way} within a sweep"))?;
        equal(format_args!("value of what was {way} within a sweep"), session.value, json!("new"))?;
    }
    equal("len after a sweep", sessions.len().went("len")?, ways.len() as u64)
}

fn two_at_once(stage: &Stage) -> Verdict {
    let sessions = open(stage);
    for round in 0..5 {
        expire(&*sessions, EXPIRED)?;
        let removed = std::sync::atomic::AtomicU64::new(0);
        together(2, |_| {
            let swept = sessions.sweep(u64::MAX, &mut |_, _| ControlFlow::Continue(()));
            removed.fetch_add(swept.went("sweep")?.removed, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        })?;
        let what = format!("sessions removed by two sweeps at once, in round {round}");
        equal(what, removed.into_inner(), EXPIRED)?;
        equal("len after them", sessions.len().went("len")?, 0)?;
    }
    Ok(())
}
