//! What is no container, or must not be touched: each is refused with a reason
//! of its own, and not a byte of it changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Fixture, TOOL, finish};

#[test]
fn restore_makes_no_container() {
    let f = Fixture::empty();
    f.run(&["restore", "FILE"]).refused("No such file");
    assert!(!f.file.exists());
}

#[test]
fn create_makes_a_container_only_where_nothing_is() {
    let f = Fixture::empty();
    fs::write(&f.file, "").unwrap();
    let created = f.run(&["create", "FILE", "--json"]).done().object();
    assert_eq!(created["version"], 0);
    assert_eq!(created["uuid"], f.run(&["info", "FILE", "--json"]).done().object()["uuid"]);
    let before = fs::read(&f.file).unwrap();
    f.run(&["create", "FILE"]).refused("already exists and is not empty");
    assert_eq!(fs::read(&f.file).unwrap(), before);

    let other = Fixture::empty();
    fs::write(&other.file, "Dear visitor,\n").unwrap();
    let text = other.run(&["create", "FILE"]).refused("already exists and is not empty").err;
    assert!(
        text.contains("if it is a container, open it, else create one under another"),
        "{text}"
    );
    other.run(&["ls", "FILE"]).refused("not a cloakroom container");
    fs::remove_file(&other.file).unwrap();

    let new = Fixture::new();
    assert_eq!(fs::metadata(&new.file).unwrap().permissions().mode() & 0o7777, 0o600);

    let to_nowhere = Fixture::empty();
    symlink(to_nowhere.dir.path().join("nowhere"), &to_nowhere.file).unwrap();
    to_nowhere.run(&["create", "FILE"]).refused("symbolic link");
    assert_eq!(fs::read_dir(to_nowhere.dir.path()).unwrap().count(), 1);
}

/// Every command that opens a container, with the rest of its arguments.
const OPENING: [&[&str]; 10] = [
    &["put", "FILE", "a", "1"],
    &["get", "FILE", "a"],
    &["rm", "FILE", "a"],
    &["ls", "FILE"],
    &["dump", "FILE"],
    &["restore", "FILE"],
    &["info", "FILE"],
    &["check", "FILE"],
    &["inspect", "FILE", "--layout"],
    &["get", "FILE", "a", "--json"],
];

/// A container whose header says something else in one field, with checksums
/// that are right.
fn with_header_field(name: &str, value: u32) -> Vec<u8> {
    let f = Fixture::new();
    let mut structures = cloakroom::format::layout().iter();
    let header = structures.find(|structure| structure.name == "static header").unwrap();
    let offset = header.fields.iter().find(|field| field.name == name).unwrap().offset;
    let mut bytes = fs::read(&f.file).unwrap();
    for start in [0, 15 * 4096] {
        bytes[start + offset..][..4].copy_from_slice(&value.to_le_bytes());
        let check = crc32fast::hash(&bytes[start..start + 508]);
        bytes[start + 508..][..4].copy_from_slice(&check.to_le_bytes());
    }
    bytes
}

#[test]
fn what_is_no_container_is_refused_with_the_reason_and_left_alone() {
    let container = fs::read(&Fixture::new().file).unwrap();
    let cases: [(&str, Vec<u8>); 8] = [
        ("it is empty or all zero (`create`", vec![]),
        ("it is empty or all zero (`create`", vec![0; 200_000]),
        ("not a cloakroom container", b"Dear visitor,\n".repeat(10_000)),
        ("it looks like an SQLite", [&b"SQLite format 3\0"[..], &[1; 100_000]].concat()),
        ("it was cut short", container[..5000].to_vec()),
        ("it was cut short", container[..20].to_vec()),
        ("format version 7; use a newer", with_header_field("version", 7)),
        ("unknown features 0x8; use a newer", with_header_field("incompatible", 8)),
    ];
    for (why, bytes) in cases {
        let f = Fixture::empty();
        fs::write(&f.file, &bytes).unwrap();
        for arguments in OPENING {
            let ran = f.run(arguments).refused(why);
            assert!(ran.err.contains(f.file.to_str().unwrap()), "{ran:?}");
            assert_eq!(ran.err.starts_with("{\"error\":\""), arguments.contains(&"--json"));
            assert!(fs::read(&f.file).unwrap() == bytes, "{arguments:?} changed the file: {why}");
        }
        fs::remove_file(&f.file).unwrap();
    }
}

#[test]
fn a_file_in_the_making_is_refused_for_now_and_made_anew_if_its_maker_is_gone() {
    let f = Fixture::new();
    let mut bytes = fs::read(&f.file).unwrap();
    let header = 0..512;
    bytes[header.clone()].fill(0);
    bytes[15 * 4096..][header].fill(0);
    let line = b"cloakroom is being made here; `create` may begin it anew";
    bytes[512..][..line.len()].copy_from_slice(line);
    fs::write(&f.file, &bytes).unwrap();
    for arguments in OPENING {
        let text = f.run(arguments).refused("interrupted, or is still under way").err;
        assert!(text.contains("try again; `create` begins anew"), "{text}");
    }
    f.run(&["create", "FILE"]).done();
    f.run(&["put", "FILE", "a", "1"]).done();
}

#[test]
fn a_container_without_an_intact_header_is_damaged_and_left_alone() {
    let f = Fixture::new();
    let whole = fs::read(&f.file).unwrap();
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    bytes[15 * 4096 + 100] ^= 1;
    fs::write(&f.file, &bytes).unwrap();
    for arguments in OPENING {
        let ran = f.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains("damaged: both headers"), "{ran:?}");
        assert!(ran.err.contains("restore a backup") && !ran.err.contains("check`"), "{ran:?}");
        assert!(fs::read(&f.file).unwrap() == bytes, "{arguments:?} changed the file");
    }
    fs::write(&f.file, whole).unwrap();
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let f = Fixture::empty();
    let name = |name: &str| f.dir.path().join(name);
    let (directory, fifo, socket) = (name("directory"), name("fifo"), name("socket"));
    fs::create_dir(&directory).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&directory, &fifo, &socket, Path::new("/dev/null")] {
        let path = path.to_str().unwrap();
        for arguments in OPENING.into_iter().chain([&["create", "FILE"][..]]) {
            let arguments: Vec<&str> =
                arguments.iter().map(|a| if *a == "FILE" { path } else { *a }).collect();
            f.run(&arguments).refused("not a regular file");
        }
    }
    for arguments in OPENING {
        f.run(arguments).refused("No such file");
        assert!(!f.file.exists());
    }
}

#[test]
fn who_may_not_write_may_read_and_who_may_neither_is_told() {
    let f = Fixture::new();
    f.run(&["put", "FILE", "a", "1"]).done();
    let before = fs::read(&f.file).unwrap();
    // Root may do everything: then somebody else has to run the tool, and needs
    // a way to it.
    let tool = f.dir.path().join("tool");
    fs::copy(TOOL, &tool).unwrap();
    let run = |mode: u32, arguments: &[&str]| {
        fs::set_permissions(f.dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(&f.file, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&tool);
        command.args(
            arguments.iter().map(|a| if *a == "FILE" { f.file.to_str().unwrap() } else { a }),
        );
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let ran = finish(&mut command, b"");
        fs::set_permissions(f.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        ran
    };
    for arguments in OPENING {
        run(0o000, arguments).refused("Permission denied");
    }
    assert_eq!(run(0o444, &["get", "FILE", "a"]).done().out, "1\n");
    run(0o444, &["check", "FILE"]).done();
    run(0o444, &["put", "FILE", "a", "2"]).refused("Permission denied");
    run(0o444, &["rm", "FILE", "a"]).refused("Permission denied");
    fs::set_permissions(&f.file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(fs::read(&f.file).unwrap() == before);
}
