//! Reads that fail once (EIO): who then makes a change knows no less than without, or does
//! not make it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{SimulatedDisk, SimulatedStorage};
use cloakroom::{ByteContainer, Properties, Timeouts};

use crate::rot::{options, visit};
use crate::wrapped::{Wrapped, Wrapper};

/// More reads than an operation makes.
const READS: i64 = 60;

/// One read of a process fails.
#[derive(Debug)]
struct FailsOnce {
    below: SimulatedStorage,
    /// Reads before it.
    left: Arc<AtomicI64>,
}

impl Wrapper for FailsOnce {
    fn below(&self) -> &dyn Storage {
        &self.below
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.below.read_at(bytes, offset)
    }
}

/// What `deed` came to in a process whose read with this number failed; `None` if there was
/// no such read.
fn with_failure<T>(
    disk: &SimulatedDisk,
    number: i64,
    deed: impl FnOnce(&ByteContainer) -> cloakroom::Result<T>,
) -> Option<cloakroom::Result<T>> {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let storage = FailsOnce { below: disk.open(disk.spawn()), left: Arc::clone(&left) };
    let container = ByteContainer::open_on(Box::new(Wrapped(storage)), options()).unwrap();
    left.store(number, Ordering::Relaxed);
    let done = deed(&container);
    (left.load(Ordering::Relaxed) < 0).then_some(done)
}

/// A session was logged out durably, and a cut took the record of the login after that.
#[test]
fn who_cannot_read_whether_a_session_lives_does_not_change_it() {
    type Deed = fn(&ByteContainer) -> cloakroom::Result<String>;
    let deeds: [(&str, Deed); 6] = [
        ("replace", |container| {
            Ok(format!("{:?}", container.replace("id", b"one page more")?.saved().is_some()))
        }),
        ("create", |container| {
            Ok(format!("{:?}", container.create_session("id", b"new")?.saved().is_some()))
        }),
        ("set_deadline", |container| {
            Ok(format!("{:?}", container.set_deadline("id", Some(1 << 45))?))
        }),
        ("touch", |container| Ok(format!("{:?}", container.touch("id")?))),
        ("remove", |container| Ok(format!("{:?}", container.remove("id")?))),
        ("update", |container| {
            let mut lived = false;
            container.update("id", |session| {
                lived = session.is_some();
                cloakroom::Change::Keep
            })?;
            Ok(format!("{lived}"))
        }),
    ];
    let disk = SimulatedDisk::new(1);
    let made = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options()).unwrap();
    made.save("id", b"logged in").unwrap();
    made.sync().unwrap();
    made.remove("id").unwrap();
    made.sync().unwrap();
    disk.write_back();
    made.save("id", &[7; 300]).unwrap();
    drop(made);
    // The entry is on the disk, the record is not: the index ends where the third block begins.
    disk.power_cut_with(&mut |line, images| if line < 2 * 1024 { images - 1 } else { 0 });
    visit(&disk).set_deadline("nobody", None).unwrap();
    assert!(!visit(&disk).contains("id").unwrap());
    let here = disk.snapshot();
    for (name, deed) in deeds {
        let right = deed(&visit(&disk)).unwrap();
        for number in 0..READS {
            disk.restore(&here);
            let Some(done) = with_failure(&disk, number, deed) else { break };
            if let Ok(told) = done {
                assert_eq!(told, right, "{name}: read {number} failed once");
            }
        }
        disk.restore(&here);
    }
}

#[test]
fn a_save_keeps_a_sessions_own_timeouts_though_a_read_fails_once() {
    let disk = SimulatedDisk::new(1);
    let made = ByteContainer::create_on(Box::new(disk.open(disk.spawn())), options()).unwrap();
    let own = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(600)));
    made.save_with("id", b"logged in", &own).unwrap();
    made.sync().unwrap();
    drop(made);
    let here = disk.snapshot();
    let mut failures = 0;
    for number in 0..READS {
        disk.restore(&here);
        let saved = with_failure(&disk, number, |container| container.save("id", b"one page more"));
        let Some(saved) = saved else { break };
        failures += 1;
        let found = visit(&disk).load("id").unwrap().unwrap();
        assert!(saved.is_err() || found.properties == own, "read {number} failed once");
    }
    assert!(failures > 3, "only {failures}");
}
