//! Batches: records for the store, and what the model makes of them.

use std::collections::BTreeMap;

use anser_proto::wire::{self, command};
use anser_proto::{ConversationId, DeviceId, Seq, SessionId, UserId};
use bytes::Bytes;
use prost::Message as _;

use super::super::decode;
use super::model::Asked;
use super::plan::{Body, Item, Number, Place, Spot, What};
use super::run::Run;
use crate::{Mark, NewEntry, Outcome, Record};

impl Run {
    pub(super) async fn commit(&mut self, items: &[Item]) {
        let (mut records, mut expected) = (Vec::new(), Vec::new());
        for item in items {
            let (record, outcome) = self.record(item);
            records.push(record);
            expected.push(outcome);
        }
        self.model.end_batch();
        let told = format!("{records:?}");
        let committed = self.world.commit(records).await;
        assert_eq!(committed.outcomes, expected, "{told}");
        self.compare_entries(&committed.entries);
    }

    /// The record of an item, and what the model made of it.
    fn record(&mut self, item: &Item) -> (Record, Outcome) {
        match item {
            Item::Command { device, forged, number, what, once } => {
                let (user, device) = self.device(*device);
                let user = forged.map_or(user, |other| self.user(other));
                let known = self.model.devices.get(&device);
                let position = known.map_or(0, |device| device.outbox.len() as Seq);
                let (client_seq, again) = match *number {
                    Number::Next => (position + 1, false),
                    Number::Gap(more) => (position + 1 + more, false),
                    Number::Repeat(back) => (position.saturating_sub(back), true),
                    Number::Other(back) => (position.saturating_sub(back), false),
                    Number::Exactly(number) => (number, false),
                };
                let sent = known.filter(|_| again && client_seq > 0).and_then(|device| {
                    device.outbox[usize::try_from(client_seq - 1).expect("short logs")].clone()
                });
                let command = sent.unwrap_or_else(|| self.bytes(user, what));
                let once = once.map(|once| [once; 32]);
                let asked = Asked { user, device, client_seq, command: command.clone(), once };
                let once = once.map(Box::new);
                let record = Record::Command {
                    user,
                    device,
                    session: SessionId(0),
                    client_seq,
                    command,
                    once,
                    trace: None,
                };
                (record, self.model.command(&asked))
            }
            Item::Ack { device, position, store, wild } => {
                let (user, device) = self.device(*device);
                let position = spot(*position, self.model.head(user));
                let mut delivered = self.newly_delivered(user, device, position);
                if let Some((place, conv_seq)) = wild {
                    delivered.push((self.place(user, *place), *conv_seq));
                }
                let stored = store.then_some(position);
                let outcome = self.model.ack((user, device), stored, &delivered);
                let store_position = *store;
                (Record::Ack { user, device, position, delivered, store_position }, outcome)
            }
        }
    }

    /// What a connector makes of an ack.
    fn newly_delivered(
        &self,
        user: UserId,
        device: DeviceId,
        position: Seq,
    ) -> Vec<(ConversationId, Seq)> {
        let after = self.model.devices.get(&device).map_or(0, |device| device.inbox_position);
        let mut delivered = BTreeMap::new();
        for seq in after + 1..=position.min(self.model.head(user)) {
            if let Mark::Message { conversation, conv_seq } = self.model.mark(user, seq) {
                delivered.insert(conversation, conv_seq);
            }
        }
        delivered.into_iter().collect()
    }

    fn bytes(&self, user: UserId, what: &What) -> Bytes {
        match what {
            What::Send { place, key_version, body, files } => {
                let body = match body {
                    Body::Empty => String::new(),
                    Body::Short(bits) => format!("body {bits}"),
                    Body::TooLong => "x".repeat((16 << 10) + 1),
                };
                let conversation = self.place(user, *place);
                let files = files.iter().map(|file| self.pick(user, conversation, *file));
                let send = wire::Send {
                    conversation: conversation.0,
                    key_version: *key_version,
                    files: files.collect(),
                };
                let (kind, body) = (Some(command::Kind::Send(send)), body.into());
                wire::Command { kind, body }.encode_to_vec().into()
            }
            What::Read { place, conv_seq } => {
                let id = self.place(user, *place);
                let known = self.model.conversations.get(&id);
                let head = known.map_or(0, |conversation| conversation.messages.len() as Seq);
                let read = wire::Read { conversation: id.0, conv_seq: spot(*conv_seq, head) };
                let kind = Some(command::Kind::Read(read));
                wire::Command { kind, body: Bytes::new() }.encode_to_vec().into()
            }
            What::Unknown => {
                let body = Bytes::from_static(b"of a later version");
                wire::Command { kind: None, body }.encode_to_vec().into()
            }
            What::Garbage => Bytes::from_static(b"\xff\xff\xff"),
        }
    }

    pub(super) fn place(&self, user: UserId, place: Place) -> ConversationId {
        let is_member =
            |id: &ConversationId| self.model.conversations[id].marks.contains_key(&user);
        let (known, index): (Vec<_>, usize) = match place {
            Place::Own(index) => {
                (self.conversations.iter().copied().filter(is_member).collect(), index)
            }
            Place::Any(index) => (self.conversations.clone(), index),
            Place::Nowhere(number) => return ConversationId(number),
        };
        known.get(index % known.len().max(1)).copied().unwrap_or(ConversationId(7))
    }

    /// The new rows that a verb told are those that the model made.
    pub(super) fn compare_entries(&mut self, rows: &[NewEntry]) {
        let mut last = BTreeMap::new();
        for row in rows {
            let before = last.insert(row.user, row.seq).unwrap_or(0);
            assert!(before < row.seq, "they rise within an inbox");
        }
        let mut told: Vec<_> = rows.iter().collect();
        told.sort_by_key(|row| (row.user, row.seq));
        let mut expected = std::mem::take(&mut self.model.told);
        expected.sort_unstable();
        let numbers: Vec<_> = told.iter().map(|row| (row.user, row.seq)).collect();
        assert_eq!(numbers, expected);
        for row in told {
            let index = usize::try_from(row.seq).expect("short logs") - 1;
            assert_eq!(decode(&row.entry), self.model.users[&row.user].inbox[index]);
            assert_eq!(row.mark, self.model.mark(row.user, row.seq));
        }
    }
}

/// The number that is meant.
pub(super) fn spot(spot: Spot, head: Seq) -> Seq {
    match spot {
        Spot::Part(percent) => head * percent / 100,
        Spot::Above(more) => head.saturating_add(1).saturating_add(more),
    }
}
