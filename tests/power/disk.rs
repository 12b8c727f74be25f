//! A small file system of its own on a loop device, whose power can be cut.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::dice::Dice;
use crate::kernel::{self, LoopDevice};

/// The file systems that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    /// An image is sparse, so its length costs nothing; xfs insists on this one.
    fn image_len(self) -> u64 {
        match self {
            Kind::Ext4 => 96 << 20,
            Kind::Xfs => 300 << 20,
        }
    }

    fn make(self, image: &Path) -> Result<String, String> {
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        match self {
            Kind::Ext4 => command.args(["-q", "-F", "-b", "4096", "-m", "0", "-N", "64"]),
            Kind::Xfs => command.args(["-q", "-f", "-K"]),
        };
        if self == Kind::Ext4 {
            command.args(["-J", "size=4", "-E", "nodiscard"]);
        }
        kernel::run(command.arg(image))
    }

    fn mount_options(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => &["", "", "data=writeback", "nodelalloc"],
            Kind::Xfs => &[""],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which pages of the container reach the disk before the cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forced {
    None,
    /// Each with this chance in a hundred.
    Some(u64),
    /// The control page and the segments, but no record.
    Index,
    /// All but those.
    Records,
    Control,
    AllButControl,
    AllButOne,
}

impl Forced {
    pub(crate) fn choose(dice: &mut Dice) -> Forced {
        match dice.below(9) {
            0 => Forced::None,
            1 => Forced::Some(10),
            2 => Forced::Some(50),
            3 => Forced::Some(90),
            4 => Forced::Index,
            5 => Forced::Records,
            6 => Forced::Control,
            7 => Forced::AllButControl,
            _ => Forced::AllButOne,
        }
    }
}

const PAGE: u64 = 4096;
const BLOCK: u64 = 1 << 16;
/// The page of the control line, and what a block head says of a segment.
const CONTROL_PAGE: u64 = 1;
const USE_OFFSET: u64 = 24;
const SEGMENT: u8 = 0x71;

#[derive(Debug)]
pub(crate) struct Disk {
    kind: Kind,
    device: LoopDevice,
    directory: TempDir,
    options: &'static str,
}

impl Disk {
    /// Makes a file system and mounts it, in mounts of this thread alone.
    pub(crate) fn new(kind: Kind, dice: &mut Dice) -> Result<Disk, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount a file system".into());
        }
        let text = |e: io::Error| e.to_string();
        kernel::leave_mount_namespace().map_err(text)?;
        let memory = Path::new("/dev/shm");
        let images = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let image = tempfile::NamedTempFile::new_in(images).map_err(text)?;
        image.as_file().set_len(kind.image_len()).map_err(text)?;
        kind.make(image.path())?;
        // The image's name goes away now, the image when the device does.
        let device = LoopDevice::attach(image.path())?;
        let directory = tempfile::tempdir().map_err(text)?;
        let choice = dice.below(kind.mount_options().len() as u64);
        let options = kind.mount_options()[choice as usize];
        let disk = Disk { kind, device, directory, options };
        disk.mount().map_err(|e| format!("mount {kind}: {e}"))?;
        Ok(disk)
    }

    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    fn mount(&self) -> io::Result<()> {
        self.device.mount(self.kind.name(), self.place(), self.options)
    }

    /// Forces pages of the file out, and the journal too if `journal` says so.
    pub(crate) fn force(&self, path: &Path, forced: Forced, dice: &mut Dice) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let pages = file.metadata()?.len().div_ceil(PAGE);
        let spared = dice.below(pages.max(1));
        let mut index = false;
        for page in 0..pages {
            if page.is_multiple_of(BLOCK / PAGE) {
                let mut usage = [0];
                file.read_exact_at(&mut usage, page * PAGE + USE_OFFSET)?;
                index = page == 0 || usage[0] == SEGMENT;
            }
            let chosen = match forced {
                Forced::None => false,
                Forced::Some(share) => dice.percent(share),
                Forced::Index => index,
                Forced::Records => !index,
                Forced::Control => page == CONTROL_PAGE,
                Forced::AllButControl => page != CONTROL_PAGE,
                Forced::AllButOne => page != spared,
            };
            if chosen {
                kernel::force_out(&file, page * PAGE, PAGE)?;
            }
        }
        Ok(())
    }

    /// Has the journal written, and with it the length of every file and where
    /// its pages lie, by an fsync of another file.
    pub(crate) fn commit_journal(&self) -> io::Result<()> {
        let other = File::create(self.file("other"))?;
        other.write_all_at(b"x", 0)?;
        other.sync_all()?;
        fs::remove_file(self.file("other"))?;
        File::open(self.place())?.sync_all()
    }

    /// Reads all of a file at once, which is many times faster than what comes by
    /// the page, and keeps the page cache in pages as [`Disk::force`] needs it.
    pub(crate) fn warm(&self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        let mut piece = vec![0; 1 << 20];
        while io::Read::read(&mut file, &mut piece)? > 0 {}
        Ok(())
    }

    pub(crate) fn cut(&self) -> io::Result<()> {
        kernel::shut_down(self.place())
    }

    /// Brings the file system back, with what was on the disk.
    pub(crate) fn power_up(&self) -> io::Result<()> {
        unmount(self.place())?;
        self.device.forget()?;
        self.mount()
    }
}

/// Unmounts; what was killed just now may take a moment to let go.
fn unmount(at: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match kernel::unmount(at) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && tries < 1000 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Never again written to, whether or not it comes down at once.
        let _ = kernel::shut_down(self.place());
        let _ = unmount(self.place());
    }
}
