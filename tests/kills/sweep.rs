//! Each public operation, killed at every system call that it makes: before the
//! call and after it. While it is stopped there, others read; when it is dead,
//! one who was there all the time and one who comes anew check, repair and go on.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use cloakroom::{ByteContainer, ErrorKind, NotAContainer, Options};

use crate::ledger::{After, Ledger};
use crate::message::{Ear, Mouth, What};
use crate::openings::{self, Opening};
use crate::reading;
use crate::scenes::{Actor, FIRST, KEYS, Scene, States, View, all, never};
use crate::tracee::{Step, Tracee};
use crate::value::{self, COUNTERS, FRESH};

/// No operation makes so many system calls.
const STOPS_MAX: usize = 20_000;
/// Numbers of what is done after the kill.
const AFTERWARDS: u32 = 100_000;

pub(crate) struct Swept {
    pub(crate) operations: usize,
    pub(crate) points: usize,
}

/// Sweeps each second scene, beginning with this one, and kills at every
/// `stride`th stop. The directory should be in memory: a kill knows no disk.
pub(crate) fn sweep(directory: &Path, first: usize, stride: usize) -> Swept {
    let home = directory.join("home.room");
    let states = States::make(&home);
    let mut swept = Swept { operations: 0, points: 0 };
    // To look into one that failed.
    let only = std::env::var("CLOAKROOM_KILL_SCENE").ok();
    let chosen = |scene: &&Scene<'_>| only.as_ref().is_none_or(|name| scene.name == name);
    for scene in all(&states).iter().skip(first).step_by(2).filter(chosen) {
        swept.operations += 1;
        let mut stop = first % stride;
        while kill_at(scene, states.next, &home, Opening::Plain, stop) {
            stop += stride;
            swept.points += 1;
            assert!(stop < STOPS_MAX, "{}: {stop} stops", scene.name);
        }
    }
    swept
}

/// Kills the scene's process at the stop of this number. False if it ended first.
fn kill_at(scene: &Scene<'_>, next: u16, home: &Path, opening: Opening, stop: usize) -> bool {
    let copy = home.with_extension("copy");
    let path = if scene.view == View::Known { home } else { &copy };
    let _ = fs::remove_file(&copy);
    fs::write(path, &scene.state.bytes).unwrap();
    let mut ear = Ear::new();
    let mut tracee = Tracee::new(|| {
        let container = openings::open(path, opening, scene.options.clone());
        // Long-lived: it has been read through, and is mapped.
        (0..6).for_each(|key| drop(container.load(value::id(key)).unwrap()));
        let mouth = Mouth::on(ear.mouth(), 0);
        let mut actor = Actor { container, mouth, number: FIRST, next };
        move || (scene.action)(&mut actor)
    });
    let witness = ByteContainer::open(path, never()).unwrap();
    let mut ledger = scene.state.ledger.clone();
    let mut ended = false;
    for _ in 0..=stop {
        if tracee.next_call() == Step::Ended {
            ended = true;
            break;
        }
    }
    let place = format!("{:?}, stop {stop}", scene.name);
    ear.listen().into_iter().for_each(|message| ledger.note(message));
    // Readers go on, whoever is stopped and whatever it holds.
    expect_all(&witness, &ledger, FRESH, &format!("{place}, stopped"));
    drop(tracee);
    afterwards(&witness, path, ledger, stop, &place);
    !ended
}

/// All keys below `until` read as the ledger allows.
fn expect_all(container: &ByteContainer, ledger: &Ledger, until: u16, place: &str) {
    for key in ledger.keys().filter(|key| *key < until) {
        let read = reading::read(container, key).unwrap_or_else(|e| panic!("{place}: {key}: {e}"));
        let read = read.unwrap_or_else(|why| panic!("{place}: {key}: {why}"));
        ledger.check(key, read).unwrap_or_else(|why| panic!("{place}: {why}"));
    }
}

fn expect_sound(container: &ByteContainer, place: &str) {
    let report = container.check().unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(report.is_sound(), "{place}: {:?}", report.damage);
}

/// What others do after the kill: everything that is told is as it must be, then
/// and from then on.
fn afterwards(witness: &ByteContainer, path: &Path, mut ledger: Ledger, stop: usize, place: &str) {
    // All keys now and then, else those that the scenes work on.
    let until = if stop % 8 == 1 { COUNTERS } else { FRESH };
    expect_all(witness, &ledger, until, &format!("{place}, witness"));
    expect_sound(witness, place);
    let fresh = ByteContainer::open(path, never()).unwrap();
    let keys: Vec<u16> = ledger.keys().filter(|key| *key < FRESH).collect();
    // What it is now, it stays: nothing aborted comes back later.
    for &key in &keys {
        ledger.settle(key, reading::read(&fresh, key).unwrap().unwrap());
    }
    // Twice: a split that was under way ends. Before the others save anything, which
    // would hide what they should have repaired, or after it.
    let sync = |ledger: &Ledger| {
        for container in [witness, &fresh] {
            container.sync().unwrap_or_else(|error| panic!("{place}: {error}"));
            expect_all(container, ledger, until, &format!("{place}, afterwards"));
        }
    };
    if (stop / 2).is_multiple_of(2) {
        sync(&ledger);
    }
    let mut number = AFTERWARDS;
    let mut ear = Ear::new();
    let mut mouth = Mouth::on(ear.mouth(), 0);
    for (turn, &key) in keys.iter().enumerate() {
        let container = if turn % 2 == 0 { witness } else { &fresh };
        number += 1;
        let done = if turn % 5 == 4 {
            mouth.tell(What::Removes, key, number);
            container.remove(value::id(key)).map(drop)
        } else {
            mouth.tell(What::Saves, key, number);
            container.save(value::id(key), &value::value(key, number)).map(drop)
        };
        done.unwrap_or_else(|error| panic!("{place}: {key}: {error}"));
        mouth.tell(What::Done, key, number);
    }
    ear.listen().into_iter().for_each(|message| ledger.note(message));
    sync(&ledger);
    expect_sound(&fresh, &format!("{place}, afterwards"));
    assert!(keys.len() >= usize::from(KEYS));
}

/// Whether the sweep of one scene notices a storage that breaks a promise.
pub(crate) fn finds(directory: &Path, opening: Opening, name: &str) -> Option<usize> {
    let home = directory.join("home.room");
    let states = States::make(&home);
    let scenes = all(&states);
    let scene = scenes.iter().find(|scene| scene.name == name).unwrap();
    let fails = |stop: &usize| {
        let swept = || kill_at(scene, states.next, &home, opening, *stop);
        catch_unwind(AssertUnwindSafe(swept)).is_err()
    };
    (0..200).find(fails)
}

/// Making a container, killed at every system call: there is one, or another can
/// be made in its place, or its beginning has to be removed first.
pub(crate) fn sweep_creation(directory: &Path) -> usize {
    let path: PathBuf = directory.join("made.room");
    let mut stops = 0;
    loop {
        let _ = fs::remove_file(&path);
        let mut ear = Ear::new();
        let mut tracee = Tracee::new(|| {
            let mut mouth = Mouth::on(ear.mouth(), 0);
            let path = &path;
            move || {
                drop(ByteContainer::create(path, never()).unwrap());
                mouth.tell(What::Created, 0, 0);
            }
        });
        let ended = (0..=stops).any(|_| tracee.next_call() == Step::Ended);
        drop(tracee);
        let mut ledger = Ledger::new(After::Kills);
        ear.listen().into_iter().for_each(|message| ledger.note(message));
        expect_made_or_not(&path, ledger.created, stops);
        if ended {
            return stops;
        }
        stops += 1;
        assert!(stops < STOPS_MAX);
    }
}

fn expect_made_or_not(path: &Path, created: bool, stop: usize) {
    let place = format!("creation, stop {stop}");
    let container = match ByteContainer::open(path, Options::new()) {
        Ok(container) => container,
        Err(error) => {
            assert!(!created, "{place}: {error}");
            match error.kind() {
                ErrorKind::NotAContainer(NotAContainer::Empty) => {}
                ErrorKind::Io { .. } => assert!(!path.exists(), "{place}: {error}"),
                ErrorKind::NotAContainer(NotAContainer::Unfinished) => {}
                _ => panic!("{place}: {error}"),
            }
            ByteContainer::create(path, never()).unwrap_or_else(|e| panic!("{place}: {e}"))
        }
    };
    container.save("first", b"value").unwrap();
    assert_eq!(container.load("first").unwrap().unwrap().value, b"value");
    let damage = container.check().unwrap().damage;
    assert!(damage.is_empty(), "{place}: {damage:?}");
}
