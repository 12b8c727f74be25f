//! Who may read sessions' files, and somebody who may not write to the directory.

#![allow(unsafe_code)]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cloakroom::ErrorKind;
use cloakroom::session::{DirectoryManager, SessionManager};
use serde_json::json;

use super::role;

const NOBODY: u32 = 65534;

#[test]
fn nobody_else_may_read_a_session_or_list_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SESSIONS");
    let manager = DirectoryManager::open(&path).unwrap();
    manager.save("visitor", &json!(1), None).unwrap();
    manager.save("visitor", &json!(2), None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    let entries: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 2, "the session and the lock file: {entries:?}");
    assert!(entries.iter().all(|path| mode(path) == 0o600), "{entries:?}");
}

#[test]
fn who_may_not_write_is_told_so_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SESSIONS");
    DirectoryManager::open(&path).unwrap().save("visitor", &json!(1), None).unwrap();
    for folder in [dir.path(), &path] {
        fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
    }
    role::finish(role::start("stranger", &path, ""));
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    let manager = DirectoryManager::open(&path).unwrap();
    assert_eq!(manager.load("visitor").unwrap().unwrap().value, json!(1));
}

/// Role: someone without rights.
pub(crate) fn stranger(directory: &str) {
    if rustix::process::geteuid().is_root() {
        // SAFETY: no groups are passed, so the null pointer is not read.
        let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
        // SAFETY: takes numbers only.
        let group = unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) };
        // SAFETY: takes numbers only.
        let user = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
        assert_eq!((groups, group, user), (0, 0, 0), "{}", io::Error::last_os_error());
    }
    let new = Path::new(directory).parent().unwrap().join("NEW");
    // Whose the lock file is may open it, and cannot make a file beside it.
    let refused = match DirectoryManager::open(directory) {
        Ok(manager) => manager.save("visitor", &json!(2), None).unwrap_err(),
        Err(error) => error,
    };
    for refused in [refused, DirectoryManager::open(new).unwrap_err()] {
        let ErrorKind::Io { source, .. } = refused.kind() else {
            panic!("{refused}");
        };
        assert_eq!(source.kind(), io::ErrorKind::PermissionDenied, "{refused}");
        assert!(refused.to_string().contains(directory.trim_end_matches("SESSIONS")), "{refused}");
    }
}
