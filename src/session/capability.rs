//! What a manager can do beyond the operations that every one has.

use std::fmt;

/// Something that not every manager can do.
///
/// ```
/// use cloakroom::session::Capability;
/// assert_eq!(Capability::Processes.to_string(), "several processes at once");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Several processes may use the same sessions at once.
    Processes,
    /// Sessions outlive the processes that made them, however those end.
    Kills,
    /// After a sync, and where the manager is told to be durable after each save, a power cut
    /// takes nothing.
    PowerCuts,
    /// A session can be guarded for a whole request.
    Guards,
    /// A sweep costs what has expired, and not what there is.
    CheapSweep,
    /// A session can go on under another id.
    Rotation,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 6] = [
        Capability::Processes,
        Capability::Kills,
        Capability::PowerCuts,
        Capability::Guards,
        Capability::CheapSweep,
        Capability::Rotation,
    ];

    /// In words, as in "cannot do this: ...".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Capability::Processes => "several processes at once",
            Capability::Kills => "sessions that outlive their process",
            Capability::PowerCuts => "sessions that outlive a power cut",
            Capability::Guards => "guards for whole requests",
            Capability::CheapSweep => "a sweep that costs what has expired",
            Capability::Rotation => "a session that goes on under another id",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Capability`].
///
/// ```
/// use cloakroom::session::{Capabilities, Capability};
/// let some = Capabilities::of(&[Capability::Kills, Capability::Guards]);
/// assert!(some.has(Capability::Guards) && !some.has(Capability::Processes));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// The set of these.
    pub const fn of(capabilities: &[Capability]) -> Capabilities {
        let (mut bits, mut rest) = (0, capabilities);
        while let [first, others @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = others;
        }
        Capabilities(bits)
    }

    /// Whether this is one of them.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Capability::ALL.iter().filter(|one| self.has(**one))).finish()
    }
}
