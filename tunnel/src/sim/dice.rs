//! Everything a world leaves to chance, drawn from its seed.

use std::ops::Range;

use crate::rng::Rng;

/// A stream of choices.
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// One of `range`.
    pub(super) fn of(&mut self, range: Range<usize>) -> usize {
        range.start + usize::try_from(self.draw() >> 32).unwrap() % range.len().max(1)
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, permille: usize) -> bool {
        self.of(0..1000) < permille
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.of(0..of.len()))
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.draw().to_be_bytes()[0]).collect()
    }
}
