//! What a load may answer.
//!
//! A reader that knows that n acts are done must see the session as it was after act
//! n or a later one, whole, and never an older one than it has seen before
//! (invariants 13 and 15). An error is never right: nothing is damaged in any scene.

use std::collections::HashMap;

use cloakroom::ByteContainer;

use crate::scene::Act;
use crate::storage::NOW_MS;

/// The value with this number: its start and its end say which one it is.
///
/// What a reader may tear is there, and the words between would be watched in vain.
/// Those of a value in pieces change all the same, as they are masked.
pub fn value(number: u64, len: usize) -> Vec<u8> {
    let word = (number + 1).wrapping_mul(0x0101_0101_0101_0101).to_le_bytes();
    let mut bytes = vec![b'.'; len];
    let said = len.min(word.len());
    bytes[..said].copy_from_slice(&word[..said]);
    bytes[len - said..].copy_from_slice(&word[..said]);
    bytes
}

/// A session: the bytes of its value, if it is there.
pub type State = Option<Vec<u8>>;

/// What each session is after each number of acts.
#[derive(Clone, Debug, Default)]
pub struct States {
    now: HashMap<String, (State, u64)>,
    all: Vec<HashMap<String, State>>,
}

impl States {
    /// After these acts, none of the scene's own is done yet.
    pub fn new(before: &[Act]) -> States {
        let mut states = States::default();
        for act in before {
            states.change(act);
        }
        states.keep();
        states
    }

    /// One act more.
    pub fn add(&mut self, act: &Act) {
        self.change(act);
        self.keep();
    }

    fn change(&mut self, act: &Act) {
        match act {
            Act::Save(id, number, len) => {
                let living = self.now.get(id).filter(|(state, _)| state.is_some());
                let deadline_ms = living.map_or(0, |(_, deadline_ms)| *deadline_ms);
                self.now.insert(id.clone(), (Some(value(*number, *len)), deadline_ms));
            }
            Act::Remove(id) => {
                self.now.insert(id.clone(), (None, 0));
            }
            Act::Touch(id, deadline_ms) => {
                if let Some((state, deadline)) = self.now.get_mut(id) {
                    *deadline = deadline_ms.unwrap_or(0);
                    if *deadline != 0 && *deadline <= NOW_MS {
                        *state = None;
                    }
                }
            }
            Act::Sync => {}
        }
    }

    fn keep(&mut self) {
        self.all
            .push(self.now.iter().map(|(id, (state, _))| (id.clone(), state.clone())).collect());
    }

    /// The first number of acts, not below `known`, after which the session is so.
    pub fn first_from(&self, id: &str, state: &State, known: usize) -> Option<usize> {
        let none = None;
        (known..self.all.len()).find(|acts| self.all[*acts].get(id).unwrap_or(&none) == state)
    }
}

/// Loads a session, says what number of acts it is of, and panics if it is of none
/// that it may be of.
pub fn load(container: &ByteContainer, id: &str, states: &States, known: usize) -> usize {
    let state = match container.load(id) {
        Ok(session) => session.map(|session| session.value),
        Err(error) => panic!("{VIOLATION}: {id} answers {error:?} after {known} acts"),
    };
    states.first_from(id, &state, known).unwrap_or_else(|| {
        let start = state.as_ref().map(|value| value[..value.len().min(8)].to_vec());
        panic!("{VIOLATION}: {id} is {start:02x?} after {known} acts")
    })
}

/// How every report of a violation begins.
pub const VIOLATION: &str = "a reader was told what never was";
