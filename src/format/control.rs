//! The lines of the control page: epochs, root, busy, views. The pass, sweep and lists lines
//! and the entries of the segment table have files of their own.
//!
//! Each line has its own checksum and is written whole. Two that must agree
//! after a power cut share a line (both epochs, invariant 6); the others carry
//! what tells whether they belong together (the pass line names its
//! generation).

use super::checksum::{LINE_CHECK, Seal};
use super::segment::batch_max;
use super::span::Span;
use super::tables::TABLE_BLOCK_LEN;
use super::tag::Tag;
use super::{LINE_SIZE, Line, NEVER};

/// Epochs that may pass between the synced epoch and the write epoch before a
/// syncer stops bumping.
pub(crate) const LEAD_MAX: u64 = 8;
/// Epochs that recovery leaves out: more than any entry on the disk can be
/// ahead of the control line on the disk.
pub(crate) const RECOVERY_LEAP: u64 = 2 * LEAD_MAX;

pub(super) mod control_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const WRITE: Span = Span::first(8);
    pub(crate) const SYNCED: Span = WRITE.then(8);
    pub(crate) const GENERATION: Span = SYNCED.then(8);
    pub(crate) const RECOVERED: Span = GENERATION.then(8);
    pub(crate) const SYNCED_AT: Span = RECOVERED.then(8);
    pub(crate) const SYNCED_BLOCKS: Span = SYNCED_AT.then(4);
    pub(crate) const STATE: Span = SYNCED_BLOCKS.then(4);
    pub(crate) const SETTLED: Span = STATE.then(8);
    pub(crate) const REWRITTEN: Span = SETTLED.then(4);
    const _: () = assert!(REWRITTEN.end() == LINE_CHECK.offset);
}

const STATE_SUSPECT: u64 = 1;
const STATE_SYNCING: u64 = 2;
const STATE_RENEW: u64 = 4;

/// The control line: what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// Epoch in which versions are now published.
    pub(crate) write_epoch: u64,
    /// Every version of this epoch or an earlier one is durable.
    pub(crate) synced_epoch: u64,
    /// Generation of the bitmaps: the write epoch in which they were last
    /// declared unknown.
    pub(crate) generation: u64,
    /// Entries of earlier epochs may name records that a power cut took.
    pub(crate) recovered_epoch: u64,
    /// What was durable before the last recovery, as far as the pass has not come
    /// to its end since: no cut took a version of this epoch or an earlier one.
    pub(crate) settled_epoch: u64,
    /// Blocks of the file that are on the disk: no cut leaves a shorter one.
    pub(crate) synced_blocks: u32,
    /// When `synced_epoch` last rose, milliseconds since 1970.
    pub(crate) synced_at_ms: u64,
    /// A sync failed and not everything since `synced_epoch` was rewritten.
    pub(crate) suspect: bool,
    /// How much was, counted in heads of blocks and lines of the index; 0 when not
    /// suspect.
    pub(crate) rewritten: u32,
    /// A sync was begun, and its end not yet recorded. Whoever finds this while
    /// holding SYNC knows that the syncer died, perhaps after a failure.
    pub(crate) syncing: bool,
    /// Bits have leaked: the next sync begins a new generation.
    pub(crate) renew: bool,
}

impl Control {
    /// In the place of a line that cannot be read: all that is named is durable.
    pub(crate) const ALL_DURABLE: Control = Control {
        write_epoch: EPOCH_MAX,
        synced_epoch: EPOCH_MAX - 1,
        generation: 0,
        recovered_epoch: 0,
        settled_epoch: 0,
        synced_blocks: 0,
        synced_at_ms: 0,
        suspect: false,
        rewritten: 0,
        syncing: false,
        renew: false,
    };

    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Control> {
        use control_line as field;
        let control = Control {
            write_epoch: field::WRITE.get(line),
            synced_epoch: field::SYNCED.get(line),
            generation: field::GENERATION.get(line),
            recovered_epoch: field::RECOVERED.get(line),
            settled_epoch: field::SETTLED.get(line),
            synced_blocks: field::SYNCED_BLOCKS.get32(line),
            synced_at_ms: field::SYNCED_AT.get(line),
            suspect: field::STATE.get(line) & STATE_SUSPECT != 0,
            rewritten: field::REWRITTEN.get32(line),
            syncing: field::STATE.get(line) & STATE_SYNCING != 0,
            renew: field::STATE.get(line) & STATE_RENEW != 0,
        };
        let rules = control.synced_epoch < control.write_epoch
            && control.generation <= control.write_epoch
            && control.recovered_epoch <= control.write_epoch
            && control.settled_epoch < control.write_epoch
            && control.write_epoch < EPOCH_MAX;
        (seal.fits(line, offset) && rules).then_some(control)
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use control_line as field;
        let mut line = NEVER;
        field::WRITE.put(&mut line, self.write_epoch);
        field::SYNCED.put(&mut line, self.synced_epoch);
        field::GENERATION.put(&mut line, self.generation);
        field::RECOVERED.put(&mut line, self.recovered_epoch);
        field::SYNCED_AT.put(&mut line, self.synced_at_ms);
        field::SYNCED_BLOCKS.put(&mut line, self.synced_blocks.into());
        field::SETTLED.put(&mut line, self.settled_epoch);
        field::REWRITTEN.put(&mut line, self.rewritten.into());
        let suspect = if self.suspect { STATE_SUSPECT } else { 0 };
        let syncing = if self.syncing { STATE_SYNCING } else { 0 };
        let renew = if self.renew { STATE_RENEW } else { 0 };
        field::STATE.put(&mut line, suspect | syncing | renew);
        seal.seal(line, offset)
    }

    /// Whether everything published in `epoch` is durable.
    pub(crate) fn is_durable(&self, epoch: u64) -> bool {
        epoch <= self.synced_epoch
    }

    /// Whether a recovery was begun and not finished.
    pub(crate) fn recovery_unfinished(&self) -> bool {
        self.write_epoch - self.synced_epoch > LEAD_MAX
    }
}

/// Epochs are below this: they have 48 bits in an entry, and a leap must fit.
pub(crate) const EPOCH_MAX: u64 = (1 << 48) - 1024;

pub(super) mod root_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const SEGMENTS: Span = Span::first(4);
    pub(crate) const BATCH: Span = SEGMENTS.then(4);
    pub(crate) const EPOCH: Span = BATCH.then(8);
    pub(crate) const PHASE: Span = EPOCH.then(1);
    pub(crate) const RESERVED: Span = PHASE.then(43);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// How far a split of segments has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No split.
    Whole,
    /// The `batch` segments after the first `segments` are being filled; the
    /// old ones count.
    Filling,
    /// The last `batch` of the `segments` count; the ones that they were split
    /// from are kept in step.
    Settling,
}

/// The root line: which segments make up the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Number of segments that count.
    pub(crate) segments: u32,
    /// Number of segments that are being split off: their parents are all among the
    /// others.
    pub(crate) batch: u32,
    pub(crate) phase: Phase,
    /// Epoch in which the phase began.
    pub(crate) epoch: u64,
}

impl Root {
    #[inline]
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Root> {
        use root_line as field;
        if !seal.fits(line, offset) {
            return None;
        }
        let root = Root {
            segments: field::SEGMENTS.get32(line),
            batch: field::BATCH.get32(line),
            phase: match field::PHASE.get(line) {
                0 => Phase::Whole,
                1 => Phase::Filling,
                2 => Phase::Settling,
                _ => return None,
            },
            epoch: field::EPOCH.get(line),
        };
        if root.segments == 0 || root.segments > SEGMENTS_MAX {
            return None;
        }
        let batch_fits = match root.phase {
            Phase::Whole => root.batch == 0,
            Phase::Filling => (1..=batch_max(root.segments)).contains(&root.batch),
            Phase::Settling => {
                let before = root.segments.saturating_sub(root.batch);
                before > 0 && (1..=batch_max(before)).contains(&root.batch)
            }
        };
        (batch_fits && root.named() <= SEGMENTS_MAX).then_some(root)
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use root_line as field;
        let mut line = NEVER;
        field::SEGMENTS.put(&mut line, self.segments.into());
        field::BATCH.put(&mut line, self.batch.into());
        field::EPOCH.put(&mut line, self.epoch);
        let phase = match self.phase {
            Phase::Whole => 0,
            Phase::Filling => 1,
            Phase::Settling => 2,
        };
        field::PHASE.put(&mut line, phase);
        seal.seal(line, offset)
    }

    /// The first word of its line.
    pub(crate) fn word(&self) -> [u8; 8] {
        let mut line = NEVER;
        root_line::SEGMENTS.put(&mut line, self.segments.into());
        root_line::BATCH.put(&mut line, self.batch.into());
        line.first_chunk().copied().unwrap_or_default()
    }

    /// The number of segments in the first word of a root line.
    #[inline]
    pub(crate) fn segments_of(word: [u8; 8]) -> u32 {
        let [a, b, c, d, ..] = word;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Number of segments that the table names for good reason: those that
    /// count and those being filled.
    pub(crate) fn named(&self) -> u32 {
        match self.phase {
            Phase::Filling => self.segments + self.batch,
            Phase::Whole | Phase::Settling => self.segments,
        }
    }
}

/// Most segments that the table has room for.
pub(crate) const SEGMENTS_MAX: u32 = 256 + 64 * TABLE_BLOCK_LEN;

pub(super) mod busy_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const TAG: Span = Span::first(16);
    pub(crate) const FROM: Span = TAG.then(4);
    pub(crate) const TO: Span = FROM.then(4);
    pub(crate) const OPERATION: Span = TO.then(1);
    pub(crate) const RESERVED: Span = OPERATION.then(35);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

const OPERATION_MIRROR: u64 = 1;

/// The busy line, while two lines are being changed as one: the entry of `tag`
/// is copied from the line that counts to its mirror. Offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) tag: Tag,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Busy {
    /// What is being done; `None` for the all-zero line, and for one that
    /// breaks a rule: that is what a power cut may leave of it, and then
    /// recovery, not repair, has the word.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Option<Busy> {
        use busy_line as field;
        let known = field::OPERATION.get(line) == OPERATION_MIRROR;
        (known && seal.fits(line, offset)).then(|| Busy {
            tag: Tag(field::TAG.array(line)),
            from: field::FROM.get(line) * LINE_SIZE as u64,
            to: field::TO.get(line) * LINE_SIZE as u64,
        })
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use busy_line as field;
        let mut line = NEVER;
        field::TAG.put_slice(&mut line, &self.tag.0);
        field::FROM.put(&mut line, self.from / LINE_SIZE as u64);
        field::TO.put(&mut line, self.to / LINE_SIZE as u64);
        field::OPERATION.put(&mut line, OPERATION_MIRROR);
        seal.seal(line, offset)
    }
}

pub(super) mod views_line {
    use super::{LINE_CHECK, Span};
    pub(crate) const BOOT: Span = Span::first(8);
    pub(crate) const WITNESSES: Span = BOOT.then(48);
    pub(crate) const RESERVED: Span = WITNESSES.then(4);
    const _: () = assert!(RESERVED.end() == LINE_CHECK.offset);
}

/// Views of one boot that a container remembers.
const VIEWS_MAX: usize = 6;

/// The views line: through which mounts of which boot the file's page cache is
/// known not to have been lost since recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Views {
    /// Hash of the boot id; 0 if there is none.
    pub(crate) boot: u64,
    /// Newest first; 0 is none.
    pub(crate) witnesses: [u64; VIEWS_MAX],
}

impl Views {
    /// The views, or none if the line breaks a rule.
    pub(crate) fn decode(line: &Line, offset: u64, seal: Seal) -> Views {
        use views_line as field;
        if !seal.fits(line, offset) {
            return Views::default();
        }
        let mut views = Views { boot: field::BOOT.get(line), ..Views::default() };
        let bytes = field::WITNESSES.slice(line).unwrap_or(&[]);
        for (witness, from) in views.witnesses.iter_mut().zip(bytes.chunks_exact(8)) {
            *witness = Span::first(8).get(from);
        }
        views
    }

    pub(crate) fn encode(&self, offset: u64, seal: Seal) -> Line {
        use views_line as field;
        let mut line = NEVER;
        field::BOOT.put(&mut line, self.boot);
        let mut bytes = [0; VIEWS_MAX * 8];
        for (witness, to) in self.witnesses.iter().zip(bytes.chunks_exact_mut(8)) {
            to.copy_from_slice(&witness.to_le_bytes());
        }
        field::WITNESSES.put_slice(&mut line, &bytes);
        seal.seal(line, offset)
    }

    /// Whether nothing was lost since `witness` was entered in `boot`.
    pub(crate) fn knows(&self, boot: u64, witness: u64) -> bool {
        self.boot == boot && self.witnesses.contains(&witness)
    }

    /// These views and one more; only that one if the boot is another.
    pub(crate) fn with(&self, boot: u64, witness: u64) -> Views {
        let mut views = Views { boot, ..Views::default() };
        let known = self.witnesses.iter().filter(|_| self.boot == boot);
        let all = std::iter::once(&witness).chain(known);
        for (place, value) in views.witnesses.iter_mut().zip(all) {
            *place = *value;
        }
        views
    }
}
