//! A child's own way to save: sessions at random, each in its own length.

use std::path::Path;

use cloakroom::{ByteContainer, Durability, Options};

use crate::data::{self, Random};
use crate::stage::{Outcome, mixed_len};

pub(crate) struct Saver {
    container: ByteContainer,
    sessions: u64,
    random: Random,
    value: Vec<u8>,
}

impl Saver {
    /// Opens a container of so many sessions.
    pub(crate) fn open(
        path: &Path,
        durability: Durability,
        sessions: u64,
        random: Random,
    ) -> Outcome<Saver> {
        let container = ByteContainer::open(path, Options::new().durability(durability))?;
        Ok(Saver { container, sessions, random, value: Vec::new() })
    }

    pub(crate) fn save(&mut self) -> Outcome<()> {
        let session = self.random.below(self.sessions);
        let version = self.random.next() as u32;
        data::fill(&mut self.value, session, version, mixed_len(session));
        self.container.save(data::id(session), &self.value)?;
        Ok(())
    }
}
