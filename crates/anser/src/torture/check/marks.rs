//! C8 in the end: what senders know of deliveries and reads is what the server knows.

use std::collections::HashMap;

use super::{
    Checks, Of,
    relations::{Relations, pair},
    world::World,
};
use crate::torture::history::{
    ClientId, Conversation, ConversationState, Device, Kind, Marks, State, User, What,
};

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

/// What a device that is there in the end has acked, of a friend, is delivered. (What it took from
/// the history instead was never pushed to it, so it has not acked it.)
fn delivered(world: &World<'_>, relations: &Relations, states: &Index<'_>, checks: &mut Checks) {
    let acked = acked(world);
    let mut acked: Vec<_> = acked.iter().collect();
    acked.sort_unstable_by_key(|(key, _)| **key);
    for ((device, conversation), (conv_seq, index)) in acked {
        let Some(user) = world.devices.get(device).copied() else { continue };
        let Some((at, state, one)) = states.0.get(&(user, *conversation)) else { continue };
        let relation = state.relations.iter().find(|(relation, ..)| relation == conversation);
        let Some((_, peer, true)) = relation else { continue };
        if relations.was_ended(pair(user, *peer)) {
            continue;
        }
        let own = one.members.iter().find(|(member, ..)| *member == user);
        let delivered = own.map_or(0, |(_, delivered, _)| *delivered);
        checks.examine(Of::Receipts);
        if *conv_seq > delivered {
            checks.fail(Of::Receipts, &[*index, *at], || {
                format!(
                    "device {device} acked message {conv_seq} of conversation {conversation}, but \
                     only {delivered} is delivered"
                )
            });
        }
    }
}

/// Messages of others that were pushed to a device, and how many of them it acked.
#[derive(Default)]
struct Pushed {
    /// Row, conversation and number, rising by row.
    rows: Vec<(u64, Conversation, u64)>,
    acked: usize,
    is_there: bool,
}

/// By device and conversation: the highest message of others that a device has acked which is there
/// in the end, and the record of that ack: of a push, or the position of a Hello.
fn acked(world: &World<'_>) -> HashMap<(Device, Conversation), (u64, usize)> {
    let mut pushed: HashMap<Device, Pushed> = HashMap::new();
    let mut acked = HashMap::new();
    for (index, what) in world.iter() {
        let (device, position) = match what {
            What::Drained { client, device, .. } => {
                let drained = world.end.drained.get(client);
                if drained.is_some_and(|(last, _)| *last == index) {
                    pushed.entry(*device).or_default().is_there = true;
                }
                continue;
            }
            What::Pushed { conn, seq, row } => {
                let Some(conn) = world.conns.get(conn) else { continue };
                let Kind::Message { conversation, conv_seq, sender, .. } = row.kind else {
                    continue;
                };
                let rows = &mut pushed.entry(conn.device).or_default().rows;
                let is_new = rows.last().is_none_or(|(last, ..)| last < seq);
                if sender != conn.user && is_new {
                    rows.push((*seq, conversation, conv_seq));
                }
                continue;
            }
            What::Hello { device, position, .. } => (*device, *position),
            What::Confirmed { conn, position } => {
                let Some(conn) = world.conns.get(conn) else { continue };
                (conn.device, *position)
            }
            _ => continue,
        };
        let Some(pushed) = pushed.get_mut(&device) else { continue };
        while let Some((seq, conversation, conv_seq)) = pushed.rows.get(pushed.acked).copied()
            && seq <= position
        {
            pushed.acked += 1;
            let highest = acked.entry((device, conversation)).or_insert((conv_seq, index));
            if conv_seq > highest.0 {
                *highest = (conv_seq, index);
            }
        }
    }
    acked.retain(|(device, _), _| pushed.get(device).is_some_and(|one| one.is_there));
    acked
}
