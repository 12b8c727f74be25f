//! Loads of random sessions by a process that lives long, from a warm store.

use std::time::Instant;

use crate::data::{self, Random};
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, mixed_len};
use crate::store::{Filled, Mode, Peer, Store};

/// Loads between two readings of the clock; checked after it has stopped.
const BATCH: usize = 64;

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sizes = [
        ("10k", stage.size(10_000, 100)),
        ("100k", stage.size(100_000, 200)),
        ("1M", stage.size(1_000_000, 300)),
    ];
    let mut table = Table::new("Mean of a load, warm", &sizes.map(|(name, _)| (name, Unit::Time)));
    for (column, sessions) in sizes {
        let len: fn(u64) -> usize = if column == "1M" { |_| 512 } else { mixed_len };
        let mut stores = Vec::new();
        for peer in peers {
            let filled = Filled::new(peer, &stage.path(""), Mode::Fast, sessions, &len)?;
            let mut store = filled.open(Mode::Fast)?;
            read_all(store.as_mut(), sessions, &len)?;
            stores.push((filled, store));
        }
        let mut random = Random::new(5);
        for _ in 0..stage.rounds() {
            let picks: Vec<u64> =
                (0..stage.size(20_000, 128)).map(|_| random.below(sessions)).collect();
            for (filled, store) in &mut stores {
                let time = loads(store.as_mut(), &picks, &len)?;
                table.push(filled.peer.name, column, time);
            }
        }
        for (filled, store) in stores {
            drop(store);
            filled.remove()?;
        }
    }
    let series = table.series(&sizes.map(|(name, sessions)| (name, sessions as f64)));
    report.push(Section {
        title: "Load",
        about: "One process with one handle loads random sessions, all in memory. Values are \
                512 B to 4 KiB, 1.4 KB on average; those of the million 512 B."
            .to_owned(),
        plots: vec![Plot {
            name: "load",
            title: "Mean of a load against the number of sessions".to_owned(),
            x: "sessions",
            y: "ns",
            series,
        }],
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// Warms the store and compares every session.
fn read_all(store: &mut dyn Store, sessions: u64, len: &dyn Fn(u64) -> usize) -> Outcome<()> {
    let mut value = Vec::new();
    for session in 0..sessions {
        let found = store.load(&data::id(session), &mut value)?;
        check(session, found, &value, len(session))?;
    }
    Ok(())
}

/// Nanoseconds of a load.
fn loads(store: &mut dyn Store, picks: &[u64], len: &dyn Fn(u64) -> usize) -> Outcome<f64> {
    let mut values: Vec<_> = (0..BATCH).map(|_| Vec::with_capacity(4096)).collect();
    let mut nanoseconds = 0;
    for batch in picks.chunks(BATCH) {
        let ids: Vec<[u8; 32]> = batch.iter().map(|pick| data::id(*pick)).collect();
        let mut found = [false; BATCH];
        let start = Instant::now();
        for ((id, value), found) in ids.iter().zip(&mut values).zip(&mut found) {
            *found = store.load(id, value)?;
        }
        nanoseconds += start.elapsed().as_nanos();
        for ((session, value), found) in batch.iter().zip(&values).zip(found) {
            check(*session, found, value, len(*session))?;
        }
    }
    Ok(nanoseconds as f64 / picks.len() as f64)
}

fn check(session: u64, found: bool, value: &[u8], len: usize) -> Outcome<()> {
    if !found || value.len() != len || data::version_of(session, value) != Some(0) {
        return Err(format!("session {session} is not as it was saved").into());
    }
    Ok(())
}
