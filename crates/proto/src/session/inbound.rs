//! The peer's log as this end knows it: what was received, what is durable here, what was acked.

use crate::Seq;

/// What a Push of the peer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PushOutcome {
    /// The next number.
    Next,
    /// A number that is here already.
    Repeat,
    /// A number is missing before it.
    Gap,
    /// More is unprocessed than the window allows.
    AboveWindow,
}

#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The highest number received in order.
    pub(super) received: Seq,
    /// Everything up to here is durable at this end.
    pub(super) processed: Seq,
    /// The last position told to the peer.
    acked: Seq,
    /// How many numbers the peer may have unacked.
    window: u32,
    /// An Ack leaves with the next `poll`.
    ack_now: bool,
}

impl Inbound {
    /// Everything up to `position` is durable here already.
    pub(super) fn open(position: Seq, window: u32) -> Self {
        Self {
            received: position,
            processed: position,
            acked: position,
            window: window.max(1),
            ack_now: false,
        }
    }

    pub(super) fn on_push(&mut self, seq: Seq) -> PushOutcome {
        if seq <= self.received {
            // The peer did not see the ack, so it is said again.
            self.ack_now = true;
            return PushOutcome::Repeat;
        }
        if seq > self.received + 1 {
            return PushOutcome::Gap;
        }
        if seq - self.processed > u64::from(self.window) {
            return PushOutcome::AboveWindow;
        }
        self.received = seq;
        PushOutcome::Next
    }

    pub(super) fn on_processed(&mut self, position: Seq) {
        assert!(
            position <= self.received,
            "processed {position}, but only {} was received",
            self.received
        );
        assert!(
            position >= self.processed,
            "processed {position} goes back from {}",
            self.processed
        );
        self.processed = position;
    }

    /// How many processed numbers the peer does not know of.
    pub(super) fn unacked(&self) -> u64 {
        self.processed - self.acked
    }

    /// Whether so much waits that the ack must not be delayed: a quarter of the window.
    pub(super) fn is_ack_urgent(&self) -> bool {
        self.unacked() * 4 >= u64::from(self.window)
    }

    pub(super) fn ack_soon(&mut self) {
        self.ack_now = true;
    }

    /// The position to ack, if an ack is due.
    pub(super) fn take_ack(&mut self) -> Option<Seq> {
        if !std::mem::take(&mut self.ack_now) {
            return None;
        }
        self.acked = self.processed;
        Some(self.processed)
    }
}
