//! Places whose /proc tells another boot id than the machine's, or none that is one:
//! files are mounted over it, as containers do.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use cloakroom::storage::{Access, FileStorage, Storage};
use cloakroom::{ByteContainer, Durability, Options};

use crate::{assert_sound, not_run, quick, role, value};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const SAME: &str = "00112233-4455-6677-8899-aabbccddeeff\n";

/// Role: tells the boot that it is told, and saves a session.
pub(crate) fn tell_boot(path: &OsStr) {
    let storage = FileStorage::open(path, Access::ReadWrite).unwrap();
    storage.unmark();
    let view = storage.view().unwrap();
    role::tell(&format!("boot {:02x?}", view.map(|view| view.boot)));
    let container = ByteContainer::open(path, quick()).unwrap();
    let number = container.len().unwrap();
    container.save(number.to_le_bytes(), b"a hat").unwrap();
}

/// The boot that a process is told where this is what /proc has, in words; and how
/// many recoveries' epochs its save took.
fn told(path: &Path, boot_id: &str) -> (String, u64) {
    let other = path.with_file_name("boot_id");
    fs::write(&other, boot_id).unwrap();
    let epoch =
        || ByteContainer::open_read_only(path, quick()).unwrap().info().unwrap().write_epoch;
    let before = epoch();
    let mount = format!("mount --bind '{}' {BOOT_ID} && exec \"$0\" \"$@\"", other.display());
    let apart = ["unshare", "--mount", "sh", "-c", &mount];
    let output = role::under(&apart, "tell boot", path.as_os_str()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{boot_id:?}: {said}");
    let line = said.lines().find_map(|line| line.strip_prefix("boot ")).unwrap();
    (line.to_owned(), (epoch() - before) / 16)
}

#[test]
fn a_boot_id_that_is_not_the_machines_costs_recoveries_and_no_session() {
    if !rustix::process::geteuid().is_root() || !Path::new(BOOT_ID).exists() {
        return not_run("other boot ids", "only root may mount over /proc");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.room");
    let options = Options::new().durability(Durability::Durable);
    ByteContainer::create(&path, options).unwrap().save("visitor", b"a hat").unwrap();
    let cut = [&SAME[..35], &SAME[..20], "", "no boot id, but as many letters as it"];
    for boot_id in cut.into_iter().chain([&*format!("{}g", &SAME[..35])]) {
        assert_eq!(told(&path, boot_id), ("None".to_owned(), 1), "{boot_id:?}");
    }
    // Each time through a mount of its own, hence another view of the same boot.
    let (first, second) = (told(&path, SAME), told(&path, SAME.trim_end()));
    assert!(first.0.starts_with("Some([00, 11, 22,"), "{first:?}");
    assert_eq!(first, second);
    let container = ByteContainer::open(&path, quick()).unwrap();
    assert_eq!(value(&container, "visitor"), b"a hat");
    assert_eq!(container.len().unwrap(), 8);
    assert_sound(&container);
}
