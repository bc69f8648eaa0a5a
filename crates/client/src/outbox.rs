//! This device's own log: commands by number, kept until the server's inbox proves what became of them.

use std::collections::VecDeque;

use anser_proto::{ConversationId, Seq, wire};
use bytes::Bytes;
use prost::Message as _;

use crate::{
    event::Content,
    handle::{SendHandle, SendState},
};

/// Commands that are not forgotten yet.
#[derive(Default)]
pub(crate) struct Outbox {
    /// By number, contiguous up to `head`.
    items: VecDeque<Item>,
    /// The highest number ever given out.
    head: Seq,
    /// The server has everything up to here.
    acked: Seq,
}

pub(crate) struct Item {
    pub(crate) command: Bytes,
    /// What was sent, while this process remembers.
    pub(crate) content: Option<Content>,
    pub(crate) handle: Option<SendHandle>,
}

impl Outbox {
    pub(crate) fn restore(head: Seq, saved: Vec<(Seq, Bytes)>) -> Self {
        let trimmed = head - saved.len() as Seq;
        let item = |(_, command)| Item { command, content: None, handle: None };
        Self { items: saved.into_iter().map(item).collect(), head, acked: trimmed }
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    /// The highest number that is forgotten.
    pub(crate) fn trimmed(&self) -> Seq {
        self.head - self.items.len() as Seq
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Commands that the server has not acked.
    pub(crate) fn unacked(&self) -> usize {
        usize::try_from(self.head - self.acked.max(self.trimmed())).unwrap_or(usize::MAX)
    }

    /// Puts the next command behind the others.
    pub(crate) fn push(&mut self, item: Item) {
        self.items.push_back(item);
        self.head += 1;
    }

    pub(crate) fn command(&self, client_seq: Seq) -> Option<Bytes> {
        Some(self.item(client_seq)?.command.clone())
    }

    pub(crate) fn content(&self, client_seq: Seq) -> Option<Content> {
        self.item(client_seq)?.content.clone()
    }

    pub(crate) fn handle(&self, client_seq: Seq) -> Option<SendHandle> {
        self.item(client_seq)?.handle.clone()
    }

    /// The sealed body of a Send.
    pub(crate) fn body(&self, client_seq: Seq) -> Option<Bytes> {
        Some(wire::Command::decode(self.item(client_seq)?.command.clone()).ok()?.body)
    }

    /// The server has everything up to `position`. Gives whether this is news.
    pub(crate) fn ack(&mut self, position: Seq) -> bool {
        if position <= self.acked {
            return false;
        }
        let from = self.acked.max(self.trimmed()) + 1;
        for client_seq in from..=position.min(self.head) {
            if let Some(handle) = self.handle(client_seq) {
                handle.0.advance(SendState::Sent);
            }
        }
        self.acked = position;
        true
    }

    /// Forgets everything up to `through`. Gives whether there was anything.
    pub(crate) fn trim(&mut self, through: Seq) -> bool {
        let count = through.min(self.head).saturating_sub(self.trimmed());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.items.drain(..count);
        count > 0
    }

    /// The highest number that the server is known to have.
    pub(crate) fn acked(&self) -> Seq {
        self.acked
    }

    /// The messages among the commands: number, command, sealed body and, while it is known, content.
    pub(crate) fn sends(
        &self,
    ) -> impl Iterator<Item = (Seq, wire::Send, Bytes, Option<Content>)> + '_ {
        (self.trimmed() + 1..).zip(&self.items).filter_map(|(client_seq, item)| {
            let command = wire::Command::decode(item.command.clone()).ok()?;
            match command.kind? {
                wire::command::Kind::Send(send) => {
                    Some((client_seq, send, command.body, item.content.clone()))
                }
                wire::command::Kind::Read(_) => None,
            }
        })
    }

    /// The conversations that unforgotten messages go to.
    pub(crate) fn conversations(&self) -> Vec<ConversationId> {
        let sent_to = |item: &Item| match wire::Command::decode(item.command.clone()).ok()?.kind? {
            wire::command::Kind::Send(send) => Some(ConversationId(send.conversation)),
            wire::command::Kind::Read(_) => None,
        };
        let mut conversations: Vec<_> = self.items.iter().filter_map(sent_to).collect();
        conversations.sort_unstable();
        conversations.dedup();
        conversations
    }

    /// Takes what the server is not known to have: to be moved to a new device.
    pub(crate) fn take_above(&mut self, applied: Seq) -> Vec<(Seq, Item)> {
        let first = self.trimmed() + 1;
        let all = std::mem::take(&mut self.items).into_iter().enumerate();
        let numbered = all.map(|(index, item)| (first + index as Seq, item));
        numbered.filter(|(client_seq, _)| *client_seq > applied).collect()
    }

    fn item(&self, client_seq: Seq) -> Option<&Item> {
        let index = client_seq.checked_sub(self.trimmed() + 1)?;
        self.items.get(usize::try_from(index).ok()?)
    }
}
