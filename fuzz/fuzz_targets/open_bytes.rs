//! Opens bytes that nobody made sense of first.
//!
//! The input is the whole file, or lies over a good container from some place on,
//! with no checksum made right. Reading and writing then must end, without a
//! panic; a file that is no container stays as it is, and only a blank one is
//! made into a container.

#![no_main]

#[allow(dead_code)] // Nothing is sealed again here.
mod image;

use std::time::Duration;

use arbitrary::Arbitrary;
use cloakroom::storage::MemoryStorage;
use cloakroom::{ByteContainer, Options};
use image::Image;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Whole(&'a [u8]),
    Over { place: Place, bytes: &'a [u8] },
}

/// Offsets, each modulo what there is.
#[derive(Arbitrary, Debug)]
enum Place {
    Anywhere(u32),
    Header(u16),
    ControlPage(u16),
}

impl Place {
    fn offset(&self, len: usize) -> usize {
        match *self {
            Place::Anywhere(offset) => offset as usize % len,
            Place::Header(offset) => usize::from(offset) % 512,
            Place::ControlPage(offset) => 4096 + usize::from(offset) % 4096,
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Whole(bytes) => whole(bytes),
        Input::Over { place, bytes } => {
            let mut image = Image::of(false).bytes;
            let start = place.offset(image.len());
            let end = image.len().min(start + bytes.len());
            image[start..end].copy_from_slice(&bytes[..end - start]);
            over(image);
        }
    }
});

/// Too short for a container: refused, and unchanged unless it is blank.
fn whole(bytes: &[u8]) {
    let storage = MemoryStorage::from_bytes(bytes.to_vec());
    let share = || Box::new(storage.share());
    assert!(ByteContainer::open_read_only_on(share(), Options::new()).is_err());
    assert!(ByteContainer::open_on(share(), Options::new()).is_err());
    assert!(storage.to_bytes() == bytes);
    let blank = bytes.iter().all(|byte| *byte == 0);
    match ByteContainer::create_on(share(), Options::new()) {
        Ok(container) => {
            assert!(blank);
            container.save("first", b"saved").expect("a new container");
        }
        Err(error) => {
            assert!(!blank, "{error}");
            assert!(storage.to_bytes() == bytes);
        }
    }
}

fn over(image: Vec<u8>) {
    let storage = MemoryStorage::from_bytes(image);
    let options = Options::new().lock_deadline(Duration::from_millis(200));
    if let Ok(reader) = ByteContainer::open_read_only_on(Box::new(storage.share()), options.clone())
    {
        for number in 0..10 {
            let _ = reader.load(image::id(number));
        }
    }
    if let Ok(container) = ByteContainer::open_on(Box::new(storage.share()), options) {
        let _ = container.save(image::id(1), b"saved");
        let _ = container.load(image::id(1));
        let _ = container.remove(image::id(2));
        let _ = container.save("new", b"saved");
        let _ = container.sync();
    }
}
