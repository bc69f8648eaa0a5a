//! What waits to be told, and how it becomes a message and comes out of it.

use std::time::{Duration, Instant};

use anser_proto::{Code, ConversationId, DeviceId, Seq, SessionId, UserId};
use anser_store::{Mark, NewEntry};

use super::wire;
use crate::link::Doorbell;

/// Everything that a connector is told at once.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// Rising by seq within each user.
    pub(super) entries: Vec<NewEntry>,
    pub(super) heads: Vec<(UserId, Seq)>,
    pub(super) acks: Vec<(DeviceId, Seq)>,
    pub(super) refused: Vec<(DeviceId, SessionId, Code)>,
    pub(super) closed: Vec<(DeviceId, Code)>,
    /// When the oldest command behind the entries was read from its socket.
    pub(super) accepted: Option<Instant>,
    /// More was told than could wait.
    pub(super) lost: bool,
}

impl Rings {
    /// How many things are told.
    pub(super) fn count(&self) -> usize {
        let Self { entries, heads, acks, refused, closed, .. } = self;
        entries.len() + heads.len() + acks.len() + refused.len() + closed.len()
    }

    /// Rings here. Acks first, as where both ends are in one process.
    pub(super) fn ring(self, doorbell: &dyn Doorbell) {
        for (device, position) in self.acks {
            doorbell.ack(device, position);
        }
        for (device, session, code) in self.refused {
            doorbell.refused((device, session), code);
        }
        for (device, code) in self.closed {
            doorbell.close(&[device], code);
        }
        if !self.entries.is_empty() {
            doorbell.deliver(self.entries, self.accepted);
        }
        if !self.heads.is_empty() {
            doorbell.grew(&self.heads);
        }
    }
}

impl From<Rings> for wire::Rings {
    fn from(rings: Rings) -> Self {
        let ago = rings.accepted.map_or(Duration::ZERO, |at| at.elapsed());
        Self {
            entries: rings.entries.into_iter().map(entry_to_wire).collect(),
            heads: rings.heads.iter().map(head_to_wire).collect(),
            acks: rings.acks.iter().map(ack_to_wire).collect(),
            refused: rings.refused.iter().map(refused_to_wire).collect(),
            closed: rings.closed.iter().map(closed_to_wire).collect(),
            accepted_us_ago: u64::try_from(ago.as_micros()).unwrap_or(u64::MAX),
            lost: rings.lost,
        }
    }
}

impl From<wire::Rings> for Rings {
    fn from(rings: wire::Rings) -> Self {
        let ago = Some(rings.accepted_us_ago).filter(|ago| *ago > 0);
        Self {
            entries: rings.entries.into_iter().map(entry).collect(),
            heads: rings.heads.iter().map(|one| (UserId(one.user), one.seq)).collect(),
            acks: rings.acks.iter().map(|one| (DeviceId(one.device), one.position)).collect(),
            // A code of a later version ends the session as one that it can try again from.
            refused: rings.refused.iter().map(refused).collect(),
            closed: rings.closed.iter().map(closed).collect(),
            accepted: ago.and_then(|ago| Instant::now().checked_sub(Duration::from_micros(ago))),
            lost: rings.lost,
        }
    }
}

fn entry_to_wire(entry: NewEntry) -> wire::Entry {
    let mark = match entry.mark {
        Mark::Message { conversation, conv_seq } => {
            let message = wire::Message { conversation: conversation.0, conv_seq };
            Some(wire::entry::Mark::Message(message))
        }
        Mark::Own { device } => Some(wire::entry::Mark::OwnDevice(device.0)),
        Mark::Other => None,
    };
    wire::Entry { user: entry.user.0, seq: entry.seq, entry: entry.entry, mark }
}

fn entry(entry: wire::Entry) -> NewEntry {
    let mark = match entry.mark {
        Some(wire::entry::Mark::Message(message)) => {
            let conversation = ConversationId(message.conversation);
            Mark::Message { conversation, conv_seq: message.conv_seq }
        }
        Some(wire::entry::Mark::OwnDevice(device)) => Mark::Own { device: DeviceId(device) },
        None => Mark::Other,
    };
    NewEntry { user: UserId(entry.user), seq: entry.seq, entry: entry.entry, mark }
}

fn head_to_wire((user, seq): &(UserId, Seq)) -> wire::Head {
    wire::Head { user: user.0, seq: *seq }
}

fn ack_to_wire((device, position): &(DeviceId, Seq)) -> wire::Ack {
    wire::Ack { device: device.0, position: *position }
}

fn refused_to_wire((device, session, code): &(DeviceId, SessionId, Code)) -> wire::Refused {
    wire::Refused { device: device.0, session: session.0, code: code.number() }
}

fn closed_to_wire((device, code): &(DeviceId, Code)) -> wire::Closed {
    wire::Closed { device: device.0, code: code.number() }
}

fn refused(one: &wire::Refused) -> (DeviceId, SessionId, Code) {
    (DeviceId(one.device), SessionId(one.session), code(one.code))
}

fn closed(one: &wire::Closed) -> (DeviceId, Code) {
    (DeviceId(one.device), code(one.code))
}

fn code(number: u32) -> Code {
    Code::from_number(number).unwrap_or(Code::Unavailable)
}
