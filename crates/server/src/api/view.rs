//! From the store's types to the bodies of REST.

use anser_proto::{
    DeviceId, UserId, rest,
    wire::{self, RelationState},
};
use anser_store as store;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;

use super::error::{Error, Result};
use crate::secrets::MasterKey;

pub(crate) fn user(user: store::User) -> rest::User {
    rest::User { id: user.id, name: user.name, display_name: user.display_name }
}

fn peer(user: store::UserView) -> rest::User {
    rest::User { id: user.id, name: user.name, display_name: user.display_name }
}

pub(crate) fn session(device: store::Device, current: DeviceId) -> rest::Session {
    rest::Session {
        current: device.id == current,
        device: device.id,
        device_name: device.name,
        created_at_ms: device.created_at_ms,
        seen_at_ms: device.seen_at_ms,
    }
}

/// With its keys unwrapped.
pub(crate) fn relation(relation: store::Relation, master: &MasterKey) -> Result<rest::Relation> {
    let keys = relation.wrapped_keys.iter().zip(1..).map(|(wrapped, version)| {
        let key = master.unwrap(wrapped).map_err(Error::internal)?;
        Ok(rest::RelationKey { version, key: BASE64_STANDARD.encode(key.bytes()) })
    });
    Ok(rest::Relation {
        id: relation.id,
        keys: keys.collect::<Result<_>>()?,
        peer: peer(relation.peer),
        state: relation_state(relation.state).into(),
    })
}

fn relation_state(state: RelationState) -> &'static str {
    match state {
        RelationState::Requested => "requested",
        RelationState::Incoming => "incoming",
        RelationState::Friends => "friends",
        RelationState::Blocked => "blocked",
        RelationState::None | RelationState::Unspecified => "none",
    }
}

pub(crate) fn conversation(conversation: store::Conversation) -> Result<rest::Conversation> {
    let member = |member: store::Member| rest::Member {
        user: peer(member.user),
        delivered: member.delivered,
        read: member.read,
    };
    Ok(rest::Conversation {
        id: conversation.id,
        kind: "direct".into(),
        open: conversation.open,
        head: conversation.head,
        unread: conversation.unread,
        members: conversation.members.into_iter().map(member).collect(),
        last_message: conversation.last_message.as_deref().map(message).transpose()?,
    })
}

/// From an encoded `wire::Entry` of a message.
pub(crate) fn message(entry: &[u8]) -> Result<rest::Message> {
    let entry = wire::Entry::decode(entry).map_err(Error::internal)?;
    let Some(wire::entry::Kind::Message(message)) = entry.kind else {
        return Err(Error::internal("the history holds an entry that is no message"));
    };
    Ok(rest::Message {
        conversation: anser_proto::ConversationId(message.conversation),
        conv_seq: message.conv_seq,
        sender: UserId(message.sender),
        device: DeviceId(message.device),
        client_seq: message.client_seq,
        key_version: message.key_version,
        body: BASE64_STANDARD.encode(&entry.body),
        created_at_ms: message.created_at_ms,
    })
}
