//! The kinds of fault: their names, whom they hit, and what a machine must have for them.

use std::{collections::BTreeMap, path::Path, process::Command};

use anser_client::proto::failpoint::Failpoint;

use Harm::*;

/// What is tortured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One process with its data in a folder.
    Single,
    /// Several nodes on MariaDB, RabbitMQ and Redis.
    Cluster,
}

impl Layout {
    /// Its lanes.
    pub(super) const fn lanes(self) -> &'static [Lane] {
        match self {
            Self::Single => &[Lane::Server, Lane::Link],
            Self::Cluster => &[Lane::Nodes, Lane::Services, Lane::Network, Lane::Link],
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Cluster => "cluster",
        }
    }

    /// A run in which fewer commands were acked, over all of its seconds, has shown little. One
    /// process acks some 150 a second between all its faults; in a cluster something is away at
    /// nearly every moment.
    pub(super) const fn acked_per_second_min(self) -> u64 {
        match self {
            Self::Single => 0,
            Self::Cluster => 5,
        }
    }

    /// Its faults.
    pub(super) fn kinds(self) -> impl Iterator<Item = (Kind, &'static str)> {
        let hit = move |kind| self.lanes().iter().any(|lane| lane.hits(kind));
        Kind::ALL.iter().copied().filter(move |(kind, _)| hit(*kind))
    }
}

/// Whom a fault hits. Lanes run side by side; in one lane one fault follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The one server's process, disk or clock.
    Server,
    /// A process of a cluster.
    Nodes,
    /// A service that a cluster stands on.
    Services,
    /// The network between the hosts of a cluster.
    Network,
    /// The network of clients, or a client's storage.
    Link,
}

impl Lane {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Nodes => "nodes",
            Self::Services => "services",
            Self::Network => "network",
            Self::Link => "link",
        }
    }

    /// Whether its faults are of this kind.
    pub(super) fn hits(self, kind: Kind) -> bool {
        match kind {
            // In a cluster the sync is MariaDB's.
            Kind::KillAt(Kind::BEFORE_SYNC) => self == Self::Server,
            Kind::Kill | Kind::KillAt(_) | Kind::Pause | Kind::Clock => {
                matches!(self, Self::Server | Self::Nodes)
            }
            // Backups of a cluster are those of its MySQL server.
            Kind::DiskFull | Kind::SyncFails | Kind::UnsyncedLoss | Kind::Restore => {
                self == Self::Server
            }
            Kind::Restart | Kind::Outlived | Kind::RollingRestart => self == Self::Nodes,
            Kind::Service(..) => self == Self::Services,
            Kind::Partition(_) => self == Self::Network,
            _ => self == Self::Link,
        }
    }
}

/// A service that a cluster stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Service {
    MariaDb,
    RabbitMq,
    Redis,
}

/// What is done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Harm {
    /// kill -9.
    Killed,
    /// SIGSTOP for some seconds.
    Paused,
    /// SIGTERM, and started again.
    Restarted,
    /// kill -9, and everything that was not synced is gone.
    PowerCut,
    /// Its disk is filled to the last byte.
    Full,
    /// A sync fails.
    Unsynced,
    /// Its wall clock jumps.
    Misdated,
    /// Redis forgets everything.
    Flushed,
    /// RabbitMQ ends all connections: what was not settled is delivered again.
    Redelivers,
    /// RabbitMQ takes no messages, for want of memory as it believes.
    Blocked,
    /// Others lock the rows of a commit in another order.
    Deadlocked,
    /// MariaDB gives out no connection more.
    Crowded,
}

/// How two hosts are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cut {
    /// Nothing passes, and nobody is told.
    Drop,
    /// The sender is told at once.
    Reject,
    /// One of them does not hear the other, and is heard.
    OneWay,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// kill -9 at a random moment.
    Kill,
    /// Death at a failpoint.
    KillAt(usize),
    /// SIGSTOP for 1 to 30 s.
    Pause,
    /// The disk is filled, to below the floor of free space or to the last byte.
    DiskFull,
    /// The disk says that a sync failed; then what was not synced is gone, where that can be done.
    SyncFails,
    /// kill -9, and everything that was not synced is gone.
    UnsyncedLoss,
    /// The wall clock jumps by hours or days, back or forth.
    Clock,
    /// An older backup is restored.
    Restore,
    /// A connection is reset.
    Reset,
    /// A client hears nothing and is not heard, and nobody is told.
    HalfOpen,
    /// Bytes come one by one.
    Trickle,
    /// Frames come late.
    Delay,
    /// Frames come twice.
    Duplicate,
    /// A frame overtakes another.
    Reorder,
    /// The kernel destroys the server's socket of a client (`ss -K`).
    SocketKill,
    /// A client reads nothing for a while.
    SlowReader,
    /// All connections are cut at once, again and again.
    Storm,
    /// A client is wiped and installed anew.
    Wipe,
    /// A client's storage is replaced by an older copy of it.
    OldCopy,
    /// A node is stopped as an operator would, and started again.
    Restart,
    /// A transfer is stopped until RabbitMQ gave its partitions to another one, and goes on.
    Outlived,
    /// All nodes are restarted, one after another.
    RollingRestart,
    /// Something is done to a service.
    Service(Service, Harm),
    /// Two hosts are kept apart, or one from all others.
    Partition(Cut),
}

impl Kind {
    /// The failpoint that only the embedded store has.
    const BEFORE_SYNC: usize = 2;

    /// All of them, with the name that `--faults` takes.
    pub(super) const ALL: &[(Self, &str)] = &[
        (Self::Kill, "kill"),
        (Self::KillAt(0), "kill_after_number"),
        (Self::KillAt(1), "kill_before_commit"),
        (Self::KillAt(2), "kill_before_sync"),
        (Self::KillAt(3), "kill_before_ack"),
        (Self::KillAt(4), "kill_before_push"),
        (Self::Pause, "pause"),
        (Self::DiskFull, "disk_full"),
        (Self::SyncFails, "sync_fails"),
        (Self::UnsyncedLoss, "unsynced_loss"),
        (Self::Clock, "clock"),
        (Self::Restore, "restore"),
        (Self::Reset, "reset"),
        (Self::HalfOpen, "half_open"),
        (Self::Trickle, "trickle"),
        (Self::Delay, "delay"),
        (Self::Duplicate, "duplicate"),
        (Self::Reorder, "reorder"),
        (Self::SocketKill, "socket_kill"),
        (Self::SlowReader, "slow_reader"),
        (Self::Storm, "storm"),
        (Self::Wipe, "wipe"),
        (Self::OldCopy, "old_copy"),
        (Self::Restart, "restart"),
        (Self::Outlived, "outlived"),
        (Self::RollingRestart, "rolling_restart"),
        (Self::Service(Service::MariaDb, Killed), "mariadb_kill"),
        (Self::Service(Service::MariaDb, Paused), "mariadb_pause"),
        (Self::Service(Service::MariaDb, Restarted), "mariadb_restart"),
        (Self::Service(Service::MariaDb, PowerCut), "mariadb_unsynced_loss"),
        (Self::Service(Service::MariaDb, Full), "mariadb_disk_full"),
        (Self::Service(Service::MariaDb, Unsynced), "mariadb_sync_fails"),
        (Self::Service(Service::MariaDb, Misdated), "mariadb_clock"),
        (Self::Service(Service::MariaDb, Deadlocked), "mariadb_deadlocks"),
        (Self::Service(Service::MariaDb, Crowded), "mariadb_max_connections"),
        (Self::Service(Service::RabbitMq, Killed), "rabbitmq_kill"),
        (Self::Service(Service::RabbitMq, Paused), "rabbitmq_pause"),
        (Self::Service(Service::RabbitMq, Restarted), "rabbitmq_restart"),
        (Self::Service(Service::RabbitMq, PowerCut), "rabbitmq_unsynced_loss"),
        (Self::Service(Service::RabbitMq, Full), "rabbitmq_disk_full"),
        (Self::Service(Service::RabbitMq, Redelivers), "rabbitmq_redelivery"),
        (Self::Service(Service::RabbitMq, Blocked), "rabbitmq_blocked"),
        (Self::Service(Service::Redis, Killed), "redis_kill"),
        (Self::Service(Service::Redis, Paused), "redis_pause"),
        (Self::Service(Service::Redis, Restarted), "redis_restart"),
        (Self::Service(Service::Redis, Flushed), "redis_flush"),
        (Self::Partition(Cut::Drop), "partition_drop"),
        (Self::Partition(Cut::Reject), "partition_reject"),
        (Self::Partition(Cut::OneWay), "partition_one_way"),
    ];

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("unknown", |(_, name)| name)
    }

    /// The name of its failpoint, for those that have one.
    pub(super) fn failpoint(self) -> Option<&'static str> {
        let Self::KillAt(index) = self else { return None };
        Failpoint::ALL.get(index).map(|(_, name)| *name)
    }
}

/// What this machine has for the faults that need something.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// An ext4 of its own can be made and mounted, for a disk that fills or loses its power.
    pub(super) own_disk: Result<(), String>,
    /// strace can make a sync fail.
    strace: Result<(), String>,
    /// The library that gives a process another clock.
    pub(super) faketime: Result<String, String>,
    /// `ss` can destroy sockets.
    ss: Result<(), String>,
    /// Each host of a cluster has a network of its own, so that it can be kept apart from others.
    pub(super) own_hosts: Result<(), String>,
}

impl Machine {
    /// Looks. `own_hosts`: whether hosts of a cluster have networks of their own.
    pub(super) fn look(own_hosts: Result<(), String>) -> Self {
        let root = rustix::process::geteuid().is_root();
        let needs_root = |what: &str| Err(format!("{what} needs root"));
        Self {
            own_disk: match root {
                false => needs_root("an own ext4 on a loop device"),
                true => ["mkfs.ext4", "mount", "perl"].iter().try_for_each(|tool| has(tool)),
            },
            // The server is closed to other processes of its user.
            strace: if root { has("strace") } else { needs_root("making a sync fail") },
            faketime: FAKETIME.iter().find(|path| Path::new(path).exists()).map_or_else(
                || Err("libfaketime is not installed (Debian: faketime)".to_owned()),
                |path| Ok((*path).to_owned()),
            ),
            ss: if root { has("ss") } else { needs_root("ss -K") },
            own_hosts,
        }
    }

    /// Why a fault can not run here, if it can not.
    pub(super) fn lacks(&self, kind: Kind) -> Option<String> {
        let needed = match kind {
            Kind::DiskFull | Kind::UnsyncedLoss | Kind::Service(_, PowerCut | Full) => {
                self.own_disk.clone()
            }
            Kind::SyncFails | Kind::Service(_, Unsynced) => self.strace.clone(),
            Kind::Clock | Kind::Service(_, Misdated) => self.faketime.clone().map(drop),
            Kind::Partition(_) => self.own_hosts.clone(),
            Kind::SocketKill => self.ss.clone(),
            _ => Ok(()),
        };
        needed.err()
    }
}

/// The faults that run, and why the others that were asked for do not.
pub(super) fn choose(asked: &[Kind], machine: &Machine) -> (Vec<Kind>, BTreeMap<String, String>) {
    let mut skipped = BTreeMap::new();
    let runs = |kind: &Kind| match machine.lacks(*kind) {
        None => true,
        Some(why) => {
            skipped.insert(kind.name().to_owned(), why);
            false
        }
    };
    let chosen = asked.iter().copied().filter(runs).collect();
    (chosen, skipped)
}

/// Whether a program of the system is there.
pub(super) fn has(tool: &str) -> Result<(), String> {
    let found = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(tool).exists());
    if found { Ok(()) } else { Err(format!("{tool} is not installed")) }
}

/// A command of the system that has to succeed.
///
/// # Errors
/// It can not be run, or says that it failed.
pub(super) fn system(command: &mut Command) -> anyhow::Result<String> {
    let done = command.output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let why = String::from_utf8_lossy(&done.stderr).into_owned();
    anyhow::ensure!(done.status.success(), "{command:?}: {}: {}", done.status, why.trim());
    Ok(text)
}

/// Where Debian and Fedora put it.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_of_one_lane_of_a_layout() {
        for (kind, name) in Kind::ALL {
            let lanes =
                |layout: Layout| layout.lanes().iter().filter(|one| one.hits(*kind)).count();
            let (single, cluster) = (lanes(Layout::Single), lanes(Layout::Cluster));
            assert!(single <= 1 && cluster <= 1 && single + cluster > 0, "{name}");
        }
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_and_every_failpoint_a_kind() {
        for (kind, name) in Kind::ALL {
            assert_eq!(kind.name(), *name);
            assert_eq!(Kind::ALL.iter().filter(|(_, other)| other == name).count(), 1);
        }
        let failpoints = Kind::ALL.iter().filter_map(|(kind, _)| kind.failpoint());
        assert!(failpoints.eq(Failpoint::ALL.iter().map(|(_, name)| *name)));
        let before_sync = Kind::KillAt(Kind::BEFORE_SYNC);
        assert_eq!(before_sync.failpoint(), Some("before_sync"));
        for (kind, name) in Kind::ALL {
            if let Some(failpoint) = kind.failpoint() {
                assert_eq!(*name, format!("kill_{failpoint}"));
            }
        }
    }
}
