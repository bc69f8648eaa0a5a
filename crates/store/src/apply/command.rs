//! Numbered commands: the numbering rule, then send and read.

use anser_proto::fault::Fault;
use anser_proto::id::NUMBER_MAX;
use anser_proto::wire::{self, command::Kind, command_digest, entry};
use anser_proto::{Code, ConversationId, DeviceId, Seq, UserId};
use bytes::Bytes;
use prost::Message as _;

use super::{DIGESTS_MAX, Device, Ruling, Run, encode_entry, file};
use crate::{Mark, Outcome, Record};

/// Who asks, and the number of what they ask.
#[derive(Clone, Copy)]
struct Origin {
    user: UserId,
    device: DeviceId,
    client_seq: Seq,
}

/// Why a command is rejected in place, and the conversation that it named.
struct Rejection(Code, u64);

impl Run<'_> {
    /// Applies or rejects a command in place, or says why it consumes nothing.
    pub(super) fn command(&mut self, record: &Record, decoded: Option<wire::Command>) -> Ruling {
        let Record::Command { device, session, .. } = record else {
            unreachable!("the caller matched the record");
        };
        let live = self.set.sessions.get(device);
        if live.is_some_and(|live| live.over || live.id != *session) {
            return Err(Code::Replaced);
        }
        let ruling = self.of_live_session(record, decoded);
        if ruling.is_err()
            && let Some(live) = self.set.sessions.get_mut(device)
        {
            live.over = true;
        }
        ruling
    }

    fn of_live_session(&mut self, record: &Record, decoded: Option<wire::Command>) -> Ruling {
        let Record::Command { user, device, client_seq, command, once, .. } = record else {
            unreachable!("the caller matched the record");
        };
        let origin = Origin { user: *user, device: *device, client_seq: *client_seq };
        let known = self.set.devices.get(device).filter(|known| known.user == *user);
        let known = known.ok_or(Code::Unauthenticated)?;
        if once.as_ref().is_some_and(|once| self.set.once.contains(&**once)) {
            return Ok(Outcome::Repeat);
        }
        let digest = command_digest(command);
        match numbering(known, *client_seq, digest)? {
            Numbering::Repeat => return Ok(Outcome::Repeat),
            Numbering::Next => {}
        }
        let decoded = decoded.ok_or(Code::Malformed)?;

        let rejected = match decoded.kind {
            Some(Kind::Send(send)) => self.send(origin, send, decoded.body),
            Some(Kind::Read(read)) => self.read(origin, read),
            None => Err(Rejection(Code::UnknownCommand, 0)),
        };
        self.consume(origin, digest);
        match (rejected, once) {
            // The key of a rejected command can be used again: a retry must not pass for done.
            (Err(Rejection(code, conversation)), _) => self.reject(origin, code, conversation),
            (Ok(()), Some(once)) => {
                self.set.once.insert(**once);
                self.applied.once.push(**once);
            }
            (Ok(()), None) => {}
        }
        Ok(Outcome::Applied)
    }

    fn send(&mut self, from: Origin, send: wire::Send, body: Bytes) -> Result<(), Rejection> {
        let reject = |code| Err(Rejection(code, send.conversation));
        let id = ConversationId(send.conversation);
        let Some(conversation) = self.set.conversations.get_mut(&id) else {
            return reject(Code::NotMember);
        };
        let member = conversation.members.iter().any(|member| member.user == from.user);
        let may_write = conversation.open && member;
        if !may_write && !Fault::NoMemberCheck.is_on() {
            return reject(Code::NotMember);
        }
        if body.is_empty() {
            return reject(Code::BodyEmpty);
        }
        if body.len() > self.limits.body_bytes_max {
            return reject(Code::BodyTooLarge);
        }
        if !(1..=conversation.key_version).contains(&send.key_version) {
            return reject(Code::UnknownKeyVersion);
        }
        if let Some(code) = file::refusal(&self.set.files, from.user, &send) {
            return reject(code);
        }

        let conv_seq = conversation.head + 1;
        assert!(conv_seq < NUMBER_MAX, "message numbers stay below 2^53");
        conversation.head = conv_seq;
        let mut users: Vec<UserId> = conversation.members.iter().map(|one| one.user).collect();
        if !member {
            users.push(from.user);
        }
        if Fault::DeliverAcross.is_on() {
            users.extend(self.set.stranger.filter(|stranger| !users.contains(stranger)));
        }
        let another = users.iter().find(|user| **user != from.user);
        let sender = another.filter(|_| Fault::ForgeSender.is_on()).unwrap_or(&from.user);
        let message = wire::Message {
            conversation: id.0,
            conv_seq,
            sender: sender.0,
            device: from.device.0,
            client_seq: from.client_seq,
            key_version: send.key_version,
            created_at_ms: self.now_ms,
        };
        // Encoded once: these bytes are the history row, every inbox row, and what is pushed.
        let kind = Some(entry::Kind::Message(message));
        let entry: Bytes = wire::Entry { kind, body }.encode_to_vec().into();
        for user in users {
            let mark = match user == from.user {
                true => Mark::Own { device: from.device },
                false => Mark::Message { conversation: id, conv_seq },
            };
            self.push(user, entry.clone(), mark);
        }
        self.applied.messages.push((id, conv_seq, entry));
        self.applied.files.extend(file::refer(&mut self.set.files, &send.files, self.now_ms));
        Ok(())
    }

    fn read(&mut self, from: Origin, read: wire::Read) -> Result<(), Rejection> {
        let id = ConversationId(read.conversation);
        let conversation = self.set.conversations.get(&id).filter(|one| one.open);
        let member =
            conversation.and_then(|one| one.members.iter().find(|one| one.user == from.user));
        let (Some(conversation), Some(member)) = (conversation, member) else {
            return Err(Rejection(Code::NotMember, id.0));
        };
        if read.conv_seq > conversation.head {
            return Err(Rejection(Code::ReadAboveHead, id.0));
        }
        let mark = member.read.max(read.conv_seq);
        self.move_marks(id, from.user, 0, mark);
        let read_mark = wire::ReadMark {
            conversation: id.0,
            read: mark,
            device: from.device.0,
            client_seq: from.client_seq,
        };
        self.push(from.user, encode_entry(entry::Kind::ReadMark(read_mark)), Mark::Other);
        Ok(())
    }

    fn reject(&mut self, from: Origin, code: Code, conversation: u64) {
        if Fault::SilentReject.is_on() {
            return;
        }
        let rejected = wire::Rejected {
            device: from.device.0,
            client_seq: from.client_seq,
            code: code.number(),
            // A stranger's number that is none of ours must not get into a log.
            conversation: if conversation < NUMBER_MAX { conversation } else { 0 },
        };
        self.push(from.user, encode_entry(entry::Kind::Rejected(rejected)), Mark::Other);
    }

    /// The number is used: remember what for.
    fn consume(&mut self, from: Origin, digest: u64) {
        let device = self.set.devices.get_mut(&from.device).expect("looked up before");
        if from.client_seq > device.outbox_position {
            assert!(from.client_seq < NUMBER_MAX, "command numbers stay below 2^53");
            device.outbox_position = from.client_seq;
            if device.digests.len() == DIGESTS_MAX {
                device.digests.remove(0);
            }
            device.digests.push(digest);
        }
        device.seen_at_ms = device.seen_at_ms.max(self.now_ms);
        device.dirty = true;
        if Fault::NumberOutsideBatch.is_on() && from.client_seq.is_multiple_of(16) {
            // A number taken outside of the transaction, for rows that then were not written.
            *self.set.heads.entry(from.user).or_default() += 1;
        }
    }
}

enum Numbering {
    Next,
    Repeat,
}

/// Where a number stands relative to the device's position.
fn numbering(device: &Device, client_seq: Seq, digest: u64) -> Result<Numbering, Code> {
    if client_seq >= NUMBER_MAX {
        return Err(Code::Malformed);
    }
    if client_seq == device.outbox_position + 1 {
        return Ok(Numbering::Next);
    }
    if client_seq > device.outbox_position {
        return if Fault::ApplyOverGap.is_on() {
            Ok(Numbering::Next)
        } else {
            Err(Code::OutboxGap)
        };
    }
    if Fault::NoDedup.is_on() {
        return Ok(Numbering::Next);
    }
    let age = usize::try_from(device.outbox_position - client_seq).unwrap_or(usize::MAX);
    match device.digests.iter().rev().nth(age) {
        // Number 0 is no command; with fewer commands than digests it falls off the list too.
        None => Err(Code::DeviceStale),
        Some(known) if *known == digest => Ok(Numbering::Repeat),
        Some(_) => Err(Code::Conflict),
    }
}
