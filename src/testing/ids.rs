//! Hostile ids: each is a session of its own, or it is refused, and none leads anywhere else.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::expect::{Verdict, Went, absent, equal, loaded, refused, won};
use super::operations::walked;
use super::stage::{Check, Stage};
use crate::session::Capability;
use crate::{Change, ErrorKind, IdForm, Version};

pub(super) const CHECKS: &[Check] = &[
    Check::new("ids: an empty one and one of 256 bytes are refused", refuses),
    Check::new("ids: each hostile one is a session of its own", hostile),
    Check::new("ids: one that is the kept form of another is another", kept_form),
    Check::new("ids: what is kept of one finds its session", kept_finds),
    Check::new("ids: none leads out of the directory", stays_inside),
];

fn ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "aa",
        "a ",
        " a",
        "a\0",
        "a\0b",
        "\0",
        "a\n",
        "a\r\nb",
        "\n",
        "\t",
        " ",
        ".",
        "..",
        "...",
        "a.",
        ".a",
        "a.json",
        "a.lock",
        "a.tmp",
        "a~",
        "/",
        "//",
        "a/",
        "/a",
        "a/b",
        "a//b",
        "../a",
        "a/../b",
        "./a",
        "/etc/passwd",
        "\\",
        "a\\b",
        "..\\a",
        "C:\\a",
        "C:a",
        "*",
        "?",
        "a*",
        "[a]",
        "%",
        "%00",
        "%2f",
        "%2F",
        "%252F",
        "'",
        "\"",
        "a'; DROP TABLE a; --",
        "`id`",
        "$(id)",
        "$a",
        "a&b",
        "a=b",
        "a:b",
        "a;b",
        "a|b",
        "-rf",
        "--",
        "NUL",
        "CON",
        "nul",
        "null",
        "true",
        "0",
        "00",
        "1",
        "1.0",
        "\u{e9}",
        "e\u{301}",
        "\u{c9}",
        "\u{130}",
        "i",
        "\u{131}",
        "I",
        "\u{df}",
        "ss",
        "\u{fb01}",
        "fi",
        "\u{1f9e5}",
        "\u{feff}",
        "\u{feff}a",
        "\u{200b}",
        "\u{202e}a",
        "\u{7f}",
        "\u{80}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10ffff}",
        "<script>",
        "{}",
        "{\"a\":1}",
        "#",
        "a#b",
        "session",
        "Session",
        "SESSION",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.extend(["x", "/", "\0", "%"].map(|letter| letter.repeat(255)));
    // They differ in the last byte, and in what file systems and databases cut off.
    ids.extend(["y", "z"].map(|letter| format!("{}{letter}", "x".repeat(254))));
    ids.push("x".repeat(254));
    ids.push("\u{e9}".repeat(127));
    ids
}

fn refuses(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let long = "x".repeat(256);
    let wide = "\u{e9}".repeat(128);
    for (id, what) in [("", "an empty id"), (&long, "256 bytes"), (&wide, "128 letters of two")] {
        let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidId { .. });
        let value = json!(1);
        let (save, keep) = (&mut |_| Change::Save(json!(1)), &mut |_| Change::Keep);
        let no_version = Version::from_bytes([7; 16]);
        let kind = "InvalidId";
        refused(sessions.load(id), is_it, kind, format_args!("load of {what}"))?;
        refused(sessions.save(id, &value, None), is_it, kind, format_args!("save of {what}"))?;
        refused(sessions.create(id, &value, None), is_it, kind, format_args!("create of {what}"))?;
        refused(sessions.replace(id, &value), is_it, kind, format_args!("replace of {what}"))?;
        let save_if = sessions.save_if(id, no_version, &value);
        refused(save_if, is_it, kind, format_args!("save_if of {what}"))?;
        refused(sessions.update(id, save), is_it, kind, format_args!("update of {what}"))?;
        refused(sessions.update(id, keep), is_it, kind, format_args!("update of {what}"))?;
        refused(sessions.remove(id), is_it, kind, format_args!("remove of {what}"))?;
        refused(sessions.touch(id), is_it, kind, format_args!("touch of {what}"))?;
        refused(sessions.kept_id(id), is_it, kind, format_args!("kept_id of {what}"))?;
        if sessions.capabilities().has(Capability::Guards) {
            let guard = sessions.guard(id, Duration::ZERO);
            refused(guard, is_it, kind, format_args!("guard of {what}"))?;
        }
    }
    equal("len after ids that were refused", sessions.len().went("len")?, 0)
}

fn hostile(stage: &Stage) -> Verdict {
    let ids = ids();
    let value = |id: &str| json!({ "my id": id });
    let mut sessions = stage.open();
    for id in &ids {
        let what = format!("create of the new id {id:?}");
        won(sessions.create(id, &value(id), None), what)?;
    }
    if sessions.capabilities().has(Capability::Kills) {
        sessions.close().went("close")?;
        sessions = stage.open();
    }
    let mut guards = Vec::new();
    equal("len with hostile ids", sessions.len().went("len")?, ids.len() as u64)?;
    for id in &ids {
        let session = loaded(&*sessions, id, format_args!("of the id {id:?}"))?;
        equal(format_args!("value of the id {id:?}"), &session.value, &value(id))?;
        sessions.update(id, &mut |_| Change::Save(value(id))).went("update")?;
        won(sessions.replace(id, &value(id)), format_args!("replace of the id {id:?}"))?;
        equal("touch", sessions.touch(id).went("touch")?, true)?;
        if sessions.capabilities().has(Capability::Guards) {
            let guard = sessions.guard(id, Duration::ZERO);
            guards.push(guard.went(format_args!("guard of the new id {id:?}"))?);
        }
    }
    drop(guards);
    let kept = |id: &String| sessions.kept_id(id).went(format_args!("kept_id of the id {id:?}"));
    let kept_ids = ids.iter().map(kept).collect::<Verdict<BTreeSet<_>>>()?;
    let shown = walked(&*sessions)?.into_keys().collect::<BTreeSet<_>>();
    equal("ids that walk shows", shown, kept_ids)?;
    for (place, id) in ids.iter().enumerate() {
        let removed = sessions.remove(id).went("remove")?;
        equal(format_args!("remove of the id {id:?}"), removed, true)?;
        let left = (ids.len() - place - 1) as u64;
        let what = format!("len after remove of the id {id:?}");
        equal(what, sessions.len().went("len")?, left)?;
        absent(&*sessions, id, format_args!("of the removed id {id:?}"))?;
    }
    Ok(())
}

fn kept_form(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let kept_id = sessions.kept_id("ticket").went("kept_id")?;
    sessions.save("ticket", &json!("mine"), None).went("save")?;
    if kept_id == "ticket" {
        // It is kept as it is, so there is no other id of this form.
        return Ok(());
    }
    absent(&*sessions, &kept_id, "of an id that is the kept form of another")?;
    let made = sessions.create(&kept_id, &json!("a thief's"), None);
    won(made, "create of an id that is the kept form of another")?;
    let value = loaded(&*sessions, "ticket", "beside its kept form")?.value;
    equal("value beside its kept form", value, json!("mine"))?;
    sessions.remove(&kept_id).went("remove")?;
    loaded(&*sessions, "ticket", "after remove of its kept form").map(drop)
}

fn kept_finds(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let found = |kept_id: &str| sessions.load_kept(kept_id).went("load_kept");
    let kept_id = sessions.kept_id("ticket").went("kept_id")?;
    let form = if kept_id == "ticket" { IdForm::Plain } else { IdForm::Sha256 };
    equal("id_form", sessions.id_form(), form)?;
    equal("load_kept without a session", found(&kept_id)?, None)?;
    sessions.save("ticket", &json!({ "coats": 1 }), None).went("save")?;
    let mut session = loaded(&*sessions, "ticket", "after save")?;
    equal("load_kept", found(&kept_id)?, Some(session.clone()))?;
    let other = sessions.kept_id("another").went("kept_id")?;
    equal("load_kept of another id", found(&other)?, None)?;
    session.times.deadline_ms = Some(1);
    sessions.restore(&kept_id, &session).went("restore")?;
    equal("load_kept of an expired session", found(&kept_id)?, None)?;
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidId { .. });
    refused(sessions.load_kept(""), is_it, "InvalidId", "load_kept of an empty one")
}

/// What is in a directory, but for the sessions of the check itself.
fn beside(directory: &Path, own: &Path) -> Verdict<BTreeSet<String>> {
    let failed = |error| format!("cannot read a directory: {error}");
    let entries = fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let paths = paths.collect::<Verdict<Vec<_>>>()?;
    let others = paths.iter().filter(|path| *path != own);
    Ok(others.map(|path| path.display().to_string()).collect())
}

fn stays_inside(stage: &Stage) -> Verdict {
    // Two levels further down, so that what leads out is seen.
    let outside = stage.directory.clone();
    let around = outside.join("around");
    let own = around.join("sessions");
    fs::create_dir_all(&own).map_err(|error| format!("cannot make a directory: {error}"))?;
    let inner = Stage { directory: own.clone(), ..stage.clone() };
    let sessions = inner.open();
    for id in ids() {
        for id in [id.as_str(), "../out", "../../out", "x/../../../out"] {
            sessions.save(id, &Value::Null, None).went(format_args!("save of the id {id:?}"))?;
        }
    }
    sessions.walk(&mut |_| ControlFlow::Continue(())).went("walk")?;
    sessions.sync().went("sync")?;
    equal("what is beside the directory", beside(&around, &own)?, BTreeSet::new())?;
    equal("what is beside the one around it", beside(&outside, &around)?, BTreeSet::new())
}
