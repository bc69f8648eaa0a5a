//! The durable queue: partitions are quorum queues in RabbitMQ.
//!
//! A device's ack ("sent") comes from the commit, not from RabbitMQ's confirm, so what gets lost
//! here the device sends again. Order is what must not get lost: a command above a gap is refused
//! and ends its session. So a partition has one unconfirmed message of each connector at most,
//! which is sent again unchanged and first, and one transfer at a time works it off.
//!
//! [`Publisher`] brings the lanes of a [`super::Queue`] to RabbitMQ. [`Consumer`] gives the
//! partitions of a transfer. Both start without a reachable RabbitMQ, and connect again for ever.

mod balance;
mod broker;
mod check;
mod codec;
mod consumer;
mod declare;
mod partition;
mod publisher;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use anser_proto::NodeId;

pub use check::{Fits, QueueReport, Report, check};
pub use consumer::Consumer;
pub use publisher::Publisher;

use crate::trace::Tracer;

/// Where the queue is, and what is agreed on about it.
#[derive(Clone)]
pub struct Options {
    /// `amqp://user:password@host:port/vhost`; without a path the vhost `/`.
    pub url: String,
    /// What all its queues' names start with: clusters that share a vhost take different ones.
    pub name: String,
    /// Into how many queues it is cut. All nodes must agree; RabbitMQ keeps the first one's number.
    pub partitions: usize,
    /// Names the store's history: records of another one are dropped.
    pub epoch: String,
    /// This process.
    pub here: NodeId,
    /// Most messages that may wait in a partition; then connectors wait. All nodes must agree.
    pub max_length: u64,
    /// Most bytes that may wait in a partition; then connectors wait. All nodes must agree.
    pub max_bytes: u64,
    /// Messages that a transfer holds unsettled, of each partition. A message is at most a batch,
    /// and most are far less: enough of them to fill a batch with what several connectors sent.
    pub prefetch: u16,
    /// Told of the commands that are followed.
    pub tracer: Tracer,
}

impl Options {
    /// With the defaults of the configuration.
    pub fn new(url: String, epoch: String, here: NodeId) -> Self {
        let (max_length, max_bytes) = (MAX_LENGTH, MAX_BYTES);
        let (name, partitions, prefetch) = (NAME.to_owned(), PARTITIONS, PREFETCH);
        let tracer = Tracer::default();
        Self { url, name, partitions, epoch, here, max_length, max_bytes, prefetch, tracer }
    }
}

/// Without the URL, which holds a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .field("epoch", &self.epoch)
            .field("here", &self.here)
            .finish_non_exhaustive()
    }
}

/// Why the queue can not be used now. It is tried again in any case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed, or RabbitMQ refused something.
    #[error("{0}")]
    RabbitMq(#[from] lapin::Error),
    /// No connection within this time.
    #[error("RabbitMQ did not answer within {0:?}")]
    Silent(Duration),
    /// The configured URL is none.
    #[error("the URL of the queue is wrong: {0}")]
    Url(String),
    /// A queue exists with other arguments.
    #[error(
        "the queue {queue} exists with other arguments than this node wants ({why}). Set the \
         limits of the queue in the configuration as they were, or delete it when it is empty: \
         rabbitmqctl delete_queue {queue}"
    )]
    Arguments {
        /// Its name.
        queue: String,
        /// RabbitMQ's words.
        why: String,
    },
    /// The queue is cut into another number of partitions.
    #[error(
        "this node wants {here} partitions, the cluster uses another number ({why}). Set \
         queue.partitions as on the other nodes. To change it, stop all nodes when the queues are \
         empty, then: rabbitmqctl delete_queue {queue}"
    )]
    Partitions {
        /// As configured here.
        here: usize,
        /// The queue that keeps the number.
        queue: String,
        /// RabbitMQ's words.
        why: String,
    },
    /// Somebody removed a queue.
    #[error("the queue {0} is gone")]
    Gone(String),
}

/// Queues of the default name.
const NAME: &str = "anser";
/// DESIGN section 4.
const PARTITIONS: usize = 8;
/// Messages: an hour of a partition's share of 200 messages a second.
const MAX_LENGTH: u64 = 100_000;
/// Bytes: eight partitions fill 2 GiB of RabbitMQ's disk.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// At most so many MiB of memory for a partition, when each message is a full batch.
const PREFETCH: u16 = 16;
