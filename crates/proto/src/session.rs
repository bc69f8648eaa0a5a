//! One connection's protocol state, without I/O, clock, async or locks. The same type at both ends.
//!
//! Either end pushes numbered bodies of its own log (a server: inbox entries, a client: commands) and
//! acks the other's. The log is the retransmission buffer: a session keeps numbers, never bodies.
//!
//! Contract: one input (`handle_*` or a plain verb), then drain [`Session::poll`] until it gives
//! [`Output::WaitUntil`] or [`Output::Closed`]. `now` is monotonic. What the peer does wrong comes out
//! as a `Close` frame and [`Output::Closed`]; what the caller does wrong is asserted.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Code, Frame, Seq, wire};

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Says Hello, pushes commands, pings.
    Client,
    /// Answers Hello, pushes entries.
    Server,
}

/// What both ends agree to, and this end's patience. Shared by all sessions of a process.
#[derive(Clone, Debug)]
pub struct Config {
    /// A server closes when no Hello came within this time.
    pub hello_timeout: Duration,
    /// A client pings at this interval; either end closes after 2.5 of them without a frame.
    pub heartbeat: Duration,
    /// Received numbers are acked at the latest this long after they were processed
    /// (zero: at once), or when a quarter of the window waits.
    pub ack_delay: Duration,
    /// The oldest unacked push is resent this long after the last byte left without progress.
    pub ack_timeout: Duration,
    /// So often; then the session closes and the log keeps the rest.
    pub resends_max: u8,
    /// Entries that a server may have unacked.
    pub entries_max: u32,
    /// Bytes of entries that a server may have unacked.
    pub entry_bytes_max: usize,
    /// Commands that a client may have unacked.
    pub commands_max: u32,
}

impl Default for Config {
    /// The values of DESIGN section 5.
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
            ack_delay: Duration::from_millis(100),
            ack_timeout: Duration::from_secs(10),
            resends_max: 2,
            entries_max: 256,
            entry_bytes_max: 1024 * 1024,
            commands_max: 64,
        }
    }
}

/// What the session wants of its caller.
#[derive(Debug)]
pub enum Output {
    /// Something happened.
    Event(Event),
    /// Encode and write this frame.
    Send(Frame),
    /// Nothing more now; call `handle_timeout` at this instant at the latest.
    WaitUntil(Instant),
    /// The session is over. The frames before this are still to be written. Repeats for ever.
    Closed(Closed),
}

/// Why and by whom a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code; `None` when the peer's code is unknown to this version.
    pub code: Option<Code>,
    /// The peer closed (with its own sentence), not this end.
    pub by_peer: bool,
    /// Sentence for people.
    pub text: String,
}

/// What happened on a session.
#[derive(Debug)]
pub enum Event {
    /// Server: authenticate, then call `welcome`, `reset` or `close`.
    Hello(wire::Hello),
    /// Client: the server took the Hello; commands above `outbox_position` may be pushed.
    Welcome(wire::Welcome),
    /// Client: take a snapshot; the session is over.
    Reset(wire::Reset),
    /// The peer's number `seq`, the next in order. Store it, then call `processed`.
    Received {
        /// Its number.
        seq: Seq,
        /// An encoded entry or command.
        body: Bytes,
    },
    /// The peer has everything of this end's log up to `position`, on its disk.
    Acked {
        /// The position.
        position: Seq,
    },
    /// The ack is overdue: read `seq` from the log again and call `resend`.
    Resend {
        /// The oldest unacked number.
        seq: Seq,
    },
    /// Client: everything up to `Welcome.head` was received; what follows is live.
    CaughtUp,
    /// An un-numbered notice.
    Notify(Bytes),
    /// Client: the server is about to stop.
    GoAway {
        /// Reconnect at the latest after this time.
        after: Duration,
    },
}

/// The window has no room; wait for [`Event::Acked`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the window is full")]
pub struct WindowFull;

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// The client's end; its first output is the Hello.
    pub fn client(config: std::sync::Arc<Config>, hello: wire::Hello, now: Instant) -> Self {
        unimplemented!()
    }
    /// The server's end; waits for a Hello.
    pub fn server(config: std::sync::Arc<Config>, now: Instant) -> Self {
        unimplemented!()
    }
    /// Server, answer to [`Event::Hello`]: go on. Entries continue after `position` (the Hello's),
    /// commands after `welcome.outbox_position`; CaughtUp is sent once `welcome.head` was pushed
    /// (at once when `position` is there already).
    pub fn welcome(&mut self, now: Instant, position: Seq, welcome: wire::Welcome) {
        unimplemented!()
    }
    /// Server, answer to [`Event::Hello`]: the client must start from a snapshot. Ends the session.
    pub fn reset(&mut self, reset: wire::Reset) {
        unimplemented!()
    }
    /// A frame of the peer.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) {
        unimplemented!()
    }
    /// The instant of `WaitUntil` has come (calling early is harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }
    /// The number that the next `push` will have, or `None` before Welcome, after close, or while
    /// the window is full.
    pub fn next_push(&self) -> Option<Seq> {
        unimplemented!()
    }
    /// Pushes the next body of this end's log.
    ///
    /// # Errors
    /// [`WindowFull`] when the window has no room for it (one body always fits an empty window).
    pub fn push(&mut self, now: Instant, body: Bytes) -> Result<Seq, WindowFull> {
        unimplemented!()
    }
    /// The body asked for by [`Event::Resend`]; ignored when it was acked meanwhile.
    pub fn resend(&mut self, now: Instant, seq: Seq, body: Bytes) {
        unimplemented!()
    }
    /// Everything received up to `position` is durable here; acks follow by the ack rule.
    ///
    /// # Panics
    /// When `position` was never received, or goes back.
    pub fn processed(&mut self, now: Instant, position: Seq) {
        unimplemented!()
    }
    /// The last byte of what `poll` gave so far left this machine: the ack timer runs from here.
    pub fn written(&mut self, now: Instant) {
        unimplemented!()
    }
    /// Server: tells the client to reconnect within `after`.
    pub fn go_away(&mut self, after: Duration) {
        unimplemented!()
    }
    /// Ends the session with a Close frame.
    pub fn close(&mut self, code: Code) {
        unimplemented!()
    }
    /// Like `close`, with a sentence of its own.
    pub fn close_with(&mut self, code: Code, text: String) {
        unimplemented!()
    }
    /// The next output.
    pub fn poll(&mut self) -> Output {
        unimplemented!()
    }
    /// The highest own number that the peer acked.
    pub fn acked(&self) -> Seq {
        unimplemented!()
    }
    /// The highest number received from the peer in order.
    pub fn received(&self) -> Seq {
        unimplemented!()
    }
}
