//! The server's process: store, queue, transfer and registry. Its connections are in
//! `connection.rs`; they die with it.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use anser_proto::{Code, NodeId, fault::Fault, session::Config};
use anser_store::{Batch, Committed, NewEntry, Record, memory::Memory};

use super::super::registry::{Registry, SHARDS};
use crate::{
    link::Doorbell as _,
    transfer::{COMMITS_IN_FLIGHT_MAX, Origin, acks, refused},
};

/// The server.
pub(super) struct Server {
    pub(super) memory: Memory,
    pub(super) registry: Registry,
    pub(super) queue: VecDeque<Record>,
    pub(super) in_flight: VecDeque<Batch>,
    pub(super) config: Arc<Config>,
    pub(super) up: bool,
    /// Counts the starts.
    pub(super) start: u32,
    /// Counts the Hellos.
    pub(super) sessions: u64,
    /// Counts the histories: how often an old copy was restored.
    pub(super) history: u32,
    /// What the next commit meets.
    pub(super) trouble: Option<StoreTrouble>,
    /// Nothing commits before.
    pub(super) busy_until: Instant,
}

/// What can go wrong with a commit while the process lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoreTrouble {
    /// Nothing is applied, and it says so.
    Refused,
    /// It is applied, and nobody learns it: the batch is run again.
    UnknownThenAgain,
    /// It is applied, and nobody learns it: the sessions end, as if it were refused.
    UnknownThenClosed,
}

/// How much of a doorbell comes through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bell {
    Whole,
    /// The newest entry of each user: what a full mailbox keeps.
    Newest,
    /// Nothing; a sweep must find it.
    Lost,
}

impl Server {
    pub(super) fn new(memory: Memory, config: Arc<Config>, now: Instant) -> Self {
        Self {
            memory,
            registry: Registry::default(),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            config,
            up: true,
            start: 0,
            sessions: 0,
            history: 0,
            trouble: None,
            busy_until: now,
        }
    }

    /// The process ends; `survivors` batches had reached the disk.
    pub(super) fn crash(&mut self, survivors: usize) {
        self.memory.crash(survivors);
        self.registry = Registry::default();
        self.queue.clear();
        self.in_flight.clear();
        self.up = false;
        self.start += 1;
    }

    /// Takes a batch from the queue, if there is one and room. True: a commit began.
    pub(super) fn begin(&mut self, records_max: usize, now_ms: u64) -> bool {
        if !self.up || self.queue.is_empty() || self.in_flight.len() >= COMMITS_IN_FLIGHT_MAX {
            return false;
        }
        let count = self.queue.len().min(records_max);
        let batch = Batch { records: self.queue.drain(..count).collect(), now_ms };
        if Fault::AckBeforeCommit.is_on() {
            for origin in origins(&batch).into_iter().flatten() {
                self.registry.ack(origin.device, origin.client_seq);
            }
        }
        self.memory.begin(batch.clone());
        self.in_flight.push_back(batch);
        true
    }

    /// The oldest commit ends, and the connectors are told.
    pub(super) fn commit(&mut self, bell: Bell) {
        let Some(batch) = self.in_flight.pop_front() else { return };
        let committed = match self.trouble.take() {
            None => self.memory.sync(),
            Some(StoreTrouble::Refused) => {
                self.memory.refuse();
                None
            }
            Some(StoreTrouble::UnknownThenAgain) => {
                self.memory.sync();
                Some(self.memory.again(&batch))
            }
            Some(StoreTrouble::UnknownThenClosed) => {
                self.memory.sync();
                None
            }
        };
        match committed {
            Some(committed) => self.tell(&batch, committed, bell),
            None => {
                for origin in origins(&batch).into_iter().flatten() {
                    self.registry.refused(origin.session(), Code::Unavailable);
                }
            }
        }
    }

    fn tell(&self, batch: &Batch, committed: Committed, bell: Bell) {
        let origins = origins(batch);
        for ack in acks(&origins, &committed.outcomes) {
            self.registry.ack(ack.device, ack.client_seq);
        }
        for (origin, code) in refused(&origins, &committed.outcomes) {
            self.registry.refused(origin.session(), code);
        }
        self.ring(committed.entries, bell);
    }

    /// Tells all sessions how the store is.
    pub(super) fn sweep(&self) {
        for shard in 0..SHARDS {
            let swept = self.memory.sweep(&self.registry.greeted(shard));
            self.registry.swept(swept);
        }
    }

    /// Rings for new rows.
    pub(super) fn ring(&self, mut entries: Vec<NewEntry>, bell: Bell) {
        match bell {
            Bell::Whole => {}
            Bell::Newest => {
                let head = |user| self.memory.head(user);
                entries.retain(|entry| entry.seq == head(entry.user));
            }
            Bell::Lost => entries.clear(),
        }
        self.registry.deliver(entries, None);
    }
}

fn origins(batch: &Batch) -> Vec<Option<Origin>> {
    Origin::of_all(&batch.records, &[(NodeId(1), batch.records.len())])
}
