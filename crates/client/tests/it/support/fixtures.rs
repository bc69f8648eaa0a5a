//! Alice (user 11) and Bob (user 22), who are friends: conversation 7 with one key.

use anser_proto::{
    ConversationId, DeviceId, Seq, UserId,
    rest::{
        Conversation, LoggedIn, Member, Message, Messages, Relation, RelationKey, Relations,
        Snapshot, User,
    },
    seal::{Key, Place},
    wire::{self, entry::Kind},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message as _;

pub(crate) const ALICE: UserId = UserId(11);
pub(crate) const BOB: UserId = UserId(22);
pub(crate) const BOBS_DEVICE: DeviceId = DeviceId(23);
pub(crate) const CHAT: ConversationId = ConversationId(7);

/// The conversation's key in one version.
pub(crate) fn key(version: u32) -> Key {
    Key::new([version as u8; 32])
}

/// Alice's session on a device.
pub(crate) fn alice(device: u64) -> LoggedIn {
    LoggedIn { user: user(ALICE), device: DeviceId(device), token: format!("token {device}") }
}

pub(crate) fn user(id: UserId) -> User {
    let name = if id == ALICE { "alice" } else { "bob" }.to_owned();
    User { id, display_name: name.clone(), name }
}

/// The relation with keys up to a version.
pub(crate) fn relation(key_version: u32) -> Relation {
    let relation_key =
        |version| RelationKey { version, key: STANDARD.encode(key(version).bytes()) };
    Relation {
        id: CHAT,
        peer: user(BOB),
        state: "friends".to_owned(),
        keys: (1..=key_version).map(relation_key).collect(),
    }
}

pub(crate) fn relations(key_version: u32) -> Relations {
    Relations { relations: vec![relation(key_version)] }
}

/// A snapshot whose conversation has its last message and the (delivered, read) of Alice and Bob.
pub(crate) fn snapshot(epoch: &str, head: Seq, chat: &[(Seq, [(Seq, Seq); 2])]) -> Snapshot {
    let conversation = |(head, members): &(Seq, [(Seq, Seq); 2])| Conversation {
        id: CHAT,
        kind: "direct".to_owned(),
        open: true,
        head: *head,
        unread: 0,
        members: vec![member(ALICE, members[0]), member(BOB, members[1])],
        last_message: None,
    };
    Snapshot {
        epoch: epoch.to_owned(),
        head,
        relations: vec![relation(1)],
        conversations: chat.iter().map(conversation).collect(),
    }
}

fn member(id: UserId, (delivered, read): (Seq, Seq)) -> Member {
    Member { user: user(id), delivered, read }
}

/// Bob's message, sealed with a version of the key; its command number is its `conv_seq`.
pub(crate) fn from_bob(conv_seq: Seq, key_version: u32, text: &str) -> (wire::Message, Bytes) {
    let message = wire::Message {
        conversation: CHAT.0,
        conv_seq,
        sender: BOB.0,
        device: BOBS_DEVICE.0,
        client_seq: conv_seq,
        key_version,
        created_at_ms: 1_700_000_000_000 + conv_seq,
    };
    let place = Place {
        conversation: CHAT,
        sender: BOB,
        device: BOBS_DEVICE,
        client_seq: conv_seq,
        key_version,
    };
    let kind = wire::content::Kind::Text(wire::Text { text: text.to_owned() });
    let content = wire::Content { kind: Some(kind) }.encode_to_vec();
    (message, key(key_version).seal(&place, &content).into())
}

/// Bob's message as an entry.
pub(crate) fn entry(conv_seq: Seq, text: &str) -> wire::Entry {
    let (message, body) = from_bob(conv_seq, 1, text);
    wire::Entry { kind: Some(Kind::Message(message)), body }
}

/// The entry that makes Alice's command a message: without the body, as her device gets it.
pub(crate) fn own(device: u64, client_seq: Seq, conv_seq: Seq) -> wire::Entry {
    let message = wire::Message {
        conversation: CHAT.0,
        conv_seq,
        sender: ALICE.0,
        device,
        client_seq,
        key_version: 1,
        created_at_ms: 1_700_000_000_000 + conv_seq,
    };
    wire::Entry { kind: Some(Kind::Message(message)), body: Bytes::new() }
}

pub(crate) fn receipt(delivered: Seq, read: Seq) -> wire::Entry {
    let receipt = wire::Receipt { conversation: CHAT.0, user: BOB.0, delivered, read };
    wire::Entry { kind: Some(Kind::Receipt(receipt)), body: Bytes::new() }
}

/// A page of history that is the last one.
pub(crate) fn page(messages: Vec<Message>) -> Messages {
    Messages { messages, more_before: false, more_after: false }
}

/// A message of Bob in the history.
pub(crate) fn bobs(conv_seq: Seq, text: &str) -> Message {
    let (message, body) = from_bob(conv_seq, 1, text);
    history(&message, &body)
}

/// A command of Alice's device as the history has it.
pub(crate) fn applied(device: u64, client_seq: Seq, conv_seq: Seq, command: &Bytes) -> Message {
    let Some(Kind::Message(message)) = own(device, client_seq, conv_seq).kind else {
        unreachable!("it is a message");
    };
    let body = wire::Command::decode(command.clone()).expect("a command").body;
    history(&message, &body)
}

fn history(message: &wire::Message, body: &[u8]) -> Message {
    Message {
        conversation: ConversationId(message.conversation),
        conv_seq: message.conv_seq,
        sender: UserId(message.sender),
        device: DeviceId(message.device),
        client_seq: message.client_seq,
        key_version: message.key_version,
        body: STANDARD.encode(body),
        created_at_ms: message.created_at_ms,
    }
}

/// What a command of Alice's device says, opened as that device's.
pub(crate) fn open_command(device: u64, client_seq: Seq, command: &Bytes) -> String {
    let command = wire::Command::decode(command.clone()).expect("a command");
    let Some(wire::command::Kind::Send(send)) = command.kind else { panic!("no message") };
    let place = Place {
        conversation: ConversationId(send.conversation),
        sender: ALICE,
        device: DeviceId(device),
        client_seq,
        key_version: send.key_version,
    };
    let opened = key(send.key_version).open(&place, &command.body).expect("it opens");
    let content = wire::Content::decode(&opened[..]).expect("a content");
    let Some(wire::content::Kind::Text(text)) = content.kind else { panic!("no text") };
    text.text
}
