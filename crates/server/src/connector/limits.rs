//! Limits on what one client may do: commands per second, and sockets that have not authenticated.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A token bucket that says how long to stop reading. Debt is allowed: what was read is handed
/// over, and the pause grows with it.
#[derive(Debug)]
pub(super) struct Rate {
    paid_until: Option<Instant>,
}

impl Rate {
    /// A full bucket.
    pub(super) const fn new() -> Self {
        Self { paid_until: None }
    }

    /// `count` commands came. Gives the instant until which the session is not read, if it is too
    /// fast for `per_second` after a burst of `burst`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        count: u32,
        per_second: u32,
        burst: u32,
    ) -> Option<Instant> {
        let cost = Duration::from_secs(1) / per_second.max(1);
        let from = self.paid_until.map_or(now, |until| until.max(now));
        let until = from + cost * count;
        self.paid_until = Some(until);
        let allowance = cost * burst;
        (until > now + allowance).then(|| until - allowance)
    }
}

/// Counts the sockets of each address that have not said a valid Hello.
#[derive(Debug, Default)]
pub(super) struct Unauthenticated {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted socket; dropping it takes it off the count.
#[derive(Debug)]
pub(super) struct Guest {
    all: Arc<Unauthenticated>,
    address: IpAddr,
}

impl Unauthenticated {
    /// Counts a socket of `address`, or `None` when there are `max` already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Guest> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Guest { all: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_more_waits_for_its_price() {
        let (mut rate, now) = (Rate::new(), Instant::now());
        assert_eq!(rate.take(now, 60, 20, 60), None);
        assert_eq!(rate.take(now, 1, 20, 60), Some(now + Duration::from_millis(50)));
        let later = now + Duration::from_secs(10);
        assert_eq!(rate.take(later, 60, 20, 60), None, "a full bucket again");
    }

    #[test]
    fn guests_are_counted_per_address() {
        let all = Arc::new(Unauthenticated::default());
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = all.enter(address, 1).expect("room");
        assert!(all.enter(address, 1).is_none());
        assert!(all.enter(IpAddr::from([127, 0, 0, 2]), 1).is_some());
        drop(first);
        assert!(all.enter(address, 1).is_some());
    }
}
