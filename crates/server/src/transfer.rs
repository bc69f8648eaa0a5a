//! The role *transfer*: takes batches from the queue, commits each in one transaction, then tells
//! the connectors. Nothing is acked or shown before its commit returned, which is after its sync.

mod metrics;

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, DeviceId, Seq, SessionId, failpoint::Failpoint, fault::Fault};
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
    origins: Vec<Option<Origin>>,
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
        let origins: Vec<_> = records.iter().map(Origin::of).collect();
        if Fault::AckBeforeCommit.is_on() {
            for origin in origins.iter().flatten() {
                self.link.ack(origin.device, origin.client_seq);
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
                let code = match refused {
                    StoreError::DiskFull => Code::DiskFull,
                    _ => Code::Unavailable,
                };
                // Nothing was consumed: the devices resend later.
                for origin in pending.origins.iter().flatten() {
                    self.link.refused(origin.session(), code);
                }
                return Ok(());
            }
        };
        self.metrics.committed(&committed, pending.took);
        for (device, position) in acks(&pending.origins, &committed.outcomes) {
            self.link.ack(device, position);
        }
        Failpoint::BeforePush.reached();
        for (session, code) in refused(&pending.origins, &committed.outcomes) {
            self.link.refused(session, code);
        }
        self.link.deliver_accepted(committed.entries, Some(pending.accepted));
        Ok(())
    }
}

/// Whose command a record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) device: DeviceId,
    session: SessionId,
    pub(crate) client_seq: Seq,
}

impl Origin {
    /// `None` for an ack, which nobody waits for.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Command { device, session, client_seq, .. } => {
                Some(Self { device: *device, session: *session, client_seq: *client_seq })
            }
            Record::Ack { .. } => None,
        }
    }

    /// The session that it came by.
    pub(crate) fn session(self) -> (DeviceId, SessionId) {
        (self.device, self.session)
    }
}

/// The highest applied number of each device of a batch.
pub(crate) fn acks(origins: &[Option<Origin>], outcomes: &[Outcome]) -> Vec<(DeviceId, Seq)> {
    let applied = origins.iter().zip(outcomes).filter_map(|(origin, outcome)| match outcome {
        Outcome::Applied | Outcome::Repeat => origin.map(|one| (one.device, one.client_seq)),
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

/// The sessions of a batch that must end, and why.
pub(crate) fn refused(
    origins: &[Option<Origin>],
    outcomes: &[Outcome],
) -> impl Iterator<Item = ((DeviceId, SessionId), Code)> {
    origins.iter().zip(outcomes).filter_map(|(origin, outcome)| match outcome {
        // Nobody hears this but the newest session, when two Hellos reached the connector in one
        // order and the store in the other. It can try again.
        Outcome::Refused(Code::Replaced) => Some((origin.as_ref()?.session(), Code::Unavailable)),
        Outcome::Refused(code) => Some((origin.as_ref()?.session(), *code)),
        Outcome::Applied | Outcome::Repeat => None,
    })
}
