//! The queue against a real RabbitMQ, and a network that fails between them.
//!
//! `ANSER_TEST_AMQP_URL` says where it is. `make test` starts one; a plain `cargo test` without it
//! leaves these tests out and says so. Each test has queues of its own, and deletes them.

mod balance;
mod codec;
mod consume;
mod network;
mod operate;
mod publish;

use std::{
    future::Future,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{DeviceId, NodeId, SessionId, UserId};
use anser_store::Record;
use bytes::Bytes;
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use tokio::{sync::watch, time::timeout};

use super::{Consumer, Options, Publisher, check, declare};
use crate::queue::{Partition, Queue, Taken};

/// Queues of one test, which end with it.
struct Place(Options);

impl Place {
    /// `None`, with a word about it, when no RabbitMQ is known.
    fn new(partitions: usize) -> Option<Self> {
        let Some(url) = server() else {
            left_out();
            return None;
        };
        let random = getrandom::u64().expect("the operating system gives random bytes");
        let options = Options::new(url, "history".to_owned(), NodeId(1));
        Some(Self(Options { name: format!("anser_test_{random:016x}"), partitions, ..options }))
    }

    fn options(&self, here: u64) -> Options {
        Options { here: NodeId(here), ..self.0.clone() }
    }

    fn publisher(&self) -> (Queue, Publisher) {
        start(self.options(1))
    }

    fn consumer(&self, here: u64) -> Consumer {
        Consumer::start(self.options(here), alone())
    }

    /// The messages in a partition that are with no consumer.
    async fn messages(&self, partition: usize) -> u32 {
        check(&self.0).await.unwrap().partitions[partition].messages
    }

    async fn delete(&self, queue: String) {
        delete(&self.0.url, [queue]).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let options = self.0.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let queues = (0..options.partitions).map(|index| declare::queue_name(&options, index));
            let queues = queues.chain([declare::record_name(&options)]);
            runtime.unwrap().block_on(delete(&options.url, queues));
        };
        std::thread::spawn(work).join().unwrap();
    }
}

/// Deletes queues, past the queue's code.
async fn delete(url: &str, queues: impl IntoIterator<Item = String>) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for queue in queues {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    connection.close(200, "OK".into()).await.unwrap();
}

fn start(options: Options) -> (Queue, Publisher) {
    let queue = Queue::new(options.partitions);
    let publisher = Publisher::start(options, &queue);
    (queue, publisher)
}

fn alone() -> watch::Receiver<Vec<NodeId>> {
    watch::channel(Vec::new()).1
}

/// Command `seq` of a device of this user.
fn command(user: u64, seq: u64) -> Record {
    Record::Command {
        user: UserId(user),
        device: DeviceId(user),
        session: SessionId(1),
        client_seq: seq,
        command: Bytes::from(seq.to_string()),
        once: None,
        trace: None,
    }
}

fn seqs(taken: &Taken) -> Vec<u64> {
    let seq = |record: &Record| match record {
        Record::Command { client_seq, .. } => *client_seq,
        Record::Ack { .. } => unreachable!("only commands are sent"),
    };
    taken.records.iter().map(seq).collect()
}

async fn publish(queue: &Queue, user: u64, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        queue.publish(&mut vec![command(user, seq)], Instant::now()).await.unwrap();
    }
}

/// What a store does: it takes the next number or a repeat, and nothing above a gap.
#[derive(Default)]
struct Position(u64);

impl Position {
    fn commit(&mut self, taken: &Taken) {
        for seq in seqs(taken) {
            assert!(seq <= self.0 + 1, "{seq} after {}", self.0);
            self.0 = self.0.max(seq);
        }
    }

    /// Takes and settles until so many commands are committed.
    async fn work_off(&mut self, partition: &Arc<dyn Partition>, until: u64) {
        while self.0 < until {
            let taken = soon(partition.take()).await.expect("it is not closed");
            self.commit(&taken);
            partition.settle(taken.receipt);
        }
    }
}

/// What must come, with a limit that only a broken queue reaches.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("it comes within a minute")
}

/// Asks until it is so.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let asked = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    soon(asked).await;
}

#[expect(clippy::disallowed_methods, reason = "where the test run finds its server")]
fn server() -> Option<String> {
    std::env::var("ANSER_TEST_AMQP_URL").ok()
}

/// Says that this test is left out, past the harness, which shows the output of failed tests only.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run, not of Anser")]
fn left_out() {
    let thread = std::thread::current();
    let why = format!("{} needs ANSER_TEST_AMQP_URL", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("ANSER_TEST_ALL").is_none(), "{why}");
    let _ = std::io::stderr().write_all(format!("left out: {why}\n").as_bytes());
}
