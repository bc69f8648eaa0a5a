//! `anser bench store`: the store alone, with the batches that a busy server makes.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{ConversationId, DeviceId, Seq, SessionId, UserId, wire};
use anser_server::config::ServiceUrl;
use anser_store::{
    Batch, NewDevice, NewUser, Outcome, Record, RelationAction, RelationChange, RelationOutcome,
    Store, embedded::Embedded, mysql::Mysql,
};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use prost::Message as _;

use super::{
    floor,
    folder::Folder,
    machine,
    report::{Latencies, Report, per_second, rounded},
};

/// Accounts made at the same time: enough to share syncs.
const CONCURRENT_SETUPS: usize = 256;

/// Options of `anser bench store`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which store: "embedded", in a folder of its own, or mysql://user:password@host:port/database,
    /// an empty database that is filled and stays
    #[arg(long, default_value = "embedded", value_parser = engine, value_name = "URL")]
    pub(crate) store: Engine,
    /// Tasks that commit batches, each waiting for its own
    #[arg(long, default_value_t = 1)]
    pub(crate) writers: usize,
    /// Messages per batch
    #[arg(long, default_value_t = 256)]
    pub(crate) batch: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Users, half of whom write to the other half
    #[arg(long, default_value_t = 100_000)]
    pub(crate) users: usize,
    /// Bytes of a message body
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Folder on a real disk for the data; the current one when left out
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// The stores that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The embedded one
    Embedded,
    /// One on a server
    Mysql(ServiceUrl),
}

fn engine(text: &str) -> Result<Engine, String> {
    match text {
        "embedded" => Ok(Engine::Embedded),
        url if url.starts_with("mysql://") => Ok(Engine::Mysql(ServiceUrl::new(url))),
        _ => Err("is neither embedded nor a mysql:// URL".into()),
    }
}

impl Engine {
    async fn open(&self, folder: &Folder) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Embedded => {
                let path = folder.path().join("db");
                let mut settings = anser_store::embedded::Options::new(path);
                settings.memory_bytes = anser_server::config::Store::default().memory_bytes;
                Ok(Arc::new(Embedded::open(settings)?))
            }
            Self::Mysql(url) => {
                let settings = anser_store::mysql::Options::new(url.reveal());
                Ok(Arc::new(Mysql::open(settings).await?))
            }
        }
    }
}

impl Default for Options {
    /// What `bench send --with-store` compares itself with.
    fn default() -> Self {
        Self {
            store: Engine::Embedded,
            writers: 1,
            batch: 256,
            seconds: 10,
            users: 100_000,
            size: 128,
            dir: None,
        }
    }
}

/// One sender of the plan.
#[derive(Clone, Copy)]
struct Sender {
    user: UserId,
    device: DeviceId,
    conversation: ConversationId,
    sent: Seq,
}

/// Measures and reports.
///
/// # Errors
/// The store failed, or did not apply a command.
pub(super) async fn run(options: &Options) -> anyhow::Result<Report> {
    let folder = Folder::create(options.dir.as_deref())?;
    let floor = floor::measure(folder.path(), options.batch, options.size)?;
    let store = options.store.open(&folder).await?;
    let senders = make_senders(&store, options.users / 2).await?;

    let before = store.stats();
    let share = senders.len().div_ceil(options.writers.max(1));
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let started = Instant::now();
    let cpu_before = machine::cpu_us(std::process::id());
    let writers = senders.chunks(share).map(|senders| {
        tokio::spawn(write(store.clone(), senders.to_vec(), options.clone(), until))
    });
    let mut latencies = Latencies::new();
    for writer in writers.collect::<Vec<_>>() {
        latencies.add(&writer.await??);
    }
    let took = started.elapsed();
    let cpu_us = machine::cpu_us(std::process::id()) - cpu_before;
    let after = store.stats();
    store.close().await?;

    let messages = after.messages - before.messages;
    let commits = after.commits - before.commits;
    ensure!(messages > 0, "nothing was written in {took:?}");
    let mut report = Report::default();
    report.set("store_msgs_per_s", per_second(messages, took));
    report.set("store_cpu_us_per_message", rounded(cpu_us as f64 / messages as f64));
    report.set("commits", commits);
    report.set("syncs", after.syncs - before.syncs);
    report.set("messages_per_commit", rounded(messages as f64 / commits as f64));
    report.set_latencies("commit_ms", &latencies);
    report.set("data_filesystem", folder.filesystem());
    let share = report.number("store_msgs_per_s") / floor.number("floor_msgs_per_s");
    report.merge(floor);
    report.set("share_of_floor", rounded(share));
    Ok(report)
}

async fn write(
    store: Arc<dyn Store>,
    mut senders: Vec<Sender>,
    options: Options,
    until: Instant,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    let body = Bytes::from(vec![0xa5; options.size]);
    let mut next = 0;
    while Instant::now() < until {
        let records = (0..options.batch)
            .map(|_| {
                // A prime step spreads the batch over the table like random picks would.
                next = (next + 7919) % senders.len();
                senders[next].command(&body)
            })
            .collect();
        let batch = Batch { records, now_ms: anser_server::clock::now_ms() };
        let started = Instant::now();
        let committed = store.commit(batch).await?;
        latencies.record(started.elapsed());
        let applied = committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
        ensure!(applied, "the store refused a command of the bench");
    }
    Ok(latencies)
}

impl Sender {
    fn command(&mut self, body: &Bytes) -> Record {
        self.sent += 1;
        let send =
            wire::Send { conversation: self.conversation.0, key_version: 1, ..<_>::default() };
        let kind = Some(wire::command::Kind::Send(send));
        let command = wire::Command { kind, body: body.clone() };
        Record::Command {
            user: self.user,
            device: self.device,
            session: SessionId(0),
            client_seq: self.sent,
            command: command.encode_to_vec().into(),
            once: None,
            trace: None,
        }
    }
}

async fn make_senders(store: &Arc<dyn Store>, pairs: usize) -> anyhow::Result<Vec<Sender>> {
    stream::iter(0..pairs)
        .map(|pair| make_sender(store.clone(), pair))
        .buffer_unordered(CONCURRENT_SETUPS)
        .try_collect()
        .await
}

async fn make_sender(store: Arc<dyn Store>, pair: usize) -> anyhow::Result<Sender> {
    let user = make_user(&*store, format!("a{pair}")).await?;
    let peer = make_user(&*store, format!("b{pair}")).await?;
    let device = NewDevice {
        user,
        name: "bench".into(),
        token_hash: anser_server::token::hash(&format!("token {pair}")),
        devices_max: 1,
        now_ms: 0,
    };
    let device = store.create_device(device).await?.context("a new user has no device")?;
    let change = RelationChange {
        actor: user,
        peer,
        action: RelationAction::Befriend,
        wrapped_key: vec![0; 60],
        relations_max: 10,
        now_ms: 0,
    };
    match store.change_relation(change).await? {
        RelationOutcome::Done { relation, .. } => {
            Ok(Sender { user, device, conversation: relation.id, sent: 0 })
        }
        RelationOutcome::Refused(code) => anyhow::bail!("making friends: {code}"),
    }
}

async fn make_user(store: &dyn Store, name: String) -> anyhow::Result<UserId> {
    let new = NewUser {
        id: UserId::random(),
        display_name: name.clone(),
        name,
        password_hash: None,
        system: false,
        invite: None,
        now_ms: 0,
    };
    match store.create_user(new).await? {
        anser_store::CreateUser::Created(user) => Ok(user.id),
        other => anyhow::bail!("creating a user: {other:?}"),
    }
}
