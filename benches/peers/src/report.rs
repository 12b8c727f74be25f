//! What was measured: sections of tables and plots, and what is said about them.
//!
//! A cell keeps the numbers of all rounds; what is shown is their median. The factor
//! beside it is the median of the rounds' ratios to cloakroom's number, so that a
//! machine that is slow for some seconds hardly moves it: above 1, cloakroom is ahead.

use crate::numbers::median;
use crate::store::Peer;

/// Everything of one run.
pub(crate) struct Report {
    pub(crate) peers: Vec<&'static Peer>,
    pub(crate) tiny: bool,
    pub(crate) sections: Vec<Section>,
}

impl Report {
    pub(crate) fn new(peers: &[&'static Peer], tiny: bool) -> Report {
        Report { peers: peers.to_vec(), tiny, sections: Vec::new() }
    }

    pub(crate) fn push(&mut self, mut section: Section) {
        for table in &mut section.tables {
            table.sort(&self.peers);
        }
        self.sections.push(section);
    }
}

/// One work.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What was done, in a sentence or two.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) notes: Vec<String>,
}

/// What the numbers of a table are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds; less is better.
    Time,
    /// Of a second; more is better.
    Rate,
    /// Bytes for each byte of what is kept; less is better.
    Share,
    Bytes,
    /// Counted; none is best, and there is no factor.
    Count,
}

/// Rows of stores, columns of conditions, in each place the numbers of all rounds.
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<(String, Unit)>,
    pub(crate) rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Table {
    pub(crate) fn new(caption: impl Into<String>, columns: &[(&str, Unit)]) -> Table {
        let columns = columns.iter().map(|(name, unit)| ((*name).to_owned(), *unit)).collect();
        Table { caption: caption.into(), columns, rows: Vec::new() }
    }

    /// Rows in the order of the stores, then those that are none.
    pub(crate) fn sort(&mut self, peers: &[&'static Peer]) {
        let place = |name: &str| peers.iter().position(|peer| peer.name == name);
        self.rows.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    }

    /// One more number of a row, in the column of that name.
    pub(crate) fn push(&mut self, row: &str, column: &str, number: f64) {
        let Some(place) = self.columns.iter().position(|(name, _)| name == column) else {
            panic!("no column {column}");
        };
        let columns = self.columns.len();
        let at = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), vec![Vec::new(); columns]));
            self.rows.len() - 1
        });
        self.rows[at].1[place].push(number);
    }

    /// How many times better cloakroom is than this row; above 1 it is ahead.
    pub(crate) fn lead(&self, row: usize, column: usize) -> Option<f64> {
        let (name, numbers) = self.rows.get(row)?;
        let (_, ours) = self.rows.iter().find(|(name, _)| name == "cloakroom")?;
        let (ours, other) = (ours.get(column)?, numbers.get(column)?);
        if name == "cloakroom" || ours.is_empty() || other.is_empty() {
            return None;
        }
        // Where rounds were left out they do not stand beside each other any more.
        let ratio = if ours.len() == other.len() {
            let ratios = ours.iter().zip(other).map(|(ours, other)| other / ours);
            median(&ratios.collect::<Vec<_>>())
        } else {
            median(other) / median(ours)
        };
        match self.columns.get(column)?.1 {
            Unit::Time | Unit::Share | Unit::Bytes => Some(ratio),
            Unit::Rate => Some(1.0 / ratio),
            Unit::Count => None,
        }
    }

    /// A line of a plot for each row that has a number in each of these columns.
    pub(crate) fn series(&self, columns: &[(&str, f64)]) -> Vec<(String, Vec<(f64, f64)>)> {
        let place = |wanted: &str| self.columns.iter().position(|(name, _)| name == wanted);
        let points = |numbers: &[Vec<f64>]| {
            let points = columns.iter().filter_map(|(name, x)| {
                let numbers = numbers.get(place(name)?)?;
                (!numbers.is_empty()).then(|| (*x, median(numbers)))
            });
            points.collect::<Vec<_>>()
        };
        let rows = self.rows.iter().map(|(name, numbers)| (name.clone(), points(numbers)));
        rows.filter(|(_, points)| !points.is_empty()).collect()
    }
}

/// Lines over a logarithmic x axis.
pub(crate) struct Plot {
    /// Also the name of its file.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) series: Vec<(String, Vec<(f64, f64)>)>,
}
