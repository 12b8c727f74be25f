//! The table that the goals bench prints, and the numbers in it.
//!
//! Ours and the floor or peer are measured in alternating rounds. Of each the
//! median is shown; the ratio is the median of the ratios of the rounds, which
//! a machine that is slow for some seconds hardly moves.

/// One line of the table.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) other: String,
    pub(crate) ratio: String,
    pub(crate) goal: &'static str,
    pub(crate) reached: Option<bool>,
}

/// What one row of the table gave: lines, and remarks for below it.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) lines: Vec<Line>,
    pub(crate) notes: Vec<String>,
}

impl Findings {
    /// Of a row that cannot be measured here.
    pub(crate) fn not_run(&mut self, what: &str, goal: &'static str, reason: &str) {
        self.lines.push(Line {
            what: what.to_owned(),
            ours: "-".to_owned(),
            other: format!("not run: {reason}"),
            ratio: "-".to_owned(),
            goal,
            reached: None,
        });
    }

    pub(crate) fn print(&self) {
        println!("\n| what | ours | floor or peer | ratio | goal | reached |");
        println!("| --- | ---: | ---: | ---: | ---: | --- |");
        for line in &self.lines {
            let reached = match line.reached {
                Some(true) => "yes",
                Some(false) => "no",
                None => "-",
            };
            let Line { what, ours, other, ratio, goal, .. } = line;
            println!("| {what} | {ours} | {other} | {ratio} | {goal} | {reached} |");
        }
        println!();
        for note in &self.notes {
            println!("- {note}");
        }
    }
}

/// One number of each round, ours beside the other's.
#[derive(Default)]
pub(crate) struct Rounds {
    ours: Vec<f64>,
    other: Vec<f64>,
}

impl Rounds {
    pub(crate) fn push(&mut self, ours: f64, other: f64) {
        self.ours.push(ours);
        self.other.push(other);
    }

    pub(crate) fn len(&self) -> usize {
        self.ours.len()
    }

    pub(crate) fn ours(&self) -> f64 {
        median(&self.ours)
    }

    pub(crate) fn other(&self) -> f64 {
        median(&self.other)
    }

    pub(crate) fn ratio(&self) -> f64 {
        let rounds = self.ours.iter().zip(&self.other);
        median(&rounds.map(|(ours, other)| ours / other).collect::<Vec<_>>())
    }

    /// The least and the greatest ratio of a round.
    pub(crate) fn ratio_span(&self) -> (f64, f64) {
        let rounds = self.ours.iter().zip(&self.other);
        rounds
            .map(|(ours, other)| ours / other)
            .fold((f64::MAX, f64::MIN), |(least, most), r| (least.min(r), most.max(r)))
    }

    /// A line for a goal that bounds the ratio.
    pub(crate) fn line(
        &self,
        what: impl Into<String>,
        goal: &'static str,
        reached: impl Fn(f64) -> bool,
        show: impl Fn(f64) -> String,
    ) -> Line {
        Line {
            what: what.into(),
            ours: show(self.ours()),
            other: show(self.other()),
            ratio: format!("{:.2}", self.ratio()),
            goal,
            reached: Some(reached(self.ratio())),
        }
    }
}

/// The middle of `numbers`, or the mean of the two there; not a number if there
/// are none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let middle = sorted.len().saturating_sub(1) / 2..=half;
    sorted.get(middle).map_or(f64::NAN, mean)
}

/// The number that this share of `numbers` does not exceed.
pub(crate) fn percentile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// A time given in nanoseconds.
pub(crate) fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}
