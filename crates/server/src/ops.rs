//! The ops listener, for the operator's own network only: `/livez`, `/readyz` and `/metrics`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anser_store::Store;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    api::listen::{self, Peer},
    config, metrics,
};

/// Whether this process should get traffic; a cheap clone. Starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Ready once all roles run; not ready any more from the moment the stop begins.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the listener tells about.
#[derive(Clone)]
pub struct Deps {
    /// Asked by `/readyz`.
    pub store: Arc<dyn Store>,
    /// Set by the node.
    pub ready: Ready,
    /// What `/metrics` shows.
    pub metrics: metrics::Handle,
}

/// The ops listener, bound but not serving yet.
pub struct Ops {
    listener: TcpListener,
    address: SocketAddr,
    deps: Deps,
}

impl Ops {
    /// Listens on `config.listen`.
    ///
    /// # Errors
    /// The address can not be listened on.
    pub async fn bind(config: &config::Ops, deps: Deps) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, deps })
    }

    /// Where it listens: the port that was chosen when the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends. The node ends it last, so that `/readyz` tells of the stop.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let limits = listen::Limits { connections_max: 64, ..listen::Limits::default() };
        let peer = |address: &SocketAddr| Peer(Some(address.ip()));
        let router = router(self.deps.clone());
        let serve = listen::serve(self.listener, router, limits, peer, shutdown);
        let upkeep = async {
            let mut interval = tokio::time::interval(metrics::UPKEEP_INTERVAL);
            loop {
                interval.tick().await;
                self.deps.metrics.upkeep();
            }
        };
        tokio::select! {
            () = serve => {}
            () = upkeep => {}
        }
    }
}

fn router(deps: Deps) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(deps)
}

async fn readyz(State(deps): State<Deps>) -> Response {
    let red = |text: &'static str| (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    if !deps.ready.is_set() {
        return red("not ready: starting or stopping\n");
    }
    match tokio::time::timeout(STORE_TIME_MAX, deps.store.meta()).await {
        Ok(Ok(_)) => "ready\n".into_response(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store does not answer the readiness check");
            red("not ready: the store refuses\n")
        }
        Err(_) => red("not ready: the store does not answer\n"),
    }
}

async fn render(State(deps): State<Deps>) -> Response {
    let stats = deps.store.stats();
    ::metrics::counter!(metrics::STORE_COMMITS_TOTAL).absolute(stats.commits);
    ::metrics::counter!(metrics::STORE_SYNCS_TOTAL).absolute(stats.syncs);
    ::metrics::counter!(metrics::STORE_MESSAGES_TOTAL).absolute(stats.messages);
    ::metrics::gauge!(metrics::STORE_DISK_FREE_BYTES).set(stats.disk_free_bytes as f64);
    ::metrics::gauge!(metrics::STORE_DISK_USED_BYTES).set(stats.disk_used_bytes as f64);
    ([(header::CONTENT_TYPE, EXPOSITION)], deps.metrics.render()).into_response()
}

/// A store that takes longer is not ready.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
