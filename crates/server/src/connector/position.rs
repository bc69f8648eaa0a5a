//! How far a device has acked its inbox, and how much of that the store knows. Storing every ack
//! would cost a row each; a stored position that is late only makes a resume count again.

use std::time::{Duration, Instant};

use anser_proto::{ConversationId, Seq};
use anser_store::Record;

use super::mailbox::Mailbox;

/// The stored position of a device may be late by this much (DESIGN section 4).
const STORE_INTERVAL: Duration = Duration::from_secs(5);
/// And by this many entries.
const STORE_ENTRIES: Seq = 64;

/// The position of one session's device.
#[derive(Default)]
pub(super) struct Position {
    acked: Seq,
    stored: Seq,
    unstored_since: Option<Instant>,
}

impl Position {
    /// A device that says it is at `acked`, of which the store knows `stored`.
    pub(super) fn new(acked: Seq, stored: Seq) -> Self {
        Self { acked, stored, unstored_since: None }
    }

    /// The device has everything up to here.
    pub(super) fn ack(&mut self, position: Seq) {
        self.acked = position;
    }

    /// When it has to be stored at the latest; `None`: it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unstored_since.map(|since| since + STORE_INTERVAL)
    }

    /// A record for the store where one is due: `delivered` moved, or the stored position is too
    /// old, or is to be stored now.
    pub(super) fn record(
        &mut self,
        now: Instant,
        member: &Mailbox,
        delivered: Vec<(ConversationId, Seq)>,
        store_now: bool,
    ) -> Option<Record> {
        let since = *self.unstored_since.get_or_insert(now);
        let behind = self.acked - self.stored;
        let store_position =
            behind > 0 && (store_now || behind >= STORE_ENTRIES || now - since >= STORE_INTERVAL);
        if store_position {
            self.stored = self.acked;
        }
        if self.stored == self.acked {
            self.unstored_since = None;
        }
        (store_position || !delivered.is_empty()).then(|| Record::Ack {
            user: member.user(),
            device: member.device(),
            position: self.acked,
            delivered,
            store_position,
        })
    }
}
