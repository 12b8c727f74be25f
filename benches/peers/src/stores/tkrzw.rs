//! tkrzw's HashDBM, loaded when the bench runs: no sync (fast) or a hard one a save
//! (durable). One process at a time may write. Debian's package is `libtkrzw1`.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};
use crate::tdb::{open_library, symbol};

pub(crate) const PEER: Peer = Peer {
    name: "tkrzw",
    fast: "no sync: a kill may lose sessions; one process",
    durable: Some("synchronize(hard) a save"),
    processes: Processes::One,
    version: || Calls::load().map(|_| "libtkrzw1".to_owned()),
    open,
    serve: None,
};

#[derive(Clone, Copy)]
struct Calls {
    open: unsafe extern "C" fn(*const c_char, bool, *const c_char) -> *mut c_void,
    get: unsafe extern "C" fn(*mut c_void, *const c_char, i32, *mut i32) -> *mut c_char,
    set: unsafe extern "C" fn(*mut c_void, *const c_char, i32, *const c_char, i32, bool) -> bool,
    synchronize: Synchronize,
    close: unsafe extern "C" fn(*mut c_void) -> bool,
}

/// With a function to call on the way, and parameters; both may be null.
type Synchronize =
    unsafe extern "C" fn(*mut c_void, bool, *const c_void, *mut c_void, *const c_char) -> bool;

impl Calls {
    fn load() -> Option<Calls> {
        let library = open_library(c"libtkrzw.so.1")?;
        // SAFETY: the types are those of the functions in tkrzw_langc.h.
        unsafe {
            Some(Calls {
                open: symbol(library, c"tkrzw_dbm_open")?,
                get: symbol(library, c"tkrzw_dbm_get")?,
                set: symbol(library, c"tkrzw_dbm_set")?,
                synchronize: symbol(library, c"tkrzw_dbm_synchronize")?,
                close: symbol(library, c"tkrzw_dbm_close")?,
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
    let calls = Calls::load().ok_or("libtkrzw1 is not installed")?;
    let name = CString::new(place.file("tkrzw.tkh").as_os_str().as_bytes())?;
    let parameters = CString::new(format!("dbm=HashDBM,num_buckets={}", place.sessions.max(1000)))?;
    // SAFETY: both are C strings that outlive the call.
    let handle = unsafe { (calls.open)(name.as_ptr(), true, parameters.as_ptr()) };
    let handle = NonNull::new(handle).ok_or("tkrzw_dbm_open failed")?;
    Ok(Box::new(File { calls, handle, mode }))
}

impl Store for File {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        let mut len = 0;
        let (key, key_len) = (id.as_ptr().cast(), id.len() as i32);
        // SAFETY: the handle is open, the call reads `id` and writes `len`.
        let found = unsafe { (self.calls.get)(self.handle.as_ptr(), key, key_len, &mut len) };
        value.clear();
        if found.is_null() {
            return Ok(false);
        }
        // SAFETY: tkrzw allocated and filled this many bytes.
        value.extend_from_slice(unsafe { std::slice::from_raw_parts(found.cast(), len as usize) });
        // SAFETY: tkrzw_dbm_get leaves its malloc'ed copy to the caller, once.
        unsafe { libc::free(found.cast()) };
        Ok(true)
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        let (handle, key, text) = (self.handle.as_ptr(), id.as_ptr(), value.as_ptr());
        let (key_len, len) = (id.len() as i32, value.len() as i32);
        // SAFETY: the handle is open, and the call only reads `id` and `value`.
        let mut done =
            unsafe { (self.calls.set)(handle, key.cast(), key_len, text.cast(), len, true) };
        if done && self.mode == Mode::Durable {
            let (nothing, empty) = (std::ptr::null(), c"".as_ptr());
            // SAFETY: the handle is open, and there is no function to call.
            done = unsafe {
                (self.calls.synchronize)(handle, true, nothing, std::ptr::null_mut(), empty)
            };
        }
        if done { Ok(()) } else { Err("a call of tkrzw failed".into()) }
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
