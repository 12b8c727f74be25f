//! The index grows with its sessions, however seldom anybody syncs.

use cloakroom::ByteContainer;
use cloakroom::storage::MemoryStorage;

use crate::fixture::{Fixture, bytes, quick};

/// As many as some 512 segments hold, and twice as many.
const SESSIONS: [u64; 2] = [300_000, 600_000];
/// Two waits of a split, and some for reaches that are raised.
const SYNCS_PER_DOUBLING: u64 = 8;

/// Batches were of 64 segments at most, and each had to wait for two syncs: from
/// some thousand segments on, full ones gave up before it was their turn.
#[test]
fn an_index_that_nobody_syncs_waits_no_more_often_than_it_doubles() {
    let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), quick()).unwrap();
    let mut saved = 0;
    let [before, after] = SESSIONS.map(|sessions| {
        for number in saved..sessions {
            container.save(number.to_le_bytes(), b"").unwrap();
        }
        saved = sessions;
        container.info().unwrap()
    });
    assert!(after.segments > before.segments, "{before:?}, {after:?}");
    // Where the ids lie is another each time: the larger one may have as many levels.
    let levels = |segments: u32| u64::from(segments.next_power_of_two().ilog2());
    let doublings = (levels(after.segments) - levels(before.segments)).max(1);
    let syncs = after.write_epoch - before.write_epoch;
    assert!(syncs <= SYNCS_PER_DOUBLING * doublings, "{syncs} syncs");
    for number in (0..saved).step_by(7) {
        assert!(container.contains(number.to_le_bytes()).unwrap(), "session {number}");
    }
    assert!(container.check().unwrap().is_sound());
}

/// Blocks that were empty, but not yet durably so, were taken for leaked ones: each
/// sync began a new generation, after which they were not known to be empty again,
/// and a value in blocks of its own never waited for a sync, but took new ones.
#[test]
fn requests_that_save_large_values_leave_the_file_small() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    for request in 0..6000u64 {
        let container = fixture.open(quick());
        for step in 0..3 {
            let number = (request * 3 + step).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            let len = if number % 4 == 0 { 100_000 } else { 50 + number % 3000 };
            let id = format!("visitor {}", number / 7 % 60);
            if number % 10 == 1 {
                container.remove(&id).unwrap();
            } else {
                container.save(&id, &bytes(request, len as usize)).unwrap();
            }
        }
        if request % 200 == 0 {
            container.sync().unwrap();
        }
    }
    let container = fixture.open(quick());
    let (length, live) = (container.info().unwrap().length, container.check().unwrap().live_bytes);
    assert!(live < 4_000_000, "{live} bytes are alive");
    assert!(length < 12_000_000, "{length} bytes for {live} that are alive");
}
