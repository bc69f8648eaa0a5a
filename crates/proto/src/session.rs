//! One connection's protocol state, without I/O, clock, async or locks. The same type at both ends.
//!
//! Either end pushes numbered bodies of its own log (a server: inbox entries, a client: commands)
//! and acks the other's. The log is the retransmission buffer: a session keeps numbers, never
//! bodies.
//!
//! Contract: one input (`handle_*` or a plain verb), then drain [`Session::poll`] until it gives
//! [`Output::WaitUntil`] or [`Output::Closed`]. `now` is monotonic. What the peer does wrong comes
//! out as a `Close` frame and [`Output::Closed`]; what the caller does wrong is asserted. Once the
//! session is closed every input is ignored.
//!
//! ```text
//! client:  HelloSent --Welcome--> Open --.
//! server:  AwaitHello --Hello--> AwaitVerdict --welcome()--> Open --.
//!          any state --Close, Reset, a protocol error, silence--> Closed
//! ```

mod frames;
mod inbound;
mod outbound;
mod outputs;
mod timer;
mod types;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::types::{Closed, Config, Event, Output, Side, WindowFull};
use self::{
    inbound::Inbound,
    outbound::Outbound,
    outputs::Outputs,
    timer::{Timer, TimerTable},
};
use crate::{Code, Frame, Seq, id::NUMBER_MAX, wire};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Where the session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Client: Hello was said, Welcome or Reset is awaited.
    HelloSent,
    /// Server: nothing was heard yet.
    AwaitHello,
    /// Server: the caller decides on the Hello.
    AwaitVerdict,
    /// Either end pushes.
    Open,
    /// Over.
    Closed,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    state: State,
    side: Side,
    /// `CaughtUp` was sent (server) or received (client).
    caught_up: bool,
    /// Client: a Pong came since the ack timer started, expired or was reset by progress.
    pong_came: bool,
    /// The client's ping interval; silence is 2.5 of it. A client takes the server's word for it.
    heartbeat: Duration,
    timers: TimerTable,
    outputs: Outputs,
    outbound: Outbound,
    inbound: Inbound,
    /// `Welcome.head`.
    head: Seq,
    ping_nonce: u64,
    /// Client: what it said, until Welcome answers. Without the token.
    hello: Option<Box<wire::Hello>>,
    closed: Option<Box<Closed>>,
}

impl Session {
    /// The client's end; its first output is the Hello. Closes with [`Code::TimedOut`] when no
    /// answer came within [`Config::hello_timeout`].
    ///
    /// # Panics
    /// When a number in `hello` is not below 2^53 or `outbox_trimmed` is above `outbox_head`.
    pub fn client(config: Arc<Config>, hello: wire::Hello, now: Instant) -> Self {
        assert!(frames::hello_is_sane(&hello), "the Hello's positions contradict each other");
        let mut session = Self::new(config, Side::Client, State::HelloSent, now);
        session.hello = Some(Box::new(wire::Hello { token: String::new(), ..hello.clone() }));
        session.send(Frame::Hello(hello));
        session
    }

    /// The server's end; waits for a Hello for [`Config::hello_timeout`].
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(config, Side::Server, State::AwaitHello, now)
    }

    /// Server, answer to [`Event::Hello`]: go on. Entries continue after `position` (the Hello's),
    /// commands after `welcome.outbox_position`; CaughtUp is sent once `welcome.head` was pushed
    /// (at once when `position` is there already). `welcome` should tell this session's own
    /// [`Config::heartbeat`] and windows, because the client goes by what it is told.
    ///
    /// # Panics
    /// When there is no unanswered Hello, or a number is not below 2^53.
    pub fn welcome(&mut self, now: Instant, position: Seq, welcome: wire::Welcome) {
        if self.state == State::Closed {
            return;
        }
        assert!(self.state == State::AwaitVerdict, "welcome() answers a Hello");
        assert!(position < NUMBER_MAX && welcome.head < NUMBER_MAX, "a number is below 2^53");
        assert!(welcome.outbox_position < NUMBER_MAX, "a number is below 2^53");
        self.state = State::Open;
        self.outbound =
            Outbound::open(position, self.config.entries_max, self.config.entry_bytes_max);
        self.inbound = Inbound::open(welcome.outbox_position, self.config.commands_max);
        self.head = welcome.head;
        self.heard(now);
        self.send(Frame::Welcome(welcome));
        self.send_caught_up_if_due();
    }

    /// Server, answer to [`Event::Hello`]: the client must start from a snapshot. Ends the session;
    /// no Close frame follows.
    ///
    /// # Panics
    /// When there is no unanswered Hello.
    pub fn reset(&mut self, reset: wire::Reset) {
        if self.state == State::Closed {
            return;
        }
        assert!(self.state == State::AwaitVerdict, "reset() answers a Hello");
        self.send(Frame::Reset(reset));
        self.finish(Closed {
            code: Some(Code::Normal),
            by_peer: false,
            text: "The client must start from a snapshot.".to_owned(),
        });
    }

    /// A frame of the peer.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) {
        if self.state != State::Closed {
            self.on_frame(now, frame);
        }
    }

    /// The instant of `WaitUntil` has come (calling early is harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        for timer in Timer::ALL {
            if self.state != State::Closed && self.timers.take_expired(timer, now) {
                self.on_timer(now, timer);
            }
        }
    }

    /// The number that the next `push` will have, or `None` before Welcome, after close, or while
    /// the window is full.
    pub fn next_push(&self) -> Option<Seq> {
        let open = self.state == State::Open && self.outbound.has_room();
        open.then_some(self.outbound.pushed + 1)
    }

    /// Pushes the next body of this end's log. It is the caller's duty that bodies come in the
    /// order of the log, without a hole.
    ///
    /// # Errors
    /// [`WindowFull`] when the window has no room for it (one body always fits an empty window);
    /// before Welcome and after close there is no window at all. Wait for [`Event::Acked`].
    ///
    /// # Panics
    /// When the log has reached 2^53.
    pub fn push(&mut self, now: Instant, body: Bytes) -> Result<Seq, WindowFull> {
        let _ = now; // The ack timer runs from `written`, not from here.
        if self.state != State::Open {
            return Err(WindowFull);
        }
        let seq = self.outbound.push(body.len())?;
        self.send(Frame::Push(wire::Push { seq, body }));
        self.send_caught_up_if_due();
        Ok(seq)
    }

    /// The body asked for by [`Event::Resend`]; ignored when it was acked meanwhile.
    ///
    /// # Panics
    /// When `seq` was never pushed.
    pub fn resend(&mut self, now: Instant, seq: Seq, body: Bytes) {
        let _ = now; // As for `push`.
        if self.state != State::Open || seq <= self.outbound.acked {
            return;
        }
        assert!(seq <= self.outbound.pushed, "resend of {seq}, which was never pushed");
        self.send(Frame::Push(wire::Push { seq, body }));
    }

    /// Everything received up to `position` is durable here; acks follow by the ack rule: at once
    /// when [`Config::ack_delay`] is zero or a quarter of the window waits, else after the delay.
    ///
    /// # Panics
    /// When `position` was never received, or goes back.
    pub fn processed(&mut self, now: Instant, position: Seq) {
        if self.state == State::Closed {
            return;
        }
        self.inbound.on_processed(position);
        if self.inbound.unacked() == 0 {
            return;
        }
        if self.config.ack_delay.is_zero() || self.inbound.is_ack_urgent() {
            self.inbound.ack_soon();
        } else if !self.timers.is_set(Timer::AckDelay) {
            self.timers.set(Timer::AckDelay, now + self.config.ack_delay);
        }
    }

    /// The last byte of what `poll` gave so far left this machine: the ack timer runs from here.
    ///
    /// A caller that never says so gets no [`Event::Resend`] and no close for a missing ack.
    pub fn written(&mut self, now: Instant) {
        if self.state != State::Open {
            return;
        }
        let oldest_left = self.outbound.on_written();
        let running = self.timers.is_set(Timer::AckTimeout);
        if self.outbound.awaits_ack() && (oldest_left || !running) {
            self.timers.set(Timer::AckTimeout, now + self.config.ack_timeout);
            self.pong_came &= running;
        }
    }

    /// Server: tells the client to reconnect within `after`. The session goes on.
    ///
    /// # Panics
    /// At a client.
    pub fn go_away(&mut self, after: Duration) {
        assert!(self.side == Side::Server, "only a server goes away");
        if self.state != State::Closed {
            let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
            self.send(Frame::GoAway(wire::GoAway { after_ms }));
        }
    }

    /// Ends the session with a Close frame.
    pub fn close(&mut self, code: Code) {
        self.close_with(code, code.sentence().to_owned());
    }

    /// Like `close`, with a sentence of its own.
    pub fn close_with(&mut self, code: Code, text: String) {
        if self.state == State::Closed {
            return;
        }
        if self.state == State::Open && self.inbound.unacked() > 0 {
            // What is durable here need not come again.
            self.inbound.ack_soon();
            self.send_ack_if_due();
        }
        self.send(Frame::Close(wire::Close { code: code.number(), text: text.clone() }));
        self.finish(Closed { code: Some(code), by_peer: false, text });
    }

    /// The next output.
    ///
    /// # Panics
    /// Never: a session that is not closed has a deadline.
    pub fn poll(&mut self) -> Output {
        if self.outputs.is_empty() {
            self.send_ack_if_due();
        }
        if let Some(output) = self.outputs.pop() {
            if let Output::Send(Frame::Push(push)) = &output {
                self.outbound.on_polled(push.seq);
            }
            return output;
        }
        if let Some(closed) = &self.closed {
            return Output::Closed(Closed::clone(closed));
        }
        let next = self.timers.next();
        Output::WaitUntil(next.expect("the silence timer runs until the session is closed"))
    }

    /// The highest own number that the peer acked.
    pub fn acked(&self) -> Seq {
        self.outbound.acked
    }

    /// The highest number received from the peer in order.
    pub fn received(&self) -> Seq {
        self.inbound.received
    }

    /// The highest number of the peer that `processed` told to be durable here.
    pub fn durable(&self) -> Seq {
        self.inbound.processed
    }

    fn new(config: Arc<Config>, side: Side, state: State, now: Instant) -> Self {
        let mut timers = TimerTable::default();
        timers.set(Timer::Silence, now + config.hello_timeout);
        Self {
            heartbeat: config.heartbeat,
            config,
            state,
            side,
            caught_up: false,
            pong_came: false,
            timers,
            outputs: Outputs::default(),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            head: 0,
            ping_nonce: 0,
            hello: None,
            closed: None,
        }
    }

    fn send_ack_if_due(&mut self) {
        if let Some(position) = self.inbound.take_ack() {
            self.timers.stop(Timer::AckDelay);
            self.send(Frame::Ack(wire::Ack { position }));
        }
    }

    fn send_caught_up_if_due(&mut self) {
        if self.side == Side::Server && !self.caught_up && self.outbound.pushed >= self.head {
            self.caught_up = true;
            self.send(Frame::CaughtUp(wire::CaughtUp {}));
        }
    }

    fn finish(&mut self, closed: Closed) {
        self.state = State::Closed;
        self.timers = TimerTable::default();
        self.hello = None;
        self.closed = Some(Box::new(closed));
    }

    fn send(&mut self, frame: Frame) {
        self.outputs.push(Output::Send(frame));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }
}
