//! From RabbitMQ to the partitions of a transfer: a subscription to each of them.
//!
//! RabbitMQ gives a partition to the transfer that subscribed first, and to the next in line when
//! that one leaves. A transfer leaves a partition that prefers another one by closing its channel:
//! then all that it had not settled goes back to its place, before the next one gets anything. (A
//! mere cancel would leave it behind while later commands go to the next one.)

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::NodeId;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{error, info, warn};

use super::{
    Error, Options,
    balance::preferred,
    broker::{self, Broker, Session, Waits},
    codec::Message,
    declare::queue_name,
    partition::Inbox,
};
use crate::{
    metrics::{QUEUE_DROPPED_TOTAL, QUEUE_PARTITIONS_ACTIVE, QUEUE_REDELIVERED_TOTAL},
    queue::Partition,
};

/// Subscriptions to all partitions. Dropped, it stops at once: what is not settled comes again.
#[derive(Debug)]
pub struct Consumer {
    broker: Broker,
    inboxes: Vec<Arc<Inbox>>,
    subscribers: TaskTracker,
    keeper: TaskTracker,
    closing: CancellationToken,
    finishing: CancellationToken,
    done: CancellationToken,
    _cut: DropGuard,
}

/// The task of one partition.
struct Subscriber {
    index: usize,
    queue: String,
    options: Arc<Options>,
    inbox: Arc<Inbox>,
    broker: Broker,
    /// The live transfers; this one counts also when it is not among them yet.
    peers: watch::Receiver<Vec<NodeId>>,
    closing: CancellationToken,
    finishing: CancellationToken,
    /// One subscribes at a time: a queue that is broken ends the connection of who does.
    turn: Arc<Mutex<()>>,
    /// It has asked, and has no answer yet.
    subscribes: bool,
    /// After a connection that ended meanwhile, so that the other partitions have their time.
    refusals: Waits,
    /// How often it left the partition since the list of transfers changed.
    moves: u32,
    waits: Waits,
}

/// Counts a partition that this transfer works off.
struct Active;

impl Consumer {
    /// Starts the tasks. They connect when RabbitMQ can be reached. `peers`: the transfers that are
    /// live, sorted; empty for none but this one.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(options: Options, peers: watch::Receiver<Vec<NodeId>>) -> Self {
        let options = Arc::new(options);
        let (done, cut) = (CancellationToken::new(), CancellationToken::new());
        let (closing, finishing) = (CancellationToken::new(), CancellationToken::new());
        let (broker, keeper) = Broker::new(Arc::clone(&options), "consumer", done.clone());
        let (subscribers, connection) = (TaskTracker::new(), TaskTracker::new());
        connection.spawn(cut.clone().run_until_cancelled_owned(keeper.run()));
        let inboxes: Vec<Arc<Inbox>> = (0..options.partitions).map(|_| Arc::default()).collect();
        let turn = Arc::default();
        for (index, inbox) in inboxes.iter().enumerate() {
            let subscriber = Subscriber {
                index,
                queue: queue_name(&options, index),
                options: Arc::clone(&options),
                inbox: Arc::clone(inbox),
                broker: broker.clone(),
                peers: peers.clone(),
                closing: closing.clone(),
                finishing: finishing.clone(),
                turn: Arc::clone(&turn),
                subscribes: false,
                refusals: refusals(),
                moves: 0,
                waits: Waits::default(),
            };
            subscribers.spawn(subscriber.run());
        }
        subscribers.close();
        connection.close();
        let (keeper, _cut) = (connection, cut.drop_guard());
        Self { broker, inboxes, subscribers, keeper, closing, finishing, done, _cut }
    }

    /// What a transfer works off.
    pub fn partitions(&self) -> Vec<Arc<dyn Partition>> {
        self.inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<_>).collect()
    }

    #[cfg(test)]
    pub(super) fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// Whether messages can come now.
    pub fn is_up(&self) -> bool {
        self.broker.is_up()
    }

    /// The partitions give `None` from now on. What was taken can still be settled; when it is, a
    /// partition goes to another transfer.
    pub fn close(&self) {
        self.closing.cancel();
        self.inboxes.iter().for_each(|inbox| inbox.close());
    }

    /// To be called when the closed partitions are worked off: acks what was settled, gives the
    /// rest back to RabbitMQ and closes the connection.
    pub async fn finished(&self) {
        self.close();
        self.finishing.cancel();
        self.subscribers.wait().await;
        self.done.cancel();
        self.keeper.wait().await;
    }
}

impl Subscriber {
    async fn run(mut self) {
        let closing = self.closing.clone();
        while !closing.is_cancelled() {
            let session = tokio::select! {
                session = self.broker.up() => session,
                () = closing.cancelled() => None,
            };
            let Some(session) = session else { break };
            let over = self.broker.clone();
            let attended = tokio::select! {
                attended = self.attend(&session) => attended,
                () = over.over(session.number) => Ok(()),
            };
            self.inbox.end();
            if let Err(error) = attended {
                warn!(queue = self.queue, %error, "no subscription");
                self.broker.renew(session.number).await;
            }
            if std::mem::take(&mut self.subscribes) {
                let wait = self.refused();
                closing.run_until_cancelled(sleep(wait)).await;
            }
        }
        self.inbox.close();
    }

    /// Perhaps it was this queue that the connection ended for. Gives how long to leave the others
    /// alone.
    fn refused(&mut self) -> Duration {
        let wait = self.refusals.next();
        if self.refusals.failures() >= REFUSALS_TOLD {
            error!(
                queue = self.queue,
                "RabbitMQ ends the connection when this partition is asked for. If it stays so, \
                 the queue is damaged: see \"A queue that RabbitMQ can not serve\" in \
                 docs/cluster.md"
            );
        }
        wait
    }

    /// Subscribes, until the subscription or the connection is over.
    async fn attend(&mut self, session: &Session) -> Result<(), Error> {
        let channel = session.connection.create_channel().await?;
        channel.basic_qos(self.options.prefetch, BasicQosOptions::default()).await?;
        self.inbox.begin();
        let closing = self.closing.clone();
        let subscribed = closing.run_until_cancelled(self.subscribe(&channel)).await;
        let Some(subscribed) = subscribed else { return self.leave(&channel).await };
        let mut deliveries = subscribed?;
        let mut active = None;
        let (mut knows_peers, mut is_preferred) = (true, self.is_preferred());
        let mut move_due = Box::pin(sleep(self.move_after()));
        loop {
            tokio::select! {
                delivery = deliveries.next() => match delivery {
                    Some(Ok(delivery)) => {
                        active.get_or_insert_with(Active::new);
                        self.arrived(&channel, delivery).await?;
                    }
                    // RabbitMQ closed the channel, as it does when something is unsettled for half
                    // an hour. It comes again.
                    Some(Err(error)) => {
                        warn!(queue = self.queue, %error, "a subscription ended");
                        sleep(self.waits.next()).await;
                        return Ok(());
                    }
                    None => return Err(Error::Gone(self.queue.clone())),
                },
                delivery = self.inbox.to_ack() => ack(&channel, delivery).await?,
                () = self.closing.cancelled() => return self.leave(&channel).await,
                changed = self.peers.changed(), if knows_peers => {
                    knows_peers = changed.is_ok();
                    if knows_peers {
                        self.moves = 0;
                    }
                    is_preferred = self.is_preferred();
                    move_due.set(sleep(self.move_after()));
                }
                () = &mut move_due, if active.is_some() && !is_preferred => {
                    // Whether the other one is subscribed RabbitMQ does not tell: of a queue with
                    // one active consumer it counts the active one. If not, this one gets it back.
                    self.moves += 1;
                    info!(queue = self.queue, "leaving a partition that prefers another node");
                    return self.leave(&channel).await;
                }
            }
        }
    }

    async fn subscribe(&mut self, channel: &Channel) -> Result<lapin::Consumer, Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.subscribes = true;
        let (queue, tag) = (self.queue.as_str().into(), "".into());
        let options = BasicConsumeOptions::default();
        let mut consumed = pin!(channel.basic_consume(queue, tag, options, FieldTable::default()));
        let answered = match timeout(TURN_TIME, &mut consumed).await {
            Ok(answered) => answered,
            Err(_) => {
                drop(turn);
                consumed.await
            }
        };
        let deliveries = answered?;
        self.subscribes = false;
        self.refusals = refusals();
        Ok(deliveries)
    }

    async fn arrived(&self, channel: &Channel, delivery: Delivery) -> Result<(), Error> {
        if delivery.redelivered {
            metrics::counter!(QUEUE_REDELIVERED_TOTAL).increment(1);
        }
        let tag = delivery.delivery_tag;
        let (bytes, here) = (Bytes::from(delivery.data), self.options.here);
        let reason = match Message::decode(bytes, here, Instant::now()) {
            Ok(message) if message.epoch == self.options.epoch => {
                self.inbox.arrived(tag, message);
                return Ok(());
            }
            Ok(message) => {
                let (queue, count) = (&self.queue, message.records.len());
                warn!(queue, epoch = message.epoch, count, "dropped records of another epoch");
                "epoch"
            }
            Err(error) => {
                warn!(queue = self.queue, %error, "dropped a message");
                "unreadable"
            }
        };
        metrics::counter!(QUEUE_DROPPED_TOTAL, "reason" => reason).increment(1);
        Ok(channel.basic_ack(tag, BasicAckOptions::default()).await?)
    }

    /// Gives the partition to the next in line, when what was taken is settled.
    async fn leave(&self, channel: &Channel) -> Result<(), Error> {
        self.inbox.pause();
        let patience = async {
            if self.closing.is_cancelled() {
                self.finishing.cancelled().await;
            } else {
                sleep(LEAVE_TIME).await;
            }
        };
        let settled = async {
            while !self.inbox.is_settled() {
                ack(channel, self.inbox.to_ack().await).await?;
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            settled = settled => settled?,
            () = patience => if let Some(delivery) = self.inbox.settled_now() {
                ack(channel, delivery).await?;
            }
        }
        broker::close(channel, &self.queue, LEAVE_TIME).await;
        Ok(())
    }

    fn is_preferred(&self) -> bool {
        let mut nodes = self.peers.borrow().clone();
        nodes.push(self.options.here);
        nodes.sort_unstable();
        nodes.dedup();
        preferred(self.options.partitions, &nodes)[self.index] == self.options.here
    }

    /// Soon after a change. Who left and got the partition again waits longer each time: the one
    /// that it prefers may be gone, and just not be missed yet.
    fn move_after(&self) -> Duration {
        MOVE_AFTER.saturating_mul(1 << self.moves.min(16)).min(MOVE_AFTER_MAX)
    }
}

/// What came up to here needs not come again.
async fn ack(channel: &Channel, delivery: u64) -> Result<(), Error> {
    Ok(channel.basic_ack(delivery, BasicAckOptions { multiple: true }).await?)
}

/// Each try of a partition that RabbitMQ refuses ends the connection of all.
fn refusals() -> Waits {
    Waits::between(Duration::from_millis(250), Duration::from_secs(30))
}

impl Active {
    fn new() -> Self {
        metrics::gauge!(QUEUE_PARTITIONS_ACTIVE).increment(1.0);
        Self
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        metrics::gauge!(QUEUE_PARTITIONS_ACTIVE).decrement(1.0);
    }
}

/// An answer that takes longer is not waited for by the other partitions: a connection that is
/// ended for a broken queue is ended at once.
const TURN_TIME: Duration = Duration::from_millis(250);
/// So many refusals in a row are no accident.
const REFUSALS_TOLD: u32 = 3;
/// Longer than a commit takes. What is not settled by then goes to the next one too, as a repeat.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// A transfer that has just told the others of itself needs a moment to subscribe.
const MOVE_AFTER: Duration = Duration::from_millis(500);
const MOVE_AFTER_MAX: Duration = Duration::from_secs(60);
