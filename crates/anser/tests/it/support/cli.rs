//! The binary as a person at a terminal or a script runs it.

use std::{net::SocketAddr, process::Stdio};

use anser_client::Rest;
use anser_proto::rest::Login;
use tokio::process::Command;

use super::site::{Account, Site};

const PASSWORD: &str = "of the command line";

/// A command of `user`, who reaches the server at `api`. It has no standard input.
pub(crate) fn anser(api: SocketAddr, site: &Site, command: &str, user: &str) -> Command {
    let mut anser = Command::new(env!("CARGO_BIN_EXE_anser"));
    anser
        .args([command, "--user", user, "--server"])
        .arg(format!("http://{api}"))
        .arg("--state-dir")
        .arg(site.folder().join("state"))
        .env("ANSER_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    anser
}

/// Another device of a user whom a command registered.
pub(crate) async fn log_in(site: &Site, user: &str) -> Account {
    let rest = Rest::new(&format!("http://{}", site.api)).expect("a client");
    let login = Login {
        name: user.to_owned(),
        password: PASSWORD.to_owned(),
        device_name: "test".to_owned(),
    };
    let session = rest.login(&login).await.expect("a session");
    let (user, device, token) = (session.user.id, session.device, session.token);
    Account { name: session.user.name, user, device, token }
}
