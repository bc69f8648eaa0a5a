//! C3 and C7: nothing happens twice.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use super::{
    Checks, Of,
    commands::Commands,
    epochs::Epoch,
    log::Log,
    views::{Name, Place, Sight},
    world::World,
};
use crate::torture::history::{ClientId, Device, What};

pub(super) fn check(world: &World<'_>, commands: &Commands<'_>, log: &Log, checks: &mut Checks) {
    for (name, first, second) in &log.doubled {
        checks.fail(Of::Twice, &[first.index, second.index], || {
            format!(
                "command {} of device {} has rows {} and {} in the inbox of user {}",
                name.1, name.0, first.seq, second.seq, first.user
            )
        });
    }
    let (names, sends) = (HashMap::new(), HashMap::new());
    let (hellos, replaced) = (hellos(world), replaced(world));
    let mut twice = Twice { commands, checks, hellos, replaced, names, sends };
    world.messages(|sight| {
        if let Some(epoch) = sight.epoch {
            twice.name(epoch, &sight);
            twice.send(epoch, &sight);
        }
    });
    let undecided = (0..commands.sends.len()).filter(|send| twice.of(Some(*send)) != Of::Twice);
    let undecided: Vec<_> = undecided.collect();
    for _ in undecided.iter().filter(|send| !commands.sends[**send].names.is_empty()) {
        checks.examine(Of::Indeterminate);
    }
    held(world, checks);
}

struct Twice<'w, 'a> {
    commands: &'w Commands<'a>,
    checks: &'w mut Checks,
    /// When devices connected, rising.
    hellos: HashMap<Device, Vec<usize>>,
    /// From the making of a copy to the moment at which it replaced what had become of the client.
    replaced: HashMap<ClientId, Vec<Range<usize>>>,
    /// Where the message of a command is, and the record that first showed it.
    names: HashMap<(Epoch, Name), (Place, usize)>,
    /// The same for sends, under whatever name.
    sends: HashMap<(Epoch, usize), (Place, Name, usize)>,
}

impl Twice<'_, '_> {
    fn name(&mut self, epoch: Epoch, sight: &Sight<'_>) {
        match self.names.entry((epoch, sight.name)) {
            Entry::Vacant(entry) => {
                self.checks.examine(Of::Twice);
                entry.insert((sight.place, sight.index));
            }
            Entry::Occupied(entry) if entry.get().0 != sight.place => {
                let (first, name) = (*entry.get(), sight.name);
                let sent = self.commands.send_of(name, sight.text);
                let of = self.of(sent);
                self.checks.fail(of, &[first.1, sight.index], || {
                    format!("command {} of device {} became two messages", name.1, name.0)
                });
            }
            Entry::Occupied(_) => {}
        }
    }

    fn send(&mut self, epoch: Epoch, sight: &Sight<'_>) {
        let Some(send) = self.commands.send_of(sight.name, sight.text) else { return };
        let (place, name, first) =
            *self.sends.entry((epoch, send)).or_insert((sight.place, sight.name, sight.index));
        // Under the same name it is the other rule's.
        if place != sight.place
            && name != sight.name
            && !self.is_of_a_copy(send, [name, sight.name])
        {
            let of = self.of(Some(send));
            self.checks.fail(of, &[first, sight.index], || {
                format!(
                    "one send became two messages: as command {} of device {}, and {} of {}",
                    name.1, name.0, sight.name.1, sight.name.0
                )
            });
        }
    }

    /// Whether one of two names was given by a storage that was then replaced by an older copy of
    /// it: the copy has the send too, and nothing tells it that it was moved to a new device and
    /// sent.
    fn is_of_a_copy(&self, send: usize, names: [Name; 2]) -> bool {
        let send = &self.commands.sends[send];
        let given = |name| send.names.iter().find(|(known, _)| *known == name).map(|(_, at)| *at);
        let (Some(one), Some(other)) = (given(names[0]), given(names[1])) else { return false };
        self.replaced.get(&send.client).is_some_and(|replaced| {
            replaced.iter().any(|gone| gone.contains(&one) != gone.contains(&other))
        })
    }

    /// Which promise a double breaks. A send was indeterminate when its device had to connect again
    /// before it heard an ack, or never heard one.
    fn of(&self, send: Option<usize>) -> Of {
        let Some(send) = send.map(|send| &self.commands.sends[send]) else { return Of::Twice };
        let Some((_, acked)) = send.acks.first() else { return Of::Indeterminate };
        let came_back = send.names.iter().any(|((device, _), queued)| {
            let hellos = self.hellos.get(device).map_or(&[][..], Vec::as_slice);
            let next = hellos.partition_point(|hello| hello < queued);
            hellos.get(next).is_some_and(|hello| hello < acked)
        });
        if came_back { Of::Indeterminate } else { Of::Twice }
    }
}

fn hellos(world: &World<'_>) -> HashMap<Device, Vec<usize>> {
    let mut hellos: HashMap<Device, Vec<usize>> = HashMap::new();
    for (index, what) in world.iter() {
        if let What::Hello { device, .. } = what {
            hellos.entry(*device).or_default().push(index);
        }
    }
    hellos
}

/// The times of clients that an old copy undid.
fn replaced(world: &World<'_>) -> HashMap<ClientId, Vec<Range<usize>>> {
    let mut copied = HashMap::new();
    let mut replaced: HashMap<ClientId, Vec<Range<usize>>> = HashMap::new();
    for (index, what) in world.iter() {
        match what {
            What::Copied { client } => _ = copied.insert(*client, index),
            What::OldCopy { client } => {
                let from = copied.get(client).copied().unwrap_or(0);
                replaced.entry(*client).or_default().push(from..index);
            }
            _ => {}
        }
    }
    replaced
}

/// What a client stored as one message it never stores as another.
fn held(world: &World<'_>, checks: &mut Checks) {
    let mut held: HashMap<(ClientId, Place), (usize, Name, Option<&str>)> = HashMap::new();
    for (index, what) in world.iter() {
        let What::Holds { client, message, .. } = what else { continue };
        let place = (message.conversation, message.conv_seq);
        let (name, text) = ((message.device, message.client_seq), message.text.as_deref());
        checks.examine(Of::Twice);
        let Some((before, known, said)) = held.insert((*client, place), (index, name, text)) else {
            continue;
        };
        let differs = known != name || said.zip(text).is_some_and(|(one, other)| one != other);
        let same_epoch = world.held_in(before).is_some()
            && world.held_in(before) == world.held_in(index)
            && !world.epochs.restored_between(before, index);
        if differs && same_epoch {
            checks.fail(Of::Twice, &[before, index], || {
                format!("client {client} stored message {} twice, differently", place.1)
            });
        }
    }
}
