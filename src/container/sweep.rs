//! Sweeping: removing the sessions whose deadline has passed.
//!
//! A load never returns an expired session, swept or not; sweeping gives back its
//! space. It goes down the heap of bounds to a page in which something is due, and
//! publishes a tombstone for each expired session there, which is a removal like any
//! other: it becomes durable, and is then trimmed. A step is a few reads and at most the
//! pages of one segment: one page where a change does it. A bound that turned out too
//! early is raised on the way, so steps come to an end.
//!
//! A clock that has jumped more than a day ahead deletes nothing on the word of one
//! reading: it must be confirmed a minute later.

use super::bounds::include;
use super::changes::{Change, Counts};
use super::clock::Told;
use super::options::SweepPolicy;
use super::save::Target;
use super::unreadable::Unreadable;
use super::versions::Newest;
use super::writer::{Attempt, Writer};
use crate::error::{ErrorKind, Result};
use crate::format::bounds::{Bound, Bounds, DEPTH_MAX, PAGES, Place, Sweep, place_of};
use crate::format::entry::Entry;
use crate::format::segment::{ENTRIES, HEAD_LINES};
use crate::format::{LINE_SIZE, PAGE_SIZE, place};

/// Steps that each change does where something is due.
const STEPS_PER_CHANGE: u32 = 4;
/// How often the time is noted while nothing is doubted.
const NOTE_MS: u64 = 60 * 60 * 1000;
/// When to look again at what cannot be read or written now.
const AGAIN_MS: u64 = 60 * 60 * 1000;

/// What becomes of a session that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Goes,
    /// It is still due afterwards.
    Stays,
    /// It is looked at again in an hour.
    Waits,
}

/// What a step of the sweep came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No deadline has passed.
    NothingDue,
    /// A bound was too early.
    Raised,
    /// Something may have expired in a page of this segment.
    Due(u32),
}

impl Writer<'_> {
    /// The sweep line.
    pub(super) fn sweep(&self) -> Sweep {
        Sweep::decode(&self.sweep_line, place::SWEEP, self.seal())
    }

    pub(super) fn set_sweep(&mut self, sweep: Sweep) -> Result<()> {
        let line = sweep.encode(place::SWEEP, self.seal());
        self.write(&line, place::SWEEP)?;
        self.sweep_line = line;
        Ok(())
    }

    /// The share of the sweep that each change does.
    pub(crate) fn step_sweep(&mut self) -> Result<()> {
        if Sweep::is_idle(&self.sweep_line) {
            return Ok(());
        }
        let now_ms = self.file.storage().now_ms();
        if Sweep::is_quiet(&self.sweep_line, now_ms, NOTE_MS) || !self.believes(now_ms)? {
            return Ok(());
        }
        if self.file.options.sweep == SweepPolicy::OnRequest {
            // It has noted the time.
            return Ok(());
        }
        for _ in 0..STEPS_PER_CHANGE {
            match self.find_due(now_ms)? {
                Step::NothingDue => break,
                Step::Raised => {}
                Step::Due(number) => {
                    self.sweep_segment(number, now_ms, 1, |_, _| Fate::Goes)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the clock is to be believed; notes what it told.
    pub(super) fn believes(&mut self, now_ms: u64) -> Result<bool> {
        let sweep = self.sweep();
        let told = Told { seen_ms: sweep.seen_ms, doubt_ms: sweep.doubt_ms };
        let (believed, next) = told.hears(now_ms);
        if next.doubt_ms != told.doubt_ms || next.seen_ms.abs_diff(told.seen_ms) > NOTE_MS {
            let Told { seen_ms, doubt_ms } = next;
            self.set_sweep(Sweep { seen_ms, doubt_ms, ..sweep })?;
        }
        Ok(believed)
    }

    /// Looks for a page in which something is due, raising one bound that is too early.
    pub(super) fn find_due(&mut self, now_ms: u64) -> Result<Step> {
        if !self.sweep().bound.is_due(now_ms) {
            return Ok(Step::NothingDue);
        }
        let mut at = None;
        let mut number = 0;
        for _ in 0..DEPTH_MAX {
            let Some(bounds) = self.bounds(number)? else {
                // Whoever can find the segment again looks in an hour.
                self.set_bound(at, Bound::of(now_ms.saturating_add(AGAIN_MS)))?;
                return Ok(Step::Raised);
            };
            let Some(slot) = bounds.first_due(now_ms) else {
                self.set_bound(at, bounds.earliest())?;
                return Ok(Step::Raised);
            };
            match place_of(number, slot) {
                Place::Page(_) => return Ok(Step::Due(number)),
                Place::Child(child) if child >= self.root.named() => {
                    self.set_bound(Some((number, slot)), Bound::NONE)?;
                    return Ok(Step::Raised);
                }
                Place::Child(child) => {
                    at = Some((number, slot));
                    number = child;
                }
            }
        }
        Ok(Step::Raised)
    }

    /// Removes the expired sessions whose `fate` it is in up to so many pages of a segment,
    /// and derives the bounds of these anew. Returns how many.
    pub(super) fn sweep_segment(
        &mut self,
        number: u32,
        now_ms: u64,
        pages_max: usize,
        mut fate: impl FnMut(u64, &Entry) -> Fate,
    ) -> Result<u32> {
        let Some(kept) = self.bounds(number)? else { return Ok(0) };
        let mut bounds = kept;
        let mut removed = 0;
        // To let go of a large value takes long.
        let mut large = false;
        let mut fate = |offset: u64, entry: &Entry| match fate(offset, entry) {
            Fate::Goes if entry.large && std::mem::replace(&mut large, true) => Fate::Stays,
            fate => fate,
        };
        let mut counts = Counts::default();
        let mut ended = Ok(());
        let due = (0..PAGES).filter(|page| kept.get(*page).is_due(now_ms));
        for page in due.take(pages_max) {
            match self.sweep_page(number, page, now_ms, &mut counts, &mut fate) {
                Ok((bound, more)) => {
                    bounds.set(page, bound);
                    removed += more;
                }
                Err(error)
                    if error.is_of_the_medium()
                        || matches!(error.kind(), ErrorKind::Damaged(_)) =>
                {
                    bounds.set(page, Bound::of(now_ms.saturating_add(AGAIN_MS)));
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        // All pages at once: a kill before this leaves a count that is too high.
        Unreadable::IsLeftOut.judge(self.count_all(counts)).and(ended)?;
        self.replace_bounds(number, &kept, &bounds)?;
        Ok(removed)
    }

    /// The same for one page; its bound, and how many were removed.
    fn sweep_page(
        &mut self,
        number: u32,
        page: usize,
        now_ms: u64,
        counts: &mut Counts,
        fate: &mut impl FnMut(u64, &Entry) -> Fate,
    ) -> Result<(Bound, u32)> {
        let again = Bound::of(now_ms.saturating_add(AGAIN_MS));
        let mut bounds = Bounds::NONE;
        let mut changes = Vec::new();
        let mut removed = 0;
        let (first, count) = entries_of(page);
        let mut put_off = Bound::NONE;
        for (offset, entry) in self.sessions_in(number, first, count)? {
            let fate = match entry.is_expired(now_ms) {
                true => fate(offset, &entry),
                false => Fate::Stays,
            };
            match fate {
                Fate::Stays => include(&mut bounds, offset, &entry),
                Fate::Waits => put_off = put_off.min(again),
                Fate::Goes if self.homes(entry.tag).1.is_none() => match self.ended(&entry) {
                    Ok(ended) => changes.push(Change { offset, before: entry, after: Some(ended) }),
                    Err(error) if error.is_of_the_medium() => put_off = put_off.min(again),
                    Err(error) => return Err(error),
                },
                Fate::Goes if self.sweep_mirrored(&entry, now_ms)? => removed += 1,
                // There is no room for it in its mirror: once the split is over.
                Fate::Goes => put_off = put_off.min(Bound::of(now_ms.saturating_add(1000))),
            }
        }
        self.write_page(&changes, counts)?;
        Ok((bounds.earliest().min(put_off), removed + changes.len() as u32))
    }

    /// The entry with a tombstone for its newest version.
    pub(super) fn ended(&self, entry: &Entry) -> Result<Entry> {
        let newest = Newest::tombstone(self.control.write_epoch);
        let base = self.owned(&self.clean(entry)?)?;
        Ok(Entry { deadline_ms: 0, ..base.with(newest, &self.control) })
    }

    /// Removes an expired session that has a mirror; false if that has no room.
    fn sweep_mirrored(&mut self, entry: &Entry, now_ms: u64) -> Result<bool> {
        let spots = self.locate(entry.tag)?;
        let counts = spots.entry();
        if spots.lines().is_none() || !counts.is_some_and(|counts| counts.is_expired(now_ms)) {
            return Ok(false);
        }
        let target = Target::of_expired(spots, counts);
        Ok(matches!(self.remove(&target)?, Attempt::Done(())))
    }
}

/// The first entry in a page of a segment, and their number.
fn entries_of(page: usize) -> (u32, u32) {
    let lines = (PAGE_SIZE as usize / LINE_SIZE * page.min(PAGES - 1)) as u32;
    let end = lines + PAGE_SIZE as u32 / LINE_SIZE as u32 - HEAD_LINES as u32;
    let first = lines.saturating_sub(HEAD_LINES as u32);
    (first, end.min(ENTRIES) - first)
}
