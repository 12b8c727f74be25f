//! Which versions an entry keeps when it gets a new one.
//!
//! `old` is the newest version known durable (invariant 5): never simply the
//! one before, or two saves without a sync would drop the durable one. `mid` is
//! the newest pending version of an epoch before the present one: while the
//! sync of that epoch runs, it is the version that will have been acknowledged
//! when the sync ends. What is no longer named is released, but of an entry of an
//! older generation only if it is readable: a record that a power cut took or that is
//! damaged may have no bit, and its extent be another entry's by now.

use super::records::Readable;
use super::rules::{Rule, holds};
use super::unreadable::Unreadable;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::format::class::Class;
use crate::format::control::Control;
use crate::format::entry::{Entry, MID_AGE_MAX};
use crate::format::record::Content;
use crate::format::word::Word;

/// The newest version of an entry to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub(crate) word: Word,
    /// Class of its extent, if it has one.
    pub(crate) class: Option<Class>,
    pub(crate) content: Content,
    pub(crate) large: bool,
    /// Its record has fields that its next version has to have, too.
    pub(crate) further: bool,
}

impl Newest {
    /// A removal, published in this epoch.
    pub(crate) fn tombstone(epoch: u64) -> Newest {
        let (word, content) = (Word::tombstone(epoch), Content::default());
        Newest { word, class: None, content, large: false, further: false }
    }
}

impl Entry {
    /// The same, which says this of the record of `cur`.
    pub(crate) fn saying(&self, class: Option<Class>, content: Content) -> Entry {
        let forward = content == Content::Forward;
        Entry { class: class.filter(|_| !forward), forward, ..*self }
    }

    /// This entry, cleaned, with a newer version.
    pub(crate) fn with(&self, newest: Newest, control: &Control) -> Entry {
        let pending = |word: Word, epoch: u64| {
            !word.is_nothing() && !control.is_durable(epoch) && epoch < control.write_epoch
        };
        let any = !holds(Rule::OldIsLastDurable);
        let (old, old_ended) = if !self.cur.is_nothing() && (control.is_durable(self.epoch) || any)
        {
            (self.cur, false)
        } else if !self.mid.is_nothing() && control.is_durable(self.mid_epoch()) {
            (self.mid, self.mid_ended)
        } else {
            (self.old, self.old_ended)
        };
        let (mid, mid_epoch, mid_ended) = if pending(self.cur, self.epoch) {
            (self.cur, self.epoch, false)
        } else if pending(self.mid, self.mid_epoch()) {
            (self.mid, self.mid_epoch(), self.mid_ended)
        } else {
            (Word::NOTHING, control.write_epoch, false)
        };
        let mid = if holds(Rule::MidIsKept) { mid } else { Word::NOTHING };
        let mid_epoch = if holds(Rule::MidKeepsItsEpoch) { mid_epoch } else { control.write_epoch };
        let kept = !old.is_nothing() || !mid.is_nothing();
        Entry {
            cur: newest.word,
            mid,
            old,
            epoch: control.write_epoch,
            mid_age: (control.write_epoch - mid_epoch).min(MID_AGE_MAX.into()) as u8,
            large: newest.large || (self.large && kept),
            further: newest.further || (self.further && kept && holds(Rule::TimeoutsStayNoted)),
            old_ended,
            mid_ended,
            ..self.saying(newest.class, newest.content)
        }
    }

    /// This entry, which has just got the first version of a new life: no version
    /// before it may come back, since it would come with the times of this one. They are
    /// named all the same: entries on the disk may need them, until this one is durable.
    pub(crate) fn reborn(&self) -> Entry {
        let mid_ended = self.mid.offset().is_some() && holds(Rule::EndedMidsStayOver);
        Entry { old_ended: self.old.offset().is_some(), mid_ended, ..*self }
    }

    /// The versions that serve when newer ones were lost, by their place.
    pub(crate) fn fallbacks(&self) -> [Word; 3] {
        if holds(Rule::EndedLivesStayOver) { self.living_words() } else { self.words() }
    }

    /// This entry, cleaned, with its durable newest version as the only one.
    pub(crate) fn trimmed(&self) -> Entry {
        let alone = Entry { mid: Word::NOTHING, mid_age: 0, old: self.cur, ..*self };
        Entry { old_ended: false, mid_ended: false, ..alone }
    }
}

impl Control {
    /// Whether no power cut can have taken the entry's newest version: it is
    /// durable by its epoch, and was published after the last recovery, or was
    /// durable before it, or is marked as known durable. If it cannot be read, it
    /// is damaged.
    pub(crate) fn newest_is_durable(&self, entry: &Entry) -> bool {
        holds(Rule::DurableLossIsDamage)
            && self.is_durable(entry.epoch)
            && (entry.old == entry.cur
                || entry.epoch >= self.recovered_epoch
                || entry.epoch <= self.settled_epoch)
    }
}

impl Writer<'_> {
    /// The entry without the words that a power cut took. An entry of a later
    /// epoch than the last recovery has none.
    pub(crate) fn clean(&self, entry: &Entry) -> Result<Entry> {
        let cut_free = entry.epoch >= self.control.recovered_epoch || entry.old == entry.cur;
        if cut_free || !holds(Rule::CutVersionsAreDropped) {
            // Nothing a power cut could take; if it is unreadable, it is damage,
            // and stays so until it is overwritten.
            return Ok(*entry);
        }
        let epochs = [entry.epoch, entry.mid_epoch(), 0];
        let mut good: [Option<Readable>; 3] = [None, None, None];
        for (found, word) in good.iter_mut().zip(entry.words()) {
            *found = match self.file.records.readable(word, entry.tag) {
                // Known durable: no cut took it, and nothing else has to be known.
                Err(error) if error.is_of_the_medium() && self.control.newest_is_durable(entry) => {
                    return Ok(*entry);
                }
                found => found?,
            };
        }
        let keep = |index: usize, word: Word| match good.get(index) {
            Some(Some(_)) => word,
            _ => Word::NOTHING,
        };
        let [cur_good, ..] = &good;
        let mut clean = *entry;
        if cur_good.is_some() {
            clean.mid = keep(1, entry.mid);
            clean.old = keep(2, entry.old);
            return Ok(clean);
        }
        if self.control.newest_is_durable(entry) {
            // No cut took it: it is damage, and stays so until it is overwritten.
            return Ok(*entry);
        }
        let back = entry.fallbacks();
        let newest = (0..good.len()).find(|index| {
            matches!(good.get(*index), Some(Some(_)))
                && back.get(*index).is_some_and(|word| !word.is_nothing())
        });
        let readable = newest.and_then(|index| good.get(index)?.as_ref());
        clean.cur = newest.and_then(|index| back.get(index).copied()).unwrap_or_default();
        clean.epoch = newest.and_then(|index| epochs.get(index).copied()).unwrap_or(0);
        let (class, content) =
            readable.map_or_else(Default::default, |readable| (readable.class, readable.content));
        clean = clean.saying(class, content);
        clean.mid = Word::NOTHING;
        clean.mid_age = 0;
        clean.old = clean.cur;
        clean.old_ended = false;
        clean.mid_ended = false;
        Ok(clean)
    }

    /// The same; what the medium does not give back at once is asked for once more.
    pub(super) fn cleaned(&self, entry: &Entry) -> Result<Entry> {
        match self.clean(entry) {
            Err(error) if error.is_of_the_medium() => self.clean(entry),
            clean => clean,
        }
    }

    /// What a word of an entry names, if it can be read now. What the medium does not give
    /// back may be there the next time, so nothing more is released in this hold.
    pub(super) fn readable_now(&self, word: Word, entry: &Entry) -> Result<Option<Readable>> {
        let read = || self.file.records.readable(word, entry.tag);
        // Once more: who goes on without it may let go of what is durable.
        let found = match read() {
            Err(error) if error.is_of_the_medium() => read(),
            found => found,
        };
        let unreadable = found.as_ref().is_err_and(Error::is_of_the_medium);
        self.blind.set(self.blind.get() || unreadable);
        Unreadable::IsLeftOut.judge(found)
    }

    /// Whether the bits of all that the entry names are set: it was written in this
    /// generation. For what it cannot read the pass sets a bit only where the record's
    /// first line is left.
    pub(crate) fn is_owned(&self, entry: &Entry) -> bool {
        entry.epoch >= self.control.generation || !holds(Rule::DamagedWordsOwnNothing)
    }

    /// The entry, cleaned, without words that are damaged: their space may be another's
    /// by now, so an entry of this generation must not go on naming them.
    pub(crate) fn owned(&self, entry: &Entry) -> Result<Entry> {
        if self.is_owned(entry) {
            return Ok(*entry);
        }
        let read = |word: Word| {
            let readable = self.readable_now(word, entry)?;
            Ok::<Word, Error>(if readable.is_some() { word } else { Word::NOTHING })
        };
        let cur = read(entry.cur)?;
        let old = if entry.old == entry.cur { cur } else { read(entry.old)? };
        let forward = entry.forward && !cur.is_nothing();
        Ok(Entry { cur, mid: read(entry.mid)?, old, forward, ..*entry })
    }

    /// Withholds the space of what `before`, as it is on the disk, names and cannot be
    /// read, and `after` does not name any more. Before the entry is written: after a
    /// kill in between nobody would know of it.
    pub(crate) fn withhold_lost(&mut self, before: &Entry, after: Option<&Entry>) -> Result<()> {
        if self.is_owned(before) || !holds(Rule::WithheldFirst) {
            return Ok(());
        }
        let kept = after.map_or([Word::NOTHING; 3], Entry::words);
        for word in before.words().into_iter().filter(|word| !kept.contains(word)) {
            let found = self.readable_now(word, before)?;
            let lost = word.offset().is_some() && (found.is_none() || self.blind.get());
            if lost {
                self.withhold(word)?;
            }
        }
        Ok(())
    }

    /// Releases what `before`, as it was on the disk, names and `after` does not.
    pub(crate) fn release_dropped(&mut self, before: &Entry, after: Option<&Entry>) -> Result<()> {
        let kept = after.map_or([Word::NOTHING; 3], Entry::words);
        let doubtful = !self.is_owned(before) && holds(Rule::LostWordsReleaseNothing);
        let large = before.large && holds(Rule::LargeValuesGiveBlocksBack);
        let mut released = [Word::NOTHING; 3];
        for (index, word) in before.words().into_iter().enumerate() {
            if word.offset().is_none() || kept.contains(&word) || released.contains(&word) {
                continue;
            }
            if let Some(place) = released.get_mut(index) {
                *place = word;
            }
            if doubtful || large {
                // Its extent may be another's by now, or it may list blocks.
                match self.readable_now(word, before)? {
                    Some(_) if self.blind.get() => {}
                    Some(readable) => self.release_record(word, &readable.pieces)?,
                    None if doubtful && !holds(Rule::WithheldFirst) => self.withhold(word)?,
                    None => {}
                }
            } else {
                self.release_record(word, &[])?;
            }
        }
        Ok(())
    }
}
