//! What each frame of the peer means in each state.

use std::time::{Duration, Instant};

use super::{
    Closed, Event, PROTOCOL_VERSION, Session, Side, State,
    inbound::{Inbound, PushOutcome},
    outbound::{AckOutcome, Outbound},
    timer::Timer,
};
use crate::{Code, Frame, Seq, fault::Fault, id::NUMBER_MAX, wire};

/// Longest part of a peer's Close text that is kept, in bytes: it goes to logs and screens.
const TEXT_BYTES_MAX: usize = 256;

impl Session {
    pub(super) fn on_frame(&mut self, now: Instant, frame: Frame) {
        if !numbers_are_sane(&frame) {
            return self.close(Code::Malformed);
        }
        if let Frame::Close(close) = frame {
            return self.on_close(close);
        }
        if self.state == State::AwaitHello {
            return match frame {
                Frame::Hello(hello) => self.on_hello(now, hello),
                _ => self.close(Code::UnexpectedFrame),
            };
        }
        if self.state != State::HelloSent {
            self.heard(now);
        }
        match (frame, self.state, self.side) {
            (Frame::Push(push), State::Open, _) => self.on_push(push),
            (Frame::Ack(ack), State::Open, _) => self.on_ack(now, ack.position),
            (Frame::Ping(ping), _, _) => self.send(Frame::Pong(wire::Pong { nonce: ping.nonce })),
            (Frame::Pong(_), _, _) => self.pong_came = true,
            (Frame::Notify(notify), State::Open, _) => self.event(Event::Notify(notify.body)),
            // May always be dropped, and nobody is known to stand behind it yet.
            (Frame::Notify(_), _, _) => {}
            (Frame::Welcome(welcome), State::HelloSent, _) => self.on_welcome(now, welcome),
            (Frame::Reset(reset), State::HelloSent, _) => self.on_reset(reset),
            (Frame::CaughtUp(_), State::Open, Side::Client) => self.on_caught_up(),
            (Frame::GoAway(away), _, Side::Client) => {
                let after = Duration::from_millis(u64::from(away.after_ms));
                self.event(Event::GoAway { after });
            }
            _ => self.close(Code::UnexpectedFrame),
        }
    }

    fn on_close(&mut self, close: wire::Close) {
        let mut text = close.text;
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        self.finish(Closed { code: Code::from_number(close.code), by_peer: true, text });
    }

    fn on_hello(&mut self, now: Instant, hello: wire::Hello) {
        if hello.version != PROTOCOL_VERSION {
            return self.close(Code::UnsupportedVersion);
        }
        self.state = State::AwaitVerdict;
        self.heard(now);
        self.event(Event::Hello(hello));
    }

    /// The server goes on from the Hello, unless its answer contradicts it: then one of the two
    /// storages was rolled back, and going on would hide a gap or use a number twice.
    fn on_welcome(&mut self, now: Instant, welcome: wire::Welcome) {
        let Some(hello) = self.hello.take() else { return self.close(Code::UnexpectedFrame) };
        if welcome.outbox_position > hello.outbox_head {
            return self.close(Code::DeviceStale);
        }
        if welcome.head < hello.position || welcome.floor > hello.position + 1 {
            return self.close(Code::InboxGap);
        }
        let limits = welcome.limits.unwrap_or_default();
        let commands_max = match limits.commands_in_flight_max {
            0 => self.config.commands_max,
            told => told.min(self.config.commands_max),
        };
        let entries_max = match limits.entries_in_flight_max {
            0 => self.config.entries_max,
            told => told,
        };
        if welcome.heartbeat_ms > 0 {
            self.heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms));
        }
        self.state = State::Open;
        self.outbound = Outbound::open(welcome.outbox_position, commands_max, usize::MAX);
        self.inbound = Inbound::open(hello.position, entries_max);
        self.head = welcome.head;
        self.heard(now);
        self.timers.set(Timer::Ping, now + self.heartbeat);
        self.event(Event::Welcome(welcome));
    }

    fn on_reset(&mut self, reset: wire::Reset) {
        self.event(Event::Reset(reset));
        self.finish(Closed {
            code: Some(Code::Normal),
            by_peer: true,
            text: "The server asks for a start from a snapshot.".to_owned(),
        });
    }

    fn on_caught_up(&mut self) {
        if self.caught_up {
            return self.close(Code::UnexpectedFrame);
        }
        if self.inbound.received < self.head {
            return self.close(Code::InboxGap);
        }
        self.caught_up = true;
        self.event(Event::CaughtUp);
    }

    fn on_push(&mut self, push: wire::Push) {
        match self.inbound.on_push(push.seq) {
            PushOutcome::Next => self.event(Event::Received { seq: push.seq, body: push.body }),
            PushOutcome::Repeat if self.side == Side::Server => {
                self.event(Event::Repeated { seq: push.seq, body: push.body });
            }
            PushOutcome::Repeat => {}
            PushOutcome::Gap if self.side == Side::Server && Fault::ApplyOverGap.is_on() => {
                self.inbound.received = push.seq;
                self.event(Event::Received { seq: push.seq, body: push.body });
            }
            PushOutcome::Gap => self.close(match self.side {
                Side::Server => Code::OutboxGap,
                Side::Client => Code::InboxGap,
            }),
            PushOutcome::AboveWindow => self.close(Code::WindowExceeded),
        }
    }

    fn on_ack(&mut self, now: Instant, position: Seq) {
        match self.outbound.on_ack(position) {
            AckOutcome::AboveHead => self.close(Code::AckAboveHead),
            AckOutcome::Old => {}
            AckOutcome::Progress => {
                if self.outbound.awaits_ack() {
                    self.restart_ack_timer(now);
                } else {
                    self.timers.stop(Timer::AckTimeout);
                }
                self.event(Event::Acked { position });
            }
        }
    }
}

/// Whether a Hello's numbers are allowed and do not contradict each other.
pub(super) fn hello_is_sane(hello: &wire::Hello) -> bool {
    hello.position < NUMBER_MAX
        && hello.outbox_head < NUMBER_MAX
        && hello.outbox_trimmed <= hello.outbox_head
}

/// Whether every number in the frame is below 2^53, and a pushed one is not 0.
fn numbers_are_sane(frame: &Frame) -> bool {
    let below = |numbers: &[u64]| numbers.iter().all(|number| *number < NUMBER_MAX);
    match frame {
        Frame::Hello(hello) => hello_is_sane(hello),
        Frame::Welcome(welcome) => below(&[welcome.head, welcome.floor, welcome.outbox_position]),
        Frame::Reset(reset) => below(&[reset.head, reset.outbox_position]),
        Frame::Push(push) => push.seq > 0 && push.seq < NUMBER_MAX,
        Frame::Ack(ack) => ack.position < NUMBER_MAX,
        Frame::Ping(ping) => ping.nonce < NUMBER_MAX,
        Frame::Pong(pong) => pong.nonce < NUMBER_MAX,
        Frame::CaughtUp(_) | Frame::Notify(_) | Frame::GoAway(_) | Frame::Close(_) => true,
    }
}
