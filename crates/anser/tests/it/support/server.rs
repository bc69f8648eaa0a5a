//! A server inside the test's process: ports chosen by the operating system, kept over a restart.

use std::path::Path;

use anser_proto::{
    ConversationId, DeviceId, UserId,
    rest::{
        LoggedIn,
        admin::{BefriendMany, BefriendedMany, CreateSession, CreateUsers, CreatedUsers, Status},
    },
    seal::Key,
};
use anser_server::{
    config::Config,
    node::{Addresses, Node},
    secrets::{MasterKey, Secrets},
};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

/// A running server with its own data folder.
pub(crate) struct Server {
    pub(crate) addresses: Addresses,
    config: Config,
    secrets: Secrets,
    folder: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

/// A user with one device.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) token: String,
}

impl Server {
    /// Starts with the default configuration but for ports and folder.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with a changed configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.node.data_dir = folder.path().join("data");
        std::fs::create_dir(&config.node.data_dir).expect("a data folder");
        for listen in [&mut config.connector.listen, &mut config.api.listen, &mut config.ops.listen]
        {
            listen.set_port(0);
        }
        change(&mut config);
        let secrets = Secrets {
            master_key: MasterKey::new(*Key::random().bytes()),
            server_api_key: anser_server::token::mint("anser_api_"),
        };
        let node = Node::bind(config.clone(), secrets.clone()).await.expect("a node");
        let addresses = node.addresses().clone();
        config.connector.listen = addresses.connector;
        config.api.listen = addresses.api;
        config.ops.listen = addresses.ops;
        let running = Some(run(node));
        Self { addresses, config, secrets, folder, running }
    }

    /// For tests that send more than a person types.
    pub(crate) fn without_rate_limit(config: &mut Config) {
        config.connector.commands_per_second = 1_000_000;
        config.connector.commands_burst = 1_000_000;
    }

    /// Stops as on SIGTERM.
    pub(crate) async fn stop(&mut self) {
        let (stop, running) = self.running.take().expect("the server runs");
        stop.send(()).expect("the server waits for the signal");
        running.await.expect("the server did not panic").expect("the server stopped cleanly");
    }

    /// Starts again on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        let node = Node::bind(self.config.clone(), self.secrets.clone()).await.expect("a node");
        self.running = Some(run(node));
    }

    /// The folder that holds the data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The key of the server API.
    pub(crate) fn server_api_key(&self) -> &str {
        &self.secrets.server_api_key
    }

    /// Makes users with these names and one device each.
    pub(crate) async fn accounts<const N: usize>(&self, names: [&str; N]) -> [Account; N] {
        let names = names.map(str::to_owned).to_vec();
        let created: CreatedUsers = self.admin("/admin/users/batch", &CreateUsers { names }).await;
        let accounts = created.users.into_iter().map(|created| Account {
            name: created.user.name,
            user: created.user.id,
            device: created.device,
            token: created.token,
        });
        accounts.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{N} accounts"))
    }

    /// Another device of the same user.
    pub(crate) async fn device(&self, account: &Account) -> Account {
        let path = format!("/admin/users/{}/sessions", account.name);
        let body = CreateSession { device_name: "another".into() };
        let session: LoggedIn = self.admin(&path, &body).await;
        Account { device: session.device, token: session.token, ..account.clone() }
    }

    /// Makes two users friends.
    pub(crate) async fn befriend(&self, one: &Account, other: &Account) -> ConversationId {
        let pairs = vec![[one.user, other.user]];
        let made: BefriendedMany =
            self.admin("/admin/relations/batch", &BefriendMany { pairs }).await;
        made.conversations[0]
    }

    /// The server's own view of itself.
    pub(crate) async fn status(&self) -> Status {
        let answer = self.admin_client().get("http://localhost/admin/status").send().await;
        answer.expect("an answer").json().await.expect("a status")
    }

    async fn admin<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        let url = format!("http://localhost{path}");
        let answer = self.admin_client().post(url).json(body).send().await.expect("an answer");
        let text = answer.text().await.expect("a whole answer");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    fn admin_client(&self) -> reqwest::Client {
        let socket = self.addresses.admin.clone();
        reqwest::Client::builder().unix_socket(socket).build().expect("a client")
    }
}

fn run(node: Node) -> (oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>) {
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(node.run(async move {
        let _ = stopped.await;
    }));
    (stop, running)
}
