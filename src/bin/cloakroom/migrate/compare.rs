//! The second walk: is everything in the target as it is in the source?
//!
//! What the first walk has carried is noted in few bytes. So what people changed in the
//! source meanwhile is told from what went wrong: only a session that is still what was
//! carried has to be the same in the target, and is part of both digests.

use std::collections::HashMap;
use std::ops::ControlFlow;

use cloakroom::{ErrorKind, Result, Session};
use serde_json::Value;

use super::digest::{Digest, Sum};
use super::{Stores, is_of_one};
use crate::escape::visible_id;
use crate::output::{Object, message};
use crate::progress::Progress;
use crate::units::{count, now_ms};

/// What the first walk saw, by the beginning of the digest of the id.
#[derive(Debug, Default)]
pub(super) struct Noted(HashMap<u64, Seen>);

#[derive(Clone, Copy, Debug)]
enum Seen {
    /// The beginning of its digest, and when it ends.
    Carried { digest: u64, deadline_ms: Option<u64> },
    /// It has been said why it is not in the target.
    Left,
}

impl Noted {
    pub(super) fn carried(&mut self, kept_id: &str, kept_there: &str, session: &Session<Value>) {
        let digest = Digest::of_session(kept_there, session).short();
        let deadline_ms = session.times.deadline_ms;
        self.0.insert(Digest::of_id(kept_id).short(), Seen::Carried { digest, deadline_ms });
    }

    pub(super) fn left(&mut self, kept_id: &str) {
        self.0.insert(Digest::of_id(kept_id).short(), Seen::Left);
    }

    fn take(&mut self, kept_id: &str) -> Option<Seen> {
        self.0.remove(&Digest::of_id(kept_id).short())
    }
}

/// What the second walk came to.
#[derive(Debug, Default)]
pub(super) struct Compared {
    sessions: u64,
    source: Sum,
    target: Sum,
    /// Not in the target, or not the same there.
    differing: u64,
    /// Meanwhile in the source: changed, come, gone before their end and by it.
    changed: u64,
    new: u64,
    removed: u64,
    expired: u64,
}

pub(super) fn compare(
    stores: Stores<'_>,
    mut noted: Noted,
    progress: &mut Progress<'_>,
) -> Result<Compared> {
    let (mut compared, mut failed) = (Compared::default(), None);
    progress.begin("comparing", stores.source.len().ok());
    stores.source.walk(&mut |walked| {
        progress.step();
        let looked = match walked {
            Ok((kept_id, session)) => {
                let seen = noted.take(&kept_id);
                compared.look(stores, &kept_id, &session, seen, progress)
            }
            // The first walk has met it, too, or it is missed below.
            Err(error) if is_of_one(&error) => Ok(()),
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let now_ms = now_ms();
    for seen in noted.0.into_values() {
        match seen {
            Seen::Left => {}
            Seen::Carried { deadline_ms: Some(deadline_ms), .. } if deadline_ms <= now_ms => {
                compared.expired += 1;
            }
            Seen::Carried { .. } => compared.removed += 1,
        }
    }
    Ok(compared)
}

impl Compared {
    fn look(
        &mut self,
        stores: Stores<'_>,
        kept_id: &str,
        session: &Session<Value>,
        seen: Option<Seen>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let carried = match seen {
            None => {
                self.new += 1;
                return Ok(());
            }
            Some(Seen::Left) => return Ok(()),
            Some(Seen::Carried { digest, .. }) => digest,
        };
        let kept_there = stores.kept_there(kept_id)?;
        let ours = Digest::of_session(&kept_there, session);
        if ours.short() != carried {
            self.changed += 1;
            return Ok(());
        }
        let theirs = match stores.target.load_kept(&kept_there) {
            Ok(theirs) => theirs.map(|theirs| Digest::of_session(&kept_there, &theirs)),
            Err(error) => match error.kind() {
                ErrorKind::Damaged(_) | ErrorKind::NotJson(_) => None,
                _ => return Err(error),
            },
        };
        let deadline_ms = session.times.deadline_ms;
        if theirs.is_none() && deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms()) {
            self.expired += 1;
            return Ok(());
        }
        self.sessions += 1;
        self.source.add(ours);
        if let Some(theirs) = theirs {
            self.target.add(theirs);
        }
        if theirs != Some(ours) {
            self.differing += 1;
            let shown = visible_id(kept_id.as_bytes());
            progress.complain(&format!("differing: {shown}: the target does not have it as it is"));
        }
        Ok(())
    }

    fn is_same(&self) -> bool {
        self.differing == 0 && self.source == self.target
    }

    /// Whether the target has all that the source has now, and nothing that went from it.
    pub(super) fn is_all_there(&self) -> bool {
        self.is_same() && self.changed + self.new + self.removed == 0
    }

    pub(super) fn tell(&self) {
        let Compared { sessions, source, target, differing, .. } = self;
        let sessions = count(*sessions, "session");
        if self.is_same() {
            message(&format!("compared {sessions}: the same; digest {source}"));
        } else {
            message(&format!("compared {sessions}: {differing} differing"));
            message(&format!("digest of the source {source}"));
            message(&format!("digest of the target {target}"));
        }
        let Compared { changed, new, removed, expired, .. } = self;
        if changed + new + removed + expired > 0 {
            message(&format!(
                "meanwhile in the source: changed {changed}, new {new}, removed {removed}, \
                 expired {expired}"
            ));
        }
    }

    pub(super) fn object(&self) -> Object {
        Object::new()
            .number("sessions", self.sessions)
            .text("source_digest", &self.source.to_string())
            .text("target_digest", &self.target.to_string())
            .flag("same", self.is_same())
            .number("differing", self.differing)
            .number("changed", self.changed)
            .number("new", self.new)
            .number("removed", self.removed)
            .number("expired", self.expired)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cloakroom::session::{MemoryManager, SessionManager};
    use cloakroom::{Properties, Times, Version};
    use serde_json::json;

    use super::super::{Args, Copying, Counts, is_refusal};
    use super::*;
    use crate::output::{Form, Output};

    fn session(value: u64, deadline_ms: Option<u64>) -> Session<Value> {
        let times = Times { created_ms: 1, saved_ms: 2, deadline_ms };
        let version = Version::from_bytes([7; 16]);
        Session { value: json!(value), version, times, properties: Properties::new() }
    }

    fn kept(number: u64) -> String {
        format!("{number:064x}")
    }

    /// Migrates ten sessions, does something to the stores, and then compares.
    fn compared(
        meanwhile: impl FnOnce(&MemoryManager, &MemoryManager),
        again: impl FnOnce(&mut Copying<'_>),
    ) -> (Compared, Counts) {
        let (source, target) = (MemoryManager::new(), MemoryManager::new());
        let stores = Stores { source: &source, target: &target };
        for number in 0..10 {
            source.restore(&kept(number), &session(number, None)).unwrap();
        }
        let out = Output::new(Form::Json);
        let (from, to) = ("a".into(), "b".into());
        let args = Args { from, to, replace: false, dry_run: false, no_verify: false };
        let mut copying = Copying {
            stores,
            args: &args,
            counts: Counts::default(),
            noted: Some(Noted::default()),
            progress: Progress::new(&out),
            failed: None,
        };
        copying.all().unwrap();
        again(&mut copying);
        meanwhile(&source, &target);
        let Copying { counts, noted, mut progress, .. } = copying;
        assert_eq!(counts.copied, 10);
        (compare(stores, noted.unwrap(), &mut progress).unwrap(), counts)
    }

    fn meanwhile(what: impl FnOnce(&MemoryManager, &MemoryManager)) -> ([u64; 6], bool, Compared) {
        let (compared, _) = compared(what, |_| {});
        let Compared { sessions, differing, changed, new, removed, expired, .. } = compared;
        let numbers = [sessions, differing, changed, new, removed, expired];
        (numbers, compared.is_same(), compared)
    }

    fn forget(manager: &MemoryManager, number: u64) {
        // There is no removal by what is kept: a session that is over is none.
        manager.restore(&kept(number), &session(number, Some(1))).unwrap();
    }

    #[test]
    fn what_is_untouched_is_the_same_on_both_sides() {
        let (numbers, same, compared) = meanwhile(|_, _| {});
        assert_eq!(numbers, [10, 0, 0, 0, 0, 0]);
        assert!(same && compared.is_all_there() && compared.source != Sum::default());
    }

    #[test]
    fn what_people_did_in_the_source_is_not_taken_for_a_fault() {
        let (numbers, same, compared) = meanwhile(|source, _| {
            source.restore(&kept(1), &session(100, None)).unwrap();
            source.restore(&kept(2), &session(2, Some(1 << 47))).unwrap();
            source.restore(&kept(77), &session(77, None)).unwrap();
            forget(source, 3);
        });
        assert_eq!(numbers, [7, 0, 2, 1, 1, 0]);
        assert!(same && !compared.is_all_there());
    }

    #[test]
    fn what_is_missing_or_another_in_the_target_is_found() {
        for fault in [
            |_: &MemoryManager, target: &MemoryManager| forget(target, 4),
            |_: &MemoryManager, target: &MemoryManager| {
                target.restore(&kept(4), &session(5, None)).unwrap();
            },
            |_: &MemoryManager, target: &MemoryManager| {
                target.restore(&kept(4), &session(4, Some(1 << 47))).unwrap();
            },
        ] {
            let (numbers, same, compared) = meanwhile(fault);
            assert_eq!(numbers, [10, 1, 0, 0, 0, 0]);
            assert!(!same && compared.source != compared.target);
        }
    }

    #[test]
    fn who_expires_meanwhile_is_missed_by_nobody() {
        let soon_ms = now_ms() + 100;
        let (compared, counts) = compared(
            |_, _| std::thread::sleep(std::time::Duration::from_millis(200)),
            |copying| {
                // Over when its turn comes, and over before the second walk.
                copying.carry(&kept(50), &session(50, Some(1))).unwrap();
                let noted = copying.noted.as_mut().unwrap();
                noted.carried(&kept(51), &kept(51), &session(51, Some(soon_ms)));
            },
        );
        assert_eq!(counts.expired, 1);
        assert_eq!((compared.expired, compared.removed, compared.new), (1, 0, 0));
        assert!(compared.is_all_there());
    }

    #[test]
    fn what_was_left_with_a_reason_is_not_looked_for() {
        let (compared, counts) = compared(
            |source, _| source.restore(&kept(60), &session(60, None)).unwrap(),
            |copying| {
                copying.stores.target.restore(&kept(60), &session(61, None)).unwrap();
                copying.carry(&kept(60), &session(60, None)).unwrap();
                copying.carry("no kept id", &session(60, None)).unwrap();
            },
        );
        assert_eq!((counts.conflicts, counts.refused, compared.differing), (1, 1, 0));
        assert!(compared.is_all_there() && compared.sessions == 10);
    }

    #[test]
    fn what_only_one_session_suffers_from_is_told_from_the_rest() {
        let of_one = [ErrorKind::InvalidId { len: 0 }, ErrorKind::TooLarge { len: 2, max: 1 }];
        for kind in of_one {
            let error = kind.into();
            assert!(is_of_one(&error) && is_refusal(&error));
        }
        assert!(!is_of_one(&ErrorKind::Reentered.into()));
    }
}
