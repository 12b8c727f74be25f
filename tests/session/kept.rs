//! Sessions by what a manager keeps of their ids, for whom has only that.

use cloakroom::session::{self, SessionManager};
use cloakroom::{ErrorKind, IdForm};
use serde_json::{Value, json};

/// Each manager with ids of this form.
fn managers(form: &str) -> Vec<(Box<dyn SessionManager>, tempfile::TempDir)> {
    let open = |driver: &str, options: Value| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options;
        options["ids"] = json!(form);
        match driver {
            "container" => options["file"] = json!(dir.path().join("sessions.room")),
            "directory" => options["dir"] = json!(dir.path().join("SESSIONS")),
            _ => {}
        }
        let managers = json!({ driver: options });
        let configuration = json!({ "session": { "manager": driver, "managers": managers } });
        (session::open(&configuration).unwrap().manager, dir)
    };
    ["container", "directory", "memory"].map(|driver| open(driver, json!({}))).into()
}

#[test]
fn a_manager_says_in_which_form_it_keeps_ids_and_finds_them_in_it() {
    for (form, expected) in [("sha256", IdForm::Sha256), ("plain", IdForm::Plain)] {
        for (manager, _dir) in managers(form) {
            assert_eq!(manager.id_form(), expected);
            manager.save("a ticket", &json!({ "coats": 1 }), None).unwrap();
            let kept_id = manager.kept_id("a ticket").unwrap();
            assert_eq!(kept_id == "a ticket", expected == IdForm::Plain);
            let by_kept = manager.load_kept(&kept_id).unwrap();
            assert!(by_kept.is_some());
            assert_eq!(by_kept, manager.load("a ticket").unwrap());
            let other = manager.kept_id("another").unwrap();
            assert_eq!(manager.load_kept(&other).unwrap(), None);
        }
    }
}

#[test]
fn what_no_manager_of_this_form_keeps_is_no_kept_id() {
    let upper = "A".repeat(64);
    let long = "a".repeat(256);
    for (form, wrong) in [("sha256", ["a ticket", "", &upper]), ("plain", ["", "", &long])] {
        for (manager, _dir) in managers(form) {
            for kept_id in wrong {
                let error = manager.load_kept(kept_id).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::InvalidId { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_kept_id_finds_nobody_who_is_past_the_deadline() {
    for (manager, _dir) in managers("plain") {
        manager.save("a ticket", &json!(1), None).unwrap();
        let mut session = manager.load_kept("a ticket").unwrap().unwrap();
        session.times.deadline_ms = Some(1);
        manager.restore("a ticket", &session).unwrap();
        assert_eq!(manager.load_kept("a ticket").unwrap(), None);
    }
}
