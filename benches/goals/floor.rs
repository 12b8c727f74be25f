//! The least that a load can be: read one random 64-byte line, then copy the value that
//! it names, and its crc32, from a mapped file as large as the container.
//!
//! Everything is read once before it is timed, in a run that compares every value.

#![allow(unsafe_code)] // memmap2 asks for a promise: nobody truncates the floor's file.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use memmap2::Mmap;

use crate::data::{self, Random};
use crate::stage::{Outcome, Stage, filled_file};

const LINE: u64 = 64;

/// Index lines for a hundred sessions: the container's load factor is 0.65.
const LINES_OF_HUNDRED: u64 = 154;

/// A file of lines, each of which names a value further on.
pub(crate) struct Floor {
    map: Mmap,
    lines: u64,
    sessions: u64,
    value_len: usize,
}

impl Floor {
    /// `len` bytes, or as many as it takes.
    pub(crate) fn new(stage: &Stage, sessions: u64, value_len: usize, len: u64) -> Outcome<Floor> {
        let lines = sessions * LINES_OF_HUNDRED / 100;
        let first = (lines * LINE).next_multiple_of(4096);
        let apart = (len.saturating_sub(first) / sessions).max(value_len as u64) / LINE * LINE;
        let path = stage.path("load-floor");
        let file = filled_file(&path, len.max(first + apart * sessions))?;
        let mut sums = Vec::new();
        let mut value = Vec::new();
        for session in 0..sessions {
            data::fill(&mut value, session, 0, value_len);
            sums.push(crc32fast::hash(&value));
            file.write_all_at(&value, first + apart * session)?;
        }
        let mut writer = BufWriter::with_capacity(4096, &file);
        let mut random = Random::new(2);
        for _ in 0..lines {
            let session = random.below(sessions);
            let sum = sums.get(session as usize).ok_or("no such session")?;
            let mut line = [0; LINE as usize];
            line[..8].copy_from_slice(&(first + apart * session).to_le_bytes());
            line[8..12].copy_from_slice(&sum.to_le_bytes());
            line[16..24].copy_from_slice(&session.to_le_bytes());
            writer.write_all(&line)?;
        }
        writer.flush()?;
        drop(writer);
        file.sync_data()?;
        Ok(Floor { map: map(&file)?, lines, sessions, value_len })
    }

    /// Reads by every line and compares the values, so that all is mapped.
    pub(crate) fn verify(&self) -> Outcome<()> {
        let mut value = Vec::new();
        for number in 0..self.lines {
            let session = self.copy(number, &mut value).ok_or("the floor's file is damaged")?;
            if session >= self.sessions || data::version_of(session, &value) != Some(0) {
                return Err("the floor's file names something else".into());
            }
        }
        Ok(())
    }

    /// Nanoseconds of a read.
    pub(crate) fn read(&self, picks: &[u64]) -> Outcome<f64> {
        let numbers: Vec<u64> = picks.iter().map(|pick| pick % self.lines).collect();
        let mut value = Vec::with_capacity(self.value_len);
        let start = Instant::now();
        for &number in &numbers {
            black_box(self.copy(number, &mut value).ok_or("a checksum does not match")?);
            black_box(&value);
        }
        Ok(start.elapsed().as_nanos() as f64 / numbers.len() as f64)
    }

    /// The whole of what is measured. `None` if the checksum does not match.
    fn copy(&self, number: u64, value: &mut Vec<u8>) -> Option<u64> {
        let from = (number * LINE) as usize;
        let line: &[u8; LINE as usize] = self.map.get(from..)?.first_chunk()?;
        let line = *black_box(line);
        let offset = u64::from_le_bytes(*line.first_chunk()?) as usize;
        value.clear();
        value.extend_from_slice(self.map.get(offset..offset + self.value_len)?);
        let sum = u32::from_le_bytes(*line[8..].first_chunk()?);
        let session = u64::from_le_bytes(*line[16..].first_chunk()?);
        (crc32fast::hash(value) == sum).then_some(session)
    }
}

fn map(file: &File) -> Outcome<Mmap> {
    // SAFETY: the file is in a directory of our own and is not written to again.
    Ok(unsafe { Mmap::map(file)? })
}
