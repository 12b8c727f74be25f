//! Words of long calls that a checker shows together.
//!
//! A piece of a large value is thousands of words, each of which changes with each
//! save, as it is masked. Watched one by one they could be mixed in more ways than
//! anybody can try, and all are covered by one checksum: what is worth trying is that
//! some are of one call and some of another. So of a long call only a few words are
//! watched, its first, its last and one every [`PART`], and those between are tied to
//! the watched one before them, their leader: within one copy they are of the call that
//! the leader was seen of. Every such mixture is one that memory allows; mixtures
//! within a part are not tried. Calls that write one piece, each going on where the one
//! before ended, are one long call here: their order is forgotten, which allows a reader
//! to see more than it ever could.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::record::Step;

/// Words from one leader to the next.
const PART: usize = (16 << 10) / 8;

/// A call that changes more words than this, all in one row, is a long one.
const LONG: usize = 256;

/// A word that follows its leader.
#[derive(Clone, Debug)]
pub struct Tied {
    /// Index of the leader.
    pub leader: usize,
    /// What the leader was at the start and after each call, and what this word was.
    versions: Vec<(u64, u64)>,
}

impl Tied {
    /// What this word is where the leader is so.
    pub fn word(&self, leader: u64) -> u64 {
        let version = self.versions.iter().find(|version| version.0 == leader);
        version.expect("a leader is what some call made it").1
    }
}

/// The script with the calls that write one piece as one.
pub fn join(steps: &[Step]) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    // Words of the call in a row so far, and the last of them.
    let (mut row, mut last) = (0, None);
    for (number, step) in steps.iter().enumerate() {
        let goes_on = |index: usize| last.is_some_and(|last: usize| last + 1 == index);
        match (*step, steps.get(number + 1)) {
            (Step::Call, Some(Step::Store(next, _))) if row > LONG && goes_on(*next) => continue,
            (Step::Store(index, _), _) => {
                row = if goes_on(index) { row + 1 } else { 1 };
                last = Some(index);
            }
            _ => (row, last) = (0, None),
        }
        joined.push(*step);
    }
    joined
}

/// Finds the words of a script that may be tied, given the words at its start: those
/// between leaders of a long call that no call changes without making their leader what
/// it has not been before. Only then does the leader say which call a word is of.
pub fn tied(image: &[u64], steps: &[Step]) -> HashMap<usize, Tied> {
    let calls = calls(steps);
    let rows: Vec<_> = calls.iter().filter_map(long_row).collect();
    let leaders: HashSet<usize> = rows
        .iter()
        .flat_map(|row| row.clone().filter(|index| index.is_multiple_of(PART)).chain([row.end - 1]))
        .chain(rows.iter().map(|row| row.start))
        .collect();
    let mut tied = HashMap::new();
    for row in rows {
        let mut leader = row.start;
        for index in row {
            if leaders.contains(&index) {
                leader = index;
            } else {
                tied.entry(index).or_insert(leader);
            }
        }
    }
    tied.into_iter()
        .filter_map(|(index, leader)| Some((index, versions(image, &calls, index, leader)?)))
        .collect()
}

/// What a word was for each thing that its leader was, unless that does not say it.
fn versions(image: &[u64], calls: &[Call], index: usize, leader: usize) -> Option<Tied> {
    let at = |index: usize| image.get(index).copied().unwrap_or(0);
    let (mut leads, mut word) = (at(leader), at(index));
    let mut versions = vec![(leads, word)];
    for call in calls.iter().filter(|call| [leader, index].iter().any(|i| call.contains_key(i))) {
        leads = *call.get(&leader)?;
        word = call.get(&index).copied().unwrap_or(word);
        if versions.iter().any(|version| version.0 == leads) {
            return None;
        }
        versions.push((leads, word));
    }
    Some(Tied { leader, versions })
}

/// The words that a call changes, and what it makes them.
type Call = HashMap<usize, u64>;

fn calls(steps: &[Step]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for step in steps {
        match *step {
            Step::Call => calls.push(HashMap::new()),
            Step::Store(index, word) => {
                calls.last_mut().expect("a store is of a call").insert(index, word);
            }
            Step::Length(_) | Step::Done(_) => {}
        }
    }
    calls
}

/// The words of a long call.
fn long_row(call: &Call) -> Option<Range<usize>> {
    let row = *call.keys().min()?..*call.keys().max()? + 1;
    (call.len() > LONG && row.len() == call.len()).then_some(row)
}
