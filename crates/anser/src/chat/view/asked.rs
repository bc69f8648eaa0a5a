//! What the user asks by typing a line, and which conversation is shown.

use anser_client::{RelationAction, RelationState, proto::ConversationId};

use super::{Ask, FEW, News, View};
use crate::chat::{
    command::{Command, HELP},
    conversation::Conversation,
};

impl View {
    /// A line was typed.
    pub(in crate::chat) fn handle_line(&mut self, line: &str) {
        self.notices.clear();
        let Some(command) = Command::parse(line) else { return };
        match command {
            Command::Say(text) => self.say(text),
            Command::File(path) => self.in_shown(|id| Ask::SendFile(id, path)),
            Command::Save(name) => self.in_shown(|id| Ask::Save(id, name)),
            Command::Add(name) if name == self.me.name => {
                self.notice("That is you. Say who else: /add NAME");
            }
            Command::Add(name) => self.asks.push(Ask::Befriend(name)),
            Command::Change(name, action) => self.change(name, action),
            Command::With(name) => self.with(name),
            Command::Who => self.who(),
            Command::Help => HELP.iter().for_each(|line| self.notice(*line)),
            Command::Quit => self.asks.push(Ask::Quit),
            Command::Wrong(why) => self.notice(why),
        }
        self.settle();
    }

    /// Opens the next (or previous) conversation of the list.
    pub(super) fn step(&mut self, forward: bool) {
        let ids: Vec<_> = self.list().iter().map(|conversation| conversation.id).collect();
        if ids.is_empty() {
            return;
        }
        let now = ids.iter().position(|id| Some(*id) == self.shown);
        let next = match (now, forward) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % ids.len(),
            (Some(at), false) => (at + ids.len() - 1) % ids.len(),
        };
        self.open(ids[next]);
        self.settle();
    }

    /// Asks for older messages of the shown conversation, if there can be some.
    pub(super) fn fetch_older(&mut self) {
        let shown = self.shown.and_then(|id| self.conversations.get_mut(&id));
        let Some(conversation) = shown else { return };
        if !conversation.is_complete && !conversation.is_fetching {
            conversation.is_fetching = true;
            self.asks.push(Ask::Older(conversation.id, conversation.oldest()));
        }
    }

    /// A conversation of which little is here has perhaps more on the server.
    pub(super) fn look_for_more(&mut self) {
        // A request that was never accepted is no conversation yet.
        let may_have = |shown: &Conversation| shown.is_open() || shown.len() > 0;
        let is_short = self.shown().is_some_and(|shown| shown.len() < FEW && may_have(shown));
        if self.is_online() && is_short {
            self.fetch_older();
        }
    }

    /// Opens what `--with` or `/with` asked for, or the only friend.
    pub(super) fn open_what_is_obvious(&mut self) {
        let wanted = self.wanted.as_deref().and_then(|name| self.by_name(name));
        let wanted = wanted.filter(|wanted| wanted.is_open()).map(|wanted| wanted.id);
        if let Some(id) = wanted {
            self.wanted = None;
            self.open(id);
        }
        let mut friends = self.conversations.values().filter(|some| some.is_open());
        let only = match (friends.next(), friends.next()) {
            (Some(only), None) => Some(only.id),
            _ => None,
        };
        if let (None, Some(only)) = (self.shown, only) {
            self.open(only);
        }
    }

    /// Says what there is at the start, and what to type. The screen shows the same by itself.
    pub(super) fn greet(&mut self) {
        let list = self.list();
        let elsewhere = list.iter().filter(|some| Some(some.id) != self.shown && some.unread() > 0);
        let mut lines: Vec<_> = elsewhere
            .map(|conversation| format!("{}: {} unread", conversation.name, conversation.unread()))
            .collect();
        if list.is_empty() && self.wanted.is_none() {
            lines
                .push("Type /add NAME to ask somebody to become friends; /help lists more.".into());
        } else if self.shown.is_none() && list.iter().any(|some| some.is_open()) {
            lines.push("Type /with NAME to open a conversation; /who lists them.".into());
        }
        self.news.extend(lines.into_iter().map(News::Notice));
        if let Some(name) = self.wanted.clone() {
            self.with(name);
        }
    }

    fn say(&mut self, text: String) {
        let refused = match self.shown() {
            Some(shown) if shown.is_open() => {
                self.asks.push(Ask::Send(shown.id, text));
                return;
            }
            Some(shown) => match shown.state {
                RelationState::Incoming => format!("first type /accept {}", shown.name),
                RelationState::Requested => {
                    format!("{} did not accept your request yet.", shown.name)
                }
                _ => format!("you and {0} are not friends: /add {0}", shown.name),
            },
            None => {
                "no conversation is open: /with NAME opens one, /add NAME makes a friend.".into()
            }
        };
        self.handle_not_queued(text, &refused);
    }

    /// Asks for something in the shown conversation.
    fn in_shown(&mut self, ask: impl FnOnce(ConversationId) -> Ask) {
        match self.shown().map(|shown| shown.id) {
            Some(id) => self.asks.push(ask(id)),
            None => self.notice("No conversation is open: /with NAME opens one."),
        }
    }

    fn change(&mut self, name: String, action: RelationAction) {
        let known = self.by_name(&name).map(|known| (known.peer, known.state));
        let is_incoming = known.is_some_and(|(_, state)| state == RelationState::Incoming);
        match known {
            _ if action == RelationAction::Accept && !is_incoming => {
                self.notice(format!("{name} did not ask you; /add {name} asks."));
            }
            None if action != RelationAction::Block => {
                self.notice(format!("There is nothing between you and {name}; /who lists all."));
            }
            _ => self.asks.push(Ask::Change(name, known.map(|(peer, _)| peer), action)),
        }
    }

    fn with(&mut self, name: String) {
        match self.by_name(&name).map(|known| (known.id, known.state)) {
            Some((_, RelationState::Blocked)) => {
                self.notice(format!("{name} is blocked; /unblock {name} undoes it."));
            }
            Some((id, _)) => {
                self.wanted = None;
                self.open(id);
            }
            None => {
                self.notice(format!("You and {name} are not friends yet: /add {name}"));
                self.wanted = Some(name);
            }
        }
    }

    fn who(&mut self) {
        let mut all: Vec<_> = self.conversations.values().collect();
        all.sort_by_key(|conversation| (super::rank(conversation.state), &conversation.name));
        let lines: Vec<_> = all.into_iter().filter_map(line_of).collect();
        if lines.is_empty() {
            self.notice("Nobody yet. /add NAME asks somebody.");
        }
        lines.into_iter().for_each(|line| self.notice(line));
    }

    fn open(&mut self, id: ConversationId) {
        if self.shown != Some(id) {
            self.scroll = 0;
            self.shown = Some(id);
            self.look_for_more();
        }
    }

    fn by_name(&self, name: &str) -> Option<&Conversation> {
        self.conversations.values().find(|conversation| conversation.name == name)
    }
}

/// A line of `/who`; `None`: there is nothing (any more) between the two.
fn line_of(conversation: &Conversation) -> Option<String> {
    let Conversation { name, state, .. } = conversation;
    let what = match state {
        RelationState::Incoming => format!("wants to be your friend: /accept {name}"),
        RelationState::Friends if conversation.unread() > 0 => {
            format!("friend, {} unread", conversation.unread())
        }
        RelationState::Friends => "friend".into(),
        RelationState::Requested => "was asked by you".into(),
        RelationState::Blocked => format!("blocked: /unblock {name}"),
        _ => return None,
    };
    Some(format!("{name}: {what}"))
}
