//! C5 and C6: everybody sees the same, in the same order, and what was seen stays.

use std::collections::{BTreeMap, HashMap};

use super::{
    Checks, Of,
    epochs::Epoch,
    log::{Log, Seen},
    views::{Name, Place, Sight, named},
    world::World,
};
use crate::torture::history::{Conversation, Device, User};

pub(super) fn check(world: &World<'_>, log: &Log, checks: &mut Checks) {
    rows(log, checks);
    for (user, epoch, inbox) in log.inboxes() {
        commands_in_order(user, epoch, inbox, checks);
    }
    messages(world, checks);
    histories(world, checks);
    gone(world, log, checks);
}

/// Any two sights of a row agree.
fn rows(log: &Log, checks: &mut Checks) {
    checks.of(Of::Order).examined += log.compared;
    checks.of(Of::Change).examined += log.compared;
    for differing in &log.differing {
        let of = if differing.between_devices { Of::Order } else { Of::Change };
        let (user, seq) = (differing.user, differing.seq);
        checks.fail(of, &differing.records, || {
            format!("row {seq} of user {user} was seen in two ways")
        });
    }
}

/// The results of a device's commands stand in its user's inbox in the order of the commands, and
/// none is left out. (After a restore the server skips the numbers that were forgotten.)
fn commands_in_order(user: User, epoch: Epoch, inbox: &BTreeMap<u64, Seen>, checks: &mut Checks) {
    let mut last: HashMap<Device, (u64, usize)> = HashMap::new();
    // Everything is known from the beginning up to here.
    let mut whole = 0;
    for (seq, seen) in inbox {
        if *seq == whole + 1 {
            whole = *seq;
        }
        let Some((device, number)) = named(&seen.row.kind) else { continue };
        let is_own = match seen.row.kind {
            crate::torture::history::Kind::Message { sender, .. } => sender == user,
            _ => true,
        };
        if !is_own {
            continue;
        }
        checks.examine(Of::Order);
        let (before, index) = last.get(&device).copied().unwrap_or((0, seen.index));
        let none_left_out = whole == *seq && epoch == 0;
        let in_order = if none_left_out { number == before + 1 } else { number > before };
        if !in_order {
            checks.fail(Of::Order, &[index, seen.index], || {
                format!(
                    "in the inbox of user {user} command {number} of device {device} follows \
                         {before}"
                )
            });
        }
        last.insert(device, (number.max(before), seen.index));
    }
}

/// Any two sights of a message agree on which it is.
fn messages(world: &World<'_>, checks: &mut Checks) {
    let mut known: HashMap<(Epoch, Place), (Name, User, User, usize)> = HashMap::new();
    let heads = heads(world);
    let last = world.epochs.last();
    world.messages(|sight: Sight<'_>| {
        let Some(epoch) = sight.epoch else { return };
        let said = (sight.name, sight.sender, sight.user, sight.index);
        let (conversation, conv_seq) = sight.place;
        let mut is_first = false;
        let (name, sender, user, index) = *known.entry((epoch, sight.place)).or_insert_with(|| {
            is_first = true;
            said
        });
        if is_first {
            checks.examine(Of::Change);
            let head = heads.get(&conversation).copied().filter(|_| epoch == last);
            if let Some((head, at)) = head.filter(|(head, _)| conv_seq > *head)
                && sight.holder.is_none()
            {
                checks.fail(Of::Change, &[sight.index, at], || {
                    format!(
                        "message {conv_seq} of conversation {conversation} was seen; in the \
                             end there are {head}"
                    )
                });
            }
            return;
        }
        checks.examine(Of::Order);
        if (name, sender) != (sight.name, sight.sender) {
            let of = if user == sight.user { Of::Change } else { Of::Order };
            checks.fail(of, &[index, sight.index], || {
                format!("message {conv_seq} of conversation {conversation} is seen as two")
            });
        }
    });
}

/// The last message of each conversation in the end, and the record that tells it.
fn heads(world: &World<'_>) -> HashMap<Conversation, (u64, usize)> {
    let mut heads = HashMap::new();
    for ((_, conversation), (index, messages)) in &world.end.finals {
        let head = messages.last().map_or(0, |message| message.conv_seq);
        let known = heads.entry(*conversation).or_insert((head, *index));
        if head > known.0 {
            *known = (head, *index);
        }
    }
    heads
}

/// The histories in the end: numbered from 1 on, each device's commands in their order, and the
/// same for all members.
fn histories(world: &World<'_>, checks: &mut Checks) {
    let heads = heads(world);
    let mut finals: Vec<_> = world.end.finals.iter().collect();
    finals.sort_unstable_by_key(|(key, _)| **key);
    for ((user, conversation), (index, messages)) in finals {
        checks.examine(Of::Order);
        if !messages.iter().map(|message| message.conv_seq).eq(1..=messages.len() as u64) {
            checks.fail(Of::Order, &[*index], || {
                format!("user {user} sees conversation {conversation} with holes")
            });
        }
        let mut last: HashMap<Device, u64> = HashMap::new();
        for message in *messages {
            let before = last.insert(message.device, message.client_seq).unwrap_or(0);
            if message.client_seq <= before {
                checks.fail(Of::Order, &[*index], || {
                    format!(
                        "in conversation {conversation} command {} of device {} follows {before}",
                        message.client_seq, message.device
                    )
                });
            }
        }
        let head = messages.last().map_or(0, |message| message.conv_seq);
        if let Some((other, at)) = heads.get(conversation).copied()
            && head < other
        {
            checks.fail(Of::Order, &[*index, at], || {
                format!(
                    "conversation {conversation} ends at {head} for user {user}, at {other} \
                         for another"
                )
            });
        }
    }
}

/// What was pushed in the last epoch is in the database in the end.
fn gone(world: &World<'_>, log: &Log, checks: &mut Checks) {
    let mut audits: Vec<_> = world.end.audits.iter().collect();
    audits.sort_unstable_by_key(|(user, _)| **user);
    for (user, (audit, _, head)) in audits {
        let Some(inbox) = log.inbox(*user, world.epochs.last()) else { continue };
        checks.of(Of::Change).examined += inbox.len();
        for (seq, seen) in inbox.range(head + 1..).filter(|(_, seen)| seen.index != *audit) {
            checks.fail(Of::Change, &[seen.index, *audit], || {
                format!("row {seq} of user {user} was pushed, and is not in the database")
            });
        }
    }
}
