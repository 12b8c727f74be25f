//! A crowd at work on one container while its members are killed and stopped at
//! random: four writers, one of whom makes the index grow, and two readers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Durability, MapPolicy, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::board::{Board, leaves};
use crate::dice::Dice;
use crate::openings::{self, Opening};
use crate::tracee::child;
use crate::value;

const WRITERS: u16 = 5;
const READERS: u16 = 2;
/// Keys of each writer, and of the one that makes the index grow.
const OWN: u16 = 20;
const GROWER: u16 = WRITERS - 1;
const GROWN: u16 = 4000;
const KEYS: u16 = GROWER * OWN + GROWN;
/// Kills of one container, and between two looks at all of it.
const LIFE: u64 = 1000;
const CHECK: u64 = 100;
/// A ceiling, not a measure: twice what was seen (62 MiB after 720,000 operations).
const FILE_MAX: u64 = 128 << 20;

#[derive(Clone, Debug, Default)]
pub(crate) struct Storm {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) checks: u64,
    pub(crate) containers: u64,
    pub(crate) operations: u64,
    pub(crate) file_max: u64,
    pub(crate) segments: u32,
}

fn keys_of(writer: u16) -> std::ops::Range<u16> {
    let from = writer * OWN;
    from..if writer == GROWER { KEYS } else { from + OWN }
}

/// A member of the crowd. Dropping it kills it.
#[derive(Debug)]
struct Member {
    role: u16,
    pid: Pid,
    stopped: Option<Instant>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// Kills so many of them.
pub(crate) fn rage(directory: &Path, kills: u64, seed: u64, opening: Opening) -> Storm {
    let mut dice = Dice::new(seed);
    let mut storm = Storm::default();
    while storm.kills < kills {
        let until = kills.min(storm.kills + LIFE);
        let path = directory.join(format!("storm-{}.room", storm.containers));
        live(&path, until, &mut dice, &mut storm, opening);
        std::fs::remove_file(&path).unwrap();
        storm.containers += 1;
    }
    storm
}

fn live(path: &Path, until: u64, dice: &mut Dice, storm: &mut Storm, opening: Opening) {
    drop(ByteContainer::create(path, Options::new()).unwrap());
    let board = Board::new(KEYS.into());
    // One who is there all the time.
    let witness = ByteContainer::open(path, Options::new()).unwrap();
    let mut crowd: Vec<Member> = Vec::new();
    let start = |role: u16, seed: u64| {
        let path: PathBuf = path.into();
        let pid = child(|| be(role, &path, &board, seed, opening));
        Member { role, pid, stopped: None }
    };
    for role in 0..WRITERS + READERS {
        crowd.push(start(role, dice.next()));
    }
    let mut since_look = 0;
    while storm.kills < until {
        std::thread::sleep(Duration::from_micros(1000 + dice.below(4000)));
        for member in &mut crowd {
            let over = Duration::from_millis(1 + dice.below(5));
            if member.stopped.is_some_and(|since| since.elapsed() > over) {
                kill(member.pid, Signal::SIGCONT).unwrap();
                member.stopped = None;
            }
        }
        let chosen = dice.below(crowd.len() as u64) as usize;
        if dice.percent(25) {
            kill(crowd[chosen].pid, Signal::SIGSTOP).unwrap();
            crowd[chosen].stopped = Some(Instant::now());
            storm.stops += 1;
            continue;
        }
        // Every so often all of them, and then a full look; else one or a few.
        let all = since_look >= CHECK;
        let count = if all { crowd.len() } else { 1 + dice.below(3) as usize };
        for _ in 0..count {
            let member = crowd.swap_remove(dice.below(crowd.len() as u64) as usize);
            let role = member.role;
            end(member);
            storm.kills += 1;
            since_look += 1;
            if !all {
                crowd.push(start(role, dice.next()));
            }
        }
        assert_eq!(board.complaints(), 0, "a process complained; see above");
        if all {
            look(&witness, path, &board, storm);
            since_look = 0;
            crowd = (0..WRITERS + READERS).map(|role| start(role, dice.next())).collect();
        }
    }
    storm.kills += crowd.len() as u64;
    crowd.drain(..).for_each(end);
    look(&witness, path, &board, storm);
    storm.operations += board.operations();
}

fn end(member: Member) {
    // Nobody ends but by a kill.
    let before = waitpid(member.pid, Some(WaitPidFlag::WNOHANG)).unwrap();
    assert_eq!(before, WaitStatus::StillAlive, "a process ended by itself; see above");
    drop(member);
}

/// All are dead: everything is as it was told.
fn look(witness: &ByteContainer, path: &Path, board: &Board, storm: &mut Storm) {
    let fresh = ByteContainer::open(path, Options::new()).unwrap();
    let report = fresh.check().unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
    for key in 0..KEYS {
        for container in [witness, &fresh] {
            let read = read(container, key).unwrap_or_else(|why| panic!("{why}"));
            board.settle(key, read).unwrap_or_else(|why| panic!("key {key} {why}"));
        }
    }
    let info = witness.info().unwrap();
    assert!(info.length < FILE_MAX, "the file has grown to {} bytes", info.length);
    storm.checks += 1;
    storm.file_max = storm.file_max.max(info.length);
    storm.segments = storm.segments.max(info.segments);
}

fn read(container: &ByteContainer, key: u16) -> Result<Option<u64>, String> {
    let loaded = container.load(value::id(key)).map_err(|error| format!("{key}: {error}"))?;
    let Some(session) = loaded else {
        return Ok(None);
    };
    let number = value::number_of(key, &session.value).map_err(|why| format!("{key}: {why}"))?;
    Ok(Some(number.into()))
}

/// What a member does until it is killed.
fn be(role: u16, path: &Path, board: &Board, seed: u64, opening: Opening) {
    let done = if role < WRITERS {
        write(role, path, board, seed, opening)
    } else {
        watch(path, board, seed)
    };
    let Err(why) = done;
    board.complain(&format!("process {role}: {why}"));
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

enum Nothing {}

fn write(
    writer: u16,
    path: &Path,
    board: &Board,
    seed: u64,
    opening: Opening,
) -> Result<Nothing, String> {
    let text = |error: cloakroom::Error| error.to_string();
    let mut dice = Dice::new(seed);
    let durability = match dice.below(4) {
        0 => Durability::Durable,
        1 => Durability::Interval(Duration::from_millis(5)),
        _ => Durability::Never,
    };
    let options = Options::new().durability(durability).map(MapPolicy::AfterLoads(8));
    let container = openings::open(path, opening, options.clone());
    let keys = keys_of(writer);
    // The grower goes round, the others jump.
    let mut next = keys.start + dice.below(keys.len() as u64) as u16;
    let mut settled = vec![false; keys.len()];
    loop {
        let jump = if writer == GROWER { 1 } else { dice.below(keys.len() as u64) as u16 };
        next = keys.start + (next - keys.start + jump) % keys.len() as u16;
        let key = next;
        let at = usize::from(key - keys.start);
        if !settled[at] {
            // Where the one before this was killed.
            board.settle(key, read(&container, key)?).map_err(|why| format!("key {key} {why}"))?;
            settled[at] = true;
        }
        let short_lived = if dice.percent(15) {
            Some(openings::open(path, opening, options.clone()))
        } else {
            None
        };
        let container = short_lived.as_ref().unwrap_or(&container);
        let number = board.begin(key);
        match leaves(number) {
            Some(_) => {
                let value = value::value(key, number as u32);
                container.save(value::id(key), &value).map(drop).map_err(text)?;
            }
            None => drop(container.remove(value::id(key)).map_err(text)?),
        }
        board.finish(key, number);
        if dice.percent(2) {
            container.sync().map_err(text)?;
        }
    }
}

fn watch(path: &Path, board: &Board, seed: u64) -> Result<Nothing, String> {
    let text = |error: cloakroom::Error| error.to_string();
    let mut dice = Dice::new(seed);
    let options = Options::new().map(MapPolicy::AfterLoads(8));
    let container = ByteContainer::open_read_only(path, options.clone()).map_err(text)?;
    let mut seen = vec![0; usize::from(KEYS)];
    loop {
        let few = dice.percent(70);
        let key = dice.below(if few { GROWER * OWN } else { KEYS }.into()) as u16;
        let short_lived = if dice.percent(15) {
            Some(ByteContainer::open_read_only(path, options.clone()).map_err(text)?)
        } else {
            None
        };
        let container = short_lived.as_ref().unwrap_or(&container);
        let (read, allowed) = board.watch(key, || read(container, key));
        let read = read?;
        allowed.check(read).map_err(|why| format!("key {key} {why}"))?;
        if let Some(number) = read {
            let last = &mut seen[usize::from(key)];
            if number < *last {
                return Err(format!("key {key} reads as {number} and has read as {last}"));
            }
            *last = number;
        }
    }
}
