//! `anser node`: the nodes of a cluster, as they announce themselves on Redis.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use anser_client::proto::NodeId;
use anser_server::{
    config::{Config, ServiceUrl},
    directory::{self, Node, State},
    presence::redis::Redis,
};
use anyhow::Context as _;
use serde_json::json;

use crate::{
    failure::{Failure, Result},
    global::Global,
    output,
};

/// Redis answers within this time, or is away.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A first connection takes a moment.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// What `anser node` does.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Show the live nodes of the cluster
    List {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Ask nodes to finish what they have and to end
    Drain {
        /// As `anser node list` shows them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Does it.
///
/// # Errors
/// The configuration names no Redis, it does not answer, or there is no such node.
pub(crate) async fn run(global: &Global, command: Command) -> Result {
    let config = global.loader()?.finish_unserved();
    let url = config.presence.url.clone();
    let url = url.context("presence.url is not set: this server is not part of a cluster");
    let redis = connect(&config, &url.map_err(Failure::config)?)?;
    let nodes = nodes(&redis).await?;
    match command {
        Command::List { json } => output::print(&list(&nodes, json)),
        Command::Drain { names } => drain(&redis, &nodes, &names).await,
    }
}

fn connect(config: &Config, url: &ServiceUrl) -> Result<Arc<Redis>> {
    let redis = Redis::start(url.reveal(), &config.presence.name, NodeId::random());
    Ok(redis.with_context(|| format!("presence.url = {url:?}"))?)
}

async fn nodes(redis: &Redis) -> Result<Vec<Node>> {
    let answered = async {
        loop {
            if let Ok(nodes) = directory::live(redis).await {
                return nodes;
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    };
    let nodes = tokio::time::timeout(ANSWER_MAX, answered).await;
    nodes.map_err(|_| Failure::check("Redis does not answer; see presence.url"))
}

fn list(nodes: &[Node], json: bool) -> String {
    let mut text = String::new();
    if !json {
        text +=
            "NAME                      ROLES                     CONNECTIONS  STATE     ADDRESS\n";
    }
    for node in nodes {
        let roles: Vec<_> =
            node.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
        let state = match node.state {
            State::Serving => "serving",
            State::Draining | State::Left => "draining",
        };
        let address = node.tcp.as_deref().unwrap_or("-");
        if json {
            let line = json!({
                "id": node.id, "name": node.name, "roles": roles, "state": state,
                "connections": node.connections, "tcp": node.tcp, "ws": node.ws,
                "link": node.link, "version": node.version, "started_at_ms": node.started_at_ms,
            });
            text += &format!("{line}\n");
        } else {
            let (name, roles, connections) = (&node.name, roles.join(","), node.connections);
            let _ =
                writeln!(text, "{name:<25} {roles:<25} {connections:>11}  {state:<9} {address}");
        }
    }
    text
}

async fn drain(redis: &Redis, nodes: &[Node], names: &[String]) -> Result {
    let unknown = names.iter().find(|name| nodes.iter().all(|node| node.name != **name));
    if let Some(unknown) = unknown {
        return Err(Failure::check(format!("there is no node {unknown}; see anser node list")));
    }
    let named: Vec<_> = nodes.iter().filter(|node| names.contains(&node.name)).collect();
    directory::drain(redis, &named).await.context("asking them")?;
    output::print(&format!(
        "asked {} to drain; anser node list shows when they left\n",
        named.len()
    ))
}
