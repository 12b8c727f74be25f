//! `migrate`: copies all sessions from one session manager to another.
//!
//! Each session is restored by itself, under the id that the source keeps or what the target
//! keeps of it, so an interruption at any point leaves whole sessions, and the next run
//! passes over those. What the target has otherwise is nobody's to overwrite unasked.
//! Nothing here may write to the source, or take what cannot be read for what is not there.

mod compare;
mod digest;
mod stores;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloakroom::session::SessionManager;
use cloakroom::{ErrorKind, IdForm, Session};
use serde_json::Value;

use self::compare::{Compared, Noted};
use self::digest::Digest;
use self::stores::{Configuration, Purpose};
use crate::escape::visible_id;
use crate::output::{Object, Output, message};
use crate::progress::Progress;
use crate::units::{count, now_ms};
use crate::{DONE, Done, Failure, LACKING};

/// Copy all sessions from one session manager to another
///
/// They keep their times, deadlines and timeouts, and visitors their ids. What is copied to
/// and from is said by configurations in JSON, as a program has them that uses session
/// managers.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// File with the configuration of the manager to copy from; - is standard input
    #[arg(long, value_name = "CONFIG")]
    from: PathBuf,
    /// File with the configuration of the manager to copy to; - is standard input
    #[arg(long, value_name = "CONFIG")]
    to: PathBuf,
    /// Replace sessions of the same id that are others in the target
    #[arg(long)]
    replace: bool,
    /// Only tell what would be copied
    #[arg(long)]
    dry_run: bool,
    /// Do not compare both afterwards
    #[arg(long)]
    no_verify: bool,
}

const HELP: &str = "\
Example: cloakroom migrate --from old.json --to new.json
A configuration: {\"session\": {\"manager\": \"here\", \"managers\": {\"here\":
  {\"sessionDriver\": \"container\", \"file\": \"sessions.cloakroom\"}}}}
It may be interrupted at any point, by Ctrl-C, too: each session is copied as a whole, and the same
command goes on with the rest. Sessions that the target has already with the same times and value
are left as they are; so are those that are others there, which is a conflict, unless --replace.
Nobody should change the target meanwhile. Sessions that have expired are left out.
Ids: SHA-256 goes to SHA-256, plain ids go to both, and SHA-256 to plain ids is refused.
Afterwards the source is walked over once more and each session compared with the target. The digest
is the sum of a SHA-256 of each session, over those that are in the source as they were: one that
was saved or touched there meanwhile is counted as changed, one that came as new, one that went as
removed, and if its deadline has passed as expired. Run it again with --replace for what was changed
or is new; what was removed stays in the target. That takes some 50 bytes of memory a session.
Exit code 1 if sessions are damaged in the source, in conflict, or refused by the target (too large
there, say), or if the target has not all that the source has when they are compared, or more: those
that were changed, new or removed. The others are copied.
With --json: {\"copied\": NUMBER, \"there_already\": NUMBER, \"replaced\": NUMBER,
\"conflicts\": NUMBER, \"expired\": NUMBER, \"damaged\": NUMBER, \"refused\": NUMBER,
\"seconds\": NUMBER, \"dry_run\": true or false, \"done\": true or false (all was walked over),
\"verified\": null or {\"sessions\": NUMBER, \"source_digest\": TEXT, \"target_digest\": TEXT,
\"same\": true or false, \"differing\": NUMBER, \"changed\": NUMBER, \"new\": NUMBER,
\"removed\": NUMBER, \"expired\": NUMBER}}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    let began = Instant::now();
    if [&args.from, &args.to].iter().all(|path| path.as_path() == Path::new("-")) {
        return Err(Failure::Input("only one configuration can come from standard input".into()));
    }
    let from = Configuration::read("--from", &args.from)?;
    let to = Configuration::read("--to", &args.to)?;
    let purpose = if args.dry_run { Purpose::Try } else { Purpose::Write };
    let source = from.source()?;
    let target = to.target(source.id_form(), purpose)?;
    let stores = Stores { source: &*source, target: &*target };

    let mut copying = Copying {
        stores,
        args,
        counts: Counts::default(),
        noted: (!args.no_verify && !args.dry_run).then(Noted::default),
        progress: Progress::new(out),
        failed: None,
    };
    let mut done = copying.all();
    if !args.dry_run {
        // Also when it failed: what was copied is to stay.
        done = done.and(target.sync());
    }
    let Copying { counts, noted, mut progress, .. } = copying;
    let compared = match (&done, noted) {
        (Ok(()), Some(noted)) => Some(compare::compare(stores, noted, &mut progress)),
        _ => None,
    };
    let (compared, done) = match compared.transpose() {
        Ok(compared) => (compared, done),
        Err(error) => (None, Err(error)),
    };
    progress.end();
    let ended = Ended { counts, compared, is_done: done.is_ok(), took: began.elapsed() };
    ended.tell(args, out)?;
    done.and_then(|()| source.close()).and_then(|()| target.close())?;
    Ok(if ended.is_all_there() { DONE } else { LACKING })
}

/// What is copied from and to.
#[derive(Clone, Copy)]
struct Stores<'a> {
    source: &'a dyn SessionManager,
    target: &'a dyn SessionManager,
}

impl Stores<'_> {
    /// What the target keeps of an id that the source keeps so.
    fn kept_there(self, kept_id: &str) -> cloakroom::Result<String> {
        match (self.source.id_form(), self.target.id_form()) {
            (IdForm::Plain, IdForm::Sha256) => self.target.kept_id(kept_id),
            _ => Ok(kept_id.to_owned()),
        }
    }
}

/// Whether an error is about one session, and the others may do better.
fn is_of_one(error: &cloakroom::Error) -> bool {
    is_refusal(error) || matches!(error.kind(), ErrorKind::Damaged(_))
}

/// Whether an error says that a session cannot be kept.
fn is_refusal(error: &cloakroom::Error) -> bool {
    use ErrorKind::{InvalidId, NotJson, TooLarge};
    matches!(error.kind(), InvalidId { .. } | NotJson(_) | TooLarge { .. })
}

#[derive(Debug, Default)]
struct Counts {
    copied: u64,
    there: u64,
    replaced: u64,
    conflicts: u64,
    expired: u64,
    damaged: u64,
    refused: u64,
}

/// What became of a session.
enum Fate {
    Copied,
    There,
    Replaced,
    /// The target has another one, or one that cannot be read, as this says.
    Conflict(&'static str),
    Expired,
}

/// The first walk.
struct Copying<'a> {
    stores: Stores<'a>,
    args: &'a Args,
    counts: Counts,
    /// For the second walk.
    noted: Option<Noted>,
    progress: Progress<'a>,
    /// Why not all can be copied.
    failed: Option<cloakroom::Error>,
}

impl Copying<'_> {
    fn all(&mut self) -> cloakroom::Result<()> {
        let source = self.stores.source;
        // Only for the bar.
        self.progress.begin("copying", source.len().ok());
        source.walk(&mut |walked| {
            self.progress.step();
            let carried = match walked {
                Ok((kept_id, session)) => self.carry(&kept_id, &session),
                Err(error) => {
                    self.miss(error);
                    Ok(())
                }
            };
            match carried {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    self.failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The walk has met something that it cannot read. The id is in what cannot be read; the
    /// error tells the place.
    fn miss(&mut self, error: cloakroom::Error) {
        self.progress.complain(&format!("not copied: {error}"));
        self.counts.damaged += 1;
        // The walk may go on, and may have left out more than this.
        if !is_of_one(&error) {
            self.failed.get_or_insert(error);
        }
    }

    fn carry(&mut self, kept_id: &str, session: &Session<Value>) -> cloakroom::Result<()> {
        let shown = visible_id(kept_id.as_bytes());
        let (fate, kept_there) = match self.stores.kept_there(kept_id).and_then(|kept_there| {
            let fate = self.fate(&kept_there, session)?;
            Ok((fate, kept_there))
        }) {
            Err(error) if is_refusal(&error) => {
                self.counts.refused += 1;
                self.progress.complain(&format!("refused: {shown}: {error}"));
                self.leave(kept_id);
                return Ok(());
            }
            known => known?,
        };
        let counts = &mut self.counts;
        let counted = match fate {
            Fate::Copied => &mut counts.copied,
            Fate::There => &mut counts.there,
            Fate::Replaced => &mut counts.replaced,
            Fate::Conflict(_) => &mut counts.conflicts,
            Fate::Expired => &mut counts.expired,
        };
        *counted += 1;
        match fate {
            Fate::Conflict(what) => {
                self.progress.complain(&format!("conflict: {shown}: {what}"));
                self.leave(kept_id);
            }
            Fate::Expired => self.leave(kept_id),
            Fate::Copied | Fate::There | Fate::Replaced => {
                if let Some(noted) = &mut self.noted {
                    noted.carried(kept_id, &kept_there, session);
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, kept_id: &str) {
        if let Some(noted) = &mut self.noted {
            noted.left(kept_id);
        }
    }

    fn fate(&self, kept_there: &str, session: &Session<Value>) -> cloakroom::Result<Fate> {
        if session.times.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms()) {
            return Ok(Fate::Expired);
        }
        let target = self.stores.target;
        let conflict = match target.load_kept(kept_there) {
            Ok(None) => None,
            Ok(Some(theirs)) => {
                let digest = |session| Digest::of_session(kept_there, session);
                if digest(&theirs) == digest(session) {
                    return Ok(Fate::There);
                }
                Some("the target has another session of this id")
            }
            Err(error) => match error.kind() {
                ErrorKind::Damaged(_) | ErrorKind::NotJson(_) => {
                    Some("what the target has of this id cannot be read")
                }
                _ => return Err(error),
            },
        };
        let fate = match conflict {
            None => Fate::Copied,
            Some(_) if self.args.replace => Fate::Replaced,
            Some(what) => return Ok(Fate::Conflict(what)),
        };
        if !self.args.dry_run {
            target.restore(kept_there, session)?;
        }
        Ok(fate)
    }
}

/// What it came to.
struct Ended {
    counts: Counts,
    compared: Option<Compared>,
    is_done: bool,
    took: Duration,
}

impl Ended {
    fn is_all_there(&self) -> bool {
        let Counts { conflicts, damaged, refused, .. } = self.counts;
        let lacking = conflicts + damaged + refused;
        lacking == 0 && self.compared.as_ref().is_none_or(Compared::is_all_there)
    }

    fn tell(&self, args: &Args, out: &mut Output) -> Result<(), Failure> {
        if out.is_json() {
            return out.object(self.object(args));
        }
        let Counts { copied, there, replaced, conflicts, expired, damaged, refused } = self.counts;
        let copied = if args.dry_run {
            format!("only tried: would copy {}", count(copied, "session"))
        } else {
            format!("copied {}", count(copied, "session"))
        };
        message(&format!(
            "{copied}, there already {there}, replaced {replaced}, conflicts {conflicts}, \
             expired {expired}, damaged {damaged}, refused {refused}; {:.1} s",
            self.took.as_secs_f64()
        ));
        if let Some(compared) = &self.compared {
            compared.tell();
        }
        Ok(())
    }

    fn object(&self, args: &Args) -> Object {
        let Counts { copied, there, replaced, conflicts, expired, damaged, refused } = self.counts;
        let verified = self.compared.as_ref().map(|compared| compared.object().finish());
        Object::new()
            .number("copied", copied)
            .number("there_already", there)
            .number("replaced", replaced)
            .number("conflicts", conflicts)
            .number("expired", expired)
            .number("damaged", damaged)
            .number("refused", refused)
            .raw("seconds", &format!("{:.3}", self.took.as_secs_f64()))
            .flag("dry_run", args.dry_run)
            .flag("done", self.is_done)
            .raw("verified", verified.as_deref().unwrap_or("null"))
    }
}
