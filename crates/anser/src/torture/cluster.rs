//! A cluster of this binary: connectors, transfers and apis, on a MariaDB, a RabbitMQ and a Redis
//! of its own. Each process is on a host of its own where the machine allows it.

mod network;
mod node;
mod outage;
mod service;
mod sql;
mod trouble;

use std::{path::Path, sync::Arc};

use anser_store::{
    Store,
    mysql::{Mysql, Options},
};
use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{
    client::Doors,
    fault::{Machine, Service as Kind, system},
    host,
};
use node::Node;
use service::Service;

pub(super) use network::{Network, isolated, possible};
pub(super) use trouble::torture;

/// What a cluster is started with beside its own addresses.
type Variables = Vec<(String, String)>;

/// The hosts of nodes with their role, then those of services.
const NODES: [(&str, &str); 6] = [
    ("connector-1", "connector"),
    ("connector-2", "connector"),
    ("transfer-1", "transfer"),
    ("transfer-2", "transfer"),
    ("api-1", "api"),
    ("api-2", "api"),
];
const SERVICES: [&str; 3] = ["mariadb", "rabbitmq", "redis"];

/// A cluster.
pub(super) struct Cluster {
    network: Network,
    services: Services,
    nodes: Nodes,
}

/// The services.
struct Services {
    mariadb: Service,
    rabbitmq: Service,
    redis: Service,
    /// Ends that no fault asked for.
    unexpected: Vec<String>,
}

/// The nodes.
struct Nodes {
    all: Vec<Node>,
    /// Ends that no fault asked for.
    unexpected: Vec<String>,
}

impl Cluster {
    /// Starts one in a folder.
    ///
    /// # Errors
    /// A part of it does not start.
    pub(super) async fn start(folder: &Path, machine: &Machine) -> Result<Self> {
        let names: Vec<_> = NODES.iter().map(|(name, _)| *name).chain(SERVICES).collect();
        let network = Network::make(&names, machine.own_hosts.is_ok())?;
        let services = Services::start(folder, &network, machine).await?;

        let mut variables = host::settings();
        variables.extend(services.variables()?);
        let files = folder.join("files").to_string_lossy().into_owned();
        variables.push(("ANSER_FILES__SHARED".to_owned(), "true".to_owned()));
        variables.push(("ANSER_FILES__PATH".to_owned(), files));
        if machine.own_hosts.is_ok() {
            variables.push(("ANSER_NODE__INSECURE_PUBLIC".to_owned(), "true".to_owned()));
        }
        let secrets = folder.join("secrets-of-the-cluster");
        let mut init = std::process::Command::new(std::env::current_exe()?);
        system(init.args(["init", "--cluster", "--data-dir"]).arg(&secrets))?;
        let mut all = Vec::new();
        for (name, role) in NODES {
            let host = network.host(name)?.clone();
            all.push(Node::new(folder, (host, role), &variables, machine)?);
            let copy = all.last().map(Node::data_dir).context("the node was just made")?;
            system(std::process::Command::new("cp").arg("-a").arg(&secrets).arg(copy))?;
        }
        // All at once: they find an empty database, and each may be the one that makes its tables.
        let starts = all.iter_mut().map(|node| node.start(None));
        futures_util::future::try_join_all(starts).await?;
        let nodes = Nodes { all, unexpected: Vec::new() };
        Ok(Self { network, services, nodes })
    }

    /// Where clients can knock.
    pub(super) fn doors(&self) -> Doors {
        let of = |role| self.nodes.all.iter().filter(move |node| node.role == role);
        Doors {
            connectors: of("connector").map(|node| node.connector).collect(),
            apis: of("api").map(|node| format!("http://{}", node.api)).collect(),
        }
    }

    pub(super) fn network(&self) -> Network {
        self.network.clone()
    }

    /// Starts what ended by itself, and notes it.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn tend(&mut self) -> Result<()> {
        self.services.tend().await?;
        self.nodes.tend().await
    }

    /// Stops all nodes as an operator would: what clients have under way is taken to its end.
    ///
    /// # Errors
    /// One did not stop in time, or not well.
    pub(super) async fn stop(&mut self) -> Result<()> {
        for node in &mut self.nodes.all {
            node.stop().await.with_context(|| node.host.name)?;
        }
        Ok(())
    }

    /// The store of the stopped nodes.
    ///
    /// # Errors
    /// It does not open.
    pub(super) async fn store(&self) -> Result<Arc<dyn Store>> {
        let url = self.services.mariadb.url();
        let store = Mysql::open(Options::new(url)).await;
        Ok(Arc::new(store.context("opening the database of the stopped cluster")?))
    }

    /// Ends the services; gives the ends of processes that no fault asked for.
    ///
    /// # Errors
    /// A service can not be waited for.
    pub(super) async fn end(mut self) -> Result<Vec<String>> {
        for service in self.services.each() {
            service.kill().await?;
        }
        Ok([self.nodes.unexpected, self.services.unexpected].concat())
    }
}

impl Services {
    async fn start(folder: &Path, network: &Network, machine: &Machine) -> Result<Self> {
        let new = |kind, name| Service::new(folder, (kind, network.host(name)?.clone()), machine);
        let [mariadb, rabbitmq, redis] = SERVICES;
        let mut services = Self {
            mariadb: new(Kind::MariaDb, mariadb)?,
            rabbitmq: new(Kind::RabbitMq, rabbitmq)?,
            redis: new(Kind::Redis, redis)?,
            unexpected: Vec::new(),
        };
        let starts = services.each().map(Service::start);
        futures_util::future::try_join_all(starts).await?;
        Ok(services)
    }

    fn each(&mut self) -> [&mut Service; 3] {
        [&mut self.mariadb, &mut self.rabbitmq, &mut self.redis]
    }

    fn of(&mut self, kind: Kind) -> &mut Service {
        match kind {
            Kind::MariaDb => &mut self.mariadb,
            Kind::RabbitMq => &mut self.rabbitmq,
            Kind::Redis => &mut self.redis,
        }
    }

    /// What tells nodes of them.
    fn variables(&self) -> Result<Variables> {
        let urls = [
            ("ANSER_STORE__URL", &self.mariadb),
            ("ANSER_QUEUE__URL", &self.rabbitmq),
            ("ANSER_PRESENCE__URL", &self.redis),
        ];
        Ok(urls.map(|(name, service)| (name.to_owned(), service.url())).to_vec())
    }

    async fn tend(&mut self) -> Result<()> {
        let mut ends = Vec::new();
        for service in self.each() {
            if let Some(end) = service.ended_by_itself()? {
                println!("{end}");
                ends.push(end);
                service.start().await?;
            }
        }
        self.unexpected.extend(ends);
        Ok(())
    }
}

impl Nodes {
    async fn tend(&mut self) -> Result<()> {
        for node in &mut self.all {
            if let Some(end) = node.ended_by_itself()? {
                println!("{end}");
                self.unexpected.push(end);
                node.start(None).await?;
            }
        }
        Ok(())
    }

    /// The number of a random node with one of some roles.
    fn pick(&self, random: &mut super::random::Random, roles: &[&str]) -> usize {
        let fits = |(_, node): &(usize, &Node)| roles.contains(&node.role);
        let numbers: Vec<_> =
            self.all.iter().enumerate().filter(fits).map(|(number, _)| number).collect();
        numbers[random.below(numbers.len())]
    }
}

/// Runs a command of a service; gives what it tells.
///
/// # Errors
/// It fails, or takes too long.
async fn run(command: std::process::Command, most: std::time::Duration) -> Result<String> {
    let mut command = Command::from(command);
    let done = command.kill_on_drop(true).output();
    let done = tokio::time::timeout(most, done).await;
    let done = done.with_context(|| format!("{command:?} takes too long"))??;
    let why = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}: {}", done.status, why.trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
