//! File systems that other hosts may write to: nothing is written there, and no
//! inode is marked. The kernel's answer is exchanged by strace, so no server is needed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use cloakroom::storage::{Access, FileStorage, Storage};
use cloakroom::{ByteContainer, ErrorKind, Options, ReadOnly};

use crate::{not_run, quick, role, value};

/// Names of file systems with the numbers that statfs(2) gives them.
const KINDS: [(&str, u32); 9] = [
    ("NFS", 0x6969),
    ("SMB", 0x517B),
    ("CIFS", 0xFF53_4D42),
    ("SMB2", 0xFE53_4D42),
    ("9p", 0x0102_1997),
    ("AFS", 0x5346_414F),
    ("AFS", 0x6B41_4653),
    ("CODA", 0x7375_7245),
    ("CEPH", 0x00C3_6400),
];

/// Role: tells of what it was refused, and by what name.
pub(crate) fn on_a_network(path: &OsStr) {
    let path = Path::new(path);
    let beside = path.with_file_name("beside.room");
    let refusals = [
        ByteContainer::create(&beside, quick()).map(drop).unwrap_err(),
        ByteContainer::open(path, quick())
            .unwrap()
            .save("visitor", b"a cane")
            .map(drop)
            .unwrap_err(),
    ];
    assert!(!beside.exists(), "an empty file stays");
    let container = ByteContainer::open(path, Options::new()).unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
    // Not even who opens the storage on their own account marks it.
    FileStorage::open(path, Access::ReadWrite).unwrap().mark();
    for refusal in refusals {
        let ErrorKind::ReadOnly(ReadOnly::FileSystem(name)) = refusal.kind() else {
            panic!("{refusal}");
        };
        role::tell(&format!("refused on {name}"));
    }
}

/// Plays the role where the kernel says that the file is on a file system of this number.
fn play_on(number: u32, path: &Path) -> Output {
    let bytes: String = number.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    let inject = format!("inject=fstatfs:poke_exit=@arg2={bytes}");
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fstatfs", "-e", &inject];
    role::under(&strace, "on a network", path.as_os_str()).output().unwrap()
}

#[test]
fn on_a_network_file_system_a_container_is_read_only_and_never_marked() {
    if !cfg!(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")) {
        return not_run("network file systems", "strace's answer is laid out for another machine");
    }
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        return not_run(
            "network file systems",
            "strace is missing (`make setup`) or may not trace",
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    ByteContainer::create(&path, quick()).unwrap().save("visitor", b"a hat").unwrap();
    let storage = FileStorage::open(&path, Access::ReadOnly).unwrap();
    assert!(storage.is_marked(), "a local file is not marked");
    storage.unmark();
    let before = fs::read(&path).unwrap();
    for (name, number) in KINDS {
        let output = play_on(number, &path);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert_eq!(said.matches(&format!("refused on {name}\n")).count(), 2, "{said}");
        assert!(!storage.is_marked(), "marked on {name}");
    }
    assert!(before == fs::read(&path).unwrap());
}
