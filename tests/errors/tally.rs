//! What a sweep came to, as a table.

use std::collections::BTreeMap;
use std::fmt;

use crate::faulty::{Call, Injection, Repeat};

/// Counts of one row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) injected: u64,
    pub(crate) failed: u64,
    pub(crate) cuts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    acts: BTreeMap<String, Counts>,
    calls: BTreeMap<&'static str, [u64; 2]>,
}

impl Tally {
    pub(crate) fn row(&mut self, name: &str) -> &mut Counts {
        self.acts.entry(name.to_owned()).or_default()
    }

    pub(crate) fn injected(&mut self, call: Call, injection: &Injection) {
        let column = usize::from(injection.repeat == Repeat::FromThenOn);
        self.calls.entry(name(call)).or_default()[column] += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (act, counts) in &other.acts {
            let row = self.row(act);
            row.calls += counts.calls;
            row.injected += counts.injected;
            row.failed += counts.failed;
            row.cuts += counts.cuts;
        }
        for (call, counts) in &other.calls {
            let row = self.calls.entry(call).or_default();
            row[0] += counts[0];
            row[1] += counts[1];
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.acts.values().map(|counts| counts.injected).sum()
    }
}

fn name(call: Call) -> &'static str {
    match call {
        Call::Status => "status",
        Call::Read(_) => "read",
        Call::Write(..) => "write",
        Call::Extend => "extend",
        Call::Sync => "sync",
        Call::Map => "map",
        Call::TryLock => "lock",
        Call::Unlock => "unlock",
        Call::Reopen => "reopen",
        Call::View => "view",
        Call::Random => "random",
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| act | calls | injections | told | absorbed | power cuts |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|")?;
        let mut sum = Counts::default();
        for (act, counts) in &self.acts {
            let Counts { calls, injected, failed, cuts } = *counts;
            let absorbed = injected - failed;
            writeln!(f, "| {act} | {calls} | {injected} | {failed} | {absorbed} | {cuts} |")?;
            sum.calls += calls;
            sum.injected += injected;
            sum.failed += failed;
            sum.cuts += cuts;
        }
        let Counts { calls, injected, failed, cuts } = sum;
        let absorbed = injected - failed;
        writeln!(f, "| all | {calls} | {injected} | {failed} | {absorbed} | {cuts} |\n")?;
        writeln!(f, "| call | once | from then on |\n|---|---:|---:|")?;
        for (call, [once, on]) in &self.calls {
            writeln!(f, "| {call} | {once} | {on} |")?;
        }
        Ok(())
    }
}

/// Prints past the capture of the test harness: figures are what a run is for, and
/// what was not run must be seen.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}
