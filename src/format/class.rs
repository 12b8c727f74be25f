//! Extent classes: the sizes in which a block is cut, and the other uses of one.
//!
//! Sizes are lines of 64 bytes, in steps of about 12 %, each the largest that
//! fits its number of times into a block behind the block's head. The table is
//! part of the static header; a program uses the one it finds there.

use super::{BLOCK_SIZE, LINE_SIZE};

/// Lines of a block that extents may use: all but the head.
const LINES: u16 = (BLOCK_SIZE / LINE_SIZE as u64) as u16 - 1;
/// Most extents a block may hold: the bits of its head.
pub(crate) const EXTENTS_MAX: u16 = 256;
/// Lines of the smallest class of a new container.
const SMALLEST: u16 = 4;
/// Most classes a container may have.
pub(crate) const CLASSES_MAX: usize = 55;

/// Number of an extent class, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Class(u8);

impl Class {
    /// The class with this code, if there may be one.
    pub(crate) fn from_code(code: u8) -> Option<Class> {
        (1..=CLASSES_MAX as u8).contains(&code).then_some(Class(code))
    }

    pub(crate) fn code(self) -> u8 {
        self.0
    }
}

/// The sizes of a container's classes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Classes {
    lines: [u16; CLASSES_MAX],
    count: u8,
}

impl Classes {
    /// The classes of a new container: 256 bytes to 32704 bytes.
    pub(crate) fn standard() -> Classes {
        let mut classes = Classes { lines: [0; CLASSES_MAX], count: 0 };
        let mut smallest = SMALLEST;
        while smallest <= LINES / 2 {
            let per_block = LINES / smallest;
            let size = LINES / per_block;
            classes.push(size);
            smallest = size + (size / 8).max(1);
        }
        if classes.largest_size() < usize::from(LINES / 2) * LINE_SIZE {
            classes.push(LINES / 2);
        }
        classes
    }

    /// The table from a header: `None` unless the sizes ascend and no block
    /// would hold more extents than its head has bits.
    pub(crate) fn from_lines(lines: &[u16]) -> Option<Classes> {
        let ascends = lines.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        let fits = |&size: &u16| size > 0 && LINES / size <= EXTENTS_MAX && size <= LINES;
        if lines.is_empty() || lines.len() > CLASSES_MAX || !ascends || !lines.iter().all(fits) {
            return None;
        }
        let mut classes = Classes { lines: [0; CLASSES_MAX], count: 0 };
        for size in lines {
            classes.push(*size);
        }
        Some(classes)
    }

    fn push(&mut self, size: u16) {
        if let Some(place) = self.lines.get_mut(usize::from(self.count)) {
            *place = size;
            self.count += 1;
        }
    }

    /// The sizes in lines, smallest first.
    pub(crate) fn lines(&self) -> &[u16] {
        self.lines.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// The smallest class that holds `len` bytes.
    pub(crate) fn for_len(&self, len: usize) -> Option<Class> {
        let needed = len.div_ceil(LINE_SIZE);
        let index = self.lines().partition_point(|size| usize::from(*size) < needed);
        self.lines().get(index).map(|_| Class(index as u8 + 1))
    }

    /// Bytes of an extent; 0 for a class that the container does not have.
    #[inline]
    pub(crate) fn size(&self, class: Class) -> usize {
        usize::from(self.size_lines(class)) * LINE_SIZE
    }

    fn size_lines(&self, class: Class) -> u16 {
        self.lines().get(usize::from(class.0).wrapping_sub(1)).copied().unwrap_or(0)
    }

    /// Extents of this class in a block.
    pub(crate) fn per_block(&self, class: Class) -> u16 {
        LINES.checked_div(self.size_lines(class)).unwrap_or(0)
    }

    /// Offset within its block of an extent.
    pub(crate) fn extent_offset(&self, class: Class, index: u16) -> u64 {
        LINE_SIZE as u64 + u64::from(index) * self.size(class) as u64
    }

    /// Which extent of its block starts at this offset of the file, if one does.
    pub(crate) fn extent_index(&self, class: Class, offset: u64) -> Option<u16> {
        let within = (offset % BLOCK_SIZE).checked_sub(LINE_SIZE as u64)?;
        let size = self.size(class) as u64;
        let index = within.checked_div(size)?;
        (within % size == 0 && index < self.per_block(class).into()).then_some(index as u16)
    }

    /// Bytes of the largest class.
    pub(crate) fn largest_size(&self) -> usize {
        self.lines().last().map_or(0, |size| usize::from(*size) * LINE_SIZE)
    }
}

impl std::fmt::Debug for Classes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}
