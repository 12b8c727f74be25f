//! What can be said of a container without walking over it.

use super::open_file::OpenFile;
use crate::error::Result;
use crate::format::control::Phase;
use crate::format::pass::{Pass, Stage};
use crate::format::segment::{TALLY, Tally};
use crate::format::{BLOCK_SIZE, IdForm, VERSION, place};

/// Facts about a container, as they were when [`ByteContainer::info`] read them:
/// from its header, its control page and the counts of its segments. Those of a
/// container in use may be of slightly different moments.
///
/// [`ByteContainer::info`]: crate::ByteContainer::info
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("id", b"a coat")?;
/// let info = container.info()?;
/// assert_eq!((info.version, info.sessions), (0, 1));
/// assert_eq!(info.length, info.blocks * 65536);
/// assert!(info.synced_epoch < info.write_epoch, "as always");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Names the container; copies of the file share it.
    pub uuid: [u8; 16],
    /// Version of the format.
    pub version: u32,
    /// Feature bits: those to ignore, and those that allow reading only. None are
    /// defined yet.
    pub features: (u32, u32),
    /// When the container was made, milliseconds since 1970.
    pub created_ms: u64,
    /// How ids are kept.
    pub ids: IdForm,
    /// Bytes of the file.
    pub length: u64,
    /// Whole blocks of 64 KiB in the file.
    pub blocks: u64,
    /// Segments of the index.
    pub segments: u32,
    /// The index is growing.
    pub splitting: bool,
    /// Sessions as counted, expired ones included; may be off after a crash until
    /// each segment was walked once.
    pub sessions: u64,
    /// Epoch in which versions are now published.
    pub write_epoch: u64,
    /// Last epoch whose versions are all on the disk.
    pub synced_epoch: u64,
    /// When that became so, milliseconds since 1970.
    pub synced_at_ms: u64,
    /// A sync failed or was cut short, and not everything was written again yet.
    pub suspect_sync: bool,
    /// After a crash: free space is not all found again yet.
    pub rebuilding: bool,
    /// Process that holds the writer lock now, as far as the system tells.
    pub lock_holder: Option<u32>,
}

impl OpenFile {
    /// Sessions as counted in each segment, expired ones included.
    pub(crate) fn count_sessions(&self) -> Result<u64> {
        let index = &self.records.index;
        let root = index.root()?;
        let mut sessions = 0;
        for number in 0..root.named() {
            let offset = match index.segment(number, root.segments) {
                Ok(segment) => segment + TALLY,
                // A power cut may have taken a segment that does not count yet.
                Err(_) if number >= root.segments => continue,
                Err(error) => return Err(error),
            };
            for _ in 0..super::index::READINGS {
                let line = index.source.line(offset).map_err(super::index::reading)?;
                let tally = line.and_then(|line| Tally::decode(&line, offset, index.seal));
                if let Some(tally) = tally {
                    sessions += u64::from(tally.sessions);
                    break;
                }
            }
        }
        Ok(sessions)
    }

    pub(crate) fn info(&self) -> Result<Info> {
        let index = &self.records.index;
        let control = self.control_line()?;
        let root = index.root()?;
        let status = index.source.status().map_err(super::index::reading)?;
        let line = index.source.line(place::PASS).map_err(super::index::reading)?;
        let pass =
            line.map(|line| Pass::decode(&line, place::PASS, index.seal, control.generation));
        Ok(Info {
            uuid: self.header.uuid,
            version: VERSION,
            features: (self.header.compatible, self.header.read_only),
            created_ms: self.header.created_ms,
            ids: self.header.ids,
            length: status.len,
            blocks: status.len / BLOCK_SIZE,
            segments: root.segments,
            splitting: root.phase != Phase::Whole,
            sessions: self.count_sessions()?,
            write_epoch: control.write_epoch,
            synced_epoch: control.synced_epoch,
            synced_at_ms: control.synced_at_ms,
            suspect_sync: control.suspect,
            rebuilding: pass.is_none_or(|pass| pass.stage != Stage::Done),
            lock_holder: self.storage().lock_holder(),
        })
    }
}
