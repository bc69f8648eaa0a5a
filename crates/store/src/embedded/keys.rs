//! Keys. All numbers are big-endian, so that the order of the bytes is the order of the numbers.
//!
//! `im_inbox` and `im_message` are keyspaces of their own; all small tables share one, and their
//! keys begin with a byte that names the table. These bytes are part of the format on disk.

use anser_proto::{ConversationId, DeviceId, FileId, Seq, UserId};

use crate::Hash;

/// Name of a meta row → its value.
pub(super) const META: u8 = b'M';
/// User → `UserRow`.
pub(super) const USER: u8 = b'u';
/// Name → user.
pub(super) const USER_NAME: u8 = b'n';
/// Device → `DeviceRow`, what the hot path changes.
pub(super) const DEVICE: u8 = b'd';
/// (user, device) → `SessionRow`, the rest of a device.
pub(super) const SESSION: u8 = b's';
/// Token hash → `TokenRow`.
pub(super) const TOKEN: u8 = b't';
/// Code hash → `InviteRow`.
pub(super) const INVITE: u8 = b'i';
/// Relation → `RelationRow`.
pub(super) const RELATION: u8 = b'r';
/// (user, peer) → `PeerRow`.
pub(super) const PEER: u8 = b'p';
/// Conversation → `ConversationRow`.
pub(super) const CONVERSATION: u8 = b'c';
/// (conversation, user) → `MemberRow`.
pub(super) const MEMBER: u8 = b'm';
/// (user, conversation) → nothing: the conversations of a user.
pub(super) const MEMBERSHIP: u8 = b'k';
/// Once key → `OnceRow`.
pub(super) const ONCE: u8 = b'o';
/// User → `FloorRow`, absent while nothing was pruned.
pub(super) const FLOOR: u8 = b'f';
/// File → `FileRow`.
pub(super) const FILE: u8 = b'F';
/// File → nothing: the files that no message names.
pub(super) const LOOSE_FILE: u8 = b'l';
/// User → `UsedRow`, what their files take.
pub(super) const USED: u8 = b'q';

/// All small tables with the name that backups use.
pub(super) const TABLES: &[(u8, &str)] = &[
    (META, "im_meta"),
    (USER, "im_user"),
    (USER_NAME, "im_user_name"),
    (DEVICE, "im_device"),
    (SESSION, "im_device_session"),
    (TOKEN, "im_token"),
    (INVITE, "im_invite"),
    (RELATION, "im_relation"),
    (PEER, "im_relation_peer"),
    (CONVERSATION, "im_conversation"),
    (MEMBER, "im_member"),
    (MEMBERSHIP, "im_member_user"),
    (ONCE, "im_once"),
    (FLOOR, "im_inbox_floor"),
    (FILE, "im_file"),
    (LOOSE_FILE, "im_file_loose"),
    (USED, "im_file_used"),
];

/// A key of one number in a small table.
pub(super) type Key1 = [u8; 9];
/// A key of two numbers in a small table.
pub(super) type Key2 = [u8; 17];
/// A key of `im_inbox` or `im_message`.
pub(super) type RowKey = [u8; 16];

pub(super) fn row(log: u64, seq: Seq) -> RowKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&log.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The number of a row of `im_inbox` or `im_message`, or the last number of any key of ours.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

pub(super) fn one(table: u8, id: u64) -> Key1 {
    let mut key = [table; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub(super) fn two(table: u8, first: u64, second: u64) -> Key2 {
    let mut key = [table; 17];
    key[1..9].copy_from_slice(&first.to_be_bytes());
    key[9..].copy_from_slice(&second.to_be_bytes());
    key
}

pub(super) fn bytes(table: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(table);
    key.extend_from_slice(name);
    key
}

pub(super) fn user(id: UserId) -> Key1 {
    one(USER, id.0)
}

pub(super) fn user_name(name: &str) -> Vec<u8> {
    bytes(USER_NAME, name.as_bytes())
}

pub(super) fn device(id: DeviceId) -> Key1 {
    one(DEVICE, id.0)
}

pub(super) fn session(user: UserId, device: DeviceId) -> Key2 {
    two(SESSION, user.0, device.0)
}

pub(super) fn token(hash: &Hash) -> Vec<u8> {
    bytes(TOKEN, hash)
}

pub(super) fn peer(user: UserId, peer: UserId) -> Key2 {
    two(PEER, user.0, peer.0)
}

pub(super) fn relation(id: ConversationId) -> Key1 {
    one(RELATION, id.0)
}

pub(super) fn conversation(id: ConversationId) -> Key1 {
    one(CONVERSATION, id.0)
}

pub(super) fn member(conversation: ConversationId, user: UserId) -> Key2 {
    two(MEMBER, conversation.0, user.0)
}

pub(super) fn membership(user: UserId, conversation: ConversationId) -> Key2 {
    two(MEMBERSHIP, user.0, conversation.0)
}

pub(super) fn floor(user: UserId) -> Key1 {
    one(FLOOR, user.0)
}

pub(super) fn file(id: FileId) -> Key1 {
    one(FILE, id.0)
}

pub(super) fn loose_file(id: FileId) -> Key1 {
    one(LOOSE_FILE, id.0)
}

pub(super) fn used(user: UserId) -> Key1 {
    one(USED, user.0)
}
