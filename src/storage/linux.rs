//! What Linux does with a file and tells about it, beyond other systems.
//!
//! It reserves space and syncs a whole file system; it tells which boot and which
//! mount a file is seen through, who holds its lock and whether other hosts write
//! to it. Elsewhere each of these has a stand-in that says it cannot be done or is
//! not known. What /proc does not tell, or tells oddly, is None; it must never be
//! an error or a guess.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, RawMode};
#[cfg(target_os = "linux")]
use rustix::io::{Errno, retry_on_intr};

use super::{Status, View};

/// Device and inode number.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// What the file system says about a file, its times left out.
pub(super) struct Facts {
    pub(super) identity: Identity,
    pub(super) kind: FileType,
    /// Permission bits and kind.
    pub(super) mode: RawMode,
    pub(super) status: Status,
}

/// Asks for all but the times: since Linux 6.13, telling somebody a file's times
/// makes the next write change them, and with them the inode, which on ext4 costs
/// a save about 2 us. Kernels before 4.11 and some sandboxes do not know the call.
#[cfg(target_os = "linux")]
pub(super) fn facts(file: impl AsFd) -> io::Result<Facts> {
    use rustix::fs::{AtFlags, StatxFlags};

    let asked = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::NLINK
        | StatxFlags::INO
        | StatxFlags::SIZE;
    match retry_on_intr(|| rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, asked)) {
        Ok(found) if found.stx_mask & asked.bits() == asked.bits() => {
            let mode = RawMode::from(found.stx_mode);
            let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
            Ok(Facts {
                identity: Identity { device, inode: found.stx_ino },
                kind: FileType::from_raw_mode(mode),
                mode,
                status: Status { len: found.stx_size, links: found.stx_nlink.into() },
            })
        }
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => facts_with_times(file),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use facts_with_times as facts;

#[allow(clippy::unnecessary_cast)] // The types vary with the system.
pub(super) fn facts_with_times(file: impl AsFd) -> io::Result<Facts> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Facts {
        identity: Identity { device: stat.st_dev as _, inode: stat.st_ino as _ },
        kind: FileType::from_raw_mode(stat.st_mode),
        mode: stat.st_mode,
        status: Status {
            len: u64::try_from(stat.st_size).unwrap_or(0),
            links: stat.st_nlink as u64,
        },
    })
}

impl Identity {
    pub(super) fn is_of(&self, found: &std::fs::Metadata) -> bool {
        found.dev() == self.device && found.ino() == self.inode
    }

    /// The process that holds a flock on the file.
    #[cfg(target_os = "linux")]
    pub(super) fn lock_holder(&self) -> Option<u32> {
        // By few and large reads: between two of them lines come and go, and one
        // may be missed or told twice.
        let table = BufReader::with_capacity(1 << 16, File::open("/proc/locks").ok()?);
        holder_in(table, self.device, self.inode)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn lock_holder(&self) -> Option<u32> {
        None
    }

    /// Through which boot and mount `file`, which has this identity, is seen.
    #[cfg(target_os = "linux")]
    pub(super) fn view(&self, file: &File) -> Option<View> {
        let (boot, mount) = boot_id().zip(mount_number(file))?;
        Some(View { boot, mount, device: self.device, inode: self.inode })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn view(&self, _file: &File) -> Option<View> {
        None
    }
}

/// Keeps the page cache in small folios after a reboot, too. A hint only.
#[cfg(target_os = "linux")]
pub(super) fn hint_small_folios(descriptor: &OwnedFd) {
    let _ = rustix::fs::fadvise(descriptor, 0, None, rustix::fs::Advice::Random);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn hint_small_folios(_descriptor: &OwnedFd) {}

/// Reserves space and makes the file longer. False where the file system cannot.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let flags = rustix::fs::FallocateFlags::empty();
    match retry_on_intr(|| rustix::fs::fallocate(file, flags, from, to - from)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _from: u64, _to: u64) -> io::Result<bool> {
    Ok(false)
}

/// Returns when all of the file system that the file is on is on the disk.
#[cfg(target_os = "linux")]
pub(super) fn sync_file_system(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::syncfs(file))?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync_file_system(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The name of the file's file system if other hosts may write to it too.
#[cfg(target_os = "linux")]
pub(super) fn network_file_system(file: &File) -> io::Result<Option<&'static str>> {
    let status = retry_on_intr(|| rustix::fs::fstatfs(file))?;
    // The magic numbers have 32 bits; the field's width and sign vary.
    Ok(match status.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517B => Some("SMB"),
        0xFF53_4D42 => Some("CIFS"),
        0xFE53_4D42 => Some("SMB2"),
        0x0102_1997 => Some("9p"),
        0x5346_414F | 0x6B41_4653 => Some("AFS"),
        0x7375_7245 => Some("CODA"),
        0x00C3_6400 => Some("CEPH"),
        _ => None,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn network_file_system(_file: &File) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// Finds the one process that holds a flock on the file in the text of
/// `/proc/locks`. None if there is any doubt.
#[cfg(target_os = "linux")]
pub(super) fn holder_in(table: impl BufRead, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let mut holder = None;
    for line in table.lines() {
        // "7: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF"; a waiting one has
        // "->" before FLOCK.
        let line = line.ok()?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, "FLOCK", _, _, process, ref rest @ ..] = words.as_slice() else {
            continue;
        };
        if rest.first() != Some(&file.as_str()) {
            continue;
        }
        // 0 stands for a process of another namespace.
        let process = process.parse().ok().filter(|&process| process != 0)?;
        if holder.is_some_and(|other| other != process) {
            return None;
        }
        holder = Some(process);
    }
    holder
}

/// A uuid in text.
#[cfg(target_os = "linux")]
const BOOT_ID_LEN: usize = 36;

/// The boot's number; None without /proc.
#[cfg(target_os = "linux")]
fn boot_id() -> Option<[u8; 16]> {
    let mut text = [0; BOOT_ID_LEN];
    File::open("/proc/sys/kernel/random/boot_id").ok()?.read_exact(&mut text).ok()?;
    parse_boot_id(&text)
}

/// Reads a uuid as the kernel prints it.
#[cfg(target_os = "linux")]
pub(super) fn parse_boot_id(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = 0;
    let mut id = [0_u8; 16];
    for &byte in text.trim_ascii_end().iter().filter(|&&byte| byte != b'-') {
        let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
        let place = id.get_mut(digits / 2)?;
        *place = *place << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(id)
}

/// The number of the mount through which the file was opened: one that is never
/// given again within a boot (Linux 6.8), or else one that is unique among the
/// present mounts.
#[cfg(target_os = "linux")]
fn mount_number(file: &File) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags};

    // Not known to rustix. A kernel that knows it prefers it to MNT_ID.
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let asked = MNT_ID_UNIQUE | StatxFlags::MNT_ID;
    // The number is known here; no file server needs to be asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = retry_on_intr(|| rustix::fs::statx(file, c"", flags, asked)).ok()?;
    (found.stx_mask & asked.bits() != 0).then_some(found.stx_mnt_id)
}

/// Random bits by one plain system call: a portable crate's first call looks for
/// the best way, which costs a young process more than the bits.
#[cfg(target_os = "linux")]
pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let flags = rustix::rand::GetRandomFlags::empty();
        let got = retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
        rest = rest.get_mut(got..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) use super::memory::random;
