//! Watermarks: acks move them, and the other members are told once a batch.

use anser_proto::wire::{self, entry};
use anser_proto::{Code, ConversationId, Seq, UserId};

use super::{Ruling, Run, encode_entry};
use crate::{Mark, Outcome, Record};

impl Run<'_> {
    /// Moves the device's stored position and its user's delivered marks. Never backwards, never
    /// above a head, so a repeat is harmless.
    pub(super) fn ack(&mut self, record: &Record) -> Ruling {
        let Record::Ack { user, device, position, delivered, store_position } = record else {
            unreachable!("the caller matched the record");
        };
        let head = self.set.heads.get(user).copied().unwrap_or(0);
        let known = self.set.devices.get_mut(device).filter(|known| known.user == *user);
        let known = known.ok_or(Code::Unauthenticated)?;
        let position = (*position).min(head);
        if *store_position && position > known.inbox_position {
            known.inbox_position = position;
            known.seen_at_ms = known.seen_at_ms.max(self.now_ms);
            known.dirty = true;
        }
        for (conversation, conv_seq) in delivered {
            self.move_marks(*conversation, *user, *conv_seq, 0);
        }
        Ok(Outcome::Applied)
    }

    /// Raises a member's marks to at least these, within `read <= delivered <= head`, and notes
    /// that the others are to be told if something moved.
    pub(super) fn move_marks(
        &mut self,
        id: ConversationId,
        user: UserId,
        delivered: Seq,
        read: Seq,
    ) {
        let Some(conversation) = self.set.conversations.get_mut(&id).filter(|one| one.open) else {
            return;
        };
        let head = conversation.head;
        let member = conversation.members.iter_mut().find(|member| member.user == user);
        let Some(member) = member else { return };
        let read = member.read.max(read.min(head));
        let delivered = member.delivered.max(delivered.min(head)).max(read);
        if (delivered, read) == (member.delivered, member.read) {
            return;
        }
        (member.delivered, member.read, member.dirty) = (delivered, read, true);
        if !member.receipt_due {
            member.receipt_due = true;
            self.receipts_due.push((id, user));
        }
    }

    /// One receipt per conversation and reader, with the marks as they are after the batch.
    pub(super) fn tell_receipts(&mut self) {
        for (id, reader) in std::mem::take(&mut self.receipts_due) {
            let conversation = self.set.conversations.get_mut(&id).expect("it moved marks");
            let member = conversation.members.iter_mut().find(|member| member.user == reader);
            let member = member.expect("its marks moved");
            member.receipt_due = false;
            let receipt = wire::Receipt {
                conversation: id.0,
                user: reader.0,
                delivered: member.delivered,
                read: member.read,
            };
            let members = conversation.members.iter().map(|member| member.user);
            let others: Vec<UserId> = members.filter(|user| *user != reader).collect();
            let entry = encode_entry(entry::Kind::Receipt(receipt));
            for user in others {
                self.push(user, entry.clone(), Mark::Other);
            }
        }
    }
}
