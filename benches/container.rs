//! How long each operation of a container takes, at 10^4 and 10^6 sessions of
//! 1 KiB: `cargo bench --bench container`, or a part, `... -- "load/10000"`.
//!
//! Each bench is a function of the number of sessions and makes its container
//! when it first runs, so that a filter leaves out the making too. The interval
//! of syncs is an hour: syncs happen between the timed calls, often enough that
//! removed and superseded versions do not pile up. The handle maps the file, but
//! for `request`, which opens it anew each time. With `CLOAKROOM_BENCH_TINY=1`,
//! or when `cargo test` runs it, there are 10^2 and 10^3 sessions and few samples.

#![allow(clippy::unwrap_used)] // A bench that goes wrong should stop at once.

use std::cell::{Cell, LazyCell, RefCell};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, IdForm, Options};
use criterion::{BatchSize, Criterion};
use tempfile::TempDir;

#[path = "goals/data.rs"]
mod data;

use data::Random;

const LEN: usize = 1024;

/// Timed calls between two of what is not timed.
const BATCH: BatchSize = BatchSize::NumIterations(100);

/// Changes between two syncs.
const SYNC_AFTER: u64 = 20_000;

fn main() {
    let tiny = std::env::var_os("CLOAKROOM_BENCH_TINY").is_some_and(|value| value == "1")
        || !std::env::args().any(|word| word == "--bench");
    let mut criterion = Criterion::default().configure_from_args();
    if tiny {
        criterion = criterion
            .without_plots()
            .sample_size(10)
            .nresamples(1_000)
            .warm_up_time(Duration::from_millis(20))
            .measurement_time(Duration::from_millis(100));
    }
    let sizes = if tiny { [100, 1_000] } else { [10_000, 1_000_000] };
    for sessions in sizes {
        load(&mut criterion, sessions);
        save(&mut criterion, sessions);
        update(&mut criterion, sessions);
        remove(&mut criterion, sessions);
        request(&mut criterion, sessions);
    }
    criterion.final_summary();
}

/// A container of sessions in version 0.
struct Fixture {
    container: ByteContainer,
    path: PathBuf,
    sessions: u64,
    random: RefCell<Random>,
    changes: Cell<u64>,
    /// Removed when all is done.
    _directory: TempDir,
}

impl Fixture {
    fn new(sessions: u64) -> Fixture {
        let chosen = std::env::var_os("CLOAKROOM_BENCH_DIR").map(PathBuf::from);
        let parent = chosen.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
        let directory = tempfile::Builder::new().prefix("container-").tempdir_in(parent).unwrap();
        let path = directory.path().join("sessions");
        let container = ByteContainer::create(&path, options()).unwrap();
        let random = RefCell::new(Random::new(7));
        let fixture = Fixture {
            container,
            path,
            sessions,
            random,
            changes: Cell::new(0),
            _directory: directory,
        };
        let mut value = Vec::new();
        for session in 0..sessions {
            data::fill(&mut value, session, 0, LEN);
            fixture.container.save(data::id(session), &value).unwrap();
        }
        fixture.container.sync().unwrap();
        // Maps the file, and shows that what is measured is right.
        for session in 0..sessions {
            fixture.container.load_into(data::id(session), &mut value).unwrap();
            assert_eq!(data::version_of(session, &value), Some(0));
        }
        fixture
    }

    fn pick(&self) -> u64 {
        self.random.borrow_mut().below(self.sessions)
    }

    /// The id of one of the sessions.
    fn id(&self) -> [u8; 32] {
        data::id(self.pick())
    }

    /// The id of one of the sessions and a new value for it. Now and then it
    /// brings what was done so far to the disk.
    fn change(&self) -> ([u8; 32], Vec<u8>) {
        self.changes.set(self.changes.get() + 1);
        if self.changes.get().is_multiple_of(SYNC_AFTER) {
            self.container.sync().unwrap();
        }
        let session = self.pick();
        (data::id(session), data::value(session, 1, LEN))
    }

    /// An id that was never there, and a value. What such a call made a while
    /// ago is removed, so that the number of sessions stays.
    fn guest(&self) -> ([u8; 32], Vec<u8>) {
        let (_, value) = self.change();
        let number = self.sessions + self.changes.get();
        if let Some(old) = number.checked_sub(200).filter(|&old| old > self.sessions) {
            self.container.remove(data::id(old)).unwrap();
        }
        (data::id(number), value)
    }
}

fn options() -> Options {
    let hourly = Durability::Interval(Duration::from_secs(3600));
    Options::new().ids(IdForm::Plain).durability(hourly)
}

fn load(criterion: &mut Criterion, sessions: u64) {
    let fixture = LazyCell::new(|| Fixture::new(sessions));
    let mut group = criterion.benchmark_group(format!("load/{sessions} sessions"));
    let mut value = Vec::new();
    group.bench_function("hit", |bencher| {
        let fixture = &*fixture;
        let load = |id| fixture.container.load_into(id, &mut value).unwrap().is_some();
        bencher.iter_batched(|| fixture.id(), load, BATCH);
    });
    group.bench_function("miss", |bencher| {
        let fixture = &*fixture;
        let miss = || data::id(fixture.sessions + fixture.pick());
        let load = |id| fixture.container.load_into(id, &mut value).unwrap().is_some();
        bencher.iter_batched(miss, load, BATCH);
    });
    group.finish();
}

fn save(criterion: &mut Criterion, sessions: u64) {
    let fixture = LazyCell::new(|| Fixture::new(sessions));
    let mut group = criterion.benchmark_group(format!("save/{sessions} sessions"));
    group.bench_function("overwrite", |bencher| {
        let fixture = &*fixture;
        let save = |(id, value): ([u8; 32], Vec<u8>)| fixture.container.save(id, &value).unwrap();
        bencher.iter_batched(|| fixture.change(), save, BATCH);
    });
    group.bench_function("insert", |bencher| {
        let fixture = &*fixture;
        let save = |(id, value): ([u8; 32], Vec<u8>)| fixture.container.save(id, &value).unwrap();
        bencher.iter_batched(|| fixture.guest(), save, BATCH);
    });
    group.finish();
}

fn update(criterion: &mut Criterion, sessions: u64) {
    let fixture = LazyCell::new(|| Fixture::new(sessions));
    let mut group = criterion.benchmark_group(format!("update/{sessions} sessions"));
    group.bench_function("read and overwrite", |bencher| {
        let fixture = &*fixture;
        let update = |(id, value): ([u8; 32], Vec<u8>)| {
            let change = |found: Option<cloakroom::Session<&[u8]>>| {
                assert!(found.is_some());
                Change::Save(value.clone())
            };
            fixture.container.update(id, change).unwrap()
        };
        bencher.iter_batched(|| fixture.change(), update, BATCH);
    });
    group.finish();
}

fn remove(criterion: &mut Criterion, sessions: u64) {
    let fixture = LazyCell::new(|| Fixture::new(sessions));
    let mut group = criterion.benchmark_group(format!("remove/{sessions} sessions"));
    group.bench_function("of a new session", |bencher| {
        let fixture = &*fixture;
        let save = || {
            let (id, value) = fixture.guest();
            fixture.container.save(id, &value).unwrap();
            id
        };
        bencher.iter_batched(save, |id| assert!(fixture.container.remove(id).unwrap()), BATCH);
    });
    group.finish();
}

/// One request of a CGI program, in a process that has done it before; a fresh
/// one is measured by the bench `goals`.
fn request(criterion: &mut Criterion, sessions: u64) {
    let fixture = LazyCell::new(|| Fixture::new(sessions));
    let mut group = criterion.benchmark_group(format!("request/{sessions} sessions"));
    group.bench_function("open, load, save, close", |bencher| {
        let fixture = &*fixture;
        let request = |(id, value): ([u8; 32], Vec<u8>)| {
            let container = ByteContainer::open(&fixture.path, options()).unwrap();
            let found = black_box(container.load(id).unwrap());
            container.save(id, &value).unwrap();
            found
        };
        bencher.iter_batched(|| fixture.change(), request, BATCH);
    });
    group.finish();
}
