//! What happened, as a stream of typed events with a bound: a reader that is too slow is told how
//! many it missed. Nothing is lost by that: messages are in the storage and on the server.

mod queue;

use anser_proto::{Code, ConversationId, DeviceId, Seq, UserId, rest, wire};

pub use queue::Events;

pub(crate) use queue::Queue;

use crate::file::File;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message came: of somebody else, or one's own from any device.
    Message(Message),
    /// How far the other side has received and read a conversation. Absolute, never backwards.
    Receipt {
        /// Where.
        conversation: ConversationId,
        /// Whose receipt.
        user: UserId,
        /// Delivered up to here.
        delivered: Seq,
        /// Read up to here.
        read: Seq,
    },
    /// How far this user has read, on any device.
    ReadMark {
        /// Where.
        conversation: ConversationId,
        /// Read up to here.
        read: Seq,
    },
    /// The server has the commands of this device up to here, safely.
    Sent {
        /// The highest number.
        client_seq: Seq,
    },
    /// A command of this device was not applied and never will be.
    Rejected {
        /// Its number.
        client_seq: Seq,
        /// Why; `None` when this version does not know the code, or nobody can tell any more.
        code: Option<Code>,
    },
    /// A file that was to be sent will not be.
    FileFailed {
        /// Where it was to go.
        conversation: ConversationId,
        /// Its name.
        name: String,
        /// The server's code, where it refused.
        code: Option<Code>,
        /// One sentence for people.
        reason: String,
    },
    /// A relation changed.
    Relation(Relation),
    /// Everything that waited on the server has come; what follows is live.
    CaughtUp,
    /// The server could not continue from this device's position: state is taken anew. Messages
    /// that are new here follow as events; relations and watermarks changed silently.
    Reset,
    /// The old device could not go on; this is a new one. Unsent messages moved over.
    NewDevice(DeviceId),
    /// The connection's state changed.
    State(ConnectionState),
    /// So many events were dropped here because nobody read them. Messages are in the storage and
    /// on the server all the same.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The client will not connect again.
    Closed {
        /// Why, where the server said it.
        code: Option<Code>,
    },
}

/// A message as this device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub conversation: ConversationId,
    /// Its number there.
    pub conv_seq: Seq,
    /// Who sent it.
    pub sender: UserId,
    /// From which device.
    pub device: DeviceId,
    /// Its command number there.
    pub client_seq: Seq,
    /// When the server took it, in milliseconds since 1970 UTC. For display, never for order.
    pub created_at_ms: u64,
    /// What it says.
    pub content: Content,
}

/// An own message that is not in the conversation yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in this device's outbox.
    pub client_seq: Seq,
    /// Where it goes.
    pub conversation: ConversationId,
    /// What it says.
    pub content: Content,
    /// Whether the server has it, safely.
    pub is_sent: bool,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A text.
    Text(String),
    /// A file: its bytes are on the server.
    File(File),
    /// A kind of message that this version does not know.
    Unknown,
    /// The body does not open.
    Unreadable(Unreadable),
}

/// Why a body does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// The key of this version is not to be had.
    NoKey,
    /// It was sealed with another key, for another place, or was changed.
    WrongKeyOrChanged,
    /// It opens, but is no message.
    Malformed,
}

/// A relation as this user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Also the id of its conversation.
    pub id: ConversationId,
    /// The other user.
    pub peer: UserId,
    /// Their user name.
    pub peer_name: String,
    /// The state.
    pub state: RelationState,
}

/// The state of a relation as one of its users sees it.
pub use wire::RelationState;

/// Two facts about the connection. A line that went dead shows as online and not healthy, until the
/// server speaks again or the connection is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// The socket is open and the server spoke within the last heartbeat and a half.
    pub socket_healthy: bool,
    /// The server has welcomed this device and everything that waited has come.
    pub device_online: bool,
}

impl Relation {
    pub(crate) fn from_rest(relation: &rest::Relation) -> Self {
        Self {
            id: relation.id,
            peer: relation.peer.id,
            peer_name: relation.peer.name.clone(),
            state: state_from_name(&relation.state),
        }
    }
}

fn state_from_name(name: &str) -> RelationState {
    match name {
        "requested" => RelationState::Requested,
        "incoming" => RelationState::Incoming,
        "friends" => RelationState::Friends,
        "none" => RelationState::None,
        "blocked" => RelationState::Blocked,
        _ => RelationState::Unspecified,
    }
}
