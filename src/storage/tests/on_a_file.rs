//! What only a real file has: names, maps, permissions, limits, other processes.
//!
//! Tests that need a second process start this very test binary again. Nothing
//! here may depend on the format.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::file::{Access, FileStorage, OpenError, Origin, keep_above};
use super::super::{Fill, LockName, Storage};
use super::{LOCKS, Pair, holder_seen_by, taken_soon};

/// Set for the second process of a test: the path of the file.
const CHILD_PATH: &str = "CLOAKROOM_TEST_CHILD_PATH";

pub(super) fn pair() -> Pair {
    let (directory, path) = place();
    let (first, origin) = FileStorage::create(&path, 0o600).unwrap();
    assert_eq!(origin, Origin::Made);
    let second = FileStorage::open(&path, Access::ReadWrite).unwrap();
    Pair { first: Box::new(first), second: Box::new(second), _place: Box::new(directory) }
}

/// A name in a directory of its own.
fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sessions.cloak");
    (directory, path)
}

fn made(path: &Path) -> FileStorage {
    FileStorage::create(path, 0o600).unwrap().0
}

/// Runs the test `name` of this module once more, in a process that finds
/// `path` in its environment.
fn in_a_child(name: &str, path: &Path) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{name}"), "--nocapture"]);
    command.env(CHILD_PATH, path);
    command
}

fn child_path() -> Option<PathBuf> {
    std::env::var_os(CHILD_PATH).map(PathBuf::from)
}

/// The child's lines up to the one that says it is ready.
fn wait_until_ready(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(|line| line.unwrap()).any(|line| line.contains("ready")));
}

/// The numbers of this process's descriptors of the file.
#[cfg(target_os = "linux")]
fn descriptors_of(path: &Path) -> Vec<i32> {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|entry| fs::read_link(entry).is_ok_and(|target| target == path))
        .map(|entry| entry.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect()
}

/// Fails when `open` waits for somebody.
fn at_once<T: Send + 'static>(open: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(open()));
    receiver.recv_timeout(Duration::from_secs(20)).expect("an answer at once")
}

#[test]
fn links_go_to_0_when_the_name_is_removed() {
    let (_directory, path) = place();
    let storage = made(&path);
    assert_eq!(storage.status().unwrap().links, 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(storage.status().unwrap().links, 0);
    assert_eq!(storage.reopen().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn links_go_to_0_when_another_file_takes_the_name() {
    let (directory, path) = place();
    let storage = made(&path);
    storage.write_at(b"old", 0).unwrap();
    let other = directory.path().join("other");
    fs::write(&other, "new").unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(storage.status().unwrap().links, 0);
    let again = storage.reopen().unwrap().unwrap();
    let mut bytes = [0; 3];
    again.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"new");
    assert_eq!(again.status().unwrap().links, 1);
    assert_ne!(storage.view().unwrap(), again.view().unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn a_mark_is_seen_by_others_and_does_not_go_with_a_copy() {
    let (directory, path) = place();
    let storage = made(&path);
    assert!(!storage.is_marked());
    storage.mark();
    drop(storage);
    assert!(FileStorage::open(&path, Access::ReadOnly).unwrap().is_marked());
    let copy = directory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert!(!FileStorage::open(&copy, Access::ReadWrite).unwrap().is_marked());
    // Another file under the same name is another inode.
    std::fs::rename(&copy, &path).unwrap();
    assert!(!FileStorage::open(&path, Access::ReadWrite).unwrap().is_marked());
}

#[test]
#[cfg(target_os = "linux")]
fn a_mark_is_believed_only_where_all_who_may_read_may_also_write() {
    let (directory, _) = place();
    let sealed = [0o600, 0o400, 0o660, 0o606, 0o666, 0o620, 0o602, 0o711, 0o777];
    let open = [0o640, 0o604, 0o644, 0o664, 0o646, 0o642, 0o440, 0o404, 0o444, 0o755];
    for (mode, believed) in
        sealed.map(|mode| (mode, true)).into_iter().chain(open.map(|mode| (mode, false)))
    {
        let path = directory.path().join(format!("{mode:o}"));
        let (storage, _) = FileStorage::create(&path, mode).unwrap();
        storage.mark();
        let other = FileStorage::open(&path, Access::ReadOnly).unwrap();
        assert_eq!(other.is_marked(), believed, "{mode:o}");
        assert_eq!(storage.is_marked(), believed, "{mode:o}, by its maker");
        storage.unmark();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let other = FileStorage::open(&path, Access::ReadOnly).unwrap();
        assert!(!other.is_marked(), "{mode:o}, taken away");
    }
}

/// The hint of an inode may be another than the mark: then it says nothing, and stays.
#[test]
#[cfg(target_os = "linux")]
fn another_hint_is_no_mark_and_is_not_taken_away() {
    use super::super::sys::{set_write_hint, write_hint};
    let (_directory, path) = place();
    let storage = made(&path);
    let file = fs::File::open(&path).unwrap();
    for hint in [0, 1, 3, 4, 5] {
        set_write_hint(&file, hint).unwrap();
        assert!(!storage.is_marked(), "{hint}");
        storage.unmark();
        assert_eq!(write_hint(&file), Some(hint));
    }
    storage.mark();
    assert!(storage.is_marked());
}

#[test]
#[cfg(target_os = "linux")]
fn the_start_of_the_system_is_told_by_the_clock_of_now() {
    let (_directory, path) = place();
    let storage = made(&path);
    let text = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    let started_ms = storage.now_ms() - (seconds * 1000.0) as u64;
    let off_ms = storage.booted_ms().abs_diff(started_ms);
    assert!(off_ms < 2000, "{off_ms} ms off");
}

#[test]
fn a_map_shows_what_was_written_before_and_after_it_was_made() {
    let (_directory, path) = place();
    let storage = made(&path);
    storage.write_at(&[1; 100], 0).unwrap();
    let map = storage.map(100_000).unwrap().expect("a file can be mapped");
    assert!(map.len() >= 100_000);
    let numbers: Vec<u8> = (0..=255).collect();
    storage.write_at(&numbers, 4090).unwrap();
    storage.write_at(&[9; 3], 90_000).unwrap();
    for (offset, len) in [(0, 100), (8, 0), (4088, 258), (4096, 1), (4096, 7), (89_992, 11)] {
        let (mut mapped, mut read) = (vec![b'?'; len], vec![0; len]);
        assert!(map.copy_out(&mut mapped, offset));
        assert_eq!(storage.read_at(&mut read, offset).unwrap(), len);
        assert_eq!(mapped, read, "{len} bytes from {offset}");
    }
    let other = FileStorage::open(&path, Access::ReadOnly).unwrap();
    let second_map = other.map(1).unwrap().expect("a file open for reading can be mapped");
    storage.write_at(b"later", 16).unwrap();
    for map in [map, second_map] {
        let mut bytes = [0; 5];
        assert!(map.copy_out(&mut bytes, 16));
        assert_eq!(&bytes, b"later");
    }
}

#[test]
fn a_map_refuses_what_lies_outside_and_what_is_not_aligned() {
    let (_directory, path) = place();
    let storage = made(&path);
    storage.extend(0, 4096, Fill::Zeros).unwrap();
    let map = storage.map(4096).unwrap().unwrap();
    let mut bytes = [b'?'; 16];
    for offset in [map.len() - 8, map.len(), u64::MAX - 7, 1, 4] {
        assert!(!map.copy_out(&mut bytes, offset));
    }
    assert_eq!(bytes, [b'?'; 16]);
    assert!(map.copy_out(&mut bytes, map.len() - 16));
    assert!(storage.map(u64::MAX).is_err());
}

#[test]
fn a_map_outlives_its_storage() {
    let (_directory, path) = place();
    let storage = made(&path);
    storage.write_at(b"still here", 0).unwrap();
    let map = storage.map(10).unwrap().unwrap();
    drop(storage);
    let mut bytes = [0; 10];
    assert!(map.copy_out(&mut bytes, 0));
    assert_eq!(&bytes, b"still here");
}

#[test]
fn a_pipe_a_socket_a_device_and_a_directory_are_refused_at_once() {
    let (directory, pipe) = place();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let others = [pipe, socket, directory.path().to_owned(), PathBuf::from("/dev/null")];
    for path in others {
        let results = at_once(move || {
            [
                FileStorage::open(&path, Access::ReadWrite).map(drop),
                FileStorage::open(&path, Access::ReadOnly).map(drop),
                FileStorage::create(&path, 0o600).map(drop),
            ]
        });
        for result in results {
            assert!(matches!(result, Err(OpenError::NotRegular(_))), "{result:?}");
        }
    }
}

#[test]
fn a_symbolic_link_is_refused_at_creation_and_followed_by_open() {
    let (directory, path) = place();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let dangling = FileStorage::create(&link, 0o600);
    assert!(matches!(dangling, Err(OpenError::SymbolicLink)), "{dangling:?}");
    assert!(!path.exists(), "nothing was made through the link");
    made(&path).write_at(b"here", 0).unwrap();
    let existing = FileStorage::create(&link, 0o600);
    assert!(matches!(existing, Err(OpenError::SymbolicLink)), "{existing:?}");
    let storage = FileStorage::open(&link, Access::ReadOnly).unwrap();
    assert_eq!(storage.status().unwrap().len, 4);
    assert_eq!(storage.reopen().unwrap().unwrap().status().unwrap().len, 4);
}

#[test]
fn a_created_file_is_not_reopened_through_a_link_that_took_its_place() {
    let (directory, path) = place();
    let storage = made(&path);
    fs::rename(&path, directory.path().join("moved")).unwrap();
    symlink("moved", &path).unwrap();
    assert_eq!(storage.reopen().unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn links_in_a_circle_on_the_way_are_the_systems_error() {
    let (directory, _) = place();
    let circle = directory.path().join("circle");
    symlink("circle", &circle).unwrap();
    let result = FileStorage::create(circle.join("file"), 0o600);
    assert!(matches!(result, Err(OpenError::Io(_))), "{result:?}");
}

#[test]
fn a_created_file_has_exactly_the_mode_and_an_existing_one_keeps_its_own() {
    let (directory, _) = place();
    for mode in [0o600, 0o660, 0o666, 0o640, 0o400] {
        let path = directory.path().join(format!("{mode:o}"));
        let (storage, origin) = FileStorage::create(&path, mode).unwrap();
        assert_eq!(origin, Origin::Made);
        storage.write_at(b"content", 0).unwrap();
        storage.sync_name().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
    }
    let path = directory.path().join("660");
    let (found, origin) = FileStorage::create(&path, 0o600).unwrap();
    assert_eq!(origin, Origin::Found);
    assert_eq!(found.status().unwrap().len, 7);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
}

#[test]
fn of_many_creators_exactly_one_makes_the_file() {
    let (_directory, path) = place();
    let made = std::thread::scope(|scope| {
        let creators: Vec<_> =
            (0..8).map(|_| scope.spawn(|| FileStorage::create(&path, 0o600).unwrap().1)).collect();
        let origins = creators.into_iter().map(|creator| creator.join().unwrap());
        origins.filter(|&origin| origin == Origin::Made).count()
    });
    assert_eq!(made, 1);
}

#[test]
fn a_missing_file_is_the_systems_error() {
    let (_directory, path) = place();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        match FileStorage::open(&path, access) {
            Err(OpenError::Io(e)) => assert_eq!(e.kind(), io::ErrorKind::NotFound),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    let (_directory, path) = place();
    made(&path).write_at(b"bytes", 0).unwrap();
    let storage = FileStorage::open(&path, Access::ReadOnly).unwrap();
    assert!(storage.write_at(b"x", 0).is_err());
    assert!(storage.extend(5, 10, Fill::Zeros).is_err());
    assert!(storage.try_lock(LockName::Sync).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
}

/// A creation that failed removed by its name what somebody had put there meanwhile.
#[test]
fn only_a_name_that_is_still_its_own_is_removed() {
    let (directory, path) = place();
    let storage = made(&path);
    let other = directory.path().join("other");
    fs::write(&other, "a coat").unwrap();
    fs::rename(&other, &path).unwrap();
    storage.remove_name();
    assert_eq!(fs::read(&path).unwrap(), b"a coat");
    drop(storage);

    fs::remove_file(&path).unwrap();
    let storage = made(&path);
    storage.remove_name();
    assert!(!path.exists());
}

#[test]
fn a_relative_path_is_kept_as_an_absolute_one() {
    let missing = FileStorage::open("no/such/file", Access::ReadOnly);
    assert!(matches!(missing, Err(OpenError::Io(_))));
    let (_directory, path) = place();
    let storage = made(&path);
    assert_eq!(storage.path(), path);
    assert!(storage.path().is_absolute());
    assert!(format!("{storage:?}").contains("sessions.cloak"));
}

#[test]
fn a_local_file_system_is_not_taken_for_one_of_the_network() {
    let (_directory, path) = place();
    assert_eq!(made(&path).network_file_system().unwrap(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn no_descriptor_is_one_of_the_standard_ones() {
    let (_directory, path) = place();
    let _storage = made(&path);
    let _other = FileStorage::open(&path, Access::ReadOnly).unwrap();
    let descriptors = descriptors_of(&path);
    assert_eq!(descriptors.len(), 2);
    assert!(descriptors.iter().all(|&descriptor| descriptor >= 3));

    let low = OwnedFd::from(fs::File::open(&path).unwrap());
    let lowest = low.as_raw_fd() + 100;
    let high = keep_above(low, lowest).unwrap();
    assert!(high.as_raw_fd() >= lowest);
    let flags = rustix::io::fcntl_getfd(&high).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn another_process_is_kept_out_named_as_holder_and_its_locks_die_with_it() {
    if let Some(path) = child_path() {
        let storage = FileStorage::open(path, Access::ReadWrite).unwrap();
        assert!(storage.try_lock(LockName::Writer).unwrap());
        assert!(storage.try_lock(LockName::Sync).unwrap());
        println!("ready");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let (_directory, path) = place();
    let storage = made(&path);
    let name = "another_process_is_kept_out_named_as_holder_and_its_locks_die_with_it";
    let mut child = in_a_child(name, &path).stdout(Stdio::piped()).spawn().unwrap();
    wait_until_ready(&mut child);
    assert!(!storage.try_lock(LockName::Writer).unwrap());
    assert!(!storage.try_lock(LockName::Sync).unwrap());
    if cfg!(target_os = "linux") {
        assert_eq!(holder_seen_by(&storage), Some(child.id()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for lock in LOCKS {
        assert!(taken_soon(&storage, lock));
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_not_the_end() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let too_large = io::ErrorKind::FileTooLarge;
    if let Some(path) = child_path() {
        let storage = FileStorage::open(path, Access::ReadWrite).unwrap();
        let limit = Rlimit { current: Some(100_000), maximum: Some(100_000) };
        setrlimit(Resource::Fsize, limit).unwrap();
        // Even within the file a write beyond the limit would be deadly.
        assert_eq!(storage.write_at(b"x", 150_000).unwrap_err().kind(), too_large);
        assert_eq!(storage.write_at(b"xx", 99_999).unwrap_err().kind(), too_large);
        storage.write_at(b"x", 99_999).unwrap();
        for fill in [Fill::Zeros, Fill::Reserve] {
            let error = storage.extend(200_000, 300_000, fill).unwrap_err();
            assert_eq!(error.kind(), too_large);
        }
        assert_eq!(storage.status().unwrap().len, 200_000);
        println!("ready");
        return;
    }
    let (_directory, path) = place();
    made(&path).extend(0, 200_000, Fill::Zeros).unwrap();
    let name = "a_file_size_limit_is_an_error_and_not_the_end";
    let output = in_a_child(name, &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("ready"));
}

#[test]
fn a_view_tells_files_apart_and_stays_the_same() {
    let (directory, path) = place();
    let storage = made(&path);
    let other = made(&directory.path().join("other"));
    let (view, other_view) = (storage.view().unwrap(), other.view().unwrap());
    if Path::new("/proc/sys/kernel/random/boot_id").exists() {
        let view = view.expect("boot and mount can be told");
        assert_eq!(view.inode, fs::metadata(&path).unwrap().ino());
        assert_ne!(view.boot, [0; 16]);
        assert_ne!(Some(view), other_view);
    }
    storage.write_at(b"x", 0).unwrap();
    assert_eq!(storage.view().unwrap(), view);
}

#[test]
#[cfg(target_os = "linux")]
fn a_boot_id_is_32_digits_and_nothing_else() {
    use super::super::linux::parse_boot_id;
    let id = parse_boot_id(b"00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
    assert_eq!(id[..4], [0, 0x11, 0x22, 0x33]);
    assert_eq!(id[15], 0xff);
    assert_eq!(parse_boot_id(b""), None);
    assert_eq!(parse_boot_id(b"00112233-4455-6677-8899-aabbccddeef\n"), None);
    assert_eq!(parse_boot_id(b"00112233-4455-6677-8899-aabbccddeeff0\n"), None);
    assert_eq!(parse_boot_id(b"00112233-4455-6677-8899-aabbccddeefg\n"), None);
}

#[test]
#[cfg(target_os = "linux")]
fn the_holder_is_not_guessed() {
    use super::super::linux::holder_in;
    let device = rustix::fs::makedev(0xfe, 0);
    let holder = |table: &str| holder_in(table.as_bytes(), device, 1234);
    let held = "1: FLOCK  ADVISORY  WRITE 42 fe:00:1234 0 EOF\n";
    assert_eq!(holder(held), Some(42));
    let waiting = "1: -> FLOCK  ADVISORY  WRITE 43 fe:00:1234 0 EOF\n";
    assert_eq!(holder(&format!("{held}{waiting}")), Some(42));
    assert_eq!(holder(waiting), None);
    assert_eq!(holder(""), None);
    assert_eq!(holder("FLOCK\n1: FLOCK\n"), None);
    assert_eq!(holder("1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF\n"), None);
    assert_eq!(holder("1: POSIX  ADVISORY  WRITE 42 fe:00:1234 0 EOF\n"), None);
    assert_eq!(holder("1: FLOCK  ADVISORY  WRITE 42 fe:00:12345 0 EOF\n"), None);
    assert_eq!(holder("1: FLOCK  ADVISORY  WRITE 42 fd:00:1234 0 EOF\n"), None);
    assert_eq!(holder("1: FLOCK  ADVISORY  WRITE 0 fe:00:1234 0 EOF\n"), None);
    let shared = "1: FLOCK  ADVISORY  READ 42 fe:00:1234 0 EOF\n";
    assert_eq!(holder(shared), Some(42));
    assert_eq!(holder(&format!("{shared}{shared}")), Some(42));
    assert_eq!(holder(&format!("{shared}{}", shared.replace("42", "43"))), None);
}

#[test]
#[cfg(target_os = "linux")]
fn a_duplicated_descriptor_keeps_the_lock_when_the_storage_is_dropped() {
    // A forked child has such a descriptor. Were the lock given back on drop,
    // the child's drop would give back its parent's.
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let (_directory, path) = place();
    let storage = made(&path);
    let inherited = {
        let [descriptor] = descriptors_of(&path)[..] else { panic!("one descriptor") };
        let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()).unwrap()
    };
    let other = made(&path);
    for lock in LOCKS {
        assert!(storage.try_lock(lock).unwrap());
    }
    drop(storage);
    for lock in LOCKS {
        assert!(!other.try_lock(lock).unwrap());
    }
    drop(inherited);
    for lock in LOCKS {
        assert!(taken_soon(&other, lock));
    }
}
