//! The operations whose instructions are counted, one function for each. A child does
//! one of them so many times and checks what it gets; it must do nothing else that
//! grows with their number.

use std::path::Path;
use std::time::Duration;

use cloakroom::{Change, Durability, IdForm, MapPolicy, Options, Outcome as Saved, Timeouts};

use crate::Outcome;
use crate::data;
use crate::repeatable;

/// Sessions in the container, at first.
pub(crate) const SESSIONS: u64 = 10_000;
const VALUE_LEN: usize = 1_000;
/// Sessions that are saved again and again.
const FEW: u64 = 200;

pub(crate) struct Job {
    pub(crate) name: &'static str,
    does: fn(&Path, u64) -> Outcome<()>,
}

pub(crate) const JOBS: &[Job] = &[
    Job { name: "load", does: |path, count| load(path, count, MapPolicy::AfterLoads(0)) },
    Job { name: "load-by-calls", does: |path, count| load(path, count, MapPolicy::Never) },
    Job { name: "load-absent", does: load_absent },
    Job { name: "save", does: |path, count| save(path, count, SESSIONS) },
    Job { name: "save-again", does: |path, count| save(path, count, FEW) },
    Job { name: "save-new", does: save_new },
    Job { name: "update", does: update },
    Job { name: "touch", does: touch },
    Job { name: "touch-early", does: touch_early },
    Job { name: "set-deadline", does: set_deadline },
    Job { name: "remove", does: remove },
    Job { name: "open-and-load", does: open_and_load },
];

/// Nothing waits for the disk.
fn options() -> Options {
    Options::new().ids(IdForm::Plain).durability(Durability::Never)
}

/// Makes the container that a child works on.
pub(crate) fn prepare(path: &Path) -> Outcome<()> {
    let container = repeatable::create(path, options())?;
    for session in 0..SESSIONS {
        container.save(data::id(session), &data::value(session, 0, VALUE_LEN))?;
    }
    Ok(container.sync()?)
}

pub(crate) fn child(name: &str, path: &str, count: &str) -> Outcome<()> {
    let job = JOBS.iter().find(|job| job.name == name).ok_or("no such job")?;
    (job.does)(Path::new(path), count.parse()?)
}

fn sure(holds: bool) -> Outcome<()> {
    if holds { Ok(()) } else { Err("a session is not what it was".into()) }
}

fn load(path: &Path, count: u64, map: MapPolicy) -> Outcome<()> {
    let container = repeatable::open(path, options().map(map))?;
    let mut value = Vec::new();
    for session in 0..count {
        let found = container.load_into(data::id(session), &mut value)?;
        sure(found.is_some() && value.len() == VALUE_LEN)?;
    }
    Ok(())
}

fn load_absent(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options().map(MapPolicy::AfterLoads(0)))?;
    let mut value = Vec::new();
    for session in 0..count {
        sure(container.load_into(data::id(SESSIONS + session), &mut value)?.is_none())?;
    }
    Ok(())
}

fn save(path: &Path, count: u64, sessions: u64) -> Outcome<()> {
    let container = repeatable::open(path, options())?;
    let value = data::value(0, 1, VALUE_LEN);
    for session in 0..count {
        container.save(data::id(session % sessions), &value)?;
    }
    Ok(())
}

fn save_new(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options())?;
    let value = data::value(0, 1, VALUE_LEN);
    for session in 0..count {
        let saved = container.create_session(data::id(SESSIONS + session), &value)?;
        sure(matches!(saved, Saved::Saved(_)))?;
    }
    Ok(())
}

fn update(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options())?;
    for session in 0..count {
        container.update(data::id(session), |found| match found {
            Some(found) => Change::Save(found.value.to_vec()),
            None => Change::Keep,
        })?;
    }
    Ok(())
}

/// Of sessions that have no deadline yet: each is written.
fn touch(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options().timeouts(idle()))?;
    for session in 0..count {
        sure(container.touch(data::id(session))?)?;
    }
    Ok(())
}

/// Of one session, with most of its time left: nothing is written.
fn touch_early(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options().timeouts(idle()))?;
    container.save(data::id(0), &data::value(0, 0, VALUE_LEN))?;
    for _ in 0..count {
        sure(container.touch(data::id(0))?)?;
    }
    Ok(())
}

fn idle() -> Timeouts {
    Timeouts::NONE.idle(Duration::from_secs(1_000_000_000))
}

fn set_deadline(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options())?;
    for session in 0..count {
        sure(container.set_deadline(data::id(session), Some(4_000_000_000_000))?)?;
    }
    Ok(())
}

fn remove(path: &Path, count: u64) -> Outcome<()> {
    let container = repeatable::open(path, options())?;
    for session in 0..count {
        sure(container.remove(data::id(session))?)?;
    }
    Ok(())
}

fn open_and_load(path: &Path, count: u64) -> Outcome<()> {
    let mut value = Vec::new();
    for session in 0..count {
        let container = repeatable::open(path, options())?;
        sure(container.load_into(data::id(session), &mut value)?.is_some())?;
    }
    Ok(())
}
