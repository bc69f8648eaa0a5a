//! Values of the small tables, as protobuf: a row that an older or newer version wrote still
//! decodes. Field numbers are never reused. `im_inbox` and `im_message` hold a `wire::Entry`.

use prost::Message;

use crate::{Result, StoreError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct UserRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) display_name: String,
    #[prost(string, optional, tag = "3")]
    pub(super) password_hash: Option<String>,
    /// 0 active, 1 disabled, 2 removed.
    #[prost(uint32, tag = "4")]
    pub(super) state: u32,
    #[prost(bool, tag = "5")]
    pub(super) system: bool,
    #[prost(uint64, tag = "6")]
    pub(super) created_at_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeviceRow {
    #[prost(uint64, tag = "1")]
    pub(super) user: u64,
    #[prost(uint64, tag = "2")]
    pub(super) outbox_position: u64,
    #[prost(uint64, tag = "3")]
    pub(super) inbox_position: u64,
    #[prost(uint64, tag = "4")]
    pub(super) seen_at_ms: u64,
    /// Digests of the last commands, oldest first.
    #[prost(fixed64, repeated, tag = "5")]
    pub(super) digests: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) token_hash: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(super) created_at_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TokenRow {
    #[prost(uint64, tag = "1")]
    pub(super) user: u64,
    #[prost(uint64, tag = "2")]
    pub(super) device: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InviteRow {
    #[prost(uint64, tag = "1")]
    pub(super) created_at_ms: u64,
    /// The user who consumed it, 0 while it is free.
    #[prost(uint64, tag = "2")]
    pub(super) used_by: u64,
}

/// Two users, the one with the smaller id first. `asks` and `blocks` are what each of them does.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RelationRow {
    #[prost(uint64, tag = "1")]
    pub(super) low: u64,
    #[prost(uint64, tag = "2")]
    pub(super) high: u64,
    #[prost(bool, tag = "3")]
    pub(super) friends: bool,
    #[prost(bool, tag = "4")]
    pub(super) low_asks: bool,
    #[prost(bool, tag = "5")]
    pub(super) high_asks: bool,
    #[prost(bool, tag = "6")]
    pub(super) low_blocks: bool,
    #[prost(bool, tag = "7")]
    pub(super) high_blocks: bool,
    /// Wrapped keys; version n is at index n-1.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) keys: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PeerRow {
    #[prost(uint64, tag = "1")]
    pub(super) relation: u64,
    /// `wire::RelationState` as the user sees it.
    #[prost(int32, tag = "2")]
    pub(super) state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConversationRow {
    /// 1: between two users. Others are for later.
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(bool, tag = "2")]
    pub(super) open: bool,
    #[prost(uint32, tag = "3")]
    pub(super) key_version: u32,
    /// All members ever, so that their rows are looked up and not searched for.
    #[prost(uint64, repeated, tag = "4")]
    pub(super) members: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberRow {
    #[prost(uint64, tag = "1")]
    pub(super) delivered: u64,
    #[prost(uint64, tag = "2")]
    pub(super) read: u64,
    /// Messages up to here were before this member's time.
    #[prost(uint64, tag = "3")]
    pub(super) joined_at_seq: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OnceRow {
    #[prost(uint64, tag = "1")]
    pub(super) used_at_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FloorRow {
    #[prost(uint64, tag = "1")]
    pub(super) floor: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FileRow {
    #[prost(uint64, tag = "1")]
    pub(super) owner: u64,
    #[prost(uint64, tag = "2")]
    pub(super) conversation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) size: u64,
    /// 0 incomplete, 1 complete, 2 referenced, 3 ended.
    #[prost(uint32, tag = "4")]
    pub(super) state: u32,
    #[prost(uint64, tag = "5")]
    pub(super) created_at_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(super) updated_at_ms: u64,
}

/// Nothing: the key says it all.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LooseFileRow {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UsedRow {
    #[prost(uint64, tag = "1")]
    pub(super) bytes: u64,
}

/// Decodes a row that our own hand wrote.
pub(super) fn decode<R: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<R> {
    R::decode(bytes)
        .map_err(|error| StoreError::Corrupt(format!("{what} does not decode: {error}")))
}
