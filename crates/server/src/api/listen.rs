//! The accept loop under REST, the admin socket and the ops port. `axum::serve` has no limits for
//! slow clients; here a connection ends when its header comes too slowly, when it does not read
//! its answer, and when the listener has too many of them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

/// Where a request comes from; `None` on a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// Patience with clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
    /// From the connection's start or its last answer to the end of a request's header.
    pub(crate) header_timeout: Duration,
    /// A write without any progress.
    pub(crate) write_timeout: Duration,
    /// After the shutdown: requests that run may end within this time.
    pub(crate) drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `shutdown` ends, then lets running requests finish.
pub(crate) async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    limits: Limits,
    peer: fn(&L::Addr) -> Peer,
    shutdown: impl Future<Output = ()>,
) {
    let open = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&open).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, (io, addr)) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        while tasks.try_join_next().is_some() {}
        let peer = peer(&addr);
        let service = router.clone().into_service::<Body>().map_request(
            move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request.map(Body::new)
            },
        );
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(limits.write_timeout));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(READ_BYTES_MAX)
            .serve_connection(TokioIo::new(Box::pin(io)), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            // A broken connection is the client's matter; requests are logged one by one.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests were cut off by the shutdown");
    }
    tasks.shutdown().await;
}

/// A request line with its headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// hyper's buffer, which grows to this while bodies come quickly: files do.
const READ_BYTES_MAX: usize = 128 * 1024;
