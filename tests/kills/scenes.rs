//! The containers that operations are swept on, and the operations.
//!
//! A scene is a container in a certain state, what its sessions read as, and what
//! a process does there until it is killed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, IdForm, MapPolicy, Options, Outcome, Updated};

use crate::dice::Dice;
use crate::ledger::{After, Ledger, Reading};
use crate::message::{Mouth, What};
use crate::value::{self, FAR_MS, FRESH};

/// Keys that scenes work on; each has been saved more than once.
pub(crate) const KEYS: u16 = 24;
/// A key that no scene's container has.
pub(crate) const ABSENT: u16 = 900;
/// Number of the first operation under trace; what was before has lower ones.
pub(crate) const FIRST: u32 = 1000;

/// State of a container.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The file, byte by byte.
    pub(crate) bytes: Vec<u8>,
    pub(crate) ledger: Ledger,
}

/// Whether the file's page cache may have been lost, as far as a process can see:
/// so it is with a copy, which is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Somebody has recovered it already.
    Known,
    Unknown,
}

/// What a process does, step by step, telling of it.
pub(crate) type Action = fn(&mut Actor);

#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) name: &'static str,
    pub(crate) state: &'a State,
    pub(crate) view: View,
    pub(crate) action: Action,
    pub(crate) options: Options,
}

/// Who does it: a long-lived handle that has worked before.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) container: ByteContainer,
    pub(crate) mouth: Mouth,
    pub(crate) number: u32,
    /// A key that begins a split where the index is full.
    pub(crate) next: u16,
}

impl Actor {
    fn tells(&mut self, begins: What, key: u16, done: impl FnOnce(&ByteContainer, u32)) {
        self.number += 1;
        self.mouth.tell(begins, key, self.number);
        done(&self.container, self.number);
        self.mouth.tell(What::Done, key, self.number);
    }

    pub(crate) fn save(&mut self, key: u16) {
        self.tells(What::Saves, key, |container, number| {
            container.save(value::id(key), &value::value(key, number)).unwrap();
        });
    }

    /// Saves a value of a length close to, or far from, that of the last one.
    pub(crate) fn save_like(&mut self, key: u16, like: bool) {
        let last = self.container.load(value::id(key)).unwrap().unwrap().value.len();
        let near = |number: u32| {
            let len = value::value(key, number).len();
            if like { len.abs_diff(last) < 8 } else { len > 2 * last && len < 30_000 }
        };
        // Most likely, else the closest that comes soon.
        self.number += (1..5000).find(|more| near(self.number + more)).unwrap_or(1) - 1;
        self.save(key);
    }

    pub(crate) fn save_large(&mut self, key: u16) {
        let large = |number: u32| value::value(key, number).len() > 100_000;
        self.number += (1..5000).find(|more| large(self.number + more)).unwrap() - 1;
        self.save(key);
    }

    pub(crate) fn create_session(&mut self, key: u16) {
        self.tells(What::Saves, key, |container, number| {
            let made = container.create_session(value::id(key), &value::value(key, number));
            assert!(matches!(made.unwrap(), Outcome::Saved(_)));
        });
    }

    pub(crate) fn replace(&mut self, key: u16) {
        self.tells(What::Saves, key, |container, number| {
            let made = container.replace(value::id(key), &value::value(key, number));
            assert!(matches!(made.unwrap(), Outcome::Saved(_)));
        });
    }

    pub(crate) fn save_if(&mut self, key: u16) {
        self.tells(What::Saves, key, |container, number| {
            let version = container.load(value::id(key)).unwrap().unwrap().version;
            let made = container.save_if(value::id(key), version, &value::value(key, number));
            assert!(matches!(made.unwrap(), Outcome::Saved(_)));
        });
    }

    pub(crate) fn update(&mut self, key: u16) {
        self.tells(What::Saves, key, |container, number| {
            let saved = container.update(value::id(key), |session| {
                assert!(value::number_of(key, session.unwrap().value).is_ok());
                Change::Save(value::value(key, number))
            });
            assert!(matches!(saved.unwrap(), Updated::Saved(_)));
        });
    }

    pub(crate) fn remove(&mut self, key: u16) {
        self.tells(What::Removes, key, |container, _| {
            assert!(container.remove(value::id(key)).unwrap());
        });
    }

    pub(crate) fn set_deadline(&mut self, key: u16) {
        self.tells(What::Touches, key, |container, number| {
            let deadline_ms = FAR_MS + u64::from(number);
            assert!(container.set_deadline(value::id(key), Some(deadline_ms)).unwrap());
        });
    }

    /// Its id leads to it for longer than the test takes.
    pub(crate) fn rotate(&mut self, key: u16) {
        let grace = Duration::from_secs(86_400);
        let done = self.container.rotate(value::id(key), "goes on", grace);
        assert!(matches!(done.unwrap(), Outcome::Saved(_)));
    }

    pub(crate) fn sync(&mut self) {
        self.container.sync().unwrap();
    }

    pub(crate) fn load(&mut self, key: u16) {
        let found = self.container.load(value::id(key)).unwrap().unwrap();
        assert!(value::number_of(key, &found.value).is_ok());
    }
}

pub(crate) fn never() -> Options {
    let plain = Options::new().ids(IdForm::Plain);
    plain.durability(Durability::Never).map(MapPolicy::AfterLoads(4))
}

pub(crate) fn durable() -> Options {
    never().durability(Durability::Durable)
}

/// The states of containers that scenes begin in.
#[derive(Debug)]
pub(crate) struct States {
    /// Some sessions, each of several versions; most of it durable.
    pub(crate) small: State,
    /// The same, and no sync since the last versions.
    pub(crate) unsynced: State,
    /// The next new session begins a split, and its key.
    pub(crate) full: State,
    pub(crate) next: u16,
    /// A split's new segments are being filled; they count, the old not cleared.
    pub(crate) filling: State,
    pub(crate) settling: State,
    /// A syncer died.
    pub(crate) doubtful: State,
}

impl States {
    /// Makes them all in one file, whose view is known then.
    pub(crate) fn make(path: &Path) -> States {
        let container = ByteContainer::create(path, never()).unwrap();
        let mut ledger = Ledger::new(After::Kills);
        let state =
            |ledger: &Ledger| State { bytes: fs::read(path).unwrap(), ledger: ledger.clone() };
        let save = |ledger: &mut Ledger, key: u16, number: u32| {
            container.save(value::id(key), &value::value(key, number)).unwrap();
            ledger.settle(key, Some(Reading { number, touch: 0 }));
        };
        let mut dice = Dice::new(7);
        for number in 1..6 {
            for key in 0..KEYS {
                if number == 1 || dice.percent(60) {
                    save(&mut ledger, key, number);
                }
            }
            container.sync().unwrap();
        }
        let small = state(&ledger);
        (0..KEYS).for_each(|key| save(&mut ledger, key, 6));
        let unsynced = state(&ledger);
        let mut doubtful = unsynced.clone();
        mark_syncing(&mut doubtful.bytes);
        let mut next = FRESH;
        let full = loop {
            let before = state(&ledger);
            save(&mut ledger, next, 1);
            if container.info().unwrap().splitting {
                break before;
            }
            next += 1;
        };
        let filling = state(&ledger);
        container.sync().unwrap();
        let settling = state(&ledger);
        let info = container.info().unwrap();
        assert!(info.splitting && info.segments > 1, "{info:?}");
        drop(container);
        States { small, unsynced, full, next, filling, settling, doubtful }
    }
}

/// Sets `syncing` in the control line, as a syncer does that is killed then.
fn mark_syncing(bytes: &mut [u8]) {
    // By the book: the line at 4096, its state at 44, its check the seal's.
    let line = 4096..4096 + 64;
    let seal = crc32fast::hash(&bytes[32..48]);
    bytes[line.start + 44] |= 2;
    let mut check = crc32fast::Hasher::new_with_initial(seal ^ (4096 / 64));
    check.update(&bytes[line.start..line.end - 4]);
    bytes[line.end - 4..line.end].copy_from_slice(&check.finalize().to_le_bytes());
}

/// Every public operation, in every state that it may find.
pub(crate) fn all(states: &States) -> Vec<Scene<'_>> {
    use View::{Known, Unknown};
    let mut scenes = Vec::new();
    let mut add = |name, state, view, options, action: Action| {
        scenes.push(Scene { name, state, view, action, options });
    };
    let States { small, unsynced, full, filling, settling, doubtful, .. } = states;
    add("load", small, Known, never(), |a| a.load(3));
    add("iterate", small, Known, never(), |a| assert!(a.container.iter().count() > 0));
    add("check", small, Known, never(), |a| assert!(a.container.check().unwrap().is_sound()));
    add("info", small, Known, never(), |a| assert!(a.container.info().unwrap().segments > 0));
    add("save new", small, Known, never(), |a| a.save(ABSENT));
    add("save, same class", small, Known, never(), |a| a.save_like(3, true));
    add("save, other class", small, Known, never(), |a| a.save_like(4, false));
    add("save, large", small, Known, never(), |a| a.save_large(5));
    add("save over a large one", unsynced, Known, never(), |a| {
        a.save_large(5);
        a.save(5);
        a.sync();
        a.save(5);
    });
    add("saves in one epoch", unsynced, Known, never(), |a| (0..4).for_each(|_| a.save(6)));
    add("saves and syncs", small, Known, never(), |a| {
        for _ in 0..3 {
            a.save(6);
            a.sync();
        }
    });
    add("durable save", unsynced, Known, durable(), |a| a.save(7));
    add("durable removal", unsynced, Known, durable(), |a| a.remove(7));
    add("create session", small, Known, never(), |a| a.create_session(ABSENT));
    add("replace", small, Known, never(), |a| a.replace(8));
    add("save if", small, Known, never(), |a| a.save_if(9));
    add("update", small, Known, never(), |a| a.update(10));
    add("remove", small, Known, never(), |a| a.remove(11));
    add("remove, vacate, take", small, Known, never(), |a| {
        a.remove(12);
        a.sync();
        a.save(ABSENT);
        a.sync();
        a.save(12);
    });
    add("touch", small, Known, never(), |a| a.set_deadline(13));
    add("durable touch", unsynced, Known, durable(), |a| a.set_deadline(13));
    add("rotate", unsynced, Known, never(), |a| a.rotate(13));
    add("durable rotation", unsynced, Known, durable(), |a| a.rotate(13));
    add("rotate while filling", filling, Known, never(), |a| a.rotate(13));
    add("sync", unsynced, Known, never(), Actor::sync);
    add("sync after a dead syncer", doubtful, Known, never(), Actor::sync);
    add("begin a split", full, Known, never(), |a| a.save(a.next));
    add("a whole split", full, Known, never(), |a| {
        a.save(a.next);
        a.sync();
        a.sync();
        a.save(0);
    });
    add("save while filling", filling, Known, never(), |a| (0..6).for_each(|k| a.save(k)));
    add("remove while filling", filling, Known, never(), |a| (6..12).for_each(|k| a.remove(k)));
    add("end of filling", filling, Known, never(), Actor::sync);
    add("save while settling", settling, Known, never(), |a| (0..6).for_each(|k| a.save(k)));
    add("touch while settling", settling, Known, never(), |a| {
        (6..12).for_each(|k| a.set_deadline(k))
    });
    add("end of settling", settling, Known, never(), Actor::sync);
    add("recovery", unsynced, Unknown, never(), |a| a.save(14));
    add("recovery, durable", unsynced, Unknown, durable(), |a| a.save(14));
    add("recovery while filling", filling, Unknown, never(), |a| a.save(14));
    add("recovery while settling", settling, Unknown, never(), |a| a.remove(14));
    add("recovery in doubt", doubtful, Unknown, never(), |a| a.save(14));
    add("the pass after recovery", unsynced, Unknown, never(), |a| {
        (0..12).for_each(|key| a.save(key));
    });
    scenes
}
