//! Bad input: what is no container, or one of a newer program, is refused with
//! an error that says so, and not a byte of it changes.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cloakroom::storage::MemoryStorage;
use cloakroom::{
    ByteContainer, Change, DamageKind, ErrorKind, Newer, NotAContainer, Options, ReadOnly,
};

use crate::fixture::{Fixture, bytes, field, quick, refusal, value};

/// Fails rather than wait for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(10)).expect("it hangs or panics")
}

/// What opening says, which has to be the same both ways.
fn refused(path: &Path) -> NotAContainer {
    let path = path.to_owned();
    let [one, two] = in_time(move || {
        [
            refusal(ByteContainer::open(&path, quick())),
            refusal(ByteContainer::open_read_only(&path, quick())),
        ]
    });
    match (one, two) {
        (ErrorKind::NotAContainer(one), ErrorKind::NotAContainer(two)) if one == two => one,
        other => panic!("{other:?}"),
    }
}

/// A file with this content, which nothing may change.
fn refused_file(content: &[u8]) -> (NotAContainer, ErrorKind) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, content).unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let why = refused(&path);
    let blank = content.iter().all(|byte| *byte == 0);
    let at_create = match blank {
        true => ErrorKind::Exists,
        false => refusal(ByteContainer::create(&path, quick())),
    };
    assert!(fs::read(&path).unwrap() == content, "it was changed");
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    (why, at_create)
}

/// The bytes of a container with one session.
fn container() -> Vec<u8> {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    drop(container);
    fs::read(fixture.path()).unwrap()
}

/// Sets a field in both headers, and makes their checks right again.
fn with_header_field(image: &[u8], name: &str, value: u32) -> Vec<u8> {
    let mut image = image.to_vec();
    let check = field("static header", "check");
    for start in [0, field("block 0", "static header copy").start] {
        let header = &mut image[start..start + check.end];
        header[field("static header", name)].copy_from_slice(&value.to_le_bytes());
        let sum = crc32fast::hash(&header[..check.start]);
        header[check.clone()].copy_from_slice(&sum.to_le_bytes());
    }
    image
}

#[test]
fn an_empty_or_zero_file_is_refused_and_create_is_named() {
    for len in [0, 1, 512, 4096, 65536, 131_072, 1 << 20] {
        let (why, _) = refused_file(&vec![0; len]);
        assert_eq!(why, NotAContainer::Empty, "{len} zeros");
    }
    let text = NotAContainer::Empty.to_string();
    assert!(text.contains("create"), "{text}");
}

#[test]
fn other_kinds_of_file_are_refused_by_name_where_they_are_known() {
    let strangers: [&[u8]; 8] = [
        b"SQLite format 3\0 and so on",
        b"TDB file\n",
        b"ToKyO CaBiNeT\n",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"{\"id\": 1}",
        b"#!/bin/sh\n",
        b"REDIS0011",
    ];
    for content in strangers {
        let (why, at_create) = refused_file(content);
        assert!(matches!(why, NotAContainer::LooksLike(_)), "{why:?}");
        assert!(matches!(at_create, ErrorKind::Exists), "{at_create:?}");
    }
    for content in [b"hello\n".to_vec(), bytes(1, 100_000), vec![0xff; 4096]] {
        let (why, at_create) = refused_file(&content);
        assert_eq!(why, NotAContainer::NoHeader);
        assert!(matches!(at_create, ErrorKind::Exists), "{at_create:?}");
    }
}

#[test]
fn a_container_whose_headers_are_both_damaged_is_called_that() {
    let mut image = container();
    for header in [0, 61_440] {
        image[header + 100] ^= 1;
    }
    let storage = MemoryStorage::from_bytes(image);
    let kind = refusal(ByteContainer::open_on(Box::new(storage), Options::new()));
    let ErrorKind::Damaged(damage) = kind else { panic!("{kind:?}") };
    assert_eq!((damage.kind, damage.offset), (DamageKind::Headers, 0));
}

#[test]
fn a_container_cut_within_its_first_two_blocks_is_refused() {
    let image = container();
    let mut lengths: Vec<_> = (1..image.len()).step_by(4093).collect();
    lengths.extend([1, 15, 16, 63, 511, 512, 513, 4096, 61_440, 61_952, 65_535, 65_536, 131_071]);
    for len in lengths {
        if len >= 131_072 {
            continue;
        }
        let (why, at_create) = refused_file(&image[..len]);
        assert!(matches!(why, NotAContainer::CutShort | NotAContainer::NoHeader), "{len}: {why:?}");
        assert!(matches!(at_create, ErrorKind::Exists), "{at_create:?}");
    }
    assert_eq!(refused_file(&image[..512]).0, NotAContainer::CutShort);
    assert_eq!(refused_file(&image[..65_536]).0, NotAContainer::CutShort);
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let image = with_header_field(&container(), "version", 7);
    let fixture = Fixture::file();
    fs::write(fixture.path(), &image).unwrap();
    for result in [
        ByteContainer::open(fixture.path(), quick()),
        ByteContainer::open_read_only(fixture.path(), quick()),
    ] {
        let kind = refusal(result);
        let newer = matches!(kind, ErrorKind::Newer { found: Newer::Version(7) });
        assert!(newer, "{kind:?}");
    }
    let kind = refusal(ByteContainer::create(fixture.path(), quick()));
    assert!(matches!(kind, ErrorKind::Exists), "{kind:?}");
    assert!(fs::read(fixture.path()).unwrap() == image);
    fs::remove_file(fixture.path()).unwrap();
}

#[test]
fn unknown_features_stop_what_they_must_and_no_more() {
    let original = container();
    let fixture = Fixture::file();
    let write = |name, bits| {
        let image = with_header_field(&original, name, bits);
        fs::write(fixture.path(), &image).unwrap();
        image
    };
    let image = write("incompatible", 0x8000_0001);
    for result in [
        ByteContainer::open(fixture.path(), quick()),
        ByteContainer::open_read_only(fixture.path(), quick()),
    ] {
        let kind = refusal(result);
        let newer = matches!(kind, ErrorKind::Newer { found: Newer::Features(0x8000_0001) });
        assert!(newer, "{kind:?}");
    }
    assert!(fs::read(fixture.path()).unwrap() == image);

    let image = write("read_only", 4);
    let readable = ByteContainer::open(fixture.path(), quick()).unwrap();
    assert_eq!(value(&readable, "visitor"), b"a hat");
    let kind = refusal(readable.save("visitor", b"a coat"));
    let read_only = matches!(kind, ErrorKind::ReadOnly(ReadOnly::Features(4)));
    assert!(read_only, "{kind:?}");
    drop(readable);
    assert!(fs::read(fixture.path()).unwrap() == image);

    write("compatible", 0x10);
    let writable = ByteContainer::open(fixture.path(), quick()).unwrap();
    writable.save("visitor", b"a coat").unwrap();
    assert_eq!(writable.info().unwrap().features, (0x10, 0));
}

#[test]
fn directories_pipes_devices_and_sockets_are_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    let mode = mode | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, what) in [
        (directory.path(), "a directory"),
        (&fifo, "a FIFO"),
        (&socket, "a socket"),
        (Path::new("/dev/null"), "a device"),
        (Path::new("/dev/zero"), "a device"),
    ] {
        assert_eq!(refused(path), NotAContainer::NotAFile(what), "{}", path.display());
        let path = path.to_owned();
        let kind = in_time(move || refusal(ByteContainer::create(path, quick())));
        let why = matches!(kind, ErrorKind::NotAContainer(NotAContainer::NotAFile(_)));
        assert!(why, "{kind:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn create_follows_no_symbolic_link() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    let target = directory.path().join("target");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for made in [false, true] {
        if made {
            fs::write(&target, "").unwrap();
        }
        let kind = refusal(ByteContainer::create(&link, quick()));
        let why = matches!(kind, ErrorKind::NotAContainer(NotAContainer::Symlink));
        assert!(why, "{kind:?}");
        assert_eq!(target.exists(), made);
    }
    assert_eq!(fs::metadata(&target).unwrap().len(), 0);
}

#[test]
fn links_in_a_circle_and_names_that_lead_nowhere_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(at("two"), at("one")).unwrap();
    std::os::unix::fs::symlink(at("one"), at("two")).unwrap();
    std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
    for name in ["one", "dangling", "missing", "missing/missing", "one/x"] {
        for result in [
            ByteContainer::open(at(name), quick()),
            ByteContainer::open_read_only(at(name), quick()),
        ] {
            let kind = refusal(result);
            assert!(matches!(kind, ErrorKind::Io { .. }), "{name}: {kind:?}");
        }
    }
    let long = at(&"x".repeat(300));
    let kind = refusal(ByteContainer::create(long, quick()));
    assert!(matches!(kind, ErrorKind::Io { .. }), "{kind:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn create_refuses_what_is_there() {
    let fixture = Fixture::file();
    fixture.create(quick()).save("visitor", b"a hat").unwrap();
    let before = fs::read(fixture.path()).unwrap();
    let kind = refusal(ByteContainer::create(fixture.path(), quick()));
    assert!(matches!(kind, ErrorKind::Exists), "{kind:?}");
    assert!(before == fs::read(fixture.path()).unwrap());
}

/// A file with a hole can be as long as anybody likes: to look through it took as long.
#[test]
fn a_file_of_very_many_zeros_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(refused(&path), NotAContainer::NoHeader);
    let other = path.clone();
    let at_create = in_time(move || refusal(ByteContainer::create(&other, quick())));
    assert!(matches!(at_create, ErrorKind::Exists), "{at_create:?}");
    assert_eq!(file.metadata().unwrap().len(), 1 << 40);
}

#[test]
fn what_is_refused_before_the_file_is_looked_at_names_it_all_the_same() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let large = vec![0; (4 << 20) + 1];
    let refused = [
        container.load("").unwrap_err(),
        container.save("", b"a coat").unwrap_err(),
        container.save([7; 256], b"a coat").unwrap_err(),
        container.save("visitor", &large).unwrap_err(),
        container.replace("visitor", &large).unwrap_err(),
        container.update("visitor", |_| Change::Save(large.clone())).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.path(), Some(fixture.path().as_path()), "{error}");
    }
}
