//! The kinds of fault: their names, whom they hit, and what a machine must have for them.

use std::{collections::BTreeMap, path::Path, process::Command};

use anser_client::proto::failpoint::Failpoint;

/// Whom a fault hits. Lanes run side by side; in one lane one fault follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The server's process, disk or clock.
    Server,
    /// The network of clients, or a client's storage.
    Link,
}

impl Lane {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Link => "link",
        }
    }
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
}

impl Kind {
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
    ];

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("unknown", |(_, name)| name)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Kill
            | Self::KillAt(_)
            | Self::Pause
            | Self::DiskFull
            | Self::SyncFails
            | Self::UnsyncedLoss
            | Self::Clock
            | Self::Restore => Lane::Server,
            _ => Lane::Link,
        }
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
}

impl Machine {
    /// Looks.
    pub(super) fn look() -> Self {
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
        }
    }

    /// Why a fault can not run here, if it can not.
    pub(super) fn lacks(&self, kind: Kind) -> Option<String> {
        let needed = match kind {
            Kind::DiskFull | Kind::UnsyncedLoss => self.own_disk.clone(),
            Kind::SyncFails => self.strace.clone(),
            Kind::Clock => self.faketime.clone().map(drop),
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

fn has(tool: &str) -> Result<(), String> {
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
    fn every_kind_has_a_name_of_its_own_and_every_failpoint_a_kind() {
        for (kind, name) in Kind::ALL {
            assert_eq!((Kind::named(name), kind.name()), (Some(*kind), *name));
        }
        let failpoints = Kind::ALL.iter().filter_map(|(kind, _)| kind.failpoint());
        assert!(failpoints.eq(Failpoint::ALL.iter().map(|(_, name)| *name)));
        for (kind, name) in Kind::ALL {
            if let Some(failpoint) = kind.failpoint() {
                assert_eq!(*name, format!("kill_{failpoint}"));
            }
        }
    }
}
