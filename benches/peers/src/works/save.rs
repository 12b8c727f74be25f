//! Saves over random sessions by a process that lives long, without waiting for the
//! disk: every save timed by itself.

use std::time::Instant;

use crate::data::{self, Random};
use crate::numbers::{mean, percentile};
use crate::report::{Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, mixed_len};
use crate::store::{Filled, Mode, Peer, Store};

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(100_000, 200);
    let columns = ["mean", "p50", "p99", "p99.9"].map(|name| (name, Unit::Time));
    let mut table = Table::new(format!("A save over one of {sessions} sessions"), &columns);
    let mut stores = Vec::new();
    for peer in peers {
        let filled = Filled::new(peer, &stage.path(""), Mode::Fast, sessions, &mixed_len)?;
        let store = filled.open(Mode::Lasting)?;
        stores.push((filled, store, vec![0_u32; sessions as usize]));
    }
    let mut random = Random::new(7);
    for _ in 0..stage.rounds() {
        let picks: Vec<u64> = (0..stage.size(10_000, 50)).map(|_| random.below(sessions)).collect();
        for (filled, store, versions) in &mut stores {
            let times = saves(store.as_mut(), versions, &picks)?;
            table.push(filled.peer.name, "mean", mean(&times));
            for (column, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                table.push(filled.peer.name, column, percentile(&times, share));
            }
        }
    }
    for (filled, mut store, versions) in stores {
        verify(store.as_mut(), &versions)?;
        drop(store);
        filled.remove()?;
    }
    report.push(Section {
        title: "Save, not waiting for the disk",
        about: "One process with one handle saves new values over random sessions, each save \
                timed by itself; ids and values are made outside the clock. At the end every \
                session is read and compared."
            .to_owned(),
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// Nanoseconds of each save.
fn saves(store: &mut dyn Store, versions: &mut [u32], picks: &[u64]) -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity(picks.len());
    let mut value = Vec::new();
    for &session in picks {
        let version = versions.get_mut(session as usize).ok_or("no such session")?;
        *version += 1;
        data::fill(&mut value, session, *version, mixed_len(session));
        let id = data::id(session);
        let start = Instant::now();
        store.save(&id, &value)?;
        times.push(start.elapsed().as_nanos() as f64);
    }
    Ok(times)
}

fn verify(store: &mut dyn Store, versions: &[u32]) -> Outcome<()> {
    let mut value = Vec::new();
    for (session, version) in (0..).zip(versions) {
        let found = store.load(&data::id(session), &mut value)?;
        if !found || data::version_of(session, &value) != Some(*version) {
            return Err(format!("session {session} is not in version {version}").into());
        }
    }
    Ok(())
}
