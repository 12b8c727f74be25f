//! The index grows with its sessions, however seldom anybody syncs.

use cloakroom::ByteContainer;
use cloakroom::storage::MemoryStorage;

use crate::fixture::quick;

/// Segments that the sessions below need: more than one batch begins with.
const SEGMENTS_MIN: u32 = 256;
const SESSIONS: u64 = 170_000;
/// Syncs for a doubling: two waits, and some for reaches that are raised.
const SYNCS_PER_DOUBLING: u64 = 4;

/// Batches were of 64 segments at most, and each had to wait for two syncs: from
/// some thousand segments on, full ones gave up before it was their turn.
#[test]
fn an_index_that_nobody_syncs_waits_no_more_often_than_it_doubles() {
    let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), quick()).unwrap();
    for number in 0..SESSIONS {
        container.save(number.to_le_bytes(), b"").unwrap();
    }
    let info = container.info().unwrap();
    assert!(info.segments >= SEGMENTS_MIN, "{info:?}");
    let doublings = u64::from(info.segments.ilog2());
    assert!(info.write_epoch <= SYNCS_PER_DOUBLING * doublings, "{info:?}");
    for number in 0..SESSIONS {
        assert!(container.contains(number.to_le_bytes()).unwrap(), "session {number}");
    }
    assert!(container.check().unwrap().is_sound());
}
