//! What the chat shows, and what follows from what happens. Pure: events, keys and answers go in,
//! with the time; what to do comes out as [`Ask`], what to tell as [`News`]. No terminal, no
//! client.

mod asked;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anser_client::{
    ConnectionState, Event, Message, Relation, RelationState, Watermarks,
    proto::{Code, ConversationId, Seq},
};
use jiff::tz::TimeZone;

use super::{
    conversation::{Conversation, Tick, shown},
    exchange::{Answer, Ask, Known, Me, News},
    input::Input,
    text,
};

/// How long a lost connection is called that before it is called offline.
const OFFLINE_AFTER_MS: u64 = 10_000;
/// A conversation that is opened with fewer messages than this looks for more on the server.
const FEW: usize = 50;
/// Messages that are told of an older page.
const TOLD: usize = 20;

/// The connection, as the user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// There is none since then; `again`: there was one before.
    Away {
        since_ms: u64,
        again: bool,
    },
    CatchingUp,
    Online,
}

/// What the chat shows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) me: Me,
    pub(super) zone: TimeZone,
    pub(super) input: Input,
    /// Sentences under the messages, until the next line is typed.
    pub(super) notices: Vec<String>,
    /// How far a file is that goes out or comes in.
    pub(super) progress: Option<String>,
    /// Rows between the newest message and the lower edge; the drawing keeps it in range.
    pub(super) scroll: usize,
    /// Rows of messages, and whether the first message is among them, as drawn last.
    pub(super) page: (usize, bool),
    conversations: BTreeMap<ConversationId, Conversation>,
    shown: Option<ConversationId>,
    /// Whose conversation is to be opened as soon as there is one.
    wanted: Option<String>,
    connection: Connection,
    was_known: bool,
    ended: Option<Option<Code>>,
    asks: Vec<Ask>,
    news: Vec<News>,
}

impl View {
    pub(super) fn new(me: Me, zone: TimeZone, with: Option<String>, now_ms: u64) -> Self {
        Self {
            me,
            zone,
            input: Input::default(),
            notices: Vec::new(),
            progress: None,
            scroll: 0,
            page: (0, false),
            conversations: BTreeMap::new(),
            shown: None,
            wanted: with,
            connection: Connection::Away { since_ms: now_ms, again: false },
            was_known: false,
            ended: None,
            asks: Vec::new(),
            news: Vec::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// What there is to tell.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The client ended for good, for this reason.
    pub(super) fn ended(&self) -> Option<Option<Code>> {
        self.ended
    }

    pub(super) fn is_online(&self) -> bool {
        self.connection == Connection::Online
    }

    /// Own messages wait for the server.
    pub(super) fn is_sending(&self) -> bool {
        self.conversations.values().any(|conversation| conversation.waiting_len() > 0)
    }

    /// The connection in a sentence.
    pub(super) fn connection(&self, now_ms: u64) -> String {
        let text = match self.connection {
            Connection::CatchingUp => "catching up",
            Connection::Online => "connected",
            Connection::Away { since_ms, again } => {
                match (now_ms.saturating_sub(since_ms) >= OFFLINE_AFTER_MS, again) {
                    (true, _) => "offline, trying again",
                    (_, true) => "reconnecting",
                    (_, false) => "connecting",
                }
            }
        };
        let waiting: usize = self.conversations.values().map(Conversation::waiting_len).sum();
        match waiting {
            0 => text.to_owned(),
            1 => format!("{text} · 1 message waits"),
            many => format!("{text} · {many} messages wait"),
        }
    }

    /// The conversation that is shown.
    pub(super) fn shown(&self) -> Option<&Conversation> {
        self.conversations.get(&self.shown?)
    }

    /// The list: requests first, then friends, each by name. Others only while they are shown.
    pub(super) fn list(&self) -> Vec<&Conversation> {
        let listed = |conversation: &&Conversation| {
            let is_shown = self.shown == Some(conversation.id);
            is_shown || rank(conversation.state) < rank(RelationState::None)
        };
        let mut list: Vec<_> = self.conversations.values().filter(listed).collect();
        list.sort_by(|one, other| {
            (rank(one.state), &one.name).cmp(&(rank(other.state), &other.name))
        });
        list
    }

    /// Takes over what the client knows.
    pub(super) fn handle_known(&mut self, known: Known, now_ms: u64) {
        for (relation, marks, messages) in known.relations {
            self.put_relation(&relation, self.was_known || is_incoming(&relation));
            let Some(conversation) = self.conversations.get_mut(&relation.id) else { continue };
            // What was marked as read here and is still in the outbox stays read.
            let read = conversation.marks.read.max(marks.read);
            conversation.marks = Watermarks { read, ..marks };
            if messages.first().is_some_and(|first| conversation.join(first.conv_seq)) {
                let text = format!(
                    "So much came that messages of {} are left out here; they are in the history.",
                    conversation.name
                );
                self.notice(text);
            }
            for message in &messages {
                self.put_message(message, self.was_known);
            }
        }
        for conversation in self.conversations.values_mut() {
            conversation.set_waiting(&known.waiting, now_ms);
        }
        let is_first = !std::mem::replace(&mut self.was_known, true);
        self.open_what_is_obvious();
        if is_first {
            self.greet();
        }
        self.settle();
    }

    /// Something happened.
    pub(super) fn handle_event(&mut self, event: Event, now_ms: u64) {
        match event {
            Event::Message(message) => self.put_message(&message, true),
            Event::Receipt { conversation, delivered, read, .. } => {
                if let Some(conversation) = self.conversations.get_mut(&conversation) {
                    let marks = &mut conversation.marks;
                    marks.peer_delivered = marks.peer_delivered.max(delivered);
                    marks.peer_read = marks.peer_read.max(read);
                }
            }
            Event::ReadMark { conversation, read } => {
                if let Some(conversation) = self.conversations.get_mut(&conversation) {
                    conversation.marks.read = conversation.marks.read.max(read);
                }
            }
            Event::Sent { client_seq } => {
                for conversation in self.conversations.values_mut() {
                    let sent = conversation.sent(client_seq).into_iter();
                    self.news.extend(sent.map(|text| News::Tick(Tick::Sent, text)));
                }
            }
            Event::Rejected { client_seq, code } => {
                let mut all = self.conversations.values_mut();
                let rejected = all.find_map(|some| some.rejected(client_seq, code));
                self.news.extend(rejected.map(|(text, tick)| News::Tick(tick, text)));
            }
            Event::Relation(relation) => {
                self.put_relation(&relation, true);
                self.open_what_is_obvious();
            }
            Event::NewDevice(device) => self.me.device = device,
            Event::State(state) => self.put_state(state, now_ms),
            Event::Closed { code } => self.ended = Some(code),
            // What the client knows is taken over as a whole then.
            _ => {}
        }
        self.settle();
    }

    /// An [`Ask`] was done.
    pub(super) fn handle_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Relation(relation) => {
                self.put_relation(&relation, true);
                self.open_what_is_obvious();
            }
            Answer::Page(id, messages, has_more) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.is_fetching = false;
                    conversation.is_complete |= !has_more;
                    if conversation.len() > 0 && !messages.is_empty() {
                        self.news.push(News::Notice("before that:".into()));
                    }
                    let untold = messages.len().saturating_sub(TOLD);
                    for (index, message) in messages.iter().enumerate() {
                        self.put_message(message, index >= untold);
                    }
                }
            }
            Answer::NoPage(id, why) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.is_fetching = false;
                }
                if self.is_online() {
                    self.notice(why);
                }
            }
            Answer::Progress(how_far) => self.progress = Some(text::sanitise(&how_far)),
            Answer::Done(text) | Answer::Failed(text) => {
                self.progress = None;
                self.notice(text);
            }
        }
        self.settle();
    }

    /// A text is in the outbox.
    pub(super) fn handle_queued(
        &mut self,
        id: ConversationId,
        client_seq: Seq,
        text: &str,
        now_ms: u64,
    ) {
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.push_waiting(client_seq, text, now_ms, Tick::Waits);
            self.scroll = 0;
            if !self.is_online() {
                self.news.push(News::Tick(Tick::Waits, text::sanitise(text)));
            }
        }
    }

    /// A text could not go into the outbox.
    pub(super) fn handle_not_queued(&mut self, text: String, why: &str) {
        self.notice(format!("This was not sent: {why}"));
        self.input.put_back(text);
    }

    /// Tells the user a sentence.
    pub(super) fn notice(&mut self, text: impl Into<String>) {
        let text = text::sanitise(&text.into());
        self.news.push(News::Notice(text.clone()));
        self.notices.push(text);
    }

    /// What follows from any change: what is shown is read, and ticks go on.
    fn settle(&mut self) {
        for conversation in self.conversations.values_mut() {
            let progress = conversation.take_progress();
            self.news.extend(progress.into_iter().map(|(text, tick)| News::Tick(tick, text)));
        }
        let shown = self.shown.and_then(|id| self.conversations.get_mut(&id));
        if let Some(conversation) = shown
            && conversation.unread() > 0
            && let Some(newest) = conversation.newest()
        {
            conversation.marks.read = newest;
            self.asks.push(Ask::MarkRead(conversation.id, newest));
        }
    }

    fn put_message(&mut self, message: &Message, tell: bool) {
        let Some(conversation) = self.conversations.get_mut(&message.conversation) else { return };
        let is_new = conversation.insert(message);
        if self.scroll == 0 {
            conversation.trim();
        }
        let is_from_here = message.sender == self.me.user && message.device == self.me.device;
        if is_from_here
            && let Some(tick) = conversation.placed(message.client_seq, message.conv_seq)
        {
            if tick == Tick::Waits {
                self.news.push(News::Tick(Tick::Sent, shown(&message.content)));
            }
        } else if is_new && tell {
            let is_mine = message.sender != conversation.peer;
            let name = if is_mine { self.me.name.clone() } else { conversation.name.clone() };
            let (at_ms, text) = (message.created_at_ms, shown(&message.content));
            let conversation = conversation.id;
            self.news.push(News::Message { conversation, at_ms, name, text });
        }
    }

    fn put_relation(&mut self, relation: &Relation, tell: bool) {
        let known = self.conversations.get_mut(&relation.id);
        let before = known.as_ref().map_or(RelationState::None, |known| known.state);
        match known {
            Some(known) => {
                known.state = relation.state;
                known.peer = relation.peer;
            }
            None => {
                self.conversations.insert(relation.id, Conversation::new(relation));
            }
        }
        if !tell || before == relation.state {
            return;
        }
        let name = &relation.peer_name;
        let told = match (before, relation.state) {
            (_, RelationState::Incoming) => {
                format!("{name} wants to be your friend: /accept {name} (or /decline {name})")
            }
            (_, RelationState::Requested) => {
                format!("{name} was asked and can type: /accept {}", self.me.name)
            }
            (_, RelationState::Friends) => format!("You and {name} are friends now."),
            (_, RelationState::Blocked) => {
                format!("{name} is blocked; /unblock {name} undoes it.")
            }
            (RelationState::Friends, _) => format!("You and {name} are not friends any more."),
            (RelationState::Blocked, _) => format!("{name} is not blocked any more."),
            _ => format!("The request between you and {name} is gone."),
        };
        self.notice(told);
    }

    fn put_state(&mut self, state: ConnectionState, now_ms: u64) {
        let before = self.connection;
        self.connection = match (state.device_online, state.socket_healthy, before) {
            (true, ..) => Connection::Online,
            (_, true, _) => Connection::CatchingUp,
            (.., Connection::Away { .. }) => before,
            _ => Connection::Away { since_ms: now_ms, again: true },
        };
        if self.connection == before {
            return;
        }
        match self.connection {
            Connection::Online => {
                self.news.push(News::Notice("connected".into()));
                self.look_for_more();
            }
            Connection::Away { .. } => self.news.push(News::Notice("reconnecting".into())),
            Connection::CatchingUp => {}
        }
    }
}

fn is_incoming(relation: &Relation) -> bool {
    relation.state == RelationState::Incoming
}

/// Where a relation stands in the list.
fn rank(state: RelationState) -> u8 {
    match state {
        RelationState::Incoming => 0,
        RelationState::Friends => 1,
        RelationState::Requested => 2,
        RelationState::Blocked => 4,
        _ => 3,
    }
}
