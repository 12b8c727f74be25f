//! Row a: loads by a handle that maps the file, everything in memory, against
//! the least that such a load can be: read one random 64-byte line, then copy
//! the 1 KiB that it names, and its crc32, from a mapped file as large.
//!
//! Both sides copy into a buffer that is used again, and get their random
//! numbers from the same list. Before the timing both have read everything
//! once, in a run that compares every value.

use std::hint::black_box;
use std::time::Instant;

use cloakroom::{ByteContainer, Options};

use crate::data::{self, Random};
use crate::floor::Floor;
use crate::stage::{Outcome, Stage};
use crate::table::{Findings, Rounds, time};

const VALUE: usize = 1024;
const GOAL: &str = "<= 1.35 x";

pub(crate) fn measure(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(1_000_000, 1_000);
    let path = stage.container("load", sessions, |_| VALUE)?;
    let container = ByteContainer::open(&path, Options::new())?;
    let floor = Floor::new(stage, sessions, VALUE, container.info()?.length)?;
    verify(&container, sessions)?;
    floor.verify()?;

    let loads = stage.size(200_000, 1_000);
    let mut random = Random::new(1);
    let mut rounds = Rounds::default();
    for _ in 0..stage.rounds() {
        let picks: Vec<u64> = (0..loads).map(|_| random.next()).collect();
        let ours = ours(&container, sessions, &picks)?;
        rounds.push(ours, floor.read(&picks)?);
    }
    let what = format!("a. load, {sessions} sessions, mapped, warm, 1 KiB");
    findings.lines.push(rounds.line(what, GOAL, |ratio| ratio <= 1.35, time));
    let (least, most) = rounds.ratio_span();
    findings.notes.push(format!(
        "a: the ratio was {least:.2} to {most:.2} in {} rounds of {loads}; the file is {} MB",
        stage.rounds(),
        container.info()?.length / 1_000_000,
    ));
    Ok(())
}

/// Loads every session and compares its value.
fn verify(container: &ByteContainer, sessions: u64) -> Outcome<()> {
    let mut value = Vec::new();
    for session in 0..sessions {
        let found = container.load_into(data::id(session), &mut value)?;
        if found.is_none() || data::version_of(session, &value) != Some(0) {
            return Err(format!("session {session} is not as it was saved").into());
        }
    }
    Ok(())
}

/// Nanoseconds of a load.
fn ours(container: &ByteContainer, sessions: u64, picks: &[u64]) -> Outcome<f64> {
    let ids: Vec<[u8; 32]> = picks.iter().map(|pick| data::id(pick % sessions)).collect();
    let mut value = Vec::with_capacity(VALUE);
    let start = Instant::now();
    for id in &ids {
        let found = container.load_into(id, &mut value)?;
        if found.is_none() || black_box(&value).len() != VALUE {
            return Err("a load found nothing, or something else".into());
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / ids.len() as f64)
}
