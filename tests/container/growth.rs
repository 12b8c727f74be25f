//! The index grows with its sessions, however seldom anybody syncs.

use cloakroom::ByteContainer;
use cloakroom::storage::MemoryStorage;

use crate::fixture::quick;

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
    assert!(before.segments <= 512 && after.segments > 512, "{before:?}, {after:?}");
    let syncs = after.write_epoch - before.write_epoch;
    assert!(syncs <= SYNCS_PER_DOUBLING, "{syncs} syncs");
    for number in (0..saved).step_by(7) {
        assert!(container.contains(number.to_le_bytes()).unwrap(), "session {number}");
    }
    assert!(container.check().unwrap().is_sound());
}
