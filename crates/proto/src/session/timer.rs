//! All deadlines of a session in one place.

use std::time::Instant;

/// What can come due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// The peer said nothing for too long: no Hello, no Welcome, or 2.5 heartbeats without a frame.
    Silence,
    /// Client: the next Ping.
    Ping,
    /// What was processed must be acked now.
    AckDelay,
    /// The peer's ack of the oldest push is overdue.
    AckTimeout,
}

impl Timer {
    pub(super) const ALL: [Self; 4] = [Self::Silence, Self::Ping, Self::AckDelay, Self::AckTimeout];
}

/// A deadline per [`Timer`], or none.
#[derive(Debug, Default)]
pub(super) struct TimerTable {
    silence: Option<Instant>,
    ping: Option<Instant>,
    ack_delay: Option<Instant>,
    ack_timeout: Option<Instant>,
}

impl TimerTable {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        *self.slot(timer) = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        match timer {
            Timer::Silence => self.silence.is_some(),
            Timer::Ping => self.ping.is_some(),
            Timer::AckDelay => self.ack_delay.is_some(),
            Timer::AckTimeout => self.ack_timeout.is_some(),
        }
    }

    /// Whether `timer` has come due; if so it is stopped.
    pub(super) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let slot = self.slot(timer);
        let expired = slot.is_some_and(|at| at <= now);
        if expired {
            *slot = None;
        }
        expired
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.silence, self.ping, self.ack_delay, self.ack_timeout].into_iter().flatten().min()
    }

    fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        match timer {
            Timer::Silence => &mut self.silence,
            Timer::Ping => &mut self.ping,
            Timer::AckDelay => &mut self.ack_delay,
            Timer::AckTimeout => &mut self.ack_timeout,
        }
    }
}
