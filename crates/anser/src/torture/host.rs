//! The server under torture: a process on a disk that both can be broken and mended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anser_client::proto::rest::admin;
use anser_server::{node, secrets};
use anser_store::{
    Store,
    embedded::{Embedded, Options},
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{disk::Disk, fault::Machine, history::Recorder, history::What};
use crate::{
    admin::Admin,
    process::{Addresses, Launch, ServerProcess},
};

/// What differs from the default configuration: programs write faster than people, and dead
/// connections are to be noticed within a run of a minute.
const SETTINGS: [(&str, &str); 7] = [
    ("ANSER_CONNECTOR__COMMANDS_PER_SECOND", "10000"),
    ("ANSER_CONNECTOR__COMMANDS_BURST", "10000"),
    ("ANSER_CONNECTOR__HEARTBEAT", "2s"),
    ("ANSER_CONNECTOR__WRITE_TIMEOUT", "5s"),
    ("ANSER_API__LOGINS_PER_MINUTE", "10000"),
    ("ANSER_CONNECTOR__CONNECTIONS_PER_USER", "1000"),
    ("ANSER_LOG__LEVEL", "warn"),
];
/// A server that a fault should have ended is killed after this time.
const DEATH_MAX: Duration = Duration::from_secs(10);
/// Where a data folder has its files.
const FILES: &str = "files";
/// A start replays the journal; one that takes longer is a failure.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a broken server may be started again before the run gives up.
const STARTS_MAX: usize = 5;

/// The server and what it stands on.
pub(super) struct Host {
    folder: PathBuf,
    disk: Option<Disk>,
    data_dir: PathBuf,
    /// How many data folders there were.
    folders: usize,
    variables: Vec<(String, String)>,
    server: Option<ServerProcess>,
    addresses: Option<Addresses>,
    recorder: Recorder,
    /// Ends of the server that no fault asked for, with what it said last.
    unexpected: Vec<String>,
    backups: u64,
}

/// A backup that can be restored.
pub(super) struct Backup {
    number: u64,
    path: PathBuf,
}

impl Host {
    /// A server in `folder`, on a disk of its own where that is possible.
    ///
    /// # Errors
    /// The disk can not be made, or the server does not start.
    pub(super) async fn new(folder: &Path, machine: &Machine, recorder: Recorder) -> Result<Self> {
        let disk = match &machine.own_disk {
            Ok(()) => Some(Disk::make(folder).context("making a disk")?),
            Err(_) => None,
        };
        let mut variables = settings();
        if disk.is_some() {
            let floor = super::disk::FLOOR_BYTES.to_string();
            variables.push(("ANSER_STORE__DISK_FLOOR_BYTES".to_owned(), floor));
        }
        variables.extend(own_clock(folder, machine)?);
        let root = disk.as_ref().map_or(folder, Disk::path);
        let data_dir = root.join("data-0");
        let folder = folder.to_owned();
        let mut host = Self {
            folder,
            disk,
            data_dir,
            folders: 1,
            variables,
            server: None,
            addresses: None,
            recorder,
            unexpected: Vec::new(),
            backups: 0,
        };
        host.start(None).await?;
        Ok(host)
    }

    pub(super) fn addresses(&self) -> Result<&Addresses> {
        self.addresses.as_ref().context("the server has not told where it listens")
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("there is no disk to break")
    }

    pub(super) fn unexpected(&self) -> &[String] {
        &self.unexpected
    }

    /// Starts the server, to die at `failpoint` if one is given. One that does not come up is
    /// started again: it may have been killed at its start, or found the disk full.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn start(&mut self, failpoint: Option<&str>) -> Result<()> {
        let mut variables = self.variables.clone();
        variables.extend(failpoint.map(|at| ("ANSER_FAILPOINT".to_owned(), at.to_owned())));
        for attempt in 1.. {
            let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
            let launch = Launch {
                data_dir: &self.data_dir,
                like: self.addresses.as_ref(),
                stderr: Stdio::from(log),
            };
            let started = ServerProcess::launch(launch, variables.clone());
            match timeout(START_MAX, started).await.context("the server takes too long to start")? {
                Ok(server) => {
                    self.addresses = Some(server.addresses().clone());
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) if attempt >= STARTS_MAX => {
                    return Err(error.context(self.last_words()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        unreachable!("the loop returns")
    }

    /// Looks after the server between faults: one that ended by itself is noted and started again.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn tend(&mut self) -> Result<()> {
        let Some(server) = &mut self.server else { return self.start(None).await };
        let Some(status) = server.ended()? else { return Ok(()) };
        let end = format!("{status}: {}", self.last_words());
        println!("the server ended by itself: {end}");
        self.unexpected.push(end);
        self.start(None).await
    }

    /// kill -9.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn kill(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.kill().await?;
        }
        Ok(())
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// It did not stop in time, or not well.
    pub(super) async fn stop(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.server.as_ref().context("the server does not run")?.signal(signal)
    }

    pub(super) fn pid(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("the server does not run")?.pid())
    }

    /// Waits until the server ends, as a fault wants it to; kills it when it does not. Gives
    /// whether it ended by itself.
    ///
    /// # Errors
    /// It can not be waited for.
    pub(super) async fn dies(&mut self) -> Result<bool> {
        let Some(server) = &mut self.server else { return Ok(true) };
        let ended = timeout(DEATH_MAX, server.wait()).await.is_ok();
        self.kill().await?;
        Ok(ended)
    }

    /// Whether the server has ended.
    ///
    /// # Errors
    /// It can not be asked.
    pub(super) fn is_dead(&mut self) -> Result<bool> {
        match &mut self.server {
            Some(server) => Ok(server.ended()?.is_some()),
            None => Ok(true),
        }
    }

    /// Makes the next sync of the server fail, and waits until it ended.
    ///
    /// # Errors
    /// strace can not be run.
    pub(super) async fn fail_a_sync(&mut self) -> Result<()> {
        let mut strace = sync_breaker(self.pid()?)?;
        let by_itself = self.dies().await?;
        strace.kill().await?;
        ensure!(by_itself, "the server lives on after a sync failed");
        Ok(())
    }

    /// Sets the server's clock so many seconds off.
    ///
    /// # Errors
    /// The file that tells it can not be written.
    pub(super) fn set_clock(&self, seconds: i64) -> Result<()> {
        set_clock(&self.folder, seconds)
    }

    /// Has the server write a backup.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) async fn back_up(&mut self) -> Result<Backup> {
        self.backups += 1;
        let backup = self.backups;
        let path = self.folder.join(format!("backup-{backup}"));
        self.recorder.note(What::BackupBegun { backup });
        let admin = Admin::at(&self.addresses()?.admin)?;
        let told = admin::Backup { path: path.to_string_lossy().into_owned() };
        let _: admin::BackedUp = admin.post("/backup", &told).await?;
        self.recorder.note(What::BackupDone { backup });
        Ok(Backup { number: backup, path })
    }

    /// Replaces the data by a backup, with the operator's own command, and serves it; puts the
    /// bytes of files back beside it if that is asked for, as the guide for operators says.
    ///
    /// # Errors
    /// The backup can not be restored.
    pub(super) async fn restore(&mut self, backup: Backup, with_files: bool) -> Result<()> {
        self.kill().await?;
        let old = self.data_dir.clone();
        let root = self.disk.as_ref().map_or(&*self.folder, Disk::path);
        self.data_dir = root.join(format!("data-{}", self.folders));
        self.folders += 1;
        let restored = Command::new(std::env::current_exe()?)
            .args(["restore", "--data-dir"])
            .arg(&self.data_dir)
            .arg("--master-key")
            .arg(secrets::master_key_file(&old))
            .arg(&backup.path)
            .output()
            .await?;
        let why = String::from_utf8_lossy(&restored.stderr).into_owned();
        ensure!(restored.status.success(), "restoring a backup: {why}");
        if with_files {
            fs::rename(old.join(FILES), self.data_dir.join(FILES))?;
        }
        fs::remove_dir_all(&old)?;
        fs::remove_dir_all(&backup.path)?;
        self.start(None).await?;
        let status: admin::Status = Admin::at(&self.addresses()?.admin)?.get("/status").await?;
        let (backup, epoch) = (backup.number, status.epoch);
        self.recorder.note(What::Restored { backup, epoch, with_files });
        Ok(())
    }

    /// The store of the server, which must not run.
    ///
    /// # Errors
    /// It does not open.
    pub(super) fn store(&self) -> Result<Arc<dyn Store>> {
        let store = Embedded::open(Options::new(node::database(&self.data_dir)));
        Ok(Arc::new(store.context("opening the database of the stopped server")?))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The last line of the server's log.
    fn last_words(&self) -> String {
        last_words(&self.log_file())
    }
}

/// What a server is told beside its defaults, as variables.
pub(super) fn settings() -> Vec<(String, String)> {
    SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The variables that give a process a wall clock of its own, where that is possible.
///
/// # Errors
/// The file that tells the time can not be written.
pub(super) fn own_clock(folder: &Path, machine: &Machine) -> Result<Vec<(String, String)>> {
    let Ok(library) = &machine.faketime else { return Ok(Vec::new()) };
    set_clock(folder, 0)?;
    let file = clock_file(folder).to_string_lossy().into_owned();
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_CACHE_DURATION", "1"),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// Sets the clock of the process that has the one of this folder so many seconds off.
///
/// # Errors
/// The file that tells it can not be written.
pub(super) fn set_clock(folder: &Path, seconds: i64) -> Result<()> {
    Ok(fs::write(clock_file(folder), format!("{seconds:+}"))?)
}

fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// The last line of a log.
pub(super) fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().last().unwrap_or("it said nothing").to_owned()
}

/// Runs strace, which makes the next sync of a process fail.
///
/// # Errors
/// It can not be run.
pub(super) fn sync_breaker(pid: u32) -> Result<Child> {
    let syncs = "fdatasync,fsync,sync_file_range";
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={syncs}"), "-e"])
        .arg(format!("inject={syncs}:error=EIO:when=1"))
        .args(["-p", &pid.to_string()])
        .kill_on_drop(true)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    strace.spawn().context("running strace")
}
