//! The first look into a store of a million sessions: open, one load, close, in a fresh
//! process; and how much memory a process takes that has the store open.

use std::ffi::OsString;
use std::hint::black_box;
use std::time::Instant;

use super::{Opening, command};
use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::numbers::median;
use crate::report::{Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage};
use crate::store::{Filled, Mode, Peer};

const LEN: usize = 512;
const LOADS: u64 = 1_000;
const SUM: &str = "open + load + close";
const ANONYMOUS: &str = "memory of its own";
const FILE: &str = "mapped from files";

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(1_000_000, 300);
    let columns = [(SUM, Unit::Time), (ANONYMOUS, Unit::Bytes), (FILE, Unit::Bytes)];
    let mut table = Table::new(format!("{sessions} sessions of {LEN} B"), &columns);
    let mut stores = Vec::new();
    for peer in peers {
        stores.push(Filled::new(peer, &stage.path(""), Mode::Fast, sessions, &|_| LEN)?);
    }
    let mut random = Random::new(13);
    for _ in 0..stage.rounds() {
        for filled in &stores {
            let mut times = Vec::new();
            for _ in 0..stage.size(40, 2) {
                let mut command = command("first", filled)?;
                command.arg(random.below(sessions).to_string());
                let printed = child::run(command)?;
                times.push(*printed.first().ok_or("a child printed nothing")? as f64);
            }
            table.push(filled.peer.name, SUM, median(&times));
            let printed = child::run(command("memory", filled)?)?;
            let [anonymous, file] = printed[..] else {
                return Err("a child printed something else".into());
            };
            table.push(filled.peer.name, ANONYMOUS, anonymous as f64);
            table.push(filled.peer.name, FILE, file as f64);
        }
    }
    for filled in stores {
        filled.remove()?;
    }
    report.push(Section {
        title: "First look, and memory",
        about: format!(
            "A fresh process opens the store, loads one session and closes it. Memory is what a \
             process has more after it opened the store and loaded {LOADS} sessions than before; \
             what is mapped from files is shared with all others and can be dropped."
        ),
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// In the child: prints the nanoseconds.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let opening = Opening::read(arguments)?;
    let session = arguments.number()?;
    let id = data::id(session);
    let mut value = Vec::with_capacity(LEN);
    // The first reading of the clock maps its page.
    black_box(Instant::now());
    let start = Instant::now();
    let mut store = opening.open()?;
    store.load(&id, &mut value)?;
    drop(store);
    let nanoseconds = start.elapsed().as_nanos();
    if data::version_of(session, &value) != Some(0) {
        return Err(format!("session {session} is not as it was saved").into());
    }
    println!("{nanoseconds}");
    Ok(())
}

/// In the child: prints the bytes of its own memory and of mapped files.
pub(crate) fn memory_child(
    arguments: &mut Arguments<impl Iterator<Item = OsString>>,
) -> Outcome<()> {
    let opening = Opening::read(arguments)?;
    let mut value = Vec::with_capacity(LEN);
    let mut random = Random::new(17);
    let [anonymous, file] = resident()?;
    let mut store = opening.open()?;
    for _ in 0..LOADS {
        let session = random.below(opening.place.sessions);
        store.load(&data::id(session), &mut value)?;
        if data::version_of(session, &value) != Some(0) {
            return Err(format!("session {session} is not as it was saved").into());
        }
    }
    let after = resident()?;
    println!("{} {}", after[0].saturating_sub(anonymous), after[1].saturating_sub(file));
    Ok(())
}

/// Bytes of this process in memory: its own, and mapped files.
fn resident() -> Outcome<[u64; 2]> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Outcome<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no such field in /proc/self/status")?.parse::<u64>()? * 1024)
    };
    Ok([field("RssAnon:")?, field("RssFile:")? + field("RssShmem:")?])
}
