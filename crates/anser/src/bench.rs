//! `anser bench`: Anser measured by itself, with checks: a figure of a run that lost, doubled or
//! reordered a message does not count, and the exit status says so.

mod beside;
mod connect;
mod file;
mod floor;
mod folder;
mod machine;
mod report;
mod send;
mod sender;
mod server;
mod store;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::failure::{Failure, Result};

/// Options of `anser bench`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    /// Also write the figures as JSON to this file
    #[arg(long, global = true)]
    report: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Pairs of users: one sends, the other receives, opens, checks and acks
    Send(send::Options),
    /// The embedded store alone
    Store(store::Options),
    /// Idle connections: what each costs the server
    Connect(connect::Options),
    /// One file from a client to the server and back, against plain HTTP
    File(file::Options),
    /// Part of `connect`: holds connections
    #[command(hide = true)]
    ConnectLoad(connect::LoadOptions),
}

/// How clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Frames right on TCP
    Tcp,
    /// Frames in WebSocket messages
    Ws,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// The measurement could not be made, or the run lost, doubled or reordered a message.
pub(crate) async fn run(options: &Options) -> Result {
    let mut report = match &options.what {
        What::Send(send) => send::run(send).await?,
        What::Store(store) => store::run(store).await?,
        What::File(file) => file::run(file).await?,
        What::Connect(connect) => connect::run(connect).await?,
        What::ConnectLoad(load) => {
            connect::run_load(load).await?;
            return Ok(());
        }
    };
    report.set("command", std::env::args().skip(1).collect::<Vec<_>>().join(" "));
    report.set("machine", machine::describe());
    report.set("version", env!("CARGO_PKG_VERSION"));
    report.finish(options.report.as_deref())?;
    let broken = |key: &&&str| report.number(key) != 0.0;
    match ["lost", "duplicated", "out_of_order"].iter().find(broken) {
        None => Ok(()),
        Some(what) => Err(Failure::check(format!("messages were {what}: see the report"))),
    }
}
