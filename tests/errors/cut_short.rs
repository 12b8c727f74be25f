//! The kernel does less than the release binary asked for: a read or a write of
//! the container returns after 1 byte, half, or all but one, having done just that.
//!
//! strace cannot do this (it returns a number without the work), so a tracer of our
//! own lowers the count as the call enters the kernel. All of it must be invisible:
//! the tool takes up the rest, and does what it does otherwise.
#![allow(unsafe_code)]

use crate::tally::say;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[test]
fn a_call_that_is_cut_short_is_taken_up_again() {
    say("not run: no calls are cut short: only written for x86_64\n");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod traced {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::say;
    use crate::commands::{JOBS, Job, Place, TOOL, spread_order};

    const TIME_MAX: Duration = Duration::from_secs(20);
    const STOPS_MAX: usize = 100_000;
    /// What a stop at a system call is told as, with PTRACE_O_TRACESYSGOOD.
    const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

    /// How much of a call is done.
    #[derive(Clone, Copy, Debug)]
    enum Part {
        One,
        Half,
        AllButOne,
    }

    fn be_traced() -> std::io::Result<()> {
        // SAFETY: takes numbers only.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    fn start(place: &Place, job: &Job) -> Child {
        place.reset(job);
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&input, job.input).unwrap();
        let mut command = Command::new(TOOL);
        command.args(place.arguments(job)).stdin(input.reopen().unwrap());
        // Little is said, so it fits into the pipes.
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec one system call is made, and memory left alone.
        unsafe { command.pre_exec(be_traced) };
        command.spawn().unwrap()
    }

    fn wait(pid: i32) -> i32 {
        let mut status = 0;
        // SAFETY: a child of ours, and a place for the answer.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid);
        status
    }

    fn registers(pid: i32) -> libc::user_regs_struct {
        // SAFETY: made of integers, and zero is a value of each.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: the child is stopped; the call fills the structure.
        let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) };
        assert_eq!(got, 0);
        registers
    }

    /// Runs a job and does only `part` of its `nth` read or write of the container.
    /// Says how many there were, how it ended, and what it printed.
    #[expect(clippy::zombie_processes, reason = "a tracer waits by the system call")]
    fn run(place: &Place, job: &Job, cut: Option<(usize, Part)>) -> (usize, Option<i32>, String) {
        let mut child = start(place, job);
        let pid = i32::try_from(child.id()).unwrap();
        let mut status = wait(pid);
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        // SAFETY: the child is stopped at its exec; it dies with this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) }, 0);
        let (mut count, mut begun, mut entering) = (0, false, true);
        for _ in 0..STOPS_MAX {
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                break;
            }
            if libc::WSTOPSIG(status) == SYSCALL_STOP {
                if entering {
                    let mut now = registers(pid);
                    let call = now.orig_rax as i64;
                    // The loader reads, too; an opened container is advised about first.
                    begun |= call == libc::SYS_fadvise64;
                    let known = call == libc::SYS_pread64 || call == libc::SYS_pwrite64;
                    if begun && known && now.rdx > 1 {
                        if let Some((nth, part)) = cut
                            && nth == count
                        {
                            now.rdx = match part {
                                Part::One => 1,
                                Part::Half => now.rdx / 2,
                                Part::AllButOne => now.rdx - 1,
                            };
                            // SAFETY: the child is stopped; its count becomes smaller.
                            let set = unsafe {
                                libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw const now)
                            };
                            assert_eq!(set, 0);
                        }
                        count += 1;
                    }
                }
                entering = !entering;
            }
            // SAFETY: the child is stopped.
            assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, 0) }, 0);
            status = wait(pid);
        }
        let mut said = String::new();
        for stream in [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn std::io::Read>),
            child.stderr.take().map(|err| Box::new(err) as Box<dyn std::io::Read>),
        ] {
            stream.unwrap().read_to_string(&mut said).unwrap();
        }
        (count, libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)), said)
    }

    fn sorted(text: &str) -> Vec<String> {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_call_that_is_cut_short_is_taken_up_again() {
        let place = Place::new();
        let begun = Instant::now();
        let (mut runs, mut all) = (0, Vec::new());
        for job in JOBS {
            let (calls, code, said) = run(&place, job, None);
            assert_eq!(code, Some(0), "{said}");
            let parts = [Part::One, Part::Half, Part::AllButOne];
            let cuts = (0..calls).flat_map(|nth| parts.map(|part| (nth, part)));
            all.extend(cuts.map(|cut| (job, sorted(&said), cut)));
        }
        for at in spread_order(all.len()) {
            let Some((job, said, cut)) = all.get(at) else { continue };
            if begun.elapsed() > TIME_MAX {
                break;
            }
            let (_, code, again) = run(&place, job, Some(*cut));
            assert_eq!(code, Some(0), "{job:?}, {cut:?}: {again}");
            // Random numbers differ from run to run, and the order of a list means nothing.
            // What `check` notes besides its verdict is not compared.
            let exact = ["get", "ls"].contains(&job.name);
            assert!(!exact || sorted(&again) == *said, "{job:?}, {cut:?}: {again}, not {said:?}");
            assert!(job.name != "check" || again.contains("sound: "), "{cut:?}: {again}");
            place.judge(job, true);
            runs += 1;
        }
        let all = all.len();
        say(&format!(
            "\n| calls cut short by the kernel | run | taken up |\n|---:|---:|---:|\n\
             | {all} | {runs} | {runs} |\nin {:?}\n\
             reached: I/O errors of the release binary = {runs}\n",
            begun.elapsed()
        ));
        assert!(runs > 20, "{runs}");
    }
}
