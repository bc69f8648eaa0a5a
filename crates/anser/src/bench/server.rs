//! The server that is measured: a process of its own with the default configuration but for the
//! named limits, on a folder of its own; or one that runs already.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use anser_client::proto::{ConversationId, UserId, rest::admin};
use anyhow::Context as _;

use super::folder::Folder;
use crate::{admin::Admin, process::ServerProcess};

/// What differs from the default configuration, and is named in every report: one load generator is
/// thousands of users of one address, who write faster than people do.
pub(super) const SETTINGS: [(&str, &str); 4] = [
    ("ANSER_CONNECTOR__COMMANDS_PER_SECOND", "1000000"),
    ("ANSER_CONNECTOR__COMMANDS_BURST", "1000000"),
    ("ANSER_CONNECTOR__UNAUTHENTICATED_PER_ADDRESS", "20000"),
    ("ANSER_LOG__LEVEL", "warn"),
];

/// A server to measure.
pub(super) struct OwnServer {
    process: Option<ServerProcess>,
    pid: u32,
    folder: Option<Folder>,
    api: String,
    connector: SocketAddr,
    status: admin::Status,
    admin: Admin,
    /// Users that were made so far.
    made: AtomicUsize,
}

impl OwnServer {
    /// Starts one on a new folder inside `parent`.
    pub(super) async fn start(parent: Option<&Path>) -> anyhow::Result<Self> {
        let folder = Folder::create(parent)?;
        let process = ServerProcess::start(&folder.path().join("data"), None, SETTINGS).await?;
        let addresses = process.addresses().clone();
        let admin = Admin::at(&addresses.admin)?;
        Ok(Self {
            pid: process.pid(),
            process: Some(process),
            folder: Some(folder),
            api: addresses.api,
            connector: addresses.connector,
            status: admin.get("/status").await?,
            admin,
            made: AtomicUsize::new(0),
        })
    }

    /// Uses one that runs already; its process is the one that holds `socket`.
    pub(super) async fn attach(api: &str, socket: &Path) -> anyhow::Result<Self> {
        let admin = Admin::at(socket)?;
        let peer = tokio::net::UnixStream::connect(socket).await?.peer_cred()?;
        let pid = peer.pid().context("the system does not tell the server's process")?;
        let rest = anser_client::Rest::new(api)?;
        let probe = create(&admin, &[format!("probe-{}", std::process::id())]).await?;
        let connectors = rest.with_token(&probe[0].token).connectors().await?;
        let connector = connectors.connectors.first().context("the server has no connector")?;
        Ok(Self {
            process: None,
            pid: u32::try_from(pid)?,
            folder: None,
            api: api.to_owned(),
            connector: connector.tcp.parse()?,
            status: admin.get("/status").await?,
            admin,
            made: AtomicUsize::new(0),
        })
    }

    /// Whether it was started for this measurement.
    pub(super) fn is_own(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn api(&self) -> &str {
        &self.api
    }

    pub(super) fn connector(&self) -> SocketAddr {
        self.connector
    }

    pub(super) fn epoch(&self) -> &str {
        &self.status.epoch
    }

    /// Where clients with storages on disk keep them.
    pub(super) fn clients_dir(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.as_ref().context("--client-store disk needs an own server")?;
        let path = folder.path().join("clients");
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    pub(super) async fn status(&self) -> anyhow::Result<admin::Status> {
        Ok(self.admin.get("/status").await?)
    }

    /// Makes users with one device each, without password hashing.
    pub(super) async fn make_devices(
        &self,
        count: usize,
    ) -> anyhow::Result<Vec<admin::CreatedUser>> {
        let (tag, first) = (std::process::id(), self.made.fetch_add(count, Relaxed));
        let numbers = first..first + count;
        let names: Vec<_> = numbers.map(|number| format!("bench-{tag}-{number}")).collect();
        let mut devices = Vec::with_capacity(count);
        for names in names.chunks(admin::BATCH_MAX) {
            devices.extend(create(&self.admin, names).await?);
        }
        Ok(devices)
    }

    /// Makes each pair friends.
    pub(super) async fn befriend(
        &self,
        pairs: &[[UserId; 2]],
    ) -> anyhow::Result<Vec<ConversationId>> {
        let mut conversations = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(admin::BATCH_MAX) {
            let body = admin::BefriendMany { pairs: pairs.to_vec() };
            let made: admin::BefriendedMany = self.admin.post("/relations/batch", &body).await?;
            conversations.extend(made.conversations);
        }
        Ok(conversations)
    }

    /// Stops it as an operator would, and removes its data. Gives the type of the file system that
    /// the data was on.
    pub(super) async fn stop(self) -> anyhow::Result<String> {
        if let Some(process) = self.process {
            process.stop().await?;
        }
        Ok(self.folder.map_or_else(|| "unknown".to_owned(), |folder| folder.filesystem()))
    }
}

async fn create(admin: &Admin, names: &[String]) -> anyhow::Result<Vec<admin::CreatedUser>> {
    let body = admin::CreateUsers { names: names.to_vec() };
    let created: admin::CreatedUsers = admin.post("/users/batch", &body).await?;
    Ok(created.users)
}
