//! A database server behind TLS: who asks for it gets it or nothing.

use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Command as Program, Stdio},
};

use anser_server::config::ServiceUrl;
use anser_store::mysql::{Options, check};
use rustix::process::geteuid;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::support::{
    certificates::certify,
    left_out,
    people::{PATIENCE, Person},
    port,
    server::Server,
};

/// A MariaDB that hears nobody but over TLS, with a certificate for `localhost`; ends with it.
struct Secured {
    address: SocketAddr,
    folder: tempfile::TempDir,
    _server: Child,
}

impl Secured {
    /// Starts one; `None`, with a word about it, where MariaDB is not installed.
    async fn start(test: &str) -> Option<Self> {
        if !left_out::has("mariadbd", test) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [ca, cert, key, data, begin, log, socket, pid] =
            ["ca.pem", "cert.pem", "key.pem", "data", "begin.sql", "log", "socket", "pid"]
                .map(|name| folder.path().join(name));
        certify("localhost", &[&ca, &cert, &key]);
        // One statement a line.
        let words = "CREATE DATABASE anser;\n\
                     CREATE USER anser@localhost IDENTIFIED BY 'word';\n\
                     GRANT ALL ON anser.* TO anser@localhost;\n";
        std::fs::write(&begin, words).expect("written");
        let option = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
        // It does not stay root unless it is told to.
        let root = geteuid().is_root().then_some("--user=root");
        let made = Program::new("mariadb-install-db")
            .arg("--no-defaults")
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(option("datadir", &data))
            .args(root)
            .output()
            .expect("mariadb-install-db runs");
        assert!(made.status.success(), "{made:?}");
        let address = port::free();
        let server = Command::new("mariadbd")
            .arg("--no-defaults")
            .args(["--bind-address=127.0.0.1", "--require-secure-transport=ON"])
            .arg(format!("--port={}", address.port()))
            .args([option("datadir", &data), option("init-file", &begin)])
            .args([option("socket", &socket), option("pid-file", &pid)])
            .args([option("ssl-ca", &ca), option("ssl-cert", &cert), option("ssl-key", &key)])
            .args(root)
            .stdout(Stdio::null())
            .stderr(File::create(log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("mariadbd runs");
        let secured = Self { address, folder, _server: server };
        // It listens before it knows its users.
        let starts = async { while secured.tls("localhost", "").await.is_err() {} };
        timeout(PATIENCE, starts).await.expect("it starts");
        Some(secured)
    }

    fn url(&self, host: &str, settings: &str) -> String {
        format!("mysql://anser:word@{host}:{}/anser{settings}", self.address.port())
    }

    /// What a connection is encrypted with, or why there is none.
    async fn tls(&self, host: &str, settings: &str) -> Result<Option<String>, String> {
        let checked = check(&Options::new(self.url(host, settings))).await;
        checked.map(|checked| checked.tls).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_store_is_reached_over_tls_and_not_without_where_it_is_asked_for() {
    let test = "a_store_is_reached_over_tls_and_not_without_where_it_is_asked_for";
    let Some(secured) = Secured::start(test).await else { return };
    let ca = secured.folder.path().join("ca.pem");
    let with_ca = |mode: &str| format!("?ssl-mode={mode}&ssl-ca={}", ca.display());

    for (host, settings) in [
        // Nothing said: where the server can do so.
        ("localhost", String::new()),
        ("127.0.0.1", "?ssl-mode=REQUIRED".to_owned()),
        ("127.0.0.1", with_ca("VERIFY_CA")),
        ("localhost", with_ca("VERIFY_IDENTITY")),
    ] {
        let tls = secured.tls(host, &settings).await;
        assert_eq!(tls.as_ref().map(Option::as_deref), Ok(Some("TLSv1.3")), "{settings}");
    }
    // 1045: what MariaDB says to whom comes without.
    for (host, settings, why) in [
        ("localhost", "?ssl-mode=DISABLED".to_owned(), "says 1045"),
        ("localhost", "?ssl-mode=VERIFY_CA".to_owned(), "UnknownIssuer"),
        ("127.0.0.1", with_ca("VERIFY_IDENTITY"), "not valid for name"),
    ] {
        let refused = secured.tls(host, &settings).await;
        assert!(refused.as_ref().is_err_and(|told| told.contains(why)), "{settings}: {refused:?}");
    }

    let url = ServiceUrl::new(secured.url("localhost", &with_ca("VERIFY_IDENTITY")));
    let mut server = Server::start_with(|config| config.store.url = Some(url)).await;
    let (alice, bob, conversation) = server.friends().await;
    let mut reader = Person::online(&server, &bob).await;
    let sender = Person::online(&server, &alice).await;
    sender.client.send(conversation, "in secret").expect("a place in the outbox");
    assert_eq!(reader.text().await, "in secret");
    server.stop().await;
}
