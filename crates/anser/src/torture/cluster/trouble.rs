//! The lanes of faults of a cluster: its nodes, its services, and the network between them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tokio::{sync::watch, time::sleep};

use super::{
    Cluster, Nodes, Services,
    network::{Host, Network},
    outage,
    service::HEARTBEAT,
};
use crate::torture::{
    fault::{Cut, Kind, Lane},
    host,
    plan::{Due, Schedule},
    random::Random,
    run::given,
    trouble::{CLOCK_HOURS, Troubles, pause},
};

/// All is well in a lane for so long before its next fault, in milliseconds.
const NODES_PAUSE_MS: (u64, u64) = (1_000, 2_500);
const SERVICES_PAUSE_MS: (u64, u64) = (1_500, 3_000);
const NETWORK_PAUSE_MS: (u64, u64) = (1_500, 4_000);
/// A node that should have died at a failpoint gets the work of the others after this time.
const FAILPOINT_MAX: Duration = Duration::from_secs(3);
/// Time between two nodes of a rolling restart.
const NEXT_NODE: Duration = Duration::from_millis(500);
/// Hosts are kept apart so long, in milliseconds.
const CUT_MS: (u64, u64) = (1_000, 6_000);
/// One cut in so many is between one host and all others.
const CUTS_PER_ISOLATION: usize = 5;
/// Hosts that talk to each other, by what their names begin with.
const TALK: [(&str, &str); 11] = [
    ("connector", "transfer"),
    ("connector", "api"),
    ("connector", "mariadb"),
    ("connector", "rabbitmq"),
    ("connector", "redis"),
    ("transfer", "mariadb"),
    ("transfer", "rabbitmq"),
    ("transfer", "redis"),
    ("api", "mariadb"),
    ("api", "rabbitmq"),
    ("api", "redis"),
];
const ALL_ROLES: [&str; 3] = ["connector", "transfer", "api"];

/// Breaks a cluster in all its lanes at once, with kinds of fault in the order of a seed, until
/// `over`; all is mended then.
///
/// # Errors
/// It could not be broken, or not be mended.
pub(in crate::torture) async fn torture(
    cluster: &mut Cluster,
    (seed, kinds): (u64, &[Kind]),
    troubles: &Troubles,
    over: &watch::Receiver<bool>,
) -> Result<()> {
    let schedule = |lane| Schedule::of(seed, lane, kinds);
    let Cluster { network, services, nodes } = cluster;
    let nodes = break_nodes(nodes, schedule(Lane::Nodes), troubles, over.clone());
    let services = break_services(services, schedule(Lane::Services), troubles, over.clone());
    let network = break_network(network, schedule(Lane::Network), troubles, over.clone());
    tokio::try_join!(nodes, services, network)?;
    cluster.tend().await
}

/// Waits for the next fault; `None` when the run is over.
async fn next(due: Option<Due>, over: &mut watch::Receiver<bool>) -> Option<Option<Due>> {
    tokio::select! {
        biased;
        () = given(over) => None,
        () = pause(due.as_ref()) => Some(due),
    }
}

async fn break_nodes(
    nodes: &mut Nodes,
    mut schedule: Schedule,
    troubles: &Troubles,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    while let Some(due) = next(schedule.next(NODES_PAUSE_MS), &mut over).await {
        nodes.tend().await?;
        let Some(due) = due else { continue };
        let begun = match due.kind {
            Kind::RollingRestart => troubles.begin_alone(due.kind).await,
            kind => troubles.begin(kind).await,
        };
        let struck = strike(nodes, &due).await;
        if struck.with_context(|| format!("the fault {}", due.kind.name()))? {
            troubles.heal(begun);
        }
    }
    Ok(())
}

/// Gives whether it happened.
async fn strike(nodes: &mut Nodes, due: &Due) -> Result<bool> {
    let mut random = Random::of(due.seed, "fault");
    let number = match due.kind {
        Kind::Outlived | Kind::KillAt(_) => nodes.pick(&mut random, &["transfer"]),
        _ => nodes.pick(&mut random, &ALL_ROLES),
    };
    let node = &mut nodes.all[number];
    match due.kind {
        Kind::Kill => {
            node.kill().await?;
            sleep(random.millis(0, 1_000)).await;
        }
        Kind::KillAt(_) => {
            let name = due.kind.failpoint().context("a kind with a failpoint")?;
            let at = format!("{name}:{}", 1 + random.below(40));
            return die_at(nodes, number, &at).await;
        }
        Kind::Pause => {
            node.signal(Signal::STOP)?;
            sleep(outage::pause(&mut random)).await;
            node.signal(Signal::CONT)?;
        }
        Kind::Clock => {
            let hours = CLOCK_HOURS[random.below(CLOCK_HOURS.len())];
            host::set_clock(node.folder(), hours * 3_600)?;
            sleep(random.millis(1_500, 3_000)).await;
            host::set_clock(node.folder(), 0)?;
        }
        Kind::Restart => node.stop().await?,
        Kind::Outlived => {
            // RabbitMQ notices after two heartbeats.
            node.signal(Signal::STOP)?;
            sleep(2 * HEARTBEAT + random.millis(2_000, 4_000)).await;
            node.signal(Signal::CONT)?;
        }
        Kind::RollingRestart => {
            for node in &mut nodes.all {
                node.stop().await?;
                node.start(None).await?;
                sleep(NEXT_NODE).await;
            }
            return Ok(true);
        }
        other => bail!("{} is no fault of a node", other.name()),
    }
    if node.is_dead()? {
        node.start(None).await?;
    }
    Ok(true)
}

/// A node that has work dies at a failpoint. It gets the others' work when it has none.
async fn die_at(nodes: &mut Nodes, number: usize, failpoint: &str) -> Result<bool> {
    let node = &mut nodes.all[number];
    node.stop().await?;
    node.start(Some(failpoint)).await?;
    let mut died = node.dies_within(FAILPOINT_MAX).await?;
    if !died {
        let others = nodes.all.iter_mut().enumerate().filter(|(other, _)| *other != number);
        for (_, other) in others.filter(|(_, other)| other.role == "transfer") {
            other.stop().await?;
            other.start(None).await?;
        }
        died = nodes.all[number].dies_within(FAILPOINT_MAX).await?;
    }
    let node = &mut nodes.all[number];
    node.kill().await?;
    node.start(None).await?;
    Ok(died)
}

async fn break_services(
    services: &mut Services,
    mut schedule: Schedule,
    troubles: &Troubles,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    while let Some(due) = next(schedule.next(SERVICES_PAUSE_MS), &mut over).await {
        services.tend().await?;
        let Some(due) = due else { continue };
        let Kind::Service(service, harm) = due.kind else {
            bail!("{} is no fault of a service", due.kind.name());
        };
        let mut random = Random::of(due.seed, "fault");
        let begun = troubles.begin(due.kind).await;
        let struck = outage::strike(services, (service, harm), &mut random).await;
        if struck.with_context(|| format!("the fault {}", due.kind.name()))? {
            troubles.heal(begun);
        }
    }
    Ok(())
}

async fn break_network(
    network: &Network,
    mut schedule: Schedule,
    troubles: &Troubles,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    while let Some(due) = next(schedule.next(NETWORK_PAUSE_MS), &mut over).await {
        let Some(due) = due else { continue };
        let Kind::Partition(cut) = due.kind else {
            bail!("{} is no fault of the network", due.kind.name());
        };
        let mut random = Random::of(due.seed, "fault");
        let begun = troubles.begin(due.kind).await;
        part(network, cut, &mut random).await?;
        troubles.heal(begun);
    }
    Ok(())
}

async fn part(network: &Network, cut: Cut, random: &mut Random) -> Result<()> {
    let hosts = network.hosts();
    let (one, others) = if random.below(CUTS_PER_ISOLATION) == 0 {
        let one = &hosts[random.below(hosts.len())];
        (one, hosts.iter().filter(|host| host.name != one.name).collect())
    } else {
        let (from, to) = TALK[random.below(TALK.len())];
        let [from, to] = [from, to].map(|name| any(hosts, name, random));
        // In one direction it matters which of them is deaf.
        if random.below(2) == 0 { (from, vec![to]) } else { (to, vec![from]) }
    };
    network.cut(one, &others, cut)?;
    sleep(random.millis(CUT_MS.0, CUT_MS.1)).await;
    network.mend(one)
}

/// One of the hosts whose name begins so.
fn any<'a>(hosts: &'a [Host], name: &str, random: &mut Random) -> &'a Host {
    let fit: Vec<_> = hosts.iter().filter(|host| host.name.starts_with(name)).collect();
    fit[random.below(fit.len())]
}
