//! A forked child that does one thing and can be stopped anywhere in it.
//!
//! The child is a copy of this process with the calling thread alone. It prepares
//! itself, stops, and goes on a system call or an instruction at a time, as its
//! parent says. Dropping it kills it.

#![allow(unsafe_code)] // fork: see below.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

#[derive(Debug)]
pub(crate) struct Tracee {
    pid: Pid,
    alive: bool,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Stopped,
    /// It did all that it had to.
    Ended,
}

impl Tracee {
    /// `prepare` runs on its own; what it returns is done under trace.
    pub(crate) fn new<Action: FnOnce()>(prepare: impl FnOnce() -> Action) -> Tracee {
        let pid = child(|| {
            let action = prepare();
            ptrace::traceme().unwrap();
            raise(Signal::SIGSTOP).unwrap();
            action();
        });
        let tracee = Tracee { pid, alive: true };
        match waitpid(pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => panic!("the child did not prepare itself: {other:?}"),
        }
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).unwrap();
        tracee
    }

    /// To the next entry into a system call or return from one.
    pub(crate) fn next_call(&mut self) -> Step {
        ptrace::syscall(self.pid, None).unwrap();
        self.wait()
    }

    /// To the next instruction.
    pub(crate) fn next_instruction(&mut self) -> Step {
        ptrace::step(self.pid, None).unwrap();
        self.wait()
    }

    /// Lets it go on to its end.
    pub(crate) fn finish(&mut self) {
        ptrace::cont(self.pid, None).unwrap();
        assert_eq!(self.wait(), Step::Ended);
    }

    fn wait(&mut self) -> Step {
        match waitpid(self.pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) | WaitStatus::Stopped(_, Signal::SIGTRAP) => Step::Stopped,
            WaitStatus::Exited(_, 0) => {
                self.alive = false;
                Step::Ended
            }
            other => panic!("the child came to {other:?}"),
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.alive {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Starts a child of this process that runs `job` and ends.
pub(crate) fn child(job: impl FnOnce()) -> Pid {
    // SAFETY: a child of a process with threads may call only what does not depend
    // on their locks. glibc makes its allocator fit for use after a fork; the job
    // uses that, system calls and the crate, whose locks of this process it has
    // made itself.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // Not to outlive the thread that it is a copy of.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .unwrap();
            let done = catch_unwind(AssertUnwindSafe(job));
            // Nothing of the parent's is to be flushed or dropped here.
            // SAFETY: the call does not return.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
    }
}
