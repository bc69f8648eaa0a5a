//! What the connector counts. Handles are looked up once: the hot path only adds.

use anser_proto::Code;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The connector's instruments.
pub(super) struct ConnectorMetrics {
    /// Sockets accepted.
    pub(super) accepted: Counter,
    /// Sockets refused for too many unauthenticated ones of an address.
    pub(super) refused: Counter,
    /// Devices that are welcomed now.
    pub(super) sessions: Gauge,
    /// Seconds from a command's arrival at its socket to its entry's write to a member's socket.
    pub(super) accept_to_socket: Histogram,
}

impl ConnectorMetrics {
    pub(super) fn new() -> Self {
        Self {
            accepted: counter!("anser_connections_accepted_total"),
            refused: counter!("anser_connections_refused_total"),
            sessions: gauge!("anser_sessions"),
            accept_to_socket: histogram!("anser_accept_to_socket_seconds"),
        }
    }

    /// A connection ended; `None`: without a Close frame.
    pub(super) fn closed(&self, code: Option<Code>) {
        let code = code.map_or("none", Code::name);
        counter!("anser_connections_closed_total", "code" => code).increment(1);
    }
}
