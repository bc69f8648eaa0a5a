//! The worked example of docs/protocol.md, and its table of codes.

use std::fmt::Write as _;

use anser_proto::{
    Code, Frame,
    wire::{self, command, entry},
};

use super::{
    sealed_vectors,
    vectors::{encode, hex},
};

/// One frame a line: who sends it, what it is, its bytes.
pub(crate) fn walkthrough() -> String {
    let mut text = String::new();
    for (who, what, frame) in frames() {
        writeln!(text, "{who}: {what}\n   {}", hex(&encode(&frame))).expect("a String takes all");
    }
    text
}

/// The table of codes in Markdown.
pub(crate) fn codes() -> String {
    let mut text = "| number | name | retry | HTTP | meaning |\n|---|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        let (number, name, status) = (code.number(), code.name(), code.status());
        writeln!(text, "| {number} | `{name}` | {retry} | {status} | {} |", code.sentence())
            .expect("a String takes all");
    }
    text
}

const CONVERSATION: u64 = 7_205_759_403_792_793;

fn frames() -> Vec<(&'static str, &'static str, Frame)> {
    let epoch = || "9f2c1a".to_owned();
    let hello = wire::Hello {
        version: 1,
        token: "kX0c".to_owned(),
        epoch: epoch(),
        position: 40,
        outbox_head: 4,
        outbox_trimmed: 3,
    };
    let limits = wire::Limits {
        frame_bytes_max: 65_536,
        body_bytes_max: 16_384,
        commands_in_flight_max: 64,
        entries_in_flight_max: 256,
    };
    let welcome = wire::Welcome {
        epoch: epoch(),
        head: 41,
        floor: 1,
        outbox_position: 3,
        heartbeat_ms: 30_000,
        limits: Some(limits),
        // Command 3 was: message 1 is read.
        outbox_digest: wire::outbox_digest(Some(wire::command_digest(&read(1)))),
    };
    let close = Code::GoingAway;
    let close = wire::Close { code: close.number(), text: close.sentence().to_owned() };
    let ack = |position| Frame::Ack(wire::Ack { position });
    vec![
        ("device", "Hello: entries up to 40 are stored; command 4 waits", Frame::Hello(hello)),
        (
            "server",
            "Welcome: entry 41 is to come, command 4 was not applied",
            Frame::Welcome(welcome),
        ),
        ("server", "Push 41: Bob (user 22) has received and read message 2", receipt(41, 2, 2)),
        ("server", "CaughtUp: entry 41 was the head", Frame::CaughtUp(wire::CaughtUp {})),
        ("device", "Push 4: Send, the sealed \"hello\"", send()),
        ("device", "Ack 41: the receipt is on the device's disk", ack(41)),
        ("server", "Ack 4: sent, the command is on the server's disk", ack(4)),
        ("server", "Push 42: its result, message 3 without the body", message()),
        ("device", "Ack 42: command 4 may be forgotten now", ack(42)),
        ("server", "Push 43: Bob has received message 3", receipt(43, 3, 2)),
        ("device", "Ack 43", ack(43)),
        ("device", "Ping 1", Frame::Ping(wire::Ping { nonce: 1 })),
        ("server", "Pong 1", Frame::Pong(wire::Pong { nonce: 1 })),
        ("server", "GoAway: within 10 s", Frame::GoAway(wire::GoAway { after_ms: 10_000 })),
        ("server", "Close: going_away", Frame::Close(close)),
    ]
}

fn read(conv_seq: u64) -> Vec<u8> {
    let read = wire::Read { conversation: CONVERSATION, conv_seq };
    let kind = Some(command::Kind::Read(read));
    prost::Message::encode_to_vec(&wire::Command { kind, ..Default::default() })
}

fn receipt(seq: u64, delivered: u64, read: u64) -> Frame {
    let receipt = wire::Receipt { conversation: CONVERSATION, user: 22, delivered, read };
    let kind = Some(entry::Kind::Receipt(receipt));
    push(seq, &wire::Entry { kind, ..Default::default() })
}

/// The body is the vector "hello" of golden/sealed.json.
fn send() -> Frame {
    let body = sealed_vectors::sealed().swap_remove(0).sealed.into();
    let send = wire::Send { conversation: CONVERSATION, key_version: 1, files: Vec::new() };
    push(4, &wire::Command { kind: Some(command::Kind::Send(send)), body })
}

fn message() -> Frame {
    let message = wire::Message {
        conversation: CONVERSATION,
        conv_seq: 3,
        sender: 11,
        device: 12,
        client_seq: 4,
        key_version: 1,
        created_at_ms: 1_700_000_000_123,
    };
    let kind = Some(entry::Kind::Message(message));
    push(42, &wire::Entry { kind, ..Default::default() })
}

fn push(seq: u64, body: &impl prost::Message) -> Frame {
    Frame::Push(wire::Push { seq, body: body.encode_to_vec().into() })
}
