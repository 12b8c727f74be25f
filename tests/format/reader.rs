//! A reader of containers, written from FORMAT.md alone: it shares no line with
//! the crate, its checksums and its SipHash included.
//!
//! It reads a file that nobody writes to, and panics at what FORMAT.md calls
//! damage. Numbers in comments are chapters there.

use super::sha256::sha_256;

const LINE: usize = 64;
const BLOCK: usize = 65536;
const ENTRIES: u64 = 1016;
const TABLE_PART: u32 = 8184;
const PIECE: usize = 65472;

/// A container, whole in memory.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    file: &'a [u8],
    pub(crate) key: [u8; 16],
    pub(crate) uuid: [u8; 16],
    pub(crate) seal: u32,
    /// Whether ids are kept as their SHA-256.
    hashed: bool,
    /// Sizes of the classes in lines.
    classes: Vec<u16>,
}

/// What a session's entry led to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session {
    /// As it is kept.
    pub(crate) id: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) deadline: u64,
    pub(crate) created: u64,
    pub(crate) saved: u64,
    /// Idle and absolute, if it has timeouts of its own.
    pub(crate) timeouts: Option<(u64, u64)>,
    /// If it is a forward: from when until when it leads, and to what is kept of which id.
    pub(crate) forward: Option<(u64, u64, Vec<u8>)>,
}

/// Where a session's entry was found, step by step (5.2).
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) tag: [u8; 16],
    pub(crate) segments: u32,
    pub(crate) segment: u32,
    pub(crate) table_entry: usize,
    pub(crate) block: u32,
    pub(crate) reach: u32,
    pub(crate) first: u64,
    /// The entry's line, unless the session is absent.
    pub(crate) entry: Option<usize>,
}

impl<'a> Reader<'a> {
    /// 5.1
    pub(crate) fn open(file: &'a [u8]) -> Reader<'a> {
        assert!(file.len() >= 131_072, "cut short");
        [0, 61440]
            .into_iter()
            .find_map(|offset| Reader::with_header(file, &file[offset..offset + 512]))
            .expect("one of the two headers is good")
    }

    fn with_header(file: &'a [u8], header: &[u8]) -> Option<Reader<'a>> {
        let key: [u8; 16] = header[48..64].try_into().unwrap();
        let uuid: [u8; 16] = header[32..48].try_into().unwrap();
        let good = header[..16] == *b"\x89cloakroom\r\n\x1a\n\0\0"
            && u32_at(header, 508) == crc(0, &header[..508])
            && u32_at(header, 16) == 0
            && u32_at(header, 28) == 0
            && u32_at(header, 88) == 4096
            && u32_at(header, 92) == 65536
            && u32_at(header, 96) == 1016
            && u32_at(header, 100) == 4_194_304
            && number(&header[104..106]) == 255
            && header[106] <= 1
            && header[64..80] == sip_hash_128(&key, b"");
        let count = usize::from(header[107]);
        let sizes = header[108..218].chunks_exact(2).take(count);
        good.then(|| Reader {
            file,
            key,
            uuid,
            seal: crc(0, &uuid),
            hashed: header[106] == 1,
            classes: sizes.map(|size| number(size) as u16).collect(),
        })
    }

    /// 5.2 step 1: what is kept of an id.
    pub(crate) fn kept(&self, id: &[u8]) -> Vec<u8> {
        if self.hashed { sha_256(id) } else { id.to_vec() }
    }

    /// 5.2, steps 1 to 5
    pub(crate) fn path(&self, id: &[u8]) -> Path {
        self.path_of(&self.kept(id))
    }

    fn path_of(&self, kept: &[u8]) -> Path {
        let tag = sip_hash_128(&self.key, kept);
        let segments = self.segments();
        let segment = segment_of(&tag, segments);
        let (table_entry, block) = self.table_entry(segment);
        let start = block as usize * BLOCK;
        let reach = u32_at(self.line(start + 64), 0);
        let first = number(&tag[8..]) % ENTRIES;
        let entry = (0..u64::from(reach))
            .map(|step| start + 512 + LINE * ((first + step) % ENTRIES) as usize)
            .find(|offset| {
                let bytes = &self.file[*offset..*offset + LINE];
                bytes[..16] == tag
                    && bytes.iter().any(|byte| *byte != 0)
                    && self.line(*offset)[59] != 0x3f
            });
        Path { tag, segments, segment, table_entry, block, reach, first, entry }
    }

    /// 5.2; `now` in milliseconds since 1970.
    pub(crate) fn find(&self, id: &[u8], now: u64) -> Option<Session> {
        let mut kept = self.kept(id);
        for _ in 0..=8 {
            let session = self.session(self.path_of(&kept).entry?, &|found| found == kept)?;
            match session.forward {
                _ if session.deadline != 0 && session.deadline <= now => return None,
                None => return Some(session),
                Some((from, until, to)) if from <= now && now < until => kept = to,
                Some(_) => return None,
            }
        }
        None
    }

    /// 5.5
    pub(crate) fn walk(&self, now: u64) -> Vec<Session> {
        let segments = self.segments();
        let mut sessions = Vec::new();
        for segment in 0..segments {
            let start = self.table_entry(segment).1 as usize * BLOCK;
            for offset in (start + 512..start + BLOCK).step_by(LINE) {
                if self.file[offset..offset + LINE].iter().all(|byte| *byte == 0) {
                    continue;
                }
                let line = self.line(offset);
                let tag: [u8; 16] = line[..16].try_into().unwrap();
                if line[59] == 0x3f || segment_of(&tag, segments) != segment {
                    continue;
                }
                let of_tag = |id: &[u8]| sip_hash_128(&self.key, id) == tag;
                sessions.extend(self.session(offset, &of_tag));
            }
        }
        sessions.retain(|session| session.deadline == 0 || session.deadline > now);
        sessions.retain(|session| session.forward.is_none());
        sessions
    }

    /// The root line's number of segments.
    pub(crate) fn segments(&self) -> u32 {
        u32_at(self.line(4160), 0)
    }

    /// 5.2 step 4: where the segment's table entry lies, and its block.
    fn table_entry(&self, segment: u32) -> (usize, u32) {
        let offset = match segment.checked_sub(256) {
            None => 5120 + 8 * segment as usize,
            Some(beyond) => {
                let (part, rest) = (beyond / TABLE_PART, beyond % TABLE_PART);
                let block = self.block_at(7168 + 8 * part as usize, part | 1 << 31);
                BLOCK * block as usize + 64 + 8 * rest as usize
            }
        };
        (offset, self.block_at(offset, segment))
    }

    fn block_at(&self, offset: usize, index: u32) -> u32 {
        let block = &self.file[offset..offset + 4];
        let check = crc(self.seal ^ index, block);
        assert_eq!(u32_at(self.file, offset + 4), check, "table entry at {offset}");
        u32_at(block, 0)
    }

    /// A line whose check is right.
    pub(crate) fn line(&self, offset: usize) -> &'a [u8] {
        let line = &self.file[offset..offset + LINE];
        let check = crc(self.seal ^ (offset / LINE) as u32, &line[..60]);
        assert_eq!(u32_at(line, 60), check, "line at {offset}");
        line
    }

    /// 5.2 steps 6, 7, 9, and 5.4
    fn session(&self, entry: usize, wanted: &dyn Fn(&[u8]) -> bool) -> Option<Session> {
        let line = self.line(entry);
        let must_be_there = self.must_be_there(line);
        let tried = if must_be_there { 1 } else { 3 };
        let ended = [false, line[58] & 0x80 != 0, line[59] & 0x80 != 0];
        for (word, ended) in line[16..40].chunks_exact(8).zip(ended).take(tried) {
            if ended || word.iter().all(|byte| *byte == 0) {
                continue;
            }
            if u32_at(word, 0) == u32::MAX {
                return None;
            }
            if let Some(session) = self.record(word, wanted) {
                let (deadline, created) = (number(&line[46..52]), number(&line[52..58]));
                return Some(Session { deadline, created, ..session });
            }
        }
        assert!(!must_be_there || line[16..24] == [0; 8], "a durable record is lost");
        None
    }

    /// 5.4 step 2: whether no power cut can have taken the newest version.
    fn must_be_there(&self, entry: &[u8]) -> bool {
        let control = self.line(4096);
        let (synced, recovered) = (number(&control[8..16]), number(&control[24..32]));
        let (epoch, settled) = (number(&entry[40..46]), number(&control[48..56]));
        let alone = entry[16..24] == entry[32..40];
        epoch <= synced && (alone || epoch >= recovered || epoch <= settled)
    }

    /// Offset and bytes of the record that a word names, if it is readable.
    pub(crate) fn record_bytes(&self, word: &[u8]) -> Option<(usize, &'a [u8])> {
        let (place, check) = (u32_at(word, 0), u32_at(word, 4));
        let offset = place as usize * LINE;
        if offset < BLOCK || offset.is_multiple_of(BLOCK) {
            return None;
        }
        let rest = self.file.get(offset..)?;
        let length = u32_at(rest.get(..32)?, 4) as usize;
        let largest = LINE * usize::from(*self.classes.last()?);
        if length < 32 || length > largest || offset % BLOCK + length > BLOCK {
            return None;
        }
        let bytes = rest.get(..length)?;
        let good = u32_at(bytes, 0) == check && crc(self.seal, &bytes[4..]) == check;
        good.then_some((offset, bytes))
    }

    /// What the record that a word names says of its session, if it is readable.
    fn record(&self, word: &[u8], wanted: &dyn Fn(&[u8]) -> bool) -> Option<Session> {
        let (_, bytes) = self.record_bytes(word)?;
        let value_len = u32_at(bytes, 8) as usize;
        let head_len = number(&bytes[12..14]) as usize;
        let (id, rest) = bytes.get(head_len..)?.split_at_checked(usize::from(bytes[15]))?;
        if head_len < 32 || id.is_empty() || !wanted(id) {
            return None;
        }
        let value = match bytes[14] {
            1 | 4 if rest.len() == value_len => rest.to_vec(),
            3 if rest.len() == 8 * value_len.div_ceil(PIECE) => {
                self.pieces(rest, value_len, &bytes[16..24])?
            }
            _ => return None,
        };
        let timeouts = (head_len >= 48).then(|| (number(&bytes[32..40]), number(&bytes[40..48])));
        let (id, saved) = (id.to_vec(), number(&bytes[24..32]));
        let forward = match bytes[14] {
            4 if !(17..=271).contains(&value_len) => return None,
            4 => Some((number(&value[8..16]), number(&value[..8]), value[16..].to_vec())),
            _ => None,
        };
        Some(Session { id, value, saved, timeouts, forward, deadline: 0, created: 0 })
    }

    fn pieces(&self, list: &[u8], value_len: usize, nonce: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        for item in list.chunks_exact(8) {
            let start = BLOCK * u32_at(item, 0) as usize + LINE;
            let len = PIECE.min(value_len - value.len());
            let part = self.file.get(start..start + len.next_multiple_of(LINE))?;
            if crc(self.seal, part) != u32_at(item, 4) {
                return None;
            }
            let bytes = part.iter().zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            value.extend(bytes.take(len));
        }
        Some(value)
    }
}

/// 5.2 step 3
pub(crate) fn segment_of(tag: &[u8; 16], segments: u32) -> u32 {
    let power = 1u64 << segments.ilog2();
    let half = number(&tag[..8]);
    let wide = half % (2 * power);
    let segment = if wide < u64::from(segments) { wide } else { half % power };
    segment as u32
}

/// A little-endian number of up to 8 bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The little-endian number of 4 bytes at an offset.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    number(&bytes[offset..offset + 4]) as u32
}

/// CRC-32, bit by bit, continued from a seed.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let step = |register: u32, _| register >> 1 ^ (0xEDB8_8320 & (register & 1).wrapping_neg());
    let byte = |register: u32, byte: &u8| (0..8).fold(register ^ u32::from(*byte), step);
    !bytes.iter().fold(!seed, byte)
}

/// SipHash-2-4 with 128 bits of output.
pub(crate) fn sip_hash_128(key: &[u8; 16], bytes: &[u8]) -> [u8; 16] {
    let (k0, k1) = (number(&key[..8]), number(&key[8..]));
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let chunks = bytes.chunks_exact(8);
    let last = number(chunks.remainder()) | (bytes.len() as u64) << 56;
    for word in chunks.map(number).chain([last]) {
        state[3] ^= word;
        rounds(&mut state, 2);
        state[0] ^= word;
    }
    state[2] ^= 0xee;
    rounds(&mut state, 4);
    let low = state.iter().fold(0, |all, word| all ^ word);
    state[1] ^= 0xdd;
    rounds(&mut state, 4);
    let high = state.iter().fold(0, |all, word| all ^ word);
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

fn rounds(state: &mut [u64; 4], count: usize) {
    let [a, b, c, d] = state;
    for _ in 0..count {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}
