//! File systems for one test: in a file, by a loop device that goes with the
//! mount, or over a directory. Unmounted when dropped, also when a test panics.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    directory: TempDir,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Err(error) => Err(format!("{program}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}", said.lines().next().unwrap_or("no reason given")))
        }
    }
}

impl Mount {
    /// A file system made by `mkfs` with these arguments, of so many MiB; or why not.
    pub(crate) fn new(mkfs: &str, arguments: &[&str], mib: u64) -> Result<Mount, String> {
        let directory = tempfile::tempdir().unwrap();
        let (image, place) = (directory.path().join("image"), directory.path().join("place"));
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        fs::create_dir(&place).unwrap();
        let (image, place) = (image.to_str().unwrap(), place.to_str().unwrap());
        run(mkfs, &[arguments, &[image]].concat())?;
        run("mount", &["-o", "loop", image, place])?;
        Ok(Mount { directory })
    }

    /// A tmpfs.
    pub(crate) fn memory() -> Result<Mount, String> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        fs::create_dir(&place).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", place.to_str().unwrap()])?;
        Ok(Mount { directory })
    }

    /// An overlay whose lower directory is this, with an empty upper one on a tmpfs.
    pub(crate) fn over(lower: &Path, upper: &Mount) -> Result<Mount, String> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        for name in [&place, &upper.path().join("upper"), &upper.path().join("work")] {
            fs::create_dir(name).unwrap();
        }
        let (lower, upper) = (lower.display(), upper.path().display().to_string());
        let options = format!("lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work");
        run("mount", &["-t", "overlay", "-o", &options, "overlay", place.to_str().unwrap()])?;
        Ok(Mount { directory })
    }

    /// This directory once more.
    pub(crate) fn bind(other: &Path) -> Result<Mount, String> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        fs::create_dir(&place).unwrap();
        run("mount", &["--bind", other.to_str().unwrap(), place.to_str().unwrap()])?;
        Ok(Mount { directory })
    }

    /// From now on nothing can be written here.
    pub(crate) fn make_read_only(&self) -> Result<(), String> {
        run("mount", &["-o", "remount,ro", self.path().to_str().unwrap()])
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("place")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a test that panics may still have files open.
        let unmounted = run("umount", &["-l", self.path().to_str().unwrap()]);
        if !std::thread::panicking() {
            unmounted.unwrap();
        }
    }
}
