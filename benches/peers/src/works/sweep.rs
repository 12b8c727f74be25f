//! Removing what has expired: one session in a hundred, and a thousand among ever more.
//! SQLite is the peer that has an index on the deadline; the others would have to look
//! at everything.
//!
//! Neither waits for the disk. What is expired is put back before each round.

use std::time::Instant;

use cloakroom::{ByteContainer, Durability, IdForm, Options, SweepPolicy};
use rusqlite::Connection;

use crate::data;
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage};
use crate::store::Peer;

const LEN: usize = 256;
const SIZES: [&str; 3] = ["100k", "1M", "10M"];
/// Sessions that expire however many there are.
const FEW: u64 = 1_000;
/// To have ten million rows takes SQLite too long.
const SQLITE_MAX: u64 = 1_000_000;
/// In the year 2096, and long ago.
const LATER_MS: u64 = 4_000_000_000_000;
const PAST_MS: u64 = 1;

pub(crate) fn measure(stage: &Stage, peers: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let counts: Vec<u64> = (0..3).map(|nth| stage.size(100_000, 100) * 10_u64.pow(nth)).collect();
    let sizes: Vec<(&str, u64)> =
        SIZES.into_iter().zip(counts).take(stage.size(3, 2) as usize).collect();
    let columns: Vec<_> = sizes.iter().map(|(name, _)| (*name, Unit::Time)).collect();
    let mut hundredth = Table::new("To remove the hundredth of the sessions", &columns);
    let mut few = Table::new("To remove a thousand of the sessions", &columns);
    let sqlite = peers.iter().any(|peer| peer.name == "sqlite");
    for (column, sessions) in &sizes {
        let path = stage.path("swept");
        let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
        let options = options.sweep(SweepPolicy::OnRequest);
        let container = ByteContainer::create(&path, options)?;
        for session in 0..*sessions {
            put(&container, session, LATER_MS)?;
        }
        container.sync()?;
        for (table, expired) in [(&mut hundredth, sessions / 100), (&mut few, FEW.min(*sessions))] {
            for _ in 0..stage.rounds() {
                for session in spread(expired, *sessions) {
                    put(&container, session, PAST_MS)?;
                }
                container.sync()?;
                let start = Instant::now();
                let removed = container.sweep(u64::MAX)?.removed;
                table.push("cloakroom", column, start.elapsed().as_nanos() as f64);
                assert_removed(removed, expired)?;
                for session in spread(expired, *sessions) {
                    put(&container, session, LATER_MS)?;
                }
                container.sync()?;
            }
        }
        drop(container);
        std::fs::remove_file(path)?;
        if sqlite && *sessions <= SQLITE_MAX {
            measure_sqlite(stage, *sessions, column, &mut hundredth, &mut few)?;
        }
    }
    let points: Vec<_> = sizes.iter().map(|(name, count)| (*name, *count as f64)).collect();
    report.push(Section {
        title: "Sweeping",
        about: format!(
            "Sessions of {LEN} B with a deadline each. cloakroom publishes a removal for each that \
             has expired, and has its space back after the next sync; SQLite (WAL, not synced) \
             has an index on the deadline and deletes the rows in one transaction."
        ),
        plots: vec![Plot {
            name: "sweep",
            title: format!("To remove {FEW} sessions against how many there are"),
            x: "sessions",
            y: "ns",
            series: few.series(&points),
        }],
        tables: vec![hundredth, few],
        ..Section::default()
    });
    Ok(())
}

/// So many sessions of all, evenly.
fn spread(count: u64, of: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |nth| nth * of / count)
}

fn put(container: &ByteContainer, session: u64, deadline_ms: u64) -> Outcome<()> {
    let id = data::id(session);
    container.save(id, &data::value(session, 0, LEN))?;
    container.set_deadline(id, Some(deadline_ms))?;
    Ok(())
}

fn assert_removed(removed: u64, expired: u64) -> Outcome<()> {
    if removed == expired {
        Ok(())
    } else {
        Err(format!("{removed} of {expired} were removed").into())
    }
}

const INSERT: &str = "INSERT OR REPLACE INTO sessions (id, deadline, value) VALUES (?1, ?2, ?3)";

fn measure_sqlite(
    stage: &Stage,
    sessions: u64,
    column: &str,
    hundredth: &mut Table,
    few: &mut Table,
) -> Outcome<()> {
    let directory = stage.path("sqlite-swept");
    std::fs::create_dir(&directory)?;
    let mut connection = Connection::open(directory.join("sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "mmap_size", 2_i64 << 30)?;
    connection.execute_batch(
        "CREATE TABLE sessions (id BLOB PRIMARY KEY, deadline INTEGER, value BLOB NOT NULL);
         CREATE INDEX by_deadline ON sessions (deadline)",
    )?;
    put_rows(&mut connection, 0..sessions, LATER_MS)?;
    for (table, expired) in [(hundredth, sessions / 100), (few, FEW.min(sessions))] {
        for _ in 0..stage.rounds() {
            put_rows(&mut connection, spread(expired, sessions), PAST_MS)?;
            connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
            let start = Instant::now();
            let removed =
                connection.execute("DELETE FROM sessions WHERE deadline <= ?1", [1_000])? as u64;
            table.push("sqlite", column, start.elapsed().as_nanos() as f64);
            assert_removed(removed, expired)?;
            put_rows(&mut connection, spread(expired, sessions), LATER_MS)?;
        }
    }
    drop(connection);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn put_rows(
    connection: &mut Connection,
    sessions: impl Iterator<Item = u64>,
    deadline_ms: u64,
) -> Outcome<()> {
    let transaction = connection.transaction()?;
    for session in sessions {
        let value = data::value(session, 0, LEN);
        let row = (data::id(session), deadline_ms as i64, value);
        transaction.prepare_cached(INSERT)?.execute(row)?;
    }
    Ok(transaction.commit()?)
}
