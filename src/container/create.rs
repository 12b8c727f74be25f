//! Making a container of an empty file.
//!
//! The order, and what a kill or a cut after each step leaves:
//! 1. The file is made long enough, and the making line written and synced. Before
//!    that it is all zero, and blank for the next `create`.
//! 2. Everything but the headers is written and synced. Until then there is the
//!    making line and no header: `open` refuses that, `create` begins anew.
//! 3. The headers are written and synced. With either of them it is a container,
//!    whatever the making line says.
//! 4. The making line is taken away. The first recovery does that, too, and writes
//!    a header that is missing.
//!
//! Nothing that was ever a container is made anew: that would take a making line
//! that a power cut left and the loss of both headers.

use super::index::reading;
use super::rules::{Rule, holds};
use super::writer::failed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::block::{BlockHead, Use};
use crate::format::bounds::{BOUNDS, Bound, Bounds, Sweep};
use crate::format::class::Classes;
use crate::format::control::{Control, Phase, Root};
use crate::format::header::{HEADER_SIZE, Header};
use crate::format::id::IdForm;
use crate::format::pass::{Pass, Stage};
use crate::format::segment::{REACH, Reach, TALLY, Tally};
use crate::format::tables::encode_table_entry;
use crate::format::{BLOCK_SIZE, LINE_SIZE, MAKING, NEVER, PAGE_SIZE, place};
use crate::storage::{Fill, Storage};

/// Block of the first segment.
const FIRST_SEGMENT: u32 = 1;
/// Generation and first write epoch of a new container.
const FIRST_EPOCH: u64 = 1;

/// Files longer than this are not looked through for whether they are blank: that
/// would take as long as anybody likes who makes a file with a hole.
const BLANK_LEN_MAX: u64 = 64 << 20;

/// Whether a file has no bytes, or only zeros, and not too many.
pub(super) fn is_blank(storage: &dyn Storage) -> Result<bool> {
    let len = storage.status().map_err(reading)?.len;
    if len > BLANK_LEN_MAX {
        return Ok(false);
    }
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    let mut offset = 0;
    while offset < len {
        let found = storage.read_at(&mut buffer, offset).map_err(reading)?;
        if found == 0 {
            return Err(reading(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if buffer.iter().take(found).any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += found as u64;
    }
    Ok(true)
}

/// Whether somebody began to make a container of this file and did not get to
/// the headers. Under the writer lock nobody is still at it.
pub(super) fn is_unfinished(storage: &dyn Storage) -> Result<bool> {
    let mut bytes = [0; HEADER_SIZE];
    let len = storage.status().map_err(reading)?.len;
    for offset in [place::HEADER, place::HEADER_COPY] {
        let found = storage.read_at(&mut bytes, offset).map_err(reading)?;
        if found < HEADER_SIZE && offset + HEADER_SIZE as u64 <= len {
            return Err(reading(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if found == HEADER_SIZE && Header::is_whole(&bytes) {
            return Ok(false);
        }
    }
    let mut line = NEVER;
    Ok(storage.read_at(&mut line, place::MAKING).map_err(reading)? == LINE_SIZE && line == MAKING)
}

/// What is made into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or zeros.
    Blank,
    /// What somebody had begun to make of it.
    Unfinished,
}

/// Makes a container of a file. The caller holds the writer lock.
pub(super) fn initialise(storage: &dyn Storage, before: Before, ids: IdForm) -> Result<()> {
    // Of a container that was here before.
    storage.unmark();
    let header = new_header(storage, ids)?;
    let len = storage.status().map_err(reading)?.len;
    let end = 2 * BLOCK_SIZE;
    // All of a blank file gets its space now: a hole of it would look like free space, and
    // on a full tmpfs to read one through a map is a SIGBUS.
    let from = match before {
        Before::Blank => 0,
        Before::Unfinished => len / BLOCK_SIZE * BLOCK_SIZE,
    };
    if from < len.max(end) && (before == Before::Blank || len < end) {
        storage
            .extend(from, len.max(end), Fill::Zeros)
            .map_err(|source| failed("grow the file", source))?;
    }
    write(storage, &MAKING, place::MAKING)?;
    sync(storage)?;
    // What an unfinished one has there is of another uuid.
    write(storage, &[0; PAGE_SIZE as usize], place::CONTROL)?;
    write(storage, &[0; PAGE_SIZE as usize], u64::from(FIRST_SEGMENT) * BLOCK_SIZE)?;
    write_first_segment(storage, &header)?;
    write_control_page(storage, &header, len > end)?;
    if holds(Rule::HeaderLast) {
        sync(storage)?;
    }
    let bytes = header.encode();
    write(storage, &bytes, place::HEADER_COPY)?;
    write(storage, &bytes, place::HEADER)?;
    sync(storage)?;
    write(storage, &NEVER, place::MAKING)
}

fn new_header(storage: &dyn Storage, ids: IdForm) -> Result<Header> {
    let mut random = [0; 32];
    storage.random(&mut random).map_err(|source| Error::io("get random bits", source))?;
    let (uuid, key) = random.split_at(16);
    let mut header = Header {
        compatible: 0,
        read_only: 0,
        uuid: [0; 16],
        key: [0; 16],
        created_ms: storage.now_ms(),
        ids,
        classes: Classes::standard(),
    };
    header.uuid.copy_from_slice(uuid);
    header.key.copy_from_slice(key);
    Ok(header)
}

fn write_first_segment(storage: &dyn Storage, header: &Header) -> Result<()> {
    let seal = header.seal();
    let segment = u64::from(FIRST_SEGMENT) * BLOCK_SIZE;
    let mut head = BlockHead::taken(FIRST_EPOCH, Use::Segment);
    head.bitmap.set(0);
    write(storage, &head.encode(segment, seal), segment)?;
    let reach = Reach { lines: Reach::step_for(1), segment: 0, epoch: 0 };
    write(storage, &reach.encode(segment + REACH, seal), segment + REACH)?;
    let tally = Tally::default();
    write(storage, &tally.encode(segment + TALLY, seal), segment + TALLY)?;
    let bounds = Bounds::NONE.encode(segment + BOUNDS, seal);
    write(storage, bounds.as_flattened(), segment + BOUNDS)
}

/// `more` says that the file has more blocks than a new container needs: then
/// the first pass will find them.
fn write_control_page(storage: &dyn Storage, header: &Header, more: bool) -> Result<()> {
    let seal = header.seal();
    let control = Control {
        write_epoch: FIRST_EPOCH,
        synced_epoch: FIRST_EPOCH - 1,
        generation: FIRST_EPOCH,
        recovered_epoch: 0,
        settled_epoch: 0,
        synced_blocks: FIRST_SEGMENT + 1,
        synced_at_ms: storage.now_ms(),
        suspect: false,
        rewritten: 0,
        syncing: false,
        renew: false,
    };
    write(storage, &control.encode(place::CONTROL, seal), place::CONTROL)?;
    let root = Root { segments: 1, batch: 0, phase: Phase::Whole, epoch: 0 };
    write(storage, &root.encode(place::ROOT, seal), place::ROOT)?;
    let stage = if more { Stage::Tables } else { Stage::Done };
    let pass = Pass { stage, ..Pass::begin(FIRST_EPOCH, FIRST_SEGMENT + 1) };
    write(storage, &pass.encode(place::PASS, seal), place::PASS)?;
    let sweep = Sweep { seen_ms: storage.now_ms(), doubt_ms: 0, bound: Bound::NONE };
    write(storage, &sweep.encode(place::SWEEP, seal), place::SWEEP)?;
    write(storage, &encode_table_entry(FIRST_SEGMENT, 0, seal), place::TABLE)
}

fn write(storage: &dyn Storage, bytes: &[u8], offset: u64) -> Result<()> {
    storage.write_at(bytes, offset).map_err(|source| failed("write", source))
}

fn sync(storage: &dyn Storage) -> Result<()> {
    storage.sync().map_err(|source| failed("sync", source))
}

/// The error for a file that has something in it.
pub(super) fn exists() -> Error {
    ErrorKind::Exists.into()
}
