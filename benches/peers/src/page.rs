//! BENCHMARKS.md, from a report.
//!
//! The page names the machine, the versions and what each store does not promise; no
//! number on it is written by hand.

use std::fmt::Write;
use std::path::Path;

use crate::machine;
use crate::numbers::{median, time};
use crate::plot;
use crate::report::{Report, Section, Table, Unit};
use crate::stage::Outcome;

const PLOTS: &str = "benches/plots";

pub(crate) fn print(report: &Report) -> Outcome<()> {
    print!("{}", text(report)?);
    Ok(())
}

/// Writes the page and its plots below `root`.
pub(crate) fn write(report: &Report, root: &Path) -> Outcome<()> {
    std::fs::create_dir_all(root.join(PLOTS))?;
    for plot in report.sections.iter().flat_map(|section| &section.plots) {
        plot::draw(plot, &root.join(PLOTS).join(format!("{}.svg", plot.name)))?;
    }
    let page = root.join("BENCHMARKS.md");
    std::fs::write(&page, text(report)?)?;
    eprintln!("written: {}, and its plots", page.display());
    Ok(())
}

fn text(report: &Report) -> Outcome<String> {
    let mut page = String::new();
    writeln!(page, "# cloakroom beside other stores\n")?;
    writeln!(
        page,
        "Written by `make bench-peers` from one run; nothing here is written by hand. All\n\
         stores do the same work in the same run, in turns; numbers are medians of the rounds,\n\
         and every value read was compared with the one that had to be there. The number in\n\
         brackets says how many times better cloakroom is in the same rounds: **below 1 the\n\
         other store is ahead**, and the number is bold.\n"
    )?;
    if report.tiny {
        writeln!(page, "**Tiny run: these numbers mean nothing.**\n")?;
    }
    writeln!(page, "{}\n", machine::describe()?)?;
    writeln!(page, "| store | version | fast | durable |\n|---|---|---|---|")?;
    for peer in &report.peers {
        let version = (peer.version)().unwrap_or_default();
        let durable = peer.durable.unwrap_or("-");
        writeln!(page, "| {} | {version} | {} | {durable} |", peer.name, peer.fast)?;
    }
    for section in &report.sections {
        write_section(&mut page, section)?;
    }
    Ok(page)
}

fn write_section(page: &mut String, section: &Section) -> Outcome<()> {
    writeln!(page, "\n## {}\n\n{}", section.title, section.about)?;
    for table in &section.tables {
        write_table(page, table)?;
    }
    for plot in &section.plots {
        writeln!(page, "\n![{}]({PLOTS}/{}.svg)", plot.title, plot.name)?;
    }
    if !section.notes.is_empty() {
        writeln!(page)?;
    }
    for note in &section.notes {
        writeln!(page, "- {note}")?;
    }
    Ok(())
}

fn write_table(page: &mut String, table: &Table) -> Outcome<()> {
    writeln!(page, "\n{}\n", table.caption)?;
    write!(page, "| |")?;
    for (name, _) in &table.columns {
        write!(page, " {name} |")?;
    }
    writeln!(page, "\n|---|{}", "---:|".repeat(table.columns.len()))?;
    for (row, (name, numbers)) in table.rows.iter().enumerate() {
        write!(page, "| {name} |")?;
        for (column, (numbers, (_, unit))) in numbers.iter().zip(&table.columns).enumerate() {
            if numbers.is_empty() {
                write!(page, " - |")?;
                continue;
            }
            write!(page, " {}", show(median(numbers), *unit))?;
            match table.lead(row, column) {
                Some(lead) if lead < 1.0 => write!(page, " (**{lead:.2}**)")?,
                Some(lead) => write!(page, " ({lead:.2})")?,
                None => {}
            }
            write!(page, " |")?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn show(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => time(number),
        Unit::Rate if number >= 1e5 => format!("{:.2} M/s", number / 1e6),
        Unit::Rate => format!("{number:.0}/s"),
        Unit::Share => format!("{number:.2}"),
        Unit::Bytes if number >= 1e7 => format!("{:.0} MiB", number / (1 << 20) as f64),
        Unit::Bytes => format!("{:.0} KiB", number / 1024.0),
        Unit::Count => format!("{number:.0}"),
    }
}
