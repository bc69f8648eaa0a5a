//! What the link counts. Handles are looked up once.

use metrics::{Counter, Gauge, counter, gauge};

use crate::metrics::{LINK_CALLERS, LINK_RINGS_TOTAL, LINK_STREAMS};

/// The instruments of the side that tells.
#[derive(Clone)]
pub(super) struct CallerMetrics {
    /// What was given to a stream.
    pub(super) sent: Counter,
    /// Entries of which only the number was kept.
    pub(super) shortened: Counter,
    /// What was not told at all.
    pub(super) dropped: Counter,
}

impl CallerMetrics {
    pub(super) fn new() -> Self {
        let rings = |outcome: &'static str| counter!(LINK_RINGS_TOTAL, "outcome" => outcome);
        Self { sent: rings("sent"), shortened: rings("shortened"), dropped: rings("dropped") }
    }
}

/// One of the things that a gauge counts, while it exists.
pub(super) struct Counted(Gauge);

impl Counted {
    /// A stream to a connector.
    pub(super) fn stream() -> Self {
        Self::one_of(gauge!(LINK_STREAMS))
    }

    /// A stream from a node.
    pub(super) fn caller() -> Self {
        Self::one_of(gauge!(LINK_CALLERS))
    }

    fn one_of(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
