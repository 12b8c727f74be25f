//! Plays: a few steps written down, and then every way in which a kill or a power
//! cut may end them.
//!
//! A cut is explored line by line: all as old as can be, all new, each line alone
//! old or alone new, and some at random. After each the keys must read as they may,
//! and go on doing so through recovery, pass, trims, new sessions and syncs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::storage::Storage;
use cloakroom::storage::simulated::{
    Call, CutPolicy, Operation, ProcessId, SimulatedDisk, SimulatedRng, Verdict,
};
use cloakroom::{ByteContainer, Durability, MapPolicy, Options};

use crate::history::{History, Value};
use crate::stage::{self, LENGTHS, Scene, read, value_bytes};

/// Sizes of values, by their place in [`LENGTHS`].
pub(crate) const SHORT: usize = 0;
pub(crate) const MIDDLE: usize = 4;
pub(crate) const LONG: usize = 6;
pub(crate) const LARGE: usize = 7;
/// Three to a block, and the third behind what a large value covers.
pub(crate) const THIRD: usize = 8;

/// Undecided lines of which each is looked at alone.
const LINES_ALONE: usize = 150;
/// Nobody else sees the file through this mount.
const MOUNT_AFTERWARDS: u64 = 99;
/// Calls of an operation at which it is killed.
const CALLS_MAX: u64 = 400;

/// One process with its handle.
pub(crate) struct Person {
    pub(crate) process: ProcessId,
    pub(crate) container: ByteContainer,
    durable: bool,
}

pub(crate) struct Play {
    pub(crate) disk: SimulatedDisk,
    pub(crate) keys: Vec<Vec<u8>>,
    filler: Vec<Vec<u8>>,
    histories: RefCell<HashMap<Vec<u8>, History>>,
    next_value: Cell<u64>,
    next_scratch: Cell<u64>,
    pub(crate) cuts: Cell<u64>,
    pub(crate) kills: Cell<u64>,
}

impl Play {
    pub(crate) fn new(scene: &Scene, seed: u64) -> Play {
        Play::on(stage::set(scene, seed), scene.hot.clone(), scene.filler.clone())
    }

    pub(crate) fn on(disk: SimulatedDisk, keys: Vec<Vec<u8>>, filler: Vec<Vec<u8>>) -> Play {
        let observer = stage::observer(&disk);
        let now = |key: &Vec<u8>| (key.clone(), History::new(read(&observer, key)));
        Play {
            histories: RefCell::new(keys.iter().map(now).collect()),
            disk,
            keys,
            filler,
            next_value: Cell::new(0),
            next_scratch: Cell::new(0),
            cuts: Cell::new(0),
            kills: Cell::new(0),
        }
    }

    /// This play with the counts of one before it.
    pub(crate) fn followed_by(self, next: Play) -> Play {
        next.cuts.set(self.cuts.get() + next.cuts.get());
        next.kills.set(self.kills.get() + next.kills.get());
        next
    }

    /// Sessions come until a split begins.
    pub(crate) fn grow(&self, who: &Person) {
        for number in 0..2000 {
            if who.container.info().unwrap().splitting {
                return;
            }
            who.container.save(format!("come-{number}"), b"1").unwrap();
        }
        panic!("the index does not grow");
    }

    /// A process that sees the file through mount 1.
    pub(crate) fn enter(&self, durability: Durability) -> Person {
        self.enter_by(1, durability)
    }

    pub(crate) fn enter_by(&self, mount: u64, durability: Durability) -> Person {
        let process = self.disk.spawn();
        self.disk.set_mount(process, Some(mount));
        let options = Options::new()
            .durability(durability)
            .map(MapPolicy::Never)
            .lock_deadline(Duration::from_millis(2));
        let container = ByteContainer::open_on(Box::new(self.disk.open(process)), options);
        let durable = durability == Durability::Durable;
        Person { process, container: container.unwrap(), durable }
    }

    fn number(&self, size: usize) -> u64 {
        self.next_value.set(self.next_value.get() + 1);
        self.next_value.get() * LENGTHS.len() as u64 + size as u64
    }

    pub(crate) fn synced_epoch(&self) -> u64 {
        stage::observer(&self.disk).info().unwrap().synced_epoch
    }

    /// A value for the key that nobody has saved yet, and its number.
    pub(crate) fn value(&self, key: usize, size: usize) -> (u64, Vec<u8>) {
        let number = self.number(size);
        (number, value_bytes(&self.keys[key], number, LENGTHS.len()))
    }

    /// A sync ended after which these values of a key may have been published; what
    /// was the last one before is durable.
    pub(crate) fn was_synced_before(&self, key: usize, later: &[u64]) {
        let mut histories = self.histories.borrow_mut();
        let history = histories.get_mut(&self.keys[key]).unwrap();
        history.acknowledge_up_to(history.position());
        for number in later {
            history.publish(Some(*number), u64::MAX);
        }
    }

    /// Somebody saved this value of a key.
    pub(crate) fn was_published(&self, key: usize, number: u64) {
        let mut histories = self.histories.borrow_mut();
        let epoch = stage::observer(&self.disk).info().unwrap().write_epoch;
        histories.get_mut(&self.keys[key]).unwrap().publish(Some(number), epoch);
    }

    /// What a check says of space that is taken and that nobody names.
    pub(crate) fn leaked(&self) -> Option<String> {
        let report = stage::observer(&self.disk).check().unwrap();
        let leak = report.notes.iter().find(|note| note.what.contains("named by nobody"));
        leak.map(|note| note.what.clone())
    }

    /// What `who` did to the key is published, if it can be read.
    fn note(&self, who: &Person, key: &[u8], want: Value, done: bool) {
        let observer = stage::observer(&self.disk);
        let now = read(&observer, key);
        let mut histories = self.histories.borrow_mut();
        let history = histories.get_mut(key).unwrap();
        if now == want && history.last() != want {
            history.publish(want, observer.info().unwrap().write_epoch);
        }
        assert!(!done || history.last() == want, "done, and not to be read: {want:?}");
        if done && who.durable {
            history.acknowledge(want);
        }
    }

    /// Saves a value of this size; false if that failed.
    pub(crate) fn try_save(&self, who: &Person, key: usize, size: usize) -> bool {
        let (key, number) = (&self.keys[key], self.number(size));
        let done = who.container.save(key, &value_bytes(key, number, LENGTHS.len())).is_ok();
        self.note(who, key, Some(number), done);
        done
    }

    pub(crate) fn save(&self, who: &Person, key: usize, size: usize) {
        assert!(self.try_save(who, key, size), "a save failed");
    }

    pub(crate) fn try_remove(&self, who: &Person, key: usize) -> bool {
        let key = &self.keys[key];
        let done = who.container.remove(key).is_ok();
        self.note(who, key, None, done);
        done
    }

    pub(crate) fn remove(&self, who: &Person, key: usize) {
        assert!(self.try_remove(who, key), "a removal failed");
    }

    /// Gives the session of a key so much time, from now on.
    pub(crate) fn give_time(&self, who: &Person, key: usize, time_ms: u64) {
        let deadline_ms = self.disk.open(who.process).now_ms() + time_ms;
        assert!(who.container.set_deadline(&self.keys[key], Some(deadline_ms)).unwrap());
    }

    /// Ends the session of a key as a logout does that keeps its line.
    pub(crate) fn end(&self, who: &Person, key: usize) {
        let key = &self.keys[key];
        let done = who.container.set_deadline(key, Some(1)).unwrap();
        self.note(who, key, None, done);
    }

    /// Time passes, and with it that of the sessions of these keys: for good.
    pub(crate) fn let_time_pass(&self, keys: &[usize], time_ms: u64) {
        self.disk.advance(Duration::from_millis(time_ms));
        for key in keys {
            let mut histories = self.histories.borrow_mut();
            histories.get_mut(&self.keys[*key]).unwrap().publish(None, 0);
        }
    }

    pub(crate) fn sync(&self, who: &Person) {
        who.container.sync().unwrap();
        for history in self.histories.borrow_mut().values_mut() {
            history.acknowledge_up_to(history.position());
        }
    }

    pub(crate) fn fail_sync(&self, who: &Person) {
        self.disk.fail_syncs(1);
        assert!(who.container.sync().is_err(), "a failed sync was not reported");
    }

    /// A sync that fails, and whose process dies before it can say so.
    pub(crate) fn die_failing(&self, who: &Person) {
        self.disk.fail_syncs(1);
        let (process, failed) = (who.process, AtomicBool::new(false));
        self.disk.set_hook(Some(Arc::new(move |call: &Call| {
            let dead = call.process == process && failed.load(Ordering::Relaxed);
            if call.process == process && call.operation == Operation::SyncEnd {
                failed.store(true, Ordering::Relaxed);
            }
            if dead { Verdict::Kill } else { Verdict::Proceed }
        })));
        let _ = who.container.sync();
        self.disk.set_hook(None);
        assert!(!self.disk.is_alive(who.process));
    }

    /// The same; while the sync is under way, somebody else tries to save these keys.
    pub(crate) fn die_failing_while(&self, who: &Person, other: &Arc<Person>, keys: &[usize]) {
        let saves: Vec<_> =
            keys.iter().map(|key| (self.keys[*key].clone(), self.number(SHORT))).collect();
        let (process, failed) = (who.process, AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let (disk, person, theirs) = (self.disk.clone(), Arc::clone(other), saves.clone());
        let saved = Arc::clone(&done);
        self.disk.set_hook(Some(Arc::new(move |call: &Call| {
            let own = call.process == process;
            let dead = own && failed.load(Ordering::Relaxed);
            if own && call.operation == Operation::SyncEnd && !dead {
                for (place, (key, number)) in theirs.iter().enumerate() {
                    let value = value_bytes(key, *number, LENGTHS.len());
                    let one = u64::from(person.container.save(key, &value).is_ok());
                    saved.fetch_or(one << place, Ordering::Relaxed);
                }
                disk.fail_syncs(1);
                failed.store(true, Ordering::Relaxed);
            }
            if dead { Verdict::Kill } else { Verdict::Proceed }
        })));
        let _ = who.container.sync();
        self.disk.set_hook(None);
        assert!(!self.disk.is_alive(who.process));
        for (place, (key, number)) in saves.iter().enumerate() {
            let done = done.load(Ordering::Relaxed) >> place & 1 == 1;
            self.note(other, key, Some(*number), done);
        }
    }

    /// Somebody wants to save and dies before its first write: nothing has happened,
    /// and whoever comes next must notice as much as they would have.
    fn die_before_writing(&self) {
        let who = self.enter(Durability::Never);
        let process = who.process;
        self.disk.set_hook(Some(Arc::new(move |call: &Call| {
            let writes = matches!(call.operation, Operation::Write { .. });
            if call.process == process && writes { Verdict::Kill } else { Verdict::Proceed }
        })));
        who.container.save("never", b"1").unwrap_err();
        self.disk.set_hook(None);
    }

    /// Somebody does something and dies, at the latest when it begins to sync.
    pub(crate) fn die_syncing(&self, who: &Person, act: impl Fn(&Person)) {
        let process = who.process;
        self.disk.set_hook(Some(Arc::new(move |call: &Call| {
            let begins = call.process == process && call.operation == Operation::SyncBegin;
            if begins { Verdict::Kill } else { Verdict::Proceed }
        })));
        act(who);
        self.disk.set_hook(None);
        self.disk.kill(who.process);
    }

    /// Has every line of the index trimmed, by saves for which there is no block
    /// with room yet.
    pub(crate) fn trim(&self, who: &Person) {
        for _ in 0..5 {
            let scratch = self.next_scratch.get();
            self.next_scratch.set(scratch + 1);
            // Each of another class, which are 12 % apart.
            let len = (800.0 * 1.13f64.powi(scratch as i32 % 30)) as usize;
            who.container.save(format!("scratch-{scratch}"), &vec![7; len]).unwrap();
        }
    }

    /// Lets the pass come to its end.
    pub(crate) fn pass(&self, who: &Person) {
        for _ in 0..2000 {
            who.container.set_deadline("nobody", None).unwrap();
            if !who.container.info().unwrap().rebuilding {
                return;
            }
        }
        panic!("the pass does not come to its end");
    }

    /// Cuts the power; `choose` as for `power_cut_with`.
    pub(crate) fn cut(&self, choose: &mut dyn FnMut(u64, usize) -> usize) {
        let synced = self.synced_epoch();
        self.disk.power_cut_with(choose);
        self.after_cut(synced);
    }

    /// The first key has a durable version, and a newer one of which a cut leaves the
    /// entry and takes the record.
    pub(crate) fn lose_a_record(&self) {
        let who = self.enter(Durability::Never);
        self.save(&who, 0, SHORT);
        self.sync(&who);
        self.save(&who, 0, LONG);
        drop(who);
        let behind_the_index = 2 * 1024;
        self.cut(&mut |line, images| if line < behind_the_index { images - 1 } else { 0 });
    }

    fn after_cut(&self, synced: u64) {
        self.cuts.set(self.cuts.get() + 1);
        let observer = stage::observer(&self.disk);
        for (key, history) in self.histories.borrow_mut().iter_mut() {
            let now = read(&observer, key);
            let allowed = history.allowed_after_cut(synced);
            assert!(
                allowed.iter().any(|version| version.value == now),
                "after a cut at synced epoch {synced} a key reads {now:?}; allowed {allowed:?}"
            );
            history.settle(now);
        }
        self.look(&observer);
    }

    /// Everything reads as it should now.
    fn look(&self, observer: &ByteContainer) {
        for (key, history) in self.histories.borrow().iter() {
            assert_eq!(read(observer, key), history.last(), "a key has changed");
        }
        for id in &self.filler {
            assert_eq!(read(observer, id), Some(0), "filler");
        }
    }

    pub(crate) fn check(&self) {
        let observer = stage::observer(&self.disk);
        let report = observer.check().unwrap();
        stage::assert_sound(&report);
    }

    /// Life goes on by other processes, and nothing changes that it does not.
    pub(crate) fn aftermath(&self) {
        let observer = stage::observer(&self.disk);
        self.look(&observer);
        self.check();
        let who = self.enter(Durability::Never);
        let before = self.disk.syncs_under_lock();
        who.container.save("afterwards", b"1").unwrap();
        self.look(&observer);
        let recoveries = self.disk.syncs_under_lock();
        self.pass(&who);
        for _ in 0..3 {
            who.container.sync().unwrap();
        }
        self.trim(&who);
        self.look(&observer);
        for number in 0..12 {
            let id = format!("later-{number}").into_bytes();
            let size = [THIRD, SHORT, LARGE, LONG, MIDDLE, SHORT][number % 6];
            let value = value_bytes(&id, size as u64, LENGTHS.len());
            who.container.save(&id, &value).unwrap();
        }
        who.container.sync().unwrap();
        self.look(&observer);
        self.check();
        assert_eq!(self.disk.syncs_under_lock(), recoveries, "a recovery that nobody needs");
        if recoveries > before {
            // In the next generation nothing is withheld, and nobody was killed in it.
            drop(who);
            let last = self.enter_by(MOUNT_AFTERWARDS, Durability::Never);
            last.container.save("at last", b"1").unwrap();
            self.pass(&last);
            drop(last);
            assert_eq!(self.leaked(), None, "after a pass");
        }
    }

    /// The same in short: whatever was under way comes to its end.
    pub(crate) fn aftermath_quick(&self) {
        let observer = stage::observer(&self.disk);
        let who = self.enter(Durability::Never);
        for _ in 0..3 {
            who.container.sync().unwrap();
            self.look(&observer);
        }
        self.check();
    }

    /// Goes every way from here, and comes back.
    pub(crate) fn branching(&self, way: impl FnOnce()) {
        let here = self.disk.snapshot();
        let histories = self.histories.borrow().clone();
        way();
        self.disk.restore(&here);
        *self.histories.borrow_mut() = histories;
    }

    /// Cuts the power in many ways, each with what comes after it.
    pub(crate) fn cut_in_all_ways(&self, at_random: u64) {
        self.cut_in_ways(u64::MAX, at_random);
    }

    /// The same with only the control page's lines alone.
    pub(crate) fn cut_around_the_control_page(&self) {
        self.cut_in_ways(2 * 64, 10);
    }

    fn cut_in_ways(&self, lines: u64, at_random: u64) {
        let synced = self.synced_epoch();
        let undecided = self.disk.dirty_lines();
        let mut ways: Vec<Box<dyn Fn(u64, usize) -> usize>> =
            vec![Box::new(|_, _| 0), Box::new(|_, images| images - 1)];
        for (line, images) in
            undecided.iter().copied().filter(|(line, _)| *line < lines).take(LINES_ALONE)
        {
            for image in 0..images - 1 {
                ways.push(Box::new(
                    move |other, images| {
                        if other == line { image } else { images - 1 }
                    },
                ));
            }
            ways.push(Box::new(move |other, images| if other == line { images - 1 } else { 0 }));
        }
        for way in ways {
            self.branching(|| {
                self.cut(&mut |line, images| way(line, images));
                self.die_before_writing();
                self.aftermath();
            });
        }
        for seed in 0..at_random {
            self.branching(|| {
                let mut rng = SimulatedRng::new(seed);
                let policy = CutPolicy::draw(&mut rng);
                self.disk.power_cut(policy, &mut rng);
                self.after_cut(synced);
                self.aftermath();
            });
        }
    }

    /// Has somebody new do something and kills them at each call of it, each time
    /// with what comes after.
    pub(crate) fn die_at_each_call(
        &self,
        durability: Durability,
        act: impl Fn(&Person),
        then: impl Fn(),
    ) {
        let mut lived = false;
        let mut call = 0;
        while !lived && call < CALLS_MAX {
            self.branching(|| {
                let who = self.enter(durability);
                self.disk.kill_at(who.process, call);
                act(&who);
                self.disk.clear_script();
                lived = self.disk.is_alive(who.process);
                self.disk.kill(who.process);
                self.kills.set(self.kills.get() + 1);
                drop(who);
                then();
            });
            call += 1;
        }
    }
}
