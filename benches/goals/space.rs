//! Row e: how much of the disk the file takes after ten overwrites of each
//! session with changing lengths, against the bytes of the ids and values in it.
//! tdb does the same beside it where it is installed.
//!
//! The sessions are overwritten in a random order with the default options (a
//! sync is due every second, as in real life), then synced, and the blocks that
//! the file system has given the file are counted. Two more runs say what a sync
//! after each pass, and none at all, would give.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cloakroom::{ByteContainer, Durability, IdForm, Options};

use crate::data::{self, Random};
use crate::stage::{Outcome, Stage, mixed_len};
use crate::table::{Findings, Line, median};
use crate::tdb::Library;

const PASSES: u32 = 10;
const GOAL: &str = "<= 1.8 x live";

/// Where overwrites go.
trait Keeper {
    fn keep(&self, id: &[u8], value: &[u8]) -> Outcome<()>;
    fn end_pass(&self) -> Outcome<()>;
}

struct Ours {
    container: ByteContainer,
    sync_each_pass: bool,
}

impl Keeper for Ours {
    fn keep(&self, id: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.container.save(id, value).map(drop)?)
    }

    fn end_pass(&self) -> Outcome<()> {
        if self.sync_each_pass {
            self.container.sync()?;
        }
        Ok(())
    }
}

impl Keeper for crate::tdb::Tdb {
    fn keep(&self, id: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.store(id, value)?)
    }

    fn end_pass(&self) -> Outcome<()> {
        Ok(())
    }
}

pub(crate) fn measure(stage: &Stage, findings: &mut Findings) -> Outcome<()> {
    let sessions = stage.size(20_000, 200);
    let mut ratios = Vec::new();
    for round in 0..stage.size(5, 1) {
        ratios.push(ours(stage, sessions, round, Options::new(), false)?);
    }
    let tdb = match Library::load() {
        Some(library) => Some(tdb(stage, library, sessions)?),
        None => None,
    };
    let ratio = median(&ratios);
    findings.lines.push(Line {
        what: format!("e. allocated bytes after {PASSES} overwrites, {sessions} sessions"),
        ours: format!("{ratio:.2} x live"),
        other: tdb.map_or("not run: no tdb".to_owned(), |ratio| format!("tdb {ratio:.2} x live")),
        ratio: tdb.map_or("-".to_owned(), |tdb| format!("{:.2}", ratio / tdb)),
        goal: GOAL,
        reached: Some(ratio <= 1.8),
    });
    let synced = ours(stage, sessions, 0, Options::new(), true)?;
    let never = Options::new().durability(Durability::Never);
    let never = ours(stage, sessions, 0, never, false)?;
    let list: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    findings.notes.push(format!(
        "e: rounds {}; with a sync after each pass {synced:.2}; with Durability::Never {never:.2}",
        list.join(" ")
    ));
    Ok(())
}

/// Allocated bytes over live bytes.
fn ours(
    stage: &Stage,
    sessions: u64,
    seed: u64,
    options: Options,
    sync_each_pass: bool,
) -> Outcome<f64> {
    let path = stage.path("space");
    let container = ByteContainer::create(&path, options.ids(IdForm::Plain))?;
    let keeper = Ours { container, sync_each_pass };
    let live = overwrite(&keeper, sessions, seed)?;
    let container = keeper.container;
    container.sync()?;
    for session in 0..sessions {
        let found = container.load(data::id(session))?.ok_or("a session is gone")?;
        if data::version_of(session, &found.value) != Some(PASSES) {
            return Err(format!("session {session} is not as it was saved").into());
        }
    }
    drop(container);
    share(&path, live)
}

fn tdb(stage: &Stage, library: Library, sessions: u64) -> Outcome<f64> {
    let path = stage.path("space.tdb");
    let file = library.open(&path, sessions + 11)?;
    let live = overwrite(&file, sessions, 0)?;
    drop(file);
    share(&path, live)
}

/// Of a file that is then removed.
fn share(path: &Path, live: u64) -> Outcome<f64> {
    std::fs::File::open(path)?.sync_all()?;
    let allocated = std::fs::metadata(path)?.blocks() * 512;
    std::fs::remove_file(path)?;
    Ok(allocated as f64 / live as f64)
}

/// Inserts, then overwrites; gives the live bytes.
fn overwrite(keeper: &impl Keeper, sessions: u64, seed: u64) -> Outcome<u64> {
    let mut random = Random::new(seed);
    let mut order: Vec<u64> = (0..sessions).collect();
    let mut value = Vec::new();
    let mut live = 0;
    for version in 0..=PASSES {
        for place in (1..order.len()).rev() {
            order.swap(place, random.below(place as u64 + 1) as usize);
        }
        live = 0;
        for &session in &order {
            let len = mixed_len(seed << 40 ^ session << 8 ^ u64::from(version));
            data::fill(&mut value, session, version, len);
            let id = data::id(session);
            keeper.keep(&id, &value)?;
            live += (id.len() + value.len()) as u64;
        }
        keeper.end_pass()?;
    }
    Ok(live)
}
