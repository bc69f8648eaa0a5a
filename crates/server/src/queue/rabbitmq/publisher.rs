//! From the lanes of a connector to RabbitMQ: one message at a time of each, until it is confirmed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use opentelemetry::trace::SpanKind;
use tokio::time::{sleep, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::warn;

use super::{
    Error, Options,
    broker::{self, Broker, Session, Waits},
    codec::Message,
    declare::queue_name,
};
use crate::{
    metrics::{
        QUEUE_PUBLISH_SECONDS, QUEUE_PUBLISHED_TOTAL, QUEUE_REFUSED_TOTAL, QUEUE_REPUBLISHED_TOTAL,
        QUEUE_RETURNED_TOTAL,
    },
    queue::{Lane, Queue, lane::Waited},
    trace::number,
};

/// Publishes what a [`Queue`] takes. Dropped, it publishes no more.
#[derive(Debug)]
pub struct Publisher {
    broker: Broker,
    lanes: TaskTracker,
    keeper: TaskTracker,
    done: CancellationToken,
    _cut: DropGuard,
}

/// The task of one lane.
struct Mover {
    lane: Arc<Lane>,
    queue: String,
    options: Arc<Options>,
    broker: Broker,
    /// Of the connection with this number.
    channel: Option<(u64, Channel)>,
}

/// What became of one publish.
enum Published {
    /// RabbitMQ has it, on disk.
    Confirmed,
    /// The queue is full.
    Refused,
    /// The queue is not there.
    Returned,
    /// Nothing came, for too long.
    Unanswered,
}

impl Publisher {
    /// Starts the tasks. They connect when RabbitMQ can be reached.
    ///
    /// # Panics
    /// When `queue` has another number of lanes than the options say, and outside of a runtime.
    pub fn start(options: Options, queue: &Queue) -> Self {
        assert_eq!(queue.lanes().len(), options.partitions, "a lane for each partition");
        let options = Arc::new(options);
        let (done, cut) = (CancellationToken::new(), CancellationToken::new());
        let (broker, keeper) = Broker::new(Arc::clone(&options), "publisher", done.clone());
        let (lanes, connection) = (TaskTracker::new(), TaskTracker::new());
        connection.spawn(cut.clone().run_until_cancelled_owned(keeper.run()));
        for (partition, lane) in queue.lanes().iter().enumerate() {
            let mover = Mover {
                lane: Arc::clone(lane),
                queue: queue_name(&options, partition),
                options: Arc::clone(&options),
                broker: broker.clone(),
                channel: None,
            };
            lanes.spawn(mover.run());
        }
        lanes.close();
        connection.close();
        Self { broker, lanes, keeper: connection, done, _cut: cut.drop_guard() }
    }

    /// Whether messages are taken now.
    pub fn is_up(&self) -> bool {
        self.broker.is_up()
    }

    /// Waits until all that the closed queue took is confirmed. For ever, while RabbitMQ is away:
    /// what a limited wait leaves the devices send again.
    pub async fn finished(&self) {
        self.lanes.wait().await;
        self.done.cancel();
        self.keeper.wait().await;
    }
}

impl Mover {
    async fn run(mut self) {
        while let Some(Waited { records, published }) = self.lane.take_unhurried(ACKS_WAIT).await {
            let (epoch, connector) = (self.options.epoch.clone(), self.options.here);
            let tracer = &self.options.tracer;
            let (followed, taken) = (tracer.followed(&records), Instant::now());
            let batch = number(records.len() as u64);
            let message = Message { epoch, connector, published, records }.encode();
            if self.deliver(&message).await.is_none() {
                return;
            }
            for one in followed {
                let span = one.span("publish", SpanKind::Producer, taken);
                let span = span.with("messaging.destination.name", self.queue.clone());
                self.options.tracer.end(span.with("anser.records", batch));
            }
        }
    }

    /// Publishes the same bytes until they are confirmed. `None`: the keeper has ended.
    async fn deliver(&mut self, message: &Bytes) -> Option<()> {
        let started = Instant::now();
        let mut waits = Waits::default();
        loop {
            let session = self.broker.up_for_messages().await?;
            let over = self.broker.clone();
            let published = tokio::select! {
                biased;
                published = self.publish(&session, message) => published,
                // An answer that can not come any more is not waited for, whatever lapin thinks.
                () = over.over(session.number) => Err(Error::Gone(self.queue.clone())),
            };
            match published {
                Ok(Published::Confirmed) => {
                    metrics::counter!(QUEUE_PUBLISHED_TOTAL).increment(1);
                    metrics::histogram!(QUEUE_PUBLISH_SECONDS).record(started.elapsed());
                    return Some(());
                }
                Ok(Published::Refused) => {
                    metrics::counter!(QUEUE_REFUSED_TOTAL).increment(1);
                    sleep(waits.next()).await;
                }
                Ok(Published::Unanswered) => {
                    warn!(queue = self.queue, "a message has no answer; asking by another channel");
                    self.leave().await;
                }
                Ok(Published::Returned) => {
                    metrics::counter!(QUEUE_RETURNED_TOTAL).increment(1);
                    warn!(queue = self.queue, "a message was returned: the queue is gone");
                    self.broker.renew(session.number).await;
                }
                Err(error) => {
                    warn!(queue = self.queue, %error, "a message was not confirmed");
                    self.broker.renew(session.number).await;
                }
            }
            metrics::counter!(QUEUE_REPUBLISHED_TOTAL).increment(1);
        }
    }

    async fn publish(&mut self, session: &Session, message: &[u8]) -> Result<Published, Error> {
        let queue = self.queue.as_str().into();
        let confirm = self.channel(session).await?.basic_publish(
            "".into(),
            queue,
            BasicPublishOptions { mandatory: true, immediate: false },
            message,
            BasicProperties::default().with_delivery_mode(PERSISTENT),
        );
        let mut confirm = confirm.await?;
        let confirmed = loop {
            match timeout(ANSWER_TIME, &mut confirm).await {
                Ok(confirmed) => break confirmed?,
                Err(_) if self.broker.is_up() => return Ok(Published::Unanswered),
                // It reads nothing while it is short of something.
                Err(_) => {}
            }
        };
        Ok(match confirmed {
            Confirmation::Ack(None) => Published::Confirmed,
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Published::Returned,
            Confirmation::Nack(None) | Confirmation::NotRequested => Published::Refused,
        })
    }

    /// Gives the channel up. What RabbitMQ has of it by then comes before what is published next.
    async fn leave(&mut self) {
        if let Some((_, channel)) = self.channel.take() {
            broker::close(&channel, &self.queue, CLOSE_TIME).await;
        }
    }

    /// One channel for each partition: its confirms and returns are about one message.
    async fn channel(&mut self, session: &Session) -> Result<&Channel, Error> {
        let known = self.channel.take().filter(|(number, _)| *number == session.number);
        let channel = match known {
            Some((_, channel)) => channel,
            None => {
                let channel = session.connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                channel
            }
        };
        Ok(&self.channel.insert((session.number, channel)).1)
    }
}

/// Acks wait so long for a command to go with. It delays receipts by as much, half of what a client
/// may delay an ack by, and saves up to half of the messages, each of which RabbitMQ syncs.
const ACKS_WAIT: Duration = Duration::from_millis(50);
/// A queue whose process died on its own confirms nothing to those that had published to it, also
/// when it is back; to another channel it does, or says no. Longer than a disk may stall.
const ANSWER_TIME: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });
/// For the close of a channel that may not answer either.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// AMQP's delivery mode of a message that survives a restart.
const PERSISTENT: u8 = 2;
