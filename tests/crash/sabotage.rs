//! Each rule of the protocol is broken, and the simulation must see it: else the
//! rule is not needed, or not tested.
//!
//! For each rule it is noted what saw it first. That is tried first, then further
//! seeds, up to a bound. The same runs with every rule kept must find nothing.
//! `CLOAKROOM_RULE=Name` looks at one rule alone.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use cloakroom::rules::{self, Rule};

use crate::plays::{self, Scenes};
use crate::stage::{self, Scene};
use crate::workloads::Step;
use crate::{exhaustive, large, random, serial, sweeping};

/// How a violation is looked for.
#[derive(Clone, Copy, Debug)]
enum Hunt {
    /// A serial run with this seed.
    Serial(u64),
    /// A mixed run with this seed.
    Mixed(u64),
    /// The play of this name.
    Played(&'static str),
    /// A life of a larger index with this seed.
    Large(u64),
    /// Lives of sessions with deadlines with this seed.
    Swept(u64),
    /// All workloads of up to so many operations in the first scene.
    Short(usize),
}

use Hunt::{Large, Mixed, Played, Serial, Short, Swept};

/// What saw each rule broken.
const FOUND: &[(Rule, Hunt)] = &[
    (Rule::OldIsLastDurable, Played("saved_three_times")),
    (Rule::MidIsKept, Played("saved_during_a_sync")),
    (Rule::MidKeepsItsEpoch, Played("saved_during_a_sync")),
    (Rule::CutVersionsAreDropped, Serial(0)),
    (Rule::LostWordsReleaseNothing, Played("a_damaged_session_is_saved_over")),
    (Rule::LargeValuesGiveBlocksBack, Played("large_values_come_and_go")),
    (Rule::TrimOnlyWhenDurable, Played("saved_and_trimmed_at_once")),
    (Rule::RottenHeadsGiveNothing, Played("a_head_rots_during_the_pass")),
    (Rule::PiecesAreMasked, Played("a_lost_value_is_saved_by_another")),
    (Rule::EndedLivesStayOver, Played("a_life_ends_and_another_begins")),
    (Rule::EndedMidsStayOver, Played("a_life_ends_before_it_is_durable")),
    (Rule::TombstonesDurableFirst, Played("removed_and_trimmed_at_once")),
    (Rule::EntriesWrittenWhole, Serial(0)),
    (Rule::VacatedLinesHeld, Played("back_after_vacating")),
    (Rule::OwnVacatedLineFirst, Played("back_past_a_free_line")),
    (Rule::ReachDurableBeforeUse, Played("a_crowd_outgrows_the_reach")),
    (Rule::ReachRaisedByDurableSteps, Played("the_reach_is_raised_twice")),
    (Rule::BusySetFirst, Played("died_while_filling")),
    (Rule::BusyRedone, Played("died_while_filling")),
    (Rule::CountingLineFirst, Played("died_while_filling")),
    (Rule::MirrorWritten, Played("died_while_filling")),
    (Rule::DeadOnlyWhenWhole, Played("sessions_come_while_settling")),
    (Rule::FirstWait, Played("the_index_grows_and_the_power_goes")),
    (Rule::CopiesNamedAtOnce, Large(50)),
    (Rule::LargerBatchWaitsAnew, Played("a_batch_grows_while_it_is_synced")),
    (Rule::SecondWait, Played("sessions_come_while_settling")),
    (Rule::FreshBlocksForASplit, Played("a_split_is_repeated")),
    (Rule::ReachCoversCopies, Played("a_crowd_is_split")),
    (Rule::ChecksumInWord, Mixed(3)),
    (Rule::FallBackOnlyUnchanged, Serial(8)),
    (Rule::MissReadsRootAgain, Played("a_load_sleeps_through_a_split")),
    (Rule::BitSetBeforeNamed, Serial(0)),
    (Rule::BitClearedAfterwards, Played("died_superseding")),
    (Rule::OwnExtentTrimmedFirst, Serial(1)),
    (Rule::OwnExtentOnlyOfDurable, Played("saved_three_times")),
    (Rule::DamagedWordsOwnNothing, Played("a_damaged_session_is_saved_over")),
    (Rule::DoneAlreadyWaits, Played("removed_twice")),
    (Rule::DurableSavesWait, Serial(1)),
    (Rule::OldBitmapsGiveNothing, Mixed(3)),
    (Rule::PartialBitmapsGiveNothing, Serial(1)),
    (Rule::ListMembersChecked, Serial(0)),
    (Rule::SparesOfTheGeneration, Serial(4)),
    (Rule::ReclassOnlyDurablyEmpty, Played("a_block_changes_class_at_once")),
    (Rule::UnseenEmptyAsOfNow, Played("an_unseen_block_changes_class")),
    (Rule::RecoveryBeginsGeneration, Serial(2)),
    (Rule::PassMarksSegments, Serial(0)),
    (Rule::ClassesFromRecords, Played("a_head_of_a_larger_class_is_left")),
    (Rule::PassMarksPieces, Serial(13)),
    (Rule::PassMarksOlderVersions, Mixed(3)),
    (Rule::RemainsWithheld, Played("the_same_end_comes_again")),
    (Rule::WithheldFirst, Played("the_same_end_comes_again_after_a_kill")),
    (Rule::PassBeginsAfresh, Played("back_after_vacating")),
    (Rule::PassDropsWhatACutTook, Played("cut_again_after_recovery")),
    (Rule::SettledOnlyAfterPass, Played("cut_again_after_recovery")),
    (Rule::SettledOnlyWhenDurable, Played("cut_again_after_recovery")),
    (Rule::LeaksBeginGeneration, Played("killed_with_extents_taken")),
    (Rule::BumpBeforeSync, Serial(0)),
    (Rule::LeadBounded, Played("syncs_fail_again_and_again")),
    (Rule::OneCreditedSync, Played("two_syncs_overlap")),
    (Rule::SyncingMarked, Played("a_syncer_dies_failing")),
    (Rule::FailureRewritten, Played("a_sync_fails")),
    (Rule::FailureVoidsRewriting, Played("a_sync_fails_after_rewriting")),
    (Rule::PendingRecordsRewritten, Played("a_sync_fails")),
    (Rule::WitnessNoticesCuts, Mixed(3)),
    (Rule::MarkedLast, Mixed(47)),
    (Rule::WitnessRememberedLast, Played("recovery_is_cut_short")),
    (Rule::UnfinishedRecoveryFirst, Played("a_recovery_is_left_undone")),
    (Rule::EpochsLeap, Serial(10)),
    (Rule::RecoverySyncs, Played("a_recovery_is_left_undone")),
    (Rule::RecoveryRaisesSynced, Serial(0)),
    (Rule::RecoveryRewritesDoubtful, Played("recovered_after_a_failed_sync")),
    (Rule::RecoveryHoldsSync, Played("a_recovery_waits_for_a_syncer")),
    (Rule::RecoveryDropsSplit, Played("the_index_grows_and_the_power_goes")),
    (Rule::BoundsLoweredFirst, Swept(0)),
    (Rule::UpperBoundsFirst, Swept(7)),
    (Rule::LowerBoundsAllTheWay, Swept(0)),
    (Rule::SplitsLowerBounds, Swept(0)),
    (Rule::MirrorsHaveBounds, Swept(0)),
    (Rule::PassDerivesBounds, Swept(0)),
    (Rule::NextVersionHasTimeouts, Swept(0)),
    (Rule::TimeoutsStayNoted, Swept(0)),
    (Rule::CopyDurableFirst, Played("rotated_and_cut")),
    (Rule::ForwardOnlyOfTheCopied, Played("saved_while_it_is_rotated")),
    (Rule::ForwardKeepsTheDeadline, Played("a_forward_is_lost")),
    (Rule::HeaderLast, Played("made_and_cut")),
    (Rule::LockForEachChange, Mixed(3)),
    (Rule::ReplacedFileLeft, Played("a_file_loses_its_name")),
    (Rule::ForkOpensAnew, Played("a_server_forks")),
    (Rule::DurableLossIsDamage, Played("a_record_rots")),
];

/// Further runs for a rule whose first hunt did not see it, and time for them.
const RUNS_MAX: usize = 150;
const SEARCH: Duration = Duration::from_secs(60);

thread_local! {
    static HUNTING: Cell<bool> = const { Cell::new(false) };
}

/// What a hunt came to.
#[derive(Clone, Debug, Default)]
struct Trail {
    cuts: u64,
    kills: u64,
    runs: u64,
    /// The violation, if one was seen.
    seen: Option<String>,
}

/// Panics of a hunt are its results and not printed.
fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !HUNTING.get() {
                loud(info);
            }
        }));
    });
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("a panic without words").replace('\n', " ")
}

fn hunt(scenes: &[Scene], hunt: Hunt, broken: Option<Rule>, trail: &mut Trail) {
    quietly();
    HUNTING.set(true);
    rules::turn_off(broken);
    let lived = panic::catch_unwind(AssertUnwindSafe(|| match hunt {
        Serial(seed) => {
            let mut tally = serial::Tally::default();
            let scene = &scenes[seed as usize % scenes.len()];
            let lived =
                panic::catch_unwind(AssertUnwindSafe(|| serial::run(scene, seed, 12, &mut tally)));
            (tally.cuts, tally.kills, lived)
        }
        Played(name) => {
            let (_, script) = plays::ALL.iter().find(|(other, _)| *other == name).unwrap();
            let play = script(&Scenes(scenes));
            (play.cuts.get(), play.kills.get(), Ok(()))
        }
        Large(seed) => {
            let mut tally = large::Tally::default();
            let scene = stage::large_scene();
            let lived =
                panic::catch_unwind(AssertUnwindSafe(|| large::run(&scene, seed, &mut tally)));
            (tally.cuts, tally.kills, lived)
        }
        Swept(seed) => {
            let mut tally = sweeping::Tally::default();
            let lived = panic::catch_unwind(AssertUnwindSafe(|| sweeping::run(seed, &mut tally)));
            (tally.cuts, tally.kills, lived)
        }
        Short(steps_max) => {
            let size = exhaustive::Size { steps_max, subsets_max: 4, share: 1, seed: 0 };
            let tally = exhaustive::Tally::default();
            for step in Step::ALL {
                exhaustive::explore_from(&scenes[0], step, size, &tally);
            }
            (tally.states.into_inner(), tally.deaths.into_inner(), Ok(()))
        }
        Mixed(seed) => {
            let mut tally = random::Tally::default();
            let scene = &scenes[seed as usize % scenes.len()];
            let lived =
                panic::catch_unwind(AssertUnwindSafe(|| random::run(scene, seed, &mut tally)));
            (tally.cuts, tally.kills, lived)
        }
    }));
    rules::turn_off(None);
    HUNTING.set(false);
    trail.runs += 1;
    match lived {
        Ok((cuts, kills, lived)) => {
            trail.cuts += cuts;
            trail.kills += kills;
            trail.seen = lived.err().map(|panic| words_of(panic.as_ref()));
        }
        Err(panic) => trail.seen = Some(words_of(panic.as_ref())),
    }
}

/// Looks for a violation until one is seen or the time is over.
fn track(scenes: &[Scene], rule: Rule) -> (Trail, Hunt, Duration) {
    let begun = Instant::now();
    let mut trail = Trail::default();
    let known = FOUND.iter().filter(|(found, _)| *found == rule).map(|(_, hunt)| *hunt);
    let further = (0..).map(|number| match number % 5 {
        3 => Mixed(number),
        4 => Swept(number),
        _ => Serial(number),
    });
    let mut last = Serial(0);
    let plays = plays::ALL.iter().map(|(name, _)| Played(name));
    for next in known.chain(further.take(RUNS_MAX)).chain(plays) {
        if begun.elapsed() > SEARCH {
            break;
        }
        last = next;
        hunt(scenes, next, Some(rule), &mut trail);
        if trail.seen.is_some() {
            break;
        }
    }
    (trail, last, begun.elapsed())
}

#[test]
fn every_rule_is_needed_and_its_breach_is_seen() {
    let wanted = std::env::var("CLOAKROOM_RULE").ok();
    let all = Rule::ALL.iter().copied();
    let rules: Vec<Rule> = all
        .filter(|rule| wanted.as_ref().is_none_or(|name| *name == format!("{rule:?}")))
        .collect();
    assert!(!rules.is_empty(), "there is no rule {wanted:?}");
    let next = AtomicUsize::new(0);
    let unseen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let scenes = stage::scenes();
                while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (trail, hunt, time) = track(&scenes, *rule);
                    let Trail { cuts, kills, runs, seen } = trail;
                    let what = seen.as_deref().unwrap_or("NOT SEEN");
                    println!(
                        "{:3} {:25} {hunt:?}, {runs} runs, {cuts} cuts, {kills} kills, \
                         {:.2} s: {:.100}",
                        rule.invariant(),
                        format!("{rule:?}"),
                        time.as_secs_f64(),
                        what
                    );
                    if seen.is_none() {
                        unseen.lock().unwrap().push(*rule);
                    }
                }
            });
        }
    });
    let unseen = unseen.into_inner().unwrap();
    stage::say("broken rules", rules.len() as u64);
    stage::say("broken rules seen", (rules.len() - unseen.len()) as u64);
    assert!(unseen.is_empty(), "broken and not seen: {unseen:?}");
}

#[test]
fn the_same_hunts_see_nothing_where_every_rule_is_kept() {
    let scenes = stage::scenes();
    let mut trail = Trail::default();
    for (_, next) in FOUND {
        hunt(&scenes, *next, None, &mut trail);
        assert_eq!(trail.seen, None, "{next:?}");
    }
    println!("{trail:?}");
}

/// Breaches that the short workloads see by themselves, in the scene that is empty at
/// first, and how long a workload that takes.
const SEEN_BY_SHORT: &[(Rule, usize)] = &[
    (Rule::OldIsLastDurable, 2),
    (Rule::CutVersionsAreDropped, 1),
    (Rule::EntriesWrittenWhole, 1),
    (Rule::BitSetBeforeNamed, 1),
    (Rule::OwnExtentOnlyOfDurable, 2),
    (Rule::OldBitmapsGiveNothing, 1),
    (Rule::ListMembersChecked, 1),
    (Rule::RecoveryBeginsGeneration, 1),
    (Rule::PassMarksSegments, 1),
    (Rule::PassMarksPieces, 2),
    (Rule::WitnessNoticesCuts, 1),
    (Rule::MarkedLast, 1),
];

/// What shows that the exhaustive exploration can fail.
#[test]
fn short_workloads_see_breaches_too() {
    let scenes = stage::scenes();
    for (rule, steps_max) in SEEN_BY_SHORT {
        let mut trail = Trail::default();
        hunt(&scenes, Short(*steps_max), Some(*rule), &mut trail);
        assert!(trail.seen.is_some(), "{rule:?} was broken and not seen");
    }
    let mut trail = Trail::default();
    hunt(&scenes, Short(1), None, &mut trail);
    assert_eq!(trail.seen, None);
}
