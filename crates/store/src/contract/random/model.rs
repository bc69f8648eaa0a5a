//! The model: what a store must hold, in plain maps, and what each operation does to it. Written
//! from the design, slow and simple; whole logs are kept, and what was pruned is only a number.

use std::collections::{BTreeMap, BTreeSet};

use anser_proto::id::NUMBER_MAX;
use anser_proto::wire::{self, command, entry::Kind};
use anser_proto::{Code, ConversationId, DeviceId, FileId, Seq, UserId};
use bytes::Bytes;
use prost::Message as _;

use super::pairs::Pair;
use crate::{File, Greeting, Hash, Hello, Mark, Outcome};

/// All that a store holds.
#[derive(Default)]
pub(super) struct Model {
    pub(super) epoch: String,
    pub(super) now_ms: u64,
    pub(super) users: BTreeMap<UserId, User>,
    /// Those that were not revoked.
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) pairs: BTreeMap<(UserId, UserId), Pair>,
    pub(super) conversations: BTreeMap<ConversationId, Conversation>,
    pub(super) files: BTreeMap<FileId, File>,
    once: BTreeSet<Hash>,
    /// Inbox rows since the last look, as (user, seq).
    pub(super) told: Vec<(UserId, Seq)>,
    /// Marks that moved in this batch, as (conversation, reader).
    moved: Vec<(ConversationId, UserId)>,
}

#[derive(Default)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) removed: bool,
    /// Entry n is at n-1; those below the floor are kept here.
    pub(super) inbox: Vec<wire::Entry>,
    pub(super) floor: Seq,
}

pub(super) struct Device {
    pub(super) user: UserId,
    pub(super) token: Hash,
    /// Command n is at n-1; `None` is one that was skipped.
    pub(super) outbox: Vec<Option<Bytes>>,
    /// Numbers up to here were skipped, or came before one that was.
    pub(super) skipped: Seq,
    pub(super) inbox_position: Seq,
    pub(super) created_at_ms: u64,
    pub(super) seen_at_ms: u64,
}

pub(super) struct Conversation {
    pub(super) pair: (UserId, UserId),
    pub(super) messages: Vec<wire::Entry>,
    /// (delivered, read) of each member.
    pub(super) marks: BTreeMap<UserId, (Seq, Seq)>,
}

/// A command as a connector hands it over.
pub(super) struct Asked {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) client_seq: Seq,
    pub(super) command: Bytes,
    pub(super) once: Option<Hash>,
}

impl Model {
    pub(super) fn new(epoch: String, now_ms: u64) -> Self {
        Self { epoch, now_ms, ..Self::default() }
    }

    pub(super) fn push(&mut self, user: UserId, kind: Kind, body: Bytes) {
        let inbox = &mut self.users.get_mut(&user).expect("a user").inbox;
        inbox.push(wire::Entry { kind: Some(kind), body });
        self.told.push((user, inbox.len() as Seq));
    }

    pub(super) fn head(&self, user: UserId) -> Seq {
        self.users[&user].inbox.len() as Seq
    }

    /// What an ack of an entry means.
    pub(super) fn mark(&self, user: UserId, seq: Seq) -> Mark {
        let index = usize::try_from(seq).expect("short logs") - 1;
        match &self.users[&user].inbox[index].kind {
            Some(Kind::Message(message)) if message.sender == user.0 => {
                Mark::Own { device: DeviceId(message.device) }
            }
            Some(Kind::Message(message)) => Mark::Message {
                conversation: ConversationId(message.conversation),
                conv_seq: message.conv_seq,
            },
            _ => Mark::Other,
        }
    }

    pub(super) fn command(&mut self, asked: &Asked) -> Outcome {
        let known = self.devices.get(&asked.device).filter(|one| one.user == asked.user);
        let Some(device) = known else { return Outcome::Refused(Code::Unauthenticated) };
        if asked.once.is_some_and(|once| self.once.contains(&once)) {
            return Outcome::Repeat;
        }
        if asked.client_seq >= NUMBER_MAX {
            return Outcome::Refused(Code::Malformed);
        }
        let position = device.outbox.len() as Seq;
        if asked.client_seq > position + 1 {
            return Outcome::Refused(Code::OutboxGap);
        }
        if asked.client_seq <= position {
            let comparable = asked.client_seq > device.skipped
                && asked.client_seq + COMPARABLE > position
                && asked.client_seq > 0;
            if !comparable {
                return Outcome::Refused(Code::DeviceStale);
            }
            let index = usize::try_from(asked.client_seq).expect("short logs") - 1;
            return match device.outbox[index].as_ref() == Some(&asked.command) {
                true => Outcome::Repeat,
                false => Outcome::Refused(Code::Conflict),
            };
        }
        let Ok(command) = wire::Command::decode(asked.command.clone()) else {
            return Outcome::Refused(Code::Malformed);
        };
        self.take(asked, command);
        let device = self.devices.get_mut(&asked.device).expect("looked up above");
        device.outbox.push(Some(asked.command.clone()));
        device.seen_at_ms = self.now_ms;
        Outcome::Applied
    }

    /// Applies a command that has its turn, or rejects it in place.
    fn take(&mut self, asked: &Asked, command: wire::Command) {
        let (named, result) = match command.kind {
            Some(command::Kind::Send(send)) => {
                (send.conversation, self.send(asked, send, command.body))
            }
            Some(command::Kind::Read(read)) => (read.conversation, self.read(asked, read)),
            None => (0, Err(Code::UnknownCommand)),
        };
        if result.is_ok() {
            self.once.extend(asked.once);
        }
        if let Err(code) = result {
            let rejected = wire::Rejected {
                device: asked.device.0,
                client_seq: asked.client_seq,
                code: code.number(),
                // No number of ours: it must not get into a log that JSON readers read.
                conversation: if named < NUMBER_MAX { named } else { 0 },
            };
            self.push(asked.user, Kind::Rejected(rejected), Bytes::new());
        }
    }

    /// The conversation, if this user may write there now.
    pub(super) fn open(&self, user: UserId, id: u64) -> Result<ConversationId, Code> {
        let id = ConversationId(id);
        let conversation = self.conversations.get(&id).ok_or(Code::NotMember)?;
        let open = self.pairs[&conversation.pair].friends;
        let member = conversation.marks.contains_key(&user);
        if open && member { Ok(id) } else { Err(Code::NotMember) }
    }

    fn send(&mut self, asked: &Asked, send: wire::Send, body: Bytes) -> Result<(), Code> {
        let id = self.open(asked.user, send.conversation)?;
        if body.is_empty() {
            return Err(Code::BodyEmpty);
        }
        if body.len() > 16 << 10 {
            return Err(Code::BodyTooLarge);
        }
        let conversation = &self.conversations[&id];
        let versions = self.pairs[&conversation.pair].keys.len() as u64;
        if send.key_version == 0 || u64::from(send.key_version) > versions {
            return Err(Code::UnknownKeyVersion);
        }
        self.list(asked.user, id, &send.files)?;
        let conversation = self.conversations.get_mut(&id).expect("it is open");
        let message = wire::Message {
            conversation: id.0,
            conv_seq: conversation.messages.len() as Seq + 1,
            sender: asked.user.0,
            device: asked.device.0,
            client_seq: asked.client_seq,
            key_version: send.key_version,
            created_at_ms: self.now_ms,
        };
        let kind = Kind::Message(message);
        let entry = wire::Entry { kind: Some(kind.clone()), body: body.clone() };
        conversation.messages.push(entry);
        let members: Vec<UserId> = conversation.marks.keys().copied().collect();
        for member in members {
            self.push(member, kind.clone(), body.clone());
        }
        Ok(())
    }

    fn read(&mut self, asked: &Asked, read: wire::Read) -> Result<(), Code> {
        let id = self.open(asked.user, read.conversation)?;
        if read.conv_seq > self.conversations[&id].messages.len() as Seq {
            return Err(Code::ReadAboveHead);
        }
        self.raise(id, asked.user, read.conv_seq, read.conv_seq);
        let mark = wire::ReadMark {
            conversation: id.0,
            read: self.conversations[&id].marks[&asked.user].1,
            device: asked.device.0,
            client_seq: asked.client_seq,
        };
        self.push(asked.user, Kind::ReadMark(mark), Bytes::new());
        Ok(())
    }

    pub(super) fn ack(
        &mut self,
        (user, device): (UserId, DeviceId),
        position: Option<Seq>,
        delivered: &[(ConversationId, Seq)],
    ) -> Outcome {
        let head = self.users.get(&user).map_or(0, |user| user.inbox.len() as Seq);
        let known = self.devices.get_mut(&device).filter(|one| one.user == user);
        let Some(device) = known else { return Outcome::Refused(Code::Unauthenticated) };
        let position = position.map_or(0, |position| position.min(head));
        if position > device.inbox_position {
            (device.inbox_position, device.seen_at_ms) = (position, self.now_ms);
        }
        for (conversation, conv_seq) in delivered {
            if self.open(user, conversation.0).is_ok() {
                self.raise(*conversation, user, *conv_seq, 0);
            }
        }
        Outcome::Applied
    }

    fn raise(&mut self, id: ConversationId, user: UserId, delivered: Seq, read: Seq) {
        let conversation = self.conversations.get_mut(&id).expect("it is open");
        let head = conversation.messages.len() as Seq;
        let marks = conversation.marks.get_mut(&user).expect("a member");
        let raised = (marks.0.max(delivered.min(head)), marks.1.max(read));
        if raised != *marks {
            *marks = raised;
            if !self.moved.contains(&(id, user)) {
                self.moved.push((id, user));
            }
        }
    }

    /// Receipts are told once, after the batch.
    pub(super) fn end_batch(&mut self) {
        for (id, reader) in std::mem::take(&mut self.moved) {
            let marks = self.conversations[&id].marks.clone();
            let (delivered, read) = marks[&reader];
            let (conversation, user) = (id.0, reader.0);
            let receipt = Kind::Receipt(wire::Receipt { conversation, user, delivered, read });
            for member in marks.into_keys().filter(|member| *member != reader) {
                self.push(member, receipt.clone(), Bytes::new());
            }
        }
    }

    pub(super) fn greet(&mut self, id: DeviceId, hello: &Hello) -> Option<Greeting> {
        let device = self.devices.get_mut(&id)?;
        let user = &self.users[&device.user];
        let head = user.inbox.len() as Seq;
        let same = hello.epoch == self.epoch;
        while !same && (device.outbox.len() as Seq) < hello.outbox_trimmed {
            device.outbox.push(None);
            device.skipped = device.outbox.len() as Seq;
        }
        let outbox_position = device.outbox.len() as Seq;
        let last = device.outbox.last().and_then(|command| command.as_deref());
        let outbox_digest = last.map(wire::command_digest);
        if same && hello.outbox_head < outbox_position {
            return Some(Greeting::DeviceStale);
        }
        device.seen_at_ms = self.now_ms;
        let fits = (user.floor.saturating_sub(1)..=head).contains(&hello.position);
        let new = hello.position == 0 && device.inbox_position > 0;
        Some(match same && fits && !new {
            true => Greeting::Welcome {
                head,
                floor: user.floor,
                outbox_position,
                outbox_digest,
                inbox_position: device.inbox_position.min(hello.position),
            },
            false => {
                Greeting::Reset { epoch: self.epoch.clone(), head, outbox_position, outbox_digest }
            }
        })
    }

    /// Raises the floors; gives the number of rows that went.
    pub(super) fn prune(&mut self, older_than_ms: u64) -> u64 {
        let mut count = 0;
        for (id, user) in &mut self.users {
            let in_use = self.devices.values().filter(|device| device.user == *id);
            let in_use = in_use.filter(|device| device.seen_at_ms >= older_than_ms);
            let passed = in_use.map(|device| device.inbox_position).min().unwrap_or(Seq::MAX);
            // The last row stays: the next number is counted from it.
            let last = passed.min((user.inbox.len() as Seq).saturating_sub(1));
            let mut floor = user.floor;
            for (seq, entry) in (1..=last).zip(&user.inbox) {
                match &entry.kind {
                    Some(Kind::Message(message)) if message.created_at_ms >= older_than_ms => break,
                    Some(Kind::Message(_)) => floor = floor.max(seq + 1),
                    _ => {}
                }
            }
            count += floor - user.floor;
            user.floor = floor;
        }
        count
    }
}

/// So many of a device's last commands can be compared with a repeat.
const COMPARABLE: u64 = 64;
