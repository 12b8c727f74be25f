//! Where a row does its work: a directory of its own on a real disk, the sizes,
//! and the containers and files that are measured.
//!
//! Files for floors are filled as the container fills itself: reserved, then
//! zeroed in pieces of 4 KiB, since on ext4 that decides what every later small
//! write costs. `CLOAKROOM_BENCH_DIR` moves the directory to another disk.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cloakroom::{ByteContainer, Durability, IdForm, Options};
use rustix::fs::{Advice, FallocateFlags};
use tempfile::TempDir;

use crate::data::{self, Random};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Files are filled and read in pieces of a page.
const PIECE: u64 = 4096;

/// What `statfs` says of a tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// Where and how large.
pub(crate) struct Stage {
    directory: TempDir,
    tiny: bool,
}

impl Stage {
    /// Under `CLOAKROOM_BENCH_DIR`, or else beside the program, in the target
    /// directory.
    pub(crate) fn new(tiny: bool) -> Outcome<Stage> {
        let chosen = std::env::var_os("CLOAKROOM_BENCH_DIR").map(PathBuf::from);
        let beside = || std::env::current_exe().map(|program| program.with_file_name("stages"));
        let parent = chosen.map_or_else(beside, Ok)?;
        std::fs::create_dir_all(&parent)?;
        if rustix::fs::statfs(&parent)?.f_type as i64 == TMPFS && !tiny {
            return Err(format!("{} is a tmpfs; set CLOAKROOM_BENCH_DIR", parent.display()).into());
        }
        let directory = tempfile::Builder::new().prefix("goals-").tempdir_in(parent)?;
        Ok(Stage { directory, tiny })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `full`, or `tiny` under `CLOAKROOM_BENCH_TINY`.
    pub(crate) fn size(&self, full: u64, tiny: u64) -> u64 {
        if self.tiny { tiny } else { full }
    }

    /// How often ours and the other take turns.
    pub(crate) fn rounds(&self) -> u64 {
        self.size(9, 2)
    }

    /// Makes a container of `sessions` sessions in version 0, all on the disk.
    pub(crate) fn container(
        &self,
        name: &str,
        sessions: u64,
        len: impl Fn(u64) -> usize,
    ) -> Outcome<PathBuf> {
        let path = self.path(name);
        let options = Options::new().ids(IdForm::Plain).durability(Durability::Never);
        let container = ByteContainer::create(&path, options)?;
        let mut value = Vec::new();
        for session in 0..sessions {
            data::fill(&mut value, session, 0, len(session));
            container.save(data::id(session), &value)?;
        }
        container.sync()?;
        Ok(path)
    }
}

/// Brings what the system has dropped of a file back into memory, in the small
/// pieces in which it was. Some machines drop what nobody has read for a minute.
pub(crate) fn warm(path: &Path) -> Outcome<()> {
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
    let mut piece = [0; PIECE as usize];
    for offset in (0..file.metadata()?.len()).step_by(PIECE as usize) {
        file.read_at(&mut piece, offset)?;
    }
    Ok(())
}

/// A file of at least `len` bytes, filled as a container is, and on the disk.
pub(crate) fn filled_file(path: &Path, len: u64) -> Outcome<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let len = len.next_multiple_of(PIECE);
    // Not every file system can reserve; zeros take the space there as well.
    let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len);
    rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
    for offset in (0..len).step_by(PIECE as usize) {
        file.write_all_at(&[0; PIECE as usize], offset)?;
    }
    file.sync_data()?;
    Ok(file)
}

/// How long a session of the mixture is: 512 B (15 %), 1 KiB (60 %), 2 KiB
/// (15 %), 4 KiB (10 %).
pub(crate) fn mixed_len(seed: u64) -> usize {
    match Random::new(seed ^ 0x5e55).below(100) {
        0..15 => 512,
        15..75 => 1024,
        75..90 => 2048,
        _ => 4096,
    }
}
