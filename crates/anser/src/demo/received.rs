//! What one device really got, and whether it is what was sent. Pure: the checks of the demo stand
//! on this, so it has tests of its own.

use std::{collections::BTreeMap, fmt};

use anser_client::{
    Content, Event, Message, RelationState,
    proto::{Code, Seq, UserId},
};

/// What was sent in the one conversation of the demo, in the order of each sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent(BTreeMap<UserId, Vec<String>>);

/// What a device got since it exists.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    /// What was sent before the device existed; that it does not get.
    before: Sent,
    messages: Vec<Got>,
    /// Messages that were here when everything that had waited was here.
    caught_up_with: usize,
    /// How far the peer has received and read.
    pub(super) ticks: (Seq, Seq),
    /// How far this user has read, on any device.
    pub(super) read: Seq,
    /// Refused commands, in order.
    pub(super) rejected: Vec<(Seq, Option<Code>)>,
    /// The newest state of the relation with the peer.
    pub(super) relation: Option<RelationState>,
    /// Something that must not happen here.
    trouble: Option<String>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    conv_seq: Seq,
    sender: UserId,
    text: String,
}

/// How what came compares with what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it, once and in order.
    Complete,
    /// So far all is right; this is missing.
    Waiting(String),
    /// It can not become right any more.
    Wrong(String),
}

impl Sent {
    pub(super) fn add(&mut self, sender: UserId, text: impl Into<String>) {
        self.0.entry(sender).or_default().push(text.into());
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn by(&self, sender: UserId) -> &[String] {
        self.0.get(&sender).map_or(&[], Vec::as_slice)
    }
}

impl From<Verdict> for Result<(), String> {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Complete => Ok(()),
            Verdict::Waiting(why) | Verdict::Wrong(why) => Err(why),
        }
    }
}

impl Received {
    /// A device that starts after `before` was sent and delivered.
    pub(super) fn after(before: Sent) -> Self {
        Self { before, ..Self::default() }
    }

    /// Something came.
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.on_message(message),
            Event::Receipt { delivered, read, .. } => self.ticks = (delivered, read),
            Event::ReadMark { read, .. } => self.read = read,
            Event::Rejected { client_seq, code } => self.rejected.push((client_seq, code)),
            Event::Relation(relation) => self.relation = Some(relation.state),
            Event::CaughtUp => self.caught_up_with = self.messages.len(),
            Event::Lagged { .. } | Event::Reset | Event::NewDevice(_) => {
                self.trouble.get_or_insert(format!("unexpected: {event:?}"));
            }
            _ => {}
        }
    }

    fn on_message(&mut self, message: Message) {
        let text = match message.content {
            Content::Text(text) => text,
            other => {
                let number = message.conv_seq;
                self.trouble.get_or_insert(format!("message {number} does not open: {other:?}"));
                return;
            }
        };
        self.messages.push(Got { conv_seq: message.conv_seq, sender: message.sender, text });
    }

    pub(super) fn count(&self) -> usize {
        self.messages.len()
    }

    /// Whether the device held `count` messages when it said that nothing was waiting any more.
    pub(super) fn caught_up(&self, count: usize) -> Verdict {
        if self.caught_up_with >= count {
            return Verdict::Complete;
        }
        let had = self.caught_up_with;
        Verdict::Waiting(format!("it had {had} of {count} messages when it was caught up"))
    }

    /// Compares with what was sent: everything, once, in the conversation's order and each
    /// sender's.
    pub(super) fn verdict(&self, sent: &Sent) -> Verdict {
        if let Some(trouble) = &self.trouble {
            return Verdict::Wrong(trouble.clone());
        }
        let mut next: BTreeMap<UserId, usize> = BTreeMap::new();
        let first = self.before.count() as Seq + 1;
        for (number, got) in (first..).zip(&self.messages) {
            if got.conv_seq != number {
                let text = format!("message {} came where {number} should be", got.conv_seq);
                return Verdict::Wrong(text);
            }
            let place = next.entry(got.sender).or_insert_with(|| self.before.by(got.sender).len());
            let all = sent.by(got.sender);
            if all.get(*place) != Some(&got.text) {
                return Verdict::Wrong(match all.iter().position(|text| *text == got.text) {
                    Some(known) if known < *place => format!("\"{}\" came twice", got.text),
                    Some(_) => format!("\"{}\" came too early", got.text),
                    None => format!("\"{}\" was never sent to here", got.text),
                });
            }
            *place += 1;
        }
        let expected = sent.count().saturating_sub(self.before.count());
        if self.messages.len() == expected {
            return Verdict::Complete;
        }
        Verdict::Waiting(format!("{} of {expected} came", self.messages.len()))
    }

    /// Compares with another device: the part that both have is the same.
    pub(super) fn agrees_with(&self, other: &Self) -> Result<(), String> {
        let first = self.before.count().max(other.before.count()) as Seq + 1;
        let shared = |one: &Self| -> Vec<Got> {
            one.messages.iter().filter(|got| got.conv_seq >= first).cloned().collect()
        };
        let (ours, theirs) = (shared(self), shared(other));
        match ours.iter().zip(&theirs).find(|(one, other)| one != other) {
            Some((one, other)) => Err(format!("{one} here, {other} there")),
            None if ours.len() != theirs.len() => {
                Err(format!("{} messages here, {} there", ours.len(), theirs.len()))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.conv_seq, self.text)
    }
}

#[cfg(test)]
mod tests {
    use anser_client::proto::{ConversationId, DeviceId};

    use super::*;

    const ALICE: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn sent() -> Sent {
        let mut sent = Sent::default();
        for (user, text) in [(ALICE, "a1"), (BOB, "b1"), (ALICE, "a2"), (BOB, "b2")] {
            sent.add(user, text);
        }
        sent
    }

    fn got(before: Sent, messages: &[(Seq, UserId, &str)]) -> Received {
        let mut received = Received::after(before);
        for (conv_seq, sender, text) in messages {
            received.on_event(Event::Message(Message {
                conversation: ConversationId(9),
                conv_seq: *conv_seq,
                sender: *sender,
                device: DeviceId(3),
                client_seq: 1,
                created_at_ms: 0,
                content: Content::Text((*text).to_owned()),
            }));
        }
        received
    }

    #[track_caller]
    fn check(messages: &[(Seq, UserId, &str)], expected: &str) {
        let told = match got(Sent::default(), messages).verdict(&sent()) {
            Verdict::Complete => "complete".to_owned(),
            Verdict::Waiting(text) | Verdict::Wrong(text) => text,
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn all_of_it_in_any_order_of_the_two_senders_is_right() {
        check(&[(1, ALICE, "a1"), (2, BOB, "b1"), (3, BOB, "b2"), (4, ALICE, "a2")], "complete");
        check(&[(1, BOB, "b1"), (2, ALICE, "a1")], "2 of 4 came");
    }

    #[test]
    fn each_way_to_be_wrong_is_told() {
        check(&[(1, ALICE, "a1"), (1, ALICE, "a1")], "message 1 came where 2 should be");
        check(&[(1, ALICE, "a1"), (3, ALICE, "a2")], "message 3 came where 2 should be");
        check(&[(1, ALICE, "a1"), (2, ALICE, "a1")], "\"a1\" came twice");
        check(&[(1, ALICE, "a2")], "\"a2\" came too early");
        check(&[(1, ALICE, "b1")], "\"b1\" was never sent to here");
    }

    #[test]
    fn a_body_that_does_not_open_is_wrong() {
        let mut received = got(Sent::default(), &[]);
        received.on_event(Event::Message(Message {
            conversation: ConversationId(9),
            conv_seq: 1,
            sender: ALICE,
            device: DeviceId(3),
            client_seq: 1,
            created_at_ms: 0,
            content: Content::Unknown,
        }));
        assert!(matches!(received.verdict(&sent()), Verdict::Wrong(_)));
    }

    #[test]
    fn a_newer_device_starts_where_it_was_made() {
        let mut before = Sent::default();
        before.add(ALICE, "a1");
        let tail = [(2, BOB, "b1"), (3, ALICE, "a2"), (4, BOB, "b2")];
        let newer = got(before, &tail);
        assert_eq!(newer.verdict(&sent()), Verdict::Complete);
        let all = [&[(1, ALICE, "a1")], &tail[..]].concat();
        assert_eq!(newer.agrees_with(&got(Sent::default(), &all)), Ok(()));
        let swapped = [all[0], (2, ALICE, "a2"), (3, BOB, "b1"), all[3]];
        let told = newer.agrees_with(&got(Sent::default(), &swapped));
        assert_eq!(told, Err("2 \"b1\" here, 2 \"a2\" there".to_owned()));
        let told = newer.agrees_with(&got(Sent::default(), &all[..3]));
        assert_eq!(told, Err("3 messages here, 2 there".to_owned()));
    }

    #[test]
    fn caught_up_counts_what_was_there_then() {
        let mut received = got(Sent::default(), &[(1, ALICE, "a1")]);
        received.on_event(Event::CaughtUp);
        assert_eq!(received.caught_up(1), Verdict::Complete);
        assert!(matches!(received.caught_up(2), Verdict::Waiting(_)));
    }
}
