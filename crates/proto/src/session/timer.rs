//! All deadlines of a session in one place, and what happens when one comes.

use std::time::Instant;

use super::{Event, Session, Side};
use crate::{Code, Frame, wire};

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

impl Session {
    pub(super) fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Silence => self.close(Code::TimedOut),
            Timer::Ping => self.send_ping(now),
            Timer::AckDelay => self.inbound.ack_soon(),
            Timer::AckTimeout => self.on_ack_timeout(now),
        }
    }

    /// The peer did not ack in time.
    ///
    /// A client pauses here while the server is alive: every expiry sends a Ping, and an expiry
    /// before which a Pong came (since the expiry, progress or first push before it) neither
    /// resends nor counts, it only starts the timer again. A server whose queue is down answers
    /// Pings but acks nothing; closing would make all its clients reconnect at once.
    fn on_ack_timeout(&mut self, now: Instant) {
        let paused = self.side == Side::Client && self.pong_came;
        if !paused {
            if self.outbound.resends >= self.config.resends_max {
                return self.close(Code::TimedOut);
            }
            self.outbound.resends += 1;
            self.event(Event::Resend { seq: self.outbound.acked + 1 });
        }
        self.restart_ack_timer(now);
        if self.side == Side::Client {
            self.send_ping(now);
        }
    }

    /// After progress or an expiry.
    pub(super) fn restart_ack_timer(&mut self, now: Instant) {
        self.pong_came = false;
        self.timers.set(Timer::AckTimeout, now + self.config.ack_timeout);
    }

    fn send_ping(&mut self, now: Instant) {
        self.ping_nonce += 1;
        self.send(Frame::Ping(wire::Ping { nonce: self.ping_nonce }));
        self.timers.set(Timer::Ping, now + self.heartbeat);
    }

    /// A frame came: the peer is alive.
    pub(super) fn heard(&mut self, now: Instant) {
        self.timers.set(Timer::Silence, now + self.heartbeat * 5 / 2);
    }
}
