//! This end's log as the peer knows it: what was pushed, what was acked, how much room is left.

use std::collections::VecDeque;

use super::WindowFull;
use crate::{Seq, id::NUMBER_MAX};

/// What an Ack of the peer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AckOutcome {
    /// It names a number that was never pushed.
    AboveHead,
    /// It says nothing new.
    Old,
    /// The window moved.
    Progress,
}

/// Numbers and sizes of what is unacked; never bodies, because the log has them.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// The highest number that the peer acked.
    pub(super) acked: Seq,
    /// The highest number pushed.
    pub(super) pushed: Seq,
    /// The highest number that `poll` gave out.
    polled: Seq,
    /// The highest number whose last byte left this machine.
    written: Seq,
    /// Body sizes of `acked + 1 ..= pushed`, kept where there is a limit on bytes (at a server).
    sizes: VecDeque<u32>,
    /// Sum of `sizes`.
    bytes: usize,
    count_max: u32,
    /// Limit of `bytes`; `usize::MAX` where there is none.
    bytes_max: usize,
    /// Resends of `acked + 1` so far.
    pub(super) resends: u8,
    /// `acked + 1` was given out by `poll` since the last `written`.
    oldest_polled: bool,
}

impl Outbound {
    /// The peer has everything up to `position`; pushes go on after it.
    pub(super) fn open(position: Seq, count_max: u32, bytes_max: usize) -> Self {
        Self {
            acked: position,
            pushed: position,
            polled: position,
            written: position,
            count_max: count_max.max(1),
            bytes_max,
            ..Self::default()
        }
    }

    /// Whether a body of some length could be pushed.
    pub(super) fn has_room(&self) -> bool {
        let count = self.pushed - self.acked;
        count < u64::from(self.count_max) && (count == 0 || self.bytes < self.bytes_max)
    }

    pub(super) fn push(&mut self, len: usize) -> Result<Seq, WindowFull> {
        let empty = self.pushed == self.acked;
        if !self.has_room() || (!empty && self.bytes.saturating_add(len) > self.bytes_max) {
            return Err(WindowFull);
        }
        let seq = self.pushed + 1;
        assert!(seq < NUMBER_MAX, "the log has no number left after {}", self.pushed);
        if self.bytes_max != usize::MAX {
            self.sizes.push_back(u32::try_from(len).expect("a body is shorter than 4 GiB"));
            self.bytes += len;
        }
        self.pushed = seq;
        Ok(seq)
    }

    pub(super) fn on_ack(&mut self, position: Seq) -> AckOutcome {
        if position > self.pushed {
            return AckOutcome::AboveHead;
        }
        if position <= self.acked {
            return AckOutcome::Old;
        }
        while self.acked < position {
            self.acked += 1;
            if let Some(len) = self.sizes.pop_front() {
                self.bytes -= len as usize;
            }
        }
        if self.sizes.is_empty() {
            self.sizes = VecDeque::new();
        }
        self.resends = 0;
        self.oldest_polled = false;
        AckOutcome::Progress
    }

    /// `poll` gives out number `seq`.
    pub(super) fn on_polled(&mut self, seq: Seq) {
        self.polled = self.polled.max(seq);
        self.oldest_polled |= seq == self.acked + 1;
    }

    /// All that was polled left this machine. Says whether the oldest unacked number was in it.
    pub(super) fn on_written(&mut self) -> bool {
        self.written = self.polled;
        std::mem::take(&mut self.oldest_polled)
    }

    /// Whether the peer could have acked something that it has not.
    pub(super) fn awaits_ack(&self) -> bool {
        self.acked < self.written
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.sizes.capacity() * size_of::<u32>()
    }
}
