//! What waits to be told to one connector. Bounded: when too much waits, first the entries are
//! forgotten and only their numbers kept, then everything, and the connector is told to look.

use std::{collections::HashMap, time::Instant};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId};
use anser_store::NewEntry;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{message::Rings, metrics::CallerMetrics};

/// Bytes of entries that wait: a second's worth of a busy cluster.
pub(super) const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Things that wait, of each kind: with 64 bytes each, all of them stay below the entries' bytes.
pub(super) const COUNT_MAX: usize = 16 * 1024;

/// What waits.
pub(super) struct Buffer {
    state: Mutex<State>,
    filled: Notify,
    metrics: CallerMetrics,
}

#[derive(Default)]
struct State {
    entries: Vec<NewEntry>,
    entry_bytes: usize,
    accepted: Option<Instant>,
    heads: HashMap<UserId, Seq>,
    acks: HashMap<DeviceId, Seq>,
    refused: Vec<(DeviceId, SessionId, Code)>,
    closed: Vec<(DeviceId, Code)>,
    lost: bool,
}

impl Buffer {
    pub(super) fn new(metrics: CallerMetrics) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), metrics }
    }

    pub(super) fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        self.change(|state| {
            state.accepted = earliest(state.accepted, accepted);
            state.entry_bytes += entries.iter().map(|entry| entry.entry.len()).sum::<usize>();
            state.entries.extend(entries);
            if state.entry_bytes > ENTRY_BYTES_MAX || state.entries.len() > COUNT_MAX {
                self.metrics.shortened.increment(state.entries.len() as u64);
                let entries = std::mem::take(&mut state.entries);
                state.grew(entries.iter().map(|entry| (entry.user, entry.seq)));
                state.entry_bytes = 0;
                state.accepted = None;
            }
        });
    }

    pub(super) fn grew(&self, heads: impl Iterator<Item = (UserId, Seq)>) {
        self.change(|state| state.grew(heads));
    }

    pub(super) fn ack(&self, device: DeviceId, position: Seq) {
        self.change(|state| {
            let acked = state.acks.entry(device).or_default();
            *acked = position.max(*acked);
        });
    }

    pub(super) fn refused(&self, (device, session): (DeviceId, SessionId), code: Code) {
        self.change(|state| state.refused.push((device, session, code)));
    }

    pub(super) fn close(&self, devices: &[DeviceId], code: Code) {
        self.change(|state| state.closed.extend(devices.iter().map(|device| (*device, code))));
    }

    /// Notes that something was not told.
    pub(super) fn lose(&self) {
        self.change(|state| state.lost = true);
    }

    /// Waits until there is something, and takes all of it.
    pub(super) async fn take(&self) -> Rings {
        loop {
            let rings = std::mem::take(&mut *self.state.lock()).into_rings();
            if rings.lost || rings.count() > 0 {
                return rings;
            }
            self.filled.notified().await;
        }
    }

    /// Whether all of it was taken.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        let State { entries, heads, acks, refused, closed, lost, .. } = &*state;
        let nothing_new = entries.is_empty() && heads.is_empty() && acks.is_empty();
        nothing_new && refused.is_empty() && closed.is_empty() && !lost
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        if state.is_full() {
            let dropped = std::mem::take(&mut *state).into_rings();
            self.metrics.dropped.increment(dropped.count() as u64);
            state.lost = true;
        }
        drop(state);
        self.filled.notify_one();
    }
}

impl State {
    fn grew(&mut self, heads: impl Iterator<Item = (UserId, Seq)>) {
        for (user, head) in heads {
            let known = self.heads.entry(user).or_default();
            *known = head.max(*known);
        }
    }

    fn is_full(&self) -> bool {
        let Self { heads, acks, refused, closed, .. } = self;
        let counts = [heads.len(), acks.len(), refused.len(), closed.len()];
        counts.iter().any(|count| *count > COUNT_MAX)
    }

    fn into_rings(mut self) -> Rings {
        // Of two commits at a time either may be told first.
        self.entries.sort_by_key(|entry| (entry.user, entry.seq));
        Rings {
            entries: self.entries,
            heads: self.heads.into_iter().collect(),
            acks: self.acks.into_iter().collect(),
            refused: self.refused,
            closed: self.closed,
            accepted: self.accepted,
            lost: self.lost,
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
