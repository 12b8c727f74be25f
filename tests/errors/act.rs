//! Everything that can be done with a container, one short act each.
//!
//! An act names ids that `stage` prepared: what each holds is known.

use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, MapPolicy, Options};

use crate::run::Run;

/// How the handle comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    Writing,
    Reading,
    /// Of an empty file.
    Creating,
}

/// When the handle is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// While calls fail; and it is dropped while they do.
    Young,
    /// The same, and it maps the file at once.
    Mapping,
    /// Long before: it has a map and spares.
    Long,
}

/// How the handle is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) life: Life,
    pub(crate) durability: Durability,
}

pub(crate) const MANNERS: [Manner; 7] = [
    Manner { life: Life::Young, durability: Durability::Durable },
    Manner { life: Life::Long, durability: Durability::Never },
    Manner { life: Life::Young, durability: Durability::Interval(Duration::ZERO) },
    Manner { life: Life::Long, durability: Durability::Durable },
    Manner { life: Life::Young, durability: Durability::Never },
    Manner { life: Life::Mapping, durability: Durability::Durable },
    Manner { life: Life::Long, durability: Durability::Interval(Duration::ZERO) },
];

impl Manner {
    pub(crate) fn options(self) -> Options {
        let map = match self.life {
            Life::Young => MapPolicy::Never,
            Life::Mapping | Life::Long => MapPolicy::AfterLoads(0),
        };
        Options::new().durability(self.durability).map(map)
    }
}

/// Something to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) opens: Opens,
    pub(crate) does: fn(&mut Run<'_>, &ByteContainer),
}

const fn act(name: &'static str, does: fn(&mut Run<'_>, &ByteContainer)) -> Act {
    Act { name, opens: Opens::Writing, does }
}

const fn look(name: &'static str, does: fn(&mut Run<'_>, &ByteContainer)) -> Act {
    Act { name, opens: Opens::Reading, does }
}

/// A time that no test comes to.
const LATE: u64 = 1 << 45;

pub(crate) const CREATE: Act =
    Act { name: "create", opens: Opens::Creating, does: |run, c| run.save(c, "new", 40) };

pub(crate) const ACTS: &[Act] = &[
    act("open and close", |_, _| {}),
    look("load a small one", |run, c| run.load(c, "small")),
    look("load a large one", |run, c| run.load(c, "large")),
    look("load what is not there", |run, c| {
        run.load(c, "absent");
        run.load(c, "gone");
    }),
    look("walk", |run, c| run.iterate(c)),
    look("info", |run, c| run.info(c)),
    look("check", |run, c| run.check(c)),
    act("load as a writer", |run, c| {
        run.load(c, "twice");
        run.load(c, "absent");
    }),
    act("save a new one", |run, c| run.save(c, "absent", 40)),
    act("save in the same class", |run, c| run.save(c, "small", 41)),
    act("save in another class", |run, c| run.save(c, "twice", 3000)),
    act("save again and again", |run, c| {
        for len in [50, 51, 52, 53] {
            run.known_or_skip("thrice", |run| run.save(c, "thrice", len));
        }
    }),
    act("save a large one", |run, c| run.save(c, "absent", 70_001)),
    act("save a large one over a large one", |run, c| run.save(c, "large", 66_000)),
    act("save a small one over a large one", |run, c| run.save(c, "large", 20)),
    act("create a session", |run, c| {
        run.save_where("gone", true, |bytes| c.create_session("gone", bytes));
    }),
    act("create a session that lives", |run, c| {
        run.save_where("small", false, |bytes| c.create_session("small", bytes));
    }),
    act("replace", |run, c| run.save_where("dated", true, |bytes| c.replace("dated", bytes))),
    act("replace what is gone", |run, c| {
        let lives = run.known.value("leaving").is_some();
        run.save_where("leaving", lives, |bytes| c.replace("leaving", bytes));
    }),
    act("save if the version is the same", |run, c| {
        if let Ok(Some(session)) = c.load("small") {
            run.save_where("small", true, |bytes| c.save_if("small", session.version, bytes));
        }
    }),
    act("save if the version were another", |run, c| {
        if let Ok(Some(session)) = c.load("small") {
            run.save_where("twice", false, |bytes| c.save_if("twice", session.version, bytes));
        }
    }),
    act("update to save", |run, c| run.update(c, "twice", &Change::Save(60))),
    act("update to remove", |run, c| run.update(c, "small", &Change::Remove)),
    act("update to keep", |run, c| run.update(c, "large", &Change::Keep)),
    act("remove", |run, c| run.remove(c, "dated")),
    act("remove a large one", |run, c| run.remove(c, "large")),
    act("remove what is not there", |run, c| {
        run.remove(c, "absent");
        run.known_or_skip("leaving", |run| run.remove(c, "leaving"));
    }),
    act("save with timeouts", |run, c| {
        run.save_with(c, "twice", 40);
        run.known_or_skip("twice", |run| run.save(c, "twice", 3000));
    }),
    act("touch", |run, c| {
        run.save_with(c, "absent", 40);
        for deadline_ms in [Some(LATE + 9), None] {
            run.known_or_skip("absent", |run| run.set_deadline(c, "absent", deadline_ms));
            run.known_or_skip("absent", |run| run.touch(c, "absent"));
        }
    }),
    act("rotate", |run, c| run.rotate(c, "small", "absent")),
    act("rotate a large one", |run, c| run.rotate(c, "large", "absent")),
    act("set a deadline", |run, c| run.set_deadline(c, "small", Some(LATE + 7))),
    act("end a deadline", |run, c| run.set_deadline(c, "dated", None)),
    act("sync", |run, c| run.sync(c)),
    act("grow", |run, c| {
        for number in 0..3 {
            run.save(c, &format!("more {number}"), 30);
        }
        run.sync(c);
        run.known_or_skip("more 1", |run| run.save(c, "more 1", 31));
        run.sync(c);
        run.remove(c, "small");
        run.sync(c);
        run.save(c, "twice", 45);
    }),
    act("fill and free", |run, c| {
        for number in 0..5 {
            run.save(c, &format!("wide {number}"), 9000);
        }
        run.sync(c);
        for number in 0..5 {
            let id = format!("wide {number}");
            run.known_or_skip(&id, |run| run.remove(c, &id));
        }
        run.sync(c);
        run.save(c, "absent", 20_000);
    }),
];

impl Run<'_> {
    /// Goes on with an id only where it is known what it holds.
    fn known_or_skip(&mut self, id: &str, go_on: impl FnOnce(&mut Self)) {
        if !self.known.in_doubt(id) {
            go_on(self);
        }
    }
}
