//! Four processes load and update the same thousand sessions at once. Every update
//! counts one further in the session that it changes, so that a lost one shows.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::{Opening, command};
use crate::child::{self, Arguments};
use crate::data::{self, Random};
use crate::report::{Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage};
use crate::store::{Filled, Mode, Peer, Processes};

const PROCESSES: u64 = 4;
const LEN: usize = 1024;
/// Where a value has its version, eight hexadecimal digits, which count here.
const COUNT: std::ops::Range<usize> = 29..37;

/// Loads and updates by the share of updates.
const SHARES: [(&str, &str, u64); 2] = [("90/10", "90/10: lost", 10), ("50/50", "50/50: lost", 50)];

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(1_000, 20);
    let columns: Vec<_> = SHARES
        .iter()
        .flat_map(|(rate, lost, _)| [(*rate, Unit::Rate), (*lost, Unit::Count)])
        .collect();
    let caption =
        format!("{PROCESSES} processes, {sessions} sessions of 1 KiB, operations a second");
    let mut table = Table::new(caption, &columns);
    let mut stores = Vec::new();
    for peer in peers.iter().filter(|peer| peer.processes == Processes::Many) {
        let filled = Filled::new(peer, &stage.path(""), Mode::Fast, sessions, &|_| LEN)?;
        stores.push((filled, 0));
    }
    for round in 0..stage.size(5, 1) {
        for (rate, lost, share) in SHARES {
            for (filled, told) in &mut stores {
                let (operations, updates) = run(filled, share, round, stage.size(700, 20))?;
                *told += updates;
                table.push(filled.peer.name, rate, operations);
                table.push(filled.peer.name, lost, told.saturating_sub(count(filled)?) as f64);
            }
        }
    }
    for (filled, _) in stores {
        filled.remove()?;
    }
    report.push(Section {
        title: "Several processes at once",
        about: "Loads and updates (load, change, save, with nobody's save between) of the same \
                sessions, not waiting for the disk. Stores that one process at a time may have \
                open are left out."
            .to_owned(),
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// Operations a second, and how many updates were acknowledged.
fn run(filled: &Filled, share: u64, round: u64, milliseconds: u64) -> Outcome<(f64, u64)> {
    let commands = (0..PROCESSES).map(|process| {
        let mut command = command("concurrent", filled)?;
        for number in [round * 64 + process, share, milliseconds] {
            command.arg(number.to_string());
        }
        Ok(command)
    });
    let (mut rate, mut updates) = (0.0, 0);
    for printed in child::run_together(commands.collect::<Outcome<Vec<_>>>()?)? {
        let [operations, changed, nanoseconds] = printed[..] else {
            return Err("a child printed something else".into());
        };
        rate += operations as f64 * 1e9 / nanoseconds as f64;
        updates += changed;
    }
    Ok((rate, updates))
}

/// What all sessions count together.
fn count(filled: &Filled) -> Outcome<u64> {
    let mut store = filled.open(Mode::Lasting)?;
    let (mut sum, mut value) = (0, Vec::new());
    for session in 0..filled.place.sessions {
        store.load(&data::id(session), &mut value)?;
        sum += u64::from(Known::new(session).count(&value)?);
    }
    Ok(sum)
}

/// A session's value as it has to be, but for the count.
struct Known {
    value: Vec<u8>,
}

impl Known {
    fn new(session: u64) -> Known {
        Known { value: data::value(session, 0, LEN) }
    }

    /// What it counts, if all else is as it has to be.
    fn count(&self, value: &[u8]) -> Outcome<u32> {
        let same = value.len() == LEN
            && value[..COUNT.start] == self.value[..COUNT.start]
            && value[COUNT.end..] == self.value[COUNT.end..];
        if !same {
            return Err("a session is torn, or another's".into());
        }
        Ok(u32::from_str_radix(std::str::from_utf8(&value[COUNT])?, 16)?)
    }
}

/// In the child: prints operations, updates and nanoseconds.
pub(crate) fn child(arguments: &mut Arguments<impl Iterator<Item = OsString>>) -> Outcome<()> {
    let opening = Opening::read(arguments)?;
    let mut random = Random::new(arguments.number()?);
    let share = arguments.number()?;
    let time = Duration::from_millis(arguments.number()?);
    let known: Vec<Known> = (0..opening.place.sessions).map(Known::new).collect();
    let ids: Vec<[u8; 32]> = (0..opening.place.sessions).map(data::id).collect();
    let mut store = opening.open()?;
    let mut value = Vec::with_capacity(LEN);
    child::wait_for_start()?;
    let start = Instant::now();
    let (mut operations, mut updates) = (0_u64, 0_u64);
    while start.elapsed() < time {
        let session = random.below(opening.place.sessions) as usize;
        let (Some(id), Some(known)) = (ids.get(session), known.get(session)) else { continue };
        if random.below(100) < share {
            let mut torn = Ok(0);
            store.update(id, &mut |value| {
                torn = known.count(value);
                if let Ok(count) = torn {
                    value[COUNT].copy_from_slice(format!("{:08x}", count + 1).as_bytes());
                }
            })?;
            torn?;
            updates += 1;
        } else {
            store.load(id, &mut value)?;
            known.count(&value)?;
        }
        operations += 1;
    }
    println!("{operations} {updates} {}", start.elapsed().as_nanos());
    Ok(())
}
