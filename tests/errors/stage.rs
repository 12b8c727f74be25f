//! The states of a container that operations are tried in, each made by the
//! engine itself on a simulated disk.
//!
//! In each of them the same ids hold something: a session that is durable, ones
//! with versions that are not, a large one, one that was removed, one with a
//! deadline. What each holds, and what a power cut may bring back, is known.

use std::io;

use cloakroom::storage::simulated::{CutPolicy, Failing, SimulatedDisk, SimulatedRng, Snapshot};
use cloakroom::{ByteContainer, Durability, IdForm, MapPolicy, Options};

use crate::known::{Held, Known, Value, held};
use crate::run::bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Some versions are not durable, and that is all.
    Plain,
    /// A syncer died in the midst of it.
    SyncerDied,
    /// A sync failed, and pages were lost.
    SyncFailed,
    /// The power was cut.
    Cut,
    /// The power was cut, and then once more within the recovery.
    CutTwice,
    /// The next new session makes the index grow.
    NearGrowth,
    /// It grows: the new segment is filled and does not count yet.
    Filling,
    /// It grows: the new segment counts, and is not durable yet.
    Settling,
    /// It grows, and a writer was killed between the two copies of an entry.
    HalfMirrored,
    /// It grew, and the power was cut meanwhile.
    CutWhileGrowing,
    /// No space is left.
    Full,
}

pub(crate) const STATES: &[State] = &[
    State::Plain,
    State::SyncerDied,
    State::SyncFailed,
    State::Cut,
    State::CutTwice,
    State::NearGrowth,
    State::Filling,
    State::Settling,
    State::HalfMirrored,
    State::CutWhileGrowing,
    State::Full,
];

/// A disk with a container on it, and what that holds.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) disk: SimulatedDisk,
    pub(crate) snapshot: Snapshot,
    pub(crate) known: Known,
    /// Sessions that nobody touches.
    pub(crate) fillers: usize,
    pub(crate) full: bool,
}

pub(crate) fn filler(number: usize) -> (String, Vec<u8>) {
    let id = format!("filler {number}");
    let value = bytes(&id, 30);
    (id, value)
}

/// A handle that syncs only when told to.
fn open(disk: &SimulatedDisk) -> ByteContainer {
    let process = disk.spawn();
    let options = Options::new().durability(Durability::Never).map(MapPolicy::Never);
    ByteContainer::open_on(Box::new(disk.open(process)), options).unwrap()
}

/// What a container holds under an id.
pub(crate) fn read(container: &ByteContainer, id: &str) -> Value {
    let session = container.load(id).unwrap_or_else(|error| panic!("{id}: {error}"));
    session
        .map(|session| Held { bytes: session.value.into(), deadline_ms: session.times.deadline_ms })
}

impl Stage {
    /// An empty file.
    pub(crate) fn empty(seed: u64) -> Stage {
        let disk = SimulatedDisk::new(seed);
        let snapshot = disk.snapshot();
        Stage { disk, snapshot, known: Known::default(), fillers: 0, full: false }
    }

    pub(crate) fn new(state: State, seed: u64) -> Stage {
        let mut stage = Stage::empty(seed);
        let process = stage.disk.spawn();
        let storage = Box::new(stage.disk.open(process));
        let options = Options::new().ids(IdForm::Plain);
        drop(ByteContainer::create_on(storage, options).unwrap());
        stage.durable_sessions();
        let mut rng = SimulatedRng::new(seed ^ 0x5eed);
        match state {
            State::Plain => stage.pending_versions(),
            State::SyncerDied => {
                stage.pending_versions();
                stage.die_in_sync(&mut rng);
                stage.newer_versions();
            }
            State::SyncFailed => {
                stage.pending_versions();
                stage.disk.fail_syncs(1);
                open(&stage.disk).sync().unwrap_err();
                stage.newer_versions();
            }
            State::Cut => {
                stage.pending_versions();
                stage.die_in_sync(&mut rng);
                stage.newer_versions();
                stage.cut(&mut rng);
            }
            State::CutTwice => {
                stage.pending_versions();
                stage.cut(&mut rng);
                stage.newer_versions_may_fail(1 + rng.below(8) as u64);
                stage.cut(&mut rng);
            }
            State::NearGrowth => stage.until_growth(false),
            State::Filling => {
                stage.until_growth(true);
                stage.pending_versions();
            }
            State::Settling => {
                stage.until_growth(true);
                stage.sync();
                stage.pending_versions();
            }
            State::HalfMirrored => {
                stage.until_growth(true);
                stage.die_half_mirrored();
            }
            State::CutWhileGrowing => {
                stage.until_growth(true);
                if rng.chance(1, 2) {
                    stage.sync();
                }
                stage.pending_versions();
                stage.cut(&mut rng);
            }
            State::Full => {
                stage.fill();
                stage.pending_versions();
            }
        }
        stage.snapshot = stage.disk.snapshot();
        stage
    }

    fn save(&mut self, id: &str, len: usize) {
        let value = bytes(&format!("{id} of {len}"), len);
        open(&self.disk).save(id, &value).unwrap();
        self.known.happened(id, held(&value));
    }

    fn sync(&mut self) {
        open(&self.disk).sync().unwrap();
        self.known.synced();
        self.disk.write_back();
    }

    fn durable_sessions(&mut self) {
        for (id, len) in
            [("small", 40), ("twice", 44), ("thrice", 48), ("large", 40_000), ("gone", 30)]
        {
            self.save(id, len);
        }
        self.save("leaving", 35);
        self.save("dated", 38);
        let deadline_ms = Some(1 << 44);
        assert!(open(&self.disk).set_deadline("dated", deadline_ms).unwrap());
        let dated = self.known.value("dated").map(|held| Held { deadline_ms, ..held });
        self.known.happened("dated", dated);
        assert!(open(&self.disk).remove("gone").unwrap());
        self.known.happened("gone", None);
        self.sync();
    }

    fn pending_versions(&mut self) {
        self.save("twice", 45);
        self.save("thrice", 49);
        assert!(open(&self.disk).remove("leaving").unwrap());
        self.known.happened("leaving", None);
    }

    fn newer_versions(&mut self) {
        self.save("thrice", 47);
        self.save("twice", 300);
    }

    /// Saves once, with a failure at this call.
    fn newer_versions_may_fail(&mut self, nth: u64) {
        let container = open(&self.disk);
        self.disk.fail_at(nth, io::ErrorKind::Other, Failing::FromThenOn);
        let value = bytes("in doubt", 44);
        let _ = container.save("twice", &value);
        self.known.may_have_happened("twice", held(&value));
        self.disk.clear_script();
    }

    /// A syncer dies at a call of its sync.
    fn die_in_sync(&mut self, rng: &mut SimulatedRng) {
        let process = self.disk.spawn();
        let storage = Box::new(self.disk.open(process));
        let container = ByteContainer::open_on(storage, Options::new()).unwrap();
        let before = self.disk.calls();
        let snapshot = self.disk.snapshot();
        container.sync().unwrap();
        let calls = self.disk.calls() - before;
        self.disk.restore(&snapshot);
        // Between the bump and the end, in most cases.
        self.disk.kill_at(process, calls / 2 + rng.below(calls as usize / 2) as u64);
        drop(container.sync());
        drop(container);
        self.disk.clear_script();
        self.disk.kill(process);
    }

    fn cut(&mut self, rng: &mut SimulatedRng) {
        self.disk.power_cut(CutPolicy::draw(rng), rng);
        let process = self.disk.spawn();
        let storage = Box::new(self.disk.open(process));
        let observer = ByteContainer::open_read_only_on(storage, Options::new()).unwrap();
        let ids: Vec<_> = self.known.ids().map(str::to_owned).collect();
        for id in ids {
            let value = read(&observer, &id);
            assert!(self.known.allows_after_cut(&id, &value), "{id} in the making of a stage");
            self.known.settled(&id, value);
        }
    }

    /// Saves fillers until the index grows, or until one more would do it.
    fn until_growth(&mut self, begin: bool) {
        let container = open(&self.disk);
        for number in 0..2000 {
            let before = self.disk.snapshot();
            let (id, value) = filler(number);
            container.save(&id, &value).unwrap();
            if container.info().unwrap().splitting {
                if begin {
                    self.fillers = number + 1;
                } else {
                    drop(container);
                    self.disk.restore(&before);
                    self.fillers = number;
                }
                self.disk.write_back();
                return;
            }
        }
        panic!("the index never grows");
    }

    /// A writer dies when the first of the two copies of an entry is written.
    fn die_half_mirrored(&mut self) {
        let before = self.disk.snapshot();
        for nth in 0..60 {
            self.disk.restore(&before);
            let process = self.disk.spawn();
            let storage = Box::new(self.disk.open(process));
            let options = Options::new().durability(Durability::Never).map(MapPolicy::Never);
            let container = ByteContainer::open_on(storage, options).unwrap();
            self.disk.kill_at(process, nth);
            let value = bytes("half mirrored", 46);
            drop(container.save("small", &value));
            drop(container);
            self.disk.clear_script();
            self.disk.kill(process);
            if read(&open(&self.disk), "small") == held(&value) {
                self.known.happened("small", held(&value));
                return;
            }
        }
        panic!("the save never comes to its entry");
    }

    /// Lets the disk be full.
    fn fill(&mut self) {
        let container = open(&self.disk);
        self.disk.set_capacity(Some(self.disk.len() + (1 << 16)));
        for number in 0..2000 {
            let (id, value) = filler(number);
            if container.save(&id, &value).is_err() {
                self.fillers = number;
                break;
            }
        }
        container.sync().unwrap();
        self.known.synced();
        // Room for a few versions, which pending ones will take.
        for _ in 0..4 {
            self.fillers -= 1;
            assert!(container.remove(filler(self.fillers).0).unwrap());
        }
        container.sync().unwrap();
        self.disk.write_back();
        self.full = true;
    }
}
