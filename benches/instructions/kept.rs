//! The figures of an earlier run, kept in the repository: lines of an operation's name
//! and its number of instructions.

use std::path::PathBuf;

use crate::Outcome;

/// Figures by the names of operations, in their order.
pub(crate) struct Kept(Vec<(String, f64)>);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/kept.txt")
}

impl Kept {
    pub(crate) fn read() -> Outcome<Kept> {
        let text = std::fs::read_to_string(path())?;
        let line = |line: &str| -> Outcome<(String, f64)> {
            let (name, number) = line.split_once(' ').ok_or("a kept figure has no number")?;
            Ok((name.to_owned(), number.trim().parse()?))
        };
        Ok(Kept(text.lines().map(line).collect::<Outcome<_>>()?))
    }

    pub(crate) fn of(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(kept, _)| kept == name).map(|(_, number)| *number)
    }

    pub(crate) fn set(&mut self, name: &str, number: f64) {
        self.0.retain(|(kept, _)| kept != name);
        self.0.push((name.to_owned(), number));
    }

    pub(crate) fn write(&self) -> Outcome<()> {
        let line = |(name, number): &(String, f64)| format!("{name} {number:.0}\n");
        Ok(std::fs::write(path(), self.0.iter().map(line).collect::<String>())?)
    }
}
