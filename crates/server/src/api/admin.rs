//! The admin interface: HTTP on a Unix socket in the data folder, for the commands of the binary on
//! the same machine. Who can open the socket (mode 0600) may do everything; there is no other
//! authentication. Bodies in [`anser_proto::rest::admin`], all paths under `/admin`.

mod batch;
mod operation;
mod socket;
mod users;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use tokio::net::UnixListener;

use super::{App, layer, listen};
use crate::config;

/// What the interface needs.
#[derive(Clone)]
pub struct Deps {
    /// As the role *api* has them.
    pub api: super::Deps,
    /// The limits in force.
    pub config: config::Api,
    /// Told by `/admin/status`.
    pub data_dir: PathBuf,
    /// Open connections, where this process holds any. Must not block.
    pub connections: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

/// Why the interface can not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket can not be made.
    #[error("the admin socket {path} can not be made: {source}")]
    Listen {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A server listens there already.
    #[error("another server listens on {0}; stop it first, or use another data folder")]
    InUse(PathBuf),
    /// See [`super::BindError`].
    #[error(transparent)]
    Api(#[from] super::BindError),
}

/// The interface, listening but not serving yet.
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
    router: Router,
}

impl Admin {
    /// Makes the socket at `path`, readable and writable by this process's user only. What a dead
    /// server left there is replaced.
    ///
    /// # Errors
    /// [`BindError`]; `InUse` when a server answers there.
    pub fn bind(path: &Path, deps: Deps) -> Result<Self, BindError> {
        let router = router(deps)?;
        let listener = socket::bind(path)?;
        Ok(Self { listener, path: path.to_owned(), router })
    }

    /// Serves until `shutdown` ends, then removes the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let limits = listen::Limits { connections_max: 64, ..listen::Limits::default() };
        let peer = |_: &tokio::net::unix::SocketAddr| listen::Peer(None);
        listen::serve(self.listener, self.router, limits, peer, shutdown).await;
        // A socket that stays is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What handlers share.
struct Shared {
    app: App,
    data_dir: PathBuf,
    connections: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
    start: Instant,
}

type Operator = axum::extract::State<Arc<Shared>>;

fn router(deps: Deps) -> Result<Router, BindError> {
    let shared = Shared {
        app: super::app(&deps.config, deps.api)?,
        data_dir: deps.data_dir,
        connections: deps.connections,
        start: Instant::now(),
    };
    let router = Router::new()
        .route("/admin/users", post(users::create).get(users::list))
        .route("/admin/users/batch", post(batch::users))
        .route("/admin/users/{name}", delete(users::remove))
        .route("/admin/users/{name}/password", put(users::set_password))
        .route("/admin/users/{name}/disable", post(users::disable))
        .route("/admin/users/{name}/enable", post(users::enable))
        .route("/admin/users/{name}/sessions", post(users::create_session))
        .route("/admin/relations", post(users::befriend))
        .route("/admin/relations/batch", post(batch::relations))
        .route("/admin/invites", post(operation::invite))
        .route("/admin/backup", post(operation::backup))
        .route("/admin/status", get(operation::status))
        .with_state(Arc::new(shared))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX));
    Ok(layer::wrap(router, REQUEST_TIME_MAX))
}

/// A batch of 10,000 pairs of ids.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// A backup of a large store takes long; its caller is trusted.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3600);
