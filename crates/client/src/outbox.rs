//! This device's own log: commands by number, kept until the server's inbox proves what became of
//! them.

use std::collections::VecDeque;

use anser_proto::{ConversationId, Seq, fault::Fault, wire};
use bytes::Bytes;
use prost::Message as _;

use crate::{
    error::{Error, ErrorKind, Result},
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
    /// The history has its message: it was applied.
    pub(crate) applied: bool,
}

impl Item {
    pub(crate) fn new(command: Bytes, content: Option<Content>) -> Self {
        Self { command, content, handle: None, applied: false }
    }

    pub(crate) fn decode(&self) -> Option<wire::Command> {
        wire::Command::decode(self.command.clone()).ok()
    }
}

impl Outbox {
    /// What a storage held.
    ///
    /// # Errors
    /// The numbers are not the contiguous end of a log.
    pub(crate) fn restore(head: Seq, saved: Vec<(Seq, Bytes)>) -> Result<Self> {
        let trimmed = head.checked_sub(saved.len() as Seq);
        let expected = |first: Seq| (first + 1..).take(saved.len());
        let whole =
            trimmed.filter(|trimmed| saved.iter().map(|(seq, _)| *seq).eq(expected(*trimmed)));
        let acked = whole.ok_or_else(|| {
            Error::new(ErrorKind::Storage, "the stored outbox is damaged: commands are missing")
        })?;
        let items = saved.into_iter().map(|(_, command)| Item::new(command, None)).collect();
        Ok(Self { items, head, acked })
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

    pub(crate) fn item(&self, client_seq: Seq) -> Option<&Item> {
        self.items.get(self.index(client_seq)?)
    }

    pub(crate) fn item_mut(&mut self, client_seq: Seq) -> Option<&mut Item> {
        let index = self.index(client_seq)?;
        self.items.get_mut(index)
    }

    /// The sealed body of a Send.
    pub(crate) fn body(&self, client_seq: Seq) -> Option<Bytes> {
        Some(self.item(client_seq)?.decode()?.body)
    }

    /// The server has everything up to `position`. Gives whether this is news.
    pub(crate) fn ack(&mut self, position: Seq) -> bool {
        let position = position.min(self.head);
        if position <= self.acked {
            return false;
        }
        for client_seq in self.acked.max(self.trimmed()) + 1..=position {
            if let Some(handle) = self.item(client_seq).and_then(|item| item.handle.as_ref()) {
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

    /// The conversations that unforgotten messages go to.
    pub(crate) fn conversations(&self) -> Vec<ConversationId> {
        let sent_to = |item: &Item| match item.decode()?.kind? {
            wire::command::Kind::Send(send) => Some(ConversationId(send.conversation)),
            wire::command::Kind::Read(_) => None,
        };
        let mut conversations: Vec<_> = self.items.iter().filter_map(sent_to).collect();
        conversations.sort_unstable();
        conversations.dedup();
        conversations
    }

    /// The highest number that the server is known to have.
    pub(crate) fn acked(&self) -> Seq {
        self.acked
    }

    /// The unforgotten commands by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Seq, &Item)> {
        (self.trimmed() + 1..).zip(&self.items)
    }

    /// Whether the server has applied another command under number `position` than the one that is
    /// held here: this storage is an old copy, and has given numbers out again that it no longer
    /// knew of. That one number tells: what was lost ends with it, so either it is held here with
    /// other bytes, or `position` is above the head.
    pub(crate) fn contradicts(&self, position: Seq, digest: &[u8]) -> bool {
        let held = self.item(position);
        let differs = held.is_some_and(|held| wire::outbox_digest_differs(&held.command, digest));
        differs && !Fault::TrustOldCopy.is_on()
    }

    /// What the server does not have, to be moved to a new device: neither acked nor found in the
    /// history.
    pub(crate) fn take_unsent(&mut self) -> Vec<(Seq, Item)> {
        let first = self.trimmed() + 1;
        let acked = self.acked;
        let numbered = (first..).zip(std::mem::take(&mut self.items));
        numbered.filter(|(client_seq, item)| *client_seq > acked && !item.applied).collect()
    }

    fn index(&self, client_seq: Seq) -> Option<usize> {
        usize::try_from(client_seq.checked_sub(self.trimmed() + 1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(head: Seq, numbers: &[Seq]) -> Result<Outbox> {
        let command = |seq: &Seq| (*seq, Bytes::from(format!("command {seq}")));
        Outbox::restore(head, numbers.iter().map(command).collect())
    }

    #[test]
    fn numbers_lead_to_their_commands() {
        let mut outbox = restored(7, &[5, 6, 7]).unwrap();
        assert_eq!((outbox.trimmed(), outbox.head(), outbox.unacked()), (4, 7, 3));
        assert_eq!(outbox.command(4), None);
        assert_eq!(outbox.command(5).unwrap(), "command 5");
        assert!(outbox.trim(6) && !outbox.trim(6) && !outbox.trim(3));
        assert_eq!((outbox.trimmed(), outbox.len(), outbox.command(6)), (6, 1, None));
        outbox.push(Item::new(Bytes::from_static(b"next"), None));
        assert_eq!((outbox.head(), outbox.command(8).unwrap()), (8, Bytes::from_static(b"next")));
        assert!(outbox.trim(100));
        assert_eq!((outbox.trimmed(), outbox.head()), (8, 8));
    }

    #[test]
    fn an_ack_is_a_position_that_only_rises_and_ends_at_the_head() {
        let mut outbox = restored(7, &[5, 6, 7]).unwrap();
        assert!(outbox.ack(6) && !outbox.ack(6) && !outbox.ack(5));
        assert_eq!(outbox.unacked(), 1);
        assert!(outbox.ack(99), "a server that knows more than this device");
        assert_eq!(outbox.unacked(), 0);
    }

    #[test]
    fn a_damaged_log_is_refused() {
        for (head, numbers) in [(1, &[1, 2][..]), (3, &[1, 3]), (9, &[7, 8]), (2, &[2, 1])] {
            assert!(restored(head, numbers).is_err(), "{head} {numbers:?}");
        }
    }

    #[test]
    fn another_command_under_the_servers_number_contradicts() {
        let outbox = restored(7, &[5, 6, 7]).unwrap();
        let digest = |command: &str| wire::command_digest(command.as_bytes()).to_be_bytes();
        for position in 5..=7 {
            let own = digest(&format!("command {position}"));
            assert!(!outbox.contradicts(position, &own));
            assert!(outbox.contradicts(position, &digest("another")));
            assert!(outbox.contradicts(position, &digest(&format!("command {}", position - 1))));
            assert!(outbox.contradicts(position, &[]), "skipped, so it should be forgotten here");
            assert!(!outbox.contradicts(position, &own[..4]), "of a later version");
        }
        for not_held in [0, 4, 8] {
            assert!(!outbox.contradicts(not_held, &digest("another")));
        }
    }

    #[test]
    fn only_what_is_neither_acked_nor_applied_moves() {
        let mut outbox = restored(7, &[4, 5, 6, 7]).unwrap();
        outbox.ack(4);
        outbox.item_mut(6).unwrap().applied = true;
        let moved: Vec<_> = outbox.take_unsent().into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(moved, [5, 7]);
    }
}
