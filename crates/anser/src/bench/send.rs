//! `anser bench send`: pairs of users through the whole server. One of each pair sends, the other
//! receives, opens and checks every message; acks and receipts are on as in daily life.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anser_client::{
    Client, Content, Event, Events, FileStorage, MemoryStorage, Session,
    proto::{
        ConversationId,
        rest::{LoggedIn, admin::CreatedUser},
    },
};
use anyhow::{Context as _, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Transport, beside, machine,
    report::{Latencies, Report, per_second, rounded},
    sender,
    server::{OwnServer, SETTINGS},
    store,
};

/// After the last send, receivers have this long to get everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients that connect at the same time.
const CONCURRENT_OPENS: usize = 64;

/// Options of `anser bench send`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Pairs of a sender and a receiver
    #[arg(long, default_value_t = 100)]
    pub(crate) pairs: usize,
    /// Messages of one sender that are not acked yet
    #[arg(long, default_value_t = 32)]
    pub(crate) window: usize,
    /// Bytes of a text, at least 32
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Messages per second of all senders together, on a fixed timetable (open loop); as fast as
    /// the window allows when left out
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// How clients connect
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub(crate) transport: Transport,
    /// Where clients keep their state
    #[arg(long, value_enum, default_value_t = ClientStore::Memory)]
    pub(crate) client_store: ClientStore,
    /// Also measure the store alone in the same run, and tell the share of it
    #[arg(long)]
    pub(crate) with_store: bool,
    /// Measure once more while files of 256 MiB go up and come back, and tell the difference
    #[arg(long, conflicts_with = "server")]
    pub(crate) beside_files: bool,
    /// REST address of a running server to measure instead of an own one
    #[arg(long, requires = "admin_socket")]
    pub(crate) server: Option<String>,
    /// Its admin socket
    #[arg(long, requires = "server")]
    pub(crate) admin_socket: Option<PathBuf>,
    /// Folder on a real disk for the data; the current one when left out
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// Where clients keep their state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ClientStore {
    /// In memory
    Memory,
    /// In a file each, synced as a phone's or laptop's would be
    Disk,
}

/// A pair, connected.
struct Pair {
    sender: Client,
    receiver: Client,
    events: Events,
    conversation: ConversationId,
}

/// What the checks of all receivers found.
#[derive(Default)]
struct Check {
    received: u64,
    duplicated: u64,
    out_of_order: u64,
}

/// What receivers tell while they run, and when they are to end.
#[derive(Default)]
struct Progress {
    delivered: AtomicU64,
    finished: watch::Sender<bool>,
}

/// Measures and reports.
///
/// # Errors
/// The server or a client failed.
pub(super) async fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(options.size >= sender::STAMP_BYTES, "--size must be at least {}", sender::STAMP_BYTES);
    ensure!(options.pairs > 0 && options.window > 0, "--pairs and --window must be at least 1");
    let server = match (&options.server, &options.admin_socket) {
        (Some(api), Some(socket)) => OwnServer::attach(api, socket).await?,
        _ => OwnServer::start(options.dir.as_deref()).await?,
    };
    let pairs = open_pairs(&server, options).await?;
    let mut report = measure(&server, pairs, options).await?;
    if options.beside_files {
        let pairs = open_pairs(&server, options).await?;
        let moving = beside::Moving::start(&server).await?;
        let with_files = measure(&server, pairs, options).await?;
        beside::add(&mut report, &with_files, &moving.end().await?);
    }
    report.set("data_filesystem", server.stop().await?);
    if options.with_store {
        let alone = store::Options { dir: options.dir.clone(), ..store::Options::default() };
        let alone = store::run(&alone).await?;
        let share = report.number("delivered_per_s") / alone.number("store_msgs_per_s");
        report.set("share_of_store", rounded(share));
        report.merge(alone);
    }
    report.set("settings", json!(SETTINGS.map(|(key, value)| format!("{key}={value}"))));
    Ok(report)
}

async fn measure(
    server: &OwnServer,
    pairs: Vec<Pair>,
    options: &Options,
) -> anyhow::Result<Report> {
    let progress = Arc::new(Progress::default());
    let started = Instant::now();
    let (mut receivers, mut clients, mut senders) = (JoinSet::new(), Vec::new(), Vec::new());
    for (index, pair) in pairs.into_iter().enumerate() {
        receivers.spawn(receive(index, pair.events, started, progress.clone()));
        clients.extend([pair.sender.clone(), pair.receiver]);
        senders.push((pair.sender, pair.conversation));
    }
    let before = server.status().await?.store;
    let cpu_before = machine::cpu_us(server.pid());
    // Of an own server there is nothing to tell apart.
    let roles_before = (!server.is_own()).then(machine::cpu_us_by_role);
    let until = started + Duration::from_secs(options.seconds);
    let bar = spawn_bar(options.seconds, progress.clone());
    let plan = sender::Plan { size: options.size, window: options.window, started, until };
    let sent = match options.rate {
        None => sender::closed_loop(senders, plan).await?,
        Some(rate) => sender::open_loop(senders, plan, rate).await?,
    };
    let delivered = progress.delivered.load(Ordering::Relaxed);
    let took = started.elapsed();
    let cpu_us = machine::cpu_us(server.pid()) - cpu_before;
    let by_role = roles_before.map(|before| by_role(&before, delivered));
    let rss = machine::rss_bytes(server.pid());
    let after = server.status().await?.store;

    let total: u64 = sent.counts.iter().sum();
    drain(&progress, total).await;
    bar.abort();
    let (check, delivered_ms) = collect(&progress, receivers).await?;
    drop(clients);

    let commits = after.commits - before.commits;
    let mut report = Report::default();
    report.set("sent_per_s", per_second(sent.acked, took));
    report.set("delivered_per_s", per_second(delivered, took));
    report.set_latencies("sent_ms", &sent.latencies);
    report.set_latencies("delivered_ms", &delivered_ms);
    report.set("lost", total.saturating_sub(check.received));
    report.set("duplicated", check.duplicated);
    report.set("out_of_order", check.out_of_order);
    report.set("messages", total);
    report.set("server_cpu_us_per_message", rounded(cpu_us as f64 / delivered.max(1) as f64));
    if let Some(by_role) = by_role.filter(|costs| !costs.is_empty()) {
        report.set("server_cpu_us_per_message_by_role", json!(by_role));
    }
    report.set("server_rss_bytes", rss);
    report.set("commits", commits);
    report.set("syncs", after.syncs - before.syncs);
    let messages = (after.messages - before.messages) as f64;
    report.set("messages_per_commit", rounded(messages / commits.max(1) as f64));
    Ok(report)
}

/// What a delivered message cost each part of a cluster since `before`, in microseconds of CPU.
fn by_role(before: &BTreeMap<String, u64>, delivered: u64) -> BTreeMap<String, f64> {
    let used = machine::cpu_us_by_role().into_iter().map(|(role, now)| {
        let used = now.saturating_sub(before.get(&role).copied().unwrap_or(0));
        (role, rounded(used as f64 / delivered.max(1) as f64))
    });
    used.filter(|(_, cost)| *cost > 0.0).collect()
}

async fn open_pairs(server: &OwnServer, options: &Options) -> anyhow::Result<Vec<Pair>> {
    use futures_util::{StreamExt, TryStreamExt};
    let devices = server.make_devices(options.pairs * 2).await?;
    let users: Vec<_> =
        devices.chunks_exact(2).map(|pair| [pair[0].user.id, pair[1].user.id]).collect();
    let conversations = server.befriend(&users).await?;
    let opened = devices.chunks_exact(2).zip(conversations).enumerate().map(
        |(index, (pair, conversation))| async move {
            // A sender's own events are not read: the receiver is who checks.
            let (sender, _) = open(server, &pair[0], options, 2 * index, 1).await?;
            let (receiver, events) = open(server, &pair[1], options, 2 * index + 1, 65_536).await?;
            sender.online().await?;
            receiver.online().await?;
            anyhow::Ok(Pair { sender, receiver, events, conversation })
        },
    );
    futures_util::stream::iter(opened).buffered(CONCURRENT_OPENS).try_collect().await
}

async fn open(
    server: &OwnServer,
    device: &CreatedUser,
    options: &Options,
    index: usize,
    events_max: usize,
) -> anyhow::Result<(Client, Events)> {
    let session = Session::new(LoggedIn {
        user: device.user.clone(),
        device: device.device,
        token: device.token.clone(),
    });
    let builder = Client::builder(server.api())
        .connector(server.connector().to_string())
        .transport(match options.transport {
            Transport::Tcp => anser_client::Transport::Tcp,
            Transport::Ws => anser_client::Transport::WebSocket,
        })
        .events_max(events_max);
    let builder = match options.client_store {
        ClientStore::Memory => builder.storage(MemoryStorage::default().retain_messages(0)),
        ClientStore::Disk => {
            let folder = server.clients_dir()?;
            builder.storage(FileStorage::open(folder.join(format!("{index}.redb")))?)
        }
    };
    Ok(builder.open(session).await?)
}

/// Reads, opens and checks everything that one receiver gets, until sending is over and nothing
/// more comes.
async fn receive(
    index: usize,
    mut events: Events,
    started: Instant,
    progress: Arc<Progress>,
) -> anyhow::Result<(Check, Latencies)> {
    let (mut check, mut latencies) = (Check::default(), Latencies::new());
    let mut seen = sender::Seen::default();
    let mut batch = Vec::new();
    let mut finished = progress.finished.subscribe();
    loop {
        let more = tokio::select! {
            biased;
            more = events.next_batch(&mut batch) => more,
            _ = finished.wait_for(|finished| *finished) => false,
        };
        let mut delivered = 0;
        for event in batch.drain(..) {
            match event {
                Event::Message(message) => {
                    let Content::Text(text) = &message.content else {
                        anyhow::bail!("pair {index}: a body does not open: {:?}", message.content)
                    };
                    let stamp = sender::Stamp::read(text).context("a text without a stamp")?;
                    latencies.record(started.elapsed().saturating_sub(stamp.at));
                    match seen.insert(stamp.number) {
                        sender::Order::Next => {}
                        sender::Order::Again => check.duplicated += 1,
                        sender::Order::Wrong => check.out_of_order += 1,
                    }
                    delivered += 1;
                }
                Event::Lagged { missed } => anyhow::bail!("pair {index}: {missed} events missed"),
                _ => {}
            }
        }
        check.received = seen.count();
        progress.delivered.fetch_add(delivered, Ordering::Relaxed);
        if !more {
            return Ok((check, latencies));
        }
    }
}

/// Waits until receivers have got as many messages as were sent, or nothing comes any more.
async fn drain(progress: &Progress, total: u64) {
    let until = Instant::now() + DRAIN_TIMEOUT;
    while progress.delivered.load(Ordering::Relaxed) < total && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn collect(
    progress: &Progress,
    mut receivers: JoinSet<anyhow::Result<(Check, Latencies)>>,
) -> anyhow::Result<(Check, Latencies)> {
    let (mut check, mut latencies) = (Check::default(), Latencies::new());
    progress.finished.send_replace(true);
    while let Some(ended) = receivers.join_next().await {
        let (one, theirs) = ended??;
        check.received += one.received;
        check.duplicated += one.duplicated;
        check.out_of_order += one.out_of_order;
        latencies.add(&theirs);
    }
    Ok((check, latencies))
}

fn spawn_bar(seconds: u64, progress: Arc<Progress>) -> tokio::task::JoinHandle<()> {
    let style = ProgressStyle::with_template("{bar:40} {elapsed}/{len}s  {msg}");
    let bar = ProgressBar::new(seconds);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    tokio::spawn(async move {
        let mut last = 0;
        for second in 0..=seconds {
            let delivered = progress.delivered.load(Ordering::Relaxed);
            bar.set_position(second);
            bar.set_message(format!("{} delivered/s", delivered - last));
            last = delivered;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bar.finish_and_clear();
    })
}
