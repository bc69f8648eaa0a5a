//! The role *api*: REST under `/v1` for clients and for products that embed chat, its OpenAPI
//! document at `/v1/openapi.json`, and a page to read it at `/docs`.
//!
//! In: requests of the bodies in [`anser_proto::rest`]. Out: verbs of the store, and doorbells
//! ([`crate::link`]) for what they committed. It knows nothing of connections: a device whose
//! session ended is closed by the link. [`admin`] serves the operator's routes by the same
//! machinery.

pub mod admin;
mod attempts;
mod auth;
mod conversation;
mod error;
mod extract;
mod file;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod info;
pub(crate) mod layer;
pub(crate) mod listen;
mod openapi;
mod password;
mod product;
mod relation;
mod session;
mod user;
mod validate;
mod view;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anser_proto::rest;
use anser_store::{Hash, Store};
use axum::{Router, extract::DefaultBodyLimit, serve::ListenerExt as _};
use tokio::net::TcpListener;

use crate::{config, files::Files, link, proxy::TrustedProxies, secrets::MasterKey};

/// What the role needs of the others.
#[derive(Clone)]
pub struct Deps {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// To the connectors.
    pub link: link::Handle,
    /// Wraps relation keys.
    pub keys: MasterKey,
    /// SHA-256 of the server key; the server API is off without one.
    pub server_key_hash: Option<Hash>,
    /// Where clients can connect.
    pub connectors: Connectors,
    /// Whose word on a client's address is taken.
    pub proxies: TrustedProxies,
    /// What connectors take.
    pub limits: Limits,
    /// The bytes of files.
    pub files: Files,
}

/// Tells where clients can connect, best first. Must not block.
pub type Connectors = Arc<dyn Fn() -> Vec<rest::Connector> + Send + Sync>;

/// The limits of the connectors that clients and the server API must keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest frame.
    pub frame_bytes_max: usize,
    /// Largest sealed body.
    pub body_bytes_max: usize,
}

/// Why the role can not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can not be listened on.
    #[error("the api can not listen on {address}: {source}")]
    Listen {
        /// The address of `api.listen`.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// An entry of `api.cors_origins` is no origin.
    #[error("api.cors_origins: \"{0}\" is no origin; write it like https://chat.example.com")]
    Origin(String),
    /// The password hasher does not start.
    #[error("password hashing does not start: {0}")]
    Passwords(String),
}

/// The role, listening but not serving yet.
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Api {
    /// Listens on `config.listen`.
    ///
    /// # Errors
    /// [`BindError`]: the configuration must be changed.
    pub async fn bind(config: &config::Api, deps: Deps) -> Result<Self, BindError> {
        let router = router(config, deps)?;
        let failed = |source| BindError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, router })
    }

    /// Where it listens: the port that was chosen when the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends, then lets running requests finish (at most 5 s).
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let peer = |address: &SocketAddr| listen::Peer(Some(address.ip()));
        // Answers are written whole; nothing gains from waiting. A failure only costs latency.
        let listener = self.listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        listen::serve(listener, self.router, listen::Limits::default(), peer, shutdown).await;
    }
}

/// What handlers share.
struct Shared {
    config: config::Api,
    store: Arc<dyn Store>,
    link: link::Handle,
    keys: MasterKey,
    server_key_hash: Option<Hash>,
    connectors: Connectors,
    limits: Limits,
    files: Files,
    passwords: password::Passwords,
    attempts: attempts::Attempts,
    senders: product::Senders,
}

type App = Arc<Shared>;

fn router(config: &config::Api, deps: Deps) -> Result<Router, BindError> {
    let proxies = deps.proxies.clone();
    Ok(layer::behind(wrap(config, app(config, deps)?)?, proxies))
}

fn app(config: &config::Api, deps: Deps) -> Result<App, BindError> {
    let passwords = password::Passwords::new();
    let passwords = passwords.map_err(|error| BindError::Passwords(error.detail.into_owned()))?;
    Ok(Arc::new(Shared {
        attempts: attempts::Attempts::new(config.logins_per_minute),
        config: config.clone(),
        store: deps.store,
        link: deps.link,
        keys: deps.keys,
        server_key_hash: deps.server_key_hash,
        connectors: deps.connectors,
        limits: deps.limits,
        files: deps.files,
        passwords,
        senders: product::Senders::default(),
    }))
}

fn wrap(config: &config::Api, app: App) -> Result<Router, BindError> {
    let (routes, document) = openapi::routes(config.page_max);
    let router = routes.with_state(app).merge(openapi::pages(document));
    let router = router.layer(DefaultBodyLimit::max(config.request_bytes_max));
    let router = layer::wrap(router, REQUEST_TIME_MAX);
    Ok(match layer::cors(&config.cors_origins)? {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

/// A request that takes longer is answered with `timed_out`.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
