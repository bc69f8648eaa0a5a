//! The rows of a dump, as protobuf. Field numbers and the order of the tables are its format.

use bytes::Bytes;
use prost::Oneof;

/// What the tables are called, in the order of a dump.
pub(crate) const TABLES: [&str; 9] = [
    "users",
    "invitations",
    "devices",
    "relations",
    "conversations",
    "messages",
    "inbox entries",
    "once keys",
    "files",
];

/// A row of one of the tables.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Row {
    /// By id.
    #[prost(message, tag = "11")]
    User(User),
    /// By hash.
    #[prost(message, tag = "12")]
    Invite(Invite),
    /// By user, then id.
    #[prost(message, tag = "13")]
    Device(Device),
    /// By id.
    #[prost(message, tag = "14")]
    Relation(Relation),
    /// By id.
    #[prost(message, tag = "15")]
    Conversation(Conversation),
    /// By conversation, then number.
    #[prost(message, tag = "16")]
    Message(Message),
    /// By user, then number.
    #[prost(message, tag = "17")]
    Entry(Entry),
    /// By key.
    #[prost(message, tag = "18")]
    Once(Once),
    /// By id.
    #[prost(message, tag = "19")]
    File(File),
}

impl Row {
    /// The place of its table in [`TABLES`].
    pub(super) fn table(&self) -> usize {
        match self {
            Self::User(_) => 0,
            Self::Invite(_) => 1,
            Self::Device(_) => 2,
            Self::Relation(_) => 3,
            Self::Conversation(_) => 4,
            Self::Message(_) => 5,
            Self::Entry(_) => 6,
            Self::Once(_) => 7,
            Self::File(_) => 8,
        }
    }
}

/// A user, also a removed one, with the bounds of the inbox.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct User {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) display_name: String,
    #[prost(string, optional, tag = "4")]
    pub(crate) password_hash: Option<String>,
    /// 0 active, 1 disabled, 2 removed.
    #[prost(uint32, tag = "5")]
    pub(crate) state: u32,
    #[prost(bool, tag = "6")]
    pub(crate) system: bool,
    #[prost(uint64, tag = "7")]
    pub(crate) created_at_ms: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) inbox_head: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) inbox_floor: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Invite {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) code_hash: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) created_at_ms: u64,
    /// The user who consumed it, 0 while it is free.
    #[prost(uint64, tag = "3")]
    pub(crate) used_by: u64,
}

/// A device with its token.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Device {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) id: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) outbox_position: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) inbox_position: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) seen_at_ms: u64,
    /// Of the last commands, oldest first.
    #[prost(fixed64, repeated, tag = "6")]
    pub(crate) digests: Vec<u64>,
    #[prost(string, tag = "7")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "8")]
    pub(crate) token_hash: Vec<u8>,
    #[prost(uint64, tag = "9")]
    pub(crate) created_at_ms: u64,
}

/// What two users do to each other, and their keys: version n is at index n-1.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Relation {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) low: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) high: u64,
    #[prost(bool, tag = "4")]
    pub(crate) friends: bool,
    #[prost(bool, tag = "5")]
    pub(crate) low_asks: bool,
    #[prost(bool, tag = "6")]
    pub(crate) high_asks: bool,
    #[prost(bool, tag = "7")]
    pub(crate) low_blocks: bool,
    #[prost(bool, tag = "8")]
    pub(crate) high_blocks: bool,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) wrapped_keys: Vec<Vec<u8>>,
}

/// A conversation with its members, rising by user.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Conversation {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) kind: u32,
    #[prost(bool, tag = "3")]
    pub(crate) open: bool,
    #[prost(uint32, tag = "4")]
    pub(crate) key_version: u32,
    #[prost(uint64, tag = "5")]
    pub(crate) head: u64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Member {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) delivered: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) read: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) joined_at_seq: u64,
}

/// A message of a history: an encoded `wire::Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(uint64, tag = "1")]
    pub(crate) conversation: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) conv_seq: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) entry: Bytes,
}

/// An entry of an inbox: an encoded `wire::Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) seq: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) entry: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Once {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) used_at_ms: u64,
}

/// A file's row; its bytes are elsewhere.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct File {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) owner: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) conversation: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) size: u64,
    /// 0 incomplete, 1 complete, 2 referenced, 3 ended.
    #[prost(uint32, tag = "5")]
    pub(crate) state: u32,
    #[prost(uint64, tag = "6")]
    pub(crate) created_at_ms: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) updated_at_ms: u64,
}
