//! kill -9 at any moment loses nothing that was acknowledged.
//!
//! Four writers save, update, remove and grow the index as fast as they can and
//! acknowledge each operation through a pipe. They are killed at random moments,
//! again and again, while the parent keeps a handle open throughout. Each value
//! tells its id and number under a checksum. A session must be as its last
//! acknowledged operation left it, or as the one after that would.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Change, Durability, Options};

use crate::fixture::{Fixture, assert_sound, bytes, quick};
use crate::role;

const ROUNDS: u64 = 30;
const WRITERS: u64 = 4;
/// Every so many operations on an id, it is removed.
const REMOVAL: u64 = 7;
const SHARED: u64 = 5;

/// What the `number`th operation on `id` leaves: a value, or nothing.
fn expected(id: &str, number: u64) -> Option<Vec<u8>> {
    if number.is_multiple_of(REMOVAL) {
        return None;
    }
    let mut value = format!("{id} {number} ").into_bytes();
    let check = crc32fast::hash(&value);
    let padding = match number % 11 {
        0 => 70_000,
        1 => 9000,
        rest => rest as usize * 90,
    };
    value.extend(bytes(check.into(), padding));
    Some(value)
}

fn shared_counter(container: &ByteContainer, id: u64) -> u64 {
    let session = container.load(format!("shared {id}")).unwrap();
    session.map_or(0, |session| counter(&session.value))
}

fn counter(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// Role: works until it is killed.
pub(crate) fn save_until_killed() {
    let arguments = role::arguments();
    let name = &arguments[1];
    let durability = match name.as_bytes().last() {
        Some(b'0') => Durability::Durable,
        Some(b'1') => Durability::Interval(Duration::from_millis(10)),
        _ => Durability::Never,
    };
    let options = Options::new().durability(durability);
    let container = ByteContainer::open(&arguments[0], options).unwrap();
    let mut numbers = [0; 10];
    for step in 0u64.. {
        // Ten ids over and over, and one that is new.
        let (id, number) = if step % 3 == 2 {
            (format!("{name} new {step}"), 1)
        } else {
            let number = &mut numbers[step as usize % 10];
            *number += 1;
            (format!("{name} old {}", step % 10), *number)
        };
        match expected(&id, number) {
            Some(value) => drop(container.save(&id, &value).unwrap()),
            None => drop(container.remove(&id).unwrap()),
        }
        role::tell(&format!("done {number} {id}"));
        if step % 4 == 0 {
            let shared = step / 4 % SHARED;
            let id = format!("shared {shared}");
            container
                .update(&id, |session| {
                    let before = session.map_or(0, |session| counter(session.value));
                    Change::Save((before + 1).to_le_bytes().to_vec())
                })
                .unwrap();
            role::tell(&format!("counted {shared}"));
        }
    }
}

#[derive(Default)]
struct Acknowledged {
    /// Last operation on each id.
    operations: BTreeMap<String, u64>,
    counted: [u64; SHARED as usize],
}

impl Acknowledged {
    fn listen(&mut self, from: BufReader<ChildStderr>, lines: &AtomicU64) {
        for line in from.lines() {
            let line = line.unwrap();
            lines.fetch_add(1, Ordering::Relaxed);
            if let Some(done) = line.strip_prefix("done ") {
                let (number, id) = done.split_once(' ').unwrap();
                self.operations.insert(id.to_owned(), number.parse().unwrap());
            } else if let Some(shared) = line.strip_prefix("counted ") {
                self.counted[shared.parse::<usize>().unwrap()] += 1;
            } else {
                assert!(!line.contains("panicked"), "a writer failed: {line}");
            }
        }
    }

    fn verify(&self, container: &ByteContainer, kills: u64) {
        for (id, number) in &self.operations {
            let found = container.load(id).unwrap().map(|session| session.value);
            // The operation under way at the kill may have been done.
            let step = if id.contains(" new ") { 0 } else { 1 };
            let allowed = found == expected(id, *number) || found == expected(id, number + step);
            assert!(allowed, "{id} is not as operation {number} left it");
        }
        for (id, counted) in (0..SHARED).zip(self.counted) {
            let found = shared_counter(container, id);
            assert!(
                (counted..=counted + kills).contains(&found),
                "shared {id} is {found}, {counted} were acknowledged"
            );
        }
        for item in container.iter() {
            let (id, session) = item.unwrap();
            let id = String::from_utf8(id).unwrap();
            if id.starts_with("shared ") {
                continue;
            }
            let text = session.value.splitn(4, |byte| *byte == b' ').nth(3).unwrap();
            let number = text.split(|byte| *byte == b' ').next().unwrap();
            let number = String::from_utf8_lossy(number).parse().unwrap();
            assert!(Some(session.value) == expected(&id, number), "{id} is torn");
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let mut acknowledged = Acknowledged::default();
    let (mut kills, began) = (0, Instant::now());
    for round in 0..ROUNDS {
        let mut writers: Vec<_> =
            (0..WRITERS).map(|writer| start(&fixture, &format!("r{round}-w{writer}"))).collect();
        let lines = Arc::new(AtomicU64::new(0));
        let listeners: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let (from, lines) = (role::heard(writer), Arc::clone(&lines));
                thread::spawn(move || {
                    let mut heard = Acknowledged::default();
                    heard.listen(from, &lines);
                    heard
                })
            })
            .collect();
        role::eventually("at work", || lines.load(Ordering::Relaxed) > 50 * WRITERS);
        for (writer, delay) in writers.iter_mut().zip(delays(round)) {
            thread::sleep(delay);
            writer.kill().unwrap();
            writer.wait().unwrap();
            kills += 1;
        }
        for listener in listeners {
            let heard = listener.join().unwrap();
            acknowledged.operations.extend(heard.operations);
            for (all, more) in acknowledged.counted.iter_mut().zip(heard.counted) {
                *all += more;
            }
        }
        if round % 5 == 4 || round == ROUNDS - 1 {
            assert_sound(&container);
            acknowledged.verify(&container, kills);
            // The one who was never killed goes on where the dead left off.
            container.save("shared 0 survivor", b"").unwrap();
            container.remove("shared 0 survivor").unwrap();
        }
    }
    assert!(kills >= 100);
    let operations: u64 = acknowledged.operations.values().sum();
    assert!(operations > 1000, "only {operations} in {:?}", began.elapsed());
    assert!(container.info().unwrap().segments > 1, "the index never grew");
}

fn start(fixture: &Fixture, name: &str) -> Child {
    let path = fixture.path();
    role::command("save until killed", &[path.as_os_str(), name.as_ref()]).spawn().unwrap()
}

/// How long to wait before each kill: other times in each round.
fn delays(round: u64) -> impl Iterator<Item = Duration> {
    let random = bytes(round + 1, WRITERS as usize);
    random.into_iter().map(|byte| Duration::from_micros(u64::from(byte) * 100))
}
