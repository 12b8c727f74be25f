//! The life of containers on one disk, cut after cut.
//!
//! In each round processes work on the container; at a random moment they are
//! killed, stopped or left running, a choice of pages is forced out, and the file
//! system is shut down and mounted again. Then everything is read, first by a
//! handle that changes nothing, and compared with what the processes told; then
//! life goes on with what the cut left.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind::NotFound;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use cloakroom::{ByteContainer, Durability, ErrorKind, IdForm, NotAContainer, Options};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::child;
use crate::dice::Dice;
use crate::disk::{Disk, Forced, Kind};
use crate::ledger::{After, Ledger, Reading};
use crate::message::{Ear, What};
use crate::reading;
use crate::value::{self, COUNTERS, FRESH};
use crate::work::{Job, Mood};

const WRITERS: u64 = 3;
/// Rounds of one container; then it has grown enough.
const ROUNDS: u32 = 40;
/// New sessions that one process may add in a round.
const FRESH_PER_JOB: u16 = 250;
/// A key of the parent's own, which no process uses.
const OWN_KEY: u16 = 999;
/// A recovery raises the write epoch by this.
const LEAP: u64 = 16;

/// What happened in all the rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) containers: u64,
    pub(crate) operations: u64,
    pub(crate) promised: u64,
    /// Sessions that were no longer as their last operation left them.
    pub(crate) taken_back: u64,
    pub(crate) cuts_that_took: u64,
    pub(crate) shorter: u64,
    pub(crate) in_creation: u64,
    pub(crate) half_made: u64,
    pub(crate) in_recovery: u64,
    pub(crate) in_split: u64,
    pub(crate) in_sync: u64,
    pub(crate) recoveries: u64,
    pub(crate) segments: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { cuts, containers, operations, promised, taken_back, .. } = self;
        let Tally { cuts_that_took, shorter, in_creation, in_recovery, .. } = self;
        let Tally { half_made, in_split, in_sync, recoveries, segments, .. } = self;
        write!(
            f,
            "{cuts} cuts of {containers} containers (up to {segments} segments), {operations} \
             operations, {promised} sessions with promises; {cuts_that_took} cuts took back \
             {taken_back} unpromised ones, {shorter} shortened the file; cut in creation: \
             {in_creation} ({half_made} half made), recovery: {in_recovery}, split: {in_split}, \
             sync: {in_sync}; {recoveries} recoveries seen"
        )
    }
}

/// What processes do when the power goes.
#[derive(Clone, Copy, Debug)]
enum End {
    /// They were stopped before pages were forced out.
    Stopped,
    /// They were killed before that.
    Killed,
    /// They go on until after the cut.
    Running,
}

pub(crate) struct Lane {
    disk: Disk,
    opening: &'static str,
    dice: Dice,
    ear: Ear,
    log: File,
    ledger: Ledger,
    /// Number of the container, and of the round in its life.
    life: u32,
    round: u32,
    fresh: u16,
    pub(crate) tally: Tally,
}

impl Lane {
    /// Fails where there can be no such disk here.
    pub(crate) fn new(kind: Kind, opening: &'static str, seed: u64) -> Result<Lane, String> {
        let mut dice = Dice::new(seed);
        let disk = Disk::new(kind, &mut dice)?;
        Ok(Lane {
            disk,
            opening,
            dice,
            ear: Ear::new(),
            log: tempfile::tempfile().unwrap(),
            ledger: Ledger::new(After::PowerCut),
            life: 0,
            round: ROUNDS,
            fresh: FRESH,
            tally: Tally::default(),
        })
    }

    fn path(&self) -> PathBuf {
        self.disk.file(&format!("life-{}.room", self.life))
    }

    /// Goes through so many cuts, or to the first violation.
    pub(crate) fn live(&mut self, cuts: u64) -> Result<(), String> {
        for _ in 0..cuts {
            if self.round >= ROUNDS {
                self.begin_life();
            }
            self.round().map_err(|why| self.describe(&why))?;
        }
        Ok(())
    }

    fn describe(&mut self, why: &str) -> String {
        let mut said = String::new();
        let _ = self.log.rewind().and_then(|()| self.log.read_to_string(&mut said));
        // What the processes complain of after a cut is no news; the last lines may be.
        let said: Vec<&str> = said.lines().rev().take(5).collect();
        let kept = std::env::temp_dir().join(format!("cut-{}.room", std::process::id()));
        let kept = fs::copy(self.path(), &kept).map(|_| kept.display().to_string());
        format!(
            "{why}\n  in round {} of container {}, cut {}; the file is kept as {kept:?}\n  {}",
            self.round,
            self.life,
            self.tally.cuts,
            said.join("\n  ")
        )
    }

    /// A new container: made here, or by a process that is going to be cut.
    fn begin_life(&mut self) {
        if self.life > 0 {
            fs::remove_file(self.path()).unwrap();
        }
        rustix::fs::syncfs(File::open(self.disk.place()).unwrap()).unwrap();
        self.life += 1;
        self.round = 0;
        self.fresh = FRESH;
        self.ledger = Ledger::new(After::PowerCut);
        self.tally.containers += 1;
        if self.dice.percent(50) {
            return;
        }
        let container = ByteContainer::create(self.path(), never()).unwrap();
        // Close to a split.
        let segments = 1 + self.dice.below(3) as u16;
        let count = segments * 600 - self.dice.below(150) as u16;
        for _ in 0..count {
            container.save(value::id(self.fresh), &value::value(self.fresh, 1)).unwrap();
            self.ledger.settle(self.fresh, Some(Reading { number: 1, touch: 0 }));
            self.fresh += 1;
        }
        container.sync().unwrap();
        self.ledger.created = true;
    }

    fn round(&mut self) -> Result<(), String> {
        self.round += 1;
        let creates = !self.ledger.created;
        let mut children = self.start(creates);
        if !self.ear.wait(Duration::from_secs(20)) {
            return Err("no process came to work".into());
        }
        // Hardly begun, when recovery comes first, or at work for some time.
        let early = self.dice.percent(30) || creates;
        let moment = if early { self.dice.spread(8, 600) } else { 1000 + self.dice.below(6000) };
        std::thread::sleep(Duration::from_micros(moment));
        let end = match self.dice.below(4) {
            0 => End::Stopped,
            1 => End::Killed,
            _ => End::Running,
        };
        self.cut(&mut children, end)?;
        self.hear(creates)?;
        self.verify(creates)
    }

    fn start(&mut self, creates: bool) -> Vec<Child> {
        let count = if creates { 1 } else { 1 + self.dice.below(WRITERS) };
        let writers: Vec<Job> = (0..count)
            .map(|writer| {
                let mood = Job::moods(&mut self.dice);
                let fresh = self.fresh;
                self.fresh += FRESH_PER_JOB;
                Job {
                    path: self.path(),
                    opening: self.opening.into(),
                    creates: creates.into(),
                    writer: writer as u8,
                    durability: self.durability(mood),
                    mood,
                    round: self.round,
                    fresh,
                    fresh_count: FRESH_PER_JOB,
                    seed: self.dice.next(),
                }
            })
            .collect();
        let start = |job: &Job| child::start(&job.to_text(), self.ear.mouth(), &self.log);
        writers.iter().map(start).collect()
    }

    /// A growing load is a fast one most of the time, or it would not get far.
    fn durability(&mut self, mood: Mood) -> u32 {
        let slow = mood != Mood::Growing || self.dice.percent(20);
        if slow { self.dice.below(3) as u32 } else { 1 + self.dice.below(2) as u32 }
    }

    fn cut(&mut self, children: &mut [Child], end: End) -> Result<(), String> {
        match end {
            End::Stopped => children.iter().for_each(stop),
            End::Killed => children.iter_mut().try_for_each(kill)?,
            End::Running => {}
        }
        let forced = Forced::choose(&mut self.dice);
        let journal_first = self.dice.percent(25);
        let journal_last = self.dice.percent(35);
        let text = |e: std::io::Error| format!("{forced:?}: {e}");
        if journal_first {
            self.disk.commit_journal().map_err(text)?;
        }
        if self.path().exists() {
            self.disk.force(&self.path(), forced, &mut self.dice).map_err(text)?;
        }
        if journal_last {
            self.disk.commit_journal().map_err(text)?;
        }
        let len = fs::metadata(self.path()).map_or(0, |data| data.len());
        self.ear.tell(What::Cut);
        self.disk.cut().map_err(text)?;
        children.iter_mut().try_for_each(kill)?;
        self.disk.power_up().map_err(text)?;
        self.tally.cuts += 1;
        let len_after = fs::metadata(self.path()).map_or(0, |data| data.len());
        if len_after > 0 {
            self.disk.warm(&self.path()).map_err(text)?;
        }
        self.tally.shorter += u64::from(len_after < len);
        Ok(())
    }

    /// Takes down what the processes told.
    fn hear(&mut self, creates: bool) -> Result<(), String> {
        let (mut cut, mut in_sync) = (false, 0_u64);
        for message in self.ear.listen() {
            match message.what {
                What::Cut => cut = true,
                What::Wrong => return Err(format!("a process read what it must not: {message:?}")),
                // Before the cut nothing may fail.
                What::Failed if !cut => return Err(format!("an operation failed: {message:?}")),
                What::Syncs => in_sync += 1,
                What::Synced => in_sync -= 1,
                What::Done | What::Durable | What::Counted | What::CountedDurably => {
                    self.tally.operations += 1;
                }
                _ => {}
            }
            self.ledger.note(message);
        }
        self.tally.in_sync += u64::from(in_sync > 0);
        self.tally.in_creation += u64::from(creates && !self.ledger.created);
        Ok(())
    }

    fn verify(&mut self, creates: bool) -> Result<(), String> {
        if creates && !self.ledger.created && !self.finish_creation()? {
            return Ok(());
        }
        self.ledger.created = true;
        let reader = ByteContainer::open_read_only(self.path(), Options::new())
            .map_err(|error| format!("it does not open: {error}"))?;
        let info = reader.info().map_err(|error| error.to_string())?;
        self.tally.in_recovery += u64::from(info.write_epoch - info.synced_epoch > 8);
        self.tally.in_split += u64::from(info.splitting);
        self.tally.segments = self.tally.segments.max(info.segments);
        let found = self.read_all(&reader)?;
        let mut taken_back = 0;
        for (&key, read) in &found.sessions {
            self.ledger.check(key, *read)?;
            self.tally.promised += u64::from(self.ledger.promises(key));
            taken_back += u64::from(self.ledger.goes_back(key, *read));
        }
        for (&key, &count) in &found.counters {
            self.ledger.check_counter(key, count)?;
        }
        self.tally.taken_back += taken_back;
        self.tally.cuts_that_took += u64::from(taken_back > 0);
        if self.dice.percent(50) {
            self.recover(&found, info.write_epoch)?;
        }
        for (key, read) in found.sessions {
            self.ledger.settle(key, read);
        }
        for (key, count) in found.counters {
            self.ledger.settle_counter(key, count);
        }
        self.ledger.rest();
        Ok(())
    }

    /// After a cut in creation: whether there is a container. If not, there may be
    /// nothing in its place, and another one can be made of it.
    fn finish_creation(&mut self) -> Result<bool, String> {
        let error = match ByteContainer::open_read_only(self.path(), Options::new()) {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::NotAContainer(NotAContainer::Empty) => {}
            ErrorKind::NotAContainer(NotAContainer::Unfinished) => self.tally.half_made += 1,
            ErrorKind::Io { source, .. } if source.kind() == NotFound => {}
            _ => return Err(format!("a cut in creation left what does not open: {error}")),
        }
        self.make()
    }

    fn make(&mut self) -> Result<bool, String> {
        ByteContainer::create(self.path(), never())
            .map_err(|error| format!("what a cut left cannot be made a container: {error}"))?;
        self.ledger.created = true;
        self.ledger.rest();
        for key in self.ledger.keys().collect::<Vec<_>>() {
            self.ledger.settle(key, None);
        }
        Ok(false)
    }

    fn read_all(&self, container: &ByteContainer) -> Result<Found, String> {
        let report = container.check().map_err(|error| format!("check: {error}"))?;
        if !report.is_sound() {
            return Err(format!("check: {:?}", report.damage));
        }
        let mut found = Found::default();
        for key in self.ledger.keys() {
            let read = reading::read(container, key).map_err(|error| format!("{key}: {error}"))?;
            found.sessions.insert(key, read.map_err(|why| format!("key {key}: {why}"))?);
        }
        for key in self.ledger.counters() {
            let load = container.load(value::id(key));
            let read = load.map_err(|error| format!("counter {key}: {error}"))?;
            let count = value::count_of(read.as_ref().map(|session| session.value.as_slice()));
            found.counters.insert(key, count.ok_or_else(|| format!("counter {key} is none"))?);
        }
        let known = |key: u16| match found.sessions.get(&key) {
            Some(read) => read.is_some(),
            None => key == OWN_KEY || found.counters.contains_key(&key),
        };
        let mut iterated = 0;
        for item in container.iter() {
            let (id, _) = item.map_err(|error| format!("iteration: {error}"))?;
            let key = value::key_of(&id).ok_or("iteration: no id of ours")?;
            if !known(key) {
                return Err(format!("iteration: key {key} is not there for a load"));
            }
            iterated += usize::from(key < COUNTERS && key != OWN_KEY);
        }
        let loaded = found.sessions.values().flatten().count();
        if iterated != loaded {
            return Err(format!("{iterated} sessions iterated, {loaded} loaded"));
        }
        Ok(found)
    }

    /// The first change after a cut recovers, and changes nothing that is read.
    fn recover(&mut self, found: &Found, write_epoch: u64) -> Result<(), String> {
        let text = |error: cloakroom::Error| format!("after the cut: {error}");
        let writer = ByteContainer::open(self.path(), never()).map_err(text)?;
        writer.save(value::id(OWN_KEY), b"after the cut").map_err(text)?;
        let epoch = writer.info().map_err(text)?.write_epoch;
        if epoch < write_epoch + LEAP {
            return Err(format!("the cut was not noticed: epoch {write_epoch}, then {epoch}"));
        }
        self.tally.recoveries += 1;
        let again = self.read_all(&writer)?;
        if again != *found {
            return Err("recovery changed what is read".into());
        }
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    sessions: BTreeMap<u16, Option<Reading>>,
    counters: BTreeMap<u16, u32>,
}

fn never() -> Options {
    Options::new().ids(IdForm::Plain).durability(Durability::Never)
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Stops a process. Nothing is wrong with one that has ended; that shows later.
fn stop(child: &Child) {
    kill_process(pid(child), Signal::STOP).unwrap();
    waitid(
        WaitId::Pid(pid(child)),
        WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .unwrap();
}

/// Kills a process, which must not have ended by itself.
fn kill(child: &mut Child) -> Result<(), String> {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    match status.code() {
        None => Ok(()),
        Some(_) => Err(format!("a process ended by itself: {status}")),
    }
}
