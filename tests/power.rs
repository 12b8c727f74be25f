//! Power cuts of real file systems: real processes at work on a container on a
//! loop-mounted ext4 and xfs, the kernel's own shutdown without a flush, and an
//! outside record of what was acknowledged.
//!
//! `cargo test` tries a few; `make power` 2,000 and `make soak` more:
//! `CLOAKROOM_POWER_CUTS=n` says how many. The printed seed (`CLOAKROOM_SEED=n`)
//! repeats the choices, not the timing. Needs root and loop devices.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "outside/child.rs"]
mod child;
#[path = "outside/dice.rs"]
mod dice;
#[path = "power/disk.rs"]
mod disk;
#[path = "power/kernel.rs"]
mod kernel;
#[path = "power/lane.rs"]
mod lane;
#[path = "outside/ledger.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod ledger;
#[path = "outside/message.rs"]
#[allow(dead_code)] // Two harnesses share it.
mod message;
#[path = "power/openings.rs"]
mod openings;
#[path = "outside/reading.rs"]
mod reading;
#[path = "outside/value.rs"]
mod value;
#[path = "outside/work.rs"]
mod work;
#[path = "outside/wrapped.rs"]
mod wrapped;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Instant, SystemTime};

use cloakroom::{ByteContainer, IdForm};
use dice::Dice;
use disk::{Disk, Kind};
use lane::{Lane, Tally};
use work::Job;

/// Cuts of each run that nobody asked for more of.
const FEW: u64 = 40;
/// Cuts within which a broken promise must be noticed.
const PATIENCE: u64 = 150;

/// Does nothing unless this process was started for a job.
#[test]
fn play() {
    let Some(text) = child::job() else {
        return;
    };
    // Not to outlive the thread that started this.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let job = Job::from_text(&text);
    if job.creates != 0 {
        let mut mouth = message::Mouth::new(job.writer);
        mouth.tell(message::What::Ready, 0, 0);
        match ByteContainer::create(&job.path, job.options().ids(IdForm::Plain)) {
            Ok(_) => mouth.tell(message::What::Created, 0, 0),
            Err(error) => {
                eprintln!("cannot create: {error}");
                mouth.tell(message::What::Failed, 0, 0);
                work::wait_for_the_end();
            }
        }
    }
    work::work(&job, &|| openings::open(&job.path, &job.opening, job.options()));
}

fn seed() -> u64 {
    match std::env::var("CLOAKROOM_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64,
    }
}

/// To the screen in any case: the test harness shows nothing of what went well.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// So many of a hundred of the cuts that are asked for.
fn cuts(share: u64) -> u64 {
    let asked = std::env::var("CLOAKROOM_POWER_CUTS").ok();
    asked.map_or(FEW, |cuts| cuts.parse().unwrap()) * share / 100
}

fn run(kind: Kind, cuts: u64) {
    let seed = seed();
    let mut lane = match Lane::new(kind, openings::PLAIN, seed) {
        Ok(lane) => lane,
        Err(why) => return say(&format!("\n*** not run: power cuts of {kind}: {why} ***\n")),
    };
    let began = Instant::now();
    let lived = lane.live(cuts);
    let seconds = began.elapsed().as_secs();
    say(&format!("power: {kind}, seed {seed}, {seconds} s: {}", lane.tally));
    say(&format!("reached: real power cuts = {}", lane.tally.cuts));
    if let Err(why) = lived {
        panic!("{kind}, seed {seed}: {why}");
    }
    if cuts >= 100 {
        let Tally { cuts_that_took, in_sync, shorter, .. } = lane.tally;
        assert!(cuts_that_took > cuts / 10, "hardly a cut took anything");
        assert!(in_sync > 0 && shorter > 0, "cuts came at quiet moments only");
    }
}

#[test]
fn no_promise_is_broken_by_a_power_cut_of_ext4() {
    run(Kind::Ext4, cuts(60));
}

#[test]
fn no_promise_is_broken_by_a_power_cut_of_xfs() {
    run(Kind::Xfs, cuts(40));
}

/// The harness itself: a cut keeps the pages that were forced out, and no others.
#[test]
fn a_cut_keeps_what_was_forced_out_and_nothing_else() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let mut dice = Dice::new(seed());
        match Disk::new(kind, &mut dice) {
            Ok(disk) => keeps_what_was_forced_out(&disk, &mut dice),
            Err(why) => say(&format!("\n*** not run: pages kept by {kind}: {why} ***\n")),
        }
    }
}

fn keeps_what_was_forced_out(disk: &Disk, dice: &mut Dice) {
    const PAGES: u64 = 300;
    let path = disk.file("pages");
    let fill = |byte: u8| {
        let file = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        (0..PAGES).for_each(|page| file.write_all_at(&[byte; 4096], page * 4096).unwrap());
        file
    };
    fill(1).sync_all().unwrap();
    for byte in 2..8 {
        let file = fill(byte);
        let before = fs::read(&path).unwrap();
        assert!(before.iter().all(|found| *found == byte));
        let kept: Vec<bool> = (0..PAGES).map(|_| dice.percent(50)).collect();
        for (page, _) in (0..).zip(&kept).filter(|(_, kept)| **kept) {
            kernel::force_out(&file, page * 4096, 4096).unwrap();
        }
        drop(file);
        disk.cut().unwrap();
        disk.power_up().unwrap();
        disk.warm(&path).unwrap();
        let old = fs::read(&path).unwrap();
        for (page, (bytes, kept)) in old.chunks(4096).zip(kept).enumerate() {
            let new = bytes.iter().all(|found| *found == byte);
            let whole = bytes.iter().all(|found| *found == bytes[0]);
            assert!(whole && new == kept, "page {page}, forced out: {kept}, new: {new}");
        }
    }
}

/// The harness itself: each of these storages must be found out.
fn found_out(opening: &'static str) {
    let seed = seed();
    let mut lane = match Lane::new(Kind::Ext4, opening, seed) {
        Ok(lane) => lane,
        Err(why) => return say(&format!("\n*** not run: {opening:?} found out: {why} ***\n")),
    };
    let found = lane.live(PATIENCE);
    let cuts = lane.tally.cuts;
    let Err(why) = found else {
        panic!("seed {seed}: {opening:?} was not found out in {cuts} cuts");
    };
    let why = why.lines().next().unwrap();
    say(&format!("power: {opening:?}, seed {seed}: found out at cut {cuts}: {why:.200}"));
}

#[test]
fn a_sync_that_does_nothing_is_found_out() {
    found_out(openings::NO_SYNC);
}

#[test]
fn a_sync_that_returns_too_early_is_found_out() {
    found_out(openings::LATE_SYNC);
}

#[test]
fn a_sync_of_half_the_file_is_found_out() {
    found_out(openings::HALF_SYNC);
}

#[test]
fn a_cut_that_goes_unnoticed_is_found_out() {
    found_out(openings::SAME_VIEW);
}
