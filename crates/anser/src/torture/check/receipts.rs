//! C8 as things happen: nobody is told of a delivery or a read that has not happened.

use std::collections::HashMap;

use super::{Checks, Of, epochs::Epoch, log::Log, views::RowSight, world::World};
use crate::torture::history::{Command, Conversation, Device, Kind, State, User, What};

pub(super) fn check(world: &World<'_>, log: &Log, checks: &mut Checks) {
    let mut receipts = Receipts {
        world,
        log,
        checks,
        heads: Heads::new(world),
        incoming: incoming(log),
        proofs: HashMap::new(),
        durable: HashMap::new(),
    };
    for (index, what) in world.iter() {
        receipts.take(index, what);
    }
    never_back(log, checks);
}

struct Receipts<'w, 'a> {
    world: &'w World<'a>,
    log: &'w Log,
    checks: &'w mut Checks,
    heads: Heads,
    incoming: HashMap<(User, Epoch), Incoming>,
    proofs: HashMap<(User, Conversation), Proof>,
    /// How far a device has stored its inbox.
    durable: HashMap<(Device, Epoch), u64>,
}

/// The messages of others in an inbox, by row, and how many of them a device has stored.
#[derive(Default)]
struct Incoming {
    rows: Vec<(u64, Conversation, u64)>,
    stored: usize,
}

/// How far a user has shown to have got and read a conversation.
#[derive(Clone, Copy, Default)]
struct Proof {
    delivered: u64,
    read: u64,
}

impl Receipts<'_, '_> {
    fn take(&mut self, index: usize, what: &What) {
        match what {
            What::Stored { device, epoch, position, .. } => self.stored(*device, epoch, *position),
            What::Holds { client, message, .. } => {
                let Some(user) = self.world.user_of(*client) else { return };
                if message.sender != user {
                    self.prove((user, message.conversation), message.conv_seq, 0);
                }
            }
            What::Queued { device, command: Command::Read { conversation, conv_seq }, .. } => {
                let Some(user) = self.world.devices.get(device) else { return };
                self.prove((*user, *conversation), *conv_seq, *conv_seq);
            }
            What::Hello { device, epoch, position, .. } => {
                let Some(epoch) = self.world.epochs.id(epoch) else { return };
                self.confirmed(index, *device, epoch, *position);
            }
            What::Confirmed { conn, position } => {
                let Some(conn) = self.world.conns.get(conn) else { return };
                let Some(answer) = conn.answer else { return };
                self.confirmed(index, conn.device, answer.epoch, *position);
            }
            What::Pushed { conn, seq, row } => {
                let Some(conn) = self.world.conns.get(conn) else { return };
                let Some(answer) = conn.answer else { return };
                let (user, epoch, device) = (conn.user, answer.epoch, Some(conn.device));
                self.row(RowSight { index, user, epoch, device, seq: *seq, row: *row });
            }
            What::Audit { user, rows, .. } => {
                let (user, epoch) = (*user, self.world.epochs.last());
                for (seq, row) in rows {
                    let (seq, row) = (*seq, *row);
                    self.row(RowSight { index, user, epoch, device: None, seq, row });
                }
            }
            _ => {}
        }
    }

    fn prove(&mut self, whose: (User, Conversation), delivered: u64, read: u64) {
        let proof = self.proofs.entry(whose).or_default();
        proof.delivered = delivered.max(proof.delivered);
        proof.read = read.max(proof.read);
    }

    fn stored(&mut self, device: Device, epoch: &str, position: u64) {
        let Some(epoch) = self.world.epochs.id(epoch) else { return };
        let durable = self.durable.entry((device, epoch)).or_default();
        *durable = position.max(*durable);
        let Some(user) = self.world.devices.get(&device).copied() else { return };
        let Some(incoming) = self.incoming.get_mut(&(user, epoch)) else { return };
        let rows = &incoming.rows[incoming.stored..];
        let newly = rows.partition_point(|(seq, ..)| *seq <= position);
        for (_, conversation, conv_seq) in &rows[..newly] {
            let proof = self.proofs.entry((user, *conversation)).or_default();
            proof.delivered = proof.delivered.max(*conv_seq);
        }
        incoming.stored += newly;
    }

    /// An ack says that entries are stored; so does the position of a Hello.
    fn confirmed(&mut self, index: usize, device: Device, epoch: Epoch, position: u64) {
        self.checks.examine(Of::Receipts);
        let durable = self.durable.get(&(device, epoch)).copied().unwrap_or(0);
        if position > durable {
            self.checks.fail(Of::Receipts, &[index], || {
                format!("device {device} acked {position}, but had stored only up to {durable}")
            });
        }
    }

    /// A receipt, when it is seen for the first time.
    fn row(&mut self, sight: RowSight) {
        let Kind::Receipt { conversation, user, delivered, read } = sight.row.kind else { return };
        let seen = self.log.inbox(sight.user, sight.epoch).and_then(|rows| rows.get(&sight.seq));
        if seen.is_none_or(|seen| seen.index != sight.index) {
            return;
        }
        self.checks.examine(Of::Receipts);
        let proof = self.proofs.get(&(user, conversation)).copied().unwrap_or_default();
        let head = self.heads.up_to(sight.epoch, conversation);
        let wrong = if read > delivered {
            Some(format!("read {read} is above delivered {delivered}"))
        } else if delivered > head {
            Some(format!("delivered {delivered} is above the head {head}"))
        } else if delivered > proof.delivered {
            Some(format!("delivered {delivered}, but they had stored only {}", proof.delivered))
        } else if read > proof.read {
            Some(format!("read {read}, but they had said so only of {}", proof.read))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.checks.fail(Of::Receipts, &[sight.index], || {
                format!("a receipt of user {user} for conversation {conversation}: {wrong}")
            });
        }
    }
}

/// The messages of others in each inbox.
fn incoming(log: &Log) -> HashMap<(User, Epoch), Incoming> {
    let mut incoming: HashMap<(User, Epoch), Incoming> = HashMap::new();
    for (user, epoch, inbox) in log.inboxes() {
        let of_others = inbox.iter().filter_map(|(seq, seen)| match seen.row.kind {
            Kind::Message { conversation, conv_seq, sender, .. } if sender != user => {
                Some((*seq, conversation, conv_seq))
            }
            _ => None,
        });
        incoming.entry((user, epoch)).or_default().rows.extend(of_others);
    }
    incoming
}

/// The highest message of each conversation that was ever seen in an epoch.
struct Heads(HashMap<Conversation, Vec<(Epoch, u64)>>);

impl Heads {
    fn new(world: &World<'_>) -> Self {
        let mut heads = Self(HashMap::new());
        world.messages(|sight| {
            if let Some(epoch) = sight.epoch {
                heads.see(epoch, sight.place.0, sight.place.1);
            }
        });
        for (_, what) in world.iter() {
            if let What::Snapshot { epoch, state, .. } | What::FinalState { epoch, state, .. } =
                what
                && let Some(epoch) = world.epochs.id(epoch)
            {
                heads.see_state(epoch, state);
            }
        }
        heads
    }

    fn see_state(&mut self, epoch: Epoch, state: &State) {
        state.conversations.iter().for_each(|one| self.see(epoch, one.conversation, one.head));
    }

    fn see(&mut self, epoch: Epoch, conversation: Conversation, head: u64) {
        let known = self.0.entry(conversation).or_default();
        match known.iter_mut().find(|(known, _)| *known == epoch) {
            Some((_, highest)) => *highest = head.max(*highest),
            None => known.push((epoch, head)),
        }
    }

    /// A bound of the head in an epoch: a restored server has what an earlier one had.
    fn up_to(&self, epoch: Epoch, conversation: Conversation) -> u64 {
        let known = self.0.get(&conversation).map_or(&[][..], Vec::as_slice);
        let until = known.iter().filter(|(known, _)| *known <= epoch);
        until.map(|(_, head)| *head).max().unwrap_or(0)
    }
}

/// Along an inbox, the receipts of one user for one conversation never go back.
fn never_back(log: &Log, checks: &mut Checks) {
    for (viewer, _, inbox) in log.inboxes() {
        let mut last: HashMap<(Conversation, User), (u64, u64, usize)> = HashMap::new();
        for (seq, seen) in inbox {
            let Kind::Receipt { conversation, user, delivered, read } = seen.row.kind else {
                continue;
            };
            let now = (delivered, read, seen.index);
            let Some(before) = last.insert((conversation, user), now) else { continue };
            if delivered < before.0 || read < before.1 {
                checks.fail(Of::Receipts, &[before.2, seen.index], || {
                    format!("the receipts of user {user} go back at row {seq} of user {viewer}")
                });
            }
        }
    }
}
