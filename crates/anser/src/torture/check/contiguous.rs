//! C4: what a connection pushes, what a device stores and what the database holds has no gaps.

use std::collections::HashMap;

use super::{Checks, Of, epochs::Epoch, world::World};
use crate::torture::history::{ClientId, ConnId, Device, Row, User, What};

pub(super) fn check(world: &World<'_>, checks: &mut Checks) {
    let mut contiguous = Contiguous {
        world,
        checks,
        conns: HashMap::new(),
        known: HashMap::new(),
        stored: HashMap::new(),
    };
    for (index, what) in world.iter() {
        contiguous.take(index, what);
    }
}

struct Contiguous<'w, 'a> {
    world: &'w World<'a>,
    checks: &'w mut Checks,
    conns: HashMap<ConnId, Pushes>,
    /// The highest row that a client was told of, by push or snapshot.
    known: HashMap<(ClientId, Epoch), u64>,
    /// Where a device stands, and the record that says so.
    stored: HashMap<ClientId, (Device, Epoch, u64, usize)>,
}

/// What a connection has pushed.
struct Pushes {
    /// All up to this one; in the beginning what the device said to have.
    through: u64,
    /// The record of the last step.
    index: usize,
    caught_up: Option<usize>,
}

impl Contiguous<'_, '_> {
    fn take(&mut self, index: usize, what: &What) {
        match what {
            What::Welcome { conn, head, floor, .. } => self.welcome(index, *conn, *head, *floor),
            What::Pushed { conn, seq, .. } => self.pushed(index, *conn, *seq),
            What::CaughtUp { conn } => self.caught_up(index, *conn),
            What::Snapshot { client, epoch, head, .. } => {
                let Some(epoch) = self.world.epochs.id(epoch) else { return };
                self.told(*client, epoch, *head);
            }
            What::Stored { client, device, epoch, position } => {
                let Some(epoch) = self.world.epochs.id(epoch) else { return };
                self.stored(index, *client, (*device, epoch, *position));
            }
            What::Wiped { client } => {
                self.known.retain(|(known, _), _| known != client);
                self.stored.remove(client);
            }
            What::OldCopy { client } => _ = self.stored.remove(client),
            What::Audit { user, floor, head, rows } => {
                self.audit(index, *user, (*floor, *head), rows);
            }
            _ => {}
        }
    }

    fn told(&mut self, client: ClientId, epoch: Epoch, seq: u64) {
        let known = self.known.entry((client, epoch)).or_default();
        *known = seq.max(*known);
    }

    fn welcome(&mut self, index: usize, conn: ConnId, head: u64, floor: u64) {
        let Some(known) = self.world.conns.get(&conn) else { return };
        self.checks.examine(Of::Contiguous);
        let through = known.position;
        if head < through || floor > through + 1 {
            self.checks.fail(Of::Contiguous, &[known.hello, index], || {
                format!("device {} was welcomed over a hole", known.device)
            });
        }
        self.conns.entry(conn).or_insert(Pushes { through, index, caught_up: None });
    }

    fn pushed(&mut self, index: usize, conn: ConnId, seq: u64) {
        let Some(known) = self.world.conns.get(&conn) else { return };
        self.checks.examine(Of::Contiguous);
        let Some(pushes) = self.conns.get_mut(&conn) else {
            return self.checks.fail(Of::Contiguous, &[known.hello, index], || {
                format!("row {seq} was pushed to device {} before a Welcome", known.device)
            });
        };
        if seq > pushes.through + 1 {
            let (through, before) = (pushes.through, pushes.index);
            self.checks.fail(Of::Contiguous, &[before, index], || {
                format!("device {} was pushed row {seq} after row {through}", known.device)
            });
        }
        // A repeat is of what this connection has pushed and was not acked.
        if seq <= known.position {
            self.checks.fail(Of::Contiguous, &[known.hello, index], || {
                format!("device {} was pushed row {seq} that it had", known.device)
            });
        }
        if seq > pushes.through {
            (pushes.through, pushes.index) = (seq, index);
        }
        if let Some(answer) = known.answer {
            self.told(known.client, answer.epoch, seq);
        }
    }

    fn caught_up(&mut self, index: usize, conn: ConnId) {
        let Some(known) = self.world.conns.get(&conn) else { return };
        self.checks.examine(Of::Contiguous);
        let (Some(pushes), Some(answer)) = (self.conns.get_mut(&conn), known.answer) else {
            return self.checks.fail(Of::Contiguous, &[known.hello, index], || {
                format!("device {} caught up without a Welcome", known.device)
            });
        };
        if let Some(before) = pushes.caught_up.replace(index) {
            self.checks.fail(Of::Contiguous, &[before, index], || {
                format!("device {} caught up twice on one connection", known.device)
            });
        }
        if pushes.through < answer.head {
            let through = pushes.through;
            self.checks.fail(Of::Contiguous, &[answer.index, index], || {
                format!(
                    "device {} was told to have caught up at {through}, but the head was {}",
                    known.device, answer.head
                )
            });
        }
    }

    fn stored(&mut self, index: usize, client: ClientId, now: (Device, Epoch, u64)) {
        self.checks.examine(Of::Contiguous);
        let (device, epoch, position) = now;
        let before = self.stored.insert(client, (device, epoch, position, index));
        if let Some((was_device, was_epoch, was_position, was)) = before
            && (was_device, was_epoch) == (device, epoch)
            && position < was_position
        {
            self.checks.fail(Of::Contiguous, &[was, index], || {
                format!("device {device} went back from {was_position} to {position}")
            });
        }
        let known = self.known.get(&(client, epoch)).copied().unwrap_or(0);
        if position > known {
            self.checks.fail(Of::Contiguous, &[index], || {
                format!("device {device} stored up to {position}, but was told up to {known}")
            });
        }
    }

    fn audit(&mut self, index: usize, user: User, (floor, head): (u64, u64), rows: &[(u64, Row)]) {
        self.checks.examine(Of::Contiguous);
        if !rows.iter().map(|(seq, _)| *seq).eq(floor..=head) {
            let expected = (floor..=head).zip(rows.iter().map(|(seq, _)| *seq));
            let first = expected.clone().find(|(expected, found)| expected != found);
            let at = first.map_or(floor + rows.len() as u64, |(expected, _)| expected);
            self.checks.fail(Of::Contiguous, &[index], || {
                format!("the inbox of user {user} is not {floor} to {head}: look at row {at}")
            });
        }
    }
}
