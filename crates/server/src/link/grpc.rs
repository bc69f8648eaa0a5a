//! The link between processes: gRPC, one stream from each node that has something to tell to each
//! connector. `link.proto` is the contract.
//!
//! What is told waits in a buffer per connector, which is bounded, and leaves as one message
//! whatever it has become by then. Whoever lost something, or was away, looks at the store.

mod buffer;
mod client;
mod message;
mod metrics;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod tls;

pub use client::Remote;
pub use secret::Secret;
pub use server::Listener;
pub use tls::{Tls, TlsError};

use std::time::Duration;

/// By what the nodes of a cluster know each other.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// What all of them know.
    pub secret: Secret,
    /// With it, nothing is said but over TLS; without, nothing is said over TLS.
    pub tls: Option<Tls>,
}

/// Generated from `link.proto`, documented there.
mod wire {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::doc_markdown,
        reason = "generated from link.proto, documented there"
    )]

    tonic::include_proto!("anser.cluster.v1");
}

/// The handshake ends within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Each end pings so often when it hears nothing ...
const PING_EVERY: Duration = Duration::from_secs(2);
/// ... and gives the other up when a ping stays unanswered for so long.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Above what a full buffer becomes in one message (see `buffer`).
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// HTTP/2 windows: a burst of a few thousand messages goes out in one round trip.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
