//! Small, read-only and layered file systems.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use cloakroom::{ByteContainer, Durability, ErrorKind, MapPolicy, Options};

use crate::mount::Mount;
use crate::{assert_sound, bytes, not_run, quick, role, value};

const LEN: usize = 3000;

/// Role: fills the file system while it reads through a map. A store into a map, or
/// a read of a page that the disk has no room for, would end it by SIGBUS.
pub(crate) fn fill_under_a_map(path: &OsStr) {
    let options = Options::new().map(MapPolicy::AfterLoads(0));
    let options = options.durability(Durability::Interval(std::time::Duration::from_millis(50)));
    let container = ByteContainer::open(path, options).unwrap();
    let mut count = 0u64;
    for number in 0..100_000u64 {
        match container.save(number.to_le_bytes(), &bytes(number, LEN)) {
            Ok(_) => count = number + 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}");
                break;
            }
        }
        assert!(value(&container, (number / 2).to_le_bytes()) == bytes(number / 2, LEN));
    }
    assert!((100..90_000).contains(&count), "{count}");
    for round in 1..4u64 {
        // Other values of other classes, as far as there is space for them.
        let mut refusals = 0;
        for number in (0..count).step_by(3) {
            let len = 500 * (1 + (number + round) as usize % 9);
            if let Err(error) = container.save(number.to_le_bytes(), &bytes(number, len)) {
                assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}");
                refusals += 1;
            }
            if refusals == 10 {
                break;
            }
        }
        for number in 0..count {
            let found = value(&container, number.to_le_bytes());
            assert!(found == bytes(number, found.len()));
        }
    }
    // What was removed makes room once it is durable; a copy-on-write file system may
    // be too full even to overwrite, which is told.
    let removed = (0..count / 2)
        .try_for_each(|number| container.remove(number.to_le_bytes()).map(|lived| assert!(lived)));
    if let Err(error) = removed {
        assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}");
    }
    match container.sync().and_then(|()| container.save("again", &bytes(1, LEN))) {
        Ok(_) => assert!(value(&container, "again") == bytes(1, LEN)),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Full(_)), "{error}"),
    }
    for number in count / 2 + 1..count {
        let found = value(&container, number.to_le_bytes());
        assert!(found == bytes(number, found.len()));
    }
}

fn fill(mkfs: &str, arguments: &[&str], mib: u64, leave_mib: u64) {
    let mount = match Mount::new(mkfs, arguments, mib) {
        Ok(mount) => mount,
        Err(why) => return not_run(&format!("a small file system by {mkfs}"), &why),
    };
    let path = mount.path().join("sessions.room");
    drop(ByteContainer::create(&path, quick()).unwrap());
    let other = mount.path().join("other");
    if leave_mib > 0 {
        // The smallest it can be made is too large to fill in a test.
        let free = rustix::fs::statvfs(mount.path()).unwrap();
        let len = (free.f_bavail * free.f_frsize).saturating_sub(leave_mib << 20);
        let file = fs::File::create(&other).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    }
    let child = role::start("fill under a map", path.as_os_str());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), None, "{mkfs}: {said}");
    assert!(output.status.success(), "{mkfs}: {said}");
    let container = ByteContainer::open_read_only(&path, quick()).unwrap();
    assert_sound(&container);
    drop(container);
    if leave_mib > 0 {
        fs::remove_file(&other).unwrap();
        let container = ByteContainer::open(&path, quick()).unwrap();
        container.save("space again", b"works").unwrap();
        container.sync().unwrap();
    }
}

#[test]
fn a_full_ext4_is_an_error_and_no_signal() {
    fill("mkfs.ext4", &["-q", "-F", "-m", "0"], 8, 0);
}

#[test]
fn a_full_xfs_is_an_error_and_no_signal() {
    fill("mkfs.xfs", &["-q", "-f"], 320, 4);
}

#[test]
fn a_full_btrfs_is_an_error_and_no_signal() {
    fill("mkfs.btrfs", &["-q", "-f", "--mixed"], 24, 0);
}

#[test]
fn a_container_on_a_read_only_mount_can_be_read_and_nothing_else() {
    let mount = match Mount::memory() {
        Ok(mount) => mount,
        Err(why) => return not_run("a read-only mount", &why),
    };
    let path = mount.path().join("sessions.room");
    let container = ByteContainer::create(&path, quick()).unwrap();
    for number in 0..200u64 {
        container.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
    }
    // Nobody closes it: what is not durable must be readable all the same.
    std::mem::forget(container);
    let before = fs::read(&path).unwrap();
    if let Err(why) = mount.make_read_only() {
        // The forgotten handle has the file open for writing.
        let copy = Mount::memory().unwrap();
        fs::write(copy.path().join("sessions.room"), &before).unwrap();
        copy.make_read_only().unwrap_or_else(|again| panic!("{why}; {again}"));
        return read_only(&copy, &before);
    }
    read_only(&mount, &before);
}

fn read_only(mount: &Mount, before: &[u8]) {
    let path = mount.path().join("sessions.room");
    let error = ByteContainer::open(&path, quick()).unwrap_err();
    let ErrorKind::Io { source, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let container = ByteContainer::open_read_only(&path, Options::new()).unwrap();
    for number in 0..200u64 {
        assert!(value(&container, number.to_le_bytes()) == bytes(number, 300));
    }
    assert_eq!(container.iter().count(), 200);
    assert_sound(&container);
    let error = ByteContainer::create(mount.path().join("new"), quick()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
    assert!(before == fs::read(&path).unwrap());
}

#[test]
fn a_container_in_the_lower_layer_of_an_overlay_is_copied_up_by_its_first_writer() {
    let lower = tempfile::tempdir().unwrap();
    let below = lower.path().join("sessions.room");
    let container = ByteContainer::create(&below, quick()).unwrap();
    container.save("visitor", b"a hat").unwrap();
    container.save("quiet", b"a cane").unwrap();
    container.sync().unwrap();
    drop(container);
    let before = fs::read(&below).unwrap();
    let mounts = Mount::memory().and_then(|upper| Ok((Mount::over(lower.path(), &upper)?, upper)));
    let (overlay, _upper) = match mounts {
        Ok(mounts) => mounts,
        Err(why) => return not_run("an overlay", &why),
    };
    let path = overlay.path().join("sessions.room");
    let early = ByteContainer::open_read_only(&path, Options::new()).unwrap();
    let mapped = Options::new().map(MapPolicy::AfterLoads(0));
    let early_and_mapped = ByteContainer::open_read_only(&path, mapped).unwrap();
    for reader in [&early, &early_and_mapped] {
        assert_eq!(value(reader, "visitor"), b"a hat");
    }
    let writer = ByteContainer::open(&path, Options::new()).unwrap();
    writer.save("visitor", b"a coat").unwrap();
    writer.save("new", &bytes(1, 100_000)).unwrap();
    writer.sync().unwrap();
    assert_sound(&writer);
    let late = ByteContainer::open_read_only(&path, Options::new()).unwrap();
    assert_eq!(value(&late, "visitor"), b"a coat");
    // Who opened before the copy may go on seeing the lower file, whole and in peace.
    for reader in [&early, &early_and_mapped] {
        let seen = value(reader, "visitor");
        assert!(seen == b"a hat" || seen == b"a coat");
        assert_eq!(value(reader, "quiet"), b"a cane");
    }
    assert!(before == fs::read(&below).unwrap());
}

/// Of a site whose server has mounts of its own, as containers and services have.
#[test]
fn a_check_from_outside_a_servers_mounts_tells_of_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    let mount = match Mount::bind(directory.path()) {
        Ok(mount) => mount,
        Err(why) => return not_run("a second mount of a directory", &why),
    };
    let server = mount.path().join("sessions.room");
    let container = ByteContainer::create(&server, Options::new()).unwrap();
    container.save("visitor", b"a hat").unwrap();
    drop(container);
    let path = directory.path().join("sessions.room");
    let report = ByteContainer::open_read_only(&path, Options::new()).unwrap().check().unwrap();
    assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
}
