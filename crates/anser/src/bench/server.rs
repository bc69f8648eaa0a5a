//! The server that is measured: a process of its own from the same binary, with the default
//! configuration but for the named limits, on a folder of its own; or one that runs already.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anser_client::proto::{ConversationId, UserId, rest::admin};
use anyhow::{Context as _, bail, ensure};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::folder::Folder;

/// What differs from the default configuration, and is named in every report: one load generator is
/// thousands of users of one address, who write faster than people do.
pub(super) const SETTINGS: [(&str, &str); 4] = [
    ("ANSER_CONNECTOR__COMMANDS_PER_SECOND", "1000000"),
    ("ANSER_CONNECTOR__COMMANDS_BURST", "1000000"),
    ("ANSER_CONNECTOR__UNAUTHENTICATED_PER_ADDRESS", "20000"),
    ("ANSER_LOG__LEVEL", "warn"),
];
/// A server that takes longer to stop is broken.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A server to measure.
pub(super) struct OwnServer {
    child: Option<Child>,
    pid: u32,
    folder: Option<Folder>,
    api: String,
    connector: SocketAddr,
    status: admin::Status,
    http: reqwest::Client,
}

impl OwnServer {
    /// Starts one on a new folder inside `parent`.
    pub(super) async fn start(parent: Option<&Path>) -> anyhow::Result<Self> {
        let folder = Folder::create(parent)?;
        let any = "127.0.0.1:0";
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--connector-listen", any, "--api-listen", any, "--ops-listen", any])
            .envs(SETTINGS)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        let stdout = child.stdout.take().context("the server has a standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let (mut connector, mut api, mut socket) = (None, None, None);
        loop {
            let line = lines.next_line().await?.context("the server ended before it was ready")?;
            match line.split_once(' ') {
                Some(("connector", address)) => connector = Some(address.parse()?),
                Some(("api", url)) => api = Some(url.to_owned()),
                Some(("admin", path)) => socket = Some(PathBuf::from(path)),
                _ if line == "ready" => break,
                _ => {}
            }
        }
        let socket = socket.context("the server did not tell its admin socket")?;
        let pid = child.id().context("the server ended")?;
        let http = admin_client(&socket)?;
        Ok(Self {
            status: get(&http, "/admin/status").await?,
            child: Some(child),
            pid,
            folder: Some(folder),
            api: api.context("the server did not tell its REST address")?,
            connector: connector.context("the server did not tell its connector")?,
            http,
        })
    }

    /// Uses one that runs already; its process is the one that holds `socket`.
    pub(super) async fn attach(api: &str, socket: &Path) -> anyhow::Result<Self> {
        let http = admin_client(socket)?;
        let peer = tokio::net::UnixStream::connect(socket).await?.peer_cred()?;
        let pid = peer.pid().context("the system does not tell the server's process")?;
        let connectors = anser_client::Rest::new(api)?;
        let status: admin::Status = get(&http, "/admin/status").await?;
        let probe = create(&http, &[format!("probe-{}", std::process::id())]).await?;
        let connectors = connectors.with_token(&probe[0].token).connectors().await?;
        let connector = connectors.connectors.first().context("the server has no connector")?;
        Ok(Self {
            child: None,
            pid: u32::try_from(pid)?,
            folder: None,
            api: api.to_owned(),
            connector: connector.tcp.parse()?,
            status,
            http,
        })
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
        get(&self.http, "/admin/status").await
    }

    /// Makes users with one device each, without password hashing.
    pub(super) async fn make_devices(
        &self,
        count: usize,
    ) -> anyhow::Result<Vec<admin::CreatedUser>> {
        let tag = std::process::id();
        let names: Vec<_> = (0..count).map(|number| format!("bench-{tag}-{number}")).collect();
        let mut devices = Vec::with_capacity(count);
        for names in names.chunks(admin::BATCH_MAX) {
            devices.extend(create(&self.http, names).await?);
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
            let made: admin::BefriendedMany =
                post(&self.http, "/admin/relations/batch", &body).await?;
            conversations.extend(made.conversations);
        }
        Ok(conversations)
    }

    /// Stops it as an operator would, and removes its data. Gives the type of the file system that the
    /// data was on.
    pub(super) async fn stop(mut self) -> anyhow::Result<String> {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid)?);
            let pid = pid.context("a process id is not 0")?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            let ended = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await;
            let status = ended.context("the server did not stop")??;
            ensure!(status.success(), "the server ended with {status}");
        }
        Ok(self.folder.map_or_else(|| "unknown".to_owned(), |folder| folder.filesystem()))
    }
}

async fn create(http: &reqwest::Client, names: &[String]) -> anyhow::Result<Vec<admin::CreatedUser>> {
    let body = admin::CreateUsers { names: names.to_vec() };
    let created: admin::CreatedUsers = post(http, "/admin/users/batch", &body).await?;
    Ok(created.users)
}

fn admin_client(socket: &Path) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().unix_socket(socket).build()?)
}

async fn get<T: DeserializeOwned>(http: &reqwest::Client, path: &str) -> anyhow::Result<T> {
    read(http.get(format!("http://localhost{path}"))).await
}

async fn post<T: DeserializeOwned>(
    http: &reqwest::Client,
    path: &str,
    body: &impl Serialize,
) -> anyhow::Result<T> {
    read(http.post(format!("http://localhost{path}")).json(body)).await
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> anyhow::Result<T> {
    let answer = request.send().await.context("the admin socket does not answer")?;
    if !answer.status().is_success() {
        bail!("the admin socket answered {}: {}", answer.status(), answer.text().await?);
    }
    Ok(answer.json().await?)
}
