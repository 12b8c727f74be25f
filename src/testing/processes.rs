//! Several processes on the same sessions: what holds of threads holds of them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::child::{Part, Player, tell, wait};
use super::expect::{Verdict, Went, absent, demand, equal, loaded, won};
use super::races::{count_up, mark_of, marked, read_whole};
use super::stage::{Check, Stage, together};
use crate::Version;
use crate::session::Capability;

pub(super) const CHECKS: &[Check] = &[
    Check::new("processes: several open at once what is not there yet", opened).needs(SHARED),
    Check::new("processes: what one has saved all see", seen).needs(SHARED),
    Check::new("processes: no load is torn or goes back", whole).needs(SHARED),
    Check::new("processes: no update is lost", counted).needs(SHARED),
    Check::new("processes: one of several create wins", one_create).needs(SHARED),
    Check::new("processes: one of several save_if wins", one_save_if).needs(SHARED),
    Check::new("processes: a session stays gone that others use", gone).needs(SHARED),
];

const SHARED: &[Capability] = &[Capability::Processes];

pub(super) const PARTS: &[Part] = &[
    ("sees and saves", sees),
    ("saves marked values", saves_marked),
    ("counts up", counts),
    ("creates", creates),
    ("saves if unchanged", saves_if),
    ("uses", uses),
];

const PROCESSES: usize = 4;
const UPDATES: u64 = 100;
const OPENINGS: usize = 50;
/// How far apart those who open may be who come one after the other.
const APART: Duration = Duration::from_micros(25);
const ROUNDS: usize = 20;
const IDS: [&str; 2] = ["one", "another"];

/// Several that play the same part, each told its number, which go on at the same time.
fn play(stage: &Stage, part: &'static str, rest: &str, count: usize) -> Verdict<Vec<Player>> {
    let start = |number| stage.start(part, &format!("{number} {rest}"));
    let mut players = (0..count).map(start).collect::<Verdict<Vec<_>>>()?;
    for player in &mut players {
        player.hear("ready")?;
    }
    players.iter_mut().for_each(Player::go);
    Ok(players)
}

/// Its number, where a part was told one.
fn number_of(argument: &str) -> usize {
    argument.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn ready() {
    tell("ready");
    wait();
}

/// Threads, since they meet more closely; each opens a manager of its own.
fn opened(stage: &Stage) -> Verdict {
    for round in 0..OPENINGS {
        let directory = stage.directory.join(format!("round-{round}"));
        fs::create_dir(&directory).map_err(|error| format!("cannot make a directory: {error}"))?;
        let stage = Stage { directory, ..stage.clone() };
        together(PROCESSES, |number| {
            // Some come while another is at it.
            thread::sleep(APART * (number * round) as u32);
            let sessions = stage.open();
            sessions.save(&format!("of {number}"), &json!(number), None).went("save").map(drop)
        })?;
        let sessions = stage.open();
        for number in 0..PROCESSES {
            let value = loaded(&*sessions, &format!("of {number}"), "of who has opened at once")?;
            equal("value of who has opened at once", value.value, json!(number))?;
        }
    }
    Ok(())
}

fn sees(stage: &Stage, argument: &str) -> Verdict {
    let sessions = stage.open();
    let session = loaded(&*sessions, "ticket", "of what another process has saved")?;
    equal("value that another process has saved", &session.value, &json!("from the first"))?;
    let found = session.version.to_string();
    equal("version that another process has saved", found.as_str(), argument)?;
    absent(&*sessions, "removed", "of what another process has removed")?;
    won(sessions.save_if("ticket", session.version, &json!("from the second")), "save_if")?;
    sessions.remove("to remove").went("remove").map(drop)
}

fn seen(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for id in ["removed", "to remove"] {
        sessions.save(id, &json!(1), None).went("save")?;
    }
    sessions.remove("removed").went("remove")?;
    let version = sessions.save("ticket", &json!("from the first"), None).went("save")?;
    stage.start("sees and saves", &version.to_string())?.finish()?;
    let value = loaded(&*sessions, "ticket", "of what another process has saved since")?.value;
    equal("value that another process has saved since", value, json!("from the second"))?;
    absent(&*sessions, "to remove", "of what another process has removed since")
}

fn saves_marked(stage: &Stage, argument: &str) -> Verdict {
    let (sessions, writer) = (stage.open(), number_of(argument));
    ready();
    for count in 1..=UPDATES {
        for id in IDS {
            sessions.save(id, &marked(id, writer, count), None).went("save")?;
        }
    }
    Ok(())
}

fn whole(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let writers = play(stage, "saves marked values", "", 2)?;
    let more = AtomicBool::new(true);
    thread::scope(|scope| {
        let read = || read_whole(&*sessions, &IDS, || more.load(Ordering::Relaxed));
        let readers = [scope.spawn(read), scope.spawn(read)];
        let ended = writers.into_iter().try_for_each(|writer| writer.finish().map(drop));
        more.store(false, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap_or_else(|_| Err("load: it panicked".to_owned()))?;
        }
        ended
    })?;
    for id in IDS {
        let (_, count) = mark_of(id, &loaded(&*sessions, id, "after all saves")?.value)?;
        equal("the last of the values of one process", count, UPDATES)?;
    }
    Ok(())
}

fn counts(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    ready();
    (0..UPDATES).try_for_each(|_| count_up(&*sessions, "counter"))
}

fn counted(stage: &Stage) -> Verdict {
    let players = play(stage, "counts up", "", PROCESSES)?;
    players.into_iter().try_for_each(|player| player.finish().map(drop))?;
    let value = loaded(&*stage.open(), "counter", "after updates of 4 processes")?.value;
    equal("value after 4 processes of 100 updates", value, json!(PROCESSES as u64 * UPDATES))
}

/// Each id was won once, and has the value of the one who won it.
fn judge(stage: &Stage, players: Vec<Player>, operation: &str) -> Verdict {
    let mut winners = BTreeMap::<String, Vec<usize>>::new();
    for (player, number) in players.into_iter().zip(0..) {
        for id in player.finish()? {
            winners.entry(id).or_default().push(number);
        }
    }
    let sessions = stage.open();
    for round in 0..ROUNDS {
        let id = format!("round {round}");
        let won = winners.get(&id).map_or(&[][..], Vec::as_slice);
        let [winner] = won else {
            let found = won.len();
            return Err(format!("{operation} by 4 processes: expected one winner, found {found}"));
        };
        let value = loaded(&*sessions, &id, format_args!("after {operation}"))?.value;
        equal(format_args!("value after {operation}"), value, json!(winner))?;
    }
    Ok(())
}

fn creates(stage: &Stage, argument: &str) -> Verdict {
    let (sessions, number) = (stage.open(), number_of(argument));
    ready();
    for round in 0..ROUNDS {
        let id = format!("round {round}");
        let outcome = sessions.create(&id, &json!(number), None).went("create")?;
        if outcome.saved().is_some() {
            tell(&id);
        }
    }
    Ok(())
}

fn one_create(stage: &Stage) -> Verdict {
    let players = play(stage, "creates", "", PROCESSES)?;
    judge(stage, players, "create of the same id")
}

fn saves_if(stage: &Stage, argument: &str) -> Verdict {
    let (sessions, number) = (stage.open(), number_of(argument));
    ready();
    for (round, version) in argument.split(' ').skip(1).enumerate() {
        let id = format!("round {round}");
        let version: Version =
            version.parse().map_err(|error| format!("no version as an argument: {error}"))?;
        let outcome = sessions.save_if(&id, version, &json!(number)).went("save_if")?;
        if outcome.saved().is_some() {
            tell(&id);
        }
    }
    Ok(())
}

fn one_save_if(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let save = |round| {
        let version = sessions.save(&format!("round {round}"), &json!("before"), None);
        version.went("save").map(|version| version.to_string())
    };
    let versions = (0..ROUNDS).map(save).collect::<Verdict<Vec<_>>>()?.join(" ");
    let players = play(stage, "saves if unchanged", &versions, PROCESSES)?;
    judge(stage, players, "save_if of the same version")
}

/// Uses each session until it is gone.
fn uses(stage: &Stage, _: &str) -> Verdict {
    let sessions = stage.open();
    ready();
    for round in 0..ROUNDS {
        let id = format!("round {round}");
        loop {
            let replaced = sessions.replace(&id, &json!("used")).went("replace")?;
            if replaced.saved().is_none() && !sessions.touch(&id).went("touch")? {
                break;
            }
        }
    }
    Ok(())
}

fn gone(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    for round in 0..ROUNDS {
        sessions.save(&format!("round {round}"), &json!("before"), None).went("save")?;
    }
    let players = play(stage, "uses", "", 2)?;
    for round in 0..ROUNDS {
        let id = format!("round {round}");
        // Until it is in use.
        let begun = Instant::now();
        while loaded(&*sessions, &id, "of what is in use")?.value != json!("used") {
            demand!(
                begun.elapsed() < stage.setting.patience,
                "load: expected what another process has saved in time, found the value before"
            );
            thread::yield_now();
        }
        demand!(
            sessions.remove(&id).went("remove")?,
            "remove of a session in use: expected true, found false"
        );
        absent(&*sessions, &id, "after remove, while another process uses it")?;
    }
    players.into_iter().try_for_each(|player| player.finish().map(drop))?;
    equal("len when all are removed", sessions.len().went("len")?, 0)
}
