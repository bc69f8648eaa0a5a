//! What the connector counts. Handles are looked up once: the hot path only adds.

use anser_proto::Code;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::metrics::{
    ACCEPT_TO_SOCKET_SECONDS, CONNECTIONS, CONNECTIONS_ACCEPTED_TOTAL, CONNECTIONS_CLOSED_TOTAL,
    CONNECTIONS_REFUSED_TOTAL, ENTRIES_PUSHED_TOTAL,
};

/// The connector's instruments.
pub(super) struct ConnectorMetrics {
    /// Sockets accepted.
    pub(super) accepted: Counter,
    /// Sockets refused for too many unauthenticated ones of an address.
    pub(super) refused: Counter,
    /// Devices that are welcomed now.
    pub(super) sessions: Gauge,
    /// Entries given to sockets.
    pub(super) pushed: Counter,
    /// Seconds from a command's arrival at its socket to its entry's write to a member's socket.
    pub(super) accept_to_socket: Histogram,
}

impl ConnectorMetrics {
    pub(super) fn new() -> Self {
        Self {
            accepted: counter!(CONNECTIONS_ACCEPTED_TOTAL),
            refused: counter!(CONNECTIONS_REFUSED_TOTAL),
            sessions: gauge!(CONNECTIONS),
            pushed: counter!(ENTRIES_PUSHED_TOTAL),
            accept_to_socket: histogram!(ACCEPT_TO_SOCKET_SECONDS),
        }
    }

    /// A connection ended; `None`: without a Close frame.
    pub(super) fn closed(&self, code: Option<Code>) {
        let code = code.map_or("none", Code::name);
        counter!(CONNECTIONS_CLOSED_TOTAL, "code" => code).increment(1);
    }
}
