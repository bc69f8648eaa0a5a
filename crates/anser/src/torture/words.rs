//! From what travels to what is recorded.

use anser_client::{
    self as sdk,
    proto::{Frame, rest, wire, wire::entry},
};
use bytes::Bytes;
use prost::Message as _;

use super::{
    history::{ConnId, ConversationState, FileBytes, Kind, Message, Row, State, What},
    link::End,
};

/// What a frame says, if it is worth a record.
pub(super) fn of_frame(conn: ConnId, end: End, frame: Frame) -> Option<What> {
    Some(match (end, frame) {
        (End::Server, Frame::Welcome(welcome)) => What::Welcome {
            conn,
            epoch: welcome.epoch,
            head: welcome.head,
            floor: welcome.floor,
            outbox_position: welcome.outbox_position,
        },
        (End::Server, Frame::Reset(reset)) => What::Reset {
            conn,
            epoch: reset.epoch,
            head: reset.head,
            outbox_position: reset.outbox_position,
        },
        (End::Server, Frame::Push(push)) => {
            What::Pushed { conn, seq: push.seq, row: row(&push.body) }
        }
        (End::Server, Frame::CaughtUp(_)) => What::CaughtUp { conn },
        (End::Server, Frame::Ack(ack)) => What::Acked { conn, position: ack.position },
        (End::Server, Frame::Close(close)) => What::Closed { conn, code: close.code },
        (End::Client, Frame::Ack(ack)) => What::Confirmed { conn, position: ack.position },
        _ => return None,
    })
}

/// A row of an inbox, from its bytes.
pub(super) fn row(bytes: &Bytes) -> Row {
    let head = wire::without_body(bytes);
    let entry = wire::Entry::decode(bytes.clone()).unwrap_or_default();
    let body = (!entry.body.is_empty()).then(|| wire::command_digest(&entry.body));
    Row { digest: wire::command_digest(&head), body, kind: kind(entry.kind) }
}

fn kind(kind: Option<entry::Kind>) -> Kind {
    match kind {
        Some(entry::Kind::Message(message)) => Kind::Message {
            conversation: message.conversation,
            conv_seq: message.conv_seq,
            sender: message.sender,
            device: message.device,
            client_seq: message.client_seq,
        },
        Some(entry::Kind::Receipt(receipt)) => Kind::Receipt {
            conversation: receipt.conversation,
            user: receipt.user,
            delivered: receipt.delivered,
            read: receipt.read,
        },
        Some(entry::Kind::ReadMark(mark)) => Kind::ReadMark {
            conversation: mark.conversation,
            read: mark.read,
            device: mark.device,
            client_seq: mark.client_seq,
        },
        Some(entry::Kind::Rejected(rejected)) => Kind::Rejected {
            conversation: rejected.conversation,
            device: rejected.device,
            client_seq: rejected.client_seq,
            code: rejected.code,
        },
        Some(entry::Kind::Relation(relation)) => Kind::Relation {
            relation: relation.relation,
            peer: relation.peer,
            friends: relation.state == wire::RelationState::Friends as i32,
        },
        None => Kind::Unknown,
    }
}

/// A message that the SDK stored or told.
pub(super) fn message(message: &sdk::Message) -> Message {
    Message {
        conversation: message.conversation.0,
        conv_seq: message.conv_seq,
        sender: message.sender.0,
        device: message.device.0,
        client_seq: message.client_seq,
        text: match &message.content {
            sdk::Content::Text(text) => Some(text.clone()),
            sdk::Content::File(file) => {
                Some(of_file(&file.name, &bytes_of(file.size, &file.sha256)))
            }
            _ => None,
        },
    }
}

/// The bytes that a message promises.
pub(super) fn bytes_of(len: u64, sha256: &[u8]) -> FileBytes {
    let sha256 = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    FileBytes { len, sha256 }
}

/// What a message with a file says.
pub(super) fn of_file(name: &str, bytes: &FileBytes) -> String {
    format!("file {name}, {} bytes, SHA-256 {}", bytes.len, bytes.sha256)
}

/// A message of a page, unopened.
pub(super) fn sealed(message: &rest::Message) -> Message {
    Message {
        conversation: message.conversation.0,
        conv_seq: message.conv_seq,
        sender: message.sender.0,
        device: message.device.0,
        client_seq: message.client_seq,
        text: None,
    }
}

/// Relations and conversations of a snapshot.
pub(super) fn state(snapshot: &rest::Snapshot) -> State {
    let relations = snapshot.relations.iter();
    let conversation = |one: &rest::Conversation| ConversationState {
        conversation: one.id.0,
        head: one.head,
        members: one.members.iter().map(|m| (m.user.id.0, m.delivered, m.read)).collect(),
    };
    State {
        relations: relations.map(|one| (one.id.0, one.peer.id.0, one.state == "friends")).collect(),
        conversations: snapshot.conversations.iter().map(conversation).collect(),
    }
}
