//! The format's tables, made from the constants that encode and decode use.
//!
//! `cloakroom inspect --layout` prints them, and a test compares them with the
//! tables in FORMAT.md. A changed line here is a changed format.

use super::bounds::{BOUNDS, BOUNDS_LINES, bounds_line, sweep_line};
use super::control::{busy_line, control_line, root_line, views_line};
use super::header::HEADER_SIZE;
use super::pass::pass_line;
use super::segment::{ENTRIES, HEAD_LINES, REACH, TALLY, reach_line, tally_line};
use super::span::Span;
use super::tables::{LIST_LINES, TABLE_ENTRY_SIZE, lists_line, table_entry};
use super::{LINE_SIZE, PAGE_SIZE, block, checksum, entry, forward, header, place, record, word};

/// One structure of the format.
///
/// ```
/// for structure in cloakroom::format::layout() {
///     let size: usize = structure.fields.iter().map(|field| field.size).sum();
///     let last = structure.fields.last().expect("it has fields");
///     assert_eq!(size, last.offset + last.size, "{} has a gap", structure.name);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Its name, as FORMAT.md heads it.
    pub name: &'static str,
    /// Its fields in order, without gaps.
    pub fields: &'static [Field],
}

/// One field of a structure.
///
/// ```
/// # let structures = cloakroom::format::layout();
/// let entry = structures.iter().find(|structure| structure.name == "entry").unwrap();
/// let deadline = entry.fields.iter().find(|field| field.name == "deadline").unwrap();
/// assert_eq!(deadline.size, 6, "milliseconds, in 48 bits");
/// assert!(deadline.offset + deadline.size <= 64, "an entry is a line");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// Its name.
    pub name: &'static str,
}

const fn field(name: &'static str, span: Span) -> Field {
    Field { offset: span.offset, size: span.size, name }
}

const CHECK: Field = field("check", checksum::LINE_CHECK);

/// Every structure of the format with its fields. Costs nothing: it is a constant.
///
/// ```
/// let entry = cloakroom::format::layout().iter().find(|s| s.name == "entry").unwrap();
/// assert_eq!(entry.fields[0].name, "tag");
/// ```
pub const fn layout() -> &'static [Structure] {
    LAYOUT
}

/// A field of block 0 or of the control page, which are too large for spans.
const fn region(name: &'static str, start: u64, size: u64) -> Field {
    Field { offset: start as usize, size: size as usize, name }
}

const LINE: u64 = LINE_SIZE as u64;
const LISTS_SIZE: u64 = LIST_LINES as u64 * LINE;
const TABLE_SIZE: u64 = place::TABLE_LEN as u64 * TABLE_ENTRY_SIZE;
const DIRECTORY_SIZE: u64 = place::DIRECTORY_LEN as u64 * TABLE_ENTRY_SIZE;
const BOUNDS_SIZE: u64 = BOUNDS_LINES as u64 * LINE;
const SLOTS_END: u64 = place::SLOTS + place::SLOTS_SIZE;

/// Offset within the control page.
const fn in_page(offset: u64) -> u64 {
    offset - place::CONTROL
}

const LAYOUT: &[Structure] = &[
    Structure {
        name: "block 0",
        fields: &[
            region("static header", place::HEADER, HEADER_SIZE as u64),
            region("making line", place::MAKING, LINE),
            region("reserved", place::MAKING + LINE, place::CONTROL - place::MAKING - LINE),
            region("control page", place::CONTROL, PAGE_SIZE),
            region("magazine slots", place::SLOTS, place::SLOTS_SIZE),
            region("reserved", SLOTS_END, place::HEADER_COPY - SLOTS_END),
            region("static header copy", place::HEADER_COPY, HEADER_SIZE as u64),
            region(
                "reserved",
                place::HEADER_COPY + HEADER_SIZE as u64,
                PAGE_SIZE - HEADER_SIZE as u64,
            ),
        ],
    },
    Structure {
        name: "control page",
        fields: &[
            region("control line", in_page(place::CONTROL), LINE),
            region("root line", in_page(place::ROOT), LINE),
            region("busy line", in_page(place::BUSY), LINE),
            region("pass line", in_page(place::PASS), LINE),
            region("views line", in_page(place::VIEWS), LINE),
            region("sweep line", in_page(place::SWEEP), LINE),
            region("reserved", in_page(place::SWEEP) + LINE, place::LISTS - place::SWEEP - LINE),
            region("lists lines", in_page(place::LISTS), LISTS_SIZE),
            region(
                "reserved",
                in_page(place::LISTS) + LISTS_SIZE,
                place::TABLE - place::LISTS - LISTS_SIZE,
            ),
            region("segment table", in_page(place::TABLE), TABLE_SIZE),
            region("table directory", in_page(place::DIRECTORY), DIRECTORY_SIZE),
            region(
                "reserved",
                in_page(place::DIRECTORY) + DIRECTORY_SIZE,
                PAGE_SIZE - in_page(place::DIRECTORY) - DIRECTORY_SIZE,
            ),
        ],
    },
    Structure {
        name: "segment",
        fields: &[
            region("block head", 0, LINE),
            region("reach line", REACH, LINE),
            region("tally line", TALLY, LINE),
            region("bounds lines", BOUNDS, BOUNDS_SIZE),
            region("reserved", BOUNDS + BOUNDS_SIZE, HEAD_LINES * LINE - BOUNDS - BOUNDS_SIZE),
            region("entries", HEAD_LINES * LINE, ENTRIES as u64 * LINE),
        ],
    },
    Structure {
        name: "static header",
        fields: &[
            field("magic", header::field::MAGIC),
            field("version", header::field::VERSION),
            field("compatible", header::field::COMPATIBLE),
            field("read_only", header::field::READ_ONLY),
            field("incompatible", header::field::INCOMPATIBLE),
            field("uuid", header::field::UUID),
            field("key", header::field::KEY),
            field("key_proof", header::field::KEY_PROOF),
            field("created", header::field::CREATED),
            field("page_size", header::field::PAGE),
            field("block_size", header::field::BLOCK),
            field("segment_entries", header::field::ENTRIES),
            field("value_max", header::field::VALUE_MAX),
            field("id_max", header::field::ID_MAX),
            field("id_form", header::field::ID_FORM),
            field("class_count", header::field::CLASS_COUNT),
            field("classes", header::field::CLASSES),
            field("reserved", header::field::RESERVED),
            field("check", header::field::CHECK),
        ],
    },
    Structure {
        name: "control line",
        fields: &[
            field("write_epoch", control_line::WRITE),
            field("synced_epoch", control_line::SYNCED),
            field("generation", control_line::GENERATION),
            field("recovered_epoch", control_line::RECOVERED),
            field("synced_at", control_line::SYNCED_AT),
            field("synced_blocks", control_line::SYNCED_BLOCKS),
            field("state", control_line::STATE),
            field("settled_epoch", control_line::SETTLED),
            field("rewritten", control_line::REWRITTEN),
            CHECK,
        ],
    },
    Structure {
        name: "root line",
        fields: &[
            field("segments", root_line::SEGMENTS),
            field("batch", root_line::BATCH),
            field("epoch", root_line::EPOCH),
            field("phase", root_line::PHASE),
            field("reserved", root_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "busy line",
        fields: &[
            field("tag", busy_line::TAG),
            field("from", busy_line::FROM),
            field("to", busy_line::TO),
            field("operation", busy_line::OPERATION),
            field("reserved", busy_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "pass line",
        fields: &[
            field("generation", pass_line::GENERATION),
            field("position", pass_line::POSITION),
            field("blocks", pass_line::BLOCKS),
            field("epoch", pass_line::EPOCH),
            field("stage", pass_line::STAGE),
            field("unread", pass_line::UNREAD),
            field("full_epoch", pass_line::FULL_EPOCH),
            field("full_until", pass_line::FULL_UNTIL),
            field("reserved", pass_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "views line",
        fields: &[
            field("boot", views_line::BOOT),
            field("witnesses", views_line::WITNESSES),
            field("reserved", views_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "sweep line",
        fields: &[
            field("seen", sweep_line::SEEN),
            field("doubt", sweep_line::DOUBT),
            field("bound", sweep_line::BOUND),
            field("reserved", sweep_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "lists line",
        fields: &[
            field("heads", lists_line::HEADS),
            field("reserved", lists_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "table entry",
        fields: &[field("block", table_entry::BLOCK), field("check", table_entry::CHECK)],
    },
    Structure {
        name: "block head",
        fields: &[
            field("generation", block::GENERATION),
            field("emptied_epoch", block::EMPTIED),
            field("next", block::NEXT),
            field("previous", block::PREVIOUS),
            field("use", block::USE),
            field("state", block::STATE),
            field("reserved", block::RESERVED),
            field("bitmap", block::BITMAP),
            CHECK,
        ],
    },
    Structure {
        name: "reach line",
        fields: &[
            field("reach", reach_line::REACH),
            field("segment", reach_line::SEGMENT),
            field("epoch", reach_line::EPOCH),
            field("reserved", reach_line::RESERVED),
            CHECK,
        ],
    },
    Structure {
        name: "tally line",
        fields: &[
            field("lines", tally_line::LINES),
            field("sessions", tally_line::SESSIONS),
            field("reserved", tally_line::RESERVED),
            CHECK,
        ],
    },
    Structure { name: "bounds line", fields: &[field("bounds", bounds_line::BOUNDS), CHECK] },
    Structure {
        name: "entry",
        fields: &[
            field("tag", entry::TAG),
            field("cur", entry::CUR),
            field("mid", entry::MID),
            field("old", entry::OLD),
            field("epoch", entry::EPOCH),
            field("deadline", entry::DEADLINE),
            field("created", entry::CREATED),
            field("mid_age", entry::MID_AGE),
            field("kind", entry::KIND),
            CHECK,
        ],
    },
    Structure { name: "word", fields: &[field("place", word::PLACE), field("check", word::CHECK)] },
    Structure {
        name: "record",
        fields: &[
            field("check", record::field::CHECK),
            field("length", record::field::LENGTH),
            field("value_len", record::field::VALUE_LEN),
            field("head_len", record::field::HEAD_LEN),
            field("kind", record::field::KIND),
            field("id_len", record::field::ID_LEN),
            field("nonce", record::field::NONCE),
            field("saved", record::field::SAVED),
            field("idle", record::field::IDLE),
            field("absolute", record::field::ABSOLUTE),
        ],
    },
    Structure {
        name: "piece",
        fields: &[field("block", record::piece::BLOCK), field("check", record::piece::CHECK)],
    },
    Structure {
        name: "forward",
        fields: &[field("until", forward::UNTIL), field("rotated", forward::ROTATED)],
    },
];
