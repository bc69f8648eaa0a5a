//! Where a server is reached and administered, however it runs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anser_proto::{
    ConversationId, DeviceId, UserId,
    rest::{
        LoggedIn,
        admin::{
            BackedUp, Backup, BefriendMany, BefriendedMany, CreateSession, CreateUsers,
            CreatedUsers, Status,
        },
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

/// Addresses of a server and the folder that holds its data folder.
pub(crate) struct Site {
    pub(crate) connector: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) admin: PathBuf,
    pub(crate) folder: TempDir,
}

/// A user with one device.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) token: String,
}

impl Site {
    /// The folder that holds the data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes users with these names and one device each.
    pub(crate) async fn accounts<const N: usize>(&self, names: [&str; N]) -> [Account; N] {
        let names = names.map(str::to_owned).to_vec();
        let created: CreatedUsers = self.post("/admin/users/batch", &CreateUsers { names }).await;
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
        let session: LoggedIn = self.post(&path, &body).await;
        Account { device: session.device, token: session.token, ..account.clone() }
    }

    /// Makes two users friends.
    pub(crate) async fn befriend(&self, one: &Account, other: &Account) -> ConversationId {
        let pairs = vec![[one.user, other.user]];
        let made: BefriendedMany =
            self.post("/admin/relations/batch", &BefriendMany { pairs }).await;
        made.conversations[0]
    }

    /// Two friends with one device each.
    pub(crate) async fn friends(&self) -> (Account, Account, ConversationId) {
        let [alice, bob] = self.accounts(["alice", "bob"]).await;
        let chat = self.befriend(&alice, &bob).await;
        (alice, bob, chat)
    }

    /// Writes a backup to a new folder beside the data folder, and gives its path.
    pub(crate) async fn backup(&self) -> PathBuf {
        let folder = self.folder().join("backup");
        let path = folder.to_str().expect("a temporary path is text").to_owned();
        let done: BackedUp = self.post("/admin/backup", &Backup { path }).await;
        assert!(done.rows > 0, "there was something to back up");
        folder
    }

    /// The server's own view of itself.
    pub(crate) async fn status(&self) -> Status {
        let answer = self.admin_client().get("http://localhost/admin/status").send().await;
        answer.expect("an answer").json().await.expect("a status")
    }

    /// The value of one metric, 0 while it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let url = format!("http://{}/metrics", self.ops);
        let answer = reqwest::get(url).await.expect("an answer");
        let text = answer.text().await.expect("a whole answer");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Asks the admin socket for something that is not there to be read.
    pub(crate) async fn operate(&self, method: &str, path: &str, body: serde_json::Value) {
        let method = method.parse().expect("a method");
        let request = self.admin_client().request(method, format!("http://localhost{path}"));
        let answer = request.json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Posts to the admin socket.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        let url = format!("http://localhost{path}");
        let answer = self.admin_client().post(url).json(body).send().await.expect("an answer");
        let text = answer.text().await.expect("a whole answer");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    fn admin_client(&self) -> reqwest::Client {
        let socket = self.admin.clone();
        reqwest::Client::builder().unix_socket(socket).build().expect("a client")
    }
}
