//! Values: JSON comes back as it was, and what is too large or too deep is refused and
//! changes nothing.

use serde_json::{Value, json};

use super::expect::{Verdict, Went, absent, demand, equal, loaded, refused, shown, won};
use super::opening::Opening;
use super::stage::{Check, Stage};
use crate::session::SessionManager;
use crate::{Change, ErrorKind, Session};

pub(super) const CHECKS: &[Check] = &[
    Check::new("values: JSON comes back as it was", faithful),
    Check::new("values: one that is too large is refused and changes nothing", too_large),
    Check::new("values: 4 MiB can be saved and no more", largest),
    Check::new("values: one that is too deep is refused and changes nothing", too_deep),
];

const DEPTH_MAX: usize = 127;

fn nested(levels: usize, around: impl Fn(Value) -> Value, innermost: Value) -> Value {
    (1..levels).fold(innermost, |value, _| around(value))
}

fn values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!({}),
        json!([]),
        json!([{}, [], null, [[]], { "": {} }]),
        json!("\u{0}\u{1}\t\r\n\"\\/\u{7f}\u{80}\u{e9}e\u{301}\u{2028}\u{feff}\u{fffd}\u{1f9e5}"),
        json!({ "": 1, "\u{0}": 2, "\u{e9}": 3, "e\u{301}": 4, "\u{1f9e5}": 5, "a": 6, "A": 7 }),
        json!({ "__proto__": null, "constructor": [], "$ref": "#", "value": { "value": 1 } }),
        json!("x".repeat(100_000)),
        json!((0..1000).collect::<Vec<_>>()),
        nested(DEPTH_MAX, |value| json!([value]), json!([])),
        nested(DEPTH_MAX, |value| json!({ "in": value }), json!({})),
    ];
    let floats = [0.0, -0.0, 1.0, 0.1, 1e21, 1e-7, 1e308, 5e-324, f64::MAX, f64::MIN_POSITIVE];
    // One that a parser which rounds twice does not give back.
    let awkward = [2.225_073_858_507_201e-308, 9_007_199_254_740_993.5, 1.0 / 3.0];
    values.extend(floats.into_iter().chain(awkward).map(Value::from));
    values.extend([0, -1, i64::MIN, i64::MAX, (1 << 53) + 1].map(Value::from));
    values.push(u64::MAX.into());
    values
}

/// Whether two values are the same text, too: 1.0 is not 1, and -0.0 is not 0.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.to_string() == other.to_string(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|two| same(one, two)))
        }
        _ => one == other,
    }
}

fn faithful(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("replaced", &json!("before"), None).went("save")?;
    for value in values() {
        let what = shown(&value.to_string());
        sessions.save("saved", &value, None).went(format_args!("save of {what}"))?;
        let update = sessions.update("updated", &mut |_| Change::Save(value.clone()));
        update.went(format_args!("update to {what}"))?;
        sessions.remove("created").went("remove")?;
        let made = sessions.create("created", &value, None);
        won(made, format_args!("create of {what}"))?;
        won(sessions.replace("replaced", &value), format_args!("replace by {what}"))?;
        for id in ["saved", "updated", "created", "replaced"] {
            let found = loaded(&*sessions, id, format_args!("of {what}"))?.value;
            let instead = shown(&found.to_string());
            demand!(
                same(&found, &value),
                "load of what was {id}: expected {what}, found {instead}"
            );
        }
    }
    Ok(())
}

/// Every operation that takes a value refuses this one, and changes nothing.
fn all_refuse(
    sessions: &dyn SessionManager,
    value: &Value,
    is_it: fn(&ErrorKind) -> bool,
    kind: &str,
) -> Verdict {
    let before = loaded(sessions, "there", "before")?;
    let len = sessions.len().went("len")?;
    let save = |_: Option<Session<Value>>| Change::Save(value.clone());
    for id in ["there", "new"] {
        let kept_id = sessions.kept_id(id).went("kept_id")?;
        let restored = Session { value: value.clone(), ..before.clone() };
        refused(sessions.save(id, value, None), is_it, kind, "save")?;
        refused(sessions.update(id, &mut save.clone()), is_it, kind, "update")?;
        refused(sessions.restore(&kept_id, &restored), is_it, kind, "restore")?;
    }
    refused(sessions.create("new", value, None), is_it, kind, "create")?;
    refused(sessions.replace("there", value), is_it, kind, "replace")?;
    refused(sessions.save_if("there", before.version, value), is_it, kind, "save_if")?;
    absent(sessions, "new", "after values that were refused")?;
    let now = loaded(sessions, "there", "after values that were refused")?;
    equal("the session after values that were refused", now, before)?;
    equal("len after values that were refused", sessions.len().went("len")?, len)
}

fn is_too_large(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::TooLarge { .. })
}

fn too_large(stage: &Stage) -> Verdict {
    let sessions = stage.open_as(&Opening { value_len_max: Some(1000), ..Opening::new() });
    // With its quotation marks.
    let fits = json!("x".repeat(998));
    sessions.save("there", &fits, None).went("save of a value of 1000 bytes")?;
    all_refuse(&*sessions, &json!("x".repeat(999)), is_too_large, "TooLarge")?;
    match sessions.save("there", &json!("x".repeat(999)), None) {
        Err(error) => match error.kind() {
            ErrorKind::TooLarge { len, max } => equal("TooLarge", (*len, *max), (1001, 1000)),
            _ => Err(format!("save: expected the error TooLarge, found another: {error}")),
        },
        Ok(_) => Err("save: expected the error TooLarge, found it saved".to_owned()),
    }
}

fn largest(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    let fits = json!("x".repeat((4 << 20) - 2));
    sessions.save("there", &fits, None).went("save of a value of 4 MiB")?;
    let found = loaded(&*sessions, "there", "of a value of 4 MiB")?.value;
    demand!(found == fits, "load of a value of 4 MiB: expected the same, found another");
    let larger = json!("x".repeat((4 << 20) - 1));
    refused(sessions.save("there", &larger, None), is_too_large, "TooLarge", "save of 4 MiB + 1")
}

fn too_deep(stage: &Stage) -> Verdict {
    let sessions = stage.open();
    sessions.save("there", &json!("before"), None).went("save")?;
    let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::NotJson(_));
    let arrays = nested(DEPTH_MAX + 1, |value| json!([value]), json!([]));
    all_refuse(&*sessions, &arrays, is_it, "NotJson")?;
    let objects = nested(DEPTH_MAX + 1, |value| json!({ "in": value }), json!({}));
    all_refuse(&*sessions, &objects, is_it, "NotJson")
}
