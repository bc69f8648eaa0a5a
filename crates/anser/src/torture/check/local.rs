//! C1, C2 and C4 of what clients hold in the end: a run of each conversation, up to its end. (That
//! it says the same as the history is judged where all views are compared.)

use std::collections::HashMap;

use super::{Checks, Of, views::Place, world::World};
use crate::torture::history::{ClientId, Conversation, Message, User, What};

pub(super) fn check(world: &World<'_>, checks: &mut Checks) {
    let expected = Expected::new(world);
    let mut finals: Vec<_> = world.end.finals.iter().collect();
    finals.sort_unstable_by_key(|(key, _)| **key);
    let mut drained: Vec<_> = world.end.drained.iter().collect();
    drained.sort_unstable_by_key(|(client, _)| **client);
    let mut of_user: HashMap<User, Vec<(ClientId, usize)>> = HashMap::new();
    for (client, (index, user)) in drained {
        of_user.entry(*user).or_default().push((*client, *index));
    }
    for ((user, conversation), (at, messages)) in finals {
        for (client, drained) in of_user.get(user).map_or(&[][..], Vec::as_slice) {
            let key = (*client, *conversation);
            let (index, local) = world.end.local.get(&key).copied().unwrap_or((*drained, &[][..]));
            checks.examine(Of::Contiguous);
            let mut judge = Judge { checks, expected: &expected, client: *client };
            judge.run(index, local);
            judge.ends(*conversation, (index, local), (*at, messages));
        }
    }
}

/// What clients have to hold.
struct Expected {
    /// The lowest message that a client has ever stored, and the record of that.
    lowest: HashMap<(ClientId, Conversation), (u64, usize)>,
    /// What a client that held nothing may leave to its user's other devices: they have got it.
    others_have: HashMap<(ClientId, Conversation), u64>,
}

impl Expected {
    fn new(world: &World<'_>) -> Self {
        let mut expected = Self { lowest: HashMap::new(), others_have: HashMap::new() };
        for (index, what) in world.iter() {
            match what {
                What::Holds { client, message, .. } => {
                    let (conversation, conv_seq): Place = (message.conversation, message.conv_seq);
                    let key = (*client, conversation);
                    let lowest = expected.lowest.entry(key).or_insert((conv_seq, index));
                    if conv_seq < lowest.0 {
                        *lowest = (conv_seq, index);
                    }
                }
                What::Snapshot { client, user, state, .. } => {
                    for one in &state.conversations {
                        let own = one.members.iter().find(|(member, ..)| member == user);
                        let delivered = own.map_or(0, |(_, delivered, _)| *delivered);
                        let key = (*client, one.conversation);
                        let known = expected.others_have.entry(key).or_default();
                        *known = delivered.max(*known);
                    }
                }
                What::Wiped { client } => {
                    expected.lowest.retain(|(known, _), _| known != client);
                    expected.others_have.retain(|(known, _), _| known != client);
                }
                What::OldCopy { client } => {
                    expected.lowest.retain(|(known, _), _| known != client);
                }
                _ => {}
            }
        }
        expected
    }
}

struct Judge<'c> {
    checks: &'c mut Checks,
    expected: &'c Expected,
    client: ClientId,
}

impl Judge<'_> {
    fn run(&mut self, index: usize, local: &[Message]) {
        let pairs = local.iter().zip(local.iter().skip(1));
        for (one, next) in pairs.filter(|(one, next)| next.conv_seq != one.conv_seq + 1) {
            let client = self.client;
            self.checks.fail(Of::Contiguous, &[index], || {
                format!("client {client} holds {} and then {}", one.conv_seq, next.conv_seq)
            });
        }
    }

    fn ends(
        &mut self,
        conversation: Conversation,
        (index, local): (usize, &[Message]),
        (at, messages): (usize, &[Message]),
    ) {
        let (client, key) = (self.client, (self.client, conversation));
        let head = messages.last().map_or(0, |message| message.conv_seq);
        let last = local.last().map_or(0, |message| message.conv_seq);
        let others_have = self.expected.others_have.get(&key).copied().unwrap_or(0);
        let nothing_due = local.is_empty() && others_have >= head;
        if last < head && !nothing_due {
            self.checks.fail(Of::Loss, &[index, at], || {
                format!("client {client} holds up to {last} of {conversation}, of {head}")
            });
        }
        if last > head {
            self.checks.fail(Of::Phantom, &[index, at], || {
                format!(
                    "client {client} holds up to {last} of {conversation}, which ends at {head}"
                )
            });
        }
        let first = local.first().map(|message| message.conv_seq);
        if let Some((lowest, stored)) = self.expected.lowest.get(&key).copied()
            && first.is_none_or(|first| first > lowest)
            && lowest <= head
        {
            self.checks.fail(Of::Loss, &[stored, index], || {
                format!("client {client} no longer holds message {lowest} that it had stored")
            });
        }
    }
}
