//! The hosts of a cluster and the network between them.
//!
//! Where the machine allows it each host is a network namespace, linked to a bridge in the
//! namespace of the run: hosts are kept apart by packet filters in their namespaces, and nothing of
//! the machine's own network is touched. Else all hosts are the loopback address.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    failure,
    process::free,
    torture::fault::{Cut, has, system},
};

/// The tools that make hosts.
const TOOLS: [&str; 5] = ["ip", "nft", "unshare", "nsenter", "mount"];
/// Isolates a process and everything that it starts: its networks, mounts and processes end with
/// it, however it ends.
const ISOLATED: [&str; 6] =
    ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];
/// Each host of the loopback address has so many ranges of ports to choose from.
const PORTS_PER_HOST: u32 = 4;
const PORTS_PER_RANGE: u32 = 200;
/// Below those that the system gives to outgoing connections.
const PORTS_FROM: u32 = 20_000;

/// One host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: &'static str,
    number: u8,
    /// It has a network of its own.
    apart: bool,
}

impl Host {
    pub(super) fn ip(&self) -> IpAddr {
        match self.apart {
            true => Ipv4Addr::new(10, 77, 0, 10 + self.number).into(),
            false => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// An address of it: the usual port, or one that is free; `use_` tells uses of one host apart.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn address(&self, usual: u16, use_: u32) -> Result<SocketAddr> {
        if self.apart {
            return Ok((self.ip(), usual).into());
        }
        let range = PORTS_FROM
            + PORTS_PER_RANGE * (u32::from(self.number) * PORTS_PER_HOST + use_ % PORTS_PER_HOST);
        let address: SocketAddr = free(range..range + PORTS_PER_RANGE).parse()?;
        ensure!(address.port() != 0, "no port is free for {}", self.name);
        Ok(address)
    }

    /// A command that runs there.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if !self.apart {
            return Command::new(program);
        }
        // Not `ip netns exec`, which would give it mounts of its own, and keep disks busy.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    pub(super) fn is_apart(&self) -> bool {
        self.apart
    }

    fn filter(&self, rules: &str) -> Result<()> {
        let mut nft = self.command("nft");
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        let mut input = nft.stdin.take().context("nft reads")?;
        input.write_all(rules.as_bytes())?;
        drop(input);
        ensure!(nft.wait()?.success(), "nft on {}: {rules}", self.name);
        Ok(())
    }
}

/// The hosts.
#[derive(Clone, Debug, Default)]
pub(in crate::torture) struct Network {
    hosts: Vec<Host>,
}

impl Network {
    /// Makes the hosts.
    ///
    /// # Errors
    /// A tool says no.
    pub(super) fn make(names: &[&'static str], apart: bool) -> Result<Self> {
        let numbered = names.iter().zip(0..);
        let hosts: Vec<_> = numbered.map(|(name, number)| Host { name, number, apart }).collect();
        if apart {
            // The mounts are copies of the machine's: a disk of another run that stayed in here
            // could not get its power back there. And a mount of this run alone, so that no name of
            // it is left on the machine.
            let mut script = "set -e
                grep -o '/[^ ]*/anser-torture-[^ /]*/disk ' /proc/self/mounts |
                    xargs -r umount --lazy
                mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns
                ip link set lo up; ip link add hub type bridge
                ip address add 10.77.0.1/24 dev hub; ip link set hub up\n"
                .to_owned();
            for host in &hosts {
                let (name, ip) = (host.name, host.ip());
                script += &format!(
                    "ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}
                     ip link set {name} master hub up; ip -n {name} link set lo up
                     ip -n {name} address add {ip}/24 dev eth0; ip -n {name} link set eth0 up\n"
                );
            }
            system(Command::new("sh").arg("-c").arg(script)).context("making hosts")?;
            for host in &hosts {
                host.filter(
                    "table inet torture {
                        chain in { type filter hook input priority 0; }
                        chain out { type filter hook output priority 0; }
                    }",
                )?;
            }
        }
        Ok(Self { hosts })
    }

    /// The host of a name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn host(&self, name: &str) -> Result<&Host> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.with_context(|| format!("there is no host {name}"))
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A command that runs at the host of an address.
    pub(in crate::torture) fn command_at(&self, ip: IpAddr, program: &str) -> Command {
        let host = self.hosts.iter().find(|host| host.apart && host.ip() == ip);
        host.map_or_else(|| Command::new(program), |host| host.command(program))
    }

    /// Keeps a host apart from others.
    ///
    /// # Errors
    /// The filter says no.
    pub(super) fn cut(&self, one: &Host, others: &[&Host], how: Cut) -> Result<()> {
        let others: Vec<_> = others.iter().map(|other| other.ip().to_string()).collect();
        let others = others.join(", ");
        let heard = match how {
            Cut::Drop | Cut::OneWay => "drop",
            Cut::Reject => "reject",
        };
        let mut rules = format!("add rule inet torture in ip saddr {{ {others} }} {heard}\n");
        if how != Cut::OneWay {
            rules += &format!("add rule inet torture out ip daddr {{ {others} }} {heard}\n");
        }
        one.filter(&rules)
    }

    /// Undoes all that was done to a host.
    ///
    /// # Errors
    /// The filter says no.
    pub(super) fn mend(&self, one: &Host) -> Result<()> {
        one.filter("flush chain inet torture in\nflush chain inet torture out\n")
    }
}

/// Whether this machine lets hosts have networks of their own.
///
/// # Errors
/// Why not.
pub(in crate::torture) fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("a network of its own for each host needs root".to_owned());
    }
    TOOLS.iter().try_for_each(|tool| has(tool))?;
    let tried = system(Command::new("unshare").args(ISOLATED).args([
        "sh",
        "-c",
        "mount -t tmpfs tmpfs /run && ip link add hub type bridge && nft list ruleset",
    ]));
    tried.map(drop).map_err(|error| format!("namespaces can not be made: {error:#}"))
}

/// Runs this program again with the same arguments and another one, isolated. Returns only when
/// that fails.
pub(in crate::torture) fn isolated(argument: &str) -> failure::Failure {
    use std::os::unix::process::CommandExt as _;
    let own = std::env::current_exe().unwrap_or_else(|_| Path::new("anser").to_owned());
    let mut command = Command::new("unshare");
    command.args(ISOLATED).arg(own).args(std::env::args_os().skip(1)).arg(argument);
    anyhow::Error::from(command.exec()).context("running unshare").into()
}
