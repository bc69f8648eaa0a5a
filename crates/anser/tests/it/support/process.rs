//! A server as a process of its own, which can be killed: ports and data are kept over a restart.

use std::{
    fs::File,
    ops::Deref,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use anser_store::Store;

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{layout, people::PATIENCE, port, site::Site};

/// A configuration for load: rates that no person types at.
pub(crate) const WITHOUT_RATE_LIMIT: [(&str, &str); 2] = [
    ("ANSER_CONNECTOR__COMMANDS_PER_SECOND", "1000000"),
    ("ANSER_CONNECTOR__COMMANDS_BURST", "1000000"),
];

/// A running server. Dropping it kills the process.
pub(crate) struct Process {
    site: Site,
    variables: Vec<(String, String)>,
    running: Option<Child>,
    /// Where it logs; on the test's own standard error when `None`.
    log: Option<PathBuf>,
    /// The server itself where `running` is a program that watches it.
    pid: Pid,
}

/// What a server says of itself before it is ready.
#[derive(Default)]
struct Said {
    connector: String,
    api: String,
    ops: String,
    admin: PathBuf,
}

impl Deref for Process {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A program that watches the server may be killed without it, and then the server would
        // stay.
        if self.running.is_some() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

impl Process {
    /// Starts on a new data folder, with variables that configure it.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let (connector, api) = (port::free(), port::free());
        let site = Site { connector, api, ops: connector, admin: PathBuf::new(), folder };
        let (variables, pid) = (variables.collect(), rustix::process::getpid());
        let mut process = Self { site, variables, running: None, log: None, pid };
        process.spawn(&[]).await;
        process
    }

    /// Changes or adds a variable for the next start.
    pub(crate) fn configure(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.into()));
    }

    /// Logs to a file in the server's folder from the next start on; gives its path.
    pub(crate) fn log_to(&mut self, file: &str) -> PathBuf {
        let path = self.site.folder().join(file);
        self.log = Some(path.clone());
        path
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it was started and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Sends a signal, and tells how the process ended by it.
    pub(crate) async fn end_by(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.running.take().expect("the server runs");
        kill_process(self.pid, signal).expect("the server can be signalled");
        let ended = timeout(PATIENCE, child.wait()).await;
        ended.expect("the server stops").expect("the process was waited for")
    }

    /// Kills it as a power cut would: it learns nothing and finishes nothing.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.running.take().expect("the server runs");
        kill_process(self.pid, Signal::KILL).expect("the server can be killed");
        let status = child.wait().await.expect("the process was waited for");
        assert!(!status.success(), "the server was killed, yet ended with {status}");
    }

    /// Starts again on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        self.spawn(&[]).await;
    }

    /// Starts again as the child of another program, such as strace.
    pub(crate) async fn start_again_under(&mut self, program: &[String]) {
        self.spawn(program).await;
    }

    /// Stops it as an operator would.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.end_by(Signal::TERM).await
    }

    /// The folder of its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.site.folder().join("data")
    }

    /// Its data, while it does not run.
    pub(crate) fn open_store(&self) -> Arc<dyn Store> {
        layout::open_folder(&self.data_dir())
    }

    async fn spawn(&mut self, program: &[String]) {
        assert!(self.running.is_none(), "one server at a time");
        let words = program.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_anser")]);
        let words: Vec<&str> = words.collect();
        let log = self.log.as_ref().map(|path| {
            let file = File::options().create(true).append(true).open(path);
            Stdio::from(file.expect("a log file"))
        });
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--connector-listen", &self.site.connector.to_string()])
            .args(["--api-listen", &self.site.api.to_string()])
            .args(["--ops-listen", "127.0.0.1:0"])
            .env("ANSER_LOG__LEVEL", "error")
            // What watches it, such as strace, reads its memory, as a user who is perhaps not root.
            .envs((!program.is_empty()).then_some(("ANSER_NODE__CORE_DUMPS", "true")))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log.unwrap_or_else(Stdio::inherit))
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let said = timeout(PATIENCE, read_until_ready(&mut child)).await.expect("it gets ready");
        self.site.connector = said.connector.parse().expect("an address");
        self.site.api = said.api.trim_start_matches("http://").parse().expect("an address");
        self.site.ops = said.ops.trim_start_matches("http://").parse().expect("an address");
        self.site.admin = said.admin;
        let pid = child.id().expect("it runs");
        let pid = if program.is_empty() { pid } else { only_child(pid) };
        let pid = i32::try_from(pid).expect("a process id");
        self.pid = Pid::from_raw(pid).expect("a process id is not 0");
        self.running = Some(child);
    }
}

async fn read_until_ready(child: &mut Child) -> Said {
    let stdout = child.stdout.take().expect("a standard output");
    let mut lines = BufReader::new(stdout).lines();
    let mut said = Said::default();
    loop {
        let line = lines.next_line().await.expect("a line");
        let line = line.expect("the server gets ready before it ends");
        match line.split_once(' ') {
            Some(("connector", address)) => said.connector = address.into(),
            Some(("api", url)) => said.api = url.into(),
            Some(("ops", url)) => said.ops = url.into(),
            Some(("admin", path)) => said.admin = path.into(),
            _ if line == "ready" => return said,
            _ => {}
        }
    }
}

fn only_child(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).expect("the kernel tells children");
    let children: Vec<&str> = children.split_whitespace().collect();
    assert_eq!(children.len(), 1, "the program runs the server and nothing else");
    children[0].parse().expect("a process id")
}
