//! The rules of the protocol, one by one, so that tests can break each.
//!
//! A rule is a line of code without which some kill, power cut or failed sync
//! does harm that one of the invariants forbids. In a build with the feature
//! `sabotage` a test turns a rule off for its thread, and demands that the crash
//! simulation sees the harm: a rule that can go unseen is not needed, or not
//! tested. In every other build `holds` is the constant true and leaves no code.
//! Nothing else may ever depend on it.

#[cfg(feature = "sabotage")]
use std::cell::Cell;

macro_rules! rules {
    ($($rule:ident, $invariant:literal, $sentence:literal;)*) => {
        /// A rule of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $(#[doc = $sentence] $rule,)*
        }

        #[cfg(feature = "sabotage")]
        impl Rule {
            /// All rules.
            ///
            /// ```
            /// # use cloakroom::rules::Rule;
            /// assert!(Rule::ALL.len() >= 30);
            /// for rule in Rule::ALL {
            ///     assert!((1..=26).contains(&rule.invariant()), "{}", rule.sentence());
            /// }
            /// ```
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Number of the invariant that needs the rule.
            pub fn invariant(self) -> u32 {
                match self {
                    $(Rule::$rule => $invariant,)*
                }
            }

            /// The rule in a sentence.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Rule::$rule => $sentence,)*
                }
            }
        }
    };
}

rules! {
    OldIsLastDurable, 5, "`old` is the newest durable version, not simply the one before.";
    MidIsKept, 4, "The newest version that a sync under way will make durable is kept.";
    MidKeepsItsEpoch, 4, "`mid` keeps the epoch it was published in.";
    CutVersionsAreDropped, 4, "What a cut took is dropped from an entry before it changes.";
    LostWordsReleaseNothing, 8, "A word that cannot be read after a cut releases nothing.";
    LargeValuesGiveBlocksBack, 22, "The blocks of a large value are released with its record.";
    TrimOnlyWhenDurable, 4, "Older versions are let go only when the newest is durable.";
    RottenHeadsGiveNothing, 8, "A block whose head has rotted in the pass is withheld.";
    PiecesAreMasked, 14, "The same value saved again makes no version whole that was lost.";
    EndedLivesStayOver, 15, "A version of a life that is over never serves again.";
    EndedMidsStayOver, 15, "Nor does one that a sync under way may be making durable.";
    TombstonesDurableFirst, 15, "A line is vacated only when its tombstone is durable.";
    EntriesWrittenWhole, 6, "An entry is written by one call.";
    VacatedLinesHeld, 15, "A vacated line is another id's only when the vacating is durable.";
    OwnVacatedLineFirst, 2, "An id takes the line that it vacated before any other.";
    ReachDurableBeforeUse, 2, "Lines beyond the old reach are used when the raise is durable.";
    ReachRaisedByDurableSteps, 2, "The reach is raised again only when the last raise is durable.";
    BusySetFirst, 18, "The busy line is set before the first of two lines.";
    BusyRedone, 18, "Whoever takes the lock redoes what the busy line says.";
    CountingLineFirst, 18, "The line that counts is written before its mirror.";
    MirrorWritten, 17, "During a split a change goes to the mirror as well.";
    DeadOnlyWhenWhole, 17, "Lines that a split leaves behind are dead only at its end.";
    FirstWait, 17, "New segments count only when they are durable.";
    CopiesNamedAtOnce, 17, "A copied segment is named before space is looked for again.";
    LargerBatchWaitsAnew, 17, "Segments added to a batch must be durable, too.";
    SecondWait, 17, "Old segments are kept in step until the new count is durable.";
    FreshBlocksForASplit, 17, "A repeated split takes new blocks.";
    ReachCoversCopies, 17, "The reach of a new segment covers the copies in it.";
    ChecksumInWord, 13, "A record must have the checksum that its word says.";
    FallBackOnlyUnchanged, 13, "A load takes an older version only of an unchanged entry.";
    MissReadsRootAgain, 13, "A load that finds nothing looks whether the index has grown.";
    BitSetBeforeNamed, 8, "The bit is set before an entry names the extent.";
    BitClearedAfterwards, 8, "The bit is cleared after the last word that names the extent.";
    OwnExtentTrimmedFirst, 7, "An entry lets go of its own extent before that is written to.";
    OwnExtentOnlyOfDurable, 7, "An entry gives its own extent up for a durable newest version.";
    DamagedWordsOwnNothing, 7, "What the pass could not read is not released, nor kept.";
    DoneAlreadyWaits, 11, "Who finds a removal done waits until it is durable.";
    DurableSavesWait, 11, "A durable save is acknowledged when its epoch is synced.";
    OldBitmapsGiveNothing, 8, "A block of an older generation gives out nothing.";
    PartialBitmapsGiveNothing, 8, "A block gives out nothing before the pass is done with all.";
    ListMembersChecked, 8, "A block from a free list is believed by its own head only.";
    SparesOfTheGeneration, 8, "Spare extents are of no use in another generation.";
    ReclassOnlyDurablyEmpty, 7, "A block changes class only when its emptiness is durable.";
    UnseenEmptyAsOfNow, 7, "A block that the pass never came to is empty as of now.";
    RecoveryBeginsGeneration, 8, "Recovery declares all bitmaps unknown.";
    PassMarksSegments, 8, "The pass marks the blocks of the segments.";
    ClassesFromRecords, 8, "The pass takes a block's class from the records in it.";
    PassMarksPieces, 8, "The pass marks the blocks of large values.";
    PassMarksOlderVersions, 8, "The pass marks what `mid` and `old` name, too.";
    RemainsWithheld, 14, "What a cut took in part is not written to in the generation.";
    WithheldFirst, 14, "Space is withheld before an entry lets go of what a cut took.";
    PassBeginsAfresh, 22, "The pass begins each bitmap with no bit set.";
    PassDropsWhatACutTook, 14, "The pass drops from the entries what a cut took.";
    SettledOnlyAfterPass, 14, "An epoch is settled only when the pass was done.";
    SettledOnlyWhenDurable, 14, "An epoch is settled only when the pass is durable.";
    LeaksBeginGeneration, 22, "Leaked bits are found by a new generation.";
    BumpBeforeSync, 10, "The write epoch rises before the sync, not after it.";
    LeadBounded, 9, "A syncer does not bump when the write epoch is 8 ahead.";
    OneCreditedSync, 10, "Only the holder of SYNC raises the synced epoch.";
    SyncingMarked, 12, "A sync is marked before it begins, in case the syncer dies.";
    FailureRewritten, 12, "After a failed sync everything is written again.";
    FailureVoidsRewriting, 12, "What was rewritten before a failed sync is written once more.";
    PendingRecordsRewritten, 12, "That includes the records of pending versions.";
    WitnessNoticesCuts, 16, "A writer recovers under a view that it does not know.";
    WitnessRememberedLast, 16, "A view is remembered when its recovery is done.";
    UnfinishedRecoveryFirst, 9, "An unfinished recovery is finished before anything else.";
    EpochsLeap, 9, "Recovery leaves out more epochs than the disk can be ahead.";
    RecoverySyncs, 10, "Recovery syncs before it calls durable what it can read.";
    RecoveryRaisesSynced, 16, "Recovery ends by raising the synced epoch.";
    RecoveryRewritesDoubtful, 12, "Recovery rewrites what a failed sync left in doubt.";
    MarkedLast, 14, "The inode is marked when the recovery is done, not before.";
    RecoveryHoldsSync, 10, "Nobody recovers while another syncs.";
    RecoveryDropsSplit, 17, "Recovery drops a split that is not done.";
    BoundsLoweredFirst, 24, "A bound is lowered before the entry is written.";
    UpperBoundsFirst, 24, "Of the bounds that stand for an entry the highest is lowered first.";
    LowerBoundsAllTheWay, 24, "A bound is lowered in all segments above, and in the sweep line.";
    SplitsLowerBounds, 24, "What stands above a new segment is lowered before it is named.";
    MirrorsHaveBounds, 24, "What stands for an entry's mirror is lowered, too.";
    PassDerivesBounds, 24, "The pass derives the bounds of each segment anew.";
    NextVersionHasTimeouts, 25, "A save reads the timeouts of the version before.";
    TimeoutsStayNoted, 25, "An entry says so while any of its versions may have some.";
    CopyDurableFirst, 26, "A forward is published when the copy that it leads to is durable.";
    ForwardOnlyOfTheCopied, 26, "A forward is published only for the version that was copied.";
    ForwardKeepsTheDeadline, 14, "A forward keeps the deadline of what it may fall back to.";
    HeaderLast, 20, "A container has its header when all else is durable.";
    LockForEachChange, 7, "Nothing is changed without the writer lock.";
    ReplacedFileLeft, 11, "Nothing is saved into a file that has no name any more.";
    ForkOpensAnew, 7, "A forked child does not share its parent's lock.";
    DurableLossIsDamage, 13, "A durable version that cannot be read is damage, not absent.";
}

#[cfg(feature = "sabotage")]
thread_local! {
    static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Whether the rule is kept.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

/// Whether the rule is kept on this thread.
#[cfg(feature = "sabotage")]
pub(crate) fn holds(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

/// Breaks the rule in all that this thread does, until it is called again.
///
/// ```
/// use cloakroom::rules::{Rule, turn_off};
/// use cloakroom::storage::{LockName, MemoryStorage, Storage};
///
/// # let memory = MemoryStorage::new();
/// # let options = cloakroom::Options::new().lock_deadline(std::time::Duration::ZERO);
/// # let container = cloakroom::ByteContainer::create_on(Box::new(memory.share()), options)?;
/// assert!(memory.try_lock(LockName::Writer)?);
/// assert!(container.save("id", b"a coat").is_err());
/// turn_off(Some(Rule::LockForEachChange));
/// assert!(container.save("id", b"a coat").is_ok());
/// turn_off(None);
/// assert!(container.save("id", b"a coat").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "sabotage")]
pub fn turn_off(rule: Option<Rule>) {
    OFF.set(rule);
}
