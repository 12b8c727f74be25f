//! What a real writer wrote, call by call: the script that loom's writer follows.
//!
//! A writer that nobody contends with always writes the same, whatever readers do, as
//! these neither lock nor write. So its calls can be recorded once and be played back
//! as stores in every execution, which spares loom the writer's own reads. Words that
//! a call leaves as they were are left out: a reader cannot tell.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use cloakroom::{ByteContainer, Durability, IdForm, Options};

use crate::oracle::States;
use crate::scene::{Act, Scene};
use crate::storage::File;
use crate::tied::{Tied, join, tied};
use crate::words::{PlainWords, Words};

/// One thing that a writer does to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A writing call begins.
    Call,
    /// One word of it.
    Store(usize, u64),
    /// The file became this long.
    Length(u64),
    /// So many acts of the scene are done, and whoever asked for them knows.
    Done(usize),
}

/// Words that remember how they came to be.
#[derive(Debug)]
struct RecordedWords {
    words: PlainWords,
    steps: Mutex<Vec<Step>>,
}

impl RecordedWords {
    fn push(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

impl Words for RecordedWords {
    fn len(&self) -> u64 {
        self.words.len()
    }

    fn set_len(&self, len: u64) {
        self.push(Step::Length(len));
        self.words.set_len(len);
    }

    fn load(&self, index: usize) -> u64 {
        self.words.load(index)
    }

    fn store(&self, index: usize, word: u64) {
        if self.words.load(index) != word {
            self.push(Step::Store(index, word));
            self.words.store(index, word);
        }
    }

    fn write(&self) {
        self.push(Step::Call);
    }
}

/// The script of a scene, and what is true after each of its acts.
#[derive(Debug)]
pub struct Record {
    /// What the writer does, in order.
    pub steps: Vec<Step>,
    /// What each session is after each number of acts.
    pub states: States,
    /// The words that the writer changes, without those that are tied.
    pub changed: HashSet<usize>,
    /// Words that change with another one.
    pub tied: HashMap<usize, Tied>,
}

/// Options of every handle in a model: nothing is synced unless a scene says so.
pub fn options() -> Options {
    Options::new().ids(IdForm::Plain).durability(Durability::Never)
}

/// Does one act with the engine.
pub fn act(container: &ByteContainer, act: &Act) {
    match act {
        Act::Save(id, number, len) => {
            container.save(id, &crate::oracle::value(*number, *len)).unwrap();
        }
        Act::Remove(id) => assert!(container.remove(id).unwrap()),
        Act::Touch(id, deadline_ms) => assert!(container.set_deadline(id, *deadline_ms).unwrap()),
        Act::Sync => container.sync().unwrap(),
    }
}

impl Record {
    /// Lets the engine do the scene, and writes down what it does.
    pub fn of(scene: &Scene) -> Record {
        let words = RecordedWords { words: PlainWords::new(&scene.image), steps: Mutex::default() };
        let file = File::new(words, 7);
        let file = if scene.rebooted { file.rebooted() } else { file };
        let container = ByteContainer::open_on(Box::new(file.share(8)), options()).unwrap();
        // Like a writer that has lived for a while: what it knows by now it reads no more.
        let mut states = States::new(&scene.before);
        for (number, todo) in scene.acts.iter().enumerate() {
            act(&container, todo);
            states.add(todo);
            file.words().push(Step::Done(number + 1));
        }
        let steps = join(&file.words().steps.lock().unwrap());
        let tied = tied(&scene.image, &steps);
        let mut changed = HashSet::new();
        for step in &steps {
            match step {
                Step::Store(index, _) if !tied.contains_key(index) => changed.insert(*index),
                _ => continue,
            };
        }
        Record { steps, states, changed, tied }
    }

    /// The script without stores of words that nobody reads or that are tied, and
    /// without calls that are then empty.
    pub fn only(&self, read: &HashSet<usize>) -> Vec<Step> {
        let mut kept: Vec<Step> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Store(index, _) if !read.contains(index) => continue,
                Step::Call if kept.last() == Some(&Step::Call) => continue,
                _ => kept.push(*step),
            }
        }
        kept
    }
}
