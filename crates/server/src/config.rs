//! The resolved configuration: one struct per concern. `keys` is the table of all keys, `load`
//! reads them from file, environment and flags.

mod files;
mod keys;
mod load;
mod roles;
#[cfg(test)]
mod tests;
mod trace;

pub use files::{Bucket, Files, Secret};
pub use keys::{KEYS, Key};
pub use load::{LoadError, Loader, Setting, Source, default_text, process_environment};
pub use roles::Roles;
pub use trace::{Share, Trace};

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::proxy::TrustedProxies;

/// Everything a node needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where data and secrets are.
    pub node: Node,
    /// Long connections.
    pub connector: Connector,
    /// REST.
    pub api: Api,
    /// Health and metrics.
    pub ops: Ops,
    /// The database.
    pub store: Store,
    /// From connectors to transfers.
    pub queue: Queue,
    /// Who is connected where.
    pub presence: Presence,
    /// To the connectors.
    pub link: Link,
    /// Files that messages name.
    pub files: Files,
    /// How long things are kept.
    pub retention: Retention,
    /// Which commands are followed.
    pub trace: Trace,
    /// What is logged.
    pub log: Log,
}

impl Config {
    /// Whether other processes share its work: then nothing secret is made here.
    pub fn is_clustered(&self) -> bool {
        self.presence.url.is_some()
    }
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it does.
    pub roles: Roles,
    /// What it is called among others; its host and process id when `None`.
    pub name: Option<String>,
    /// Data, secrets and the admin socket (`admin.sock`).
    pub data_dir: PathBuf,
    /// Lets the process listen on public addresses without TLS.
    pub insecure_public: bool,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// Most time from SIGTERM to exit.
    pub shutdown_timeout: Duration,
    /// Lets the process leave a core dump and be traced by its own user.
    pub core_dumps: bool,
}

/// Long connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// TCP frames and WebSocket (`/v1/connect`) on the same port.
    pub listen: SocketAddr,
    /// `host:port` told to clients; the listening address when `None`.
    pub advertise: Option<String>,
    /// Clients ping so often.
    pub heartbeat: Duration,
    /// No Hello within this time: closed.
    pub hello_timeout: Duration,
    /// A write that takes longer ends the connection.
    pub write_timeout: Duration,
    /// Open connections of one user.
    pub connections_per_user: usize,
    /// Connections of one address that have not authenticated.
    pub unauthenticated_per_address: usize,
    /// Largest frame.
    pub frame_bytes_max: usize,
    /// Largest sealed body.
    pub body_bytes_max: usize,
    /// Sustained commands per second and session; above it the session is not read.
    pub commands_per_second: u32,
    /// Commands that may come at once.
    pub commands_burst: u32,
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Who has an invitation code.
    Invite,
    /// Nobody; accounts are made by the administrator or the server API.
    Closed,
}

/// REST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where REST listens.
    pub listen: SocketAddr,
    /// Who may register.
    pub registration: Registration,
    /// Browser origins that may call; none by default.
    pub cors_origins: Vec<String>,
    /// Largest request body.
    pub request_bytes_max: usize,
    /// Login attempts per user and per address within a minute.
    pub logins_per_minute: u32,
    /// Devices of one user.
    pub devices_per_user: usize,
    /// Relations of one user.
    pub relations_per_user: usize,
    /// Largest page of any list.
    pub page_max: usize,
}

/// Health and metrics, on a local port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ops {
    /// `/livez`, `/readyz`, `/metrics`.
    pub listen: SocketAddr,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The server that holds the data; `None`: the embedded database.
    pub url: Option<ServiceUrl>,
    /// Memory for caches and write buffers.
    pub memory_bytes: u64,
    /// Below this free space commands are refused.
    pub disk_floor_bytes: u64,
}

/// The durable queue between connectors and transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The server that keeps it; `None`: commands are committed by the process that took them.
    pub url: Option<ServiceUrl>,
    /// What its queues' names begin with.
    pub name: String,
    /// How many queues; all nodes must say the same.
    pub partitions: usize,
}

/// Who is connected where, and which nodes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The server that knows it; `None`: this process is alone, or finds out by looking.
    pub url: Option<ServiceUrl>,
    /// What its keys begin with.
    pub name: String,
}

/// How nodes that commit reach connectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where a connector hears of what was committed elsewhere.
    pub listen: SocketAddr,
    /// `host:port` told to other nodes; the listening address when `None`.
    pub advertise: Option<String>,
    /// Certificates (PEM) of who signs those of the nodes; with the next two, or none of them.
    pub tls_ca: Option<PathBuf>,
    /// This node's certificate (PEM), which both its ends of the link show.
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key: Option<PathBuf>,
}

/// A URL that may hold a password, which does not get into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// The URL of a service.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// With its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&load::without_password(&self.0))
    }
}

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Inbox entries older than this that all devices passed are pruned.
    pub inbox: Duration,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines instead of text.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            roles: Roles::ALL,
            name: None,
            data_dir: "data".into(),
            insecure_public: false,
            trusted_proxies: TrustedProxies::default(),
            shutdown_timeout: Duration::from_secs(10),
            core_dumps: false,
        }
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            advertise: None,
            heartbeat: Duration::from_secs(30),
            hello_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            connections_per_user: 16,
            unauthenticated_per_address: 50,
            frame_bytes_max: anser_proto::frame::FRAME_BYTES_MAX,
            body_bytes_max: 16 * 1024,
            commands_per_second: 20,
            commands_burst: 60,
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            registration: Registration::Open,
            cors_origins: Vec::new(),
            request_bytes_max: 64 * 1024,
            logins_per_minute: 10,
            devices_per_user: 64,
            relations_per_user: 5_000,
            page_max: 200,
        }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7402)) }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, memory_bytes: 128 * 1024 * 1024, disk_floor_bytes: 512 * 1024 * 1024 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { url: None, name: "anser".into(), partitions: 8 }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self { url: None, name: "anser".into() }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7403)),
            advertise: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { inbox: Duration::from_secs(30 * 24 * 3600) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { json: false, level: "info".into() }
    }
}
