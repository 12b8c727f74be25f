//! Guards: a session for oneself, for a whole request; off from others who guard it, and
//! from nobody else.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::child::{Part, tell, wait};
use super::expect::{Verdict, Went, demand, equal, loaded, refused};
use super::stage::{Check, Stage, together};
use crate::session::{Capability, SessionManager};
use crate::{Awaited, Change, ErrorKind};

pub(super) const CHECKS: &[Check] = &[
    Check::new("guards: a session is guarded once, and others beside it", exclude).needs(GUARDS),
    Check::new("guards: several threads exclude each other", visits).needs(GUARDS),
    Check::new("guards: who waits is patient, and no longer than that", patience).needs(GUARDS),
    Check::new("guards: nobody is hindered who asks for none", unhindered).needs(GUARDS),
    Check::new("guards: one is released in another thread", sent).needs(GUARDS),
    Check::new("guards: one of another process holds until it is released", of_another)
        .needs(SHARED),
    Check::new("guards: several processes exclude each other", shared_visits).needs(SHARED),
];

const GUARDS: &[Capability] = &[Capability::Guards];
const SHARED: &[Capability] = &[Capability::Guards, Capability::Processes];

pub(super) const PARTS: &[Part] = &[("holds a guard", holds), ("visits", visit_for_others)];

const LONG: Duration = Duration::from_secs(20);
/// How much later than its patience allows a wait may end on a slow machine.
const LATE: Duration = Duration::from_secs(5);
const THREADS: usize = 4;
const VISITS: u64 = 20;

/// Nobody gets a guard of this session.
fn guarded(sessions: &dyn SessionManager, id: &str, when: &str) -> Verdict {
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::Busy { awaited: Awaited::Guard, .. });
    let guard = sessions.guard(id, Duration::ZERO);
    refused(guard, is_it, "Busy", format_args!("guard {when}"))
}

fn exclude(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    guarded(&*sessions, "ticket", "of a session that is guarded")?;
    let beside = |number| {
        let id = format!("another {number}");
        sessions.guard(&id, LONG).went("guard of another session")
    };
    let others = (0..20).map(beside).collect::<Verdict<Vec<_>>>()?;
    guarded(&*sessions, "ticket", "of a session that is guarded")?;
    drop(guard);
    let again = sessions.guard("ticket", Duration::ZERO).went("guard after a release")?;
    guarded(&*sessions, "another 7", "of another session that is guarded")?;
    drop((others, again));
    sessions.guard("another 7", Duration::ZERO).went("guard after a release").map(drop)
}

/// A request that would lose an update, were it not alone.
fn visit(sessions: &dyn SessionManager) -> Verdict {
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    let count = match sessions.load("ticket").went("load")? {
        Some(session) => session.value.as_u64().unwrap_or(0),
        None => 0,
    };
    thread::yield_now();
    sessions.save("ticket", &json!(count + 1), None).went("save")?;
    drop(guard);
    Ok(())
}

fn visits(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    together(THREADS, |_| (0..VISITS).try_for_each(|_| visit(&*sessions)))?;
    let value = loaded(&*sessions, "ticket", "after guarded visits")?.value;
    equal("value after guarded visits of 4 threads", value, json!(THREADS as u64 * VISITS))
}

fn patience(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let sessions = &*sessions;
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    let (begun, least) = (Instant::now(), Duration::from_millis(60));
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::Busy { awaited: Awaited::Guard, .. });
    refused(sessions.guard("ticket", least), is_it, "Busy", "guard with 60 ms of patience")?;
    let waited = begun.elapsed();
    demand!(
        (least..least + LATE).contains(&waited),
        "guard with 60 ms of patience: expected that it waits so long, found {waited:?}"
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let guard = sessions.guard("ticket", LONG).went("guard that waits")?;
            drop(guard);
            Ok(Instant::now())
        });
        thread::sleep(Duration::from_millis(50));
        let released = Instant::now();
        drop(guard);
        let got = waiting.join().unwrap_or_else(|_| Err("guard: it panicked".to_owned()))?;
        let waited = got.saturating_duration_since(released);
        demand!(
            got >= released,
            "guard that waits: expected it after the release, found it before"
        );
        demand!(
            waited < LATE,
            "guard that waits: expected it soon after the release, found it after {waited:?}"
        );
        Ok(())
    })
}

fn unhindered(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    let begun = Instant::now();
    together(2, |thread| {
        // One is who holds the guard as well as another; the session is the same.
        let id = if thread == 0 { "ticket" } else { "another" };
        sessions.save(id, &json!(1), None).went("save beside a guard")?;
        loaded(&*sessions, id, "beside a guard")?;
        sessions.touch(id).went("touch beside a guard")?;
        let _ = sessions.replace(id, &json!(2)).went("replace beside a guard")?;
        sessions.update(id, &mut |_| Change::Save(json!(3))).went("update beside a guard")?;
        sessions.len().went("len beside a guard")?;
        sessions.walk(&mut |_| ControlFlow::Continue(())).went("walk beside a guard")?;
        let swept = sessions.sweep(u64::MAX, &mut |_, _| ControlFlow::Continue(()));
        swept.went("sweep beside a guard")?;
        sessions.sync().went("sync beside a guard")?;
        equal("remove beside a guard", sessions.remove(id).went("remove beside a guard")?, true)
    })?;
    let took = begun.elapsed();
    demand!(took < LATE, "operations beside a guard: expected no wait, found {took:?}");
    guarded(&*sessions, "ticket", "of a session that was removed beside its guard")?;
    drop(guard);
    sessions.guard("ticket", Duration::ZERO).went("guard after a release").map(drop)
}

fn sent(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    thread::scope(|scope| {
        scope
            .spawn(|| {
                // A guard of a thread's own would be the same one's once more, or nobody's.
                let busy = guarded(&*sessions, "ticket", "in another thread");
                drop(guard);
                busy
            })
            .join()
            .unwrap_or_else(|_| Err("guard in another thread: it panicked".to_owned()))
    })?;
    let again = sessions.guard("ticket", Duration::ZERO);
    again.went("guard after a release in another thread").map(drop)
}

/// Part: holds a guard until it is to go on.
fn holds(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    let guard = sessions.guard("ticket", LONG).went("guard")?;
    tell("holds it");
    wait();
    drop(guard);
    tell("released it");
    Ok(())
}

fn of_another(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let mut holder = stage.start("holds a guard", "")?;
    holder.hear("holds it")?;
    guarded(&*sessions, "ticket", "of a session that another process guards")?;
    drop(sessions.guard("another", Duration::ZERO).went("guard of another session")?);
    sessions.save("ticket", &json!(1), None).went("save beside another process's guard")?;
    holder.go();
    holder.hear("released it")?;
    drop(sessions.guard("ticket", LONG).went("guard after another process's release")?);
    holder.finish().map(drop)
}

/// Part: visits under a guard.
fn visit_for_others(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    wait();
    (0..VISITS).try_for_each(|_| visit(&*sessions))
}

fn shared_visits(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let visitors = (0..3).map(|_| stage.start("visits", ""));
    let mut visitors = visitors.collect::<Verdict<Vec<_>>>()?;
    visitors.iter_mut().for_each(|visitor| visitor.go());
    visitors.into_iter().try_for_each(|visitor| visitor.finish().map(drop))?;
    let value = loaded(&*sessions, "ticket", "after guarded visits")?.value;
    equal("value after guarded visits of 3 processes", value, json!(3 * VISITS))
}
