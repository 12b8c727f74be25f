//! Changing sessions under the writer lock.
//!
//! A save writes the record into an extent that no live word names (invariant
//! 7), then the entry, whole, with the way back (invariants 4 and 5), then
//! releases what the entry no longer names. Every prefix of this is a valid
//! state: before the entry is written nothing has changed but a bit, after it
//! everything has. Nothing here waits for a sync; where space or a line can be
//! used only once something is durable, [`Attempt::Sync`] says so, and the
//! caller syncs without the lock and begins again.

use super::lines::{Lines, Spots};
use super::load::Found;
use super::open_file::OpenFile;
use super::records::{Wanted, mask_piece};
use super::rules::{Rule, holds};
use super::session::{Properties, Times, Version};
use super::timeouts::Timeouts;
use super::unreadable::Unreadable;
use super::versions::Newest;
use super::writer::{Attempt, Writer};
use crate::error::{DamageKind, Error, ErrorKind, Result};
use crate::format::block::Use;
use crate::format::entry::{Entry, Slot, tag_of};
use crate::format::record::{
    Content, Head, PIECE_LEN, Piece, RecordTimes, encode_inline, encode_large, inline_length,
    large_length, piece_len,
};
use crate::format::tag::Tag;
use crate::format::word::{Named, Word};
use crate::format::{BLOCK_SIZE, LINE_SIZE, PAGE_SIZE, TIME_MS_MAX};
use crate::storage::Fill;

/// A session's id with its tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) tag: Tag,
}

/// What to save.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) value: &'a [u8],
    /// The times of a dump; else now, and what the session had.
    pub(crate) times: Option<Times>,
    /// Else those that the session had.
    pub(crate) properties: Option<&'a Properties>,
    pub(crate) content: Content,
}

impl<'a> Draft<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Draft<'a> {
        Draft { value, times: None, properties: None, content: Content::Value }
    }
}

/// A session as the holder of the lock finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) spots: Spots,
    /// Its entry as it is on the disk, whatever it says.
    pub(super) raw: Option<Entry>,
    /// The same without what a power cut took; `None` unless it lives.
    pub(crate) living: Option<Entry>,
    /// The same where it is a forward, which is no session.
    pub(super) forward: Option<Entry>,
}

impl Target {
    /// A session that is over, where `counts` is its entry.
    pub(super) fn of_expired(spots: Spots, counts: Option<Entry>) -> Target {
        Target { spots, raw: counts, living: None, forward: None }
    }
}

impl Writer<'_> {
    /// Finds a session.
    pub(crate) fn target(&mut self, key: Key<'_>) -> Result<Target> {
        let spots = self.locate(key.tag)?;
        let raw = spots.entry();
        // Whether it lives must be known: what a cut took counts for nobody. Where the newest
        // version can be read it counts, whatever is before it.
        let clean = match raw.map(|entry| self.cleaned(&entry)).transpose() {
            Err(error) if error.is_of_the_medium() && self.newest_is_there(raw)? => raw,
            clean => clean?,
        };
        let current = clean.filter(|entry| {
            matches!(entry.cur.named(), Named::Record { .. })
                && (entry.deadline_ms == 0 || !entry.is_expired(self.file.storage().now_ms()))
        });
        let (forward, living) = if current.is_some_and(|entry| entry.forward) {
            (current, None)
        } else {
            (None, current)
        };
        Ok(Target { spots, raw, living, forward })
    }

    fn newest_is_there(&self, raw: Option<Entry>) -> Result<bool> {
        let Some(entry) = raw else { return Ok(false) };
        Ok(self.file.records.readable(entry.cur, entry.tag)?.is_some())
    }

    /// The newest version of a living session, its value into `value`. One that
    /// cannot be read though it is durable is damage.
    pub(crate) fn read(
        &self,
        key: Key<'_>,
        target: &Target,
        value: &mut Vec<u8>,
    ) -> Result<Option<Found>> {
        let Some(entry) = target.living else {
            return Ok(None);
        };
        let wanted = Wanted::Id(key.id);
        let durable = self.control.newest_is_durable(&entry);
        for (index, word) in entry.fallbacks().into_iter().enumerate() {
            let class = if index == 0 { entry.class } else { None };
            if word.is_tombstone() {
                return Ok(None);
            }
            if let Some(loaded) = self.file.records.load(word, class, wanted, value)? {
                return Ok(Some(Found { entry, word, loaded }));
            }
            if let (true, Some(offset)) = (durable, word.offset()) {
                return Err(Error::damaged(offset, DamageKind::Record));
            }
        }
        Ok(None)
    }

    /// Saves a version of the session.
    pub(crate) fn save(
        &mut self,
        key: Key<'_>,
        target: &Target,
        draft: Draft<'_>,
    ) -> Result<Attempt<Version>> {
        let Some(lines) = target.spots.lines() else {
            self.want_room(target)?;
            return Ok(Attempt::Sync);
        };
        if target.forward.is_some() && draft.times.is_none() {
            // Who saves what it once loaded by this id must not bring that back under it.
            return Err(ErrorKind::Rotated.into());
        }
        let now_ms = self.file.storage().now_ms().min(TIME_MS_MAX);
        if target.living.is_some_and(|entry| entry.is_expired(now_ms)) {
            // It lived when it was looked for, and others may have seen since that it is over.
            return Ok(Attempt::Sync);
        }
        let own_before = match self.own_timeouts(key, target) {
            // Who replaces a value that cannot be read need not know: they are lost with it.
            Err(error) if error.is_of_the_medium() || error.is_damage() => None,
            own => own?,
        };
        let own_timeouts = draft.properties.map_or(own_before, |given| given.timeouts);
        let timeouts = own_timeouts.unwrap_or(self.file.options.timeouts);
        let head = Head {
            times: RecordTimes {
                nonce: self.file.nonces.next(self.file.storage())?,
                saved_ms: draft.times.map_or(now_ms, |times| times.saved_ms.min(TIME_MS_MAX)),
            },
            timeouts: own_timeouts.map(Timeouts::to_record),
            content: draft.content,
        };
        let len = inline_length(&head, key.id.len(), draft.value.len());
        let own = self.own_superseded(target, &lines, len)?;
        let newest = match self.write_record(key, &head, draft.value, own)? {
            Attempt::Done(newest) => newest,
            Attempt::Sync => return Ok(Attempt::Sync),
        };
        let (created_ms, deadline_ms) = match (draft.times, target.living) {
            (Some(times), _) => (times.created_ms, times.deadline_ms.map_or(0, |ms| ms.max(1))),
            (None, Some(entry)) => {
                let before = if own_timeouts == own_before { entry.deadline_ms } else { 0 };
                (entry.created_ms, timeouts.deadline(before, entry.created_ms, now_ms))
            }
            (None, None) => (now_ms, timeouts.deadline(0, now_ms, now_ms)),
        };
        // To make space, a trim may have changed this very entry.
        let before = if self.entries_changed { self.entry_in(&lines)? } else { target.raw };
        let base = match before {
            Some(entry) => self.owned(&self.clean(&entry)?)?,
            None => Entry::new(key.tag),
        };
        let next = base.with(newest, &self.control);
        let entry = Entry {
            created_ms: created_ms.min(TIME_MS_MAX),
            deadline_ms: deadline_ms.min(TIME_MS_MAX),
            ..if target.living.is_some() { next } else { next.reborn() }
        };
        self.publish(target, &lines, before, entry)?;
        self.local().saves = self.local_ref().saves.saturating_add(1);
        Ok(Attempt::Done(Version { word: newest.word, nonce: head.times.nonce }))
    }

    /// Publishes the removal of the session, whether it lives, is expired or
    /// cannot be read.
    pub(crate) fn remove(&mut self, target: &Target) -> Result<Attempt<()>> {
        let Some(before) = target.raw else { return Ok(Attempt::Done(())) };
        if before.cur.is_tombstone() {
            // Somebody's removal, which may not be durable yet.
            self.answer_epoch = if holds(Rule::DoneAlreadyWaits) { before.epoch } else { 0 };
            return Ok(Attempt::Done(()));
        }
        let Some(lines) = target.spots.lines() else {
            self.want_room(target)?;
            return Ok(Attempt::Sync);
        };
        let entry = self.ended(&before)?;
        self.publish(target, &lines, Some(before), entry)?;
        Ok(Attempt::Done(()))
    }

    /// The session's entry as it is now. A line that is not its own is a line
    /// that it may take.
    fn entry_in(&self, lines: &Lines) -> Result<Option<Entry>> {
        let line = self.line(lines.counts)?;
        Ok(match Slot::decode(&line, lines.counts, self.seal()) {
            Some(Slot::Session(entry)) if entry.tag == lines.tag => Some(entry),
            None if tag_of(&line) == lines.tag => Some(Entry::new(lines.tag)),
            _ => None,
        })
    }

    /// Writes the entry, counts it, and releases what `before` named and it does
    /// not.
    pub(super) fn publish(
        &mut self,
        target: &Target,
        lines: &Lines,
        before: Option<Entry>,
        entry: Entry,
    ) -> Result<()> {
        if let Some(before) = before.filter(|_| !holds(Rule::BitClearedAfterwards)) {
            self.release_dropped(&before, Some(&entry))?;
        }
        if let Some(before) = &before {
            self.withhold_lost(before, Some(&entry))?;
        }
        let ends_earlier = entry.deadline_ms != 0
            && before.is_none_or(|before| {
                before.deadline_ms == 0 || entry.deadline_ms < before.deadline_ms
            });
        if ends_earlier && holds(Rule::BoundsLoweredFirst) {
            self.lower_bounds(lines, entry.deadline_ms)?;
        }
        self.put(lines, &Slot::Session(entry))?;
        if ends_earlier && !holds(Rule::BoundsLoweredFirst) {
            self.lower_bounds(lines, entry.deadline_ms)?;
        }
        if !holds(Rule::BitSetBeforeNamed) {
            self.mark_entry(&entry)?;
        }
        let new_line = i32::from(before.is_none());
        let sessions = i32::from(entry.is_session())
            - i32::from(before.is_some_and(|before| before.is_session()));
        if let Some(before) = before.filter(|_| holds(Rule::BitClearedAfterwards)) {
            self.release_dropped(&before, Some(&entry))?;
        }
        if before.is_some_and(|before| before.large || before.class != entry.class) {
            // A sync will let what is of another length be used for others.
            self.note_not_full()?;
        }
        if new_line != 0 || sessions != 0 {
            let tally = self.count(entry.tag, new_line, sessions)?;
            self.raise_reach_early(&target.spots, lines)?;
            if new_line != 0 {
                // The session is saved, whether the index can grow or not.
                Unreadable::IsLeftOut.judge(self.grow_if_full(entry.tag, tally))?;
            }
        }
        Ok(())
    }

    /// There is no line for the session: raises the reach or splits the segment, or lets
    /// go of removed sessions' lines in it. A sync will let them be used.
    pub(super) fn want_room(&mut self, target: &Target) -> Result<()> {
        self.make_room(&target.spots)?;
        if target.spots.is_full() && !self.syncs_would_make_room(target.spots.tag)? {
            self.split_full(target.spots.tag)?;
        }
        Ok(())
    }

    /// The extent of the session's own superseded version, if it fits the new one:
    /// where the newest version is durable, the entry is trimmed first, and then
    /// the extent is nobody's. Its bit stays set throughout, so no bitmap is
    /// touched. A process that lives for one request saves four calls by it; one
    /// that lives long has spares, which cost less still.
    ///
    /// Kill after the trim: the bit leaks. Cut: an image of the entry from before
    /// the trim names a version that is overwritten, and a newest one that is
    /// durable.
    fn own_superseded(
        &mut self,
        target: &Target,
        lines: &Lines,
        len: usize,
    ) -> Result<Option<u64>> {
        let Some(entry) = target.living else { return Ok(None) };
        let sure = target.raw == Some(entry)
            && self.is_owned(&entry)
            && (self.control.is_durable(entry.epoch) || !holds(Rule::OwnExtentOnlyOfDurable))
            && !self.control.suspect;
        let simple = lines.mirror.is_none() && !entry.large && entry.mid.is_nothing();
        let class = self.file.records.classes.for_len(len);
        if !sure || !simple || entry.old == entry.cur || self.has_spare(class) {
            return Ok(None);
        }
        let (Some(offset), Some(block), Some(class)) =
            (entry.old.offset(), entry.old.block(), class)
        else {
            return Ok(None);
        };
        let usage = self.block_head(block)?.map(|head| head.usage);
        let index = self.file.records.classes.extent_index(class, offset);
        if usage != Some(Use::Extents(class)) || index.is_none() {
            return Ok(None);
        }
        if holds(Rule::OwnExtentTrimmedFirst) {
            self.put(lines, &Slot::Session(entry.trimmed()))?;
        }
        Ok(Some(offset))
    }

    /// Writes a record into space of its own.
    ///
    /// `own` is an extent that this session's entry has just let go of.
    fn write_record(
        &mut self,
        key: Key<'_>,
        head: &Head,
        value: &[u8],
        own: Option<u64>,
    ) -> Result<Attempt<Newest>> {
        let seal = self.seal();
        let classes = self.file.records.classes;
        let further = head.timeouts.is_some();
        let (id_len, value_len) = (key.id.len(), value.len());
        if let Some(class) = classes.for_len(inline_length(head, id_len, value_len)) {
            let offset = match own {
                Some(offset) => offset,
                None => match self.allocate(class)? {
                    Attempt::Done(offset) => offset,
                    Attempt::Sync => return Ok(Attempt::Sync),
                },
            };
            let (bytes, check) = encode_inline(head, key.id, value, seal);
            self.write_or_give_back(&bytes, offset)?;
            let word = Word::record(offset, check);
            let (class, content) = (Some(class), head.content);
            return Ok(Attempt::Done(Newest { word, class, content, large: false, further }));
        }
        let Some(class) = classes.for_len(large_length(head, id_len, value_len)) else {
            return Err(Error::io("save", std::io::ErrorKind::InvalidInput.into()));
        };
        let Attempt::Done(offset) = self.allocate(class)? else {
            return Ok(Attempt::Sync);
        };
        let pieces = match self.write_pieces(value, head.times.nonce) {
            Ok(Attempt::Done(pieces)) => pieces,
            Ok(Attempt::Sync) => {
                self.give_back(offset)?;
                return Ok(Attempt::Sync);
            }
            Err(error) => {
                self.give_back(offset)?;
                return Err(error);
            }
        };
        let (bytes, check) = encode_large(head, key.id, value_len, &pieces, seal);
        self.write_or_give_back(&bytes, offset)?;
        let word = Word::record(offset, check);
        let (class, content) = (Some(class), head.content);
        Ok(Attempt::Done(Newest { word, class, content, large: true, further }))
    }

    fn write_or_give_back(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write(bytes, offset).or_else(|error| {
            self.give_back(offset)?;
            Err(error)
        })
    }

    /// Writes a large value into blocks of its own. They are all given back if
    /// there are not enough.
    fn write_pieces(&mut self, value: &[u8], nonce: u64) -> Result<Attempt<Vec<Piece>>> {
        let mut pieces = Vec::with_capacity(value.len().div_ceil(PIECE_LEN));
        for part in value.chunks(PIECE_LEN) {
            match self.write_piece(part, nonce) {
                Ok(Attempt::Done(piece)) => pieces.push(piece),
                other => {
                    for piece in &pieces {
                        self.give_back_block(piece.block)?;
                    }
                    return Ok(match other? {
                        Attempt::Done(_) | Attempt::Sync => Attempt::Sync,
                    });
                }
            }
        }
        Ok(Attempt::Done(pieces))
    }

    fn write_piece(&mut self, part: &[u8], nonce: u64) -> Result<Attempt<Piece>> {
        let Attempt::Done(block) = self.allocate_block(Use::Large, Fill::Reserve)? else {
            return Ok(Attempt::Sync);
        };
        let mut masked = part.to_vec();
        masked.resize(piece_len(part.len()), 0);
        mask_piece(&mut masked, nonce);
        // In pieces of a page, so that later small writes there are cheap.
        let mut offset = u64::from(block) * BLOCK_SIZE + LINE_SIZE as u64;
        let (first, rest) = masked.split_at(masked.len().min(PAGE_SIZE as usize - LINE_SIZE));
        for page in std::iter::once(first).chain(rest.chunks(PAGE_SIZE as usize)) {
            if let Err(error) = self.write(page, offset) {
                self.give_back_block(block)?;
                return Err(error);
            }
            offset += page.len() as u64;
        }
        Ok(Attempt::Done(Piece { block, check: self.seal().of_record(&masked) }))
    }
}

impl OpenFile {
    pub(crate) fn key<'a>(&self, id: &'a [u8]) -> Key<'a> {
        Key { id, tag: self.records.tagger.tag(id) }
    }
}
