//! Rotating: a session goes on under another id, and for a while the old one leads there.
//!
//! The copy under the new id is made, then synced, whatever the durability of the handle, and
//! only then the old id's next version says where the session is (invariant 26). The
//! two entries are never believed together: each is written by a change of its own, and
//! before the second one nobody knows the new id. Kill or cut before the forward: the session
//! is where it was, and a copy that nobody has been told of ends when it does. Cut after it: with
//! the forward on the disk the copy is, too; without it the entry falls back to the version
//! that was copied, with the deadline that it had, which the forward therefore keeps
//! until it is durable.
//!
//! Nothing here may give the old id a version that a load takes for a session.

use std::time::Duration;

use super::handle::{ByteContainer, Name};
use super::load::Found;
use super::open_file::OpenFile;
use super::options::Durability;
use super::records::Wanted;
use super::rules::{Rule, holds};
use super::save::{Draft, Key, Target};
use super::session::{Outcome, Properties, Times, Version};
use super::writer::{Attempt, Writer};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::format::TIME_MS_MAX;
use crate::format::entry::Entry;
use crate::format::forward::Forward;
use crate::format::id::NO_DIGITS;
use crate::format::record::Content;

/// Forwards in a row that lead on: more logins than one visitor has within any grace.
const FORWARDS_MAX: u32 = 8;

/// Times that a session may change between its copy and the forward.
const ATTEMPTS: u32 = 64;

/// How long a forward is remembered after it leads nowhere, at most.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// What an id that a session was rotated from says.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # use std::time::Duration;
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// container.save("before", b"a guest")?;
/// container.rotate("before", "after", Duration::from_secs(30))?.saved().expect("it lives");
/// let rotated = container.rotated("before")?.expect("it says so");
/// assert_eq!(rotated.to_kept_id, container.kept_id("after")?);
/// assert_eq!(rotated.until_ms, rotated.rotated_ms + 30_000);
/// assert!(container.rotated("after")?.is_none());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What is kept of the id that the session went on under
    /// ([`ByteContainer::kept_id`]).
    pub to_kept_id: Vec<u8>,
    /// When it was rotated, milliseconds since 1970.
    pub rotated_ms: u64,
    /// Until when the old id leads to the new one.
    pub until_ms: u64,
}

/// A session that was copied to its new id.
struct Copied {
    from_version: Version,
    deadline_ms: u64,
    to_version: Version,
}

/// What became of the second step.
enum Second {
    /// The old id has the forward.
    Forwarded,
    /// The session is another by now.
    Changed,
    Gone,
}

/// Rotating.
impl ByteContainer {
    /// Lets a session go on under another id: at a login, so that nobody is logged in by an id
    /// that somebody else knew before. It keeps its value, times and properties.
    ///
    /// For `grace` the old id leads to the session all the same, for loads and changes, so that
    /// requests that are under way find it. Whoever knew the old id has the session for as long:
    /// where it gains rights, as at a login, let that be nothing or seconds, and save what it
    /// gains under the new id, afterwards. Where the session would have ended within the grace,
    /// the grace ends then. After the grace there is no session of the old id, nor can one be
    /// made ([`ErrorKind::Rotated`]), and [`ByteContainer::rotated`] says why: as long as the
    /// session would have lasted, at most a day after the grace.
    ///
    /// [`Outcome::Conflict`] if there is no session of the old id itself, the new one has one or
    /// was given up, or the session was removed meanwhile. A crash leaves the session under one
    /// of both ids, or, until it ends, a copy that nobody was told of. Until it is durable a
    /// power cut may bring the old id back, with the session as it was, beside the new one.
    ///
    /// Costs two changes and a sync.
    ///
    /// # Errors
    /// As [`ByteContainer::save`], [`ByteContainer::sync`], and
    /// [`Damaged`](ErrorKind::Damaged) if the present value is. After an error the session
    /// may have been rotated, or may be there under both ids.
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Outcome, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("before", b"a cart")?;
    /// let login = container.rotate("before", "after", Duration::ZERO)?;
    /// assert!(matches!(login, Outcome::Saved(_)));
    /// assert_eq!(container.load("after")?.expect("it goes on").value, b"a cart");
    /// assert!(container.load("before")?.is_none());
    /// assert_eq!(container.rotate("before", "another", Duration::ZERO)?, Outcome::Conflict);
    /// assert!(container.save("before", b"again").is_err());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn rotate(
        &self,
        old_id: impl AsRef<[u8]>,
        new_id: impl AsRef<[u8]>,
        grace: Duration,
    ) -> Result<Outcome> {
        let (old_id, new_id) = (old_id.as_ref(), new_id.as_ref());
        let mut last = None;
        let forward = self.try_rotate(old_id, new_id, grace, &mut last);
        let Some(copied) = last else { return forward.map(|_| Outcome::Conflict) };
        match forward {
            Ok(true) => Ok(Outcome::Saved(copied.to_version)),
            Ok(false) => self.take_back(&copied, (old_id, new_id)).map(|()| Outcome::Conflict),
            Err(error) => {
                // If this fails, too, nobody knows of the copy.
                let _ = self.take_back(&copied, (old_id, new_id));
                Err(error)
            }
        }
    }

    /// Copies the session, and publishes the forward if it is still the same then. Whether it
    /// did; the copy that there is at the end is `last`.
    fn try_rotate(
        &self,
        old_id: &[u8],
        new_id: &[u8],
        grace: Duration,
        last: &mut Option<Copied>,
    ) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            if !self.copy(old_id, new_id, last)? {
                return Ok(false);
            }
            let Some(copied) = &*last else { return Ok(false) };
            let is_durable = self.file.current().options.durability == Durability::Durable;
            if !is_durable && holds(Rule::CopyDurableFirst) {
                self.sync()?;
            }
            match self.put_forward(copied, (old_id, new_id), grace)? {
                Second::Forwarded => return Ok(true),
                Second::Changed => {}
                Second::Gone => return Ok(false),
            }
        }
        Err(self.timed_out("rotate a session that changes all the time"))
    }

    /// What an id says that a session was rotated from: for who finds no session of it,
    /// and wants to know whether an id is used that was given up. `None` where it was
    /// not, or nothing is known of it any more. Costs a load.
    ///
    /// # Errors
    /// As [`ByteContainer::load`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
    /// # use std::time::Duration;
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
    /// container.save("before", b"a guest")?;
    /// container.rotate("before", "after", Duration::ZERO)?.saved().expect("it lives");
    /// if container.load("before")?.is_none() && container.rotated("before")?.is_some() {
    ///     container.remove("after")?; // two browsers have one visitor's id
    /// }
    /// assert!(container.is_empty()?);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn rotated(&self, id: impl AsRef<[u8]>) -> Result<Option<Rotated>> {
        let file = self.file.current();
        let mut space = NO_DIGITS;
        let rotated = file.named(Name::Id(id.as_ref()), &mut space).and_then(|kept_id| {
            let mut value = Vec::new();
            let found = file.find(kept_id, &mut value)?.filter(Found::is_forward);
            Ok(found.and_then(|_| Forward::decode(&value)).map(|forward| Rotated {
                to_kept_id: forward.kept_id.to_vec(),
                rotated_ms: forward.rotated_ms,
                until_ms: forward.until_ms,
            }))
        });
        rotated.map_err(|error| error.at(file.path.as_deref()))
    }

    /// Saves the session under its new id, over the last copy if there is one. False if it
    /// is not there, or something else is. What is published is `last`, also after an error.
    fn copy(&self, old_id: &[u8], new_id: &[u8], last: &mut Option<Copied>) -> Result<bool> {
        self.change_exactly(Name::Id(new_id), |writer, key, target| {
            // The copy may have expired while the session was kept alive.
            let ours = target.is_free()
                || match &*last {
                    Some(last) => writer.is_still(key, target, last.to_version)?,
                    None => false,
                };
            let mut space = NO_DIGITS;
            let old = writer.file.key(writer.file.named(Name::Id(old_id), &mut space)?);
            let from = writer.target(old)?;
            let mut value = Vec::new();
            let found = if ours && old.tag != key.tag {
                writer.read(old, &from, &mut value)?
            } else {
                None
            };
            let Some(found) = found else { return Ok(Attempt::Done(false)) };
            let session = found.session(value.as_slice());
            let draft = Draft {
                times: Some(session.times),
                properties: Some(&session.properties),
                ..Draft::of(session.value)
            };
            let (from_version, deadline_ms) = (session.version, found.entry.deadline_ms);
            Ok(match writer.save(key, target, draft)? {
                Attempt::Done(to_version) => {
                    *last = Some(Copied { from_version, deadline_ms, to_version });
                    Attempt::Done(true)
                }
                Attempt::Sync => Attempt::Sync,
            })
        })
    }

    /// Publishes the forward, if both sessions are as they were.
    fn put_forward(
        &self,
        copied: &Copied,
        (old_id, new_id): (&[u8], &[u8]),
        grace: Duration,
    ) -> Result<Second> {
        self.change_exactly(Name::Id(old_id), |writer, key, target| {
            let file = writer.file;
            let Some(living) = target.living else {
                return Ok(Attempt::Done(Second::Gone));
            };
            let mut space = NO_DIGITS;
            let new = file.key(file.named(Name::Id(new_id), &mut space)?);
            let copy = writer.target(new)?;
            let same = living.deadline_ms == copied.deadline_ms
                && writer.is_still(key, target, copied.from_version)?
                && !copy.is_free();
            if !same && holds(Rule::ForwardOnlyOfTheCopied) {
                return Ok(Attempt::Done(Second::Changed));
            }
            if !writer.is_still(new, &copy, copied.to_version)? {
                return Ok(Attempt::Done(Second::Gone));
            }
            let now_ms = file.storage().now_ms().min(TIME_MS_MAX);
            let until_ms = end_of(now_ms, grace);
            let forward = Forward { until_ms, rotated_ms: now_ms, kept_id: new.id };
            let keeps = holds(Rule::ForwardKeepsTheDeadline);
            let deadline_ms = if keeps { living.deadline_ms } else { end_of_forward(until_ms) };
            let times = Times {
                created_ms: living.created_ms,
                saved_ms: now_ms,
                deadline_ms: (deadline_ms != 0).then_some(deadline_ms),
            };
            let draft = Draft {
                value: &forward.encode(),
                times: Some(times),
                properties: Some(&Properties::new()),
                content: Content::Forward,
            };
            Ok(match writer.save(key, target, draft)? {
                Attempt::Done(_) => Attempt::Done(Second::Forwarded),
                Attempt::Sync => Attempt::Sync,
            })
        })
    }

    /// Removes the copy, if nobody has changed it and the old id does not lead to it: the
    /// forward may stand though its publisher was told of an error.
    fn take_back(&self, copied: &Copied, (old_id, new_id): (&[u8], &[u8])) -> Result<()> {
        self.change_exactly(Name::Id(new_id), |writer, key, target| {
            let mut space = NO_DIGITS;
            let old = writer.file.key(writer.file.named(Name::Id(old_id), &mut space)?);
            let from = writer.target(old)?;
            // One that cannot be read may lead here.
            let stands = from.forward.is_some()
                && writer.forward(old, &from)?.is_none_or(|to| to.leads_to(key.id));
            if stands || !writer.is_still(key, target, copied.to_version)? {
                return Ok(Attempt::Done(()));
            }
            writer.remove(target)
        })
    }
}

impl OpenFile {
    /// The session of an id as it is kept, or a forward.
    pub(super) fn find(&self, kept_id: &[u8], value: &mut Vec<u8>) -> Result<Option<Found>> {
        let key = self.key(kept_id);
        self.find_session(key.tag, Wanted::Id(key.id), value)
    }

    /// The session that the forward in `value` leads to, with what is kept of its id.
    pub(super) fn find_forwarded(&self, value: &mut Vec<u8>) -> Result<Option<(Vec<u8>, Found)>> {
        let now_ms = self.storage().now_ms();
        for _ in 0..FORWARDS_MAX {
            let forward = Forward::decode(value).filter(|forward| forward.leads(now_ms));
            let Some(next) = forward.map(|forward| forward.kept_id.to_vec()) else {
                return Ok(None);
            };
            match self.find(&next, value)? {
                Some(found) if found.is_forward() => {}
                found => return Ok(found.map(|found| (next, found))),
            }
        }
        Ok(None)
    }

    /// What is kept of the id under which a session is, if forwards lead to it.
    pub(super) fn led(&self, kept_id: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        match self.find(kept_id, &mut value) {
            Ok(Some(found)) if found.is_forward() => {
                Ok(self.find_forwarded(&mut value)?.map(|(id, _)| id))
            }
            Err(error) if !error.is_damage() => Err(error),
            _ => Ok(None),
        }
    }
}

impl Target {
    /// Whether a session may be made here: none lives, and the id was not given up.
    pub(super) fn is_free(&self) -> bool {
        self.living.is_none() && self.forward.is_none()
    }
}

/// A forward that was read.
struct Led(Vec<u8>);

impl Led {
    fn leads_to(&self, kept_id: &[u8]) -> bool {
        Forward::decode(&self.0).is_some_and(|forward| forward.kept_id == kept_id)
    }
}

impl Writer<'_> {
    /// The living session that the forward `target` leads to, with what is kept of its id.
    pub(super) fn follow(
        &mut self,
        key: Key<'_>,
        target: Target,
    ) -> Result<Option<(Vec<u8>, Target)>> {
        let now_ms = self.file.storage().now_ms();
        let mut at = (key.id.to_vec(), target);
        for _ in 0..FORWARDS_MAX {
            let (id, target) = &at;
            let Some(Led(value)) = self.forward(self.file.key(id), target)? else { break };
            let forward = Forward::decode(&value);
            let Some(forward) = forward.filter(|forward| forward.leads(now_ms)) else { break };
            let next = self.target(self.file.key(forward.kept_id))?;
            at = (forward.kept_id.to_vec(), next);
            if next.living.is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The forward that a target is, if it can be read.
    fn forward(&self, key: Key<'_>, target: &Target) -> Result<Option<Led>> {
        let Some(entry) = target.forward else { return Ok(None) };
        let mut value = Vec::new();
        let found = self.file.records.load(entry.cur, None, Wanted::Id(key.id), &mut value)?;
        Ok(found.map(|_| Led(value)))
    }

    /// Whether a session lives and is of this version.
    fn is_still(&self, key: Key<'_>, target: &Target, version: Version) -> Result<bool> {
        let found = self.read(key, target, &mut Vec::new())?;
        Ok(found.is_some_and(|found| found.version() == version))
    }

    /// The deadline of a durable forward that is trimmed: so that it is remembered no longer
    /// than need be, and goes one day where its session had no deadline.
    pub(super) fn trimmed_deadline(&self, forward: &Entry) -> Result<u64> {
        let (word, mut value) = (forward.cur, Vec::new());
        let found = self.file.records.load(word, None, Wanted::Tag(forward.tag), &mut value)?;
        let read = found.and_then(|_| Forward::decode(&value));
        let end_ms = read.map_or(0, |read| end_of_forward(read.until_ms));
        Ok(match (forward.deadline_ms, end_ms) {
            (0, end_ms) => end_ms,
            (deadline_ms, 0) => deadline_ms,
            (deadline_ms, end_ms) => deadline_ms.min(end_ms),
        })
    }
}

/// The end of a time that begins now.
fn end_of(now_ms: u64, time: Duration) -> u64 {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_add(ms).min(TIME_MS_MAX)
}

/// Until when a forward is remembered at most.
fn end_of_forward(until_ms: u64) -> u64 {
    until_ms.saturating_add(KEPT_MS).min(TIME_MS_MAX)
}
