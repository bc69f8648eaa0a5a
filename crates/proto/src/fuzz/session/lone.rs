//! One end whose peer says anything.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::watch::Watch;
use crate::{
    Code, Frame,
    frame::{FRAME_BYTES_MAX, decode},
    fuzz::choices::Choices,
    id::NUMBER_MAX,
    session::{Config, PROTOCOL_VERSION, Session, Side},
    wire,
};

/// What the peer says or the caller does.
#[derive(Debug)]
enum Operation {
    /// A frame with every field chosen by the peer.
    Frame(Frame),
    /// Bytes that may be no frame at all.
    Bytes(Vec<u8>),
    Wait(Duration),
    Push(usize),
    Processed(u64),
    Written,
    Resend,
    Welcome {
        position: u64,
        welcome: wire::Welcome,
    },
    Reset,
    GoAway,
    Close(Code),
}

/// Runs the operations on a session of `side`, after an honest greeting if `greeted`.
pub(super) fn run(side: Side, greeted: bool, config: Arc<Config>, choices: &mut Choices<'_>) {
    let now = Instant::now();
    let hello = wire::Hello {
        version: PROTOCOL_VERSION,
        position: 5,
        outbox_head: 8,
        outbox_trimmed: 2,
        ..Default::default()
    };
    let session = match side {
        Side::Client => Session::client(config.clone(), hello.clone(), now),
        Side::Server => Session::server(config.clone(), now),
    };
    let mut watch = Watch::new(session, side, &config, now);
    watch.drain();
    if greeted {
        greet(&mut watch, hello);
    }
    while let Some(operation) = next(&watch, choices) {
        let repeated = repeats(&watch, &operation);
        apply(&mut watch, operation);
        let acked = watch.drain().acked;
        assert!(acked || !repeated || watch.closed.is_some(), "a repeat is acked again");
    }
}

/// What an honest peer and caller do first: 5 entries and 3 commands are known, 2 entries wait.
fn greet(watch: &mut Watch, hello: wire::Hello) {
    let welcome = wire::Welcome { head: 7, floor: 1, outbox_position: 3, ..Default::default() };
    match watch.side {
        Side::Client => watch.session.handle_frame(watch.now, Frame::Welcome(welcome)),
        Side::Server => {
            watch.session.handle_frame(watch.now, Frame::Hello(hello));
            watch.drain();
            watch.welcome(5, welcome);
        }
    }
    watch.drain();
    assert!(watch.open, "an honest greeting opens");
}

/// Whether the peer sends a number again, because it did not see the ack.
fn repeats(watch: &Watch, operation: &Operation) -> bool {
    let is_open = watch.open && watch.closed.is_none();
    let received = watch.session.received();
    matches!(operation, Operation::Frame(Frame::Push(push))
        if is_open && (1..=received).contains(&push.seq))
}

fn next(watch: &Watch, choices: &mut Choices<'_>) -> Option<Operation> {
    let kind = choices.byte()?;
    Some(match kind % 32 {
        0..=14 => Operation::Frame(frame(kind % 32, watch, choices)?),
        15 => {
            let len = usize::from(choices.byte()?);
            Operation::Bytes(choices.bytes(len).to_vec())
        }
        16 => Operation::Wait(Duration::from_millis(choices.byte()?.into())),
        17 => Operation::Wait(Duration::from_millis(u64::from(choices.byte()?) * 300)),
        18..=20 => Operation::Push(usize::from(choices.byte()?) * 4),
        21..=24 => Operation::Processed(u64::from(choices.byte()? % 8)),
        25 | 26 => Operation::Written,
        27 => Operation::Resend,
        28 | 29 => welcome(choices)?,
        30 if kind < 128 => Operation::Reset,
        30 => Operation::GoAway,
        _ => Operation::Close(*Code::ALL.get(usize::from(choices.byte()?))?),
    })
}

/// What a caller of a server's session answers: its own numbers, so they are allowed ones.
fn welcome(choices: &mut Choices<'_>) -> Option<Operation> {
    let mut below = || choices.number(5).map(|number| number % (NUMBER_MAX - 1_000_000));
    let welcome = wire::Welcome {
        head: below()?,
        outbox_position: below()?,
        heartbeat_ms: 30_000,
        ..Default::default()
    };
    Some(Operation::Welcome { position: below()?, welcome })
}

fn frame(kind: u8, watch: &Watch, choices: &mut Choices<'_>) -> Option<Frame> {
    let session = &watch.session;
    Some(match kind {
        0 => Frame::Hello(hello(choices)?),
        1 | 2 => Frame::Welcome(peer_welcome(choices)?),
        3 => Frame::Reset(wire::Reset {
            head: choices.number(5)?,
            outbox_position: choices.number(5)?,
            ..Default::default()
        }),
        // The next number, as an honest peer would say it.
        4 | 5 => push(session.received() + 1, choices)?,
        6 => {
            let seq = choices.number(session.received() + 1)?;
            push(seq, choices)?
        }
        7 => Frame::Ack(wire::Ack { position: choices.number(session.acked())? }),
        8 => Frame::Ack(wire::Ack { position: watch.pushed }),
        9 => Frame::CaughtUp(wire::CaughtUp {}),
        10 => Frame::Ping(wire::Ping { nonce: choices.number(1)? }),
        11 => Frame::Pong(wire::Pong { nonce: choices.number(1)? }),
        12 => {
            let len = usize::from(choices.byte()?);
            Frame::Notify(wire::Notify { body: Bytes::copy_from_slice(choices.bytes(len)) })
        }
        13 => Frame::GoAway(wire::GoAway { after_ms: choices.number(9)? as u32 }),
        _ => Frame::Close(wire::Close {
            code: choices.number(20)? as u32,
            // Characters of several bytes, so that a cut can meet the middle of one.
            text: "é€".repeat(usize::from(choices.byte()?)),
        }),
    })
}

fn hello(choices: &mut Choices<'_>) -> Option<wire::Hello> {
    let head = choices.number(8)?;
    Some(wire::Hello {
        version: u32::from(choices.byte()? < 250),
        position: choices.number(5)?,
        outbox_head: head,
        outbox_trimmed: choices.number(head)?,
        ..Default::default()
    })
}

fn peer_welcome(choices: &mut Choices<'_>) -> Option<wire::Welcome> {
    let limits = wire::Limits {
        commands_in_flight_max: choices.number(2)? as u32,
        entries_in_flight_max: choices.number(2)? as u32,
        ..Default::default()
    };
    Some(wire::Welcome {
        head: choices.number(12)?,
        floor: choices.number(5)?,
        outbox_position: choices.number(8)?,
        heartbeat_ms: choices.number(100)? as u32,
        limits: limits.entries_in_flight_max.is_multiple_of(2).then_some(limits),
        ..Default::default()
    })
}

fn push(seq: u64, choices: &mut Choices<'_>) -> Option<Frame> {
    let body = Bytes::from(vec![0; usize::from(choices.byte()?)]);
    Some(Frame::Push(wire::Push { seq, body }))
}

fn apply(watch: &mut Watch, operation: Operation) {
    match operation {
        Operation::Frame(frame) => watch.session.handle_frame(watch.now, frame),
        Operation::Bytes(bytes) => {
            // As a connection does: what does not decode ends it.
            match decode(&mut BytesMut::from(&bytes[..]), FRAME_BYTES_MAX) {
                Ok(Some(frame)) => watch.session.handle_frame(watch.now, frame),
                Ok(None) => {}
                Err(_) => watch.session.close(Code::Malformed),
            }
        }
        Operation::Wait(time) => watch.wait(time),
        Operation::Push(len) => drop(watch.push(Bytes::from(vec![0; len]))),
        Operation::Processed(more) => watch.processed(more),
        Operation::Written => watch.session.written(watch.now),
        Operation::Resend => {
            if let Some(seq) = watch.resend {
                watch.session.resend(watch.now, seq, Bytes::new());
            }
        }
        Operation::Welcome { position, welcome } if watch.hello_waits => {
            watch.welcome(position, welcome);
        }
        Operation::Reset if watch.hello_waits => watch.session.reset(wire::Reset::default()),
        Operation::GoAway if watch.side == Side::Server => {
            watch.session.go_away(Duration::from_secs(2));
        }
        Operation::Close(code) => watch.session.close(code),
        Operation::Welcome { .. } | Operation::Reset | Operation::GoAway => {}
    }
}
