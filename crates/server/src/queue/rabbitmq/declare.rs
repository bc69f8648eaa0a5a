//! The queues in RabbitMQ: their names and arguments.
//!
//! `anser.3-of-8` holds the messages of partition 3. `anser.partitions` never holds any: its
//! maximal length is the number of partitions, so RabbitMQ itself tells a node that has another
//! number.

use lapin::{
    Channel, Connection, ErrorKind, Queue,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use tracing::warn;

use super::{Error, Options};

/// The queue of a partition.
pub(super) fn queue_name(options: &Options, partition: usize) -> String {
    format!("{}.{partition}-of-{}", options.name, options.partitions)
}

/// The queue that keeps the number of partitions.
pub(super) fn record_name(options: &Options) -> String {
    format!("{}.partitions", options.name)
}

/// Makes the queues that do not exist, and compares the others.
///
/// # Errors
/// [`Error::Partitions`] and [`Error::Arguments`] when one exists and is not as it must be.
pub(super) async fn declare(connection: &Connection, options: &Options) -> Result<(), Error> {
    declare_record(connection, options).await?;
    let mut channel = connection.create_channel().await?;
    for partition in 0..options.partitions {
        let name = queue_name(options, partition);
        channel = declare_partition(connection, channel, &name, options).await?;
    }
    let _ = channel.close(200, "OK".into()).await;
    Ok(())
}

/// Makes or compares the queue that keeps the number of partitions.
pub(super) async fn declare_record(
    connection: &Connection,
    options: &Options,
) -> Result<(), Error> {
    let queue = record_name(options);
    let channel = connection.create_channel().await?;
    match declare_one(&channel, &queue, record_arguments(options)).await {
        Ok(_) => {
            let _ = channel.close(200, "OK".into()).await;
            Ok(())
        }
        Err(error) => Err(match refused(&error) {
            Some(why) => Error::Partitions { here: options.partitions, queue, why },
            None => error.into(),
        }),
    }
}

/// Gives back a channel for the next one: RabbitMQ closes a channel with each refusal.
pub(super) async fn declare_partition(
    connection: &Connection,
    channel: Channel,
    name: &str,
    options: &Options,
) -> Result<Channel, Error> {
    let wanted = arguments(options);
    let mut unlimited = wanted.clone();
    // Since 4.0 RabbitMQ gives a message up after 20 deliveries unless it is told not to. Before
    // 4.0 it never does, and takes no negative limit.
    unlimited.insert(DELIVERY_LIMIT.into(), AMQPValue::LongInt(-1));
    let told = |why: String| Error::Arguments { queue: name.to_owned(), why };
    let Err(error) = declare_one(&channel, name, unlimited).await else { return Ok(channel) };
    let Some(why) = refused(&error) else { return Err(error.into()) };
    if !why.contains(DELIVERY_LIMIT) {
        return Err(told(why));
    }
    let channel = connection.create_channel().await?;
    match declare_one(&channel, name, wanted).await {
        Ok(_) => {}
        Err(error) => match refused(&error) {
            Some(why) => return Err(told(why)),
            None => return Err(error.into()),
        },
    }
    if why.contains("inequivalent") {
        warn!(
            queue = name,
            "made by a RabbitMQ before 4.0: this one drops a message of it after 20 deliveries. \
             Set a policy with delivery-limit -1, or delete the queue when it is empty"
        );
    }
    Ok(channel)
}

/// What exists under this name.
///
/// # Errors
/// Also when there is no such queue; then the channel is closed.
pub(super) async fn look_at(channel: &Channel, name: &str) -> lapin::Result<Queue> {
    let passive = QueueDeclareOptions::durable().passive();
    channel.queue_declare(name.into(), passive, FieldTable::default()).await
}

async fn declare_one(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<Queue> {
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await
}

/// RabbitMQ's words when it refused a queue's arguments.
pub(super) fn refused(error: &lapin::Error) -> Option<String> {
    const SOFT: AMQPErrorKind = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
    match error.kind() {
        ErrorKind::ProtocolError(told) if *told.kind() == SOFT => {
            Some(told.get_message().to_string())
        }
        _ => None,
    }
}

pub(super) fn arguments(options: &Options) -> FieldTable {
    let mut arguments = quorum();
    let number = |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-max-length".into(), number(options.max_length));
    arguments.insert("x-max-length-bytes".into(), number(options.max_bytes));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

fn record_arguments(options: &Options) -> FieldTable {
    let mut arguments = quorum();
    let partitions = i64::try_from(options.partitions).unwrap_or(i64::MAX);
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(partitions));
    arguments
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

const DELIVERY_LIMIT: &str = "x-delivery-limit";
