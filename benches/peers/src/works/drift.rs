//! Ten million overwrites whose sizes change over time: first small values, then mixed,
//! then large, then small again, as a site does that learns to keep more and to keep
//! less. What the file takes on the disk for each byte that lives.

use cloakroom::{ByteContainer, Durability, IdForm, Options};

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::data::{self, Random};
use crate::report::{Plot, Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage};
use crate::store::Peer;

const POINTS: u64 = 40;
const SHARE: &str = "bytes on the disk for each byte kept";
const MIB: &str = "on the disk";

pub(crate) fn measure(stage: &Stage, _: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let sessions = stage.size(20_000, 100);
    let overwrites = stage.size(10_000_000, 4_000);
    let path = stage.path("drift");
    let durability = Durability::Interval(Duration::from_secs(1));
    let options = Options::new().ids(IdForm::Plain).durability(durability);
    let container = ByteContainer::create(&path, options)?;
    let mut random = Random::new(31);
    let mut lens = vec![0_u64; sessions as usize];
    let mut value = Vec::new();
    let mut table =
        Table::new("After so many overwrites", &[(SHARE, Unit::Share), (MIB, Unit::Bytes)]);
    let mut points = Vec::new();
    let mut version = 0;
    for point in 1..=POINTS {
        for _ in 0..overwrites / POINTS {
            let session = random.below(sessions);
            let len = len(&mut random, point);
            version += 1;
            data::fill(&mut value, session, version, len);
            container.save(data::id(session), &value)?;
            if let Some(kept) = lens.get_mut(session as usize) {
                *kept = 32 + len as u64;
            }
        }
        let allocated = std::fs::metadata(&path)?.blocks() * 512;
        let share = allocated as f64 / lens.iter().sum::<u64>() as f64;
        points.push(((overwrites / POINTS * point) as f64, share));
        if point.is_multiple_of(POINTS / 8) {
            let row = format!("{} ({})", overwrites / POINTS * point, phase(point).0);
            table.push(&row, SHARE, share);
            table.push(&row, MIB, allocated as f64);
        }
    }
    let report_of = container.check()?;
    if !report_of.is_sound() {
        return Err("the container is damaged".into());
    }
    report.push(Section {
        title: "Size while the sizes drift",
        about: format!(
            "{overwrites} overwrites of random ones of {sessions} sessions, synced every second. \
             The sizes drift from small to mixed to large and back, a quarter of the time each. \
             The file never shrinks by itself: a factor that rises with smaller values is room \
             that the next ones take."
        ),
        plots: vec![Plot {
            name: "drift",
            title: "Bytes on the disk for each byte kept against overwrites".to_owned(),
            x: "overwrites",
            y: "bytes for a byte",
            series: vec![("cloakroom".to_owned(), points)],
        }],
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}

/// What the sizes are at this point: the name, the least and the greatest.
fn phase(point: u64) -> (&'static str, u64, u64) {
    match (point - 1) * 4 / POINTS {
        0 => ("small", 64, 400),
        1 => ("mixed", 64, 4_000),
        2 => ("large", 3_000, 12_000),
        _ => ("small again", 64, 400),
    }
}

fn len(random: &mut Random, point: u64) -> usize {
    let (_, least, greatest) = phase(point);
    (least + random.below(greatest - least)) as usize
}
