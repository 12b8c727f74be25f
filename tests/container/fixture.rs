//! Where containers of tests live, and what every test may need.
//!
//! A [`Fixture`] is a container in a directory of its own, in memory or on a
//! simulated disk. When it is dropped, and its test has not failed already, the
//! container must be sound and the directory must hold nothing else.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cloakroom::storage::MemoryStorage;
use cloakroom::storage::simulated::{ProcessId, SimulatedDisk};
use cloakroom::{ByteContainer, Durability, ErrorKind, IdForm, MapPolicy, Options};
use tempfile::TempDir;

/// A place for one container.
#[derive(Debug)]
pub(crate) struct Fixture {
    place: Place,
}

#[derive(Debug)]
enum Place {
    File { directory: TempDir },
    Memory(MemoryStorage),
    Simulated(SimulatedDisk, ProcessId),
}

impl Fixture {
    /// A name in a directory of its own.
    pub(crate) fn file() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File { directory };
        Fixture { place }
    }

    pub(crate) fn memory() -> Fixture {
        let place = Place::Memory(MemoryStorage::new());
        Fixture { place }
    }

    /// A disk whose clock a test may set.
    pub(crate) fn simulated() -> Fixture {
        let disk = SimulatedDisk::new(1);
        let process = disk.spawn();
        let place = Place::Simulated(disk, process);
        Fixture { place }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("sessions.room")
    }

    pub(crate) fn directory(&self) -> &Path {
        match &self.place {
            Place::File { directory } => directory.path(),
            other => panic!("{other:?} has no directory"),
        }
    }

    pub(crate) fn disk(&self) -> &SimulatedDisk {
        match &self.place {
            Place::Simulated(disk, _) => disk,
            other => panic!("{other:?} is no simulated disk"),
        }
    }

    pub(crate) fn create(&self, options: Options) -> ByteContainer {
        match &self.place {
            Place::File { .. } => ByteContainer::create(self.path(), options),
            Place::Memory(storage) => ByteContainer::create_on(Box::new(storage.share()), options),
            Place::Simulated(disk, process) => {
                ByteContainer::create_on(Box::new(disk.open(*process)), options)
            }
        }
        .unwrap()
    }

    pub(crate) fn open(&self, options: Options) -> ByteContainer {
        match &self.place {
            Place::File { .. } => ByteContainer::open(self.path(), options),
            Place::Memory(storage) => ByteContainer::open_on(Box::new(storage.share()), options),
            Place::Simulated(disk, process) => {
                ByteContainer::open_on(Box::new(disk.open(*process)), options)
            }
        }
        .unwrap()
    }

    pub(crate) fn open_read_only(&self, options: Options) -> ByteContainer {
        match &self.place {
            Place::File { .. } => ByteContainer::open_read_only(self.path(), options),
            Place::Memory(storage) => {
                ByteContainer::open_read_only_on(Box::new(storage.share()), options)
            }
            Place::Simulated(disk, process) => {
                ByteContainer::open_read_only_on(Box::new(disk.open(*process)), options)
            }
        }
        .unwrap()
    }

    fn verify(&self) {
        if let Place::File { directory } = &self.place {
            let names = fs::read_dir(directory.path()).unwrap();
            let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            assert!(names.len() <= 1, "there are files beside it: {names:?}");
            if !self.path().exists() {
                return;
            }
        }
        assert_sound(&self.open_read_only(Options::new()));
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.verify();
        }
    }
}

/// Fails with what `check` found, if it found damage.
pub(crate) fn assert_sound(container: &ByteContainer) {
    let report = container.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
}

/// No sync, no map: the fastest handle for a test that is about neither.
pub(crate) fn quick() -> Options {
    Options::new().ids(IdForm::Plain).durability(Durability::Never).map(MapPolicy::Never)
}

/// Bytes that tell their number and never repeat in a way that hides a mix-up.
pub(crate) fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The value of a session that must be there.
pub(crate) fn value(container: &ByteContainer, id: impl AsRef<[u8]>) -> Vec<u8> {
    container.load(id).unwrap().expect("no session").value
}

/// The kind of an error that must have happened.
pub(crate) fn refusal<T: std::fmt::Debug>(result: cloakroom::Result<T>) -> ErrorKind {
    let error = result.expect_err("it was done");
    // Each error also has to say something, with the name of the file.
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
    match error.path() {
        Some(path) => assert!(text.starts_with(&path.display().to_string()), "{text:?}"),
        None => assert!(!text.starts_with('/'), "{text:?}"),
    }
    let source = std::error::Error::source(&error).map(ToString::to_string);
    drop(source);
    kind_of(error)
}

/// The same kind again, out of an error that only lends it.
fn kind_of(error: cloakroom::Error) -> ErrorKind {
    use ErrorKind as K;
    match error.kind() {
        K::Busy { awaited, holder, waited_ms } => {
            K::Busy { awaited: *awaited, holder: *holder, waited_ms: *waited_ms }
        }
        K::Full(source) => K::Full(source.kind().into()),
        K::Damaged(damage) => K::Damaged(*damage),
        K::NotAContainer(why) => K::NotAContainer(*why),
        K::Newer { found } => K::Newer { found: *found },
        K::Exists => K::Exists,
        K::OtherIds { found } => K::OtherIds { found: *found },
        K::InvalidId { len } => K::InvalidId { len: *len },
        K::TooLarge { len, max } => K::TooLarge { len: *len, max: *max },
        K::ReadOnly(why) => K::ReadOnly(*why),
        K::Reentered => K::Reentered,
        K::Rotated => K::Rotated,
        K::Io { action, source } => K::Io { action, source: source.kind().into() },
        other => panic!("an unexpected kind: {other:?}"),
    }
}

/// Where a field lies in its structure, by the format's own tables.
pub(crate) fn field(structure: &str, name: &str) -> Range<usize> {
    let structure = cloakroom::format::layout()
        .iter()
        .find(|known| known.name == structure)
        .unwrap_or_else(|| panic!("no structure {structure}"));
    let field = structure.fields.iter().find(|field| field.name == name);
    let field = field.unwrap_or_else(|| panic!("no field {name}"));
    field.offset..field.offset + field.size
}

/// A little-endian number in bytes.
pub(crate) fn number(bytes: &[u8], range: Range<usize>) -> u64 {
    let mut wide = [0; 8];
    let len = range.len();
    wide[..len].copy_from_slice(&bytes[range]);
    u64::from_le_bytes(wide)
}
