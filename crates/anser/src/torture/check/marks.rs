//! C8 in the end: what senders know of deliveries and reads is what the server knows.

use std::collections::HashMap;

use super::{
    Checks, Of,
    relations::{Relations, pair},
    world::World,
};
use crate::torture::history::{ClientId, Conversation, ConversationState, Marks, State, User};

pub(super) fn check(world: &World<'_>, relations: &Relations, checks: &mut Checks) {
    let states = Index::new(world);
    let mut marks: Vec<_> = world.end.marks.iter().collect();
    marks.sort_unstable_by_key(|(key, _)| **key);
    for ((client, conversation), (index, marks)) in marks {
        let Some(user) = user_of(world, *client) else { continue };
        let Some((at, state)) = states.conversation(user, *conversation) else { continue };
        checks.examine(Of::Receipts);
        if let Some(why) = wrong(world, user, marks, state) {
            checks.fail(Of::Receipts, &[*index, at], || {
                format!("client {client}, conversation {conversation}: {why}")
            });
        }
    }
    if world.epochs.restores.is_empty() {
        delivered(world, relations, &states, checks);
    }
}

fn user_of(world: &World<'_>, client: ClientId) -> Option<User> {
    Some(world.end.drained.get(&client)?.1)
}

/// The snapshots in the end by conversation.
struct Index<'a>(HashMap<(User, Conversation), (usize, &'a State, &'a ConversationState)>);

impl<'a> Index<'a> {
    fn new(world: &World<'a>) -> Self {
        let mut index = HashMap::new();
        for (user, (at, state)) in &world.end.states {
            for one in &state.conversations {
                index.insert((*user, one.conversation), (*at, *state, one));
            }
        }
        Self(index)
    }

    fn conversation(
        &self,
        user: User,
        conversation: Conversation,
    ) -> Option<(usize, &'a ConversationState)> {
        self.0.get(&(user, conversation)).map(|(at, _, one)| (*at, *one))
    }
}

/// What a client knows otherwise than the server.
fn wrong(
    world: &World<'_>,
    user: User,
    marks: &Marks,
    state: &ConversationState,
) -> Option<String> {
    // Of marks that a restore took back a client need not know.
    let may_be_ahead = !world.epochs.restores.is_empty();
    let agrees = |here: u64, there: u64| here == there || may_be_ahead && here > there;
    for (member, delivered, read) in &state.members {
        let compared = if *member == user {
            [("read", marks.read, *read), ("read", marks.read, *read)]
        } else {
            [
                ("delivered to the peer", marks.peer_delivered, *delivered),
                ("read by the peer", marks.peer_read, *read),
            ]
        };
        if let Some((what, here, there)) =
            compared.into_iter().find(|(_, here, there)| !agrees(*here, *there))
        {
            return Some(format!("{what} is {here} here and {there} at the server"));
        }
        if read > delivered || *delivered > state.head {
            return Some(format!("at the server {read} <= {delivered} <= {} fails", state.head));
        }
    }
    None
}

/// What a device of a friend holds is delivered.
fn delivered(world: &World<'_>, relations: &Relations, states: &Index<'_>, checks: &mut Checks) {
    let mut local: Vec<_> = world.end.local.iter().collect();
    local.sort_unstable_by_key(|(key, _)| **key);
    for ((client, conversation), (index, messages)) in local {
        let Some(user) = user_of(world, *client) else { continue };
        let Some((at, state, one)) = states.0.get(&(user, *conversation)) else { continue };
        let relation = state.relations.iter().find(|(relation, ..)| relation == conversation);
        let Some((_, peer, true)) = relation else { continue };
        if relations.was_ended(pair(user, *peer)) {
            continue;
        }
        let of_others = messages.iter().filter(|message| message.sender != user);
        let held = of_others.map(|message| message.conv_seq).max().unwrap_or(0);
        let own = one.members.iter().find(|(member, ..)| *member == user);
        let delivered = own.map_or(0, |(_, delivered, _)| *delivered);
        checks.examine(Of::Receipts);
        if held > delivered {
            checks.fail(Of::Receipts, &[*index, *at], || {
                format!(
                    "client {client} holds message {held} of conversation {conversation}, but only \
                     {delivered} is delivered"
                )
            });
        }
    }
}
