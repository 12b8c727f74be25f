//! Fresh processes: the bench starts itself again with the arguments
//! `child JOB ...`, and the child prints one line of numbers.
//!
//! What a request costs a CGI program is only seen in a process that has done
//! nothing before. Children that work side by side first say that they are
//! ready, and begin when they are told.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::stage::Outcome;

/// The arguments of a child, in order.
pub(crate) struct Arguments<I>(pub(crate) I);

impl<I: Iterator<Item = OsString>> Arguments<I> {
    pub(crate) fn path(&mut self) -> Outcome<OsString> {
        Ok(self.0.next().ok_or("a child needs more arguments")?)
    }

    pub(crate) fn text(&mut self) -> Outcome<String> {
        self.path()?.into_string().map_err(|_| "an argument is not UTF-8".into())
    }

    pub(crate) fn number(&mut self) -> Outcome<u64> {
        Ok(self.text()?.parse()?)
    }
}

/// This program as the child that does `job`.
pub(crate) fn command(job: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").arg(job).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Runs a child to its end and gives the numbers that it printed.
pub(crate) fn run(mut command: Command) -> Outcome<Vec<u64>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    numbers(std::str::from_utf8(&output.stdout)?)
}

fn numbers(line: &str) -> Outcome<Vec<u64>> {
    line.split_whitespace().map(|word| Ok(word.parse()?)).collect()
}

/// Starts all, lets them begin together when all are ready, and gives what
/// each printed.
pub(crate) fn run_together(commands: Vec<Command>) -> Outcome<Vec<Vec<u64>>> {
    let mut children = Vec::new();
    for mut command in commands {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no pipe from a child")?;
        children.push((child, BufReader::new(output)));
    }
    for (_, output) in &mut children {
        if read_line(output)?.trim() != "ready" {
            return Err("a child did not get ready".into());
        }
    }
    for (child, _) in &mut children {
        child.stdin.take().ok_or("no pipe to a child")?.write_all(b"go\n")?;
    }
    children.into_iter().map(finish).collect()
}

fn finish((mut child, mut output): (Child, BufReader<ChildStdout>)) -> Outcome<Vec<u64>> {
    let line = read_line(&mut output)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("a child ended with {status}").into());
    }
    numbers(&line)
}

fn read_line(from: &mut impl BufRead) -> Outcome<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line)
}

/// In the child: says that it is ready and waits until it is told to begin.
pub(crate) fn wait_for_start() -> Outcome<()> {
    println!("ready");
    read_line(&mut std::io::stdin().lock()).map(drop)
}
