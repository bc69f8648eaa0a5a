//! Which entry a session pushes next, and what an ack of it means.
//!
//! The log is the buffer: entries come live from the mailbox while the session keeps up, else from
//! the store. Both are the same rows, so switching between them is a comparison of two numbers.

use std::collections::VecDeque;

use anser_proto::{ConversationId, Seq, fault::Fault};
use anser_store::{Mark, NewEntry};

/// Live entries kept while the window is full; more are read from the store when there is room.
const LIVE_MAX: usize = 512;

/// The outgoing side of one session.
#[derive(Debug, Default)]
pub(super) struct Feed {
    live: VecDeque<NewEntry>,
    /// The highest number that the inbox is known to have.
    head: Seq,
    /// What the pushed, unacked entries mean; the front is number `acked + 1`.
    in_flight: VecDeque<Mark>,
    acked: Seq,
    /// Planted fault: entries up to here are never pushed.
    #[cfg(feature = "faults")]
    skip_to: Seq,
}

/// What to do for the next number.
#[derive(Debug)]
pub(super) enum Next {
    /// Push this.
    Entry(NewEntry),
    /// The inbox has it, but it is not here: read the store from it on.
    Read,
    /// The inbox has no more.
    Nothing,
}

impl Feed {
    /// Starts after `position`, with an inbox known to reach `head`.
    pub(super) fn start(&mut self, position: Seq, head: Seq) {
        self.acked = position;
        self.head = self.head.max(head);
    }

    /// New entries, contiguous and ending at `head`; perhaps only the newest.
    pub(super) fn news(&mut self, entries: Vec<NewEntry>, head: Seq) {
        if Fault::DropWhenFull.is_on() && self.live.len() + entries.len() > LIVE_MAX {
            return;
        }
        self.head = self.head.max(head);
        let Some(first) = entries.first() else { return };
        let gap = self.live.back().is_some_and(|last| last.seq + 1 != first.seq);
        if gap || self.live.len() + entries.len() > LIVE_MAX {
            self.live.clear();
        }
        self.live.extend(entries);
    }

    /// A page from the store, in place of what was here.
    pub(super) fn page(&mut self, entries: Vec<NewEntry>, head: Seq) {
        self.head = self.head.max(head);
        let after = entries.last().map_or(0, |last| last.seq);
        self.live.retain(|entry| entry.seq > after);
        let joins = self.live.front().is_none_or(|first| first.seq == after + 1);
        if !joins {
            self.live.clear();
        }
        for entry in entries.into_iter().rev() {
            self.live.push_front(entry);
        }
    }

    /// What to do for number `next`.
    pub(super) fn next(&mut self, next: Seq) -> Next {
        let overtake = self.overtakes();
        while self.live.front().is_some_and(|entry| self.is_past(entry, next)) {
            self.live.pop_front();
        }
        match self.live.front() {
            Some(entry) if entry.seq == next || overtake => {
                let entry = self.live.pop_front().expect("the front was just seen");
                Next::Entry(entry)
            }
            _ if self.head >= next => Next::Read,
            _ => {
                self.live = VecDeque::new();
                Next::Nothing
            }
        }
    }

    #[cfg(not(feature = "faults"))]
    fn is_past(&self, entry: &NewEntry, next: Seq) -> bool {
        entry.seq < next
    }

    #[cfg(not(feature = "faults"))]
    const fn overtakes(&self) -> bool {
        false
    }

    /// The window was full: keep the entry for later.
    pub(super) fn put_back(&mut self, entry: NewEntry) {
        self.live.push_front(entry);
    }

    /// An entry was pushed.
    pub(super) fn pushed(&mut self, mark: Mark) {
        self.in_flight.push_back(mark);
    }

    /// The device stored everything up to `position`. Gives the conversations in which this moves
    /// `delivered`, with the highest message of others.
    pub(super) fn acked(&mut self, position: Seq) -> Vec<(ConversationId, Seq)> {
        let count = usize::try_from(position.saturating_sub(self.acked)).unwrap_or(usize::MAX);
        self.acked = self.acked.max(position);
        let newly = self.in_flight.drain(..count.min(self.in_flight.len()));
        let delivered = delivered(newly);
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
        delivered
    }
}

/// Planted faults: numbers on the wire no longer follow the rows.
#[cfg(feature = "faults")]
impl Feed {
    pub(super) fn skip_to(&mut self, seq: Seq) {
        self.skip_to = seq;
    }

    fn is_past(&self, entry: &NewEntry, next: Seq) -> bool {
        entry.seq <= self.skip_to || (entry.seq < next && !self.overtakes())
    }

    fn overtakes(&self) -> bool {
        Fault::LiveBeforeOld.is_on() || self.skip_to > 0
    }
}

/// The highest message of others in each conversation among these marks.
pub(super) fn delivered(marks: impl Iterator<Item = Mark>) -> Vec<(ConversationId, Seq)> {
    let mut delivered: Vec<(ConversationId, Seq)> = Vec::new();
    for mark in marks {
        let Mark::Message { conversation, conv_seq } = mark else { continue };
        match delivered.iter_mut().find(|(known, _)| *known == conversation) {
            Some((_, highest)) => *highest = (*highest).max(conv_seq),
            None => delivered.push((conversation, conv_seq)),
        }
    }
    delivered
}

#[cfg(test)]
mod tests {
    use anser_proto::UserId;
    use bytes::Bytes;

    use super::*;

    fn entries(seqs: std::ops::RangeInclusive<Seq>) -> Vec<NewEntry> {
        let mark =
            |seq| Mark::Message { conversation: ConversationId(seq % 2 + 1), conv_seq: seq * 10 };
        seqs.map(|seq| NewEntry {
            user: UserId(1),
            seq,
            entry: Bytes::from(seq.to_string()),
            mark: mark(seq),
        })
        .collect()
    }

    /// Pushes what the feed gives from `next` on; reads pages of three where it asks, from a log
    /// that ends at `log_end`.
    fn push_all(feed: &mut Feed, mut next: Seq, log_end: Seq) -> Vec<Seq> {
        let mut pushed = Vec::new();
        loop {
            match feed.next(next) {
                Next::Entry(entry) => {
                    assert_eq!(entry.seq, next);
                    feed.pushed(entry.mark);
                    pushed.push(next);
                    next += 1;
                }
                Next::Read => feed.page(entries(next..=(next + 2).min(log_end)), log_end),
                Next::Nothing => return pushed,
            }
        }
    }

    #[test]
    fn old_entries_come_from_the_log_then_live_ones() {
        let mut feed = Feed::default();
        feed.start(0, 5);
        feed.news(entries(6..=7), 7);
        assert_eq!(push_all(&mut feed, 1, 7), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_lost_short_cut_is_read_from_the_log() {
        let mut feed = Feed::default();
        feed.start(2, 2);
        feed.news(entries(3..=3), 3);
        feed.news(entries(9..=9), 9);
        assert_eq!(push_all(&mut feed, 3, 9), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(feed.live.capacity(), 0, "an idle session keeps no buffer");
    }

    #[test]
    fn what_the_client_has_is_not_pushed_again() {
        let mut feed = Feed::default();
        feed.start(4, 4);
        feed.news(entries(3..=5), 5);
        assert_eq!(push_all(&mut feed, 5, 5), [5]);
    }

    #[test]
    fn an_ack_moves_delivered_once_per_conversation() {
        let mut feed = Feed::default();
        feed.start(10, 10);
        feed.news(entries(11..=14), 14);
        push_all(&mut feed, 11, 14);
        let first = feed.acked(13);
        assert_eq!(first, [(ConversationId(2), 130), (ConversationId(1), 120)]);
        assert_eq!(feed.acked(13), []);
        assert_eq!(feed.acked(14), [(ConversationId(1), 140)]);
        assert_eq!(feed.in_flight.capacity(), 0, "an idle session keeps no buffer");
    }
}
