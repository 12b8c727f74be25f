//! Random numbers that make each version unique.
//!
//! One call for random bits at the first save, then a keyed hash of a counter: nobody who
//! sees some of a handle's nonces knows the next, and no save pays for a system
//! call.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher24;

use crate::error::{Error, Result};
use crate::storage::Storage;

/// A handle's source of nonces.
#[derive(Default)]
pub(crate) struct Nonces {
    key: OnceLock<SipHasher24>,
    count: AtomicU64,
}

impl Nonces {
    /// The next one; the first call asks `storage` for random bits.
    pub(crate) fn next(&self, storage: &dyn Storage) -> Result<u64> {
        let key = match self.key.get() {
            Some(key) => key,
            None => {
                let mut bits = [0; 16];
                storage.random(&mut bits).map_err(|source| Error::io("get random bits", source))?;
                self.key.get_or_init(|| SipHasher24::new_with_key(&bits))
            }
        };
        Ok(key.hash(&self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes()))
    }
}

impl std::fmt::Debug for Nonces {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}
