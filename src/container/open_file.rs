//! One opening of one container: the storage, what the static header says, and
//! what this handle remembers between operations.
//!
//! What a handle remembers is a cache of the file that every lock acquisition
//! checks against the generation, or a hint. Nothing in it is needed after a
//! crash.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use super::allocate::Spares;
use super::index::Index;
use super::nonce::Nonces;
use super::options::Options;
use super::records::Records;
use super::source::Source;
use crate::error::{Damage, DamageKind, ErrorKind, NotAContainer, ReadOnly, Result};
use crate::format::header::{HEADER_SIZE, Header, Unusable};
use crate::format::id::Digits;
use crate::format::tag::Tagger;
use crate::format::{BLOCK_SIZE, ID_LEN_MAX, place};
use crate::storage::Storage;

/// A container as one handle (and all its threads) sees it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) header: Header,
    pub(crate) records: Records,
    pub(crate) options: Options,
    pub(crate) path: Option<PathBuf>,
    /// Why nothing can be written, if so.
    pub(crate) read_only: Option<ReadOnly>,
    /// The process that opened the file; a child must open it anew.
    pub(crate) process_id: u32,
    /// Guards the writer lock within the process.
    pub(crate) local: Mutex<Local>,
    /// Guards SYNC within the process.
    pub(crate) sync_gate: Mutex<()>,
    /// Number of the thread that holds `local`, to notice re-entry; 0 is none.
    pub(crate) owner: AtomicU64,
    pub(crate) nonces: Nonces,
    /// When this handle last compared `synced_at` with the clock.
    pub(crate) compared_ms: AtomicU64,
    /// A change would have a sync soon, and leaves it to the handle's thread.
    pub(crate) sync_asked: AtomicBool,
}

/// What a handle remembers from one lock acquisition to the next.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// The witness was compared once; it cannot change while the file is open.
    pub(crate) view_known: bool,
    /// Extents freed by this handle whose bits are still set.
    pub(crate) spares: Spares,
    /// Where the next trim begins: segment and entry.
    pub(crate) trim_segment: u32,
    pub(crate) trim_entry: u32,
    /// Epoch of the last change that this handle published.
    pub(crate) published_epoch: u64,
    /// Number of saves through this handle.
    pub(crate) saves: u32,
}

/// What kinds of file begin like this.
const STRANGERS: &[(&[u8], &str)] = &[
    (b"SQLite format 3\0", "an SQLite database"),
    (b"TDB file\n", "a tdb database"),
    (b"\x13W\x9a\xce", "a gdbm database"),
    (b"\xce\x9aW\x13", "a gdbm database"),
    (b"redb\x1a\x0a\xa9\x0d\x0a", "a redb database"),
    (b"ToKyO CaBiNeT\n", "a Tokyo Cabinet database"),
    (b"TkrzwHDB\n", "a tkrzw database"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x7fELF", "a program"),
    (b"REDIS", "a Redis dump"),
    (b"{", "JSON text (`cloakroom restore` reads a dump)"),
    (b"#!", "a script"),
];

impl OpenFile {
    /// Reads the header of the container in `storage`. What it gives is where it stays: a
    /// copy on the stack would cost a young process a page fault.
    pub(crate) fn new(
        storage: Box<dyn Storage>,
        options: Options,
        path: Option<PathBuf>,
        read_only: Option<ReadOnly>,
    ) -> Result<Arc<OpenFile>> {
        let source = Source::new(storage, options.map);
        let header = read_header(&source)?;
        if options.ids.is_some_and(|wanted| wanted != header.ids) {
            return Err(ErrorKind::OtherIds { found: header.ids }.into());
        }
        let read_only = read_only.or({
            // Features that change what a writer has to do are all unknown yet.
            (header.read_only != 0).then_some(ReadOnly::Features(header.read_only))
        });
        let process_id = source.storage().process_id();
        let seal = header.seal();
        let index = Index::new(source, seal);
        let tagger = Tagger::new(&header.key);
        Ok(Arc::new(OpenFile {
            records: Records { index, classes: header.classes, tagger },
            header,
            options,
            path,
            read_only,
            process_id,
            local: Mutex::new(Local::default()),
            sync_gate: Mutex::new(()),
            owner: AtomicU64::new(0),
            nonces: Nonces::default(),
            compared_ms: AtomicU64::new(0),
            sync_asked: AtomicBool::new(false),
        }))
    }

    /// What the container keeps of an id that the handle was given.
    #[inline]
    pub(crate) fn kept<'a>(&self, id: &'a [u8], space: &'a mut Digits) -> Result<&'a [u8]> {
        if self.options.kept_ids {
            self.valid_kept(id)
        } else if (1..=ID_LEN_MAX).contains(&id.len()) {
            Ok(self.header.ids.kept(id, space))
        } else {
            Err(ErrorKind::InvalidId { len: id.len() }.into())
        }
    }

    /// What is said to be an id as the container keeps it.
    pub(crate) fn valid_kept<'a>(&self, id: &'a [u8]) -> Result<&'a [u8]> {
        let valid = self.header.ids.can_keep(id);
        if valid { Ok(id) } else { Err(ErrorKind::InvalidId { len: id.len() }.into()) }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.records.index.source.storage()
    }
}

/// One system call for the header; the second copy only if the first is no good.
fn read_header(source: &Source) -> Result<Header> {
    let len = match source.first_len().map_err(super::index::reading)? {
        len if len >= 2 * BLOCK_SIZE => len,
        // It has grown since it was opened, if it was empty then.
        _ => source.status().map_err(super::index::reading)?.len,
    };
    let mut bytes = [0; HEADER_SIZE];
    let first = if source.read(&mut bytes, place::HEADER).map_err(super::index::reading)? {
        Header::decode(&bytes)
    } else {
        // Too short for a header; what there is may still tell what it is.
        let read = source.storage().read_at(&mut bytes, place::HEADER);
        read.map_err(super::index::reading)?;
        Err(Unusable::NotAContainer)
    };
    let (problem, start) = match first {
        Ok(header) if len >= 2 * BLOCK_SIZE => return Ok(header),
        Ok(_) => return Err(ErrorKind::NotAContainer(NotAContainer::CutShort).into()),
        Err(problem) => (problem, bytes),
    };
    let mut problem = problem;
    if source.read(&mut bytes, place::HEADER_COPY).map_err(super::index::reading)? {
        match Header::decode(&bytes) {
            Ok(header) if len >= 2 * BLOCK_SIZE => return Ok(header),
            Err(newer @ (Unusable::Version(_) | Unusable::Features(_))) => problem = newer,
            // One that is a container's says more than one that is nothing's.
            Err(Unusable::Damaged) => problem = Unusable::Damaged,
            _ => {}
        }
    }
    Err(explain(source, problem, &start)?.into())
}

fn explain(source: &Source, problem: Unusable, start: &[u8]) -> Result<ErrorKind> {
    Ok(match problem {
        Unusable::Version(version) => {
            ErrorKind::Newer { found: crate::error::Newer::Version(version) }
        }
        Unusable::Features(bits) => ErrorKind::Newer { found: crate::error::Newer::Features(bits) },
        Unusable::Damaged if super::create::is_unfinished(source.storage())? => {
            ErrorKind::NotAContainer(NotAContainer::Unfinished)
        }
        Unusable::Damaged => {
            ErrorKind::Damaged(Damage { offset: place::HEADER, kind: DamageKind::Headers })
        }
        Unusable::NotAContainer => {
            let stranger = STRANGERS.iter().find(|(magic, _)| start.starts_with(magic));
            ErrorKind::NotAContainer(match stranger {
                Some((_, what)) => NotAContainer::LooksLike(what),
                None if start.starts_with(&crate::format::header::MAGIC) => NotAContainer::CutShort,
                None if super::create::is_blank(source.storage())? => NotAContainer::Empty,
                None if super::create::is_unfinished(source.storage())? => {
                    NotAContainer::Unfinished
                }
                None => NotAContainer::NoHeader,
            })
        }
    })
}
