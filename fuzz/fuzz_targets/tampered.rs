//! Opens a container that somebody tampered with.
//!
//! The input says what to do to a good container: which lines, table entries and
//! records to change, and whether to make their checksums right again, so that
//! what lies behind a checksum is reached too. Then everything is done with it
//! that can be done. It must end, without a panic and without taking much
//! memory; what it answers does not matter.

#![no_main]

mod image;

use std::time::Duration;

use arbitrary::Arbitrary;
use cloakroom::storage::simulated::SimulatedDisk;
use cloakroom::storage::{MemoryStorage, Storage};
use cloakroom::{ByteContainer, Change, Durability, MapPolicy, Options};
use image::{Image, Mutation};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Which image: most of the time the small one, which is faster.
    size: u8,
    /// Whether the first writer has to recover.
    rebooted: bool,
    durable: bool,
    mapped: bool,
    mutations: Vec<Mutation<'a>>,
}

/// More sessions than any image here has room for.
const SESSIONS_MAX: usize = 100_000;

fuzz_target!(|input: Input<'_>| {
    let mut image = Image::of(input.size.is_multiple_of(8));
    for mutation in &input.mutations {
        image.mutate(mutation);
    }
    let durability = if input.durable {
        Durability::Durable
    } else {
        Durability::Interval(Duration::from_secs(1))
    };
    let options = Options::new()
        .durability(durability)
        .lock_deadline(Duration::from_millis(200))
        .map(if input.mapped { MapPolicy::AfterLoads(0) } else { MapPolicy::Never });
    if input.rebooted {
        let storage = MemoryStorage::from_bytes(image.bytes);
        storage.set_limit(Some(64 << 20));
        exercise(&|| Box::new(storage.share()), options);
    } else {
        let disk = SimulatedDisk::with_bytes(1, &image.bytes);
        disk.set_capacity(Some(64 << 20));
        let process = disk.spawn();
        exercise(&|| Box::new(disk.open(process)), options);
    }
});

/// Does everything, and reads once more what came of it.
fn exercise(storage: &dyn Fn() -> Box<dyn Storage>, options: Options) {
    if let Ok(reader) = ByteContainer::open_read_only_on(storage(), options.clone()) {
        read(&reader);
    }
    if let Ok(container) = ByteContainer::open_on(storage(), options.clone()) {
        write(&container);
        read(&container);
        check(&container);
    }
    if let Ok(container) = ByteContainer::open_on(storage(), options) {
        let _ = container.save(image::id(0), b"after all");
    }
}

fn read(container: &ByteContainer) {
    for number in 0..8 {
        let _ = container.load(image::id(number));
    }
    let _ = container.load("nobody");
    let items = container.iter().take(SESSIONS_MAX).count();
    assert!(items < SESSIONS_MAX, "the walk does not end");
    let _ = container.len();
    let _ = container.info();
}

fn check(container: &ByteContainer) {
    if let Ok(report) = container.check() {
        assert!(report.damage.len() as u64 == report.damage_count.min(1000));
        assert!(report.notes.len() as u64 == report.note_count.min(1000));
    }
}

fn write(container: &ByteContainer) {
    for (number, len) in [10, 300, 5000, 20, 70_000, 0].into_iter().enumerate() {
        let _ = container.save(image::id(number), &vec![7; len]);
    }
    for number in 0..4 {
        let _ = container.save(format!("new {number}"), b"new");
    }
    let _ = container.update(image::id(6), |session| match session {
        Some(session) => Change::Save([session.value, b"+"].concat()),
        None => Change::Save(Vec::new()),
    });
    let _ = container.set_deadline(image::id(7), Some(1));
    let _ = container.remove(image::id(3));
    let _ = container.create_session(image::id(3), b"again");
    let _ = container.replace(image::id(2), b"replaced");
    let _ = container.sync();
    let _ = container.save(image::id(1), b"after the sync");
    if let Ok(Some(session)) = container.load(image::id(1)) {
        let _ = container.save_if(image::id(1), session.version, b"once more");
    }
}
