//! The random numbers of a simulation.
//!
//! Splitmix64: eight bytes of state, every seed good, the same numbers on every
//! machine and for ever, so that a seed in a bug report stays worth something.
//! Never for keys or anything secret.

/// A seeded source of numbers, shared by the disk and its tests.
///
/// ```
/// # use cloakroom::storage::simulated::SimulatedRng;
/// let (mut one, mut other) = (SimulatedRng::new(9), SimulatedRng::new(9));
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert_eq!(one.below(6), other.below(6));
/// assert!(!one.chance(0, 10) && other.chance(10, 10));
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedRng(u64);

impl SimulatedRng {
    /// The source that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias of a plain remainder is of no concern to a test.
        (self.next_u64() >> 16) as usize % bound.max(1)
    }

    /// True `wins` times out of `of`.
    pub fn chance(&mut self, wins: u32, of: u32) -> bool {
        self.below(of as usize) < wins as usize
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
