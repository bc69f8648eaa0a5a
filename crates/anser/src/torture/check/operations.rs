//! How the operations of the clients ended.

use std::collections::HashMap;

use super::{
    commands::{Commands, Ended},
    fates::Fates,
    views::Name,
    world::World,
};
use crate::torture::history::{ClientId, Command, Conversation, What};

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::torture) struct Operations {
    pub(in crate::torture) ok: usize,
    /// Refused when asked for, or rejected later.
    pub(in crate::torture) failed: usize,
    /// Nobody knows, or will ever know.
    pub(in crate::torture) indeterminate: usize,
}

pub(super) fn count(world: &World<'_>, commands: &Commands<'_>, fates: &Fates) -> Operations {
    let reads = reads(commands);
    let mut operations = Operations::default();
    for (_, what) in world.iter() {
        let fate = match what {
            What::Send { op, text, .. } => send(commands, fates, *op, text),
            What::Read { op, client, conversation, conv_seq } => {
                let names = reads.get(&(*client, *conversation, *conv_seq));
                let names = names.map_or(&[][..], Vec::as_slice);
                match commands.ends.get(op).map(|(_, ended)| *ended) {
                    Some(Ended::Refused) => Ended::Refused,
                    // It was not worth a command: that much was read before.
                    Some(Ended::Done) if names.is_empty() => Ended::Done,
                    _ => read(commands, fates, names),
                }
            }
            What::Relate { op, .. } => {
                commands.ends.get(op).map_or(Ended::Unclear, |(_, ended)| *ended)
            }
            _ => continue,
        };
        match fate {
            Ended::Done => operations.ok += 1,
            Ended::Refused | Ended::GivenUp => operations.failed += 1,
            Ended::Unclear => operations.indeterminate += 1,
        }
    }
    operations
}

fn send(commands: &Commands<'_>, fates: &Fates, op: u64, text: &str) -> Ended {
    if let Some((_, Ended::Refused)) = commands.ends.get(&op) {
        return Ended::Refused;
    }
    let Some(number) = commands.send_of((0, 0), Some(text)) else { return Ended::Unclear };
    let send = &commands.sends[number];
    if fates.seen[number] {
        Ended::Done
    } else if let Some((_, Ended::GivenUp)) = commands.ends.get(&op) {
        Ended::GivenUp
    } else if fates.is_rejected(&send.names) {
        Ended::Refused
    } else if send.acks.is_empty() {
        Ended::Unclear
    } else {
        Ended::Done
    }
}

fn read(commands: &Commands<'_>, fates: &Fates, names: &[Name]) -> Ended {
    let is_rejected = |name: &&Name| fates.rejected.contains_key(*name);
    let is_acked =
        |name: &&Name| commands.names.get(*name).is_some_and(|named| !named.acks.is_empty());
    if names.iter().filter(is_acked).any(|name| !is_rejected(&name)) {
        Ended::Done
    } else if names.iter().any(|name| is_rejected(&name)) {
        Ended::Refused
    } else {
        Ended::Unclear
    }
}

/// Read marks by what they say: one that moved to a new device has several names.
fn reads(commands: &Commands<'_>) -> HashMap<(ClientId, Conversation, u64), Vec<Name>> {
    let mut reads: HashMap<_, Vec<Name>> = HashMap::new();
    for (name, named) in &commands.names {
        for candidate in &named.candidates {
            if let Command::Read { conversation, conv_seq } = candidate.command {
                reads.entry((candidate.client, *conversation, *conv_seq)).or_default().push(*name);
            }
        }
    }
    reads
}
