//! How long to wait before the next connection: full jitter, so that the clients of a restarted
//! server spread out. Randomness is an argument; [`random`] gives it.

use std::time::Duration;

/// After an end that this version does not understand, waits start as after so many failures.
const FAILURES_WHEN_UNKNOWN: u32 = 7;

/// Anything up to `bound`: `random` of `u32::MAX` of it.
pub(crate) fn jittered(bound: Duration, random: u32) -> Duration {
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// From the operating system; the middle where it has none.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new((shortest, longest): (Duration, Duration)) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The longest next wait: doubles with each failure, up to the limit.
    pub(super) fn bound(&self) -> Duration {
        self.shortest.saturating_mul(1 << self.failures.min(16)).min(self.longest)
    }

    /// The next wait, counted as one more failure: `random` of `u32::MAX` of the bound.
    pub(super) fn next(&mut self, random: u32) -> Duration {
        let wait = jittered(self.bound(), random);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// A connection stood for so long. One that outlived the bound of the waits is no failure; a
    /// server that welcomes and closes at once is, or all its clients would knock without a pause.
    pub(super) fn connected_for(&mut self, time: Duration) {
        if time >= self.bound() {
            self.failures = 0;
        }
    }

    /// It ended for a reason that this version does not know: wait long.
    pub(super) fn unknown_end(&mut self) {
        self.failures = self.failures.max(FAILURES_WHEN_UNKNOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_are_anything_up_to_a_bound_that_doubles() {
        let mut backoff = Backoff::new((MS(100), MS(10_000)));
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            assert_eq!(backoff.bound(), MS(expected));
            assert_eq!(backoff.clone().next(0), Duration::ZERO);
            assert_eq!(backoff.clone().next(u32::MAX), MS(expected));
            let half = backoff.next(u32::MAX / 2);
            assert!(half.abs_diff(MS(expected) / 2) < MS(1), "{half:?} of {expected} ms");
        }
        for _ in 0..100 {
            assert!(backoff.next(u32::MAX) <= MS(10_000));
        }
    }

    #[test]
    fn only_a_connection_that_lasted_longer_than_the_waits_starts_anew() {
        let mut backoff = Backoff::new((MS(100), MS(10_000)));
        for _ in 0..4 {
            backoff.next(0);
        }
        backoff.connected_for(MS(1_599));
        assert_eq!((backoff.failures(), backoff.bound()), (4, MS(1_600)));
        backoff.connected_for(MS(1_600));
        assert_eq!((backoff.failures(), backoff.bound()), (0, MS(100)));
    }

    #[test]
    fn an_unknown_end_waits_long() {
        let mut backoff = Backoff::new((MS(100), MS(10_000)));
        backoff.unknown_end();
        assert_eq!(backoff.bound(), MS(10_000));
    }
}
