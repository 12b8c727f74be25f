//! The processes of `cloakroom demo`: started, listened to, killed by their own
//! process ids, replaced, and waited for. None outlives its [`Crowd`].

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::worker::SESSIONS;

/// How much longer than told a worker may take for its last batch.
const PATIENCE: Duration = Duration::from_secs(30);

/// What workers told, for each session.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Updates that returned, and of which the worker could say so.
    pub(crate) acknowledged: Vec<u64>,
    /// Updates announced by a worker that was killed before it could say more.
    pub(crate) in_flight: Vec<u64>,
    /// What went wrong with the workers themselves.
    pub(crate) problems: Vec<String>,
}

impl Tally {
    fn new() -> Tally {
        let none = vec![0; SESSIONS];
        Tally { acknowledged: none.clone(), in_flight: none, problems: Vec::new() }
    }

    fn add(&mut self, other: &Tally) {
        for number in 0..SESSIONS {
            self.acknowledged[number] += other.acknowledged[number];
            self.in_flight[number] += other.in_flight[number];
        }
        self.problems.extend_from_slice(&other.problems);
    }
}

#[derive(Debug)]
struct Worker {
    process: Child,
    /// Ends when the worker's standard output does.
    listener: JoinHandle<Tally>,
}

#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) start: Instant,
    /// Acknowledged updates of all workers so far.
    pub(crate) updates: Arc<AtomicU64>,
    time: Duration,
    file: PathBuf,
    /// The longest at work first.
    workers: Vec<Worker>,
    /// What the workers that ended had told.
    tally: Tally,
}

impl Crowd {
    pub(crate) fn start(file: &Path, workers: usize, time: Duration) -> io::Result<Crowd> {
        let mut crowd = Crowd {
            start: Instant::now(),
            updates: Arc::new(AtomicU64::new(0)),
            time,
            file: file.to_owned(),
            workers: Vec::new(),
            tally: Tally::new(),
        };
        for _ in 0..workers {
            crowd.hire()?;
        }
        Ok(crowd)
    }

    fn hire(&mut self) -> io::Result<()> {
        let left = self.time.saturating_sub(self.start.elapsed());
        let mut process = Command::new(std::env::current_exe()?)
            .arg("demo-worker")
            .arg(format!("--milliseconds={}", left.as_millis()))
            .arg("--")
            .arg(&self.file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take();
        let updates = Arc::clone(&self.updates);
        let listener = thread::spawn(move || listen(output, &updates));
        self.workers.push(Worker { process, listener });
        Ok(())
    }

    /// Kills the worker that has been there longest, and starts another.
    pub(crate) fn kill_one(&mut self) -> io::Result<()> {
        if !self.workers.is_empty() {
            let mut worker = self.workers.remove(0);
            worker.process.kill()?;
            let status = worker.process.wait()?;
            if status.code().is_some_and(|code| code != 0) {
                self.complain(format!("a process failed ({status})"));
            }
            self.note(worker);
        }
        self.hire()
    }

    /// Waits until the workers have ended by themselves, and tells the sum.
    pub(crate) fn finish(mut self) -> io::Result<Tally> {
        while let Some(mut worker) = self.workers.pop() {
            let mut status = worker.process.try_wait()?;
            while status.is_none() && self.start.elapsed() < self.time + PATIENCE {
                thread::sleep(Duration::from_millis(5));
                status = worker.process.try_wait()?;
            }
            match status {
                Some(status) if status.success() => {}
                Some(status) => self.complain(format!("a process failed ({status})")),
                None => {
                    worker.process.kill()?;
                    worker.process.wait()?;
                    self.complain("a process did not come to an end".to_owned());
                }
            }
            self.note(worker);
        }
        Ok(std::mem::replace(&mut self.tally, Tally::new()))
    }

    /// Adds up what a worker that has ended had told.
    fn note(&mut self, worker: Worker) {
        match worker.listener.join() {
            Ok(tally) => self.tally.add(&tally),
            Err(_) => self.complain("a process was not understood".to_owned()),
        }
    }

    fn complain(&mut self, problem: String) {
        self.tally.problems.push(problem);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
    }
}

fn listen(output: Option<ChildStdout>, updates: &AtomicU64) -> Tally {
    let mut tally = Tally::new();
    let mut taken: Vec<usize> = Vec::new();
    let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
    for line in lines.map_while(io::Result::ok) {
        if let Some(numbers) = line.strip_prefix("take ") {
            let numbers = numbers.split(' ').filter_map(|number| number.parse().ok());
            taken = numbers.filter(|number| *number < SESSIONS).collect();
        } else if line == "done" {
            updates.fetch_add(taken.len() as u64, Ordering::Relaxed);
            for number in taken.drain(..) {
                tally.acknowledged[number] += 1;
            }
        } else {
            tally.problems.push("a process said something else".to_owned());
        }
    }
    for number in taken {
        tally.in_flight[number] += 1;
    }
    tally
}
