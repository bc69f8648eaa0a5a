//! What a device keeps: token, device id, outbox, position, keys and messages, in one place. Losing
//! one of them means losing all, so they are one storage and change in one transaction.

mod file;
mod memory;

use anser_proto::{ConversationId, DeviceId, FileId, Seq, UserId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use file::FileStorage;
pub use memory::MemoryStorage;

use crate::{error::Result, event::Message};

/// A device's storage. Calls are short and may block on the disk.
pub trait Storage: Send + 'static {
    /// Everything but the messages; empty at first.
    ///
    /// # Errors
    /// The storage can not be read.
    fn load(&mut self) -> Result<Saved>;

    /// Applies all changes in order in one durable transaction: all of them or, after a crash,
    /// none.
    ///
    /// # Errors
    /// Nothing was changed.
    fn apply(&mut self, changes: &[Change]) -> Result<()>;

    /// The newest messages of a conversation below `before`, at most `limit`, rising.
    ///
    /// # Errors
    /// The storage can not be read.
    fn messages(
        &mut self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>>;
}

/// Who this device is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// The device.
    pub device: DeviceId,
    /// The session's secret.
    pub token: String,
}

/// How far a conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    /// The highest message that this device holds.
    pub head: Seq,
    /// How far this user has read.
    pub read: Seq,
    /// How far the peer has received.
    pub peer_delivered: Seq,
    /// How far the peer has read.
    pub peer_read: Seq,
}

/// A relation with the keys that are known here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRelation {
    /// Also the conversation.
    pub id: ConversationId,
    /// The other user.
    pub peer: UserId,
    /// Their user name.
    pub peer_name: String,
    /// A number of `wire::RelationState`.
    pub state: i32,
    /// Keys: version n is at index n - 1.
    pub keys: Vec<[u8; 32]>,
}

/// A file that is to be sent, or whose message waits in the outbox.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedUpload {
    /// Names it on this device.
    pub number: u64,
    /// Where it goes.
    pub conversation: ConversationId,
    /// The file on this machine.
    pub path: String,
    /// Its name for the others.
    pub name: String,
    /// Its media type, or empty.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was changed last, in nanoseconds since 1970 UTC.
    pub modified_ns: u64,
    /// The key that seals it.
    pub key: [u8; 32],
    /// Width and height of a picture.
    pub pixels: Option<(u32, u32)>,
    /// A small picture, or empty.
    pub preview: Vec<u8>,
    /// The server's upload, once there is one.
    pub file: Option<FileId>,
    /// Its message's command, once all bytes are there.
    pub client_seq: Option<Seq>,
}

/// What a storage holds, but for the messages.
#[derive(Clone, Default)]
pub struct Saved {
    /// `None` before the first login.
    pub identity: Option<Identity>,
    /// The history that `position` belongs to; empty before the first snapshot.
    pub epoch: String,
    /// The inbox position.
    pub position: Seq,
    /// The highest command number ever given out.
    pub outbox_head: Seq,
    /// Commands not yet forgotten, by number.
    pub outbox: Vec<(Seq, Bytes)>,
    /// By conversation.
    pub watermarks: Vec<(ConversationId, Watermarks)>,
    /// All relations.
    pub relations: Vec<SavedRelation>,
    /// Files on their way out, by number.
    pub uploads: Vec<SavedUpload>,
}

/// One change of a transaction.
#[derive(Clone)]
pub enum Change {
    /// This is a new device: outbox, epoch and position start anew. Messages stay.
    Identity(Identity),
    /// The inbox is stored up to here.
    Position {
        /// The history it belongs to; `None`: the same as before.
        epoch: Option<String>,
        /// The position.
        position: Seq,
    },
    /// A new command; its number is the new outbox head.
    Enqueue {
        /// Its number.
        client_seq: Seq,
        /// Its bytes, resent as they are.
        command: Bytes,
    },
    /// Commands up to here are forgotten.
    Trim {
        /// The highest number forgotten.
        through: Seq,
    },
    /// A message, new or again.
    Message(Message),
    /// Messages above `head` never happened: the server was restored and lost them.
    Rewind {
        /// Where.
        conversation: ConversationId,
        /// The last message that stays.
        head: Seq,
    },
    /// A conversation's watermarks, absolute.
    Watermarks(ConversationId, Watermarks),
    /// A relation, absolute.
    Relation(SavedRelation),
    /// A file on its way out, absolute.
    Upload(SavedUpload),
    /// A file is not on its way any more: sent, or given up.
    Uploaded {
        /// Its number.
        number: u64,
    },
}
