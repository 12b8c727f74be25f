//! The suite for session managers: those that come along pass it, and it catches managers
//! that are wrong in one thing each, by the check that is about that.

use std::path::Path;
use std::time::Duration;

use cloakroom::session::{self, SessionManager};
use cloakroom::testing::{Opening, Suite};
use cloakroom::{SweepEnd, SweepPolicy};
use serde_json::{Map, Value, json};

use crate::wrong::{Mistake, Wrong};

fn open(driver: &str, mut options: Map<String, Value>) -> Box<dyn SessionManager> {
    options.insert("sessionDriver".to_owned(), json!(driver));
    let managers = json!({ "it": options });
    let configuration = json!({ "session": { "manager": "it", "managers": managers } });
    session::open(&configuration).unwrap().manager
}

fn memory(_: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    open("memory", opening.options())
}

fn container(directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    open("container", container_options(directory, opening))
}

fn container_options(directory: &Path, opening: &Opening) -> Map<String, Value> {
    let mut options = opening.options();
    options.insert("file".to_owned(), json!(directory.join("sessions.room")));
    let sweep = if opening.sweep == SweepPolicy::OnRequest { "request" } else { "changes" };
    options.insert("sweep".to_owned(), json!(sweep));
    options
}

fn directory(directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    let mut options = opening.options();
    options.insert("dir".to_owned(), json!(directory.join("SESSIONS")));
    open("directory", options)
}

#[cfg(feature = "sqlite")]
fn sqlite(directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    let mut options = opening.options();
    options.insert("file".to_owned(), json!(directory.join("sessions.sqlite3")));
    open("sqlite", options)
}

// Those that come along, each by one test; a new one is added here.

#[test]
fn memory_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    Suite::new("suite::memory_keeps_its_word", dir.path(), memory).run();
}

#[test]
fn container_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    Suite::new("suite::container_keeps_its_word", dir.path(), container).run();
}

#[test]
fn container_with_plain_ids_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    let open = |directory: &Path, opening: &Opening| {
        let mut options = container_options(directory, opening);
        options.insert("ids".to_owned(), json!("plain"));
        self::open("container", options)
    };
    let suite = Suite::new("suite::container_with_plain_ids_keeps_its_word", dir.path(), open);
    suite.sessions(300).run();
}

#[test]
fn directory_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    Suite::new("suite::directory_keeps_its_word", dir.path(), directory).sessions(1000).run();
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    Suite::new("suite::sqlite_keeps_its_word", dir.path(), sqlite).run();
}

/// What the mistakes are made to is right: the suite does not blame the wrapper.
#[test]
fn a_wrapper_without_a_mistake_keeps_its_word() {
    let dir = tempfile::tempdir().unwrap();
    let open = |directory: &Path, opening: &Opening| right(Mistake::None, directory, opening);
    let suite = Suite::new("suite::a_wrapper_without_a_mistake_keeps_its_word", dir.path(), open);
    suite.sessions(300).run();
}

fn right(mistake: Mistake, directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    Box::new(Wrong::new(container(directory, opening), mistake, directory))
}

fn wrong(mistake: Mistake, directory: &Path, opening: &Opening) -> Box<dyn SessionManager> {
    if mistake.needs_processes() {
        return right(mistake, directory, opening);
    }
    let mut options = opening.options();
    options.insert("ids".to_owned(), json!("plain"));
    match mistake {
        Mistake::AcceptsTooLarge => drop(options.remove("maxBytes")),
        Mistake::KeepsLessThan4MiB => drop(options.insert("maxBytes".to_owned(), json!(4_000_000))),
        Mistake::KnowsNoTimeouts => drop(options.remove("idleMinutes")),
        _ => {}
    }
    Box::new(Wrong::new(open("memory", options), mistake, directory))
}

/// What the check has to say of a manager with this mistake.
fn sentence(test: &str, mistake: Mistake, check: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let open = move |directory: &Path, opening: &Opening| wrong(mistake, directory, opening);
    let suite = Suite::new(&format!("suite::{test}"), dir.path(), open);
    let report = suite.sessions(100).patience(Duration::from_secs(8)).only(check).check();
    let failed: Vec<_> = report.failed().collect();
    let [(name, sentence)] = failed[..] else { panic!("{check} has caught nothing: {report}") };
    assert_eq!(name, check);
    assert!(sentence.contains("expected") && sentence.contains("found"), "{sentence}");
    sentence.to_owned()
}

macro_rules! caught {
    ($($test:ident: $mistake:ident by $check:literal;)+) => {
        $(#[test]
        fn $test() {
            sentence(stringify!($test), Mistake::$mistake, $check);
        })+
        const CAUGHT_BY: &[&str] = &[$($check),+];
    };
}

caught! {
    one_that_serves_the_expired:
        ServesExpired by "expiry: load does not show an expired session";
    one_whose_save_if_ignores_the_version:
        IgnoresVersion by "operations: save_if needs the very version";
    one_whose_replace_resurrects:
        ReplaceResurrects by "removed: replace does not bring a session back";
    one_whose_create_overwrites:
        CreateOverwrites by "operations: create takes a free id only";
    one_that_updates_outside_its_lock:
        UpdatesOutsideItsLock by "threads: no update is lost";
    one_that_saves_in_two_steps:
        SavesInTwoSteps by "threads: no load is torn or goes back";
    one_whose_touch_resurrects:
        TouchResurrects by "removed: touch does not bring a session back";
    one_whose_touch_never_moves:
        TouchNeverMoves by "expiry: a touch moves the deadline where it is due";
    one_whose_sweep_removes_the_refreshed:
        SweepsRefreshed by "sweep: who is refreshed meanwhile stays";
    one_whose_sweep_shows_nobody:
        SweepShowsNobody by "sweep: each that has expired is shown once, and goes";
    one_whose_sweep_ignores_break:
        SweepIgnoresBreak by "sweep: Break keeps the one that was shown";
    one_whose_sweep_ignores_the_limit:
        SweepIgnoresLimit by "sweep: no more go than the limit says";
    one_whose_sweep_removes_the_living:
        SweepsLiving by "sweep: what lives stays";
    one_whose_walk_misses_one:
        WalkMissesOne by "operations: walk, len and is_empty agree";
    one_whose_walk_shows_one_twice:
        WalkShowsTwice by "many: a walk shows each session once while others come and go";
    one_whose_walk_shows_the_expired:
        WalkShowsExpired by "expiry: walk does not show an expired session";
    one_whose_walk_misses_one_of_many:
        WalkMissesOne by "many: a walk shows each session once while others come and go";
    one_whose_rotate_begins_a_new_life:
        RotatesToANewLife by "rotation: all but the id stays";
    one_whose_old_ids_lead_nowhere:
        LeadsNowhere by "rotation: the old id leads to the session within the grace";
    one_whose_old_ids_lead_for_ever:
        LeadsForEver by "rotation: after the grace the old id has none and says why";
    one_whose_rotate_removes_others:
        RotatesOntoOthers by "rotation: an id that is taken or gone is a conflict";
    one_whose_logout_is_of_the_old_id_only:
        LogsOutTheOldIdOnly by "rotation: a logout by the old id is one";
    one_whose_rotate_loses_updates:
        RotatesInTwoSteps by "rotation: no update is lost at a login";
    one_whose_flash_values_are_taken_twice:
        TakesTwice by "flash: a member is taken once";
    one_that_claims_no_rotation:
        ClaimsNoGuards by "operations: a rotation is refused where there are none";
    one_that_counts_no_misses:
        CountsNoMisses by "operations: loads of nobody are counted";
    one_whose_versions_repeat:
        VersionsRepeat by "operations: versions never repeat";
    one_whose_versions_are_those_of_an_earlier_life:
        VersionsRepeat by "removed: a version of an earlier life is no version of this one";
    one_that_loses_properties:
        LosesProperties by "properties: a save without any keeps them";
    one_whose_saves_move_the_creation:
        MovesCreation by "operations: a save keeps the time of creation";
    one_that_cuts_ids_at_nul:
        CutsIds by "ids: each hostile one is a session of its own";
    one_that_folds_the_case_of_ids:
        FoldsIds by "ids: each hostile one is a session of its own";
    one_that_takes_its_kept_ids_for_ids:
        TakesKeptIds by "ids: one that is the kept form of another is another";
    one_that_finds_nobody_by_what_is_kept:
        LoadKeptIsBlind by "ids: what is kept of one finds its session";
    one_that_leaves_its_directory:
        LeavesDirectory by "ids: none leads out of the directory";
    one_that_accepts_what_is_too_large:
        AcceptsTooLarge by "values: one that is too large is refused and changes nothing";
    one_that_removes_what_it_then_refuses:
        RemovesBeforeRefusing by "values: one that is too deep is refused and changes nothing";
    one_that_makes_floats_integers:
        RoundsFloats by "values: JSON comes back as it was";
    one_whose_remove_is_always_true:
        RemoveIsTrue by "operations: remove says whether one lived";
    one_whose_guard_guards_nothing:
        GuardsNothing by "guards: a session is guarded once, and others beside it";
    one_whose_guard_lets_threads_in:
        GuardsNothing by "guards: several threads exclude each other";
    one_whose_guard_has_no_patience:
        GuardsImpatiently by "guards: who waits is patient, and no longer than that";
    one_whose_kept_id_differs:
        KeptIdDiffers by "operations: kept_id is the id or its hash";
    one_whose_len_is_wrong:
        LenIsWrong by "operations: walk, len and is_empty agree";
    one_whose_save_if_is_not_atomic:
        SaveIfInTwoSteps by "threads: one of several save_if wins";
    one_whose_create_is_not_atomic:
        CreatesInTwoSteps by "threads: one of several create wins";
    one_whose_replace_is_not_atomic:
        ReplacesInTwoSteps by "removed: a session stays gone that is used while it is removed";
    one_whose_restore_forgets_the_times:
        RestoresAnew by "operations: a restored session is as it was";
    one_whose_lock_outlives_its_holder:
        LockStays by "crashes: others go on after one that is killed in an update";
    one_whose_guard_outlives_its_holder:
        GuardStays by "crashes: others get a guard after one that is killed with it";
    one_that_forgets_when_its_process_is_killed:
        SavesAtTheEnd by "crashes: what a killed process had saved is there";
    one_that_forgets_what_was_closed:
        ForgetsAll by "operations: what was closed is there again";
    one_whose_guard_is_for_threads_only:
        GuardsThreadsOnly by "guards: one of another process holds until it is released";
    one_whose_guard_lets_processes_in:
        GuardsThreadsOnly by "guards: several processes exclude each other";
    one_that_locks_threads_only:
        LocksThreadsOnly by "processes: no update is lost";
    one_that_makes_what_others_are_making:
        MakesWhatOthersMake by "processes: several open at once what is not there yet";
    one_that_shows_what_it_saw_before:
        ShowsWhatItSaw by "processes: what one has saved all see";
    one_that_saves_in_two_steps_for_other_processes:
        SharedSavesInTwoSteps by "processes: no load is torn or goes back";
    one_whose_create_is_atomic_for_threads_only:
        CreatesForThreadsOnly by "processes: one of several create wins";
    one_whose_save_if_is_atomic_for_threads_only:
        SavesIfForThreadsOnly by "processes: one of several save_if wins";
    one_whose_replace_is_atomic_for_threads_only:
        ReplacesForThreadsOnly by "processes: a session stays gone that others use";
    one_that_shows_sessions_for_a_little_longer:
        LingersOn by "expiry: a load gives a session until its deadline, to the millisecond";
    one_whose_replace_revives:
        ReplaceResurrects by "expiry: replace does not revive an expired session";
    one_whose_save_if_revives:
        SaveIfResurrects by "expiry: save_if does not revive an expired session";
    one_whose_save_if_resurrects:
        SaveIfResurrects by "removed: save_if does not bring a session back";
    one_whose_update_shows_the_expired:
        UpdateShowsTheGone by "expiry: update does not show an expired session";
    one_whose_update_shows_the_removed:
        UpdateShowsTheGone by "removed: update does not show a session";
    one_whose_touch_revives:
        TouchResurrects by "expiry: touch does not revive an expired session";
    one_that_says_it_has_removed_the_expired:
        RemoveIsTrue by "expiry: remove of an expired session says that none lived";
    one_that_gives_the_new_what_the_expired_had:
        RemembersProperties by "expiry: a save begins an expired session anew";
    one_that_gives_the_new_what_the_removed_had:
        RemembersProperties by "properties: a new life begins without them";
    one_that_does_not_take_new_properties:
        KeepsProperties by "properties: a save with some replaces them";
    one_that_has_no_timeouts:
        KnowsNoTimeouts by "expiry: the manager's timeouts make the deadline";
    one_that_loses_timeouts_of_a_sessions_own:
        LosesProperties by "expiry: timeouts of its own take their place";
    one_whose_touch_moves_the_absolute_end:
        TouchIgnoresAbsolute by "expiry: an absolute timeout is not moved";
    one_whose_restore_forgets_the_deadline:
        RestoresAnew by "expiry: deadlines of restored sessions are kept";
    one_whose_sweep_hides_who_expires_by_itself:
        SweepShowsNobody by "sweep: what expires by itself goes";
    one_whose_sweep_counts_who_was_gone_already:
        SweepsCountWhatTheyShow by "sweep: two at once remove each session once";
    one_whose_touch_saves:
        TouchSaves by "operations: touch leaves value and version";
    one_whose_update_does_not_keep:
        KeepRemoves by "operations: update saves, removes and keeps";
    one_whose_replace_makes:
        ReplaceResurrects by "operations: replace needs a session";
    one_that_guards_and_says_that_it_cannot:
        ClaimsNoGuards by "operations: a guard is refused where there are none";
    one_whose_sync_fails:
        SyncFails by "operations: sync and close say that all is well";
    one_that_saves_nothing_while_a_guard_is_held:
        GuardHinders by "guards: nobody is hindered who asks for none";
    one_whose_guard_never_ends:
        GuardNeverEnds by "guards: one is released in another thread";
    one_that_accepts_an_empty_id:
        AcceptsEmptyIds by "ids: an empty one and one of 256 bytes are refused";
    one_that_keeps_less_than_it_says:
        KeepsLessThan4MiB by "values: 4 MiB can be saved and no more";
    one_that_is_killed_with_half_a_save:
        DiesHalfSaved by "crashes: one that is killed while it saves leaves nothing torn";
}

/// Or else it might be one that cannot fail.
#[test]
fn every_check_has_a_mistake_that_it_catches() {
    let dir = tempfile::tempdir().unwrap();
    let report = Suite::new("suite", dir.path(), memory).sessions(50).check();
    let all = report.passed().chain(report.not_run().map(|(check, _)| check));
    let is_caught = |check: &str| CAUGHT_BY.contains(&check) || check == PANICS_OR_HANGS;
    let idle: Vec<_> = all.filter(|check| !is_caught(check)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

const PANICS_OR_HANGS: &str = "operations: a load gives what was saved";

#[test]
fn one_that_panics_or_hangs_is_a_failure_like_another() {
    let check = PANICS_OR_HANGS;
    let test = "one_that_panics_or_hangs_is_a_failure_like_another";
    assert!(sentence(test, Mistake::Panics, check).contains("panicked: a load"));
    let dir = tempfile::tempdir().unwrap();
    let open = |directory: &Path, opening: &Opening| wrong(Mistake::Hangs, directory, opening);
    let suite = Suite::new(test, dir.path(), open).sessions(1);
    let report = suite.patience(Duration::from_millis(200)).only(check).check();
    assert!(report.failed().any(|(_, sentence)| sentence.contains("hangs")), "{report}");
}

#[test]
fn what_a_manager_cannot_do_is_said_to_be_not_run() {
    let dir = tempfile::tempdir().unwrap();
    for (theme, missing) in [
        ("processes", "several processes at once"),
        ("crashes", "sessions that outlive their process"),
    ] {
        let report = Suite::new("suite", dir.path(), memory).only(theme).check();
        assert_eq!((report.passed().count(), report.failed().count()), (0, 0), "{report}");
        assert!(report.not_run().count() > 3, "{report}");
        assert!(report.not_run().all(|(_, why)| why.contains(missing)), "{report}");
    }
    let report = Suite::new("suite", dir.path(), container).only("claims").check();
    let claims = report.to_string();
    assert_eq!(report.not_run().count(), 2, "{claims}");
    assert!(claims.contains("not run  claims: ") && claims.contains("cut the power"), "{claims}");
}

#[test]
fn a_name_that_is_not_the_tests_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let suite = Suite::new("no such test", dir.path(), container);
    let report = suite.only("processes: what one has saved all see").check();
    let (_, sentence) = report.failed().next().expect("no other process can play its part");
    assert!(sentence.contains("\"no such test\"") && sentence.contains("with its modules"));
}

#[test]
fn all_failures_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = |directory: &Path, opening: &Opening| wrong(Mistake::LenIsWrong, directory, opening);
    let suite = Suite::new("suite", dir.path(), open).sessions(50).only("operations");
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| suite.run())).unwrap_err();
    let told = panic.downcast_ref::<String>().expect("it is told in words");
    for check in
        ["operations: walk, len and is_empty agree", "operations: a restored session is as it was"]
    {
        assert!(told.contains(&format!("FAILED   {check}")), "{told}");
    }
}

/// The suite found that memory doubted its clock at the first sweep, having heard none.
#[test]
fn memory_believes_its_clock_from_the_start() {
    let sessions = open("memory", Map::new());
    let swept = sessions.sweep(1, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(swept.end, SweepEnd::Done);
}
