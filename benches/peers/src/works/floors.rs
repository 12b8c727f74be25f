//! What the machine itself takes: no store can be faster than these.

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::FlockOperation;

use crate::child;
use crate::data::{self, Random};
use crate::report::{Report, Section, Table, Unit};
use crate::stage::{Outcome, Stage, filled_file};
use crate::store::Peer;

const TIME: &str = "median";

pub(crate) fn measure(stage: &Stage, _: &[&'static Peer], report: &mut Report) -> Outcome<()> {
    let mut table = Table::new("One of each", &[(TIME, Unit::Time)]);
    let len = stage.size(1 << 30, 1 << 20);
    let file = filled_file(&stage.path("floor"), len)?;
    let lines = len / 64 - 16;
    let mut random = Random::new(19);
    let mut piece = vec![0; 1024];
    let value = data::value(1, 1, 1024);
    for _ in 0..stage.rounds() {
        let mut floor = |name: &str, times: u64, work: &mut dyn FnMut(u64) -> Outcome<()>| {
            let start = Instant::now();
            for _ in 0..times {
                work(random.below(lines) * 64)?;
            }
            let nanoseconds = start.elapsed().as_nanos() as f64 / times as f64;
            table.push(name, TIME, nanoseconds);
            Outcome::Ok(())
        };
        let many = stage.size(20_000, 20);
        floor("copy and checksum 1 KiB in memory", many, &mut |_| {
            piece.copy_from_slice(&value);
            black_box(crc32fast::hash(&piece));
            Ok(())
        })?;
        floor("pread 1 KiB, random in 1 GiB, cached", many, &mut |offset| {
            Ok(file.read_exact_at(&mut piece, offset)?)
        })?;
        floor("pwrite 1 KiB, random in 1 GiB, cached", many, &mut |offset| {
            Ok(file.write_all_at(&value, offset)?)
        })?;
        file.sync_data()?;
        floor("flock and unlock, nobody else there", many, &mut |_| {
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(rustix::fs::flock(&file, FlockOperation::Unlock)?)
        })?;
        floor("pwrite 1 KiB and fdatasync", stage.size(200, 2), &mut |offset| {
            file.write_all_at(&value, offset)?;
            Ok(file.sync_data()?)
        })?;
        floor("start a process that does nothing, and wait", stage.size(20, 1), &mut |_| {
            child::run(child::command("nothing")?).map(drop)
        })?;
    }
    report.push(Section {
        title: "Floors",
        about: "What the machine itself takes for the parts of these works.".to_owned(),
        tables: vec![table],
        ..Section::default()
    });
    Ok(())
}
