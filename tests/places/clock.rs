//! A clock that is ten years off, in either direction, for a while or for good:
//! deadlines are judged by it, and nothing is deleted on its word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::storage::{MemoryStorage, Storage};
use cloakroom::{ByteContainer, Durability, Options, Outcome};

use crate::wrapped::{Wrapped, Wrapper};
use crate::{assert_sound, value};

const TEN_YEARS: u64 = 10 * 365 * 86_400_000;
const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

/// A storage whose wall clock a test sets.
#[derive(Debug)]
struct Clocked {
    storage: MemoryStorage,
    now_ms: Arc<AtomicU64>,
}

impl Wrapper for Clocked {
    fn below(&self) -> &dyn Storage {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

/// A container with one session that ends in an hour and one that does not end.
fn container(durability: Durability) -> (ByteContainer, Arc<AtomicU64>) {
    let now_ms = Arc::new(AtomicU64::new(NOW));
    let storage = Clocked { storage: MemoryStorage::new(), now_ms: Arc::clone(&now_ms) };
    let other = Clocked { storage: storage.storage.share(), now_ms: Arc::clone(&now_ms) };
    let options = Options::new().durability(durability);
    drop(ByteContainer::create_on(Box::new(Wrapped(other)), options.clone()).unwrap());
    let container = ByteContainer::open_on(Box::new(Wrapped(storage)), options).unwrap();
    container.save("ends", b"a hat").unwrap();
    container.set_deadline("ends", Some(NOW + HOUR)).unwrap();
    container.save("stays", b"a coat").unwrap();
    (container, now_ms)
}

#[test]
fn a_clock_ten_years_ahead_hides_what_has_a_deadline_and_deletes_nothing() {
    let (container, clock) = container(Durability::Never);
    clock.store(NOW + TEN_YEARS, Ordering::Relaxed);
    assert_eq!(container.load("ends").unwrap(), None);
    assert_eq!(value(&container, "stays"), b"a coat");
    // Much is saved meanwhile, growth and trims included.
    for number in 0..2000u32 {
        container.save(number.to_le_bytes(), b"a cane").unwrap();
        container.save("stays", &number.to_le_bytes()).unwrap();
    }
    container.sync().unwrap();
    clock.store(NOW + 1, Ordering::Relaxed);
    assert_eq!(value(&container, "ends"), b"a hat");
    assert_eq!(container.load("ends").unwrap().unwrap().times.deadline_ms, Some(NOW + HOUR));
    assert_eq!(container.iter().filter(Result::is_ok).count(), 2002);
    assert_sound(&container);
}

#[test]
fn a_clock_ten_years_behind_ends_nothing_too_late_once_it_is_right_again() {
    let (container, clock) = container(Durability::Never);
    clock.store(NOW - TEN_YEARS, Ordering::Relaxed);
    assert_eq!(value(&container, "ends"), b"a hat");
    container.save("ends", b"a cap").unwrap();
    container.save("made", b"a cane").unwrap();
    container.set_deadline("made", Some(NOW - TEN_YEARS + HOUR)).unwrap();
    let taken = container.create_session("ends", b"").unwrap();
    assert_eq!(taken, Outcome::Conflict);
    clock.store(NOW + 1, Ordering::Relaxed);
    let ends = container.load("ends").unwrap().unwrap();
    assert_eq!((&ends.value[..], ends.times.deadline_ms), (&b"a cap"[..], Some(NOW + HOUR)));
    assert!(!container.contains("made").unwrap());
    clock.store(NOW + HOUR, Ordering::Relaxed);
    assert!(!container.contains("ends").unwrap());
    assert_sound(&container);
}

#[test]
fn syncs_at_intervals_go_on_however_the_clock_is_set() {
    let (container, clock) = container(Durability::Interval(Duration::from_secs(1)));
    for now in [NOW + TEN_YEARS, NOW - TEN_YEARS, 0, NOW, NOW + TEN_YEARS, NOW] {
        clock.store(now, Ordering::Relaxed);
        container.save("stays", &now.to_le_bytes()).unwrap();
        // From here on the clock goes right: an interval later all is on the disk.
        clock.store(now + 1001, Ordering::Relaxed);
        let before = container.info().unwrap().write_epoch - 1;
        container.save("other", b"").unwrap();
        let info = container.info().unwrap();
        assert!(info.synced_epoch > before || info.synced_at_ms >= now, "at {now}: {info:?}");
    }
    assert_eq!(value(&container, "stays"), NOW.to_le_bytes());
}
