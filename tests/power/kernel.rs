//! What only a test of power cuts asks of the kernel.
//!
//! Mounts are made in a mount namespace of the calling thread, and loop devices
//! let go of themselves when nobody holds them: whatever becomes of the test,
//! nothing stays mounted or attached.

#![allow(unsafe_code)] // Four calls that neither std nor rustix offers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Takes the file system down as a power cut does: what is not on the disk stays
/// so, the journal's part in memory included. _IOR('X', 125, u32).
pub(crate) fn shut_down(mount_point: &Path) -> io::Result<()> {
    const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
    let no_log_flush: u32 = 2;
    let directory = File::open(mount_point)?;
    // SAFETY: the call reads one u32, which outlives it.
    let done = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN, &raw const no_log_flush) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes a range of a file to the disk, and nothing else: no metadata, no flush.
pub(crate) fn force_out(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    // SAFETY: the descriptor is open; no memory is passed.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives this thread mounts of its own, which its children see and nobody else.
pub(crate) fn leave_mount_namespace() -> io::Result<()> {
    // SAFETY: the namespace and working directory of this thread are all it changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", private)?)
}

/// An image file as a block device.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    /// While it is open the device stays; closing it lets go of the image.
    device: File,
}

impl LoopDevice {
    pub(crate) fn attach(image: &Path) -> Result<LoopDevice, String> {
        let shown = run(Command::new("losetup").args(["--find", "--show"]).arg(image))?;
        let path = PathBuf::from(shown.trim());
        let device = OpenOptions::new().read(true).write(true).open(&path);
        // In use, it is let go of as soon as it no longer is.
        run(Command::new("losetup").arg("--detach").arg(&path))?;
        let device = device.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(LoopDevice { path, device })
    }

    pub(crate) fn mount(&self, kind: &str, at: &Path, options: &str) -> io::Result<()> {
        let options = std::ffi::CString::new(options)?;
        let flags = MountFlags::NOATIME;
        Ok(rustix::mount::mount(&self.path, at, kind, flags, options.as_c_str())?)
    }

    /// Forgets what the system remembers of the device's content: what was read
    /// through a file system that lost its power must not be believed.
    pub(crate) fn forget(&self) -> io::Result<()> {
        const FLUSH_BUFFERS: libc::Ioctl = 0x1261;
        // SAFETY: the descriptor is open; the call takes no argument.
        let done = unsafe { libc::ioctl(self.device.as_raw_fd(), FLUSH_BUFFERS, 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

pub(crate) fn unmount(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::empty())?)
}

/// Runs a program to its end and returns what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.lines().next().unwrap_or("no success")))
}
