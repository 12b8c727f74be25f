//! Damage: bytes of the file that contradict themselves, and where they are.

use std::fmt;

/// A place in the file whose bytes contradict themselves.
///
/// ```
/// # use cloakroom::{ByteContainer, ErrorKind, Options, storage::MemoryStorage};
/// # let memory = MemoryStorage::new();
/// # let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// # container.save("id", b"a coat").and(container.sync())?;
/// # let mut bytes = memory.to_bytes();
/// let at = bytes.windows(6).position(|bytes| bytes == b"a coat").expect("it was saved");
/// bytes[at] ^= 1; // rot
/// # let rotten = Box::new(MemoryStorage::from_bytes(bytes));
/// # let container = ByteContainer::open_on(rotten, Options::new())?;
/// match container.load("id").unwrap_err().kind() {
///     ErrorKind::Damaged(damage) => assert!((at - 256..at).contains(&(damage.offset as usize))),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte offset in the file.
    pub offset: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// What is wrong at a damaged place.
///
/// ```
/// # use cloakroom::{ByteContainer, DamageKind, ErrorKind, Options};
/// # use cloakroom::storage::MemoryStorage;
/// # let memory = MemoryStorage::new();
/// # let container = ByteContainer::create_on(Box::new(memory.share()), Options::new())?;
/// # container.save("id", b"a coat").and(container.sync())?;
/// # let mut bytes = memory.to_bytes();
/// bytes.truncate(2 * 65536); // as a copy that ran out of space
/// # let rest = Box::new(MemoryStorage::from_bytes(bytes));
/// # let container = ByteContainer::open_on(rest, Options::new())?;
/// match container.save("id", b"a hat").unwrap_err().kind() {
///     ErrorKind::Damaged(damage) => assert_eq!(damage.kind, DamageKind::CutShort),
///     other => unreachable!("{other}"),
/// }
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// Both headers fail their checksums or rules, though it begins as a container does.
    Headers,
    /// The control line, with the epochs, fails its checksum or its rules.
    ControlLine,
    /// The root line, with the number of segments, fails its checksum or its
    /// rules.
    RootLine,
    /// The segment table fails a checksum, or names a block outside the file.
    SegmentTable,
    /// The head of a segment fails its checksum or its rules.
    SegmentHead,
    /// An entry fails its checksum or its rules.
    Entry,
    /// A record does not match the durable entry that names it.
    Record,
    /// The file ends before what was once on the disk does. What is left can be
    /// read; nothing is written.
    CutShort,
    /// What has the name of a session's file, in a
    /// [directory of them](crate::session::DirectoryManager), is none, or was cut short.
    SessionFile,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DamageKind::Headers => "both headers",
            DamageKind::ControlLine => "the control line",
            DamageKind::RootLine => "the root line",
            DamageKind::SegmentTable => "the segment table",
            DamageKind::SegmentHead => "the head of a segment",
            DamageKind::Entry => "an entry",
            DamageKind::Record => "a record",
            DamageKind::CutShort => "the end of the file, which was cut short,",
            DamageKind::SessionFile => "a session's file",
        })
    }
}
