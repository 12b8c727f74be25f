//! Sessions that end while somebody looks at them: a clock that goes on, and others who act,
//! between two questions of one operation.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::SimulatedStorage;
use cloakroom::{ByteContainer, Change, Options, Timeouts};

use crate::fixture::{Fixture, quick};
use crate::wrapped::{Wrapped, Wrapper};

const IDLE_MS: u64 = 60_000;

type Deed = Box<dyn FnMut() + Send>;

/// A storage that does something before it tells the time, and before it writes.
#[derive(Default)]
struct Deeds {
    before_time: Option<Deed>,
    before_write: Option<Deed>,
}

#[derive(Clone)]
struct Eventful {
    storage: Arc<SimulatedStorage>,
    deeds: Arc<Mutex<Deeds>>,
}

impl fmt::Debug for Eventful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eventful")
    }
}

impl Wrapper for Eventful {
    fn below(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    fn now_ms(&self) -> u64 {
        if let Some(deed) = &mut self.deeds.lock().unwrap().before_time {
            deed();
        }
        self.storage.now_ms()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        if let Some(deed) = &mut self.deeds.lock().unwrap().before_write {
            deed();
        }
        self.storage.write_at(bytes, offset)
    }
}

fn options() -> Options {
    quick().timeouts(Timeouts::NONE.idle(Duration::from_millis(IDLE_MS)))
}

fn eventful(fixture: &Fixture) -> (ByteContainer, Arc<Mutex<Deeds>>) {
    let disk = fixture.disk();
    let deeds = Arc::new(Mutex::new(Deeds::default()));
    let storage = Arc::new(disk.open(disk.spawn()));
    let storage = Eventful { storage, deeds: Arc::clone(&deeds) };
    (ByteContainer::open_on(Box::new(Wrapped(storage)), options()).unwrap(), deeds)
}

#[test]
fn a_load_that_stands_still_during_a_touch_finds_the_session() {
    let fixture = Fixture::simulated();
    let container = fixture.create(options());
    container.save("visitor", b"a hat").unwrap();
    let end = container.load("visitor").unwrap().unwrap().times.deadline_ms.unwrap();
    let (reader, deeds) = eventful(&fixture);
    fixture.disk().set_now_ms(end - 5);
    let (disk, other) = (fixture.disk().clone(), fixture.open(options()));
    let mut touched = false;
    deeds.lock().unwrap().before_time = Some(Box::new(move || {
        // The reader has read the entry.
        if !std::mem::replace(&mut touched, true) {
            assert!(other.touch("visitor").unwrap());
            disk.set_now_ms(end + 5);
        }
    }));
    assert!(reader.load("visitor").unwrap().is_some());
}

#[test]
fn whom_a_load_has_found_gone_no_change_brings_back() {
    for way in ["touch", "replace", "save if", "update"] {
        for left_ms in 1..12 {
            let fixture = Fixture::simulated();
            let container = fixture.create(options());
            let version = container.save("visitor", b"1").unwrap();
            let end = container.load("visitor").unwrap().unwrap().times.deadline_ms.unwrap();
            let (writer, deeds) = eventful(&fixture);
            let (disk, reader) = (fixture.disk().clone(), fixture.open(options()));
            let gone = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&gone);
            let mut now_ms = end - left_ms;
            disk.set_now_ms(now_ms);
            let mut deeds = deeds.lock().unwrap();
            // Each question takes a millisecond.
            deeds.before_time = Some(Box::new(move || {
                now_ms += 1;
                disk.set_now_ms(now_ms);
            }));
            deeds.before_write = Some(Box::new(move || {
                if !reader.contains("visitor").unwrap() {
                    seen.store(true, Ordering::Relaxed);
                }
            }));
            drop(deeds);
            match way {
                "touch" => drop(writer.touch("visitor").unwrap()),
                "replace" => drop(writer.replace("visitor", b"2").unwrap().saved()),
                "save if" => drop(writer.save_if("visitor", version, b"2").unwrap().saved()),
                _ => drop(writer.update("visitor", |session| match session {
                    Some(_) => Change::Save(b"2".to_vec()),
                    None => Change::Keep,
                })),
            }
            let back = gone.load(Ordering::Relaxed) && container.contains("visitor").unwrap();
            assert!(!back, "{way}, {left_ms} ms before the end");
        }
    }
}
