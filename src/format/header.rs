//! The static header: what a container is and never changes.
//!
//! Two copies lie far apart; one intact copy is enough (invariant 20). The rules
//! are checked in an order that lets a wrong file, a newer file and a damaged
//! file be told apart.

use super::checksum::{Seal, plain};
use super::class::{CLASSES_MAX, Classes};
use super::id::IdForm;
use super::segment::ENTRIES;
use super::span::Span;
use super::tag::Tagger;
use super::{BLOCK_SIZE, ID_LEN_MAX, PAGE_SIZE, VALUE_LEN_MAX, VERSION};

/// Bytes of the header.
pub(crate) const HEADER_SIZE: usize = 512;

/// The first bytes of every container. They break under text transfer: a byte
/// above 127, both line ends, an end-of-file mark.
pub(crate) const MAGIC: [u8; 16] = *b"\x89cloakroom\r\n\x1a\n\0\0";

pub(super) mod field {
    use super::Span;
    pub(crate) const MAGIC: Span = Span::first(16);
    pub(crate) const VERSION: Span = MAGIC.then(4);
    pub(crate) const COMPATIBLE: Span = VERSION.then(4);
    pub(crate) const READ_ONLY: Span = COMPATIBLE.then(4);
    pub(crate) const INCOMPATIBLE: Span = READ_ONLY.then(4);
    pub(crate) const UUID: Span = INCOMPATIBLE.then(16);
    pub(crate) const KEY: Span = UUID.then(16);
    pub(crate) const KEY_PROOF: Span = KEY.then(16);
    pub(crate) const CREATED: Span = KEY_PROOF.then(8);
    pub(crate) const PAGE: Span = CREATED.then(4);
    pub(crate) const BLOCK: Span = PAGE.then(4);
    pub(crate) const ENTRIES: Span = BLOCK.then(4);
    pub(crate) const VALUE_MAX: Span = ENTRIES.then(4);
    pub(crate) const ID_MAX: Span = VALUE_MAX.then(2);
    pub(crate) const ID_FORM: Span = ID_MAX.then(1);
    pub(crate) const CLASS_COUNT: Span = ID_FORM.then(1);
    pub(crate) const CLASSES: Span = CLASS_COUNT.then(2 * super::CLASSES_MAX);
    pub(crate) const RESERVED: Span = CLASSES.then(super::HEADER_SIZE - 4 - CLASSES.end());
    pub(crate) const CHECK: Span = RESERVED.then(4);
    const _: () = assert!(CHECK.end() == super::HEADER_SIZE);
}

/// What the static header of a container says.
#[derive(Clone)]
pub(crate) struct Header {
    /// Feature bits that a program may ignore.
    pub(crate) compatible: u32,
    /// Feature bits without which a program may read but not write.
    pub(crate) read_only: u32,
    /// Names the container; copies share it.
    pub(crate) uuid: [u8; 16],
    /// Key of the tags.
    pub(crate) key: [u8; 16],
    /// When the container was made, milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// How ids are kept.
    pub(crate) ids: IdForm,
    pub(crate) classes: Classes,
}

impl std::fmt::Debug for Header {
    /// Never shows the key: who knows it can choose ids that collide.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("compatible", &self.compatible)
            .field("read_only", &self.read_only)
            .field("uuid", &self.uuid)
            .field("created_ms", &self.created_ms)
            .field("ids", &self.ids)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

/// Why a header copy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The magic is another.
    NotAContainer,
    /// The magic is right, and something after it is not.
    Damaged,
    /// The format version is newer.
    Version(u32),
    /// These incompatible features are unknown.
    Features(u32),
}

impl Header {
    /// Reads one copy.
    pub(crate) fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Header, Unusable> {
        if field::MAGIC.slice(bytes) != Some(&MAGIC) {
            return Err(Unusable::NotAContainer);
        }
        if !Header::is_whole(bytes) {
            return Err(Unusable::Damaged);
        }
        if field::VERSION.get32(bytes) != VERSION {
            return Err(Unusable::Version(field::VERSION.get32(bytes)));
        }
        if field::INCOMPATIBLE.get(bytes) != 0 {
            return Err(Unusable::Features(field::INCOMPATIBLE.get32(bytes)));
        }
        Header::decode_current(bytes).ok_or(Unusable::Damaged)
    }

    /// Whether magic and checksum are right: somebody's header, of whatever version.
    pub(crate) fn is_whole(bytes: &[u8; HEADER_SIZE]) -> bool {
        let covered = bytes.get(..field::CHECK.offset).unwrap_or(bytes);
        field::MAGIC.slice(bytes) == Some(&MAGIC) && field::CHECK.get32(bytes) == plain(covered)
    }

    fn decode_current(bytes: &[u8; HEADER_SIZE]) -> Option<Header> {
        let geometry = field::PAGE.get(bytes) == PAGE_SIZE
            && field::BLOCK.get(bytes) == BLOCK_SIZE
            && field::ENTRIES.get(bytes) == u64::from(ENTRIES)
            && field::VALUE_MAX.get(bytes) == VALUE_LEN_MAX as u64
            && field::ID_MAX.get(bytes) == ID_LEN_MAX as u64;
        let key = field::KEY.array(bytes);
        let proof = Tagger::new(&key).tag(b"").0;
        if !geometry || field::KEY_PROOF.slice(bytes) != Some(&proof) {
            return None;
        }
        let mut lines = [0; CLASSES_MAX];
        let sizes = field::CLASSES.slice(bytes)?.chunks_exact(2);
        for (line, from) in lines.iter_mut().zip(sizes) {
            *line = Span::first(2).get(from) as u16;
        }
        let classes = lines.get(..field::CLASS_COUNT.get(bytes) as usize)?;
        Some(Header {
            compatible: field::COMPATIBLE.get32(bytes),
            read_only: field::READ_ONLY.get32(bytes),
            uuid: field::UUID.array(bytes),
            key,
            created_ms: field::CREATED.get(bytes),
            ids: IdForm::from_code(field::ID_FORM.get(bytes))?,
            classes: Classes::from_lines(classes)?,
        })
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        field::MAGIC.put_slice(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION.into());
        field::COMPATIBLE.put(&mut bytes, self.compatible.into());
        field::READ_ONLY.put(&mut bytes, self.read_only.into());
        field::UUID.put_slice(&mut bytes, &self.uuid);
        field::KEY.put_slice(&mut bytes, &self.key);
        field::KEY_PROOF.put_slice(&mut bytes, &Tagger::new(&self.key).tag(b"").0);
        field::CREATED.put(&mut bytes, self.created_ms);
        field::PAGE.put(&mut bytes, PAGE_SIZE);
        field::BLOCK.put(&mut bytes, BLOCK_SIZE);
        field::ENTRIES.put(&mut bytes, ENTRIES.into());
        field::VALUE_MAX.put(&mut bytes, VALUE_LEN_MAX as u64);
        field::ID_MAX.put(&mut bytes, ID_LEN_MAX as u64);
        field::ID_FORM.put(&mut bytes, self.ids.code().into());
        let lines = self.classes.lines();
        field::CLASS_COUNT.put(&mut bytes, lines.len() as u64);
        let mut sizes = [0; 2 * CLASSES_MAX];
        for (to, line) in sizes.chunks_exact_mut(2).zip(lines) {
            to.copy_from_slice(&line.to_le_bytes());
        }
        field::CLASSES.put_slice(&mut bytes, &sizes);
        let check = plain(bytes.get(..field::CHECK.offset).unwrap_or(&bytes));
        field::CHECK.put(&mut bytes, check.into());
        bytes
    }

    /// The seed of the container's checksums.
    pub(crate) fn seal(&self) -> Seal {
        Seal::of_uuid(&self.uuid)
    }
}
