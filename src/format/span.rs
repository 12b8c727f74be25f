//! A field's place inside a structure.
//!
//! The fields of a structure are chained, each after the one before, so that no
//! offset is ever typed by hand. Integers are little-endian and 1 to 8 bytes
//! wide. A span that does not fit the bytes it is used on reads as 0 and writes
//! nothing: the compile-time checks beside each structure make sure that none is.

/// Offset and size of one field, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

impl Span {
    /// The field at the start of a structure.
    pub(crate) const fn first(size: usize) -> Span {
        Span { offset: 0, size }
    }

    /// The field that follows this one.
    pub(crate) const fn then(self, size: usize) -> Span {
        Span { offset: self.end(), size }
    }

    /// Offset of the first byte after the field.
    pub(crate) const fn end(self) -> usize {
        self.offset + self.size
    }

    /// The field as an unsigned number.
    #[inline]
    pub(crate) fn get(self, bytes: &[u8]) -> u64 {
        let mut wide = [0; 8];
        if let (Some(from), Some(to)) = (self.slice(bytes), wide.get_mut(..self.size)) {
            to.copy_from_slice(from);
        }
        u64::from_le_bytes(wide)
    }

    /// The field as a number that fits 32 bits; the low ones if it does not.
    #[inline]
    pub(crate) fn get32(self, bytes: &[u8]) -> u32 {
        self.get(bytes) as u32
    }

    /// Stores the low bytes of `value`.
    #[inline]
    pub(crate) fn put(self, bytes: &mut [u8], value: u64) {
        let wide = value.to_le_bytes();
        self.put_slice(bytes, wide.get(..self.size).unwrap_or(&wide));
    }

    /// The bytes of the field.
    #[inline]
    pub(crate) fn slice(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(self.offset..self.end())
    }

    /// The bytes of the field, which is `N` long.
    #[inline]
    pub(crate) fn array<const N: usize>(self, bytes: &[u8]) -> [u8; N] {
        self.slice(bytes).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
    }

    /// Stores bytes as long as the field.
    #[inline]
    pub(crate) fn put_slice(self, bytes: &mut [u8], from: &[u8]) {
        if let Some(to) = bytes.get_mut(self.offset..self.end())
            && to.len() == from.len()
        {
            to.copy_from_slice(from);
        }
    }
}
