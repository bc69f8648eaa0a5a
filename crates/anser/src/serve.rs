//! `anser serve`: the server. Standard output tells where it listens, in lines that scripts can
//! read; log lines go to standard error.

use anser_server::{
    link::grpc::TlsError,
    logging,
    node::{Addresses, Node, WrongMasterKey},
    trace::NoCollector,
};
use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::{
    failure::{Failure, Result},
    global::Global,
    init, output,
};

/// Options of `anser serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What this process does: connector, transfer, api, separated by commas [default: all]
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,
    /// Address for clients, TCP and WebSocket [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    connector_listen: Option<String>,
    /// Address for REST [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS")]
    api_listen: Option<String>,
    /// Address for health and metrics [default: 127.0.0.1:7402]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Address for the other nodes of a cluster [default: 127.0.0.1:7403]
    #[arg(long, value_name = "ADDRESS")]
    link_listen: Option<String>,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// Exit status 78: the configuration is wrong; 1: an address or the data is in use, or a part
/// failed.
pub(crate) async fn run(global: &Global, args: Args) -> Result {
    let mut loader = global.loader()?;
    let flags = [
        ("--roles", "node.roles", &args.roles),
        ("--connector-listen", "connector.listen", &args.connector_listen),
        ("--api-listen", "api.listen", &args.api_listen),
        ("--ops-listen", "ops.listen", &args.ops_listen),
        ("--link-listen", "link.listen", &args.link_listen),
    ];
    for (flag, key, value) in flags {
        loader.flag(flag, key, value.as_deref()).map_err(Failure::config)?;
    }
    let config = loader.finish().map_err(Failure::config)?;
    logging::start(&config.log);
    raise_file_limit();
    if !config.node.core_dumps {
        refuse_core_dumps();
    }
    // What the server writes is its own user's only, whatever the shell's habit is.
    umask(Mode::from_raw_mode(0o077));
    let secrets = init::prepare(&config)?;
    let mut stop = Stop::listen()?;
    let node = Node::bind(config, secrets).await.map_err(|error| {
        let refused = error.is::<WrongMasterKey>() || is_unfit(&error) || is_fenced(&error);
        if refused { Failure::config(error) } else { not_bound(error) }
    })?;
    // Whoever started it may have closed the output, or reads only a part of it: it serves anyway.
    if let Err(error) = output::print(&announcement(node.addresses())) {
        warn!(%error, "standard output can not be written");
    }
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

/// The configuration names what only the start can look at.
fn is_unfit(error: &anyhow::Error) -> bool {
    error.is::<TlsError>() || error.is::<NoCollector>()
}

/// What was exported and what is half imported are not for serving.
fn is_fenced(error: &anyhow::Error) -> bool {
    use anser_store::{embedded::OpenError as Folder, mysql::OpenError as Server};
    matches!(error.downcast_ref(), Some(Folder::Exported(_) | Folder::Unfinished(_)))
        || matches!(error.downcast_ref(), Some(Server::Exported | Server::Unfinished))
}

/// An address in use is the newcomer's most frequent failure: it says what to do.
fn not_bound(error: anyhow::Error) -> Failure {
    let in_use = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::AddrInUse)
    };
    if !error.chain().any(in_use) {
        return error.into();
    }
    let advice = "stop what listens there, or choose other addresses with --connector-listen, \
                  --api-listen and --ops-listen";
    Failure::check(format!("{}; {advice}", Failure::from(error)))
}

fn announcement(addresses: &Addresses) -> String {
    let Addresses { connector, api, ops, admin } = addresses;
    let mut lines = String::new();
    if let Some(connector) = connector {
        lines += &format!("connector {connector}\n");
    }
    if let Some(api) = api {
        lines += &format!("api http://{api}\n");
    }
    lines += &format!("ops http://{ops}\n");
    if let Some(admin) = admin {
        lines += &format!("admin {}\n", admin.display());
    }
    if let Some(api) = api {
        let server = if api.port() == 7401 { "".into() } else { format!(" --server http://{api}") };
        // As this one was called: it need not be in the search path.
        let anser = std::env::args().next().unwrap_or_else(|| "anser".into());
        lines += &format!(
            "\nChat in two other terminals:\n    {anser} chat --user alice{server}\n    \
             {anser} chat --user bob{server}\nREST documentation: http://{api}/docs\n"
        );
    }
    lines + "ready\n"
}

/// What is in memory would lie readable in a file: keys, tokens, a password that is just checked.
///
/// A limit alone does not stop a program that the kernel pipes dumps to; it is there for those who
/// look at limits. And a process that may be dumped is open to its user's other processes, too.
fn refuse_core_dumps() {
    let nothing = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let refused = setrlimit(Resource::Core, nothing)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = refused {
        warn!(%error, "core dumps can not be refused");
    }
}

/// Each connection is a file: the soft limit of many systems is 1024.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files can not be raised");
    }
}
