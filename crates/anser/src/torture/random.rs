//! Random numbers that a seed repeats: SplitMix64 (Steele, Lea, Flood 2014).

use std::time::Duration;

/// A stream of numbers. The same seed gives the same stream, on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream `name` of a seed: streams of different names have nothing in common, so what one
    /// part of a plan draws does not move the others.
    pub(super) fn of(seed: u64, name: &str) -> Self {
        let mut random = Self(seed);
        for byte in name.bytes() {
            random.0 = random.next() ^ u64::from(byte);
        }
        random
    }

    /// A number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0 .. count`; 0 when there is none.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap_or(0)
    }

    /// One of `from ..= to` milliseconds.
    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from + 1))
    }

    /// A number in `0 .. 1`.
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts items into a random order (Fisher-Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Items of which one is chosen, again and again.
#[derive(Clone, Debug)]
pub(super) struct Choice<T> {
    random: Random,
    /// At least one.
    items: Vec<T>,
}

impl<T> Choice<T> {
    /// Chooses among some items, as a stream of random numbers decides.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn new(random: Random, items: Vec<T>) -> anyhow::Result<Self> {
        anyhow::ensure!(!items.is_empty(), "there is nothing to choose from");
        Ok(Self { random, items })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> &T {
        let index = self.random.below(self.items.len());
        &self.items[index]
    }
}
