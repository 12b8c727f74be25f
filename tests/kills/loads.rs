//! A load through the map, stopped between two instructions while another process
//! changes what it reads. Its result is the version from before or one of those
//! that were made meanwhile, and the next load's is the newest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cloakroom::ByteContainer;

use crate::ledger::{After, Ledger, Reading};
use crate::message::{Ear, Message, Mouth, What};
use crate::reading;
use crate::scenes::{ABSENT, Actor, FIRST, State, States, never};
use crate::tracee::{Step, Tracee};
use crate::value;

/// The key that is loaded.
const LOADED: u16 = 3;

/// What the other process does meanwhile.
type Change = (&'static str, fn(&States) -> &State, fn(&mut Actor));

const CHANGES: &[Change] = &[
    ("save, same class", |s| &s.small, |a| a.save_like(LOADED, true)),
    ("save, other class", |s| &s.small, |a| a.save_like(LOADED, false)),
    ("save, large", |s| &s.small, |a| a.save_large(LOADED)),
    ("its space is taken by itself", |s| &s.unsynced, |a| (0..4).for_each(|_| a.save(LOADED))),
    (
        "its space is taken by others",
        |s| &s.small,
        |a| {
            a.save(LOADED);
            a.sync();
            a.save(LOADED);
            (900..930).for_each(|key| a.save(key));
        },
    ),
    ("remove", |s| &s.small, |a| a.remove(LOADED)),
    (
        "its line is taken",
        |s| &s.small,
        |a| {
            a.remove(LOADED);
            a.sync();
            (ABSENT..ABSENT + 30).for_each(|key| a.save(key));
            a.sync();
            a.save(LOADED);
        },
    ),
    ("touch", |s| &s.small, |a| a.set_deadline(LOADED)),
    ("a split begins", |s| &s.full, |a| a.save(a.next)),
    (
        "a whole split",
        |s| &s.full,
        |a| {
            a.save(a.next);
            a.sync();
            a.sync();
            a.save(LOADED);
        },
    ),
    (
        "the new segments count",
        |s| &s.filling,
        |a| {
            a.save(LOADED);
            a.sync();
            a.save(LOADED);
        },
    ),
];

#[derive(Debug, Default)]
pub(crate) struct Stopped {
    pub(crate) changes: usize,
    pub(crate) points: usize,
    /// Most instructions of one load.
    pub(crate) instructions: usize,
    /// Loads that returned another version than the one from before.
    pub(crate) newer: usize,
}

/// Stops at the instruction `first` and at every `stride`th after it.
pub(crate) fn sweep(directory: &Path, first: usize, stride: usize) -> Stopped {
    let home = directory.join("home.room");
    let states = States::make(&home);
    let mut stopped = Stopped { changes: CHANGES.len(), ..Stopped::default() };
    for change in CHANGES {
        let mut at = first;
        while stop_at(&states, change, &home, at, &mut stopped) {
            at += stride;
        }
        stopped.instructions = stopped.instructions.max(at);
    }
    stopped
}

/// False if the load ended before that instruction.
fn stop_at(
    states: &States,
    change: &Change,
    home: &Path,
    at: usize,
    stopped: &mut Stopped,
) -> bool {
    let (name, state, act) = change;
    let state = state(states);
    fs::write(home, &state.bytes).unwrap();
    let (mut ear, mut own) = (Ear::new(), Ear::new());
    let mut tracee = Tracee::new(|| {
        let container = ByteContainer::open(home, never()).unwrap();
        // By now it is mapped.
        (0..8).for_each(|_| drop(container.load(value::id(LOADED)).unwrap()));
        let mut mouth = Mouth::on(ear.mouth(), 0);
        let mut buffer = Vec::with_capacity(1 << 18);
        let id = value::id(LOADED);
        move || {
            let first = container.load_into(&id, &mut buffer).map(|found| found.is_some());
            // That it is over; what it was comes next.
            mouth.tell(What::Ready, LOADED, 0);
            tell(&mut mouth, first, &buffer);
            let second = container.load_into(&id, &mut buffer).map(|found| found.is_some());
            tell(&mut mouth, second, &buffer);
        }
    });
    let container = ByteContainer::open(home, never()).unwrap();
    let mouth = Mouth::on(own.mouth(), 0);
    let mut actor = Actor { container, mouth, number: FIRST, next: states.next };
    for _ in 0..at {
        if tracee.next_instruction() == Step::Ended || ear.wait(Duration::ZERO) {
            return false;
        }
    }
    act(&mut actor);
    tracee.finish();
    let place = format!("{name:?} at instruction {at}");
    let [_, first, second] = ear.listen()[..] else { panic!("{place}: not two loads") };
    // What was before, and everything since, whether or not it is promised.
    let mut ledger = Ledger::new(After::PowerCut);
    let before = state.ledger.base(LOADED);
    ledger.settle(LOADED, before);
    own.listen().into_iter().for_each(|message| ledger.note(message));
    let first = heard(first, &place);
    ledger.check(LOADED, first).unwrap_or_else(|why| panic!("{place}: {why}"));
    stopped.newer += usize::from(first != before);
    let newest = reading::read(&actor.container, LOADED).unwrap().unwrap();
    let number = |read: Option<Reading>| read.map(|read| read.number);
    assert_eq!(number(heard(second, &place)), number(newest), "{place}: the next load");
    stopped.points += 1;
    true
}

/// The process under trace tells what it loaded. Deadlines are not told.
fn tell(mouth: &mut Mouth, loaded: cloakroom::Result<bool>, value: &[u8]) {
    match loaded {
        Ok(false) => mouth.tell(What::Removes, LOADED, 0),
        Ok(true) => match value::number_of(LOADED, value) {
            Ok(number) => mouth.tell(What::Saves, LOADED, number),
            Err(_) => mouth.tell(What::Wrong, LOADED, 0),
        },
        Err(_) => mouth.tell(What::Failed, LOADED, 0),
    }
}

fn heard(message: Message, place: &str) -> Option<Reading> {
    match message.what {
        What::Removes => None,
        What::Saves => Some(Reading { number: message.number, touch: 0 }),
        what => panic!("{place}: the load was {what:?}"),
    }
}
