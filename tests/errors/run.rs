//! One run of an operation under a plan of failures: what it was told is noted,
//! and every error must be explained by a call that failed.

use std::io;
use std::time::Duration;

use cloakroom::{
    ByteContainer, Change, Error, ErrorKind, Outcome, Properties, Result, Timeouts, Updated,
};

use crate::faulty::{Call, Fault, Plan};
use crate::known::{Held, Known, Value, held};

/// The last time that an entry can have.
const TIME_MS_MAX: u64 = (1 << 48) - 1;

/// What a run knows while it goes on.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) known: Known,
    /// The handle acknowledges only what is on the disk.
    pub(crate) durable: bool,
    /// The disk is full, whatever the plan says.
    pub(crate) full: bool,
    /// Sessions that nobody touches.
    pub(crate) fillers: usize,
    /// How many operations failed.
    pub(crate) failed: u32,
}

/// The bytes of a value: they tell their name and have this length.
pub(crate) fn bytes(name: &str, len: usize) -> Vec<u8> {
    let seed = crc32fast::hash(name.as_bytes());
    let more = (0u32..).map(|at| (seed.wrapping_mul(at | 1) >> 24) as u8);
    name.bytes().chain(more).take(len).collect()
}

impl Run<'_> {
    /// Notes what became of a change.
    fn changed<T>(&mut self, id: &str, value: Value, done: Result<T>) -> Option<T> {
        match done {
            Ok(done) => {
                // What it says is on the disk, and with a new version all before it.
                let published = self.known.value(id) != value;
                self.known.happened(id, value);
                match (self.durable, published) {
                    (true, true) => self.known.synced(),
                    (true, false) => self.known.synced_one(id),
                    (false, _) => {}
                }
                Some(done)
            }
            Err(error) => {
                self.refused(&error);
                self.known.may_have_happened(id, value);
                None
            }
        }
    }

    /// Notes an answer that changes nothing.
    fn answered<T>(&mut self, done: Result<T>) -> Option<T> {
        done.map_err(|error| self.refused(&error)).ok()
    }

    /// An error says what failed, and nothing else.
    pub(crate) fn refused(&mut self, error: &Error) {
        self.failed += 1;
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        let hits = self.plan.hits();
        let explained = hits.iter().any(|(call, fault)| explains(*call, *fault, error.kind()));
        let consequence = hits.len() > 1 && is_consequence(error.kind());
        let full = self.full && matches!(error.kind(), ErrorKind::Full(_));
        assert!(explained || consequence || full, "{error:?} does not come of {hits:?}");
    }

    pub(crate) fn save(&mut self, container: &ByteContainer, id: &str, len: usize) {
        let bytes = bytes(&format!("new {id}"), len);
        let value = self.with_deadline(id, &bytes);
        self.changed(id, value, container.save(id, &bytes));
    }

    /// A session with an idle timeout of its own that lasts as long as times do.
    pub(crate) fn save_with(&mut self, container: &ByteContainer, id: &str, len: usize) {
        let bytes = bytes(&format!("with {id}"), len);
        let value = held(&bytes).map(|held| Held { deadline_ms: Some(TIME_MS_MAX), ..held });
        let own = Properties::new().timeouts(Timeouts::NONE.idle(Duration::MAX));
        self.changed(id, value, container.save_with(id, &bytes, &own));
    }

    /// Keeps such a session alive.
    pub(crate) fn touch(&mut self, container: &ByteContainer, id: &str) {
        let before = self.known.value(id);
        let after = before.clone().map(|held| Held { deadline_ms: Some(TIME_MS_MAX), ..held });
        if let Some(told) = self.changed(id, after, container.touch(id)) {
            assert_eq!(told, before.is_some(), "{id}: whether it lived");
        }
    }

    /// The value of a session that keeps the deadline which it has.
    fn with_deadline(&self, id: &str, bytes: &[u8]) -> Value {
        let before = self.known.value(id);
        let deadline_ms = before.and_then(|held| held.deadline_ms);
        held(bytes).map(|held| Held { deadline_ms, ..held })
    }

    /// A save under a condition that does or does not hold.
    pub(crate) fn save_where(
        &mut self,
        id: &str,
        holds: bool,
        save: impl FnOnce(&[u8]) -> Result<Outcome>,
    ) {
        let bytes = bytes(&format!("conditional {id}"), 90);
        let value = self.with_deadline(id, &bytes);
        let done = save(&bytes);
        if holds {
            let outcome = self.changed(id, value, done);
            assert!(!matches!(outcome, Some(Outcome::Conflict)), "{id}: a false conflict");
        } else if let Some(outcome) = self.answered(done) {
            assert_eq!(outcome, Outcome::Conflict, "{id} was saved");
        }
    }

    pub(crate) fn update(&mut self, container: &ByteContainer, id: &str, change: &Change<usize>) {
        let before = self.known.value(id).map(|held| held.bytes);
        let mut wrong = false;
        let done = container.update(id, |session| {
            wrong |= session.map(|session| session.value) != before.as_deref();
            match change {
                Change::Save(len) => Change::Save(bytes("updated", *len)),
                Change::Remove => Change::Remove,
                Change::Keep => Change::Keep,
            }
        });
        assert!(!wrong, "{id}: an update was shown something else");
        let told = match change {
            Change::Save(len) => {
                let value = self.with_deadline(id, &bytes("updated", *len));
                self.changed(id, value, done).map(|done| matches!(done, Updated::Saved(_)))
            }
            Change::Remove => self.changed(id, None, done).map(|done| done == Updated::Removed),
            Change::Keep => self.answered(done).map(|done| done == Updated::Kept),
        };
        assert_ne!(told, Some(false));
    }

    pub(crate) fn remove(&mut self, container: &ByteContainer, id: &str) {
        let lived = self.known.value(id).is_some();
        if let Some(told) = self.changed(id, None, container.remove(id)) {
            assert_eq!(told, lived, "{id}: whether it lived");
        }
    }

    pub(crate) fn set_deadline(
        &mut self,
        container: &ByteContainer,
        id: &str,
        deadline_ms: Option<u64>,
    ) {
        let before = self.known.value(id);
        let after = before.clone().map(|held| Held { deadline_ms, ..held });
        if let Some(told) = self.changed(id, after, container.set_deadline(id, deadline_ms)) {
            assert_eq!(told, before.is_some(), "{id}: whether it lived");
        }
    }

    /// A session goes on under an id that is free, and has left the old one.
    pub(crate) fn rotate(&mut self, container: &ByteContainer, old: &str, new: &str) {
        let value = self.known.value(old);
        match container.rotate(old, new, Duration::ZERO) {
            Ok(outcome) => {
                assert!(outcome.saved().is_some(), "{old}: a false conflict");
                self.known.happened(new, value);
                self.known.happened(old, None);
                if self.durable {
                    self.known.synced();
                }
            }
            Err(error) => {
                self.refused(&error);
                self.known.may_have_happened(new, value);
                self.known.may_have_happened(old, None);
            }
        }
    }

    pub(crate) fn sync(&mut self, container: &ByteContainer) {
        if self.answered(container.sync()).is_some() {
            self.known.synced();
        }
    }

    pub(crate) fn load(&mut self, container: &ByteContainer, id: &str) {
        if let Some(session) = self.answered(container.load(id)) {
            let found = session.map(|session| Held {
                bytes: session.value.into(),
                deadline_ms: session.times.deadline_ms,
            });
            assert!(self.known.allows(id, &found), "{id}: a load returned {}", shape(&found));
        }
        if let Some(found) = self.answered(container.contains(id)) {
            assert_eq!(found, self.known.value(id).is_some(), "{id}: whether it is there");
        }
    }

    pub(crate) fn iterate(&mut self, container: &ByteContainer) {
        let mut left: Vec<_> = self.known.ids().map(str::to_owned).collect();
        left.retain(|id| self.known.value(id).is_some());
        let mut whole = true;
        let mut fillers = 0;
        for item in container.iter() {
            match item {
                Ok((id, session)) => {
                    let id = String::from_utf8(id).unwrap();
                    if id.starts_with("filler ") {
                        fillers += 1;
                        continue;
                    }
                    let found = Some(Held {
                        bytes: session.value.into(),
                        deadline_ms: session.times.deadline_ms,
                    });
                    assert!(self.known.allows(&id, &found), "the walk gave another {id}");
                    let place = left.iter().position(|other| *other == id);
                    left.swap_remove(place.expect("it came twice"));
                }
                Err(error) => {
                    whole = false;
                    self.refused(&error);
                }
            }
        }
        let missing = !left.is_empty() || fillers != self.fillers;
        assert!(!whole || !missing, "the walk passed over {left:?}, or fillers: {fillers}");
    }

    pub(crate) fn info(&mut self, container: &ByteContainer) {
        if let Some(info) = self.answered(container.info()) {
            assert!(info.length >= 2 << 16 && info.synced_epoch < info.write_epoch);
        }
        self.answered(container.len());
    }

    pub(crate) fn check(&mut self, container: &ByteContainer) {
        let Some(report) = self.answered(container.check()) else { return };
        // Where the file seems to end early, damage is what there is to see.
        let short = self.plan.hits().iter().any(|(_, fault)| matches!(fault, Fault::Short(_)));
        assert!(short || report.is_sound(), "{:#?}", report.damage);
    }
}

/// What a value is, without all of its bytes.
pub(crate) fn shape(value: &Value) -> String {
    let Some(held) = value else { return "nothing".to_owned() };
    let start = String::from_utf8_lossy(&held.bytes[..held.bytes.len().min(12)]).into_owned();
    format!("{} bytes {start:?} until {:?}", held.bytes.len(), held.deadline_ms)
}

/// Whether this error is what this failed call must end in.
fn explains(call: Call, fault: Fault, kind: &ErrorKind) -> bool {
    match fault {
        Fault::Errno(errno) | Fault::Partial(_, errno) | Fault::Lost(errno) => {
            let space = [libc::ENOSPC, libc::EDQUOT, libc::EFBIG].contains(&errno);
            let writes = matches!(call, Call::Write(..) | Call::Extend | Call::Sync);
            match kind {
                ErrorKind::Full(source) => space && writes && source.raw_os_error() == Some(errno),
                ErrorKind::Io { source, .. } => {
                    !(space && writes) && source.raw_os_error() == Some(errno)
                }
                _ => false,
            }
        }
        Fault::Short(_) => match kind {
            ErrorKind::Damaged(_) | ErrorKind::NotAContainer(_) => true,
            ErrorKind::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        },
        Fault::Refused => matches!(kind, ErrorKind::Busy { .. }),
        Fault::Missing | Fault::Lie => false,
    }
}

/// What an operation ends in that tries again and again.
fn is_consequence(kind: &ErrorKind) -> bool {
    let ErrorKind::Io { source, .. } = kind else { return false };
    matches!(source.kind(), io::ErrorKind::Other | io::ErrorKind::TimedOut)
}
