//! What is known of one conversation, and who waits for its receipts.

use std::collections::VecDeque;

use anser_proto::Seq;

use crate::{
    handle::{SendHandle, SendState},
    storage::Watermarks,
};

/// Handles that wait for a receipt in one conversation; the oldest ones stop following.
const FOLLOWED_MAX: usize = 4_096;

/// One conversation.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) watermarks: Watermarks,
    /// The highest read mark that was put into the outbox since this device started.
    pub(super) read_asked: Seq,
    /// Sent messages whose receipts somebody waits for, by number, rising.
    followed: VecDeque<(Seq, SendHandle)>,
}

impl Conversation {
    /// The handle's message has this number; receipts move it on from here.
    pub(super) fn follow(&mut self, conv_seq: Seq, handle: SendHandle) {
        handle.0.advance(SendState::Sent);
        if conv_seq <= self.watermarks.peer_read {
            return handle.0.advance(SendState::Read);
        }
        if conv_seq <= self.watermarks.peer_delivered {
            handle.0.advance(SendState::Delivered);
        }
        // Taken out of the outbox, nobody but this call holds it: nobody waits.
        if handle.is_forgotten(1) {
            return;
        }
        while self.followed.front().is_some_and(|(_, handle)| handle.is_forgotten(1)) {
            self.followed.pop_front();
        }
        if self.followed.len() >= FOLLOWED_MAX
            && let Some((_, oldest)) = self.followed.pop_front()
        {
            oldest.0.end();
        }
        self.followed.push_back((conv_seq, handle));
    }

    /// The peer has received and read up to here.
    pub(super) fn on_receipt(&mut self, delivered: Seq, read: Seq) {
        let known = &mut self.watermarks;
        let before = known.peer_delivered;
        known.peer_delivered = known.peer_delivered.max(delivered);
        known.peer_read = known.peer_read.max(read);
        let from = self.followed.partition_point(|(conv_seq, _)| *conv_seq <= before);
        for (conv_seq, handle) in self.followed.range(from..) {
            if *conv_seq > known.peer_delivered {
                break;
            }
            handle.0.advance(SendState::Delivered);
        }
        while let Some((conv_seq, _)) = self.followed.front()
            && *conv_seq <= known.peer_read
        {
            if let Some((_, handle)) = self.followed.pop_front() {
                handle.0.advance(SendState::Read);
            }
        }
    }

    /// The server was restored: what is above `head` here never happened there.
    pub(super) fn rewind(&mut self, head: Seq) {
        let watermarks = Watermarks { head, ..Watermarks::default() };
        self.watermarks = watermarks;
        self.read_asked = 0;
        self.end();
    }

    /// Nobody will tell the handles of more.
    pub(super) fn end(&mut self) {
        for (_, handle) in self.followed.drain(..) {
            handle.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(conversation: &mut Conversation, conv_seq: Seq) -> SendHandle {
        let handle = SendHandle::new(conv_seq);
        conversation.follow(conv_seq, handle.clone());
        handle
    }

    #[test]
    fn a_receipt_moves_all_messages_up_to_it() {
        let mut conversation = Conversation::default();
        let handles = [1, 2, 3, 4].map(|conv_seq| followed(&mut conversation, conv_seq));
        conversation.on_receipt(3, 1);
        conversation.on_receipt(2, 0);
        let states = handles.each_ref().map(SendHandle::state);
        let [sent, delivered, read] = [SendState::Sent, SendState::Delivered, SendState::Read];
        assert_eq!(states, [read, delivered, delivered, sent]);
        conversation.on_receipt(4, 4);
        assert!(handles.iter().all(|handle| handle.state() == read));
        assert!(conversation.followed.is_empty());
    }

    #[test]
    fn a_message_that_was_read_before_it_is_followed_is_read() {
        let mut conversation = Conversation::default();
        conversation.on_receipt(2, 1);
        assert_eq!(followed(&mut conversation, 1).state(), SendState::Read);
        assert_eq!(followed(&mut conversation, 2).state(), SendState::Delivered);
        assert_eq!(followed(&mut conversation, 3).state(), SendState::Sent);
    }

    #[test]
    fn handles_that_nobody_holds_are_not_kept_and_the_others_are_bounded() {
        let mut conversation = Conversation::default();
        for conv_seq in 1..10 {
            followed(&mut conversation, conv_seq);
        }
        assert_eq!(conversation.followed.len(), 1, "the newest one was held when it was followed");
        let held: Vec<_> = (10..5_000).map(|seq| followed(&mut conversation, seq)).collect();
        assert_eq!((held.len(), conversation.followed.len()), (4_990, FOLLOWED_MAX));
    }
}
