//! A server as a process of its own, from this same binary: what `bench` measures and `demo` kills.

use std::{
    ffi::OsStr,
    net::{SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A server that takes longer to stop is broken: its own limit is 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server, and what it told: where it listens. Dropping it kills the process.
pub(crate) struct ServerProcess<Told = Addresses> {
    child: Child,
    pid: u32,
    addresses: Told,
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// TCP frames and WebSocket.
    pub(crate) connector: SocketAddr,
    /// The URL of REST.
    pub(crate) api: String,
    /// The administration's socket.
    pub(crate) admin: PathBuf,
}

/// An address that nobody listens on now. Its port is below those that the system gives to
/// outgoing connections: it is still free when a server comes back to it, however many clients
/// knocked.
pub(crate) fn free(ports: Range<u32>) -> String {
    let count = ports.end - ports.start;
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    let address = |step| begin.wrapping_add(step) % count + ports.start;
    let mut addresses = (0..count).map(|step| format!("127.0.0.1:{}", address(step)));
    let is_free = |address: &String| TcpListener::bind(address).is_ok();
    addresses.find(is_free).unwrap_or_else(|| "127.0.0.1:0".to_owned())
}

/// How a server is started.
pub(crate) struct Launch<'a> {
    pub(crate) data_dir: &'a Path,
    /// It listens where that one did; `None`: on ports that are free.
    pub(crate) like: Option<&'a Addresses>,
    /// Where its log goes.
    pub(crate) stderr: Stdio,
}

impl ServerProcess {
    /// Starts one on a data folder and waits until it is ready; its log goes where this process's
    /// goes.
    ///
    /// # Errors
    /// It ended before it was ready; it told why on standard error.
    pub(crate) async fn start<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        data_dir: &Path,
        like: Option<&Addresses>,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> anyhow::Result<Self> {
        Self::launch(Launch { data_dir, like, stderr: Stdio::inherit() }, variables).await
    }

    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// It ended before it was ready; it told why on standard error.
    pub(crate) async fn launch<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        launch: Launch<'_>,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> anyhow::Result<Self> {
        let Launch { data_dir, like, stderr } = launch;
        let connector =
            like.map_or_else(|| free(20_000..25_000), |like| like.connector.to_string());
        let api = like.map_or_else(|| free(25_000..30_000), |like| like.api.replace("http://", ""));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--connector-listen", &connector, "--api-listen", &api])
            .args(["--ops-listen", "127.0.0.1:0"])
            .envs(variables)
            .stderr(stderr);
        let (mut connector, mut api, mut admin) = (None, None, None);
        let ServerProcess { child, pid, addresses } = ServerProcess::ready(command).await?;
        for line in addresses {
            match line.split_once(' ') {
                Some(("connector", address)) => connector = Some(address.parse()?),
                Some(("api", url)) => api = Some(url.to_owned()),
                Some(("admin", path)) => admin = Some(PathBuf::from(path)),
                _ => {}
            }
        }
        let untold = "the server did not tell where it listens";
        let addresses = Addresses {
            connector: connector.context(untold)?,
            api: api.context(untold)?,
            admin: admin.context(untold)?,
        };
        Ok(Self { child, pid, addresses })
    }
}

impl ServerProcess<Vec<String>> {
    /// Starts one by a command that serves, and waits until it is ready; gives the lines that it
    /// told before.
    ///
    /// # Errors
    /// It ended before it was ready; it told why on standard error.
    pub(crate) async fn ready(mut command: Command) -> anyhow::Result<Self> {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the server")?;
        let pid = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("the server has a standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut told = Vec::new();
        loop {
            let line = lines.next_line().await?.context("the server ended before it was ready")?;
            if line == "ready" {
                return Ok(Self { child, pid, addresses: told });
            }
            told.push(line);
        }
    }
}

impl<Told> ServerProcess<Told> {
    pub(crate) fn addresses(&self) -> &Told {
        &self.addresses
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?).context("a process id is not 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// It did not stop in time, or not with exit status 0.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
        let status = ended.context("the server did not stop")??;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It can not be asked.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it as a power cut would: it learns nothing and finishes nothing.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(crate) async fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.child.start_kill()?;
        Ok(self.child.wait().await?)
    }
}
