//! What the figures were taken on: processors, memory, kernel, file system, commit.

use std::process::Command;

use crate::stage::Outcome;

/// One paragraph.
pub(crate) fn describe() -> Outcome<String> {
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let memory = field("/proc/meminfo", "MemTotal");
    let memory: f64 = memory.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(format!(
        "Measured {} at commit {}, on {} x {}, {:.0} GiB of memory, Linux {}, {}, {}.",
        output("date", &["-u", "+%Y-%m-%d"]),
        output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]),
        std::thread::available_parallelism()?,
        field("/proc/cpuinfo", "model name"),
        memory / f64::from(1 << 20),
        release.trim(),
        file_system(),
        output("rustc", &["--version"]),
    ))
}

/// Of the folder that the files are in.
fn file_system() -> String {
    let beside = std::env::current_exe().unwrap_or_default();
    let folder = std::env::var_os("CLOAKROOM_BENCH_DIR").unwrap_or(beside.into_os_string());
    let folder = folder.to_string_lossy().into_owned();
    output("findmnt", &["-n", "-o", "FSTYPE", "-T", &folder])
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
