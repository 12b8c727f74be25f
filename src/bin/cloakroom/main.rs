//! The command-line tool: what one wants to do with a container by hand or in
//! a script.
//!
//! Data goes to standard output, messages to standard error. The exit code is 0
//! when it was done, 1 when something was not found or damage was, and 2 for
//! everything else. The tool uses the public API only. What it prints from a
//! file goes through [`output`], which lets no control character pass; nothing
//! here may print by any other way, but for a bar of mere numbers ([`progress`]).

mod check;
mod create;
mod demo;
mod dump;
mod escape;
mod get;
mod id;
mod info;
mod inspect;
mod ls;
mod migrate;
mod output;
mod progress;
mod put;
mod restore;
mod rm;
mod sweep;
mod units;

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind as Usage;
use clap::{Parser, Subcommand};

use output::{Form, Output};

/// Keeps every visitor's session in one ordinary file.
#[derive(Parser)]
#[command(version, color = clap::ColorChoice::Never, after_help = CODES)]
struct Cli {
    /// Print data and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const CODES: &str = "\
Exit codes: 0 done, 1 not found or damage found, 2 anything else.
Times are UTC; those in JSON are milliseconds since 1970.
Errors with --json: {\"error\": TEXT} on standard error.

Try: cloakroom create FILE
     cloakroom put FILE ticket '{\"visits\": 1}'
     cloakroom get FILE ticket";

#[derive(Subcommand)]
enum Command {
    Create(create::Args),
    Put(put::Args),
    Get(get::Args),
    Rm(rm::Args),
    Ls(ls::Args),
    Sweep(sweep::Args),
    Dump(dump::Args),
    Restore(restore::Args),
    Migrate(migrate::Args),
    Info(info::Args),
    Check(check::Args),
    Inspect(inspect::Args),
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoWorker(demo::WorkerArgs),
}

/// Exit code: it was done.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
/// Exit code 1: something asked for was not found, or damage was.
pub(crate) const LACKING: ExitCode = ExitCode::FAILURE;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The container refused or failed.
    Container(cloakroom::Error),
    /// What was given to the command, as an argument or on standard input, is
    /// not what it takes.
    Input(String),
    /// Standard input or output failed.
    Stream(&'static str, io::Error),
}

/// What every command returns: the exit code, when nothing went wrong.
pub(crate) type Done = Result<ExitCode, Failure>;

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Failure {
        Failure::Container(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Container(error) => write!(f, "{error}"),
            Failure::Input(message) => f.write_str(message),
            Failure::Stream(action, error) => write!(f, "cannot {action}: {error}"),
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut out = Output::new(if cli.json { Form::Json } else { Form::Human });
    let done = match &cli.command {
        Command::Demo(demo::DemoArgs { json, .. }) if cli.json || *json => {
            Err(Failure::Input("demo shows itself to people; it has no --json".into()))
        }
        command => run(command, &mut out),
    };
    // What was printed before a failure belongs before its message.
    let done = match (done, out.finish()) {
        (Ok(code), Ok(())) => Ok(code),
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            out.complain(&failure.to_string());
            match failure {
                Failure::Container(error)
                    if matches!(error.kind(), cloakroom::ErrorKind::Damaged(_)) =>
                {
                    LACKING
                }
                _ => ExitCode::from(2),
            }
        }
    }
}

fn run(command: &Command, out: &mut Output) -> Done {
    match command {
        Command::Create(args) => create::run(args, out),
        Command::Put(args) => put::run(args, out),
        Command::Get(args) => get::run(args, out),
        Command::Rm(args) => rm::run(args, out),
        Command::Ls(args) => ls::run(args, out),
        Command::Sweep(args) => sweep::run(args, out),
        Command::Dump(args) => dump::run(args, out),
        Command::Restore(args) => restore::run(args, out),
        Command::Migrate(args) => migrate::run(args, out),
        Command::Info(args) => info::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Demo(args) => demo::run(args, out),
        Command::DemoWorker(args) => demo::work(args, out),
    }
}

/// What clap has to say: help and version are data, the rest are usage errors.
/// There is no parsed `--json` then, so it is looked for by hand.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if matches!(error.kind(), Usage::DisplayHelp | Usage::DisplayVersion) {
        let mut out = Output::new(Form::Human);
        let printed = text.lines().try_for_each(|line| out.line(line));
        return match printed.and_then(|()| out.finish()) {
            Ok(()) => DONE,
            Err(_) => ExitCode::from(2),
        };
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = text.trim();
        Output::new(Form::Json).complain(text.strip_prefix("error: ").unwrap_or(text));
    } else {
        text.lines().for_each(output::message);
    }
    ExitCode::from(2)
}
