//! Random numbers that make each version unique.
//!
//! One call for random bits at open, then a keyed hash of a counter: nobody who
//! sees some of a handle's nonces knows the next, and no save pays for a system
//! call.

use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher24;

use crate::error::{Error, Result};
use crate::storage::Storage;

/// A handle's source of nonces.
pub(crate) struct Nonces {
    key: SipHasher24,
    count: AtomicU64,
}

impl Nonces {
    pub(crate) fn new(storage: &dyn Storage) -> Result<Nonces> {
        let mut key = [0; 16];
        storage.random(&mut key).map_err(|source| Error::io("get random bits", source))?;
        Ok(Nonces { key: SipHasher24::new_with_key(&key), count: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> u64 {
        self.key.hash(&self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes())
    }
}

impl std::fmt::Debug for Nonces {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}
