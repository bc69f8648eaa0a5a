//! What clients asked for: commands by (device, number), sends by their text, and what was acked.
//!
//! A send that had to move to a new device has several names and is one send. A name may stand for
//! several commands: an old copy of a storage gives out numbers again that it does not know of. So
//! an ack of such a name does not say whose it is.

use std::collections::HashMap;

use super::{epochs::Epoch, views::Name, world::World};
use crate::torture::history::{
    ClientId, Command, ConnId, Conversation, Device, FileBytes, OpId, What,
};

/// All commands of a run.
pub(super) struct Commands<'a> {
    pub(super) names: HashMap<Name, Named<'a>>,
    pub(super) sends: Vec<Send<'a>>,
    /// The outcome that the application was told of each operation, with its record.
    pub(super) ends: HashMap<OpId, (usize, Ended)>,
    /// The records that first acked a send, by a frame of its own.
    pub(super) send_acks: Vec<(usize, Name)>,
    texts: HashMap<&'a str, usize>,
    numbers: HashMap<Device, Vec<u64>>,
}

/// What a (device, number) stands for.
#[derive(Default)]
pub(super) struct Named<'a> {
    /// One, but after an old copy was put back.
    pub(super) candidates: Vec<Candidate<'a>>,
    /// The first ack in each epoch, with its record.
    pub(super) acks: Vec<(Epoch, usize)>,
}

/// A command that was put into an outbox.
pub(super) struct Candidate<'a> {
    /// The first `Queued` that has it under this name.
    pub(super) index: usize,
    pub(super) client: ClientId,
    pub(super) command: &'a Command,
    /// Into [`Commands::sends`], for a send.
    pub(super) send: Option<usize>,
}

/// A message that somebody wanted to send.
pub(super) struct Send<'a> {
    /// `None` when the text was never seen.
    pub(super) text: Option<&'a str>,
    pub(super) client: ClientId,
    pub(super) conversation: Conversation,
    /// Of a message with a file, the bytes that were sent.
    pub(super) file: Option<&'a FileBytes>,
    /// The call of the application.
    pub(super) call: Option<(usize, OpId)>,
    /// Its names so far and the records that gave them.
    pub(super) names: Vec<(Name, usize)>,
    /// Acks that can only be of this send.
    pub(super) acks: Vec<(Epoch, usize)>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Refused,
    Unclear,
    /// It was taken, and later the client told that it will not be sent.
    GivenUp,
}

impl<'a> Commands<'a> {
    pub(super) fn new(world: &World<'a>) -> Self {
        let mut commands = Self {
            names: HashMap::new(),
            sends: Vec::new(),
            ends: HashMap::new(),
            send_acks: Vec::new(),
            texts: HashMap::new(),
            numbers: HashMap::new(),
        };
        for (index, what) in world.iter() {
            commands.take(index, what);
        }
        for numbers in commands.numbers.values_mut() {
            numbers.sort_unstable();
            numbers.dedup();
        }
        Acks { world, commands: &mut commands, acked: HashMap::new(), told: HashMap::new() }.read();
        commands
    }

    /// How many commands were acked.
    pub(super) fn acked(&self) -> usize {
        self.names.values().filter(|named| !named.acks.is_empty()).count()
    }

    /// The send that a message is, if that can be told.
    pub(super) fn send_of(&self, name: Name, text: Option<&str>) -> Option<usize> {
        let by_text = text.and_then(|text| self.texts.get(text).copied());
        by_text.or_else(|| match self.names.get(&name)?.candidates.as_slice() {
            [only] => only.send,
            _ => None,
        })
    }

    /// The record of a call, or else that of the first time it stood in an outbox.
    pub(super) fn began(&self, send: usize) -> usize {
        let send = &self.sends[send];
        let queued = || send.names.first().map(|(_, index)| *index);
        send.call.map(|(index, _)| index).or_else(queued).unwrap_or(0)
    }

    /// What the application was told of a send.
    pub(super) fn ended(&self, send: &Send<'_>) -> Option<(usize, Ended)> {
        let (_, op) = send.call?;
        self.ends.get(&op).copied()
    }

    fn take(&mut self, index: usize, what: &'a What) {
        match what {
            What::Send { op, client, conversation, text, file } => {
                let new = self.sends.len();
                let send = *self.texts.entry(text).or_insert(new);
                if send == new {
                    let (text, call) = (Some(text.as_str()), Some((index, *op)));
                    let (client, conversation) = (*client, *conversation);
                    self.sends.push(Send {
                        text,
                        client,
                        conversation,
                        file: file.as_ref(),
                        call,
                        names: Vec::new(),
                        acks: Vec::new(),
                    });
                }
            }
            What::Done { op } => _ = self.ends.insert(*op, (index, Ended::Done)),
            What::Refused { op, .. } => _ = self.ends.insert(*op, (index, Ended::Refused)),
            What::Unclear { op } => _ = self.ends.insert(*op, (index, Ended::Unclear)),
            What::GaveUp { op, .. } => _ = self.ends.insert(*op, (index, Ended::GivenUp)),
            What::Queued { client, device, client_seq, command } => {
                self.queue(index, *client, (*device, *client_seq), command);
            }
            _ => {}
        }
    }

    fn queue(&mut self, index: usize, client: ClientId, name: Name, command: &'a Command) {
        let named = self.names.entry(name).or_default();
        if named.candidates.iter().any(|known| known.command == command) {
            return;
        }
        let send = match command {
            Command::Read { .. } => None,
            Command::Send { conversation, text } => {
                let new = self.sends.len();
                let send = match text {
                    Some(text) => *self.texts.entry(text).or_insert(new),
                    None => new,
                };
                if send == new {
                    self.sends.push(Send {
                        text: text.as_deref(),
                        client,
                        conversation: *conversation,
                        file: None,
                        call: None,
                        names: Vec::new(),
                        acks: Vec::new(),
                    });
                }
                self.sends[send].names.push((name, index));
                Some(send)
            }
        };
        named.candidates.push(Candidate { index, client, command, send });
        self.numbers.entry(name.0).or_default().push(name.1);
    }
}

/// Reads who was acked what, and when.
struct Acks<'w, 'a> {
    world: &'w World<'a>,
    commands: &'w mut Commands<'a>,
    /// Up to where the commands of a connection were acked.
    acked: HashMap<ConnId, u64>,
    /// Up to where a device was told at a Hello that its commands are applied.
    told: HashMap<(Device, Epoch), u64>,
}

impl Acks<'_, '_> {
    fn read(&mut self) {
        for (index, what) in self.world.iter() {
            match what {
                What::Acked { conn, position } => self.frame(index, *conn, *position),
                What::Welcome { conn, .. } | What::Reset { conn, .. } => self.hello(index, *conn),
                _ => {}
            }
        }
    }

    /// Acks of a connection begin after what its Welcome told.
    fn frame(&mut self, index: usize, conn: ConnId, position: u64) {
        let Some(known) = self.world.conns.get(&conn) else { return };
        let Some(answer) = known.answer else { return };
        let from = self.acked.entry(conn).or_insert(answer.outbox_position);
        let after = *from;
        *from = after.max(position);
        for number in self.numbers(known.device, after, position) {
            let name = (known.device, number);
            if self.ack(name, answer.epoch, index) {
                self.commands.send_acks.push((index, name));
            }
        }
    }

    /// A position told at a Hello says that commands are applied, but for those that the device
    /// forgot before a restore: the server skips their numbers. So it counts for commands that were
    /// given in this epoch.
    fn hello(&mut self, index: usize, conn: ConnId) {
        let Some(known) = self.world.conns.get(&conn) else { return };
        let Some(answer) = known.answer.filter(|answer| answer.index == index) else { return };
        let told = self.told.entry((known.device, answer.epoch)).or_default();
        let after = *told;
        *told = after.max(answer.outbox_position);
        let begins = self.world.epochs.begins(answer.epoch);
        for number in self.numbers(known.device, after, answer.outbox_position) {
            let name = (known.device, number);
            let given = self.commands.names.get(&name).and_then(|named| named.candidates.first());
            if given.is_some_and(|given| given.index >= begins) {
                self.ack(name, answer.epoch, index);
            }
        }
    }

    /// The numbers that a device has given, above one and up to another.
    fn numbers(&self, device: Device, after: u64, through: u64) -> Vec<u64> {
        let Some(given) = self.commands.numbers.get(&device) else { return Vec::new() };
        let from = given.partition_point(|number| *number <= after);
        let given = given[from..].iter().copied();
        given.take_while(|number| *number <= through).collect()
    }

    /// Gives whether a send was acked for the first time.
    fn ack(&mut self, name: Name, epoch: Epoch, index: usize) -> bool {
        let Some(named) = self.commands.names.get_mut(&name) else { return false };
        if named.acks.iter().any(|(known, _)| *known == epoch) {
            return false;
        }
        let is_first = named.acks.is_empty();
        named.acks.push((epoch, index));
        let mut given = named.candidates.iter().filter(|candidate| candidate.index < index);
        let (Some(candidate), None) = (given.next(), given.next()) else { return false };
        let Some(send) = candidate.send else { return false };
        self.commands.sends[send].acks.push((epoch, index));
        is_first
    }
}
