//! Where a test's web server lives: a temporary directory that other users may
//! traverse, with the container in a directory of its own.
//!
//!     www/visits.cgi             the program
//!     state/visits.cloakroom     the container, and never anything else
//!     log/                       the only directory that the server's user owns
//!     lighttpd.conf

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A user that the server changes to.
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    gid: u32,
}

impl User {
    pub(crate) fn named(name: &'static str) -> User {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = users.find(|user| user[0] == name).expect("the user exists");
        User { name, uid: user[2].parse().unwrap(), gid: user[3].parse().unwrap() }
    }

    /// Makes the file this user's own, and proves that it cannot make another
    /// beside it.
    pub(crate) fn gets_only_the_file(&self, file: &Path) {
        chown(file, Some(self.uid), Some(self.gid)).unwrap();
        let mut touch = Command::new("touch");
        touch.arg(file.with_extension("journal")).uid(self.uid).gid(self.gid);
        let touched = touch.output().unwrap();
        assert!(!touched.status.success(), "{} may write the directory", self.name);
        touch = Command::new("test");
        touch.arg("-w").arg(file).uid(self.uid).gid(self.gid);
        assert!(touch.status().unwrap().success(), "{} cannot reach the file", self.name);
    }
}

pub(crate) struct Place {
    pub(crate) container: PathBuf,
    home: TempDir,
}

impl Place {
    pub(crate) fn new(user: Option<&User>) -> Place {
        let home = tempfile::Builder::new().prefix("cloakroom-web-").tempdir().unwrap();
        open_to_all(home.path());
        for name in ["www", "state", "log"] {
            fs::create_dir(home.path().join(name)).unwrap();
            open_to_all(&home.path().join(name));
        }
        if let Some(user) = user {
            chown(home.path().join("log"), Some(user.uid), Some(user.gid)).unwrap();
        }
        let program = home.path().join("www/visits.cgi");
        fs::copy(example(), &program).unwrap();
        open_to_all(&program);
        Place { container: home.path().join("state/visits.cloakroom"), home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn holds_nothing_but_the_container(&self) {
        let entries = fs::read_dir(self.path("state")).unwrap();
        let names: Vec<OsString> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["visits.cloakroom"]);
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// The CGI program: cargo builds the examples whenever it builds all tests, and
/// puts them beside the tests' own directory.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples/visits");
    assert!(program.exists(), "{} is missing: run `cargo test` first", program.display());
    program
}
