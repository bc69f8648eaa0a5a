//! The role *transfer*: takes batches from the queue, commits each in one transaction, then tells
//! the connectors. Nothing is acked or shown before its commit returned, which is after its sync.

mod metrics;

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, DeviceId, Seq, failpoint::Failpoint, fault::Fault};
use anser_store::{Batch, Committed, Outcome, Record, Store, StoreError};
use futures_util::{StreamExt, stream::FuturesOrdered};
use tracing::{error, warn};

use crate::{clock, link, queue::Queue};
use metrics::TransferMetrics;

/// Commits in flight: one is syncing while the next is being filled.
pub(crate) const COMMITS_IN_FLIGHT_MAX: usize = 2;

/// The role, ready to run.
pub struct Transfer {
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    link: link::Handle,
    metrics: TransferMetrics,
}

/// What the records of a batch were, kept while the store works on them.
struct Pending {
    origins: Vec<Option<(DeviceId, Seq)>>,
    accepted: Instant,
    result: Result<Committed, StoreError>,
    took: std::time::Duration,
}

impl Transfer {
    /// A transfer for this queue.
    pub fn new(queue: Arc<Queue>, store: Arc<dyn Store>, link: link::Handle) -> Self {
        Self { queue, store, link, metrics: TransferMetrics::new() }
    }

    /// Commits until the queue is closed and empty.
    ///
    /// # Errors
    /// The store is damaged: the process must stop.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut commits = FuturesOrdered::new();
        let mut open = true;
        while open || !commits.is_empty() {
            tokio::select! {
                biased;
                Some(pending) = commits.next() => self.tell(pending)?,
                taken = self.queue.take(), if open && commits.len() < COMMITS_IN_FLIGHT_MAX => {
                    match taken {
                        Some(taken) => {
                            commits.push_back(self.commit(taken.records, taken.published));
                        }
                        None => open = false,
                    }
                }
            }
        }
        Ok(())
    }

    async fn commit(&self, records: Vec<Record>, accepted: Instant) -> Pending {
        let origins: Vec<_> = records.iter().map(origin).collect();
        if Fault::AckBeforeCommit.is_on() {
            for (device, client_seq) in origins.iter().flatten() {
                self.link.ack(*device, *client_seq);
            }
        }
        let started = Instant::now();
        let result = self.store.commit(Batch { records, now_ms: clock::now_ms() }).await;
        Pending { origins, accepted, result, took: started.elapsed() }
    }

    fn tell(&self, pending: Pending) -> anyhow::Result<()> {
        let committed = match pending.result {
            Ok(committed) => committed,
            Err(StoreError::Corrupt(why)) => {
                error!(%why, "the store is damaged; stopping");
                anyhow::bail!("the store is damaged: {why}");
            }
            Err(refused) => {
                warn!(%refused, records = pending.origins.len(), "a batch was refused");
                self.refuse(&pending.origins, &refused);
                return Ok(());
            }
        };
        self.metrics.committed(&committed, pending.took);
        for (device, position) in acks(&pending.origins, &committed.outcomes) {
            self.link.ack(device, position);
        }
        Failpoint::BeforePush.reached();
        for (origin, outcome) in pending.origins.iter().zip(&committed.outcomes) {
            if let (Some((device, _)), Outcome::Refused(code)) = (origin, outcome) {
                self.link.close(&[*device], *code);
            }
        }
        self.link.deliver_accepted(committed.entries, Some(pending.accepted));
        Ok(())
    }

    /// Nothing was consumed: the sessions end with a retryable code, their devices resend later.
    fn refuse(&self, origins: &[Option<(DeviceId, Seq)>], refused: &StoreError) {
        let code = match refused {
            StoreError::DiskFull => Code::DiskFull,
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => Code::Unavailable,
        };
        let mut devices: Vec<_> = origins.iter().flatten().map(|(device, _)| *device).collect();
        devices.sort_unstable();
        devices.dedup();
        self.link.close(&devices, code);
    }
}

/// Whose command a record is, and its number; `None` for an ack.
pub(crate) fn origin(record: &Record) -> Option<(DeviceId, Seq)> {
    match record {
        Record::Command { device, client_seq, .. } => Some((*device, *client_seq)),
        Record::Ack { .. } => None,
    }
}

/// The highest applied number of each device of a batch.
pub(crate) fn acks(
    origins: &[Option<(DeviceId, Seq)>],
    outcomes: &[Outcome],
) -> Vec<(DeviceId, Seq)> {
    let applied = origins.iter().zip(outcomes).filter_map(|(origin, outcome)| match outcome {
        Outcome::Applied | Outcome::Repeat => *origin,
        Outcome::Refused(_) => None,
    });
    let mut acks: Vec<(DeviceId, Seq)> = applied.collect();
    acks.sort_unstable();
    acks.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = later.1;
        }
        same
    });
    acks
}
