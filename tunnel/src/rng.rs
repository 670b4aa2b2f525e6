//! Seeded numbers (SplitMix64, Steele, Lea and Flood 2014) for receiver indices and fragments: they
//! spread, they are not secret. Same seed, same numbers.

use crate::shard::Shard;

/// An index has 24 bits, as boringtun takes it.
const INDICES: u32 = 1 << 24;

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Rng {
    state: u64,
    shard: Shard,
}

impl Rng {
    pub(crate) fn new(seed: u64, shard: Shard) -> Self {
        Self { state: seed, shard }
    }

    /// The next WireGuard peer index; divided by the number of shards it leaves the shard's number.
    pub(crate) fn index(&mut self) -> u32 {
        loop {
            let drawn = self.next();
            let index = drawn - drawn % u32::from(self.shard.count()) + u32::from(self.shard.number());
            if index < INDICES {
                return index;
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, ..] = (z ^ (z >> 31)).to_be_bytes();
        u32::from_be_bytes([0, a, b, c])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_by_seed_and_stays_in_24_bits() {
        let draw = |seed| {
            let mut rng = Rng::new(seed, Shard::default());
            [rng.index(), rng.index(), rng.index()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|&index| index < 1 << 24));
    }

    #[test]
    fn an_index_names_its_shard() {
        for number in 0..7 {
            let mut rng = Rng::new(5, Shard::new(number, 7).unwrap());
            assert!((0..1000).all(|_| { rng.index() } % 7 == u32::from(number)));
        }
    }
}
