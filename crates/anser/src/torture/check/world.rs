//! What most checks need to know of a run: who is who, which connection is whose, which epoch a
//! record belongs to, and the views at the end.

use std::collections::HashMap;

use super::epochs::{Epoch, Epochs};
use crate::torture::history::{
    ClientId, ConnId, Conversation, Device, Marks, Message, Record, State, User, What,
};

/// A run, indexed.
pub(super) struct World<'a> {
    pub(super) records: &'a [Record],
    pub(super) epochs: Epochs<'a>,
    pub(super) conns: HashMap<ConnId, Conn>,
    pub(super) devices: HashMap<Device, User>,
    pub(super) clients: HashMap<ClientId, User>,
    /// The record from which on clients only come back and drain.
    pub(super) settling: Option<usize>,
    pub(super) end: End<'a>,
    /// For each record of a stored message, the epoch that it is known from.
    held_in: HashMap<usize, Epoch>,
}

/// One connection.
pub(super) struct Conn {
    pub(super) client: ClientId,
    pub(super) device: Device,
    pub(super) user: User,
    /// The record of its Hello.
    pub(super) hello: usize,
    pub(super) position: u64,
    pub(super) answer: Option<Answer>,
}

/// What the server said to a Hello: Welcome or Reset.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) index: usize,
    pub(super) epoch: Epoch,
    pub(super) head: u64,
    pub(super) outbox_position: u64,
}

/// What was found after everybody had drained, each with its record.
#[derive(Default)]
pub(super) struct End<'a> {
    pub(super) drained: HashMap<ClientId, (usize, User)>,
    pub(super) marks: HashMap<(ClientId, Conversation), (usize, Marks)>,
    pub(super) local: HashMap<(ClientId, Conversation), (usize, &'a [Message])>,
    pub(super) finals: HashMap<(User, Conversation), (usize, &'a [Message])>,
    pub(super) states: HashMap<User, (usize, &'a State)>,
    /// Floor and head.
    pub(super) audits: HashMap<User, (usize, u64, u64)>,
}

impl<'a> World<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let mut world = Self {
            records,
            epochs: Epochs::new(records),
            conns: HashMap::new(),
            devices: HashMap::new(),
            clients: HashMap::new(),
            settling: None,
            end: End::default(),
            held_in: HashMap::new(),
        };
        for (index, record) in records.iter().enumerate() {
            world.take(index, &record.what);
            world.take_end(index, &record.what);
        }
        world.date_stored_messages();
        world
    }

    /// The records with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a What)> + use<'a> {
        self.records.iter().map(|record| &record.what).enumerate()
    }

    /// The epoch of a connection that was welcomed or reset.
    pub(super) fn epoch_of(&self, conn: ConnId) -> Option<Epoch> {
        Some(self.conns.get(&conn)?.answer?.epoch)
    }

    /// The epoch that a stored message is known from, if that can be told.
    pub(super) fn held_in(&self, index: usize) -> Option<Epoch> {
        self.held_in.get(&index).copied()
    }

    /// The user of a client, as whichever device.
    pub(super) fn user_of(&self, client: ClientId) -> Option<User> {
        self.clients.get(&client).copied()
    }

    fn take(&mut self, index: usize, what: &What) {
        match what {
            What::Became { client, user, device } => {
                self.clients.insert(*client, *user);
                self.devices.insert(*device, *user);
            }
            What::Hello { conn, client, device, position, .. } => {
                let user = self.devices.get(device).or_else(|| self.clients.get(client));
                let Some(user) = user.copied() else { return };
                self.conns.entry(*conn).or_insert(Conn {
                    client: *client,
                    device: *device,
                    user,
                    hello: index,
                    position: *position,
                    answer: None,
                });
            }
            What::Welcome { conn, epoch, head, outbox_position, .. } => {
                self.answer(
                    *conn,
                    epoch,
                    Answer { index, epoch: 0, head: *head, outbox_position: *outbox_position },
                );
            }
            What::Reset { conn, epoch, head, outbox_position } => {
                self.answer(
                    *conn,
                    epoch,
                    Answer { index, epoch: 0, head: *head, outbox_position: *outbox_position },
                );
            }
            What::Settling => self.settling = Some(index),
            _ => {}
        }
    }

    fn answer(&mut self, conn: ConnId, epoch: &str, answer: Answer) {
        let Some(epoch) = self.epochs.id(epoch) else { return };
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.answer.get_or_insert(Answer { epoch, ..answer });
        }
    }

    fn take_end(&mut self, index: usize, what: &'a What) {
        let end = &mut self.end;
        match what {
            What::Drained { client, user, .. } => {
                end.drained.insert(*client, (index, *user));
            }
            What::Marks { client, conversation, marks } => {
                end.marks.insert((*client, *conversation), (index, *marks));
            }
            What::Local { client, conversation, messages } => {
                end.local.insert((*client, *conversation), (index, messages));
            }
            What::Final { user, conversation, messages } => {
                end.finals.insert((*user, *conversation), (index, messages));
            }
            What::FinalState { user, state, .. } => {
                end.states.insert(*user, (index, state));
            }
            What::Audit { user, floor, head, .. } => {
                end.audits.insert(*user, (index, *floor, *head));
            }
            _ => {}
        }
    }

    /// A message is stored before the position of the history that it is from, or with it: the next
    /// position of the client tells the epoch.
    fn date_stored_messages(&mut self) {
        let mut next: HashMap<ClientId, (usize, Epoch)> = HashMap::new();
        for (index, what) in self.records.iter().map(|record| &record.what).enumerate().rev() {
            match what {
                What::Stored { client, epoch, .. } => match self.epochs.id(epoch) {
                    Some(epoch) => _ = next.insert(*client, (index, epoch)),
                    None => _ = next.remove(client),
                },
                What::Wiped { client } | What::OldCopy { client } => _ = next.remove(client),
                What::Holds { client, .. } => {
                    // After a restore in between it may have been of the one before.
                    if let Some((stored, epoch)) = next.get(client)
                        && !self.epochs.restored_between(index, *stored)
                    {
                        self.held_in.insert(index, *epoch);
                    }
                }
                _ => {}
            }
        }
    }
}
