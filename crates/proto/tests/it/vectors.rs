//! The golden frames as values, and their JSON in words. The test compares them with the file in
//! `golden/`, the example `golden` prints that file.

use anser_proto::{
    Code, Frame, frame,
    id::NUMBER_MAX,
    wire::{self, command, entry},
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use serde_json::{Value, json};

const MAX: u64 = NUMBER_MAX - 1;

/// `golden/frames.json`.
pub(crate) fn frames_json() -> Value {
    let frames: Vec<Value> = frames().iter().map(Vector::words).collect();
    let bare = |(name, hex)| json!({ "name": name, "hex": hex });
    let skipped: Vec<Value> = skipped().into_iter().map(bare).collect();
    let malformed: Vec<Value> = malformed().into_iter().map(bare).collect();
    json!({
        "about": "Frames of Anser's protocol, length prefix included; docs/protocol.md explains \
                  them. `frames` decode to and encode from the words beside them (a field that is \
                  0 or empty is not on the wire). `skipped` are read over, `malformed` close the \
                  connection.",
        "frames": frames,
        "skipped": skipped,
        "malformed": malformed,
    })
}

/// A frame with its name, and for a push what its body is.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) frame: Frame,
    /// `("entry" or "command", its words)`.
    body: Option<(&'static str, Value)>,
}

impl Vector {
    fn words(&self) -> Value {
        let mut frame = frame_words(&self.frame);
        if let Some((log, words)) = &self.body {
            frame[*log] = words.clone();
        }
        json!({ "name": self.name, "hex": hex(&encode(&self.frame)), "frame": frame })
    }
}

/// Each kind of frame, entry and command, with usual and with extreme numbers.
pub(crate) fn frames() -> Vec<Vector> {
    let mut all: Vec<Vector> = connection_frames()
        .into_iter()
        .map(|(name, frame)| Vector { name, frame, body: None })
        .collect();
    let push = |seq, body: Vec<u8>| Frame::Push(wire::Push { seq, body: body.into() });
    for (seq, (name, entry)) in (1..).zip(entries()) {
        let body = Some(("entry", entry_words(&entry)));
        all.push(Vector { name, frame: push(seq, entry.encode_to_vec()), body });
    }
    for (seq, (name, command)) in (1..).zip(commands()) {
        let body = Some(("command", command_words(&command)));
        all.push(Vector { name, frame: push(seq, command.encode_to_vec()), body });
    }
    let frame = push(MAX, Vec::new());
    all.push(Vector { name: "push of the highest number, empty", frame, body: None });
    all
}

fn connection_frames() -> Vec<(&'static str, Frame)> {
    let limits = wire::Limits {
        frame_bytes_max: 65_536,
        body_bytes_max: 16_384,
        commands_in_flight_max: 64,
        entries_in_flight_max: 256,
    };
    let welcome = wire::Welcome {
        epoch: "9f2c1a".to_owned(),
        head: 42,
        floor: 1,
        outbox_position: 7,
        heartbeat_ms: 30_000,
        limits: Some(limits),
        // Of the vector "command send" below.
        outbox_digest: last_digest(),
    };
    let fresh =
        wire::Welcome { outbox_position: 0, outbox_digest: Bytes::new(), ..welcome.clone() };
    let hello = wire::Hello {
        version: 1,
        token: "kX0c".to_owned(),
        epoch: "9f2c1a".to_owned(),
        position: 40,
        outbox_head: 9,
        outbox_trimmed: 6,
    };
    let reset = wire::Reset {
        epoch: "9f2c1a".to_owned(),
        head: 42,
        outbox_position: 7,
        outbox_digest: last_digest(),
    };
    let new = wire::Hello { position: 0, outbox_head: 0, outbox_trimmed: 0, ..hello.clone() };
    let code = Code::OutboxGap;
    let close = wire::Close { code: code.number(), text: code.sentence().to_owned() };
    let later = wire::Close { code: 4_000_000_000, text: "später ☂".to_owned() };
    vec![
        ("hello", Frame::Hello(hello)),
        ("hello of a new device", Frame::Hello(new)),
        ("welcome", Frame::Welcome(welcome)),
        ("welcome of a new device", Frame::Welcome(fresh)),
        ("reset", Frame::Reset(reset)),
        ("ack", Frame::Ack(wire::Ack { position: 300 })),
        ("ack of the highest number", Frame::Ack(wire::Ack { position: MAX })),
        ("caught_up", Frame::CaughtUp(wire::CaughtUp {})),
        ("ping", Frame::Ping(wire::Ping { nonce: 5 })),
        ("pong", Frame::Pong(wire::Pong { nonce: 5 })),
        ("notify", Frame::Notify(wire::Notify { body: Bytes::from_static(&[1, 2, 255]) })),
        ("go_away", Frame::GoAway(wire::GoAway { after_ms: 10_000 })),
        ("close", Frame::Close(close)),
        ("close with a code of a later version", Frame::Close(later)),
    ]
}

/// What the server tells of the last command when it is the vector "command send".
fn last_digest() -> Bytes {
    let command = commands().swap_remove(0).1.encode_to_vec();
    wire::outbox_digest(Some(wire::command_digest(&command)))
}

fn entries() -> Vec<(&'static str, wire::Entry)> {
    let message = wire::Message {
        conversation: 7_205_759_403_792_793,
        conv_seq: 3,
        sender: 11,
        device: 12,
        client_seq: 4,
        key_version: 1,
        created_at_ms: 1_700_000_000_123,
    };
    let extreme = wire::Message {
        conversation: MAX,
        conv_seq: MAX,
        sender: MAX,
        device: MAX,
        client_seq: MAX,
        key_version: u32::MAX,
        created_at_ms: MAX,
    };
    let relation = wire::Relation {
        relation: 7_205_759_403_792_793,
        peer: 22,
        peer_name: "bob".to_owned(),
        state: wire::RelationState::Friends.into(),
        key_version: 1,
    };
    let body = Bytes::from_static(b"sealed bytes");
    let entry = |kind, body| wire::Entry { kind: Some(kind), body };
    let none = Bytes::new();
    vec![
        ("entry message", entry(entry::Kind::Message(message), body.clone())),
        ("entry message to its own device", entry(entry::Kind::Message(message), none.clone())),
        ("entry message with the highest numbers", entry(entry::Kind::Message(extreme), body)),
        ("entry receipt", {
            let receipt = wire::Receipt { conversation: 7, user: 22, delivered: 3, read: 2 };
            entry(entry::Kind::Receipt(receipt), none.clone())
        }),
        ("entry read_mark", {
            let mark = wire::ReadMark { conversation: 7, read: 3, device: 12, client_seq: 5 };
            entry(entry::Kind::ReadMark(mark), none.clone())
        }),
        ("entry rejected", {
            let code = Code::NotMember.number();
            let rejected = wire::Rejected { device: 12, client_seq: 6, code, conversation: 8 };
            entry(entry::Kind::Rejected(rejected), none.clone())
        }),
        ("entry relation", entry(entry::Kind::Relation(relation), none.clone())),
        ("entry of unknown kind", wire::Entry { kind: None, body: none }),
    ]
}

fn commands() -> Vec<(&'static str, wire::Command)> {
    let send = |files| wire::Send { conversation: 7_205_759_403_792_793, key_version: 1, files };
    let text = Some(command::Kind::Send(send(Vec::new())));
    let files = Some(command::Kind::Send(send(vec![33, MAX])));
    let read = wire::Read { conversation: 7_205_759_403_792_793, conv_seq: 3 };
    let body = Bytes::from_static(b"sealed bytes");
    vec![
        ("command send", wire::Command { kind: text, body: body.clone() }),
        (
            "command read",
            wire::Command { kind: Some(command::Kind::Read(read)), body: Bytes::new() },
        ),
        ("command send with files", wire::Command { kind: files, body }),
    ]
}

/// Frames that a reader of version 1 passes over.
fn skipped() -> Vec<(&'static str, &'static str)> {
    vec![("frame without a kind", "00000000"), ("frame of unknown kind 15", "000000037a0108")]
}

/// Bytes that end the connection.
fn malformed() -> Vec<(&'static str, &'static str)> {
    vec![
        ("field that ends after the frame", "000000032a0308"),
        ("varint without an end", "0000000b2affffffffffffffffffff"),
        ("ack as a number instead of a message", "000000022801"),
        ("text that is not UTF-8", "000000055a031201ff"),
        ("length above 64 KiB", "00010001"),
    ]
}

fn frame_words(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => json!({
            "kind": "hello", "version": hello.version, "token": hello.token, "epoch": hello.epoch,
            "position": hello.position, "outbox_head": hello.outbox_head,
            "outbox_trimmed": hello.outbox_trimmed,
        }),
        Frame::Welcome(welcome) => {
            let limits = welcome.limits.unwrap_or_default();
            json!({
                "kind": "welcome", "epoch": welcome.epoch, "head": welcome.head,
                "floor": welcome.floor, "outbox_position": welcome.outbox_position,
                "outbox_digest": hex(&welcome.outbox_digest), "heartbeat_ms": welcome.heartbeat_ms,
                "limits": {
                    "frame_bytes_max": limits.frame_bytes_max,
                    "body_bytes_max": limits.body_bytes_max,
                    "commands_in_flight_max": limits.commands_in_flight_max,
                    "entries_in_flight_max": limits.entries_in_flight_max,
                },
            })
        }
        Frame::Reset(reset) => json!({
            "kind": "reset", "epoch": reset.epoch, "head": reset.head,
            "outbox_position": reset.outbox_position, "outbox_digest": hex(&reset.outbox_digest),
        }),
        Frame::Push(push) => json!({
            "kind": "push", "seq": push.seq, "body": hex(&push.body),
        }),
        Frame::Ack(ack) => json!({ "kind": "ack", "position": ack.position }),
        Frame::CaughtUp(_) => json!({ "kind": "caught_up" }),
        Frame::Ping(ping) => json!({ "kind": "ping", "nonce": ping.nonce }),
        Frame::Pong(pong) => json!({ "kind": "pong", "nonce": pong.nonce }),
        Frame::Notify(notify) => json!({ "kind": "notify", "body": hex(&notify.body) }),
        Frame::GoAway(away) => json!({ "kind": "go_away", "after_ms": away.after_ms }),
        Frame::Close(close) => json!({ "kind": "close", "code": close.code, "text": close.text }),
    }
}

fn entry_words(entry: &wire::Entry) -> Value {
    let body = hex(&entry.body);
    match &entry.kind {
        None => json!({ "kind": null, "body": body }),
        Some(entry::Kind::Message(message)) => json!({
            "kind": "message", "conversation": message.conversation, "conv_seq": message.conv_seq,
            "sender": message.sender, "device": message.device, "client_seq": message.client_seq,
            "key_version": message.key_version, "created_at_ms": message.created_at_ms,
            "body": body,
        }),
        Some(entry::Kind::Receipt(receipt)) => json!({
            "kind": "receipt", "conversation": receipt.conversation, "user": receipt.user,
            "delivered": receipt.delivered, "read": receipt.read, "body": body,
        }),
        Some(entry::Kind::ReadMark(mark)) => json!({
            "kind": "read_mark", "conversation": mark.conversation, "read": mark.read,
            "device": mark.device, "client_seq": mark.client_seq, "body": body,
        }),
        Some(entry::Kind::Rejected(rejected)) => json!({
            "kind": "rejected", "device": rejected.device, "client_seq": rejected.client_seq,
            "code": rejected.code, "conversation": rejected.conversation, "body": body,
        }),
        Some(entry::Kind::Relation(relation)) => json!({
            "kind": "relation", "relation": relation.relation, "peer": relation.peer,
            "peer_name": relation.peer_name, "state": relation.state().as_str_name(),
            "key_version": relation.key_version, "body": body,
        }),
    }
}

fn command_words(command: &wire::Command) -> Value {
    let body = hex(&command.body);
    match &command.kind {
        None => json!({ "kind": null, "body": body }),
        Some(command::Kind::Send(send)) => json!({
            "kind": "send", "conversation": send.conversation, "key_version": send.key_version,
            "files": send.files, "body": body,
        }),
        Some(command::Kind::Read(read)) => json!({
            "kind": "read", "conversation": read.conversation, "conv_seq": read.conv_seq,
            "body": body,
        }),
    }
}

pub(crate) fn encode(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame::encode(frame, &mut bytes);
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
