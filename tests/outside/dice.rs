//! Choices that a seed determines.

/// xorshift64*: enough for choices, not for keys.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not begin alike, and 0 would stay 0.
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            dice.next();
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True this many times in a hundred.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// A number from `from` to `to`, as often in each doubling.
    pub(crate) fn spread(&mut self, from: u64, to: u64) -> u64 {
        let doublings = (to / from).ilog2() + 1;
        let base = from << self.below(doublings.into());
        (base + self.below(base)).min(to)
    }
}
