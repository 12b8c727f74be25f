//! How large a store becomes: every session saved over ten times with sizes that change,
//! bytes on the disk for each byte of ids and values that live.

use crate::data;
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, mixed_len};
use crate::store::{Filled, Mode, Peer};

const PASSES: u32 = 10;
const FRESH: &str = "fresh";
const AFTER: &str = "after 10 passes";
const DURABLE: &str = "the same, durable";

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(20_000, 100);
    let columns = [(FRESH, Unit::Share), (AFTER, Unit::Share), (DURABLE, Unit::Share)];
    let caption = format!("Bytes on the disk for each byte kept, {sessions} sessions");
    let mut table = Table::new(caption, &columns);
    let mut series = Vec::new();
    for peer in peers {
        // A quarter: these wait for the disk at every save.
        for (mode, column, sessions) in
            [(Mode::Fast, AFTER, sessions), (Mode::Durable, DURABLE, sessions / 4)]
        {
            if !peer.has(mode) {
                continue;
            }
            let filled = Filled::new(peer, &stage.path(""), mode, sessions, &mixed_len)?;
            let mut points = vec![(1.0, share(&filled, 0)?)];
            for pass in 1..=PASSES {
                churn(&filled, pass)?;
                points.push((f64::from(pass) + 1.0, share(&filled, pass)?));
            }
            if mode == Mode::Fast {
                table.push(peer.name, FRESH, points.first().map_or(0.0, |point| point.1));
            }
            table.push(peer.name, column, points.last().map_or(0.0, |point| point.1));
            if mode == Mode::Fast {
                series.push((peer.name.to_owned(), points));
            }
            filled.remove()?;
        }
    }
    report.push(Section {
        title: "Size after churn",
        about: "Every session is saved over, ten times, with another size each time; the store \
                is closed and opened after each pass. A server's memory is not counted."
            .to_owned(),
        plots: vec![Plot {
            name: "size",
            title: "Bytes on the disk for each byte kept against passes of overwrites".to_owned(),
            x: "passes, counted from 1 for a fresh store",
            y: "bytes for a byte",
            series,
        }],
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// The size of a session in a pass.
fn len(session: u64, pass: u32) -> usize {
    mixed_len(session ^ u64::from(pass) << 40)
}

fn churn(filled: &Filled, pass: u32) -> Outcome<()> {
    let mut store = filled.open(filled.mode)?;
    let (mut value, mut found) = (Vec::new(), Vec::new());
    for session in 0..filled.place.sessions {
        data::fill(&mut value, session, pass, len(session, pass));
        store.save(&data::id(session), &value)?;
    }
    for session in 0..filled.place.sessions {
        store.load(&data::id(session), &mut found)?;
        if data::version_of(session, &found) != Some(pass) {
            return Err(format!("session {session} is not in version {pass}").into());
        }
    }
    Ok(())
}

fn share(filled: &Filled, pass: u32) -> Outcome<f64> {
    let live: u64 = (0..filled.place.sessions).map(|session| 32 + len(session, pass) as u64).sum();
    Ok(filled.allocated()? as f64 / live as f64)
}
