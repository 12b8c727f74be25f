//! Walking over all sessions without a lock.
//!
//! Whoever lived throughout is given exactly once, others at most once. The walk
//! goes by the segments that there were at its beginning: each stands for all
//! the segments split off from it since, which are read together and again if
//! the index grew meanwhile, so that an entry that moves is neither missed nor
//! given twice. A session that is rotated meanwhile may go where the walk has been already: so a
//! forward that is younger than the walk stands for what it leads to.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::load::Found;
use super::open_file::OpenFile;
use super::records::Wanted;
use super::session::Session;
use crate::error::{DamageKind, Error, Result};
use crate::format::control::Root;
use crate::format::entry::Slot;
use crate::format::forward::Forward;
use crate::format::segment::{ENTRIES, entry_offset, parent_of, segment_of};
use crate::format::tag::Tag;
use crate::format::{BLOCK_SIZE, LINE_SIZE};
use crate::storage::Pause;

/// An id and its session.
type Item = (Vec<u8>, Session<Vec<u8>>);

/// Times that the index may grow while one group is read.
const ATTEMPTS: u32 = 100;

/// An iterator over the sessions of a container, in no order that means
/// anything. Made by [`ByteContainer::iter`](crate::ByteContainer::iter), which
/// tells what its items may be. It reads one segment of the index at a time, with
/// those split off from it since the walk began, and keeps 16 bytes for each
/// session in them.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("id", b"a coat")?;
/// let mut sessions = container.iter();
/// let (kept_id, session) = sessions.next().expect("there is one")?;
/// assert_eq!((kept_id, session.value), (container.kept_id("id")?, b"a coat".to_vec()));
/// assert!(sessions.next().is_none());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Debug)]
pub struct Sessions<'a> {
    file: Arc<OpenFile>,
    /// When the walk began.
    began_ms: u64,
    /// Segments when the walk began; `None` before it has.
    groups: Option<u32>,
    next_group: u32,
    tags: Vec<Tag>,
    /// Lines of the group that break a rule and stay so.
    rotten: BTreeSet<u64>,
    failed: bool,
    container: std::marker::PhantomData<&'a ()>,
}

impl Sessions<'_> {
    pub(super) fn new(file: Arc<OpenFile>) -> Self {
        Sessions {
            began_ms: file.storage().now_ms(),
            file,
            groups: None,
            next_group: 0,
            tags: Vec::new(),
            rotten: BTreeSet::new(),
            failed: false,
            container: std::marker::PhantomData,
        }
    }

    fn advance(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(offset) = self.rotten.pop_first() {
                return Err(Error::damaged(offset, DamageKind::Entry));
            }
            if let Some(tag) = self.tags.pop() {
                let mut value = Vec::new();
                let found = self.file.find_session(tag, Wanted::Tag(tag), &mut value)?;
                let found = match found {
                    Some(found) if found.is_forward() => self.moved(&mut value)?,
                    found => found,
                };
                if let Some(found) = found {
                    let session = found.session(value);
                    return Ok(Some((found.loaded.id, session)));
                }
                continue;
            }
            let groups = match self.groups {
                Some(groups) => groups,
                None => {
                    // Without a root there is nothing to go on with.
                    self.groups = Some(0);
                    let root = self.file.records.index.root()?;
                    *self.groups.insert(root.segments)
                }
            };
            if self.next_group >= groups {
                return Ok(None);
            }
            let group = self.next_group;
            self.next_group += 1;
            self.tags = self.read_group(group, groups)?;
        }
    }

    /// The session that a forward leads to, if it went there since the walk began.
    fn moved(&self, value: &mut Vec<u8>) -> Result<Option<Found>> {
        let forward = Forward::decode(value).filter(|read| read.rotated_ms > self.began_ms);
        let Some(tag) = forward.map(|forward| self.file.key(forward.kept_id).tag) else {
            return Ok(None);
        };
        let found = self.file.find_session(tag, Wanted::Tag(tag), value)?;
        Ok(found.filter(|found| !found.is_forward()))
    }

    /// The tags of all entries that `group` held when there were `groups`
    /// segments, wherever they are now.
    fn read_group(&mut self, group: u32, groups: u32) -> Result<Vec<Tag>> {
        let file = Arc::clone(&self.file);
        let index = &file.records.index;
        for _ in 0..ATTEMPTS {
            let root = index.root()?;
            let mut tags = HashSet::new();
            self.rotten.clear();
            self.read_segment(group, &root, &mut tags)?;
            for number in groups..root.segments {
                if origin_of(number, groups) == group {
                    self.read_segment(number, &root, &mut tags)?;
                }
            }
            if index.root()?.segments == root.segments {
                return Ok(tags.into_iter().collect());
            }
        }
        Err(Error::io("walk over the sessions", std::io::ErrorKind::TimedOut.into()))
    }

    fn read_segment(&mut self, number: u32, root: &Root, tags: &mut HashSet<Tag>) -> Result<()> {
        let index = &self.file.records.index;
        let segment = index.segment(number, root.segments)?;
        let mut image = vec![0; (BLOCK_SIZE - entry_offset(0)) as usize];
        let start = segment + entry_offset(0);
        if !index.source.read(&mut image, start).map_err(super::index::reading)? {
            return Err(Error::damaged(start, DamageKind::SegmentTable));
        }
        let (lines, _) = image.as_chunks::<LINE_SIZE>();
        for (line, number_in) in lines.iter().zip(0..ENTRIES) {
            let offset = segment + entry_offset(number_in);
            let mut slot = Slot::decode(line, offset, index.seal);
            for _ in 0..super::index::READINGS {
                if slot.is_some() {
                    break;
                }
                // Torn by a writer of this moment, who has to go on, or rot.
                index.source.storage().pause(Pause::Yield);
                let again = index.source.line(offset).map_err(super::index::reading)?;
                slot = again.and_then(|line| Slot::decode(&line, offset, index.seal));
            }
            match slot {
                Some(Slot::Session(entry)) if segment_of(entry.tag, root.segments) == number => {
                    tags.insert(entry.tag);
                }
                Some(_) => {}
                None => {
                    self.rotten.insert(offset);
                }
            }
        }
        Ok(())
    }
}

/// Which of the first `groups` segments a segment's entries were once in.
fn origin_of(number: u32, groups: u32) -> u32 {
    let mut number = number;
    while number >= groups {
        number = parent_of(number);
    }
    number
}

impl Iterator for Sessions<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.advance().map_err(|error| error.at(self.file.path.as_deref()));
        // A damaged session is reported and passed over; the walk goes on.
        if let Err(error) = &item {
            self.failed = !matches!(error.kind(), crate::ErrorKind::Damaged(_));
        }
        item.transpose()
    }
}
