//! SplitMix64: small, fast, and the same on every machine.

use std::time::Duration;

/// Dice that fall the same way for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 .. end.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// 0 .. end.
    pub(super) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below an index")
    }

    /// from ..= to.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// Up to so many milliseconds, mostly a small part of them.
    pub(super) fn millis(&mut self, most: u64) -> Duration {
        let most = if self.chance(100) { most } else { most / 8 };
        Duration::from_micros(self.below(most * 1000 + 1))
    }

    /// An id that no other seed has, in practice: planted faults remember ids for ever.
    pub(super) fn id(&mut self) -> u64 {
        (self.bits() >> 11) | 1
    }
}
