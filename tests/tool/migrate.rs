//! `migrate`: from one session manager to another, whatever comes between.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::{ByteContainer, Change, IdForm, Options, Properties, Session, Timeouts, Times};
use serde_json::{Value, json};

use super::{Fixture, Ran, TOOL, finish, properties};

/// A time that no test sees the end of.
const FAR_MS: u64 = 4_000_000_000_000;

/// A container whose ids have this form, and which is there.
fn of(form: IdForm) -> Fixture {
    let f = Fixture::empty();
    ByteContainer::create(&f.file, Options::new().ids(form)).unwrap();
    f
}

/// Writes the configuration of a manager of this container. Returns its name.
fn configured_as(f: &Fixture, options: Value) -> String {
    let mut options = options;
    options["sessionDriver"] = json!("container");
    options["file"] = json!(f.file);
    let json = json!({ "session": { "manager": "it", "managers": { "it": options } } });
    let path = f.dir.path().join("configuration.json");
    fs::write(&path, json.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn configured(f: &Fixture) -> String {
    configured_as(f, json!({}))
}

fn migrate(from: &Fixture, to: &Fixture, more: &[&str]) -> Ran {
    let (from_name, to_name) = (configured(from), configured(to));
    from.run(&[&["migrate", "--from", &from_name, "--to", &to_name], more].concat())
}

/// Some sessions with all that one can have.
fn fill(f: &Fixture, count: usize) {
    let container = f.opened();
    for number in 0..count {
        let times = Times {
            created_ms: 1_000 + number as u64,
            saved_ms: 1_700_000_000_000 + number as u64,
            deadline_ms: (number % 3 != 0).then_some(FAR_MS + number as u64),
        };
        let value = json!({ "number": number, "text": "x".repeat(number % 50) }).to_string();
        let id = format!("visitor {number}");
        container.restore(id, value.as_bytes(), times, &properties(number)).unwrap();
    }
}

fn save(f: &Fixture, id: &str, value: &str) {
    f.opened().save(id, value.as_bytes()).unwrap();
}

fn counts(ran: &Ran) -> [u64; 7] {
    let object = ran.object();
    let fields =
        ["copied", "there_already", "replaced", "conflicts", "expired", "damaged", "refused"];
    fields.map(|field| object[field].as_u64().unwrap())
}

fn loaded(f: &Fixture, id: &str) -> Option<Session<Vec<u8>>> {
    f.opened().load(id).unwrap()
}

#[test]
fn all_sessions_arrive_with_their_times_deadlines_and_timeouts() {
    for form in [IdForm::Sha256, IdForm::Plain] {
        let (from, to) = (of(form), of(form));
        fill(&from, 200);
        let before = fs::read(&from.file).unwrap();
        let ran = migrate(&from, &to, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
        let said = "copied 200 sessions, there already 0, replaced 0, conflicts 0, expired 0, \
                    damaged 0, refused 0; ";
        assert!(ran.err.starts_with(said), "{ran:?}");
        assert!(ran.err.contains("\ncompared 200 sessions: the same; digest "), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
        assert_eq!(to.dumped(), from.dumped());
        assert!(fs::read(&from.file).unwrap() == before, "the source was changed");
        for number in [0, 1, 2, 3] {
            let session = loaded(&to, &format!("visitor {number}")).unwrap();
            assert_eq!(session.properties, properties(number));
            let deadline_ms = (number != 0 && number != 3).then_some(FAR_MS + number as u64);
            assert_eq!(session.times.deadline_ms, deadline_ms);
        }
    }
}

#[test]
fn plain_ids_become_hashed_and_visitors_are_known_by_theirs() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Sha256));
    fill(&from, 50);
    let ran = migrate(&from, &to, &["--json"]).done();
    assert_eq!(counts(&ran), [50, 0, 0, 0, 0, 0, 0]);
    let verified = &ran.object()["verified"];
    assert_eq!((&verified["sessions"], &verified["same"]), (&json!(50), &json!(true)));
    assert_eq!(verified["source_digest"], verified["target_digest"]);
    assert_eq!(verified["source_digest"].as_str().unwrap().len(), 64);
    for number in 0..50 {
        let id = format!("visitor {number}");
        let (there, here) = (loaded(&to, &id).unwrap(), loaded(&from, &id).unwrap());
        assert_eq!((there.value, there.times), (here.value, here.times));
    }
    let again = migrate(&from, &to, &["--json"]).done();
    assert_eq!(counts(&again), [0, 50, 0, 0, 0, 0, 0]);
}

#[test]
fn hashed_ids_are_refused_where_ids_are_kept_as_they_are_and_nothing_is_written() {
    let (from, to) = (of(IdForm::Sha256), of(IdForm::Plain));
    fill(&from, 5);
    let before = fs::read(&to.file).unwrap();
    for more in [&["--replace"][..], &["--dry-run"], &[]] {
        migrate(&from, &to, more).refused("no id follows from its SHA-256");
        assert!(fs::read(&to.file).unwrap() == before, "{more:?}");
    }
    // Nor is a file made.
    let new = Fixture::empty();
    let (source, target) = (configured(&from), configured_as(&new, json!({ "ids": "plain" })));
    let ran = from.run(&["migrate", "--from", &source, "--to", &target]);
    ran.refused("no id follows from its SHA-256");
    assert!(!new.file.exists());
}

#[test]
fn a_target_that_is_missing_is_made_and_a_source_is_not() {
    let (from, to) = (of(IdForm::Plain), Fixture::empty());
    fill(&from, 10);
    assert_eq!(counts(&migrate(&from, &to, &["--json"]).done()), [10, 0, 0, 0, 0, 0, 0]);
    let nowhere = Fixture::empty();
    migrate(&nowhere, &to, &[]).refused("No such file");
    let (source, target) = (configured_as(&nowhere, json!({ "create": true })), configured(&to));
    from.run(&["migrate", "--from", &source, "--to", &target]).refused("No such file");
    assert!(!nowhere.file.exists());
    let (source, target) = (configured(&from), configured_as(&nowhere, json!({ "create": false })));
    for more in [&["--dry-run"][..], &[]] {
        let arguments = [&["migrate", "--from", &source, "--to", &target], more].concat();
        from.run(&arguments).refused("No such file");
    }
    assert!(!nowhere.file.exists());
}

#[test]
fn what_a_kill_interrupts_the_next_run_completes() {
    const COUNT: u64 = 5000;
    let (from, to) = (of(IdForm::Sha256), of(IdForm::Sha256));
    fill(&from, COUNT as usize);
    let (source, target) = (configured(&from), configured(&to));
    let mut command = Command::new(TOOL);
    command.args(["migrate", "--from", &source, "--to", &target]).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let watched = ByteContainer::open_read_only(&to.file, Options::new()).unwrap();
    let began = Instant::now();
    while watched.len().unwrap() < COUNT / 10 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is copied");
        thread::yield_now();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was over before it was killed");
    let copied = watched.iter().filter(|item| item.is_ok()).count() as u64;
    assert!((COUNT / 10..COUNT).contains(&copied), "{copied}");

    let ran = migrate(&from, &to, &["--json"]).done();
    assert_eq!(counts(&ran), [COUNT - copied, copied, 0, 0, 0, 0, 0]);
    let verified = &ran.object()["verified"];
    assert_eq!((&verified["sessions"], &verified["same"]), (&json!(COUNT), &json!(true)));
    assert_eq!(verified["source_digest"], verified["target_digest"]);
    assert_eq!(to.dumped(), from.dumped());
}

#[test]
fn what_is_another_in_the_target_is_left_alone_unless_it_is_to_be_replaced() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    fill(&from, 10);
    save(&to, "visitor 3", "\"theirs\"");
    save(&to, "visitor 4", "not JSON");
    save(&to, "only there", "1");
    let ran = migrate(&from, &to, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    for conflict in [
        "cloakroom: conflict: visitor 3: the target has another session of this id\n",
        "cloakroom: conflict: visitor 4: what the target has of this id cannot be read\n",
        "copied 8 sessions, there already 0, replaced 0, conflicts 2, ",
        "compared 8 sessions: the same; digest ",
    ] {
        assert!(ran.err.contains(conflict), "{conflict}: {ran:?}");
    }
    assert_eq!(loaded(&to, "visitor 3").unwrap().value, b"\"theirs\"");

    // The times count as well.
    from.opened().set_deadline("visitor 5", Some(FAR_MS + 1000)).unwrap();
    let ran = migrate(&from, &to, &["--json"]);
    assert_eq!((ran.code, counts(&ran)), (Some(1), [0, 7, 0, 3, 0, 0, 0]));
    let ran = migrate(&from, &to, &["--json", "--replace"]).done();
    assert_eq!(counts(&ran), [0, 7, 3, 0, 0, 0, 0]);
    assert!(loaded(&to, "only there").is_some());
    to.opened().remove("only there").unwrap();
    assert_eq!(to.dumped(), from.dumped());
}

#[test]
fn a_dry_run_changes_nothing_and_counts_the_same() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    fill(&from, 10);
    save(&to, "visitor 3", "\"theirs\"");
    let before = fs::read(&to.file).unwrap();
    let ran = migrate(&from, &to, &["--dry-run", "--json"]);
    assert_eq!((ran.code, counts(&ran)), (Some(1), [9, 0, 0, 1, 0, 0, 0]));
    let object = ran.object();
    assert_eq!((&object["dry_run"], &object["verified"]), (&json!(true), &json!(null)));
    let ran = migrate(&from, &to, &["--dry-run", "--replace"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    let said = "only tried: would copy 9 sessions, there already 0, replaced 1, ";
    assert!(ran.err.starts_with(said), "{ran:?}");
    assert!(fs::read(&to.file).unwrap() == before, "the target was changed");

    let new = Fixture::empty();
    let ran = migrate(&from, &new, &["--dry-run", "--json"]).done();
    assert_eq!(counts(&ran), [10, 0, 0, 0, 0, 0, 0]);
    assert!(!new.file.exists(), "a file was made");
}

#[test]
fn a_damaged_session_keeps_no_other_from_being_copied() {
    let (mut from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    for (id, value) in [("a", "\"first\""), ("b", "\"second\""), ("c", "\"third\"")] {
        from.run(&["put", "FILE", id, value]).done();
    }
    let bytes = fs::read(&from.file).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - 6).filter(|at| &bytes[*at..*at + 6] == b"second").collect();
    assert!(!places.is_empty());
    let sound = from.damage(places);
    let ran = migrate(&from, &to, &["--json"]);
    assert_eq!((ran.code, counts(&ran)), (Some(1), [2, 0, 0, 0, 0, 1, 0]));
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert!(error["error"].as_str().unwrap().contains("damaged: "), "{ran:?}");
    let verified = &ran.object()["verified"];
    assert_eq!((&verified["sessions"], &verified["removed"]), (&json!(2), &json!(0)));
    assert_eq!(loaded(&to, "c").unwrap().value, b"\"third\"");
    assert!(loaded(&to, "b").is_none());
    from.file = sound;
}

#[test]
fn what_the_target_refuses_is_told_by_its_id_and_the_rest_goes_on() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    save(&from, "small", "1");
    save(&from, "large\u{9b}", &format!("\"{}\"", "x".repeat(1000)));
    let (source, target) = (configured(&from), configured_as(&to, json!({ "maxBytes": 100 })));
    let ran = from.run(&["migrate", "--from", &source, "--to", &target]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("refused: large\\u{9b}: "), "{ran:?}");
    assert!(ran.err.contains("a value of 1002 bytes is too large (at most 100)"), "{ran:?}");
    assert!(ran.err.contains("copied 1 session, "), "{ran:?}");
}

#[test]
fn a_target_that_fails_ends_it_with_what_was_done_so_far() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    fill(&from, 3);
    let (source, target) = (configured(&from), configured_as(&to, json!({ "lockDeadlineMs": 0 })));
    let arguments = ["migrate", "--from", &source, "--to", &target, "--json"];
    let mut ran = None;
    to.opened()
        .update("held", |_| {
            ran = Some(from.run(&arguments));
            Change::Keep
        })
        .unwrap();
    let ran = ran.unwrap();
    assert_eq!((ran.code, counts(&ran)), (Some(2), [0; 7]), "{ran:?}");
    assert_eq!((&ran.object()["done"], &ran.object()["verified"]), (&json!(false), &json!(null)));
    assert!(ran.err.contains("locked by another writer"), "{ran:?}");
}

#[test]
fn hostile_ids_are_shown_and_not_obeyed() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    let count = from.fill_with_oddities() as u64;
    let ran = migrate(&from, &to, &["--json"]);
    // Those without JSON, and one whose number is beyond all.
    let copied = [count - 5, 0, 0, 0, 0, 5, 0];
    assert_eq!((ran.code, counts(&ran)), (Some(1), copied), "{ran:?}");
    let hostile = "\x1b]0;owned\x07";
    save(&to, hostile, "\"theirs\"");
    let ran = migrate(&from, &to, &[]);
    assert!(ran.err.contains("conflict: \\u{1b}]0;owned\\u{7}: "), "{ran:?}");
    let ran = migrate(&from, &to, &["--json"]);
    assert!(ran.err.contains("\\\\u{1b}]0;owned\\\\u{7}"), "{ran:?}");
    assert!(ran.err.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{ran:?}");
}

#[test]
fn no_more_is_told_than_can_be_read() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    fill(&from, 1010);
    for number in 0..1010 {
        save(&to, &format!("visitor {number}"), "0");
    }
    let ran = migrate(&from, &to, &[]);
    assert_eq!(ran.err.matches("conflict: ").count(), 1000);
    assert!(ran.err.contains("cloakroom: 10 more like these, which are not listed\n"), "{ran:?}");
    assert!(ran.err.contains("conflicts 1010, "), "{ran:?}");
}

#[test]
fn a_configuration_can_come_from_standard_input_and_a_wrong_one_is_refused() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    fill(&from, 3);
    let (source, target) = (configured(&from), configured(&to));
    let piped = fs::read(&source).unwrap();
    let ran = from.run_with(&["migrate", "--from", "-", "--to", &target, "--json"], &piped);
    assert_eq!(counts(&ran.done()), [3, 0, 0, 0, 0, 0, 0]);
    from.run(&["migrate", "--from", "-", "--to", "-"]).refused("only one configuration");

    let run = |json: &[u8]| {
        let ran = from.run_with(&["migrate", "--from", "-", "--to", &target], json);
        assert!(ran.err.starts_with("cloakroom: --from: "), "{ran:?}");
        ran
    };
    run(b"").refused("not JSON");
    run(b"{\"secret\n\": hunter2}").refused("not JSON (line 2, column ");
    run(&vec![b' '; 2 << 20]).refused("longer than 1048576 bytes");
    run(&b"[".repeat(100_000)).refused("not JSON");
    run(b"[]").refused("needs \"session\"");
    let wrong = json!({ "session": { "manager": "it", "managers": { "it": {
        "sessionDriver": "container", "file": from.file, "pasword\u{1b}": "hunter2",
    } } } });
    let ran = run(wrong.to_string().as_bytes()).refused("there is no option \"pasword");
    assert!(!ran.err.contains("hunter2"), "{ran:?}");
    let managers = json!({ "memory": { "ids": "plain" } });
    let memory = json!({ "session": { "manager": "memory", "managers": managers } });
    let ran = from.run_with(
        &["migrate", "--from", "-", "--to", &target, "--json"],
        memory.to_string().as_bytes(),
    );
    assert_eq!(counts(&ran.done()), [0; 7], "a manager without `create` is one, too");
    let ran = from.run(&["migrate", "--from", "/no/such\u{1b}/file", "--to", &target]);
    ran.refused("--from: /no/such\\u{1b}/file: cannot read: ");
    let ran = from.run(&["migrate", "--from", &source, "--to", "/no/such/file"]);
    ran.refused("--to: /no/such/file: cannot read: ");
}

#[test]
fn a_bar_is_drawn_on_a_terminal_only_and_only_after_a_second() {
    let with_bar = |wait_ms: u64, terminal: bool, more: &str| {
        let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
        fill(&from, 500);
        let (source, target) = (configured(&from), configured(&to));
        let line = format!("{TOOL} migrate --from {source} --to {target} {more}");
        let mut command = if terminal {
            let mut command = Command::new("script");
            command.args(["-qec", &line, "/dev/null"]);
            command.env("TERM", "xterm");
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", &line]);
            command
        };
        let container = to.opened();
        thread::scope(|scope| {
            let held = scope.spawn(|| {
                container.update("held", |_| {
                    thread::sleep(Duration::from_millis(wait_ms));
                    Change::Keep
                })
            });
            let output = command.stdin(Stdio::null()).output().unwrap();
            held.join().unwrap().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let shown = [output.stdout, output.stderr].concat();
            let shown = String::from_utf8(shown).unwrap();
            assert!(shown.contains("copied") && shown.contains("500"), "{shown}");
            shown.contains(" of 500, ") && shown.contains("/s, ") && shown.contains('\x1b')
        })
    };
    assert!(with_bar(2500, true, ""));
    assert!(!with_bar(2500, false, ""));
    assert!(!with_bar(2500, true, "--json"));
    assert!(!with_bar(0, true, ""));
}

#[test]
fn whoever_has_own_timeouts_keeps_them_when_saved_again() {
    let (from, to) = (of(IdForm::Sha256), of(IdForm::Sha256));
    let own = Properties::new().timeouts(Timeouts::NONE.idle(Duration::from_secs(3600)));
    from.opened().save_with("ada", b"1", &own).unwrap();
    let deadline_ms = loaded(&from, "ada").unwrap().times.deadline_ms;
    // The target's own timeouts are for those without.
    let (source, target) = (configured(&from), configured_as(&to, json!({ "idleMinutes": 1 })));
    from.run(&["migrate", "--from", &source, "--to", &target, "--json"]).done();
    assert_eq!(loaded(&to, "ada").unwrap().times.deadline_ms, deadline_ms);
    save(&to, "ada", "2");
    let times = loaded(&to, "ada").unwrap().times;
    assert_eq!(times.deadline_ms, Some(times.saved_ms + 3_600_000));
}

#[test]
fn without_verification_nothing_is_compared() {
    let (from, to) = (of(IdForm::Sha256), of(IdForm::Sha256));
    fill(&from, 3);
    let ran = migrate(&from, &to, &["--no-verify"]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(0), 1), "{ran:?}");
    let ran = migrate(&from, &to, &["--no-verify", "--json"]).done();
    assert_eq!(ran.object()["verified"], json!(null));
}

#[test]
fn what_cannot_be_written_to_is_refused() {
    let (from, to) = (of(IdForm::Plain), of(IdForm::Plain));
    let (source, target) = (configured(&from), configured(&to));
    let sound = fs::read(&to.file).unwrap();
    fs::write(&to.file, b"Dear visitor,\n".repeat(10_000)).unwrap();
    let mut command = Command::new(TOOL);
    command.args(["migrate", "--from", &source, "--to", &target]);
    finish(&mut command, b"").refused("not a cloakroom container");
    fs::write(&to.file, sound).unwrap();
}
