//! As much of tdb as the comparisons need.
//!
//! The library is loaded when the bench runs, so that the bench builds, and its
//! other rows run, where libtdb is not installed. Plain, without a transaction and
//! without a sync, tdb is at its fastest. Debian's package is `libtdb1`.

#![allow(unsafe_code)] // A C library is called here; nothing else in the crate does.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::transmute_copy;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// Why a row was left out.
pub(crate) const MISSING: &str = "libtdb1 is not installed";

/// `TDB_DATA`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    pointer: *mut u8,
    len: usize,
}

impl Data {
    /// For functions that only read it.
    fn of(bytes: &[u8]) -> Data {
        Data { pointer: bytes.as_ptr().cast_mut(), len: bytes.len() }
    }
}

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, libc::mode_t) -> *mut c_void;
type Fetch = unsafe extern "C" fn(*mut c_void, Data) -> Data;
type Store = unsafe extern "C" fn(*mut c_void, Data, Data, c_int) -> c_int;
/// Of a whole file: closing it, beginning and ending a transaction.
type OfFile = unsafe extern "C" fn(*mut c_void) -> c_int;
/// Of the chain that a key is in: locking and unlocking it.
type OfChain = unsafe extern "C" fn(*mut c_void, Data) -> c_int;

/// The loaded library.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    open: Open,
    fetch: Fetch,
    store: Store,
    close: OfFile,
    lock: OfChain,
    unlock: OfChain,
    begin: OfFile,
    commit: OfFile,
}

impl Library {
    /// `None` if it is not installed.
    pub(crate) fn load() -> Option<Library> {
        let library = open_library(c"libtdb.so.1")?;
        Some(Library {
            // SAFETY: the type is that of the function in tdb.h.
            open: unsafe { symbol(library, c"tdb_open")? },
            // SAFETY: the type is that of the function in tdb.h.
            fetch: unsafe { symbol(library, c"tdb_fetch")? },
            // SAFETY: the type is that of the function in tdb.h.
            store: unsafe { symbol(library, c"tdb_store")? },
            // SAFETY: the type is that of the function in tdb.h.
            close: unsafe { symbol(library, c"tdb_close")? },
            // SAFETY: the type is that of the function in tdb.h.
            lock: unsafe { symbol(library, c"tdb_chainlock")? },
            // SAFETY: the type is that of the function in tdb.h.
            unlock: unsafe { symbol(library, c"tdb_chainunlock")? },
            // SAFETY: the type is that of the function in tdb.h.
            begin: unsafe { symbol(library, c"tdb_transaction_start")? },
            // SAFETY: the type is that of the function in tdb.h.
            commit: unsafe { symbol(library, c"tdb_transaction_commit")? },
        })
    }

    /// Opens a file for reading and writing, or makes it, with this many chains.
    pub(crate) fn open(self, path: &Path, chains: u64) -> io::Result<Tdb> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let chains = c_int::try_from(chains).map_err(io::Error::other)?;
        let flags = libc::O_RDWR | libc::O_CREAT;
        // SAFETY: `name` is a C string that outlives the call.
        let handle = unsafe { (self.open)(name.as_ptr(), chains, 0, flags, 0o600) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Tdb { calls: self, handle }),
            None => Err(io::Error::last_os_error()),
        }
    }
}

/// A library of the system, which is never closed again; `None` if it is not there.
pub(crate) fn open_library(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is a C string; what the libraries asked for here do when they
    // are loaded has no conditions.
    NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) })
}

/// # Safety
/// `F` is the type of a pointer to the function that has this name.
pub(crate) unsafe fn symbol<F: Copy>(library: NonNull<c_void>, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: `library` came from dlopen and is never closed.
    let symbol = unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) };
    // SAFETY: a pointer of the same size, of the type that the caller vouches for.
    NonNull::new(symbol).map(|symbol| unsafe { transmute_copy::<NonNull<c_void>, F>(&symbol) })
}

/// An open tdb file.
pub(crate) struct Tdb {
    calls: Library,
    handle: NonNull<c_void>,
}

impl Tdb {
    /// A copy of the value as tdb made it.
    pub(crate) fn fetch(&self, id: &[u8]) -> Option<Fetched> {
        // SAFETY: the handle is open, and the call only reads `id`.
        let found = unsafe { (self.calls.fetch)(self.handle.as_ptr(), Data::of(id)) };
        let pointer = NonNull::new(found.pointer)?;
        Some(Fetched { pointer, len: found.len })
    }

    pub(crate) fn store(&self, id: &[u8], value: &[u8]) -> io::Result<()> {
        const REPLACE: c_int = 1;
        let (id, value) = (Data::of(id), Data::of(value));
        // SAFETY: the handle is open, and the call only reads `id` and `value`.
        done(unsafe { (self.calls.store)(self.handle.as_ptr(), id, value, REPLACE) })
    }

    /// Nobody else changes what is in the chain of `id` until it is unlocked.
    pub(crate) fn lock(&self, id: &[u8]) -> io::Result<()> {
        // SAFETY: the handle is open, and the call only reads `id`.
        done(unsafe { (self.calls.lock)(self.handle.as_ptr(), Data::of(id)) })
    }

    pub(crate) fn unlock(&self, id: &[u8]) -> io::Result<()> {
        // SAFETY: the handle is open, and the call only reads `id`.
        done(unsafe { (self.calls.unlock)(self.handle.as_ptr(), Data::of(id)) })
    }

    /// Begins a transaction, which locks the whole file against other writers.
    pub(crate) fn begin(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { (self.calls.begin)(self.handle.as_ptr()) })
    }

    /// Ends it; everything is on the disk then.
    pub(crate) fn commit(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { (self.calls.commit)(self.handle.as_ptr()) })
    }
}

fn done(code: c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(io::Error::other("a call of tdb failed")),
    }
}

impl Drop for Tdb {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used again.
        unsafe { (self.calls.close)(self.handle.as_ptr()) };
    }
}

/// A value allocated by tdb.
pub(crate) struct Fetched {
    pointer: NonNull<u8>,
    len: usize,
}

impl Fetched {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: tdb allocated and filled this many bytes, and they are ours.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: tdb_fetch leaves its malloc'ed copy to the caller, once.
        unsafe { libc::free(self.pointer.as_ptr().cast()) };
    }
}
