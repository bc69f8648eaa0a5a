//! What must hold whatever a session goes through, checked at every output.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::{
    Frame, Seq,
    frame::{FRAME_BYTES_MAX, PREFIX_BYTES, decode, encode},
    id::NUMBER_MAX,
    session::{Closed, Config, Event, Output, Session, Side},
    wire,
};

/// One input has so few outputs: four timers with two outputs each, then an ack, and the end.
const OUTPUTS_MAX: usize = 12;
/// Frames that answer one input are so small, beside the bodies that the caller pushed itself.
const FRAME_BYTES_EXPECTED: usize = 1024;
/// Longest text of a peer that is kept.
const TEXT_BYTES_MAX: usize = 256;

/// A session and what was seen of it.
pub(super) struct Watch {
    pub(super) session: Session,
    pub(super) side: Side,
    pub(super) now: Instant,
    pub(super) closed: Option<Closed>,
    /// A Hello waits for its answer.
    pub(super) hello_waits: bool,
    /// The number that the peer was asked to be sent again.
    pub(super) resend: Option<Seq>,
    /// What the caller said to be durable.
    pub(super) durable: Seq,
    /// The highest own number that was pushed.
    pub(super) pushed: Seq,
    pub(super) open: bool,
    /// How many numbers of the peer may wait here.
    window: u64,
    /// How many own numbers may be unacked.
    own_window: u64,
    /// `Welcome.head`.
    head: Seq,
    received: Seq,
    acked: Seq,
    ack_sent: Seq,
    frames_sent: u64,
    caught_up: bool,
    last_words: bool,
}

/// What a session gave for one input.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) events: Vec<Event>,
    /// Encoded frames.
    pub(super) bytes: BytesMut,
    /// An Ack was among them.
    pub(super) acked: bool,
}

impl Watch {
    pub(super) fn new(session: Session, side: Side, config: &Config, now: Instant) -> Self {
        let (window, own_window) = match side {
            Side::Client => (config.entries_max, config.commands_max),
            Side::Server => (config.commands_max, config.entries_max),
        };
        Self {
            session,
            side,
            now,
            closed: None,
            hello_waits: false,
            resend: None,
            durable: 0,
            pushed: 0,
            open: false,
            window: u64::from(window),
            own_window: u64::from(own_window),
            head: 0,
            received: 0,
            acked: 0,
            ack_sent: 0,
            frames_sent: 0,
            caught_up: false,
            last_words: false,
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    pub(super) fn push(&mut self, body: Bytes) -> Option<Seq> {
        let next = self.session.next_push();
        let Ok(seq) = self.session.push(self.now, body) else {
            let empty = self.open && self.pushed == self.acked && self.closed.is_none();
            assert!(!empty, "one body always fits an empty window");
            return None;
        };
        assert_eq!(next, Some(seq), "next_push tells the number");
        assert_eq!(seq, self.pushed + 1, "no hole");
        self.pushed = seq;
        Some(seq)
    }

    /// Everything received up to `more` after the last such call is durable.
    pub(super) fn processed(&mut self, more: u64) {
        self.durable = (self.durable + more).min(self.received);
        self.session.processed(self.now, self.durable);
    }

    /// The caller of a server's session takes the Hello.
    pub(super) fn welcome(&mut self, position: Seq, welcome: wire::Welcome) {
        let outbox_position = welcome.outbox_position;
        self.head = welcome.head;
        self.session.welcome(self.now, position, welcome);
        self.on_open(outbox_position, position);
    }

    /// Takes all outputs of the last input.
    pub(super) fn drain(&mut self) -> Seen {
        let mut seen = Seen::default();
        for _ in 0..OUTPUTS_MAX {
            match self.session.poll() {
                Output::WaitUntil(at) => {
                    assert!(self.closed.is_none(), "Closed repeats");
                    assert!(at >= self.now, "the next deadline is ahead");
                    return seen;
                }
                Output::Closed(closed) => {
                    self.on_closed(closed);
                    return seen;
                }
                Output::Send(frame) => {
                    seen.acked |= matches!(frame, Frame::Ack(_));
                    self.on_send(&frame, &mut seen.bytes);
                }
                Output::Event(event) => {
                    self.on_event(&event);
                    seen.events.push(event);
                }
            }
        }
        panic!("one input gives few outputs");
    }

    fn on_open(&mut self, received: Seq, acked: Seq) {
        assert!(!self.open, "a session opens once");
        self.open = true;
        self.hello_waits = false;
        (self.received, self.durable, self.ack_sent) = (received, received, received);
        (self.acked, self.pushed) = (acked, acked);
    }

    fn on_closed(&mut self, closed: Closed) {
        self.hello_waits = false;
        assert_eq!(self.session.next_push(), None);
        match &self.closed {
            Some(first) => assert_eq!(*first, closed, "closed stays closed, and why"),
            None if closed.by_peer => assert!(closed.text.len() <= TEXT_BYTES_MAX),
            None => {
                let code = closed.code;
                assert!(code.is_some(), "this end knows its own codes");
                assert!(self.last_words, "the peer is told: {code:?}");
            }
        }
        self.closed = Some(closed);
    }

    fn on_send(&mut self, frame: &Frame, bytes: &mut BytesMut) {
        assert!(self.closed.is_none() && !self.last_words, "nothing after the end: {frame:?}");
        assert!(self.may_send(frame), "{:?} sends {frame:?} at this time", self.side);
        match frame {
            Frame::Push(push) => {
                assert!(push.seq > self.acked, "the peer has {} already", push.seq);
                assert!(push.seq <= self.pushed && push.seq < NUMBER_MAX);
                assert!(push.seq - self.acked <= self.own_window, "more than the window");
            }
            Frame::Ack(ack) => {
                assert!(ack.position <= self.durable, "never above what is durable");
                assert!(ack.position >= self.ack_sent, "an ack goes back");
                self.ack_sent = ack.position;
            }
            Frame::CaughtUp(_) => {
                assert!(!self.caught_up, "caught up once");
                assert!(self.pushed >= self.head, "caught up with {}", self.head);
                self.caught_up = true;
            }
            Frame::Close(_) | Frame::Reset(_) => self.last_words = true,
            _ => {}
        }
        let before = bytes.len();
        encode(frame, bytes);
        let body = if let Frame::Push(push) = frame { push.body.len() } else { 0 };
        let told = matches!(frame, Frame::Hello(_) | Frame::Welcome(_) | Frame::Reset(_));
        let own = bytes.len() - before - PREFIX_BYTES - body;
        assert!(told || own <= FRAME_BYTES_EXPECTED, "output is bounded: {own} bytes");
        let mut again = BytesMut::from(&bytes[before..]);
        assert_eq!(decode(&mut again, FRAME_BYTES_MAX).as_ref(), Ok(&Some(frame.clone())));
        self.frames_sent += 1;
    }

    /// Whether the protocol lets this side say so at this time.
    fn may_send(&self, frame: &Frame) -> bool {
        let is_first = self.frames_sent == 0;
        match frame {
            Frame::Hello(_) => self.side == Side::Client && is_first,
            Frame::Welcome(_) => self.side == Side::Server && self.open && self.closed.is_none(),
            Frame::Reset(_) => self.side == Side::Server && !self.open,
            Frame::Push(_) | Frame::Ack(_) => self.open,
            Frame::CaughtUp(_) => self.side == Side::Server && self.open,
            Frame::GoAway(_) => self.side == Side::Server,
            Frame::Ping(_) => self.side == Side::Client && self.open,
            Frame::Pong(_) | Frame::Close(_) => true,
            Frame::Notify(_) => false,
        }
    }

    fn on_event(&mut self, event: &Event) {
        assert!(self.closed.is_none() && !self.last_words, "nothing after the end: {event:?}");
        match event {
            Event::Hello(hello) => {
                assert!(self.side == Side::Server && !self.open && !self.hello_waits);
                assert!(hello.position < NUMBER_MAX && hello.outbox_head < NUMBER_MAX);
                assert!(hello.outbox_trimmed <= hello.outbox_head);
                self.hello_waits = true;
            }
            Event::Welcome(welcome) => {
                assert_eq!(self.side, Side::Client);
                self.head = welcome.head;
                let told = welcome.limits.unwrap_or_default().entries_in_flight_max;
                if told > 0 {
                    self.window = u64::from(told);
                }
                self.on_open(self.session.received(), welcome.outbox_position);
            }
            Event::Reset(_) => {
                assert!(self.side == Side::Client && !self.open);
            }
            Event::Received { seq, .. } => {
                assert_eq!(*seq, self.received + 1, "no event for a gap or a repeat");
                assert!(seq - self.durable <= self.window, "more than the window waits here");
                self.received = *seq;
                assert_eq!(self.session.received(), *seq);
            }
            Event::Repeated { seq, .. } => {
                assert!(self.side == Side::Server && (1..=self.received).contains(seq));
            }
            Event::Acked { position } => {
                assert!(*position > self.acked && *position <= self.pushed, "an ack of {position}");
                self.acked = *position;
                assert_eq!(self.session.acked(), *position);
            }
            Event::Resend { seq } => {
                assert_eq!(*seq, self.acked + 1, "the oldest");
                assert!(*seq <= self.pushed);
                self.resend = Some(*seq);
            }
            Event::CaughtUp => {
                assert!(self.side == Side::Client && !self.caught_up, "caught up once");
                assert!(self.received >= self.head, "caught up with {}", self.head);
                self.caught_up = true;
            }
            Event::Notify(_) => assert!(self.open),
            Event::GoAway { .. } => assert_eq!(self.side, Side::Client),
        }
    }
}
