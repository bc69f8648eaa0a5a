//! One message of the durable queue, as bytes and as records. What is in them: `queue.proto`.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use anser_proto::{
    ConversationId, DeviceId, NodeId, SessionId, UserId,
    cluster::{
        QueueMessage, QueueRecord, QueuedAck, QueuedCommand, QueuedDelivered, queue_record::Kind,
    },
};
use anser_store::{Record, TraceParent};
use bytes::Bytes;
use prost::Message as _;

/// Of the layout; a reader takes no other.
const VERSION: u32 = 1;

/// What one connector collected for one partition.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The store's history that the records belong to.
    pub(super) epoch: String,
    /// The connector.
    pub(super) connector: NodeId,
    /// When the oldest record was published; only its own process can tell.
    pub(super) published: Instant,
    /// In their order.
    pub(super) records: Vec<Record>,
}

/// The bytes are no message of this version.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("its layout has version {0}, not {VERSION}")]
    Version(u32),
    #[error("it can not be read: {0}")]
    Bytes(#[from] prost::DecodeError),
    #[error("a record is of a kind that is not known here")]
    Kind,
    #[error("a key of {0} bytes, not 32")]
    Key(usize),
}

impl Message {
    pub(super) fn encode(self) -> Bytes {
        let message = QueueMessage {
            version: VERSION,
            epoch: self.epoch,
            connector: self.connector.0,
            published_us: own_clock_us(self.published),
            records: self.records.into_iter().map(encode).collect(),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// `here`: this process, which reads its own clock. `came`: when they came, for the others.
    ///
    /// # Errors
    /// They are no message of this version.
    pub(super) fn decode(bytes: Bytes, here: NodeId, came: Instant) -> Result<Self, DecodeError> {
        let message = QueueMessage::decode(bytes)?;
        if message.version != VERSION {
            return Err(DecodeError::Version(message.version));
        }
        let connector = NodeId(message.connector);
        let own = (connector == here).then(|| of_own_clock(message.published_us)).flatten();
        let records: Result<_, _> = message.records.into_iter().map(decode).collect();
        Ok(Self {
            epoch: message.epoch,
            connector,
            published: own.map_or(came, |published| published.min(came)),
            records: records?,
        })
    }
}

fn encode(record: Record) -> QueueRecord {
    let kind = match record {
        Record::Command { user, device, session, client_seq, command, once, trace } => {
            let once = once.map_or_else(Bytes::new, |key| Bytes::copy_from_slice(&key[..]));
            let (user, device, session) = (user.0, device.0, session.0);
            let trace = trace.map_or_else(Bytes::new, |place| trace_to_bytes(&place));
            Kind::Command(QueuedCommand { user, device, session, client_seq, once, command, trace })
        }
        Record::Ack { user, device, position, delivered, store_position } => {
            let delivered = delivered.into_iter().map(|(conversation, conv_seq)| QueuedDelivered {
                conversation: conversation.0,
                conv_seq,
            });
            let (user, device, delivered) = (user.0, device.0, delivered.collect());
            Kind::Ack(QueuedAck { user, device, position, delivered, store_position })
        }
    };
    QueueRecord { kind: Some(kind) }
}

fn decode(record: QueueRecord) -> Result<Record, DecodeError> {
    Ok(match record.kind.ok_or(DecodeError::Kind)? {
        Kind::Command(command) => Record::Command {
            user: UserId(command.user),
            device: DeviceId(command.device),
            session: SessionId(command.session),
            client_seq: command.client_seq,
            once: match &command.once[..] {
                [] => None,
                key => {
                    let key = key.try_into().map_err(|_| DecodeError::Key(key.len()))?;
                    Some(Box::new(key))
                }
            },
            command: command.command,
            trace: trace_of(&command.trace),
        },
        Kind::Ack(ack) => {
            let pair = |one: QueuedDelivered| (ConversationId(one.conversation), one.conv_seq);
            Record::Ack {
                user: UserId(ack.user),
                device: DeviceId(ack.device),
                position: ack.position,
                delivered: ack.delivered.into_iter().map(pair).collect(),
                store_position: ack.store_position,
            }
        }
    })
}

fn trace_to_bytes(place: &TraceParent) -> Bytes {
    [&place.trace[..], &place.span].concat().into()
}

fn trace_of(bytes: &[u8]) -> Option<Box<TraceParent>> {
    let (trace, span) = bytes.split_first_chunk()?;
    Some(Box::new(TraceParent { trace: *trace, span: span.try_into().ok()? }))
}

/// Instants of this process in microseconds, from the first one that was asked for; at least 1.
fn own_clock_us(instant: Instant) -> u64 {
    let since = instant.saturating_duration_since(own_clock());
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn of_own_clock(us: u64) -> Option<Instant> {
    own_clock().checked_add(Duration::from_micros(us))
}

fn own_clock() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
