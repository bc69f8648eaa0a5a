//! Both ends of one link, each with a caller that keeps its duties. The link delivers bytes in any
//! pieces, stalls, and is cut; what was received and not stored is lost with it.
//!
//! Bodies follow from their numbers, so an end's log is its length.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::watch::Watch;
use crate::{
    Code, Seq,
    frame::{FRAME_BYTES_MAX, decode},
    fuzz::choices::Choices,
    session::{Config, Event, PROTOCOL_VERSION, Session, Side},
    wire,
};

const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Longest log; what comes after it says nothing new.
const LOG_MAX: Seq = 200;

/// What happens to one of the two ends, or to both.
#[derive(Debug)]
enum Operation {
    Append(Seq),
    Push(Seq),
    Stored(u64),
    Deliver(usize),
    Written,
    Wait(Duration),
    Cut,
    Close(Code),
    GoAway,
    /// The server answers the next Hello by a Reset.
    ResetNext,
}

/// One end: what survives a connection, and the connection's part.
struct End {
    /// The highest number of its log.
    log: Seq,
    /// It has the other's log up to here.
    stored: Seq,
    /// It knows that the other has its log up to here.
    acked: Seq,
    watch: Watch,
    /// Bytes on their way to this end.
    arriving: BytesMut,
    decoder: BytesMut,
}

struct Pair {
    config: Arc<Config>,
    now: Instant,
    ends: [End; 2],
    reset_next: bool,
    caught_up: bool,
}

/// Runs the operations, then lets the link heal: everything must arrive.
pub(super) fn run(config: Arc<Config>, choices: &mut Choices<'_>) {
    let now = Instant::now();
    let end = |side| End {
        log: 0,
        stored: 0,
        acked: 0,
        watch: Watch::new(Session::server(config.clone(), now), side, &config, now),
        arriving: BytesMut::new(),
        decoder: BytesMut::new(),
    };
    let ends = [end(Side::Client), end(Side::Server)];
    let mut pair = Pair { config: config.clone(), now, ends, reset_next: false, caught_up: false };
    pair.connect();
    while let Some((at, operation)) = next(choices) {
        pair.apply(at, operation);
    }
    pair.settle();
}

fn next(choices: &mut Choices<'_>) -> Option<(usize, Operation)> {
    let kind = choices.byte()?;
    let number = choices.byte()?;
    let at = usize::from(number & 1);
    let number = u64::from(number >> 1);
    let operation = match kind % 32 {
        0..=3 => Operation::Append(number % 8),
        4..=8 => Operation::Push(number % 8),
        9..=13 => Operation::Stored(number % 8),
        14..=21 => Operation::Deliver(if number < 64 { number as usize } else { usize::MAX }),
        22..=24 => Operation::Written,
        25 => Operation::Wait(Duration::from_millis(number)),
        26 | 27 => Operation::Wait(Duration::from_millis(number * 200)),
        28 if kind < 64 => Operation::ResetNext,
        28 if kind < 128 => Operation::GoAway,
        28 | 29 => Operation::Cut,
        30 if number == 0 => Operation::Close(Code::Normal),
        _ => Operation::Wait(Duration::from_secs(1)),
    };
    Some((at, operation))
}

impl Pair {
    fn apply(&mut self, at: usize, operation: Operation) {
        let end = &mut self.ends[at];
        match operation {
            Operation::Append(more) => end.log = (end.log + more).min(LOG_MAX),
            Operation::Push(more) => self.push(at, more),
            Operation::Stored(more) => {
                end.watch.processed(more);
                // The last connection may have stored more than this one has received again.
                end.stored = end.stored.max(end.watch.durable);
            }
            Operation::Deliver(len) => self.deliver(at, len),
            Operation::Written => end.watch.session.written(self.now),
            Operation::Wait(time) => {
                self.now += time;
                for at in [CLIENT, SERVER] {
                    self.ends[at].watch.wait(time);
                    self.drain(at);
                }
            }
            Operation::Cut => self.connect(),
            Operation::Close(code) => end.watch.session.close(code),
            Operation::GoAway => self.ends[SERVER].watch.session.go_away(Duration::ZERO),
            Operation::ResetNext => self.reset_next = true,
        }
        self.drain(CLIENT);
        self.drain(SERVER);
    }

    /// Ends the connection where it is, and starts another.
    fn connect(&mut self) {
        let [client, server] = &mut self.ends;
        let hello = wire::Hello {
            version: PROTOCOL_VERSION,
            position: client.stored,
            outbox_head: client.log,
            outbox_trimmed: client.acked,
            ..Default::default()
        };
        let session = Session::client(self.config.clone(), hello, self.now);
        client.watch = Watch::new(session, Side::Client, &self.config, self.now);
        let session = Session::server(self.config.clone(), self.now);
        server.watch = Watch::new(session, Side::Server, &self.config, self.now);
        for end in &mut self.ends {
            end.arriving.clear();
            end.decoder.clear();
        }
        self.caught_up = false;
        self.drain(CLIENT);
    }

    fn push(&mut self, at: usize, count: Seq) {
        for _ in 0..count {
            let end = &mut self.ends[at];
            if end.watch.pushed >= end.log || !end.watch.open {
                return;
            }
            let pushed = end.watch.push(body(at, end.watch.pushed + 1));
            self.drain(at);
            if pushed.is_none() {
                return;
            }
        }
    }

    fn deliver(&mut self, at: usize, len: usize) {
        let end = &mut self.ends[at];
        let bytes = end.arriving.split_to(len.min(end.arriving.len()));
        end.decoder.extend_from_slice(&bytes);
        loop {
            let end = &mut self.ends[at];
            let decoded = decode(&mut end.decoder, FRAME_BYTES_MAX);
            let Some(frame) = decoded.expect("the other end encodes well") else { return };
            end.watch.session.handle_frame(self.now, frame);
            self.drain(at);
        }
    }

    /// Takes an end's outputs, acts on its events, and sends its frames.
    fn drain(&mut self, at: usize) {
        loop {
            let seen = self.ends[at].watch.drain();
            self.ends[1 - at].arriving.extend_from_slice(&seen.bytes);
            if let Some(closed) = &self.ends[at].watch.closed {
                let fair = [Some(Code::Normal), Some(Code::TimedOut)];
                assert!(fair.contains(&closed.code), "two honest ends: {closed:?}");
            }
            let mut more = false;
            for event in seen.events {
                more |= self.on_event(at, event);
            }
            if !more {
                return;
            }
        }
    }

    /// Says whether the session got an input by it.
    fn on_event(&mut self, at: usize, event: Event) -> bool {
        let (log, stored) = (self.ends[1 - at].log, self.ends[1 - at].stored);
        let end = &mut self.ends[at];
        match event {
            Event::Hello(hello) => {
                assert!(hello.position <= end.log && hello.outbox_head >= end.stored);
                self.answer(hello.position);
                return true;
            }
            Event::Reset(reset) => end.stored = reset.head,
            Event::Received { seq, body: bytes } => {
                assert!(seq <= log, "{seq} is not in the log");
                assert_eq!(bytes, body(1 - at, seq), "number {seq} has its own body");
            }
            Event::Repeated { seq, body: bytes } => assert_eq!(bytes, body(1 - at, seq)),
            Event::Acked { position } => {
                assert!(position <= stored, "{position} is acked and not stored");
                end.acked = end.acked.max(position);
            }
            Event::Resend { seq } => {
                end.watch.session.resend(self.now, seq, body(at, seq));
                return true;
            }
            Event::CaughtUp => self.caught_up = true,
            Event::Welcome(_) | Event::Notify(_) | Event::GoAway { .. } => {}
        }
        false
    }

    fn answer(&mut self, position: Seq) {
        let end = &mut self.ends[SERVER];
        let (head, outbox_position) = (end.log, end.stored);
        if std::mem::take(&mut self.reset_next) {
            let reset = wire::Reset { head, outbox_position, ..Default::default() };
            return end.watch.session.reset(reset);
        }
        let limits = wire::Limits {
            commands_in_flight_max: self.config.commands_max,
            entries_in_flight_max: self.config.entries_max,
            ..Default::default()
        };
        let welcome = wire::Welcome {
            head,
            floor: 1,
            outbox_position,
            heartbeat_ms: 30_000,
            limits: Some(limits),
            ..Default::default()
        };
        end.watch.welcome(position, welcome);
    }

    /// A good link and prompt callers: everything arrives, is stored, and is known to be.
    fn settle(&mut self) {
        self.reset_next = false;
        self.connect();
        let rounds = 10 + 4 * LOG_MAX;
        for _ in 0..rounds {
            for at in [SERVER, CLIENT] {
                self.apply(at, Operation::Deliver(usize::MAX));
                self.apply(at, Operation::Stored(u64::MAX / 2));
                self.apply(at, Operation::Push(LOG_MAX));
                self.apply(at, Operation::Written);
            }
            if self.is_settled() {
                return;
            }
            self.apply(CLIENT, Operation::Wait(self.config.ack_delay));
        }
        panic!("not everything arrived");
    }

    fn is_settled(&self) -> bool {
        let [client, server] = &self.ends;
        let stored = client.stored == server.log && server.stored == client.log;
        let acked = |end: &End| end.watch.open && end.watch.session.acked() == end.log;
        stored && acked(client) && acked(server) && self.caught_up
    }
}

/// Body `seq` of an end's log, up to 69 bytes long.
fn body(at: usize, seq: Seq) -> Bytes {
    let mut body = vec![at as u8; (seq * 7 % 60) as usize];
    body.extend_from_slice(&seq.to_be_bytes());
    body.into()
}
