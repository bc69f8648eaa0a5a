//! `anser serve`: the server. Standard output tells where it listens, in lines that scripts can read;
//! log lines go to standard error.

use anser_server::{
    logging,
    node::{Addresses, Node, WrongMasterKey},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::{
    failure::{Failure, Result},
    global::Global,
    init,
};

/// Options of `anser serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Address for clients, TCP and WebSocket [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    connector_listen: Option<String>,
    /// Address for REST [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS")]
    api_listen: Option<String>,
    /// Address for health and metrics [default: 127.0.0.1:7402]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// Exit status 78: the configuration is wrong; 1: an address or the data is in use, or a part failed.
pub(crate) async fn run(global: &Global, args: Args) -> Result {
    let mut loader = global.loader()?;
    let flags = [
        ("--connector-listen", "connector.listen", &args.connector_listen),
        ("--api-listen", "api.listen", &args.api_listen),
        ("--ops-listen", "ops.listen", &args.ops_listen),
    ];
    for (flag, key, value) in flags {
        loader.flag(flag, key, value.as_deref()).map_err(Failure::config)?;
    }
    let config = loader.finish().map_err(Failure::config)?;
    logging::start(&config.log);
    raise_file_limit();
    let secrets = init::prepare(&config.node.data_dir)?;
    let mut stop = Stop::listen()?;
    let node = Node::bind(config, secrets).await.map_err(|error| {
        if error.is::<WrongMasterKey>() { Failure::config(error) } else { error.into() }
    })?;
    announce(node.addresses());
    node.run(async move { stop.asked().await }).await?;
    Ok(())
}

/// SIGTERM and Ctrl-C. The second one ends the process at once.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM"),
            _ = self.interrupt.recv() => info!("interrupted; once more to leave at once"),
        }
        if let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        {
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                // What is acked is synced: leaving now loses nothing.
                std::process::exit(130);
            });
        }
    }
}

fn announce(addresses: &Addresses) {
    println!("connector {}", addresses.connector);
    println!("api http://{}", addresses.api);
    println!("ops http://{}", addresses.ops);
    println!("admin {}", addresses.admin.display());
    println!();
    println!("Chat in two other terminals:");
    let server = if addresses.api.port() == 7401 {
        String::new()
    } else {
        format!(" --server http://{}", addresses.api)
    };
    // As this one was called: it need not be in the search path.
    let anser = std::env::args().next().unwrap_or_else(|| "anser".into());
    println!("    {anser} chat --user alice{server}");
    println!("    {anser} chat --user bob{server}");
    println!("REST documentation: http://{}/docs", addresses.api);
    println!("ready");
}

/// Each connection is a file: the soft limit of many systems is 1024.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files can not be raised");
    }
}
