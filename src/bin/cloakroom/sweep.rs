//! `sweep`: removes what has expired. When it says done, it is gone from the disk too,
//! and what was archived is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cloakroom::{Archive, ByteContainer, Options, Session, SweepEnd, SweepPolicy};

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
A file made by --archive can be read by its owner only. After a crash a session may be in it twice.
Exit code 1 if the clock is more than a day ahead of when the container was last swept or changed:
a wrong clock must not remove everybody. Run it again in a minute, if the clock is right.
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
            let mut archive = Lines::open(path)?;
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
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines, Failure> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| Failure::Stream("open the archive", error))?;
        Ok(Lines { file: BufWriter::new(file), failed: None })
    }

    fn judge(&mut self, done: io::Result<()>) -> ControlFlow<()> {
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Archive for Lines {
    fn keep(&mut self, id: &[u8], session: Session<&[u8]>) -> ControlFlow<()> {
        let object = Object::of_session(id, &session).value(session.value);
        let done = writeln!(self.file, "{}", visible_json(&object.finish()));
        self.judge(done)
    }

    fn settle(&mut self) -> ControlFlow<()> {
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        self.judge(done)
    }
}
