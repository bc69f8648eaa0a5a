//! What one device saw, collected while the test does other things, and how that is judged.

use std::collections::{BTreeMap, HashSet};

use anser_client::{Client, Content, Event, Message};
use anser_proto::{Code, ConversationId, DeviceId, Seq};
use tokio::{sync::watch, time::timeout};

use super::people::{PATIENCE, Person};

/// A device and all that it saw so far.
pub(crate) struct View {
    pub(crate) client: Client,
    seen: watch::Receiver<Seen>,
}

/// What a device saw, in the order of its coming.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<Message>,
    /// (delivered, read) of the other side.
    pub(crate) receipts: Vec<(ConversationId, (Seq, Seq))>,
    pub(crate) rejected: Vec<(Seq, Option<Code>)>,
    /// The highest own command that was acked.
    pub(crate) sent: Seq,
    pub(crate) caught_up: usize,
    pub(crate) resets: usize,
    pub(crate) closed: bool,
}

/// What was sent to a conversation: texts in order, by device.
pub(crate) type Expected = BTreeMap<DeviceId, Vec<String>>;

/// How a view differs from what was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) out_of_order: usize,
}

impl View {
    /// Watches a device from now on.
    pub(crate) fn of(person: Person) -> Self {
        let Person { client, mut events } = person;
        let (sender, seen) = watch::channel(Seen::default());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                sender.send_modify(|seen| seen.note(event));
            }
        });
        Self { client, seen }
    }

    /// Waits until what was seen is as wished.
    pub(crate) async fn until(&mut self, wish: impl Fn(&Seen) -> bool) -> Seen {
        let wished = async {
            self.seen.wait_for(|seen| wish(seen)).await.expect("the device is watched").clone()
        };
        if let Ok(seen) = timeout(PATIENCE, wished).await {
            return seen;
        }
        panic!("not in time; seen so far: {}", self.now().summary())
    }

    /// Waits for so many messages, own ones too.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<Message> {
        self.until(|seen| seen.messages.len() >= count).await.messages
    }

    /// What was seen up to now.
    pub(crate) fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

impl Seen {
    fn note(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.messages.push(message),
            Event::Receipt { conversation, delivered, read, .. } => {
                self.receipts.push((conversation, (delivered, read)));
            }
            Event::Rejected { client_seq, code } => self.rejected.push((client_seq, code)),
            Event::Sent { client_seq } => self.sent = self.sent.max(client_seq),
            Event::CaughtUp => self.caught_up += 1,
            Event::Reset => self.resets += 1,
            Event::Closed { .. } => self.closed = true,
            Event::Lagged { .. } => panic!("this reader is fast enough"),
            _ => {}
        }
    }

    fn summary(&self) -> String {
        let Self { messages, receipts, rejected, sent, caught_up, resets, closed } = self;
        format!(
            "{} messages, {} receipts, rejected {rejected:?}, sent {sent}, caught up {caught_up}, \
             resets {resets}, closed {closed}",
            messages.len(),
            receipts.len(),
        )
    }

    /// Compares the messages of a conversation with what was sent there.
    pub(crate) fn differences(&self, chat: ConversationId, expected: &Expected) -> Differences {
        let mut found = Differences::default();
        let (mut last, mut known) = (0, HashSet::new());
        let mut texts: BTreeMap<DeviceId, Vec<&str>> = BTreeMap::new();
        for message in self.messages.iter().filter(|message| message.conversation == chat) {
            if !known.insert(message.conv_seq) {
                found.duplicated += 1;
                continue;
            }
            found.out_of_order += usize::from(message.conv_seq != last + 1);
            last = message.conv_seq;
            texts.entry(message.device).or_default().push(text(message));
        }
        for (device, sent) in expected {
            let got = texts.remove(device).unwrap_or_default();
            let unique: HashSet<&str> = got.iter().copied().collect();
            found.duplicated += got.len() - unique.len();
            found.lost += sent.iter().filter(|text| !unique.contains(text.as_str())).count();
            found.out_of_order += usize::from(!got.iter().is_sorted_by_key(|text| {
                sent.iter().position(|sent| sent == text).expect("a text that was sent")
            }));
        }
        assert!(texts.is_empty(), "messages of devices that sent none: {texts:?}");
        found
    }
}

/// The text of a message.
pub(crate) fn text(message: &Message) -> &str {
    match &message.content {
        Content::Text(text) => text,
        other => panic!("an unreadable message: {other:?}"),
    }
}
