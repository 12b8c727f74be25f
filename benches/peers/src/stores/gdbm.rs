//! gdbm, loaded when the bench runs: no sync (fast) or one a save (durable). One
//! process at a time may write. Debian's package is `libgdbm6`.

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};
use crate::tdb::{open_library, symbol};

pub(crate) const PEER: Peer = Peer {
    name: "gdbm",
    fast: "no sync: a kill may leave all sessions unreadable; one process",
    durable: Some("gdbm_sync a save"),
    processes: Processes::One,
    version: || Calls::load().map(|_| "libgdbm6".to_owned()),
    open,
    serve: None,
};

/// `datum`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Datum {
    pointer: *mut c_char,
    len: c_int,
}

impl Datum {
    /// For functions that only read it.
    fn of(bytes: &[u8]) -> Datum {
        Datum { pointer: bytes.as_ptr().cast_mut().cast(), len: bytes.len() as c_int }
    }
}

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, *const c_void) -> *mut c_void;

#[derive(Clone, Copy)]
struct Calls {
    open: Open,
    fetch: unsafe extern "C" fn(*mut c_void, Datum) -> Datum,
    store: unsafe extern "C" fn(*mut c_void, Datum, Datum, c_int) -> c_int,
    sync: unsafe extern "C" fn(*mut c_void) -> c_int,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// From gdbm.h: open for writing, made if it is not there.
const WRCREAT: c_int = 2;
const REPLACE: c_int = 1;

impl Calls {
    fn load() -> Option<Calls> {
        let library = open_library(c"libgdbm.so.6")?;
        // SAFETY: the types are those of the functions in gdbm.h.
        unsafe {
            Some(Calls {
                open: symbol(library, c"gdbm_open")?,
                fetch: symbol(library, c"gdbm_fetch")?,
                store: symbol(library, c"gdbm_store")?,
                sync: symbol(library, c"gdbm_sync")?,
                close: symbol(library, c"gdbm_close")?,
            })
        }
    }
}

struct File {
    calls: Calls,
    handle: NonNull<c_void>,
    mode: Mode,
}

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    let calls = Calls::load().ok_or("libgdbm6 is not installed")?;
    let name = CString::new(place.file("gdbm").as_os_str().as_bytes())?;
    // SAFETY: `name` is a C string that outlives the call; no function for fatal errors.
    let handle = unsafe { (calls.open)(name.as_ptr(), 0, WRCREAT, 0o600, std::ptr::null()) };
    let handle = NonNull::new(handle).ok_or("gdbm_open failed")?;
    Ok(Box::new(File { calls, handle, mode }))
}

impl Store for File {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        // SAFETY: the handle is open, and the call only reads `id`.
        let found = unsafe { (self.calls.fetch)(self.handle.as_ptr(), Datum::of(id)) };
        value.clear();
        if found.pointer.is_null() {
            return Ok(false);
        }
        // SAFETY: gdbm allocated and filled this many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(found.pointer.cast(), found.len as usize) };
        value.extend_from_slice(bytes);
        // SAFETY: gdbm_fetch leaves its malloc'ed copy to the caller, once.
        unsafe { libc::free(found.pointer.cast()) };
        Ok(true)
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        let (id, value) = (Datum::of(id), Datum::of(value));
        // SAFETY: the handle is open, and the call only reads `id` and `value`.
        let mut code = unsafe { (self.calls.store)(self.handle.as_ptr(), id, value, REPLACE) };
        if code == 0 && self.mode == Mode::Durable {
            // SAFETY: the handle is open.
            code = unsafe { (self.calls.sync)(self.handle.as_ptr()) };
        }
        if code == 0 { Ok(()) } else { Err("a call of gdbm failed".into()) }
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        // Nobody else can have it open.
        let mut value = Vec::new();
        self.load(id, &mut value)?;
        change(&mut value);
        self.save(id, &value)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used again.
        unsafe { (self.calls.close)(self.handle.as_ptr()) };
    }
}
