//! `anser doctor`: checks an installation and says what to do. Each line is OK, WARN or FAIL.

mod cluster;

use std::{
    fmt, fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use anser_client::proto::rest::admin::Status;
use anser_server::{
    config::{Config, Registration, ServiceUrl},
    node,
    secrets::{self, Secrets},
};
use anser_store::{embedded, mysql};
use rustix::process::{Resource, geteuid, getrlimit};
use serde_json::json;

use crate::{
    admin::Admin,
    config::EXPORTED_MARK,
    disk,
    failure::{Failure, Result},
    global::Global,
    output,
};

/// Connections and files of the database that a small server should be able to open.
const FILES_MIN: u64 = 4096;
/// A server on this machine that does not answer within this time is none.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Free space is worth a warning at this multiple of the floor.
const FLOOR_MULTIPLE: u64 = 2;

/// Options of `anser doctor`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

struct Finding {
    verdict: Verdict,
    what: &'static str,
    text: String,
    hint: String,
}

/// Checks everything and prints it.
///
/// # Errors
/// Exit status 1: a line says FAIL.
pub(crate) async fn run(global: &Global, args: Args) -> Result {
    let mut findings = Vec::new();
    match global.load() {
        Ok(config) => check(&config, global, &mut findings).await,
        Err(failure) => {
            let hint = "correct it; `anser config default` shows every key";
            findings.push(fail("configuration", failure.to_string(), hint));
        }
    }
    let mut report = String::new();
    for finding in &findings {
        let Finding { verdict, what, text, hint } = finding;
        if args.json {
            let verdict = verdict.to_string();
            let line = json!({ "verdict": verdict, "check": what, "text": text, "hint": hint });
            report += &format!("{line}\n");
        } else {
            report += &format!("{verdict:<4} {what}: {text}\n");
            if !hint.is_empty() {
                report += &format!("       -> {hint}\n");
            }
        }
    }
    output::print(&report)?;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::check(format!("{failed} of {} checks failed", findings.len()))),
    }
}

async fn check(config: &Config, global: &Global, findings: &mut Vec<Finding>) {
    let data_dir = &config.node.data_dir;
    findings.push(ok("configuration", "every key is understood"));
    findings.push(exposure(config));
    if !data_dir.exists() {
        let text = format!("{} does not exist", data_dir.display());
        let hint = "`anser serve` makes it; or name another one with --data-dir";
        findings.push(warn("data folder", text, hint));
        return;
    }
    findings.push(permissions(data_dir));
    match &config.store.url {
        Some(url) => findings.push(store(url).await),
        None => {
            findings.push(filesystem(data_dir));
            findings.push(free_space(config));
            findings.extend(folder(data_dir));
        }
    }
    cluster::check(config, findings).await;
    findings.push(master_key(data_dir));
    findings.push(key_copy(data_dir));
    findings.push(file_limit());
    server(config, global, findings).await;
}

fn exposure(config: &Config) -> Finding {
    let what = "exposure";
    if !config.node.insecure_public {
        return ok(what, "it listens on this machine only");
    }
    let open = config.api.registration == Registration::Open;
    let text = if open {
        "other machines can reach it without TLS, and everybody may register"
    } else {
        "other machines can reach it without TLS"
    };
    let hint = "put a TLS proxy in front; set api.registration to \"invite\" or \"closed\"";
    warn(what, text, hint)
}

fn permissions(data_dir: &Path) -> Finding {
    let what = "permissions";
    let own = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o077);
    let private = [
        data_dir.to_owned(),
        secrets::master_key_file(data_dir),
        secrets::server_api_key_file(data_dir),
    ];
    for path in private.iter().filter(|path| path.exists()) {
        match own(path) {
            Ok(0) => {}
            Ok(_) => {
                let text = format!("other users of this machine can read {}", path.display());
                return fail(what, text, format!("chmod go= {}", path.display()));
            }
            Err(error) => {
                let text = format!("{}: {error}", path.display());
                return fail(what, text, "run as the user that the server runs as");
            }
        }
    }
    ok(what, "only the server's user can read the data and the secrets")
}

/// The server that holds the data.
async fn store(url: &ServiceUrl) -> Finding {
    let what = "store";
    match mysql::check(&mysql::Options::new(url.reveal())).await {
        Ok(mysql::Checked { version, tls, doubt }) => {
            let tls = tls.as_deref().unwrap_or("no TLS");
            let text = format!("{version}, {tls}");
            match doubt {
                None => ok(what, text),
                Some(doubt) => warn(what, text, doubt),
            }
        }
        Err(mysql::OpenError::Exported) => exported("in this database"),
        Err(error) => {
            fail(what, error.to_string(), "see store.url, and the settings of that server")
        }
    }
}

/// The database in the data folder, when no server has it open.
fn folder(data_dir: &Path) -> Option<Finding> {
    let (what, path) = ("store", node::database(data_dir));
    // What root makes while it looks the server's user could not open any more.
    if fs::metadata(&path).ok()?.uid() != geteuid().as_raw() {
        let text = format!("{} belongs to another user, so it was not opened", path.display());
        return Some(warn(what, text, "run as the user that the server runs as"));
    }
    match embedded::check(&path) {
        Ok(true) => Some(ok(what, "it opens")),
        Ok(false) => None,
        Err(embedded::OpenError::Locked(_)) => Some(ok(what, "a server has it open")),
        Err(embedded::OpenError::Exported(path)) => {
            Some(exported(&format!("in {}", path.display())))
        }
        Err(error) => Some(fail(what, error.to_string(), "see the log of `anser serve`")),
    }
}

fn exported(place: &str) -> Finding {
    let text = format!("the store {place} was exported and serves no more");
    let hint = "serve from the store that it was imported to, where its clients belong; or let \
                this one be a history of its own, with a reset of every device: anser new-epoch";
    fail("store", text, hint)
}

fn filesystem(data_dir: &Path) -> Finding {
    let what = "file system";
    match disk::filesystem(data_dir) {
        Ok(found) if found.in_memory => {
            let text = format!("{} is held in memory: a restart loses everything", found.kind);
            fail(what, text, "move the data folder to a disk")
        }
        Ok(found) if disk::NETWORK.contains(&found.kind.as_str()) => {
            let text = format!("{}: syncs and locks depend on another machine", found.kind);
            warn(what, text, "move the data folder to a local disk")
        }
        Ok(found) => ok(what, found.kind),
        Err(error) => fail(what, error.to_string(), "name the data folder with --data-dir"),
    }
}

fn free_space(config: &Config) -> Finding {
    let what = "free space";
    let floor = config.store.disk_floor_bytes;
    let mib = |bytes: u64| bytes >> 20;
    let hint = "make room, or lower store.disk_floor_bytes";
    match disk::free_bytes(&config.node.data_dir) {
        Err(error) => fail(what, error.to_string(), "name the data folder with --data-dir"),
        Ok(free) if free < floor => {
            let text = format!("{} MiB, below the floor: messages are refused", mib(free));
            fail(what, text, hint)
        }
        Ok(free) if free < floor.saturating_mul(FLOOR_MULTIPLE) => {
            let text = format!("{} MiB; messages are refused below {} MiB", mib(free), mib(floor));
            warn(what, text, hint)
        }
        Ok(free) => ok(what, format!("{} MiB", mib(free))),
    }
}

fn master_key(data_dir: &Path) -> Finding {
    let what = "secrets";
    match Secrets::load(data_dir) {
        Ok(_) => ok(what, "the master key and the server API key are there"),
        Err(error) => {
            let hint = "put the exported master key back; without it old messages never open again";
            fail(what, error.to_string(), hint)
        }
    }
}

fn key_copy(data_dir: &Path) -> Finding {
    let what = "key copy";
    if data_dir.join(EXPORTED_MARK).exists() {
        return ok(what, "the master key was exported");
    }
    let hint = "anser config export-key FILE, then keep FILE apart from backups";
    warn(what, "the master key was never exported: no backup can be restored without it", hint)
}

fn file_limit() -> Finding {
    let what = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < FILES_MIN => {
            let text = format!("at most {limit}, each connection takes one");
            warn(what, text, "raise it: ulimit -Hn, or LimitNOFILE= in the systemd unit")
        }
        Some(limit) => ok(what, format!("at most {limit}")),
        None => ok(what, "no limit"),
    }
}

async fn server(config: &Config, global: &Global, findings: &mut Vec<Finding>) {
    let what = "server";
    // There is a socket to ask more of only where the api is.
    if !config.node.roles.api && lives(config.ops.listen).await {
        return findings.push(ok(what, format!("it runs and answers on {}", config.ops.listen)));
    }
    let status = match Admin::of(global) {
        Ok(admin) => admin.get::<Status>("/status").await,
        Err(failure) => Err(failure),
    };
    match status {
        Ok(status) if status.version != env!("CARGO_PKG_VERSION") => {
            let text = format!("version {} runs, this is another one", status.version);
            findings.push(warn(what, text, "restart the server with this binary"));
        }
        Ok(status) => {
            findings.push(ok(what, format!("it runs, {} s since its start", status.uptime_s)));
        }
        Err(_) => {
            findings.push(warn(what, "none runs on this data folder", "anser serve"));
            findings.push(ports(config));
        }
    }
}

/// Whether an Anser answers there.
async fn lives(ops: SocketAddr) -> bool {
    let asked = async {
        let http = reqwest::Client::builder().no_proxy().build()?;
        http.get(format!("http://{ops}/livez")).send().await?.text().await
    };
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    matches!(answer, Ok(Ok(text)) if text == "alive\n")
}

fn ports(config: &Config) -> Finding {
    let what = "ports";
    for address in [config.connector.listen, config.api.listen, config.ops.listen] {
        if let Err(error) = TcpListener::bind(address) {
            let text = format!("{address}: {error}");
            return fail(what, text, "stop what listens there, or configure another address");
        }
    }
    ok(what, "the addresses are free")
}

fn ok(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, what, text: text.into(), hint: String::new() }
}

fn warn(what: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Warn, what, text: text.into(), hint: hint.into() }
}

fn fail(what: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Fail, what, text: text.into(), hint: hint.into() }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}
