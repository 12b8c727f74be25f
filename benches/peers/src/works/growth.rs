//! What the number of sessions does to each operation of the container, from a thousand
//! to ten million, and how long a save can take while the index grows. LMDB and tdb are
//! filled to the same number for the loads; of the others ten million take too long.
//!
//! The floor is the least that a load can be, in a file as large.

use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Change, Durability, IdForm, Options};

use crate::data::{self, Random};
use crate::floor::Floor;
use crate::numbers::{mean, percentile, time};
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage};
use crate::store::{Mode, Peer, Place};

const LEN: usize = 512;
const FLOOR: &str = "floor of a load";
const SIZES: [&str; 5] = ["1k", "10k", "100k", "1M", "10M"];
/// A tdb file has offsets of 32 bits.
const TDB_LEN_MAX: u64 = 1 << 32;
/// Sessions that the slow fillers get at once.
const PORTION: u64 = 500_000;

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let counts: Vec<u64> = (0..5).map(|nth| stage.size(1_000, 10) * 10_u64.pow(nth)).collect();
    let sizes: Vec<(&str, u64)> =
        SIZES.into_iter().zip(counts).take(stage.size(5, 3) as usize).collect();
    let columns: Vec<_> = sizes.iter().map(|(name, _)| (*name, Unit::Time)).collect();
    let mut operations = Table::new("Mean of an operation of cloakroom", &columns);
    let mut pauses = Table::new("A save of a new session, while the index grows to", &columns);
    let mut loads = Table::new("Mean of a load", &columns);
    let mut notes = Vec::new();

    let path = stage.path("grown");
    let interval = Durability::Interval(Duration::from_secs(1));
    let options = Options::new().ids(IdForm::Plain).durability(interval).background_sync();
    let container = ByteContainer::create(&path, options)?;
    let mut filled = 0;
    for (column, sessions) in &sizes {
        let times = fill(&container, filled..*sessions)?;
        filled = *sessions;
        for (row, share) in [("p50", 0.5), ("p99.9", 0.999), ("longest", 1.0)] {
            pauses.push(row, column, percentile(&times, share));
        }
        container.sync()?;
        let longest = time(percentile(&times, 1.0));
        notes.push(format!("growing to {column}: {} saves, the longest {longest}", times.len()));
        measure_all(stage, &container, *sessions, column, &mut operations, &mut loads)?;
    }
    let length = container.info()?.length;
    drop(container);
    std::fs::remove_file(&path)?;
    for (column, sessions) in &sizes {
        let share = length as f64 * *sessions as f64 / filled as f64;
        measure_floor(stage, *sessions, share as u64, column, &mut loads)?;
    }
    for peer in peers.iter().filter(|peer| ["lmdb", "tdb"].contains(&peer.name)) {
        let held = sizes.iter().filter(|(_, sessions)| {
            peer.name != "tdb" || sessions.saturating_mul(LEN as u64) < TDB_LEN_MAX
        });
        let held: Vec<_> = held.copied().collect();
        if held.len() < sizes.len() {
            let (column, _) = sizes[held.len()];
            notes.push(format!("{}: a file holds 4 GiB at most, less than {column}", peer.name));
        }
        measure_peer(stage, peer, &held, &mut loads)?;
    }
    let points: Vec<_> = sizes.iter().map(|(name, count)| (*name, *count as f64)).collect();
    report.push(Section {
        title: "Growth",
        about: format!(
            "One container grows from {} to {} sessions of {LEN} B; at each size every operation \
             is measured with a handle that lives long; a thread of its own syncs every second, \
             and whenever the index has to grow.",
            sizes.first().map_or(0, |(_, count)| *count),
            sizes.last().map_or(0, |(_, count)| *count),
        ),
        plots: vec![
            Plot {
                name: "growth",
                title: "Mean of each operation against the number of sessions".to_owned(),
                x: "sessions",
                y: "ns",
                series: operations.series(&points),
            },
            Plot {
                name: "growth-load",
                title: "Mean of a load against the number of sessions".to_owned(),
                x: "sessions",
                y: "ns",
                series: loads.series(&points),
            },
        ],
        tables: vec![operations, loads, pauses],
        notes,
    });
    Ok(())
}

/// Saves new sessions; nanoseconds of each save.
fn fill(container: &ByteContainer, sessions: std::ops::Range<u64>) -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity((sessions.end - sessions.start) as usize);
    let mut value = Vec::new();
    for session in sessions {
        data::fill(&mut value, session, 0, LEN);
        let id = data::id(session);
        let start = Instant::now();
        container.save(id, &value)?;
        times.push(start.elapsed().as_nanos() as f64);
    }
    Ok(times)
}

/// Every operation on random sessions, which afterwards are as they were.
fn measure_all(
    stage: &Stage,
    container: &ByteContainer,
    sessions: u64,
    column: &str,
    operations: &mut Table,
    loads: &mut Table,
) -> Outcome<()> {
    let mut random = Random::new(23);
    let mut found = Vec::with_capacity(LEN);
    for round in 0..=stage.rounds() {
        let picks: Vec<u64> = (0..stage.size(5_000, 10)).map(|_| random.below(sessions)).collect();
        let mut timed = |row: &str, work: &mut dyn FnMut(u64, &[u8]) -> Outcome<()>| {
            let value = picks.first().map(|pick| data::value(*pick, 0, LEN)).unwrap_or_default();
            let mut times = Vec::with_capacity(picks.len());
            for pick in &picks {
                let mut value = value.clone();
                data::fill(&mut value, *pick, 0, LEN);
                let start = Instant::now();
                work(*pick, &value)?;
                times.push(start.elapsed().as_nanos() as f64);
            }
            // The first round warms.
            if round > 0 {
                operations.push(row, column, mean(&times));
                if row == "load" {
                    loads.push("cloakroom", column, mean(&times));
                }
            }
            Outcome::Ok(())
        };
        timed("load", &mut |pick, value| {
            container.load_into(data::id(pick), &mut found)?;
            if found == value { Ok(()) } else { Err("a session is not as it was saved".into()) }
        })?;
        timed("load, no such session", &mut |pick, _| match container
            .load_into(data::id(pick + sessions), &mut Vec::new())?
        {
            None => Ok(()),
            Some(_) => Err("a session that never was".into()),
        })?;
        timed("save", &mut |pick, value| Ok(container.save(data::id(pick), value).map(drop)?))?;
        timed("update", &mut |pick, value| {
            container.update(data::id(pick), |_| Change::Save(value.to_vec()))?;
            Ok(())
        })?;
        timed("touch", &mut |pick, _| {
            Ok(container.set_deadline(data::id(pick), None).map(drop)?)
        })?;
        timed("remove and save", &mut |pick, value| {
            container.remove(data::id(pick))?;
            Ok(container.save(data::id(pick), value).map(drop)?)
        })?;
        container.sync()?;
    }
    Ok(())
}

fn measure_floor(
    stage: &Stage,
    sessions: u64,
    len: u64,
    column: &str,
    loads: &mut Table,
) -> Outcome<()> {
    let floor = Floor::new(stage, sessions, LEN, len)?;
    std::fs::remove_file(stage.path("load-floor"))?;
    floor.verify()?;
    let mut random = Random::new(29);
    for _ in 0..stage.rounds() {
        let picks: Vec<u64> = (0..stage.size(5_000, 10)).map(|_| random.next()).collect();
        loads.push(FLOOR, column, floor.read(&picks)?);
    }
    Ok(())
}

fn measure_peer(
    stage: &Stage,
    peer: &'static Peer,
    sizes: &[(&str, u64)],
    loads: &mut Table,
) -> Outcome<()> {
    let most = sizes.last().map_or(0, |(_, sessions)| *sessions);
    // With chains or room for the most.
    let directory = stage.path(&format!("{}-growth", peer.name));
    std::fs::create_dir(&directory)?;
    let place = Place { directory: directory.clone(), sessions: most };
    let mut store = (peer.open)(&place, Mode::Fast)?;
    let (mut filled, mut value) = (0, Vec::with_capacity(LEN));
    for (column, sessions) in sizes {
        while filled < *sessions {
            let end = (filled + PORTION).min(*sessions);
            store.fill(filled..end, &|_| LEN)?;
            filled = end;
        }
        let mut random = Random::new(23);
        for round in 0..=stage.rounds() {
            let mut times = Vec::new();
            for _ in 0..stage.size(5_000, 10) {
                let session = random.below(*sessions);
                let id = data::id(session);
                let start = Instant::now();
                store.load(&id, &mut value)?;
                times.push(start.elapsed().as_nanos() as f64);
                if data::version_of(session, &value) != Some(0) {
                    return Err("a session is not as it was saved".into());
                }
            }
            if round > 0 {
                loads.push(peer.name, column, mean(&times));
            }
        }
    }
    drop(store);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
