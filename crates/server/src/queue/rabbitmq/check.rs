//! What RabbitMQ says of itself and of the queues, for an operator.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Connection, ErrorKind, Event,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
    protocol::{AMQPClass, AMQPErrorKind, connection::AMQPMethod, parse_class},
    types::AMQPValue,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Error, Options, broker, declare};

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// RabbitMQ's version, if it tells.
    pub version: Option<String>,
    /// RabbitMQ takes no messages now: it is short of memory or disk. Its words, if it said any.
    pub blocked: Option<String>,
    /// Whether the queue that keeps the number of partitions fits this node's.
    pub agrees: Fits,
    /// The queue of each partition.
    pub partitions: Vec<QueueReport>,
}

/// A partition's queue.
#[derive(Clone, Debug)]
pub struct QueueReport {
    /// Its name.
    pub name: String,
    /// Whether its arguments are as they must be.
    pub fits: Fits,
    /// Messages that wait for a transfer; those that one works on are not counted.
    pub messages: u32,
    /// Transfers that are subscribed; 0: nobody works it off.
    pub consumers: u32,
}

/// How a queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fits {
    /// As it must be.
    Yes,
    /// It does not exist; the first node that starts makes it.
    Missing,
    /// It has other arguments: the words for the operator.
    No(String),
    /// RabbitMQ knows it and can not serve it: its process does not run.
    Broken,
}

/// Looks at the queues; makes none.
///
/// # Errors
/// RabbitMQ can not be reached, does not let this user in, or does not answer.
pub async fn check(options: &Options) -> Result<Report, Error> {
    let version = timeout(ANSWER_TIME, version(options)).await.ok().flatten();
    let connected = broker::open(options).await?;
    let report = timeout(ANSWER_TIME, look(&connected.connection, options, version)).await;
    connected.close().await;
    report.map_err(|_| Error::Silent(ANSWER_TIME))?
}

async fn look(
    connection: &Connection,
    options: &Options,
    version: Option<String>,
) -> Result<Report, Error> {
    let mut partitions = Vec::new();
    for partition in 0..options.partitions {
        partitions.push(look_at(connection, options, partition).await?);
    }
    let record = declare::record_name(options);
    let exists = declare::look_at(&connection.create_channel().await?, &record).await.is_ok();
    let agrees = match exists {
        true => fits(declare::declare_record(connection, options).await)?,
        false => Fits::Missing,
    };
    Ok(Report { version, blocked: blocked(connection, options).await?, agrees, partitions })
}

async fn look_at(
    connection: &Connection,
    options: &Options,
    partition: usize,
) -> Result<QueueReport, Error> {
    let name = declare::queue_name(options, partition);
    let channel = connection.create_channel().await?;
    let Ok(queue) = declare::look_at(&channel, &name).await else {
        return Ok(QueueReport { name, fits: Fits::Missing, messages: 0, consumers: 0 });
    };
    let mut fits = fits(declare::declare_partition(&channel, &name, options).await)?;
    let (messages, consumers) = (queue.message_count(), queue.consumer_count());
    // One that has a consumer is alive.
    if fits == Fits::Yes && consumers == 0 && !is_served(options, &name).await? {
        fits = Fits::Broken;
    }
    Ok(QueueReport { name, fits, messages, consumers })
}

fn fits(declared: Result<(), Error>) -> Result<Fits, Error> {
    match declared {
        Ok(()) => Ok(Fits::Yes),
        Err(error @ (Error::Arguments { .. } | Error::Partitions { .. })) => {
            Ok(Fits::No(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Whether a queue answers. A declaration does not tell, it is answered without the queue. Asked
/// for a message, one that has a single active consumer says no, and gives none; for one whose
/// process is dead RabbitMQ ends the connection, so this takes one of its own.
async fn is_served(options: &Options, name: &str) -> Result<bool, Error> {
    let connected = broker::open(options).await?;
    let channel = connected.connection.create_channel().await?;
    let got = channel.basic_get(name.into(), BasicGetOptions::default()).await;
    let is_served = match &got {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            ErrorKind::ProtocolError(told) if matches!(told.kind(), AMQPErrorKind::Soft(_))
        ),
    };
    connected.close().await;
    Ok(is_served)
}

/// RabbitMQ tells a connection that it takes no messages when it gets one: this one is for a queue
/// that does not exist.
async fn blocked(connection: &Connection, options: &Options) -> Result<Option<String>, Error> {
    let mut events = Box::pin(connection.events_listener());
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let nowhere = format!("{}.check", options.name);
    let publish = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default();
    let confirm = channel.basic_publish("".into(), nowhere.into(), publish, &[], properties);
    let mut confirm = confirm.await?;
    loop {
        tokio::select! {
            confirmed = &mut confirm => return Ok(confirmed.map(|_| None)?),
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(why)) => return Ok(Some(why)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

/// From the first frame that RabbitMQ sends: lapin does not tell it.
async fn version(options: &Options) -> Option<String> {
    let authority = broker::uri(&options.url).ok()?.authority;
    let mut stream = TcpStream::connect((authority.host.as_str(), authority.port)).await.ok()?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
    let mut header = [0; 7];
    stream.read_exact(&mut header).await.ok()?;
    let [_, _, _, size @ ..] = header;
    let size = usize::try_from(u32::from_be_bytes(size)).ok().filter(|size| *size <= FRAME_MAX)?;
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await.ok()?;
    let (_, AMQPClass::Connection(AMQPMethod::Start(start))) = parse_class(&frame[..]).ok()? else {
        return None;
    };
    match start.server_properties.inner().get("version")? {
        AMQPValue::LongString(version) => Some(version.to_string()),
        _ => None,
    }
}

/// For each part of the check.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// More than any first frame has.
const FRAME_MAX: usize = 128 * 1024;
