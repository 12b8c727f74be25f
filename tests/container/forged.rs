//! Numbers that no writer wrote, under checksums that are right: nothing panics, and
//! nothing hangs. What is answered does not matter, for who can set a checksum right
//! can write any session.

use std::ops::Range;

use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Change};

use crate::fixture::{bytes, field, quick};

const LINE: usize = 64;
const BLOCK: usize = 65536;
const CHECKED: Range<usize> = 0..60;
const SESSIONS: u64 = 20;

fn sample() -> Vec<u8> {
    let storage = MemoryStorage::new();
    let container = ByteContainer::create_on(Box::new(storage.share()), quick()).unwrap();
    for id in 0..SESSIONS {
        container.save(id.to_le_bytes(), &bytes(id, [60, 3000][id as usize % 2])).unwrap();
    }
    container.save("large", &bytes(1, 150_000)).unwrap();
    container.sync().unwrap();
    for id in 0..SESSIONS / 2 {
        container.save(id.to_le_bytes(), &bytes(id, 61)).unwrap();
    }
    drop(container);
    storage.to_bytes()
}

/// The checksum of a line, as FORMAT.md has it, over what the line holds now.
fn seal(image: &mut [u8], line: usize) {
    let crc = |seed, covered: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        hasher.update(covered);
        hasher.finalize()
    };
    let seed = crc(0, &image[field("static header", "uuid")]) ^ (line / LINE) as u32;
    let check = crc(seed, &image[line..line + CHECKED.end]);
    image[line + CHECKED.end..line + LINE].copy_from_slice(&check.to_le_bytes());
}

/// Does everything with the image.
fn survive(image: Vec<u8>) {
    let storage = MemoryStorage::from_bytes(image);
    storage.set_limit(Some(32 << 20));
    let open = || ByteContainer::open_on(Box::new(storage.share()), quick());
    let Ok(container) = open() else { return };
    for (number, len) in [400, 9000, 70_000, 20].into_iter().enumerate() {
        let _ = container.save(format!("new {number}"), &bytes(1, len));
    }
    let _ = container.update(1_u64.to_le_bytes(), |_| Change::Save(bytes(2, 500)));
    let _ = container.set_deadline(2_u64.to_le_bytes(), Some(u64::MAX));
    let _ = container.remove(3_u64.to_le_bytes());
    let _ = container.sync();
    for id in 0..SESSIONS {
        let _ = container.load(id.to_le_bytes());
    }
    assert!(container.iter().take(5000).count() < 5000, "the walk does not end");
    let _ = (container.len(), container.info(), container.check());
    let _ = open().map(|container| container.save("again", b"after all"));
}

/// All lines of the control page, of a segment's and some blocks' heads, and an entry.
fn lines(image: &[u8]) -> Vec<usize> {
    let page = field("block 0", "control page").start;
    let table = page + field("control page", "segment table").start;
    let entries = BLOCK + field("segment", "entries").start;
    let used = |line: &usize| image[*line..line + LINE].iter().any(|byte| *byte != 0);
    let entry = (entries..2 * BLOCK).step_by(LINE).find(used).unwrap();
    let heads = (BLOCK..image.len()).step_by(BLOCK);
    let index = (BLOCK..entries).step_by(LINE).filter(used);
    (page..table).step_by(LINE).chain(heads).chain(index).chain([entry]).collect()
}

#[test]
fn any_number_in_a_sealed_line_may_be_anything() {
    let sound = sample();
    let mut rebooted = sound.clone();
    let page = field("block 0", "control page").start;
    rebooted[page + field("control page", "views line").start] ^= 1;
    for image in [&sound, &rebooted] {
        for line in lines(image) {
            for at in CHECKED.step_by(4) {
                for forged in [0, 1, u32::MAX - 1, u32::MAX] {
                    for len in [4, 8].into_iter().filter(|len| at + len <= CHECKED.end) {
                        let mut image = image.clone();
                        let wide = [forged, if forged == 0 { 1 << 15 } else { u32::MAX }];
                        let wide = wide.map(u32::to_le_bytes);
                        image[line + at..line + at + len].copy_from_slice(&wide.concat()[..len]);
                        seal(&mut image, line);
                        survive(image);
                    }
                }
            }
        }
    }
}
