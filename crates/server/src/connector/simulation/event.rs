//! What happens in a world, in the order of its clock, and a count of what happened.

use std::{cmp::Ordering, time::Instant};

use anser_proto::wire;
use bytes::Bytes;

use super::line::To;

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Act,
    Relation,
    Fault,
    Save,
    Restore,
    RollBack {
        device: usize,
    },
    Heal,
    Connect {
        device: usize,
        process: u32,
    },
    Snapshot {
        device: usize,
        process: u32,
        reset: Box<wire::Reset>,
        history: u32,
    },
    Renew {
        device: usize,
        process: u32,
    },
    Bytes {
        line: usize,
        to: To,
        bytes: Bytes,
    },
    /// The other end hung up.
    Gone {
        line: usize,
        to: To,
    },
    Timer {
        line: usize,
        to: To,
    },
    Store {
        line: usize,
    },
    Wake {
        line: usize,
    },
    Commit {
        start: u32,
    },
    Sweep {
        start: u32,
    },
    ServerUp {
        start: u32,
    },
}

/// An event with its time; `order` decides between those of one instant.
pub(super) struct Scheduled {
    pub(super) at: Instant,
    pub(super) order: u64,
    pub(super) event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What a seed reached, so that a simulation that tests nothing is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Reached {
    pub(super) commands: u64,
    pub(super) faults: u64,
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) connections: u64,
    pub(super) crashes: u64,
    pub(super) restores: u64,
    pub(super) resets: u64,
    pub(super) new_devices: u64,
    pub(super) pruned: u64,
    pub(super) unknown_commits: u64,
    pub(super) closed_conversations: u64,
}

impl Reached {
    pub(super) fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.faults += other.faults;
        self.events += other.events;
        self.rows += other.rows;
        self.connections += other.connections;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.resets += other.resets;
        self.new_devices += other.new_devices;
        self.pruned += other.pruned;
        self.unknown_commits += other.unknown_commits;
        self.closed_conversations += other.closed_conversations;
    }
}
