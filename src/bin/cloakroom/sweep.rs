//! `sweep`: removes what has expired. When it says done, it is gone from the disk too,
//! and what was archived is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cloakroom::{Archive, ByteContainer, IdForm, Options, Session, SweepEnd, SweepPolicy};

use crate::escape::visible_json;
use crate::output::{Object, Output, message};
use crate::units::count;
use crate::{DONE, Done, Failure, LACKING};

/// Remove sessions whose deadline has passed
///
/// Nobody is given such a session, removed or not; this gives back its space. Programs that
/// use the container do it as they save, unless they leave it to this.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The container
    file: PathBuf,
    /// Append each session to this file before it goes, as `dump` prints it
    #[arg(long, value_name = "OUT")]
    archive: Option<PathBuf>,
    /// Remove no more than so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only tell how many have expired
    #[arg(long, conflicts_with_all = ["archive", "limit"])]
    dry_run: bool,
}

const HELP: &str = "\
Example: cloakroom sweep FILE --archive expired.ndjson
A file made by --archive can be read by its owner only. After a crash a session may be in it twice,
or a piece of a line, which is a line of its own.
Exit code 1 if the clock is more than a day ahead of when a container with deadlines was last swept
or changed: a wrong clock must not remove everybody. If it is right, run it again in a minute; a job
that runs once a week does so always: cloakroom sweep FILE || { sleep 61; cloakroom sweep FILE; }
With --json: {\"removed\": NUMBER, \"done\": true or false}; with --dry-run {\"expired\": NUMBER}";

pub(crate) fn run(args: &Args, out: &mut Output) -> Done {
    if args.dry_run {
        return tell(&args.file, out);
    }
    let options = Options::new().sweep(SweepPolicy::OnRequest);
    let container = ByteContainer::open(&args.file, options)?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let swept = match &args.archive {
        None => container.sweep(limit)?,
        Some(path) => {
            let mut archive = Lines::open(path, &args.file, container.id_form())?;
            let swept = container.sweep_into(limit, &mut archive)?;
            if let Some(error) = archive.failed {
                return Err(Failure::Stream("write to the archive", error));
            }
            swept
        }
    };
    container.sync()?;
    if out.is_json() {
        let done = swept.is_done();
        out.object(Object::new().number("removed", swept.removed).flag("done", done))?;
    } else {
        message(&format!("removed {}", count(swept.removed, "session")));
    }
    if swept.end == SweepEnd::ClockInDoubt {
        out.complain(
            "the clock is more than a day ahead of when the container was last swept or changed; \
             nothing is removed before it has told so for a minute",
        );
        return Ok(LACKING);
    }
    Ok(DONE)
}

/// How many have expired.
fn tell(file: &Path, out: &mut Output) -> Done {
    let report = ByteContainer::open_read_only(file, Options::new())?.check()?;
    if out.is_json() {
        out.object(Object::new().number("expired", report.expired))?;
    } else {
        message(&format!("expired: {}", count(report.expired, "session")));
    }
    Ok(DONE)
}

/// An archive of lines as those of a dump.
struct Lines {
    file: File,
    /// Its length up to where it is on the disk, in whole lines.
    settled: u64,
    failed: Option<io::Error>,
    /// How the container keeps ids.
    ids: IdForm,
}

impl Lines {
    fn open(path: &Path, container: &Path, ids: IdForm) -> Result<Lines, Failure> {
        let failed = |error| Failure::Stream("open the archive", error);
        let options = OpenOptions::new().read(true).append(true).create(true).mode(0o600).clone();
        let file = options.open(path).map_err(failed)?;
        let (ours, theirs) = (file.metadata(), std::fs::metadata(container));
        let (ours, theirs) = (ours.map_err(failed)?, theirs.map_err(failed)?);
        if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
            return Err(Failure::Input("the archive is the container itself".into()));
        }
        let mut lines = Lines { file, settled: ours.len(), failed: None, ids };
        lines.begin(path).map_err(failed)?;
        Ok(lines)
    }

    /// What a crash left of a line gets an end, so that the next one begins anew. A file
    /// that is new is on the disk before anything is removed.
    fn begin(&mut self, path: &Path) -> io::Result<()> {
        let mut last = [b'\n'];
        if let Some(before) = self.settled.checked_sub(1) {
            self.file.read_exact_at(&mut last, before)?;
        }
        if last != [b'\n'] {
            self.file.write_all(b"\n")?;
            self.settled += 1;
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn judge(&mut self, done: io::Result<()>) -> ControlFlow<()> {
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                // These sessions stay, and come again. Where that fails, too, the next run
                // ends the line.
                let _ = self.file.set_len(self.settled);
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Archive for Lines {
    fn keep(&mut self, id: &[u8], session: Session<&[u8]>) -> ControlFlow<()> {
        let object = Object::of_session(id, self.ids, &session).value(session.value);
        let mut line = visible_json(&object.finish()).into_owned();
        line.push('\n');
        let done = self.file.write_all(line.as_bytes());
        self.judge(done)
    }

    fn settle(&mut self) -> ControlFlow<()> {
        let done = self.file.sync_data().and_then(|()| self.file.metadata());
        match done {
            Ok(file) => {
                self.settled = file.len();
                ControlFlow::Continue(())
            }
            Err(error) => self.judge(Err(error)),
        }
    }
}
