//! A service that the cluster stands on, as a process with its own data, ports and clock, and its
//! own disk where the machine allows it. The system's own services are not touched.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
    time::{Instant, sleep, timeout},
};

use super::{Variables, network::Host, run};
use crate::torture::{
    disk::Disk,
    fault::{Machine, Service as Kind},
    host,
};

/// A service that needs longer does not start: RabbitMQ needs some 4 s on an idle machine, and ten
/// times as long on one that has other work.
const START_MAX: Duration = Duration::from_secs(120);
/// One that was told to stop is killed after this time.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A command of RabbitMQ starts an Erlang of its own: 3 s on an idle machine, more than 30 s were
/// seen on one that compiles.
const CONTROL_MAX: Duration = Duration::from_secs(120);
/// RabbitMQ closes a connection that said nothing for two of these.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Debian's scripts, not its wrappers, which change the user and the folder.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin";

/// A service.
pub(super) struct Service {
    kind: Kind,
    pub(super) host: Host,
    folder: PathBuf,
    disk: Option<Disk>,
    address: SocketAddr,
    variables: Variables,
    child: Option<Child>,
}

impl Service {
    /// A service that does not run yet.
    ///
    /// # Errors
    /// Its folder or disk can not be made, or no port is free.
    pub(super) fn new(
        folder: &Path,
        (kind, host): (Kind, Host),
        machine: &Machine,
    ) -> Result<Self> {
        let folder = folder.join(host.name);
        fs::create_dir_all(&folder)?;
        let has_data = kind != Kind::Redis;
        let disk = match &machine.own_disk {
            Ok(()) if has_data => Some(Disk::make(&folder).context("making a disk")?),
            _ => None,
        };
        let usual = match kind {
            Kind::MariaDb => 3306,
            Kind::RabbitMq => 5672,
            Kind::Redis => 6379,
        };
        let address = host.address(usual, 0)?;
        let variables = match kind {
            Kind::MariaDb => host::own_clock(&folder, machine)?,
            Kind::RabbitMq => rabbitmq_variables(&folder, disk.as_ref(), &host, address)?,
            // It does not start with libfaketime: its allocator asks for the time.
            Kind::Redis => Vec::new(),
        };
        Ok(Self { kind, host, folder, disk, address, variables, child: None })
    }

    /// Where nodes find it.
    pub(super) fn url(&self) -> String {
        let address = self.address;
        match self.kind {
            Kind::MariaDb => format!("mysql://anser:anser@{address}/anser"),
            Kind::RabbitMq => {
                format!("amqp://guest:guest@{address}/%2f?heartbeat={}", HEARTBEAT.as_secs())
            }
            Kind::Redis => format!("redis://{address}/"),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("there is no disk to break")
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn start(&mut self) -> Result<()> {
        let command = match self.kind {
            Kind::MariaDb => self.mariadb().await?,
            Kind::RabbitMq => self.host.command(format!("{RABBITMQ}/rabbitmq-server")),
            Kind::Redis => self.redis(),
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = tokio::process::Command::from(command);
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What it starts itself gets its signals too.
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("running {command:?}"))?);
        let until = Instant::now() + START_MAX;
        while !self.answers().await {
            if let Some(end) = self.ended_by_itself()? {
                bail!(end);
            }
            if Instant::now() > until {
                bail!("{} does not start: {}", self.host.name, host::last_words(&self.log_file()));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Removes all data of a RabbitMQ that does not run.
    ///
    /// # Errors
    /// It can not be removed.
    pub(super) fn empty(&self) -> Result<()> {
        let data = self.disk()?.path().join("rabbitmq");
        fs::remove_dir_all(&data)?;
        Ok(fs::create_dir(&data)?)
    }

    async fn answers(&self) -> bool {
        let knock = async {
            match self.kind {
                // Both listen before they serve, and what was killed a moment ago may listen still.
                Kind::MariaDb => self.sql("SELECT 1").await.is_ok(),
                Kind::RabbitMq => self.greets().await.is_ok(),
                Kind::Redis => TcpStream::connect(self.address).await.is_ok(),
            }
        };
        timeout(Duration::from_secs(2), knock).await.unwrap_or(false)
    }

    /// Waits for the first byte of RabbitMQ's first frame.
    async fn greets(&self) -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        stream.read_u8().await
    }

    /// The settings are those that Anser asks for: what is answered is on the disk, in log and
    /// binary log.
    async fn mariadb(&self) -> Result<Command> {
        let data = self.disk.as_ref().map_or(&*self.folder, Disk::path).join("mysql");
        if !data.join("mysql").exists() {
            let mut install = self.host.command("mariadb-install-db");
            install.args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"]);
            install.args(user()).arg(format!("--datadir={}", data.display()));
            install.arg("--auth-root-authentication-method=normal");
            run(install, START_MAX).await?;
            // `warden` may do what the run does to it; beside it nodes can not use up all.
            fs::write(
                self.folder.join("init.sql"),
                "CREATE DATABASE IF NOT EXISTS anser;
                 CREATE USER IF NOT EXISTS anser@'%' IDENTIFIED BY 'anser';
                 GRANT ALL ON anser.* TO anser@'%';
                 CREATE USER IF NOT EXISTS warden@'%' IDENTIFIED BY 'warden';
                 GRANT ALL ON *.* TO warden@'%';\n",
            )?;
        }
        let mut command = self.host.command("mariadbd");
        let at = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        command
            .args(["--no-defaults", "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"])
            .args(["--binlog-format=ROW", "--max-connections=500", "--skip-name-resolve"])
            .args(user())
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--port={}", self.address.port()))
            .arg(at("log-bin", data.join("binlog")))
            .arg(at("datadir", data))
            .arg(at("socket", self.folder.join("socket")))
            .arg(at("pid-file", self.folder.join("pid")))
            .arg(at("init-file", self.folder.join("init.sql")));
        Ok(command)
    }

    fn redis(&self) -> Command {
        let mut command = self.host.command("redis-server");
        command
            .args(["--bind", &self.address.ip().to_string()])
            .args(["--port", &self.address.port().to_string()])
            .args(["--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.folder);
        command
    }

    /// Runs statements as the administrator of MariaDB; gives the rows.
    ///
    /// # Errors
    /// It refuses.
    pub(super) async fn sql(&self, statements: &str) -> Result<String> {
        run(self.sql_client("warden", statements), START_MAX).await
    }

    /// The client that runs statements as a user, whose password is its name.
    pub(super) fn sql_client(&self, user: &str, statements: &str) -> Command {
        let mut client = Command::new("mariadb");
        client
            .args(["--no-defaults", "--protocol=tcp"])
            .arg(format!("--user={user}"))
            .arg(format!("--password={user}"))
            .args(["--connect-timeout=5", "--skip-column-names", "--batch"])
            .arg(format!("--host={}", self.address.ip()))
            .arg(format!("--port={}", self.address.port()))
            .arg(format!("--execute={statements}"));
        client
    }

    /// Runs `rabbitmqctl`.
    ///
    /// # Errors
    /// It fails.
    pub(super) async fn control(&self, arguments: &[&str]) -> Result<String> {
        let mut control = self.host.command(format!("{RABBITMQ}/rabbitmqctl"));
        control.args(["--quiet", "--timeout", "60"]).args(arguments);
        control.envs(self.variables.iter().map(|(name, value)| (name, value)));
        run(control, CONTROL_MAX).await
    }

    /// Runs a command of Redis.
    ///
    /// # Errors
    /// It fails.
    pub(super) async fn redis_command(&self, command: &str) -> Result<String> {
        let mut client = Command::new("redis-cli");
        client.args(["-h", &self.address.ip().to_string()]);
        client.args(["-p", &self.address.port().to_string(), command]);
        run(client, START_MAX).await
    }

    /// Whether it ended although no fault asked for it, and with what words.
    ///
    /// # Errors
    /// It can not be asked.
    pub(super) fn ended_by_itself(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        let words = host::last_words(&self.log_file());
        Ok(Some(format!("{} ended by itself: {status}: {words}", self.host.name)))
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.child.as_ref().and_then(Child::id).context("the service does not run")
    }

    /// Sends a signal to it and all that it started.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id is not 0")?;
        Ok(kill_process_group(pid, signal)?)
    }

    /// kill -9.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn kill(&mut self) -> Result<()> {
        if self.child.is_some() {
            // One that has just ended by itself is as good.
            let _ = self.signal(Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            child.wait().await?;
        }
        Ok(())
    }

    /// Waits until it ends by itself, at most so long; gives whether it did.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn dies_within(&mut self, most: Duration) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(true) };
        Ok(timeout(most, child.wait()).await.is_ok())
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        if !self.dies_within(STOP_MAX).await? {
            println!("{} did not stop, and is killed", self.host.name);
        }
        self.kill().await
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.signal(Signal::KILL);
        }
        if self.kind == Kind::RabbitMq && !self.host.is_apart() {
            // Its port mapper is another process, which outlives it.
            let mut epmd = Command::new("epmd");
            let named = self.variables.iter().find(|(name, _)| name == "ERL_EPMD_PORT");
            let port = named.map_or("", |(_, port)| port);
            let _ = epmd.args(["-port", port, "-kill"]).output();
        }
    }
}

/// MariaDB wants to be told that it is run by root.
fn user() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// What RabbitMQ is told: nothing of the system's own is used. Its cookie is not on the disk that
/// breaks.
fn rabbitmq_variables(
    folder: &Path,
    disk: Option<&Disk>,
    host: &Host,
    address: SocketAddr,
) -> Result<Variables> {
    let data = disk.map_or(folder, Disk::path).join("rabbitmq");
    fs::create_dir_all(&data)?;
    let (none, advanced) = (folder.join("none"), folder.join("advanced"));
    fs::write(&none, "")?;
    // Its user comes from other hosts.
    let heartbeat = HEARTBEAT.as_secs();
    let text = format!("[{{rabbit, [{{loopback_users, []}}, {{heartbeat, {heartbeat}}}]}}].\n");
    fs::write(&advanced, text)?;
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let variables = [
        ("HOME", path(folder)),
        ("ERL_CRASH_DUMP", path(&folder.join("crash"))),
        ("ERL_EPMD_PORT", host.address(4369, 1)?.port().to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", "anser@localhost".to_owned()),
        ("RABBITMQ_NODE_IP_ADDRESS", address.ip().to_string()),
        ("RABBITMQ_NODE_PORT", address.port().to_string()),
        ("RABBITMQ_DIST_PORT", host.address(25_672, 2)?.port().to_string()),
        ("RABBITMQ_MNESIA_BASE", path(&data)),
        ("RABBITMQ_LOG_BASE", path(folder)),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path(&none)),
        ("RABBITMQ_CONF_ENV_FILE", path(&none)),
        ("RABBITMQ_CONFIG_FILE", path(&none)),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path(&advanced)),
        ("RABBITMQ_PID_FILE", path(&folder.join("pid"))),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value)).to_vec())
}
