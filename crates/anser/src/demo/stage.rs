//! What the story stands on: a server of its own as a process, and a folder that disappears.

use anser_client::{
    Change, RelationState, SavedRelation,
    proto::{ConversationId, UserId},
};
use anyhow::Context as _;
use tempfile::TempDir;

use super::{device::Plan, tunnel::Tunnel};
use crate::process::{Addresses, ServerProcess};

/// What differs from the default configuration: the burst is faster than a person writes, and a log
/// line between those of the story says that something is wrong.
const SETTINGS: [(&str, &str); 3] = [
    ("ANSER_CONNECTOR__COMMANDS_PER_SECOND", "10000"),
    ("ANSER_CONNECTOR__COMMANDS_BURST", "10000"),
    ("ANSER_LOG__LEVEL", "error"),
];

/// The server and the folder.
pub(super) struct Stage {
    folder: TempDir,
    addresses: Addresses,
    server: Option<ServerProcess>,
}

impl Stage {
    /// Starts the server on an empty folder.
    ///
    /// # Errors
    /// The folder can not be made, or the server does not start.
    pub(super) async fn build() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("anser-demo-").tempdir();
        let folder = folder.context("making a temporary folder")?;
        let server = ServerProcess::start(&folder.path().join("data"), None, SETTINGS).await?;
        let addresses = server.addresses().clone();
        Ok(Self { folder, addresses, server: Some(server) })
    }

    /// A device whose state is in the folder.
    pub(super) fn plan(&self, name: &'static str, user_name: &'static str) -> Plan<'_> {
        let file = self.folder.path().join(format!("{name}.redb"));
        Plan { name, user_name, server: &self.addresses.api, file }
    }

    /// A network to the server that breaks so many times.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn tunnel(&self, times: usize) -> anyhow::Result<Tunnel> {
        Ok(Tunnel::to(self.addresses.connector, times).await?)
    }

    /// Ends the server as a power cut would.
    ///
    /// # Errors
    /// It was not running.
    pub(super) async fn kill_server(&mut self) -> anyhow::Result<()> {
        let server = self.server.take().context("no server runs")?;
        server.kill().await?;
        Ok(())
    }

    /// Starts it again on the same data and the same addresses.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn start_server_again(&mut self) -> anyhow::Result<()> {
        let data = self.folder.path().join("data");
        self.server = Some(ServerProcess::start(&data, Some(&self.addresses), SETTINGS).await?);
        Ok(())
    }

    /// Stops the server as an operator would, and removes the folder.
    ///
    /// # Errors
    /// The server did not stop well, or the folder can not be removed.
    pub(super) async fn strike(mut self) -> anyhow::Result<()> {
        let stopped = match self.server.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        };
        let path = self.folder.path().to_owned();
        self.folder.close().with_context(|| format!("removing {}", path.display()))?;
        stopped
    }
}

/// A contact that a hostile client makes up to write where it does not belong.
pub(super) fn forged_friendship(id: ConversationId, peer: UserId) -> Change {
    Change::Relation(SavedRelation {
        id,
        peer,
        peer_name: "alice".to_owned(),
        state: RelationState::Friends as i32,
        keys: vec![[7; 32]],
    })
}
