//! The inboxes as all their readers saw them, put together: one row for each (user, epoch, seq).

use std::collections::{BTreeMap, HashMap};

use super::{
    epochs::Epoch,
    views::{Name, RowSight, named},
    world::World,
};
use crate::torture::history::{Device, Kind, Row, User};

/// All inboxes of a run.
pub(super) struct Log {
    inboxes: HashMap<(User, Epoch), BTreeMap<u64, Seen>>,
    results: HashMap<(Epoch, User, Name), Found>,
    /// Rows that were seen in two ways.
    pub(super) differing: Vec<Differing>,
    /// Commands with two rows in one inbox, by both rows.
    pub(super) doubled: Vec<(Name, Found, Found)>,
    /// How many rows were compared with an earlier sight.
    pub(super) compared: usize,
}

/// A row as it was first seen.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) row: Row,
    /// The first record that shows it.
    pub(super) index: usize,
    device: Option<Device>,
}

/// The row that is the result of a command.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) user: User,
    pub(super) seq: u64,
    pub(super) index: usize,
    pub(super) kind: Kind,
}

/// A row that was another one later.
#[derive(Clone, Copy)]
pub(super) struct Differing {
    pub(super) user: User,
    pub(super) seq: u64,
    /// The two records.
    pub(super) records: [usize; 2],
    /// Whether two devices disagree; else it changed for one that had seen it, or in the database.
    pub(super) between_devices: bool,
}

impl Log {
    pub(super) fn new(world: &World<'_>) -> Self {
        let mut log = Self {
            inboxes: HashMap::new(),
            results: HashMap::new(),
            differing: Vec::new(),
            doubled: Vec::new(),
            compared: 0,
        };
        world.rows(|sight| log.see(sight));
        log
    }

    /// A user's inbox in an epoch, as far as somebody saw it.
    pub(super) fn inbox(&self, user: User, epoch: Epoch) -> Option<&BTreeMap<u64, Seen>> {
        self.inboxes.get(&(user, epoch))
    }

    /// All inboxes.
    pub(super) fn inboxes(&self) -> impl Iterator<Item = (User, Epoch, &BTreeMap<u64, Seen>)> {
        // In an order that does not change from run to run.
        let mut keys: Vec<_> = self.inboxes.keys().copied().collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| (key.0, key.1, &self.inboxes[&key]))
    }

    /// The row of a user's inbox that is the result of a command.
    pub(super) fn result(&self, epoch: Epoch, user: User, name: Name) -> Option<&Found> {
        self.results.get(&(epoch, user, name))
    }

    /// All results, in no order.
    pub(super) fn results(&self) -> impl Iterator<Item = (Epoch, Name, &Found)> {
        self.results.iter().map(|((epoch, _, name), found)| (*epoch, *name, found))
    }

    fn see(&mut self, sight: RowSight) {
        let RowSight { index, user, epoch, device, seq, row } = sight;
        let inbox = self.inboxes.entry((user, epoch)).or_default();
        if let Some(seen) = inbox.get_mut(&seq) {
            self.compared += 1;
            let bodies = seen.row.body.zip(row.body);
            let differs = (seen.row.digest, seen.row.kind) != (row.digest, row.kind)
                || bodies.is_some_and(|(one, other)| one != other);
            if differs {
                let between_devices = device.is_some() && device != seen.device;
                let records = [seen.index, index];
                self.differing.push(Differing { user, seq, records, between_devices });
            }
            seen.row.body = seen.row.body.or(row.body);
            return;
        }
        inbox.insert(seq, Seen { row, index, device });
        let Some(name) = named(&row.kind) else { return };
        let found = Found { user, seq, index, kind: row.kind };
        let first = *self.results.entry((epoch, user, name)).or_insert(found);
        if first.seq != seq {
            self.doubled.push((name, first, found));
        }
    }
}
