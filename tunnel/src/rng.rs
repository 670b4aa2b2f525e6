//! Seeded numbers (SplitMix64, Steele, Lea and Flood 2014) for receiver indices: they spread, they
//! are not secret. Same seed, same numbers.

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below 2^24: a WireGuard peer index as boringtun takes it.
    pub(crate) fn index(&mut self) -> u32 {
        let [a, b, c, ..] = self.draw().to_be_bytes();
        u32::from_be_bytes([0, a, b, c])
    }

    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_by_seed_and_stays_in_24_bits() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.index(), rng.index(), rng.index()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|&index| index < 1 << 24));
    }
}
