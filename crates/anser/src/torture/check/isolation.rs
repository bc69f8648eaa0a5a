//! C9: nobody is told anything of a conversation or relation that they are not in.

use std::collections::HashSet;

use super::{
    Checks, Of,
    relations::{Relations, pair},
    world::World,
};
use crate::torture::history::{Conversation, Kind, Message, State, User, What};

pub(super) fn check(world: &World<'_>, relations: &Relations, checks: &mut Checks) {
    let mut isolation = Isolation { world, relations, checks, told: HashSet::new() };
    for (index, what) in world.iter() {
        isolation.take(index, what);
    }
}

struct Isolation<'w, 'a> {
    world: &'w World<'a>,
    relations: &'w Relations,
    checks: &'w mut Checks,
    /// Pairs of strangers that were told of already.
    told: HashSet<Conversation>,
}

impl Isolation<'_, '_> {
    fn take(&mut self, index: usize, what: &What) {
        match what {
            What::Pushed { conn, row, .. } => {
                let Some(conn) = self.world.conns.get(conn) else { return };
                self.row(index, conn.user, &row.kind);
            }
            What::Audit { user, rows, .. } => {
                rows.iter().for_each(|(_, row)| self.row(index, *user, &row.kind));
            }
            What::Page { user, conversation, messages, .. }
            | What::Final { user, conversation, messages } => {
                self.history(index, *user, *conversation, messages);
            }
            What::Local { client, conversation, messages } => {
                let Some(user) = self.world.user_of(*client) else { return };
                self.history(index, user, *conversation, messages);
            }
            What::Holds { client, message, .. } => {
                let Some(user) = self.world.user_of(*client) else { return };
                self.member(index, user, message.conversation);
                self.sender(index, message.conversation, message.sender);
            }
            What::Snapshot { user, state, .. } | What::FinalState { user, state, .. } => {
                self.state(index, *user, state);
            }
            _ => {}
        }
    }

    /// Whether a user may be told of a conversation.
    fn member(&mut self, index: usize, user: User, conversation: Conversation) {
        self.checks.examine(Of::Isolation);
        let known = self.relations.of(conversation);
        let Some((pair, first)) = known else {
            return self.checks.fail(Of::Isolation, &[index], || {
                format!("user {user} was told of conversation {conversation}, which nobody has")
            });
        };
        if user != pair.0 && user != pair.1 {
            self.checks.fail(Of::Isolation, &[first, index], || {
                format!("user {user} was told of conversation {conversation} of others")
            });
        }
    }

    /// Whether a user can have done something in a conversation.
    fn sender(&mut self, index: usize, conversation: Conversation, sender: User) {
        let Some((pair, first)) = self.relations.of(conversation) else { return };
        if sender != pair.0 && sender != pair.1 {
            self.checks.fail(Of::Isolation, &[first, index], || {
                format!("user {sender} wrote to conversation {conversation} of others")
            });
        }
    }

    fn relation(&mut self, index: usize, user: User, relation: Conversation, peer: User) {
        self.member(index, user, relation);
        let (both, known) = (pair(user, peer), self.relations.of(relation));
        if let Some((pair, first)) = known
            && pair != both
            && (user == pair.0 || user == pair.1)
        {
            self.checks.fail(Of::Isolation, &[first, index], || {
                format!("relation {relation} of user {user} is with two peers")
            });
        }
        if !self.relations.is_wanted(both) && self.told.insert(relation) {
            self.checks.fail(Of::Isolation, &[index], || {
                format!("users {user} and {peer} have a relation that neither asked for")
            });
        }
    }

    fn row(&mut self, index: usize, user: User, kind: &Kind) {
        match *kind {
            Kind::Message { conversation, sender, .. } => {
                self.member(index, user, conversation);
                self.sender(index, conversation, sender);
            }
            Kind::Receipt { conversation, user: of, .. } => {
                self.member(index, user, conversation);
                self.sender(index, conversation, of);
                if of == user {
                    self.checks.fail(Of::Isolation, &[index], || {
                        format!("user {user} was told a receipt of their own")
                    });
                }
            }
            Kind::ReadMark { conversation, .. } => self.member(index, user, conversation),
            Kind::Relation { relation, peer, .. } => self.relation(index, user, relation, peer),
            // It names what its device asked for, which may be anything.
            Kind::Rejected { .. } | Kind::Unknown => {}
        }
    }

    fn history(
        &mut self,
        index: usize,
        user: User,
        conversation: Conversation,
        messages: &[Message],
    ) {
        self.member(index, user, conversation);
        for message in messages {
            self.sender(index, conversation, message.sender);
            if message.conversation != conversation {
                self.checks.fail(Of::Isolation, &[index], || {
                    format!("conversation {conversation} has a message of another one")
                });
            }
        }
    }

    fn state(&mut self, index: usize, user: User, state: &State) {
        for (relation, peer, _) in &state.relations {
            self.relation(index, user, *relation, *peer);
        }
        for one in &state.conversations {
            self.member(index, user, one.conversation);
            for (member, ..) in &one.members {
                self.sender(index, one.conversation, *member);
            }
        }
    }
}
