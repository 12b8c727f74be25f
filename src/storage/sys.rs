//! All `unsafe` code of the crate: words read from a shared map, and a few
//! calls that neither std nor rustix offers.
//!
//! The map is read-only and other processes write to its file at any moment.
//! So no reference to plain bytes of it is ever made, not even for an instant:
//! each aligned word is read by one relaxed atomic load. Nothing here may ever
//! store into a map (a full disk would end in SIGBUS), make a slice of one
//! (the part beyond the end of the file must not be touched) or shrink a file.

#![allow(unsafe_code)] // The only module that may; see above.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::ReadMap;

/// Bytes read by one load.
const WORD: usize = 8;

/// True where a 64-bit load from memory that is mapped read-only is allowed and
/// happens as a whole. On 32-bit machines it may be done by a compare-and-swap,
/// which faults; there every read goes through `pread`.
const WORDS_LOAD_WHOLE: bool = cfg!(all(target_has_atomic = "64", target_pointer_width = "64"));

/// A read-only shared map of a file, from its first byte.
#[derive(Debug)]
pub(super) struct FileMap {
    _own_in_child: MapOwnInChild,
    raw: MmapRaw,
}

impl FileMap {
    /// Maps at least `len` bytes, which may be more than the file has. `None`
    /// where the machine or the file system cannot.
    pub(super) fn new(file: &File, len: u64) -> io::Result<Option<FileMap>> {
        if !WORDS_LOAD_WHOLE {
            return Ok(None);
        }
        // Whole pages, so that the word around the last byte is mapped too.
        let len = len
            .max(1)
            .checked_next_multiple_of(4096)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        match MmapOptions::new().len(len).map_raw_read_only(file) {
            Ok(raw) => Ok(Some(FileMap { _own_in_child: MapOwnInChild::new(&raw, file), raw })),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl ReadMap for FileMap {
    fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    fn copy_out(&self, bytes: &mut [u8], offset: u64) -> bool {
        let Ok(start) = usize::try_from(offset) else {
            return false;
        };
        let Some(end) = start.checked_add(bytes.len()) else {
            return false;
        };
        if end > self.raw.len() || !start.is_multiple_of(WORD) {
            return false;
        }
        if bytes.len() >= PREFETCH_LEN_MIN {
            prefetch(self.raw.as_ptr().wrapping_add(start), bytes.len());
        }
        let mut at = self.raw.as_ptr().wrapping_add(start).cast::<AtomicU64>();
        let (words, tail) = bytes.as_chunks_mut::<WORD>();
        for word in words {
            // SAFETY: `at` lies within the map, and is aligned: so are the map and `start`.
            let shared = unsafe { &*at };
            *word = shared.load(Ordering::Relaxed).to_le().to_le_bytes();
            at = at.wrapping_add(1);
        }
        if !tail.is_empty() {
            // SAFETY: as above; the map's length is a multiple of 8, so the word is whole.
            let shared = unsafe { &*at };
            let word = shared.load(Ordering::Relaxed).to_le().to_le_bytes();
            tail.copy_from_slice(&word[..tail.len()]);
        }
        // What is copied by a later call is not older than what this one copied.
        fence(Ordering::Acquire);
        true
    }

    #[inline]
    fn prefetch(&self, offset: u64, len: usize) {
        if offset < self.len() {
            prefetch(self.raw.as_ptr().wrapping_add(offset as usize), len);
        }
    }
}

/// Takes an exclusive lock of the byte at `offset`, owned by the open file
/// description; false when another description has it. Needs a descriptor open
/// for writing.
#[cfg(target_os = "linux")]
pub(super) fn try_lock_byte(file: &File, offset: i64) -> io::Result<bool> {
    match set_lock(file, offset, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Gives the byte back.
#[cfg(target_os = "linux")]
pub(super) fn unlock_byte(file: &File, offset: i64) -> io::Result<()> {
    set_lock(file, offset, libc::F_UNLCK)
}

#[cfg(target_os = "linux")]
fn set_lock(file: &File, offset: i64, kind: libc::c_int) -> io::Result<()> {
    // The kernel insists that `l_pid` be 0.
    // SAFETY: `flock64` is made of integers, and zero is a value of each.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = offset;
    range.l_len = 1;
    loop {
        // SAFETY: `file` keeps the descriptor open; the call only reads `range`.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
        if result != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// fcntl(2), F_GET_RW_HINT and F_SET_RW_HINT: F_LINUX_SPECIFIC_BASE + 11 and + 12.
#[cfg(target_os = "linux")]
const GET_WRITE_HINT: libc::c_int = 1024 + 11;
#[cfg(target_os = "linux")]
const SET_WRITE_HINT: libc::c_int = 1024 + 12;

/// How long what is written to the inode is said to live; `None` before Linux 4.13.
#[cfg(target_os = "linux")]
pub(super) fn write_hint(file: &File) -> Option<u64> {
    let mut hint = 0_u64;
    // SAFETY: `file` keeps the descriptor open; the call writes one u64.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), GET_WRITE_HINT, &raw mut hint) };
    (result == 0).then_some(hint)
}

/// Sets it, for as long as the inode is in memory.
#[cfg(target_os = "linux")]
pub(super) fn set_write_hint(file: &File, hint: u64) -> io::Result<()> {
    // SAFETY: `file` keeps the descriptor open; the call reads one u64.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), SET_WRITE_HINT, &raw const hint) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Linux only.
#[cfg(not(target_os = "linux"))]
pub(super) fn write_hint(_file: &File) -> Option<u64> {
    None
}

/// See [`write_hint`].
#[cfg(not(target_os = "linux"))]
pub(super) fn set_write_hint(_file: &File, _hint: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Milliseconds since the system was started, those asleep included. By libc, which
/// has found the kernel's clock page already: rustix would look for it anew, which a
/// process that lives for one request does not need.
#[cfg(target_os = "linux")]
pub(super) fn running_ms() -> Option<u64> {
    // SAFETY: all zeros is a valid value of this plain C structure.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let ms =
        u64::try_from(time.tv_sec).ok()? * 1000 + u64::try_from(time.tv_nsec).ok()? / 1_000_000;
    (result == 0).then_some(ms)
}

/// Linux only.
#[cfg(not(target_os = "linux"))]
pub(super) fn running_ms() -> Option<u64> {
    None
}

/// Locks of a byte that belong to the open file description exist on Linux only;
/// the older kind, owned by the process, vanishes when any descriptor is closed.
#[cfg(not(target_os = "linux"))]
pub(super) fn try_lock_byte(_file: &File, _offset: i64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// See [`try_lock_byte`].
#[cfg(not(target_os = "linux"))]
pub(super) fn unlock_byte(_file: &File, _offset: i64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the descriptor of `file` one of what `other` has open. What it stood for
/// is closed, which never releases a lock that another process still has.
pub(super) fn replace(file: &File, other: &File) -> io::Result<()> {
    // SAFETY: both descriptors are open, and stay owned by their files.
    let done = unsafe { libc::dup2(AsRawFd::as_raw_fd(other), AsRawFd::as_raw_fd(file)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes from which on it pays to ask for all cache lines before the first is
/// waited for: single words come too slowly for the processor to run ahead.
const PREFETCH_LEN_MIN: usize = 256;

/// Asks for the cache lines of a range. A hint: it reads nothing.
#[inline]
fn prefetch(from: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless; SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(offset).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, len);
}

/// The process's id as last asked for; 0 is unknown.
static PROCESS_ID: AtomicU32 = AtomicU32::new(0);

/// The process's id without a system call, which every save would pay for. A
/// forked child forgets it before it returns from the fork. (A child made by the
/// bare system call, past the C library, is not noticed; it must not go on with
/// threads' locks in unknown state anyway.)
pub(super) fn process_id() -> u32 {
    let known = PROCESS_ID.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let id = std::process::id();
    if notices_forks() {
        PROCESS_ID.store(id, Ordering::Relaxed);
    }
    id
}

/// Whether a child that is forked from now on will be told.
fn notices_forks() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: the handler only touches atomics of static lifetime, and makes calls
        // that a child may make between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(part_from_parent)) == 0 }
    })
}

/// Open files and maps of which a forked child gets descriptions of its own: so many
/// of each; those of more are shared with the parent.
const PLACES: usize = 128;
/// Descriptors are one more here, so that all zeros, which a program begins with, says
/// that there is none.
const NO_FILE: RawFd = 0;

static FILES: [AtomicI32; PLACES] = [const { AtomicI32::new(NO_FILE) }; PLACES];
static MAPS: [MapPlace; PLACES] = [const { MapPlace::new() }; PLACES];
/// Places in [`MAPS`] that were ever used.
static MAPS_USED: AtomicUsize = AtomicUsize::new(0);

struct MapPlace {
    /// Whose map it is.
    file: AtomicI32,
    start: AtomicUsize,
    len: AtomicUsize,
}

impl MapPlace {
    const fn new() -> MapPlace {
        MapPlace {
            file: AtomicI32::new(NO_FILE),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
        }
    }
}

fn swap(place: &AtomicI32, from: RawFd, to: RawFd) -> bool {
    place.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// An open file that a forked child does not share with its parent, as long as this
/// is kept. What the child has instead is another description of the same file: the
/// parent's locks, which belong to the description, do not outlive the parent in it.
#[derive(Debug)]
pub(super) struct OwnInChild {
    /// One more than the descriptor.
    file: RawFd,
    place: Option<usize>,
}

impl OwnInChild {
    pub(super) fn new(file: &impl AsRawFd) -> OwnInChild {
        let file = file.as_raw_fd() + 1;
        let mut free = FILES.iter().enumerate().filter(|(_, place)| swap(place, NO_FILE, file));
        let place = if notices_forks() { free.next().map(|(place, _)| place) } else { None };
        OwnInChild { file, place }
    }
}

impl Drop for OwnInChild {
    fn drop(&mut self) {
        if let Some(place) = self.place.and_then(|place| FILES.get(place)) {
            place.store(NO_FILE, Ordering::Relaxed);
        }
        // A map may be kept longer than the file; its number may soon be another's.
        for map in MAPS.iter().take(MAPS_USED.load(Ordering::Relaxed)) {
            let _ = swap(&map.file, self.file, NO_FILE);
        }
    }
}

/// A map that a forked child has of its own, as long as its file is.
#[derive(Debug)]
struct MapOwnInChild(Option<usize>);

impl MapOwnInChild {
    fn new(raw: &MmapRaw, file: &File) -> MapOwnInChild {
        let start = raw.as_ptr().expose_provenance();
        let place = MAPS.iter().position(|place| {
            // Whoever has the start has the place.
            place.start.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        if let Some(place) = place.and_then(|place| MAPS.get(place)) {
            place.len.store(raw.len(), Ordering::Relaxed);
            place.file.store(file.as_raw_fd() + 1, Ordering::Release);
        }
        MAPS_USED.fetch_max(place.map_or(0, |place| place + 1), Ordering::Relaxed);
        MapOwnInChild(place)
    }
}

impl Drop for MapOwnInChild {
    fn drop(&mut self) {
        if let Some(place) = self.0.and_then(|place| MAPS.get(place)) {
            place.file.store(NO_FILE, Ordering::Relaxed);
            place.start.store(0, Ordering::Release);
        }
    }
}

/// In a forked child, before it returns from the fork.
extern "C" fn part_from_parent() {
    PROCESS_ID.store(0, Ordering::Relaxed);
    for place in &FILES {
        let file = place.load(Ordering::Relaxed);
        if file != NO_FILE {
            let _ = open_for_oneself(file - 1);
        }
    }
    for place in &MAPS {
        let file = place.file.load(Ordering::Acquire);
        if file != NO_FILE {
            let start = std::ptr::with_exposed_provenance_mut(place.start.load(Ordering::Relaxed));
            let len = place.len.load(Ordering::Relaxed);
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: it replaces a map of this file, made by `FileMap`, by the same.
            // Where it fails, the parent's stays.
            let _ = unsafe { libc::mmap(start, len, libc::PROT_READ, flags, file - 1, 0) };
        }
    }
}

/// Opens what the file has open anew, in its place. False where that fails, as where
/// there is no /proc.
pub(super) fn open_anew(file: &File) -> bool {
    open_for_oneself(file.as_raw_fd())
}

/// The same by its number. If it fails, all stays as it is.
fn open_for_oneself(file: RawFd) -> bool {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = [0; 10];
    let (mut rest, mut count) = (file.unsigned_abs(), 0);
    for digit in &mut digits {
        *digit = b'0' + (rest % 10) as u8;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    let digits = digits.get(..count).unwrap_or(&[]).iter().rev();
    for (place, digit) in path.iter_mut().skip(b"/proc/self/fd/".len()).zip(digits) {
        *place = *digit;
    }
    // SAFETY: a question about a number.
    let flags = unsafe { libc::fcntl(file, libc::F_GETFL) } & libc::O_ACCMODE;
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: the path ends with a zero.
    let own = unsafe { libc::open(path.as_ptr().cast(), flags) };
    if own < 0 {
        return false;
    }
    // SAFETY: `own` is open, and `file` stays its owner's, whatever it stands for.
    let replaced = unsafe { libc::dup2(own, file) } >= 0;
    // SAFETY: both are open; nobody else knows `own`.
    let _ = unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: as before.
    let _ = unsafe { libc::close(own) };
    replaced
}
