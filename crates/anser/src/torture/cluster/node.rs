//! A node of the cluster: this binary with one role.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{Variables, network::Host};
use crate::{
    process::ServerProcess,
    torture::{fault::Machine, host},
};

/// A node that is started while services are away tries again for so long.
const START_MAX: Duration = Duration::from_secs(60);
/// Pause between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// A node.
pub(super) struct Node {
    pub(super) host: Host,
    pub(super) role: &'static str,
    pub(super) connector: SocketAddr,
    pub(super) api: SocketAddr,
    link: SocketAddr,
    folder: PathBuf,
    variables: Variables,
    process: Option<ServerProcess<Vec<String>>>,
}

impl Node {
    /// A node that does not run yet.
    ///
    /// # Errors
    /// Its folder can not be made, or no port is free.
    pub(super) fn new(
        folder: &Path,
        (host, role): (Host, &'static str),
        variables: &Variables,
        machine: &Machine,
    ) -> Result<Self> {
        let folder = folder.join(host.name);
        fs::create_dir_all(&folder)?;
        let mut variables = variables.clone();
        variables.extend(host::own_clock(&folder, machine)?);
        Ok(Self {
            role,
            connector: host.address(7400, 0)?,
            api: host.address(7401, 1)?,
            link: host.address(7403, 2)?,
            host,
            folder,
            variables,
            process: None,
        })
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it, to die at `failpoint` if one is given. It tries again while it does not come up:
    /// what it needs may be away.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn start(&mut self, failpoint: Option<&str>) -> Result<()> {
        let began = Instant::now();
        loop {
            let started = self.launch(failpoint)?;
            let left = START_MAX.saturating_sub(began.elapsed());
            match timeout(left, ServerProcess::ready(started)).await {
                Ok(Ok(process)) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Ok(Err(_)) if began.elapsed() < START_MAX => sleep(AGAIN).await,
                _ => anyhow::bail!("{} does not start: {}", self.host.name, self.last_words()),
            }
        }
    }

    fn launch(&self, failpoint: Option<&str>) -> Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = Command::from(self.host.command(std::env::current_exe()?));
        command
            .args(["serve", "--roles", self.role, "--data-dir"])
            .arg(self.data_dir())
            .args(["--connector-listen", &self.connector.to_string()])
            .args(["--api-listen", &self.api.to_string()])
            .args(["--link-listen", &self.link.to_string()])
            .args(["--ops-listen", "127.0.0.1:0"])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(failpoint.map(|at| ("ANSER_FAILPOINT", at)))
            .stderr(Stdio::from(log));
        Ok(command)
    }

    /// Whether it ended although no fault asked for it, and with what words.
    ///
    /// # Errors
    /// It can not be asked.
    pub(super) fn ended_by_itself(&mut self) -> Result<Option<String>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some(status) = process.ended()? else { return Ok(None) };
        self.process = None;
        Ok(Some(format!("{} ended by itself: {status}: {}", self.host.name, self.last_words())))
    }

    /// Whether it does not run.
    ///
    /// # Errors
    /// It can not be asked.
    pub(super) fn is_dead(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.ended()?.is_some()),
            None => Ok(true),
        }
    }

    /// kill -9.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// It did not stop in time, or not well.
    pub(super) async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// Waits until it ends by itself, at most so long; gives whether it did.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn dies_within(&mut self, most: Duration) -> Result<bool> {
        let Some(process) = &mut self.process else { return Ok(true) };
        let ended = timeout(most, process.wait()).await.is_ok();
        if ended {
            self.process = None;
        }
        Ok(ended)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the node does not run")?.signal(signal)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn last_words(&self) -> String {
        host::last_words(&self.log_file())
    }
}
