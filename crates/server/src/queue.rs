//! From connectors to transfers: the records of many sessions, handed over in order.
//!
//! Records of one user keep their order, so the queue is cut into *partitions* by user, and each
//! is worked off by itself. A command is acked only after its commit, so what gets lost here the
//! device sends again; a partition that is durable makes that rare, and lets commands wait while
//! a store is away.
//!
//! A connector publishes to [`Queue`], which waits while its lane is full: backpressure to the
//! session. A transfer takes from [`Partition`]s. In one process the lanes are the partitions.

mod lane;
pub mod rabbitmq;

use std::{sync::Arc, time::Instant};

use anser_proto::{NodeId, UserId};
use anser_store::Record;
use async_trait::async_trait;

pub(crate) use lane::BATCH_RECORDS_MAX;
pub use lane::{Closed, Lane, Waited};

/// A connector's end: one lane for each partition.
#[derive(Clone, Debug)]
pub struct Queue {
    lanes: Arc<[Arc<Lane>]>,
}

/// A transfer's end of one partition.
#[async_trait]
pub trait Partition: Send + Sync + 'static {
    /// Waits for records and takes what is there, up to a batch. `None`: closed and empty. Only
    /// one task takes.
    async fn take(&self) -> Option<Taken>;
    /// What came with this receipt needs not come again: it is in the store. Never waits.
    fn settle(&self, receipt: Receipt);
    /// What came with this receipt is not in the store. Later batches may be, and may not say of
    /// this one that it need not come again. Never waits.
    fn give_back(&self, receipt: Receipt);
    /// Whether it keeps what is not settled, and gives it again: then a batch that the store can
    /// not take now is tried until it can. If not, its sessions are told to try again.
    fn is_durable(&self) -> bool;
}

/// What a transfer takes at once.
#[derive(Debug)]
pub struct Taken {
    /// In the order of `publish`, of each connector.
    pub records: Vec<Record>,
    /// Which connectors they came from, and how many in a row.
    pub from: Vec<(NodeId, usize)>,
    /// When the oldest of them was published, if that was in this process, else when it came.
    pub published: Instant,
    /// For [`Partition::settle`].
    pub receipt: Receipt,
}

/// Names what was taken, to the partition that it was taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Which connection to the queue it came over; a later one knows nothing of its receipts.
    pub connection: u64,
    /// The highest delivery in it.
    pub delivery: u64,
}

impl Queue {
    /// A queue with so many lanes.
    ///
    /// # Panics
    /// Without any.
    pub fn new(partitions: usize) -> Self {
        assert!(partitions > 0, "a queue has a partition");
        Self { lanes: (0..partitions).map(|_| Arc::default()).collect() }
    }

    /// Its lanes, one for each partition.
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// Hands records of one user over; see [`Lane::publish`].
    ///
    /// # Errors
    /// [`Closed`]: nothing was handed over.
    pub async fn publish(&self, records: &mut Vec<Record>, now: Instant) -> Result<(), Closed> {
        let Some(first) = records.first() else { return Ok(()) };
        let lane = &self.lanes[partition_of(user_of(first), self.lanes.len())];
        lane.publish(records, now).await
    }

    /// Refuses further records; what waits can still be taken.
    pub fn close(&self) {
        self.lanes.iter().for_each(|lane| lane.close());
    }

    /// The partitions of a process that takes what it publishes itself.
    pub fn local(&self, here: NodeId) -> Vec<Arc<dyn Partition>> {
        let local = |lane: &Arc<Lane>| Arc::new(Local { lane: lane.clone(), here }) as Arc<_>;
        self.lanes.iter().map(local).collect()
    }
}

/// A lane as the partition of its own process.
struct Local {
    lane: Arc<Lane>,
    here: NodeId,
}

#[async_trait]
impl Partition for Local {
    async fn take(&self) -> Option<Taken> {
        let Waited { records, published } = self.lane.take().await?;
        let from = vec![(self.here, records.len())];
        Some(Taken { records, from, published, receipt: Receipt::default() })
    }

    fn settle(&self, _receipt: Receipt) {}

    fn give_back(&self, _receipt: Receipt) {}

    fn is_durable(&self) -> bool {
        false
    }
}

/// Ids are random, so their low bits spread evenly. All nodes must agree on this.
fn partition_of(user: UserId, partitions: usize) -> usize {
    user.0 as usize % partitions
}

fn user_of(record: &Record) -> UserId {
    match record {
        Record::Command { user, .. } | Record::Ack { user, .. } => *user,
    }
}
