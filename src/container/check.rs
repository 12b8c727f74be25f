//! Checking a container: every invariant that a file at rest can show to be
//! broken.
//!
//! Nothing is locked and nothing is changed. On a container in use a line may be
//! torn or change between two readings, so whatever looks wrong is looked at
//! again before it is reported. What a crash may leave is no damage: leaked bits,
//! counts that are off, versions that never reached the disk.

use super::claims::Claims;
use super::open_file::OpenFile;
use super::report::Report;
use crate::error::{Damage, DamageKind, Error, ErrorKind, Result};
use crate::format::control::{Control, Root, Views};
use crate::format::entry::{Entry, Slot};
use crate::format::header::{HEADER_SIZE, Header};
use crate::format::record::Content;
use crate::format::segment::{ENTRIES, REACH, TALLY, Tally, entry_offset, segment_of};
use crate::format::word::Word;
use crate::format::{BLOCK_SIZE, LINE_SIZE, Line, NEVER, place};
use crate::storage::Pause;

/// Readings of a suspicious place before it is reported.
const LOOKS: u32 = 3;
/// How to have a container again in which everything works.
const WAY_OUT: &str =
    "`cloakroom dump FILE | cloakroom restore NEW`, after `cloakroom create NEW`, is the way out";

/// What the whole walk needs to know.
#[derive(Debug)]
struct Walk<'a> {
    file: &'a OpenFile,
    control: Control,
    root: Root,
    now_ms: u64,
    crashed: bool,
    report: Report,
    claims: Claims,
}

impl OpenFile {
    /// Checks everything.
    pub(crate) fn check(&self) -> Result<Report> {
        let mut report = Report::default();
        self.check_headers(&mut report)?;
        let control = match self.control_line() {
            Ok(control) => Some(control),
            Err(error) => {
                noted(error, &mut report)?;
                None
            }
        };
        let root = match self.records.index.root() {
            Ok(root) => root,
            Err(error) => {
                noted(error, &mut report)?;
                return Ok(report);
            }
        };
        // Without its line no epoch can be compared and no bitmap believed.
        let readable = control.is_some();
        let control = control.unwrap_or(Control::ALL_DURABLE);
        let len = self.records.index.source.status().map_err(super::index::reading)?.len;
        if len / BLOCK_SIZE < u64::from(control.synced_blocks) {
            let lost = u64::from(control.synced_blocks) - len / BLOCK_SIZE;
            report.add_damage(
                len,
                format!(
                    "the file was cut short: the last {lost} blocks are missing; nothing can be \
                     saved any more, and what is left can be read: {WAY_OUT}"
                ),
            );
        }
        let now_ms = self.storage().now_ms();
        let claims = Claims::default();
        let crashed = !readable || self.may_have_crashed(&control);
        let mut walk = Walk { file: self, control, root, now_ms, crashed, report, claims };
        for number in 0..root.segments {
            if let Err(error) = walk.segment(number) {
                noted(error, &mut walk.report)?;
            }
        }
        let Walk { mut report, claims, .. } = walk;
        let claims = self.check_claims(claims, &mut report)?;
        if readable && crashed {
            report.add_note(
                place::CONTROL,
                "nobody has written since the file was copied, moved or its system started; the \
                 first writer will find free space again",
            );
        } else if readable {
            self.check_bitmaps(&claims, &control, &root, &mut report)?;
            self.check_bounds(&control, &root, &mut report)?;
        }
        Ok(report)
    }

    /// Whether the file may have been cut off from its page cache since the last
    /// recovery: whether the first writer would recover, as far as a reader can tell.
    fn may_have_crashed(&self, control: &Control) -> bool {
        if !self.is_of_this_boot(control) {
            return true;
        }
        if self.storage().is_marked() {
            return false;
        }
        let index = &self.records.index;
        let view = self.storage().view().ok().flatten();
        let line = index.source.line(place::VIEWS).ok().flatten();
        match (view, line) {
            (Some(view), Some(line)) => {
                let (boot, witness) = super::recovery::witness(&view);
                !Views::decode(&line, place::VIEWS, index.seal).knows(boot, witness)
            }
            _ => true,
        }
    }

    /// Invariant 20.
    fn check_headers(&self, report: &mut Report) -> Result<()> {
        let index = &self.records.index;
        let making = index.source.line(place::MAKING).map_err(super::index::reading)?;
        if making.is_some_and(|line| line != NEVER) {
            report.add_note(
                place::MAKING,
                "the making of the container was interrupted near its end; the next change \
                 completes it",
            );
            return Ok(());
        }
        for (offset, which) in [(place::HEADER, "first"), (place::HEADER_COPY, "second")] {
            let mut bytes = [0; HEADER_SIZE];
            let found = self.records.index.source.read(&mut bytes, offset);
            let header = found.map_err(super::index::reading)?.then(|| Header::decode(&bytes));
            match header {
                Some(Ok(header)) if header.uuid == self.header.uuid => {}
                _ => report.add_damage(
                    offset,
                    format!("the {which} of the two headers is damaged; the other one serves"),
                ),
            }
        }
        Ok(())
    }
}

/// Takes damage down as a finding; any other error ends the check.
fn noted(error: Error, report: &mut Report) -> Result<()> {
    let ErrorKind::Damaged(damage) = error.kind() else {
        return Err(error);
    };
    report.add_damage(damage.offset, meaning(damage));
    Ok(())
}

/// What damage on the way to the sessions means for whom.
fn meaning(damage: &Damage) -> String {
    match damage.kind {
        DamageKind::ControlLine => format!(
            "the control line is damaged; nothing can be saved any more, and everything that is \
             not damaged itself can be read: {WAY_OUT}"
        ),
        DamageKind::RootLine => "the root line is damaged; no session can be found, and none \
                                 saved: put a backup in the file's place"
            .to_owned(),
        DamageKind::SegmentTable => format!(
            "an entry of the segment table is damaged; the sessions of a segment cannot be found, \
             and no others saved there, and the rest can be read: {WAY_OUT}"
        ),
        kind => format!("{kind} is damaged; the rest can be read: {WAY_OUT}"),
    }
}

impl Walk<'_> {
    fn segment(&mut self, number: u32) -> Result<()> {
        let index = &self.file.records.index;
        let segment = index.segment(number, self.root.segments)?;
        let reach = match index.reach(segment) {
            Ok(reach) => Some(reach),
            Err(error) if matches!(error.kind(), ErrorKind::Damaged(_)) => {
                self.report.add_damage(
                    segment + REACH,
                    format!(
                        "the head of a segment is damaged; those of its sessions that are left \
                         are found, and no new ones can be saved there: {WAY_OUT}"
                    ),
                );
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(reach) = reach.filter(|reach| reach.segment != number) {
            self.report.add_damage(
                segment,
                format!(
                    "the segment table takes segment {} for segment {number}; sessions there \
                     are not found",
                    reach.segment
                ),
            );
            return Ok(());
        }
        let mut tally = Tally::default();
        for entry_number in 0..ENTRIES {
            let offset = segment + entry_offset(entry_number);
            self.entry(number, segment, offset, &mut tally)?;
        }
        let line = index.source.line(segment + TALLY).map_err(super::index::reading)?;
        let kept = line.and_then(|line| Tally::decode(&line, segment + TALLY, index.seal));
        if kept != Some(tally) && self.root.named() == self.root.segments {
            let kept = kept.map_or_else(|| "none".to_owned(), |kept| kept.sessions.to_string());
            let found = tally.sessions;
            let what = format!("the count of a segment's sessions is off: {kept} for {found}");
            self.report.add_note(segment + TALLY, what);
        }
        Ok(())
    }

    /// One line of the index, looked at until it is whole and what looks wrong
    /// has been seen often enough.
    fn entry(&mut self, number: u32, segment: u64, offset: u64, tally: &mut Tally) -> Result<()> {
        let index = &self.file.records.index;
        let mut last: Option<Line> = None;
        for look in 1.. {
            let line = index.source.line(offset).map_err(super::index::reading)?;
            let Some(line) = line else { break };
            let settled = look >= LOOKS && last == Some(line) || look > 100 * LOOKS;
            match Slot::decode(&line, offset, index.seal) {
                Some(Slot::Never | Slot::Vacated { .. }) => return Ok(()),
                Some(Slot::Session(entry))
                    if segment_of(entry.tag, self.root.segments) != number =>
                {
                    return Ok(());
                }
                Some(Slot::Session(entry)) => {
                    if let Some(findings) = self.session(&entry, segment, offset, settled)? {
                        self.count(&entry, tally, findings)?;
                        return Ok(());
                    }
                }
                None if settled => {
                    self.report.add_damage(
                        offset,
                        "an entry fails its checksum; its session is lost, and so is any other \
                         copy of it",
                    );
                    return Ok(());
                }
                None => {}
            }
            last = Some(line);
            self.file.storage().pause(Pause::Yield);
        }
        Ok(())
    }

    /// What is wrong with a session's entry; `None` to look again.
    fn session(
        &self,
        entry: &Entry,
        segment: u64,
        offset: u64,
        settled: bool,
    ) -> Result<Option<Findings>> {
        let mut findings = Findings { offset, ..Findings::default() };
        let hit = self.file.records.index.find(entry.tag, segment)?;
        findings.is_found = hit.is_some_and(|hit| hit.offset == offset);
        if !findings.is_found {
            findings
                .damage
                .push("a probe for this entry does not come to it; its session is not found");
        }
        if !self.crashed
            && entry.epoch > self.control.write_epoch
            && entry.epoch > self.file.control_line()?.write_epoch
        {
            findings.damage.push("an entry is of an epoch that has not begun");
        }
        for (index, word) in entry.words().into_iter().enumerate() {
            if word.offset().is_none() || entry.words().iter().take(index).any(|w| *w == word) {
                continue;
            }
            match self.file.records.readable(word, entry.tag)? {
                Some(readable) => {
                    let said = entry.saying(readable.class, readable.content);
                    if index == 0 && said.forward != entry.forward {
                        findings
                            .damage
                            .push("an entry takes a session for a forward, or the reverse");
                    } else if index == 0 && said.class != entry.class {
                        findings.damage.push("an entry gives its record another size class");
                    }
                    findings.readable.push((word, readable));
                }
                None => self.unreadable(entry, index, &mut findings),
            }
        }
        findings.serves = self.serving(entry, &findings);
        let suspicious = !findings.damage.is_empty() || !findings.notes.is_empty();
        Ok((!suspicious || settled).then_some(findings))
    }

    /// The version that a load comes to.
    fn serving(&self, entry: &Entry, findings: &Findings) -> Option<Word> {
        // What was durable has no older version in its place.
        let tried = if self.control.newest_is_durable(entry) { 1 } else { entry.words().len() };
        let says = |word: &Word| {
            word.is_tombstone() || findings.readable.iter().any(|(found, _)| found == word)
        };
        let serving = entry.fallbacks().into_iter().take(tried).find(says);
        serving.filter(|word| findings.is_found && !word.is_tombstone())
    }

    /// A version that cannot be read: damage if it was durable, and nothing newer
    /// took its place since the last crash.
    fn unreadable(&self, entry: &Entry, index: usize, findings: &mut Findings) {
        match index {
            0 if self.control.newest_is_durable(entry) => {
                findings.damage.push("a session's record does not match its entry; it is lost");
            }
            0 => findings.notes.push(
                "a version that a crash took, or that was damaged before it was synced; the one \
                 before it serves, if there is one",
            ),
            _ if self.control.is_durable(entry.epoch) => {
                findings.notes.push("a superseded version cannot be read; nobody needs it");
            }
            _ if entry.epoch < self.control.recovered_epoch || self.crashed => {
                findings.notes.push("an older version that a crash took");
            }
            _ => findings.damage.push("an older version of a session does not match its entry"),
        }
    }

    fn count(&mut self, entry: &Entry, tally: &mut Tally, findings: Findings) -> Result<()> {
        let place = findings.offset;
        for what in findings.damage {
            self.report.add_damage(place, what);
        }
        for what in findings.notes {
            self.report.add_note(place, what);
        }
        tally.lines += 1;
        tally.sessions += u32::from(entry.is_session());
        let serving = findings.readable.iter().find(|(word, _)| findings.serves == Some(*word));
        let content = serving.map(|(_, readable)| readable.content);
        if content.map_or(entry.forward, |content| content == Content::Forward) {
            self.report.forwards += 1;
        } else if !entry.is_session() && content.is_none() {
            self.report.removed += 1;
        } else if entry.is_expired(self.now_ms) {
            self.report.expired += 1;
        } else if findings.serves.is_some() {
            self.report.sessions += 1;
        }
        for (word, readable) in findings.readable {
            let size = readable.class.map_or(0, |class| self.file.records.classes.size(class));
            let bytes = size as u64 + readable.pieces.len() as u64 * crate::format::BLOCK_SIZE;
            if findings.serves == Some(word) {
                self.report.live_bytes += bytes;
            } else {
                self.report.superseded_bytes += bytes;
            }
            self.claims.add(entry.tag, word, size, &readable.pieces);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Findings {
    /// Where the entry lies.
    offset: u64,
    /// Whether a probe comes to it there.
    is_found: bool,
    /// The version that a load comes to.
    serves: Option<Word>,
    damage: Vec<&'static str>,
    notes: Vec<&'static str>,
    readable: Vec<(Word, super::records::Readable)>,
}

/// Bytes of `lines` lines.
pub(super) fn bytes_of(lines: u32) -> u64 {
    u64::from(lines) * LINE_SIZE as u64
}
