//! The role *transfer*: takes batches from the queue's partitions, commits each in one transaction,
//! then tells the connectors. Nothing is acked or shown before its commit returned, which is after
//! its sync.
//!
//! A partition's batches are committed in their order: a user's commands are numbered, and one that
//! overtakes another is a gap. What several partitions have when a commit begins is committed
//! together: a transaction of a server costs much the same for one message as for thirty.

mod followed;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, DeviceId, NodeId, Seq, SessionId, failpoint::Failpoint, fault::Fault};
use anser_store::{Batch, Committed, Outcome, Record, Store, StoreError};
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{FuturesOrdered, FuturesUnordered},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    clock, link,
    queue::{BATCH_RECORDS_MAX, Partition, Receipt, Taken},
    trace::{Followed, Tracer},
};
use followed::Commit;
use metrics::TransferMetrics;

/// Commits in flight of a store that keeps their order: one is syncing while the next is being
/// filled. Any other has one: what comes meanwhile makes the next transaction larger, and each of
/// them costs a server of its own more than what is in it.
pub(crate) const COMMITS_IN_FLIGHT_MAX: usize = 2;

/// The role, ready to run.
#[derive(Clone)]
pub struct Transfer {
    store: Arc<dyn Store>,
    link: link::Handle,
    commits_in_flight: usize,
    stop: CancellationToken,
    metrics: Arc<TransferMetrics>,
    tracer: Tracer,
}

/// What is committed together.
struct Gathered {
    records: Vec<Record>,
    from: Vec<(NodeId, usize)>,
    /// When the oldest was published.
    accepted: Instant,
    /// The partitions that it was taken from.
    receipts: Vec<(usize, Receipt)>,
}

/// What the records of a batch were, kept while the store works on them.
struct Pending {
    origins: Vec<Option<Origin>>,
    accepted: Instant,
    receipts: Vec<(usize, Receipt)>,
    result: Result<Committed, StoreError>,
    commit: Commit,
    followed: Vec<Followed>,
}

impl Transfer {
    /// A transfer to the embedded store, which keeps the order of commits.
    pub fn ordered(store: Arc<dyn Store>, link: link::Handle) -> Self {
        Self::new(store, link, COMMITS_IN_FLIGHT_MAX)
    }

    /// A transfer to a store on a server, where of two commits at a time either may be the first.
    pub fn unordered(store: Arc<dyn Store>, link: link::Handle) -> Self {
        Self::new(store, link, 1)
    }

    fn new(store: Arc<dyn Store>, link: link::Handle, commits_in_flight: usize) -> Self {
        let metrics = Arc::new(TransferMetrics::new());
        let (stop, tracer) = (CancellationToken::new(), Tracer::default());
        Self { store, link, commits_in_flight, stop, metrics, tracer }
    }

    /// With somebody who is told of the commands that are followed.
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// Commits until all partitions are closed and empty. From `stop` on, batches that the store
    /// can not take are left to a durable partition.
    ///
    /// # Errors
    /// The store is damaged: the process must stop.
    pub async fn run(
        mut self,
        partitions: Vec<Arc<dyn Partition>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        self.stop = stop;
        let durable = partitions.iter().all(|partition| partition.is_durable());
        let take = |index| take(&partitions, index);
        // One for each partition that is open.
        let mut takes: FuturesUnordered<_> = (0..partitions.len()).map(take).collect();
        let mut commits = FuturesOrdered::new();
        while !(takes.is_empty() && commits.is_empty()) {
            tokio::select! {
                biased;
                Some(pending) = commits.next() => self.tell(&partitions, pending)?,
                Some(first) = takes.next(), if commits.len() < self.commits_in_flight => {
                    let Some((index, taken)) = first else { continue };
                    let mut gathered = Gathered::new(index, taken);
                    while gathered.records.len() < BATCH_RECORDS_MAX
                        && let Some(Some(next)) = takes.next().now_or_never()
                    {
                        if let Some((index, taken)) = next {
                            gathered.add(index, taken);
                        }
                    }
                    takes.extend(gathered.receipts.iter().map(|(index, _)| take(*index)));
                    commits.push_back(self.commit(gathered, durable));
                }
            }
        }
        Ok(())
    }

    async fn commit(&self, gathered: Gathered, durable: bool) -> Pending {
        let Gathered { records, from, accepted, receipts } = gathered;
        let origins = Origin::of_all(&records, &from);
        if Fault::AckBeforeCommit.is_on() {
            for origin in origins.iter().flatten() {
                self.link.ack(origin.connector, origin.device, origin.client_seq);
            }
        }
        let (followed, count) = (self.tracer.followed(&records), records.len());
        let started = Instant::now();
        let result = if durable {
            self.persist(records).await
        } else {
            self.store.commit(Batch { records, now_ms: clock::now_ms() }).await
        };
        let commit = Commit { started, took: started.elapsed(), records: count };
        Pending { origins, accepted, receipts, result, commit, followed }
    }

    fn tell(&self, partitions: &[Arc<dyn Partition>], pending: Pending) -> anyhow::Result<()> {
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
                for (index, receipt) in pending.receipts {
                    partitions[index].give_back(receipt);
                }
                // Nothing was consumed: the devices resend later.
                for origin in pending.origins.iter().flatten() {
                    self.link.refused(origin.connector, origin.session(), code);
                }
                let refused = |_| Outcome::Refused(code);
                followed::end(&self.tracer, &pending.followed, pending.commit, refused);
                return Ok(());
            }
        };
        for (index, receipt) in pending.receipts {
            partitions[index].settle(receipt);
        }
        self.metrics.committed(&committed, pending.commit.took);
        for ack in acks(&pending.origins, &committed.outcomes) {
            self.link.ack(ack.connector, ack.device, ack.client_seq);
        }
        Failpoint::BeforePush.reached();
        for (origin, code) in refused(&pending.origins, &committed.outcomes) {
            self.link.refused(origin.connector, origin.session(), code);
        }
        self.link.deliver_accepted(committed.entries, Some(pending.accepted));
        let outcome = |index| committed.outcomes[index];
        followed::end(&self.tracer, &pending.followed, pending.commit, outcome);
        Ok(())
    }
}

/// What a partition has; `None` when it is closed and empty.
async fn take(partitions: &[Arc<dyn Partition>], index: usize) -> Option<(usize, Taken)> {
    Some((index, partitions[index].take().await?))
}

impl Gathered {
    fn new(index: usize, taken: Taken) -> Self {
        let Taken { records, from, published: accepted, receipt } = taken;
        Self { records, from, accepted, receipts: vec![(index, receipt)] }
    }

    fn add(&mut self, index: usize, taken: Taken) {
        self.records.extend(taken.records);
        self.from.extend(taken.from);
        self.accepted = self.accepted.min(taken.published);
        self.receipts.push((index, taken.receipt));
    }
}

/// Whose command a record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The connector that it came from.
    pub(crate) connector: NodeId,
    pub(crate) device: DeviceId,
    session: SessionId,
    pub(crate) client_seq: Seq,
}

impl Origin {
    /// Of each record; `None` for an ack, which nobody waits for. `from`: which connectors they
    /// came from, and how many in a row.
    pub(crate) fn of_all(records: &[Record], from: &[(NodeId, usize)]) -> Vec<Option<Self>> {
        let connectors = from.iter().flat_map(|(one, count)| std::iter::repeat_n(*one, *count));
        let both = records.iter().zip(connectors);
        both.map(|(record, connector)| Self::of(record, connector)).collect()
    }

    fn of(record: &Record, connector: NodeId) -> Option<Self> {
        match record {
            Record::Command { device, session, client_seq, .. } => {
                let (device, session, client_seq) = (*device, *session, *client_seq);
                Some(Self { connector, device, session, client_seq })
            }
            Record::Ack { .. } => None,
        }
    }

    /// The session that it came by.
    pub(crate) fn session(self) -> (DeviceId, SessionId) {
        (self.device, self.session)
    }
}

/// The highest applied command of each device of a batch.
pub(crate) fn acks(origins: &[Option<Origin>], outcomes: &[Outcome]) -> Vec<Origin> {
    let applied = origins.iter().zip(outcomes).filter_map(|(origin, outcome)| match outcome {
        Outcome::Applied | Outcome::Repeat => *origin,
        Outcome::Refused(_) => None,
    });
    let mut acks: Vec<Origin> = applied.collect();
    // Of one that came twice, the later came from where the device is now.
    acks.sort_by_key(|one| (one.device, one.client_seq));
    acks.dedup_by(|later, kept| {
        let same = later.device == kept.device;
        if same {
            *kept = *later;
        }
        same
    });
    acks
}

/// The commands of a batch whose sessions must end, and why.
pub(crate) fn refused(
    origins: &[Option<Origin>],
    outcomes: &[Outcome],
) -> impl Iterator<Item = (Origin, Code)> {
    origins.iter().zip(outcomes).filter_map(|(origin, outcome)| match outcome {
        // Nobody hears this but the newest session, when two Hellos reached the connector in one
        // order and the store in the other. It can try again.
        Outcome::Refused(Code::Replaced) => Some(((*origin)?, Code::Unavailable)),
        Outcome::Refused(code) => Some(((*origin)?, *code)),
        Outcome::Applied | Outcome::Repeat => None,
    })
}
