//! What goes into a session and comes out of it.

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
    /// A server closes when no Hello came within this time, a client when its Hello was not
    /// answered.
    pub hello_timeout: Duration,
    /// A client pings at this interval; either end closes after 2.5 of them without a frame. A
    /// client goes by `Welcome.heartbeat_ms` instead, if the server tells it.
    pub heartbeat: Duration,
    /// Received numbers are acked at the latest this long after they were processed
    /// (zero: at once), or when a quarter of the window waits.
    pub ack_delay: Duration,
    /// The oldest unacked push is resent this long after the last byte left without progress. A
    /// client does not count an expiry before which the server answered a Ping.
    pub ack_timeout: Duration,
    /// The same number is resent so often; then the session closes and the log keeps the rest.
    pub resends_max: u8,
    /// Entries that a server may have unacked. A client goes by `Welcome.limits` instead, if told.
    pub entries_max: u32,
    /// Bytes of entries that a server may have unacked.
    pub entry_bytes_max: usize,
    /// Commands that a client may have unacked. A client takes less if `Welcome.limits` says so.
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
    /// Sentence for people; a peer's is cut after 256 bytes.
    pub text: String,
}

/// What happened on a session.
#[derive(Debug)]
pub enum Event {
    /// Server: authenticate, then call `welcome`, `reset` or `close`.
    Hello(wire::Hello),
    /// Client: the server took the Hello; commands above `outbox_position` may be pushed.
    Welcome(wire::Welcome),
    /// Client: take a snapshot; the session is over, [`Output::Closed`] follows.
    Reset(wire::Reset),
    /// The peer's number `seq`, the next in order. Store it, then call `processed`.
    Received {
        /// Its number.
        seq: Seq,
        /// An encoded entry or command.
        body: Bytes,
    },
    /// Server: a command came whose number was received before. It is acked again, not applied
    /// again; compare it with what was applied, and close with `conflict` (or `device_stale`, when
    /// that is not known any more) if it differs: a silent success would lose it.
    Repeated {
        /// Its number.
        seq: Seq,
        /// An encoded command.
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
