//! One conversation as it is shown: its messages, the own ones that wait, and how far both sides
//! are.

use std::collections::BTreeMap;

use anser_client::{
    Content, Message, Relation, RelationState, Watermarks,
    proto::{Code, ConversationId, Seq, UserId},
};

use super::text;
use crate::files;

/// Messages that stay in memory while new ones come; older ones are fetched when somebody scrolls
/// there.
const KEPT_MAX: usize = 5_000;

/// How far an own message is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tick {
    /// In the outbox.
    Waits,
    /// Safe at the server.
    Sent,
    /// On a device of the other.
    Delivered,
    /// Read by the other.
    Read,
    /// Refused, and why.
    Failed(String),
}

impl Tick {
    /// The sign beside the message.
    pub(super) fn sign(&self) -> &'static str {
        match self {
            Self::Waits => "…",
            Self::Sent => "✓",
            Self::Delivered | Self::Read => "✓✓",
            Self::Failed(_) => "!",
        }
    }

    /// Why it was refused.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Failed(why) => Some(why),
            _ => None,
        }
    }

    /// The same in a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed(_) => "not sent",
        }
    }
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) at_ms: u64,
    pub(super) text: &'a str,
    /// Own messages have one.
    pub(super) tick: Option<Tick>,
}

/// An own message that is not in the conversation yet, or never will be.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) client_seq: Seq,
    pub(super) at_ms: u64,
    pub(super) text: String,
    pub(super) tick: Tick,
    /// One that failed stays where it was: behind this message.
    after: Seq,
}

#[derive(Debug)]
struct Held {
    sender: UserId,
    at_ms: u64,
    text: String,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) id: ConversationId,
    pub(super) peer: UserId,
    pub(super) name: String,
    pub(super) state: RelationState,
    pub(super) marks: Watermarks,
    messages: BTreeMap<Seq, Held>,
    waiting: Vec<Waiting>,
    /// The own messages of this process whose ticks are told, and the last one told.
    followed: BTreeMap<Seq, Tick>,
    /// The first message of all is here.
    pub(super) is_complete: bool,
    /// Older messages are under way.
    pub(super) is_fetching: bool,
}

impl Conversation {
    pub(super) fn new(relation: &Relation) -> Self {
        Self {
            id: relation.id,
            peer: relation.peer,
            name: text::sanitise(&relation.peer_name),
            state: relation.state,
            marks: Watermarks::default(),
            messages: BTreeMap::new(),
            waiting: Vec::new(),
            followed: BTreeMap::new(),
            is_complete: false,
            is_fetching: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == RelationState::Friends
    }

    /// Takes a message in. True: it was not here before.
    pub(super) fn insert(&mut self, message: &Message) -> bool {
        let held = Held {
            sender: message.sender,
            at_ms: message.created_at_ms,
            text: shown(&message.content),
        };
        self.is_complete |= message.conv_seq == 1;
        self.messages.insert(message.conv_seq, held).is_none()
    }

    /// Makes room for the newest messages, as far as nobody looks at the oldest.
    pub(super) fn trim(&mut self) {
        while self.messages.len() > KEPT_MAX {
            self.messages.pop_first();
            self.is_complete = false;
        }
    }

    /// A page of the newest messages, from `first` on, is about to be taken in. What is here stays
    /// only if the page joins it: a gap must not look like a conversation. True: there was one.
    pub(super) fn join(&mut self, first: Seq) -> bool {
        let has_gap = self.newest().is_some_and(|newest| first > newest + 1);
        if has_gap {
            self.messages.clear();
            self.is_complete = false;
        }
        has_gap
    }

    /// The number of the oldest message that is here.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.messages.first_key_value().map(|(seq, _)| *seq)
    }

    pub(super) fn newest(&self) -> Option<Seq> {
        self.messages.last_key_value().map(|(seq, _)| *seq)
    }

    /// Messages that are here.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Messages of the other that the user has not read.
    pub(super) fn unread(&self) -> usize {
        let above = self.messages.range(self.marks.read + 1..);
        above.filter(|(_, held)| held.sender == self.peer).count()
    }

    /// An own text went into the outbox.
    pub(super) fn push_waiting(&mut self, client_seq: Seq, text: &str, at_ms: u64, tick: Tick) {
        let after = self.newest().unwrap_or_default();
        let text = text::sanitise(text);
        self.waiting.push(Waiting { client_seq, at_ms, text, tick, after });
    }

    /// What waits in all conversations is told anew; what failed stays.
    pub(super) fn set_waiting(&mut self, all: &[anser_client::Waiting], now_ms: u64) {
        let (failed, before): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| matches!(waiting.tick, Tick::Failed(_)));
        self.waiting = failed;
        let id = self.id;
        for waiting in all.iter().filter(|waiting| waiting.conversation == id) {
            let text = shown(&waiting.content);
            // Numbers change when the device changes; the text says which one it was.
            let known = before.iter().find(|known| known.text == text);
            let at_ms = known.map_or(now_ms, |known| known.at_ms);
            let tick = if waiting.is_sent { Tick::Sent } else { Tick::Waits };
            self.push_waiting(waiting.client_seq, &text, at_ms, tick);
        }
    }

    /// Messages that wait in the outbox.
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.tick == Tick::Waits).count()
    }

    /// The server has everything up to `client_seq`. Gives the texts for which that is news.
    pub(super) fn sent(&mut self, client_seq: Seq) -> Vec<String> {
        let reached = self.waiting.iter_mut().filter(|waiting| waiting.client_seq <= client_seq);
        let news = reached.filter(|waiting| waiting.tick == Tick::Waits);
        news.map(|waiting| {
            waiting.tick = Tick::Sent;
            waiting.text.clone()
        })
        .collect()
    }

    /// A command was refused. Gives the text, if it was a message of this conversation.
    pub(super) fn rejected(
        &mut self,
        client_seq: Seq,
        code: Option<Code>,
    ) -> Option<(String, Tick)> {
        let found = self.waiting.iter_mut().find(|waiting| waiting.client_seq == client_seq)?;
        let unknown = "The server refused it for a reason that this version does not know.";
        found.tick = Tick::Failed(code.map_or(unknown, Code::sentence).to_owned());
        // Numbers start anew on a new device: this one must not be found again.
        found.client_seq = 0;
        Some((found.text.clone(), found.tick.clone()))
    }

    /// An own message of this device has its place. Gives the tick that was shown so far.
    pub(super) fn placed(&mut self, client_seq: Seq, conv_seq: Seq) -> Option<Tick> {
        let index = self.waiting.iter().position(|waiting| waiting.client_seq == client_seq)?;
        let tick = self.waiting.remove(index).tick;
        self.followed.insert(conv_seq, Tick::Sent);
        Some(tick)
    }

    /// The own messages whose tick went on since the last call.
    pub(super) fn take_progress(&mut self) -> Vec<(String, Tick)> {
        let mut news = Vec::new();
        let marks = self.marks;
        for (seq, told) in &mut self.followed {
            let now = tick(*seq, marks);
            if now > *told {
                *told = now.clone();
                let text = self.messages.get(seq).map(|held| held.text.clone());
                news.push((text.unwrap_or_default(), now));
            }
        }
        self.followed.retain(|_, told| *told != Tick::Read);
        news
    }

    /// What is shown, newest first.
    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let is_failed = |waiting: &&Waiting| matches!(waiting.tick, Tick::Failed(_));
        let of = |waiting: &'_ Waiting| (waiting.at_ms, Some(waiting.tick.clone()));
        let mut lines = Vec::with_capacity(self.messages.len() + self.waiting.len());
        let mut push = |(at_ms, tick), text| lines.push(Line { at_ms, text, tick });
        for waiting in self.waiting.iter().rev().filter(|waiting| !is_failed(waiting)) {
            push(of(waiting), &waiting.text[..]);
        }
        let mut failed = self.waiting.iter().rev().filter(is_failed).peekable();
        for (seq, held) in self.messages.iter().rev() {
            while let Some(failed) = failed.next_if(|failed| failed.after >= *seq) {
                push(of(failed), &failed.text[..]);
            }
            let tick = (held.sender != self.peer).then(|| tick(*seq, self.marks));
            push((held.at_ms, tick), &held.text[..]);
        }
        failed.for_each(|failed| push(of(failed), &failed.text[..]));
        lines
    }
}

/// What the watermarks say of an own message.
fn tick(seq: Seq, marks: Watermarks) -> Tick {
    if seq <= marks.peer_read {
        Tick::Read
    } else if seq <= marks.peer_delivered {
        Tick::Delivered
    } else {
        Tick::Sent
    }
}

/// What a message says, harmless for a terminal.
pub(super) fn shown(content: &Content) -> String {
    match content {
        Content::Text(text) => text::sanitise(text),
        Content::File(file) => format!("[file {}]", text::sanitise(&files::told(file))),
        Content::Unreadable(_) => "[this message does not open on this device]".into(),
        _ => "[a kind of message that this version does not know]".into(),
    }
}
