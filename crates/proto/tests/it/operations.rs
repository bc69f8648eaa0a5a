//! A session of either side under any sequence of operations. [`run`] takes bytes, so a fuzzer can
//! drive it as it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{
    Code, Frame,
    session::{Config, Event, Output, Session, Side, WindowFull},
    wire,
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

/// What a caller or a peer can do.
#[derive(Clone, Debug)]
enum Operation {
    Frame(Frame),
    /// The peer pushes this far from the next number.
    PeerPush {
        offset: i64,
        len: usize,
    },
    /// The peer acks so much above what it acked.
    PeerAck(u64),
    Wait(Duration),
    Push(usize),
    Processed(u64),
    Written,
    Resend,
    /// Server, if a Hello waits.
    Welcome(u64),
    /// Server, if a Hello waits.
    Reset,
    /// Server.
    GoAway,
    Close,
}

/// Reads operations from bytes: two for each, kind and argument.
fn operations(bytes: &[u8]) -> impl Iterator<Item = Operation> {
    bytes.as_chunks::<2>().0.iter().map(|[kind, argument]| {
        let number = u64::from(*argument);
        match kind % 24 {
            0..=2 if number >= 16 => Operation::Written,
            0 => Operation::Frame(Frame::Hello(wire::Hello {
                version: 1 + u32::from(*argument == 15),
                position: number,
                outbox_head: number / 2,
                outbox_trimmed: number / 4,
                ..Default::default()
            })),
            1 => Operation::Frame(Frame::Welcome(wire::Welcome {
                head: 5 + number % 4,
                outbox_position: number % 10,
                heartbeat_ms: number as u32 * 100,
                ..Default::default()
            })),
            2 => Operation::Frame(Frame::Reset(wire::Reset::default())),
            3..=6 => {
                let offset = if number < 4 { 1 } else { -i64::from(number < 40) };
                Operation::PeerPush { offset, len: *argument as usize }
            }
            7 => Operation::PeerAck(if number < 4 { 100 } else { number % 3 }),
            8 => Operation::Frame(Frame::Ack(wire::Ack { position: number % 4 })),
            9 if number < 16 => Operation::Frame(Frame::CaughtUp(wire::CaughtUp {})),
            9 if number < 32 => Operation::Frame(Frame::GoAway(wire::GoAway { after_ms: 9 })),
            9 => Operation::Processed(1),
            10 => Operation::Frame(Frame::Ping(wire::Ping { nonce: number })),
            11 => Operation::Frame(Frame::Pong(wire::Pong { nonce: number })),
            12 => Operation::Frame(Frame::Notify(wire::Notify { body: Bytes::new() })),
            13 if number < 16 => Operation::Frame(Frame::Close(wire::Close::default())),
            13 | 14 => Operation::Wait(Duration::from_millis(number)),
            15 => Operation::Wait(Duration::from_millis(number * 300)),
            16 | 17 => Operation::Push(*argument as usize),
            18 => Operation::Processed(number % 4),
            19 => Operation::Written,
            20 => Operation::Resend,
            21 => Operation::Welcome(number % 16),
            22 if number < 16 => Operation::Reset,
            22 if number < 32 => Operation::GoAway,
            _ if number < 2 => Operation::Close,
            _ => Operation::Processed(4),
        }
    })
}

/// What a careful caller keeps beside its session.
struct Caller {
    side: Side,
    session: Session,
    now: Instant,
    hello_waits: bool,
    processed: u64,
    resend: Option<u64>,
    pushed: Option<u64>,
    closed: bool,
}

/// Runs the operations that `bytes` tell on a session of `side`.
///
/// # Panics
/// When the session breaks one of its promises.
pub(crate) fn run(side: Side, bytes: &[u8]) {
    let now = Instant::now();
    let config = Arc::new(Config {
        entries_max: 4,
        commands_max: 4,
        entry_bytes_max: 300,
        ..Config::default()
    });
    let hello = wire::Hello { version: 1, position: 5, outbox_head: 8, ..Default::default() };
    let session = match side {
        Side::Client => Session::client(config, hello, now),
        Side::Server => Session::server(config, now),
    };
    let mut caller = Caller {
        side,
        session,
        now,
        hello_waits: false,
        processed: 0,
        resend: None,
        pushed: None,
        closed: false,
    };
    caller.drain();
    for operation in operations(bytes) {
        caller.apply(operation);
        caller.drain();
    }
}

impl Caller {
    fn apply(&mut self, operation: Operation) {
        let session = &mut self.session;
        match operation {
            Operation::Frame(frame) => session.handle_frame(self.now, frame),
            Operation::PeerPush { offset, len } => {
                let seq = (session.received() + 1).saturating_add_signed(offset);
                let body = Bytes::from(vec![0; len]);
                session.handle_frame(self.now, Frame::Push(wire::Push { seq, body }));
            }
            Operation::PeerAck(more) => {
                let position = session.acked() + more;
                let pushed = self.pushed.unwrap_or_default().max(session.acked());
                let position = if more < 100 { position.min(pushed) } else { position };
                session.handle_frame(self.now, Frame::Ack(wire::Ack { position }));
            }
            Operation::Wait(time) => {
                self.now += time;
                session.handle_timeout(self.now);
            }
            Operation::Push(len) => {
                let next = session.next_push();
                match session.push(self.now, Bytes::from(vec![0; len])) {
                    Ok(seq) => {
                        assert_eq!(next, Some(seq), "next_push tells the number");
                        assert!(self.pushed.is_none_or(|last| seq == last + 1), "no hole");
                        assert!(seq - session.acked() <= 4, "the window");
                        self.pushed = Some(seq);
                    }
                    Err(WindowFull) => {
                        let fits_always = next == Some(session.acked() + 1);
                        assert!(!fits_always, "one body fits an empty window");
                    }
                }
            }
            Operation::Processed(more) => {
                self.processed = (self.processed + more).min(session.received());
                session.processed(self.now, self.processed);
            }
            Operation::Written => session.written(self.now),
            Operation::Resend => {
                if let Some(seq) = self.resend {
                    session.resend(self.now, seq, Bytes::new());
                }
            }
            Operation::Welcome(position) if self.hello_waits => {
                let welcome = wire::Welcome { head: 9, outbox_position: 3, ..Default::default() };
                session.welcome(self.now, position, welcome);
                self.on_open();
            }
            Operation::Reset if self.hello_waits => {
                session.reset(wire::Reset::default());
                self.hello_waits = false;
            }
            Operation::GoAway if self.side == Side::Server => session.go_away(Duration::ZERO),
            Operation::Close => session.close(Code::Normal),
            Operation::Welcome(_) | Operation::Reset | Operation::GoAway => {}
        }
    }

    fn on_open(&mut self) {
        self.hello_waits = false;
        self.processed = self.session.received();
    }

    fn drain(&mut self) {
        for _ in 0..10 {
            match self.session.poll() {
                Output::WaitUntil(at) => {
                    assert!(!self.closed, "Closed repeats");
                    let passed = self.now.duration_since(at);
                    assert_eq!(passed, Duration::ZERO, "the next deadline is ahead");
                    return;
                }
                Output::Closed(_) => {
                    self.closed = true;
                    self.hello_waits = false;
                    assert_eq!(self.session.next_push(), None);
                    return;
                }
                Output::Send(Frame::Ack(ack)) => {
                    assert!(ack.position <= self.processed, "never above what is durable");
                }
                Output::Send(_) => assert!(!self.closed, "nothing after the end"),
                Output::Event(event) => self.on_event(event),
            }
        }
        panic!("one input gives few outputs");
    }

    fn on_event(&mut self, event: Event) {
        assert!(!self.closed, "nothing after the end");
        match event {
            Event::Hello(_) => self.hello_waits = true,
            Event::Welcome(_) => self.on_open(),
            Event::Received { seq, .. } => assert_eq!(seq, self.session.received()),
            Event::Repeated { seq, .. } => assert!(seq <= self.session.received()),
            Event::Acked { position } => assert_eq!(position, self.session.acked()),
            Event::Resend { seq } => {
                assert_eq!(seq, self.session.acked() + 1, "the oldest");
                self.resend = Some(seq);
            }
            Event::Reset(_) | Event::CaughtUp | Event::Notify(_) | Event::GoAway { .. } => {}
        }
    }
}

/// A handshake in front, so that most sequences get past it.
fn after_handshake(side: Side, bytes: &[u8]) -> Vec<u8> {
    let handshake: &[u8] = match side {
        Side::Client => &[1, 0],
        Side::Server => &[0, 2, 21, 2],
    };
    [handshake, bytes].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_sequence_of_operations_breaks_a_session(bytes in vec(any::<u8>(), 0..300)) {
        for side in [Side::Client, Side::Server] {
            run(side, &bytes);
            run(side, &after_handshake(side, &bytes));
        }
    }
}
