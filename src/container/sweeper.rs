//! The sweep that an application asks for: [`ByteContainer::sweep`], and
//! [`ByteContainer::sweep_with`], which shows each session before it goes.
//!
//! Nothing is shown under the lock, so that to archive a session may take its time:
//! what is due is noted under the lock, shown without it, and removed under it again
//! where its entry is still the same. So nobody is removed who was refreshed
//! meanwhile, and who is shown may be shown again after a crash, or where somebody changed
//! the entry in between.

use std::ops::ControlFlow;

use super::handle::ByteContainer;
use super::index::reading;
use super::open_file::OpenFile;
use super::options::Durability;
use super::session::Session;
use super::sweep::{Fate, Step};
use super::writer::Locked;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::format::bounds::PAGES;
use crate::format::entry::{Entry, Slot};

/// Steps in one hold of the writer lock.
const STEPS_PER_HOLD: u32 = 8;

/// What a sweep did.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// let swept = container.sweep(u64::MAX)?;
/// assert_eq!(swept.removed, 0, "nobody has a deadline");
/// assert!(swept.is_done());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Sessions removed.
    pub removed: u64,
    /// Why the sweep ended.
    pub end: SweepEnd,
}

impl Swept {
    /// Whether all that had expired is removed.
    ///
    /// ```
    /// # use cloakroom::{SweepEnd, Swept};
    /// assert!(!Swept { removed: 10, end: SweepEnd::Limit }.is_done());
    /// ```
    pub fn is_done(self) -> bool {
        self.end == SweepEnd::Done
    }
}

/// Why a sweep ended.
///
/// ```
/// # use cloakroom::{ByteContainer, Options, SweepEnd, storage::MemoryStorage};
/// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), Options::new())?;
/// for id in ["one", "two"] {
///     container.save(id, b"a coat")?;
///     container.set_deadline(id, Some(1))?; // long ago
/// }
/// # let _ = container.load("one")?;
/// assert_eq!(container.sweep(0)?.end, SweepEnd::Limit);
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SweepEnd {
    /// Nothing more has expired.
    Done,
    /// The application said so.
    Broken,
    /// So many were removed as were asked for.
    Limit,
    /// The clock is more than a day (of 25 hours) ahead of when a container with deadlines
    /// was last swept or changed, and a wrong clock must not remove everybody: sweep again in
    /// a minute.
    ClockInDoubt,
}

/// Where sessions go before they are removed; [`ByteContainer::sweep_into`] has an example.
pub trait Archive {
    /// Takes a session that has expired, with its id as it is kept. `Break` ends the sweep.
    fn keep(&mut self, id: &[u8], session: Session<&[u8]>) -> ControlFlow<()>;

    /// Called before those that were taken are removed, at most 64 at once. `Break` ends the
    /// sweep, and they stay.
    fn settle(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

struct Closure<F>(F);

impl<F: FnMut(&[u8], Session<&[u8]>) -> ControlFlow<()>> Archive for Closure<F> {
    fn keep(&mut self, id: &[u8], session: Session<&[u8]>) -> ControlFlow<()> {
        (self.0)(id, session)
    }
}

/// An expired session that is to be shown before it is removed.
struct Due {
    offset: u64,
    entry: Entry,
    fate: Fate,
}

/// Those of one page.
struct Shown {
    number: u32,
    /// Segments that there were.
    segments: u32,
    due: Vec<Due>,
}

/// What one hold of the lock came to.
enum Hold {
    Removed(u64),
    /// These are to be shown first.
    Show(Shown),
    End(SweepEnd),
    Replaced,
}

/// Sweeping.
impl ByteContainer {
    /// Removes up to `limit` sessions whose deadline has passed. Costs what has expired,
    /// not what there is; the writer lock is free between every 16 pages of the index.
    /// Each change removes some by itself, unless the handle has
    /// [`SweepPolicy::OnRequest`](crate::SweepPolicy::OnRequest).
    ///
    /// A power cut may bring back what was removed and not synced; a load does not return
    /// it all the same.
    ///
    /// # Errors
    /// As [`ByteContainer::remove`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, SweepPolicy, storage::MemoryStorage};
    /// # let memory = Box::new(MemoryStorage::new());
    /// let options = Options::new().sweep(SweepPolicy::OnRequest);
    /// let container = ByteContainer::create_on(memory, options)?;
    /// for id in ["one", "two", "three"] {
    ///     container.save(id, b"a coat")?;
    /// }
    /// container.set_deadline("one", Some(1))?; // long ago
    /// container.set_deadline("two", Some(4_000_000_000_000))?; // in the year 2096
    /// assert_eq!(container.sweep(u64::MAX)?.removed, 1);
    /// assert_eq!(container.len()?, 2);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn sweep(&self, limit: u64) -> Result<Swept> {
        self.sweep_pages(limit, None)
    }

    /// The same; each session is shown to `on_expired` before it goes, with its id as it is
    /// kept, for instance to archive it. The lock is not held meanwhile. A session that was
    /// refreshed while it was shown stays. One that is damaged goes without being shown; one
    /// that the disk cannot give back (EIO) stays for an hour at least. A session may be shown
    /// again: after a crash, or where somebody changed its entry in between.
    ///
    /// # Errors
    /// As [`ByteContainer::remove`]. After `on_expired` has said `Break` nothing more is
    /// removed, nor is any session of the last page that it was shown ([`SweepEnd::Broken`]).
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, SweepPolicy, storage::MemoryStorage};
    /// use std::ops::ControlFlow;
    ///
    /// # let memory = Box::new(MemoryStorage::new());
    /// let options = Options::new().sweep(SweepPolicy::OnRequest);
    /// let container = ByteContainer::create_on(memory, options)?;
    /// container.save("one", b"a coat")?;
    /// container.set_deadline("one", Some(1))?; // long ago
    /// let mut archive = Vec::new();
    /// container.sweep_with(u64::MAX, |kept_id, session| {
    ///     archive.push((kept_id.to_vec(), session.value.to_vec()));
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(archive, [(container.kept_id("one")?, b"a coat".to_vec())]);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn sweep_with(
        &self,
        limit: u64,
        on_expired: impl FnMut(&[u8], Session<&[u8]>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        self.sweep_into(limit, &mut Closure(on_expired))
    }

    /// The same with an archive, which is told, too, when those that it was given are about
    /// to be removed.
    ///
    /// # Errors
    /// As [`ByteContainer::sweep_with`].
    ///
    /// ```
    /// # use cloakroom::{ByteContainer, Options, Session, SweepPolicy, storage::MemoryStorage};
    /// use cloakroom::Archive;
    /// use std::io::Write;
    /// use std::ops::ControlFlow;
    ///
    /// /// A file that has a session on the disk before the container loses it.
    /// struct Values(std::fs::File);
    ///
    /// impl Archive for Values {
    ///     fn keep(&mut self, _id: &[u8], session: Session<&[u8]>) -> ControlFlow<()> {
    ///         match self.0.write_all(session.value) {
    ///             Ok(()) => ControlFlow::Continue(()),
    ///             Err(_) => ControlFlow::Break(()),
    ///         }
    ///     }
    ///
    ///     fn settle(&mut self) -> ControlFlow<()> {
    ///         match self.0.sync_data() {
    ///             Ok(()) => ControlFlow::Continue(()),
    ///             Err(_) => ControlFlow::Break(()),
    ///         }
    ///     }
    /// }
    ///
    /// # let options = Options::new().sweep(SweepPolicy::OnRequest);
    /// # let container = ByteContainer::create_on(Box::new(MemoryStorage::new()), options)?;
    /// container.save("one", b"a coat")?;
    /// container.set_deadline("one", Some(1))?; // long ago
    /// # let file = tempfile::tempfile()?;
    /// assert_eq!(container.sweep_into(u64::MAX, &mut Values(file))?.removed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sweep_into(&self, limit: u64, archive: &mut dyn Archive) -> Result<Swept> {
        self.sweep_pages(limit, Some(archive))
    }

    fn sweep_pages(&self, limit: u64, mut archive: Option<&mut dyn Archive>) -> Result<Swept> {
        let mut removed = 0;
        let mut chosen = None;
        // What expires from now on is for the next sweep, so that this one ends.
        let now_ms = self.file.current().storage().now_ms();
        loop {
            let file = self.file.file()?;
            let hold = hold(&file, now_ms, limit - removed, chosen.take(), archive.is_some());
            match hold.map_err(|error| error.at(file.path.as_deref()))? {
                Hold::Removed(more) => removed += more,
                Hold::End(end) => {
                    if let Durability::Interval(interval) = file.options.durability {
                        self.file.sync_if_due(interval);
                    }
                    return Ok(Swept { removed, end });
                }
                Hold::Show(mut shown) => {
                    if let Some(archive) = &mut archive {
                        let flow = file.show_all(&mut shown, *archive);
                        if flow.map_err(|error| error.at(file.path.as_deref()))?.is_break() {
                            return Ok(Swept { removed, end: SweepEnd::Broken });
                        }
                    }
                    chosen = Some(shown);
                }
                Hold::Replaced => self.follow_name(&file)?,
            }
        }
    }
}

/// Some steps under the lock.
fn hold(
    file: &OpenFile,
    now_ms: u64,
    limit: u64,
    chosen: Option<Shown>,
    shows: bool,
) -> Result<Hold> {
    let Locked::Here(mut writer) = file.lock(0)? else {
        return Ok(Hold::Replaced);
    };
    if !writer.believes(now_ms)? {
        return Ok(Hold::End(SweepEnd::ClockInDoubt));
    }
    if let Some(Shown { number, due, .. }) = chosen {
        let fate = |offset: u64, entry: &Entry| {
            let same = due.iter().find(|due| due.offset == offset && due.entry == *entry);
            same.map_or(Fate::Stays, |due| due.fate)
        };
        return Ok(Hold::Removed(writer.sweep_segment(number, now_ms, 1, fate)?.into()));
    }
    for _ in 0..STEPS_PER_HOLD {
        match writer.find_due(now_ms)? {
            Step::NothingDue => return Ok(Hold::End(SweepEnd::Done)),
            Step::Raised => {}
            Step::Due(_) if limit == 0 => return Ok(Hold::End(SweepEnd::Limit)),
            Step::Due(number) if shows => {
                let mut due = Vec::new();
                let mut large = false;
                writer.sweep_segment(number, now_ms, 1, |offset, entry| {
                    // One hold lets go of one large value: a second one would be shown twice.
                    let waits = entry.large && std::mem::replace(&mut large, true);
                    if (due.len() as u64) < limit && !waits {
                        due.push(Due { offset, entry: *entry, fate: Fate::Stays });
                    }
                    Fate::Stays
                })?;
                let segments = writer.root.segments;
                return Ok(if due.is_empty() {
                    Hold::Removed(0)
                } else {
                    Hold::Show(Shown { number, segments, due })
                });
            }
            Step::Due(number) => {
                let mut left = limit;
                let removed = writer.sweep_segment(number, now_ms, PAGES, |_, _| {
                    let fate = if left > 0 { Fate::Goes } else { Fate::Stays };
                    left = left.saturating_sub(1);
                    fate
                })?;
                return Ok(Hold::Removed(removed.into()));
            }
        }
    }
    Ok(Hold::Removed(0))
}

impl OpenFile {
    /// Shows all that are still as they were, and says of each what becomes of it.
    fn show_all(&self, shown: &mut Shown, archive: &mut dyn Archive) -> Result<ControlFlow<()>> {
        for due in &mut shown.due {
            if self.show(due, shown.segments, archive)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(archive.settle())
    }

    fn show(
        &self,
        due: &mut Due,
        segments: u32,
        archive: &mut dyn Archive,
    ) -> Result<ControlFlow<()>> {
        let mut value = Vec::new();
        let found = self.find_version(&due.entry, &mut value);
        // If the entry is another by now, what was found may be no version that was current.
        let index = &self.records.index;
        let line = index.source.line(due.offset).map_err(reading)?;
        let slot = line.and_then(|line| Slot::decode(&line, due.offset, index.seal));
        if slot != Some(Slot::Session(due.entry)) || index.segments()? != segments {
            return Ok(ControlFlow::Continue(()));
        }
        let found = match found {
            Err(error) if error.is_of_the_medium() => {
                due.fate = Fate::Waits;
                return Ok(ControlFlow::Continue(()));
            }
            found => found?,
        };
        due.fate = Fate::Goes;
        Ok(match found {
            // Nobody ever saved it.
            Some(found) if found.is_forward() => ControlFlow::Continue(()),
            Some(found) => archive.keep(&found.loaded.id, found.session(value.as_slice())),
            // Damaged, or taken by a power cut.
            None => ControlFlow::Continue(()),
        })
    }
}
