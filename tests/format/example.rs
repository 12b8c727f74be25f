//! The worked example of FORMAT.md: how the session `alice` is found in
//! v0-small.room, every step with the bytes of the file.

use std::fmt::Write as _;

use super::golden::ALICE;
use super::reader::{Reader, crc, number, segment_of, u32_at};

/// The example stands in FORMAT.md between these two lines.
const BEGIN: &str = "<!-- made by tests/format/example.rs from tests/data/v0-small.room -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// The part of FORMAT.md that shows the example.
pub(crate) fn shown(format: &str) -> &str {
    parts(format).1
}

/// FORMAT.md with this example.
pub(crate) fn put_into(format: &str, example: &str) -> String {
    let (before, _, after) = parts(format);
    format!("{before}{BEGIN}\n{example}\n{END}{after}")
}

fn parts(format: &str) -> (&str, &str, &str) {
    let (before, rest) = format.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    (before, shown, after)
}

/// The example as it must be shown.
pub(crate) fn example(file: &[u8]) -> String {
    let reader = Reader::open(file);
    let path = reader.path(ALICE);
    let mut text = opening(file, &reader);
    let half = |from: usize| number(&path.tag[from..from + 8]);
    let (segments, segment) = (path.segments, path.segment);
    let start = path.block as usize * 65536;
    let entry = path.entry.unwrap();
    let index = (entry - start - 512) / 64;
    let steps = (index as u64 + 1016 - path.first) % 1016;
    let tag: Vec<String> = path.tag.iter().map(|byte| format!("{byte:02x}")).collect();
    write!(
        text,
        "**Tag.** The tag of the five bytes `alice` is `{}`. So a = {:#018x} and b = {:#018x}.\n\n\
         **Root.** The root line, at 4160:\n\n{}\n\
         segments = {segments}, phase {}. Its check is {:#010x} = `crc(seal XOR 65, bytes \
         0 to 59)`, \
         65 = 4160 / 64.\n\n\
         **Segment.** The largest power of two <= {segments} is {}, so s = {segment}. \
         (With 3 segments \
         it would be {}: a mod 4 is {}{}.)\n\n\
         **Table.** The table entry of segment {segment}, at 5120 + 8 * {segment}:\n\n{}\n",
        tag.join(" "),
        half(0),
        half(8),
        dump(file, 4160, 32) + &dump(file, 4208, 16),
        file[4176],
        u32_at(file, 4220),
        1u32 << segments.ilog2(),
        segment_of(&path.tag, 3),
        half(0) % 4,
        if half(0) % 4 < 3 { "" } else { ", so a mod 2 counts" },
        dump(file, path.table_entry, 8),
    )
    .unwrap();
    write!(
        text,
        "Block {}, check {:#010x} = `crc(seal XOR {}, 4 bytes)`. The segment is at {start}.\n\n\
         **Probe.** The reach line, at {start} + 64, gives a reach of {}:\n\n{}\n\
         b mod 1016 = {}. Entry {index} is the one ({steps} steps on); it lies at {start} + 512 + \
         64 * {index} = {entry}:\n\n{}\n",
        path.block,
        u32_at(file, path.table_entry + 4),
        segment,
        path.reach,
        dump(file, start + 64, 16),
        path.first,
        dump(file, entry, 64),
    )
    .unwrap();
    wrapped(&(text + &words(file, &reader, entry)))
}

fn opening(file: &[u8], reader: &Reader<'_>) -> String {
    let uuid = dump(file, 32, 16);
    format!(
        "The session `alice` in `tests/data/v0-small.room`. The first version was synced, \
         the second \
         saved, and the third saved while the second was being synced. A number at the \
         start of a row \
         is the offset in the file, in hexadecimal.\n\n\
         **Opening.** The static header, at 0 and again at 61440, with magic, version and feature \
         words, then uuid, key and key_proof:\n\n{}{uuid}{}{}\n\
         The seal is `crc(0, uuid)` = {:#010x}. The tag of the empty string under this key is \
         key_proof.\n\n",
        dump(file, 0, 32),
        dump(file, 48, 16),
        dump(file, 64, 16),
        crc(0, &reader.uuid),
    )
}

/// What the three words of the entry name.
fn words(file: &[u8], reader: &Reader<'_>, entry: usize) -> String {
    let line = &file[entry..entry + 64];
    let mut text = String::new();
    write!(
        text,
        "The check is {:#010x}, the line's number {}. The epoch of cur is {}, that of mid {} less. \
         deadline = {}, created = {}, kind = {:#04x}: an extent of class {3}, no pieces.\n\n\
         **Word.** The three words differ:\n\n\
         | WORD | PLACE | OFFSET | CHECK |\n|---|---|---:|---|\n",
        u32_at(line, 60),
        entry / 64,
        number(&line[40..46]),
        line[58],
        number(&line[46..52]),
        number(&line[52..58]),
        line[59],
    )
    .unwrap();
    for (name, word) in ["cur", "mid", "old"].into_iter().zip(line[16..40].chunks_exact(8)) {
        let (place, check) = (u32_at(word, 0), u32_at(word, 4));
        let offset = u64::from(place) * 64;
        writeln!(text, "| {name} | {place:#x} | {offset} | {check:#010x} |").unwrap();
    }
    let (offset, record) = reader.record_bytes(&line[16..24]).unwrap();
    let (id_len, value_len) = (usize::from(record[15]), u32_at(record, 8));
    let head_len = number(&record[12..14]) as usize;
    write!(
        text,
        "\n**Record.** cur names the record at {offset}:\n\n{}\n\
         check {:#010x} is the word's and `crc(seal, bytes 4 to {})`; length {}, \
         value_len {value_len}, \
         head_len {head_len}, kind {}, id_len {id_len}. The id is bytes {head_len} to {} and is \
         `{}`, the value follows it and is `{}`. saved = {}.\n\n\
         **Deadline.** 0: none. So this is the session. Had a power cut taken the record of cur, a \
         reader would take that of mid, and if that is gone, too, that of old, which is \
         durable:\n\n{}",
        dump(file, offset, record.len()),
        u32_at(record, 0),
        record.len() - 1,
        record.len(),
        record[14],
        head_len + id_len - 1,
        String::from_utf8_lossy(&record[head_len..head_len + id_len]),
        String::from_utf8_lossy(&record[head_len + id_len..]),
        number(&record[24..32]),
        older(file, reader, line),
    )
    .unwrap();
    text
}

/// The records of mid and old.
fn older(file: &[u8], reader: &Reader<'_>, line: &[u8]) -> String {
    let records = [&line[24..32], &line[32..40]].map(|word| reader.record_bytes(word).unwrap());
    let [mid, old] = records.map(|(offset, record)| dump(file, offset, record.len()));
    format!("{mid}\n\nand\n\n{old}").replace("\n\n\n", "\n\n")
}

/// The text with lines of sentences no longer than 100 characters.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim_end().lines() {
        let mut column = 0;
        // Rows of bytes and of tables are words of one piece.
        let whole = line.starts_with("    ") || line.starts_with('|');
        let words = if whole { vec![line] } else { line.split(' ').collect() };
        for word in words {
            let fits = column + word.chars().count() < 100;
            match column {
                0 => {}
                _ if fits => {
                    out.push(' ');
                    column += 1;
                }
                _ => {
                    out.push('\n');
                    column = 0;
                }
            }
            out.push_str(word);
            column += word.chars().count();
        }
        out.push('\n');
    }
    out
}

/// Rows of 16 bytes, as code in Markdown.
fn dump(file: &[u8], offset: usize, len: usize) -> String {
    let mut text = String::new();
    for (row, bytes) in file[offset..offset + len].chunks(16).enumerate() {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain = |byte: &u8| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        };
        let shown: String = bytes.iter().map(plain).collect();
        let at = offset + 16 * row;
        writeln!(text, "    {at:06x}  {:<47}  |{shown}|", hex.join(" ")).unwrap();
    }
    text
}

/// The bytes shown in rows of hexadecimal numbers, with their offsets.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    text.lines().filter_map(|line| {
        let (offset, rest) = line.strip_prefix("    ")?.split_once("  ")?;
        let (hex, _) = rest.split_once("  |")?;
        let byte = |two: &str| u8::from_str_radix(two, 16).unwrap();
        let bytes = hex.split_whitespace().map(byte).collect();
        Some((usize::from_str_radix(offset, 16).unwrap(), bytes))
    })
}
