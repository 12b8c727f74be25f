//! The file is copied while it is written to, and an old copy comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cloakroom::{ByteContainer, ErrorKind};
use tempfile::TempDir;

use crate::mount::Mount;
use crate::{assert_sound, bytes, not_run, quick, value};

const QUIET: u64 = 300;
const COPIES: u32 = 20;

/// Copies the file again and again while one of its sessions in ten changes, and
/// other sessions come.
fn copy_while_in_use(directory: &Path, reflink: &str) -> Result<(), String> {
    let path = directory.join("sessions.room");
    let container = ByteContainer::create(&path, quick()).unwrap();
    for number in 0..QUIET {
        container.save(number.to_le_bytes(), &bytes(number, 500)).unwrap();
    }
    container.sync().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut step = 0u64;
            while !done.load(Ordering::Relaxed) {
                let number = (step % (QUIET / 10)) * 10;
                container.save(number.to_le_bytes(), &bytes(step, 600)).unwrap();
                // The index grows meanwhile, but not without end.
                let id = format!("new {}", step % 3000);
                container.save(id, &bytes(step, 40)).unwrap();
                step += 1;
            }
        });
        let copied = (0..COPIES).try_for_each(|number| {
            let copy = directory.join(format!("copy {number}"));
            let output = Command::new("cp").arg(reflink).arg(&path).arg(&copy).output();
            let output = output.map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            judge(&copy);
            fs::remove_file(&copy).unwrap();
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        copied
    })?;
    assert_sound(&container);
    Ok(())
}

/// A copy of several moments: what nobody changed is whole, what changed is whole or
/// told to be damaged, and the copy can be written to.
fn judge(copy: &Path) {
    let container = ByteContainer::open(copy, quick()).unwrap();
    for number in 0..QUIET {
        match container.load(number.to_le_bytes()) {
            Ok(Some(session)) if number % 10 != 0 => {
                assert!(session.value == bytes(number, 500), "a quiet session is torn");
            }
            Ok(Some(session)) => assert!([500, 600].contains(&session.value.len())),
            Ok(None) => panic!("session {number} is not in the copy"),
            Err(error) => {
                assert!(number % 10 == 0, "a quiet session: {error}");
                assert!(matches!(error.kind(), ErrorKind::Damaged(_)), "{error}");
            }
        }
    }
    container.save("visitor", b"a hat").unwrap();
    container.sync().unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
}

#[test]
fn a_copy_made_while_others_write_has_all_that_nobody_changed() {
    let directory = tempfile::tempdir().unwrap();
    copy_while_in_use(directory.path(), "--reflink=never").unwrap();
}

#[test]
fn a_clone_made_while_others_write_has_all_that_nobody_changed() {
    for (mkfs, arguments, mib) in
        [("mkfs.xfs", &["-q", "-f"][..], 320), ("mkfs.btrfs", &["-q", "-f"], 200)]
    {
        let cloned = Mount::new(mkfs, arguments, mib)
            .and_then(|mount| copy_while_in_use(&mount.path(), "--reflink=always"));
        if let Err(why) = cloned {
            not_run(&format!("clones on a file system by {mkfs}"), &why);
        }
    }
}

/// A container in use, and a backup of it.
struct Backed {
    directory: TempDir,
    path: PathBuf,
    backup: PathBuf,
    container: ByteContainer,
}

fn backed_up() -> Backed {
    let directory = tempfile::tempdir().unwrap();
    let (path, backup) = (directory.path().join("room"), directory.path().join("backup"));
    let container = ByteContainer::create(&path, quick()).unwrap();
    for number in 0..QUIET {
        container.save(number.to_le_bytes(), &bytes(number, 500)).unwrap();
    }
    fs::copy(&path, &backup).unwrap();
    Backed { directory, path, backup, container }
}

#[test]
fn a_backup_that_is_renamed_into_place_is_what_all_handles_go_on_with() {
    let Backed { directory: _directory, path, backup, container } = backed_up();
    // Much happens afterwards, and the handle knows space that is free since.
    for number in 0..QUIET {
        container.save(number.to_le_bytes(), &bytes(number + 1, 500)).unwrap();
        container.save(number.to_le_bytes(), &bytes(number + 2, 700)).unwrap();
    }
    assert!(container.remove(7u64.to_le_bytes()).unwrap());
    fs::rename(&backup, &path).unwrap();
    for number in 0..QUIET / 2 {
        container.save(format!("after {number}"), &bytes(number, 500)).unwrap();
    }
    for handle in [&container, &ByteContainer::open(&path, quick()).unwrap()] {
        for number in 0..QUIET {
            assert!(value(handle, number.to_le_bytes()) == bytes(number, 500));
        }
        assert_sound(handle);
    }
}

#[test]
fn a_backup_that_is_copied_back_while_nobody_has_the_file_open_is_as_it_was() {
    let Backed { directory: _directory, path, backup, container } = backed_up();
    for number in 0..QUIET {
        container.save(number.to_le_bytes(), &bytes(number, 900)).unwrap();
    }
    drop(container);
    // In place: the same inode, which this boot knows.
    fs::write(&path, fs::read(&backup).unwrap()).unwrap();
    let container = ByteContainer::open(&path, quick()).unwrap();
    for number in 0..QUIET {
        assert!(value(&container, number.to_le_bytes()) == bytes(number, 500));
        container.save(number.to_le_bytes(), &bytes(number, 300)).unwrap();
    }
    container.sync().unwrap();
    assert_sound(&container);
}
