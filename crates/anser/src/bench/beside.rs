//! What messages cost while files move beside them, through the same server, disk and cores: files
//! of one pair go up and come back, one after another, as fast as they can.
//!
//! Who moves files sits elsewhere, with cores of their own. Here they share those of the server and
//! of who sends messages, so their threads have the lowest priority: what is measured is what files
//! cost the server, and not what sealing them costs its neighbours.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anser_client::{Client, Content, Event, Events, Outgoing, proto::ConversationId};
use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::{runtime, sync::watch, task::JoinHandle};
use tokio_util::context::RuntimeExt as _;

use super::{
    file::{client, make_source},
    report::{Report, per_second, rounded},
    server::OwnServer,
};

/// Bytes of each file: long enough that moving is most of it.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The lowest priority that Linux knows.
const NICE: i32 = 19;

/// Files that move until they are told to end.
pub(super) struct Moving {
    elsewhere: runtime::Runtime,
    end: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<Moved>>,
}

/// What moved.
#[derive(Default)]
pub(super) struct Moved {
    bytes: u64,
    up: Duration,
    down: Duration,
}

/// The two between whom files move.
struct Pair {
    sender: Client,
    receiver: Client,
    events: Events,
    chat: ConversationId,
}

impl Moving {
    /// Starts, and waits until bytes go.
    ///
    /// # Errors
    /// A client or the disk failed.
    pub(super) async fn start(server: &OwnServer) -> anyhow::Result<Self> {
        let folder = server.clients_dir()?;
        let source = folder.join("source");
        make_source(&source, FILE_BYTES)?;
        let people = server.make_devices(2).await?;
        let chat = server.befriend(&[[people[0].user.id, people[1].user.id]]).await?[0];
        let elsewhere = elsewhere()?;
        // Their tasks begin, and stay, in the runtime that they are made in.
        let folders = ["files-sender", "files-receiver"].map(|name| folder.join(name));
        let sender = elsewhere.wrap(client(server, &people[0], &folders[0]));
        let (sender, _) = sender.await?;
        let receiver = elsewhere.wrap(client(server, &people[1], &folders[1]));
        let (receiver, events) = receiver.await?;
        let mut pair = Pair { sender, receiver, events, chat };
        let (end, mut ended) = watch::channel(false);
        let task = elsewhere.spawn(async move {
            let mut moved = Moved::default();
            // What the end cuts off does not count.
            tokio::select! {
                failed = pair.keep_moving(&source, &mut moved) => failed?,
                _ = ended.wait_for(|ended| *ended) => {}
            }
            pair.sender.shutdown().await;
            pair.receiver.shutdown().await;
            Ok(moved)
        });
        Ok(Self { elsewhere, end, task })
    }

    /// Ends. Gives what moved.
    ///
    /// # Errors
    /// It failed.
    pub(super) async fn end(self) -> anyhow::Result<Moved> {
        self.end.send_replace(true);
        let moved = self.task.await;
        // Dropped, it would wait, which a task may not.
        self.elsewhere.shutdown_background();
        moved?
    }
}

/// A runtime whose threads give way to all others.
fn elsewhere() -> std::io::Result<runtime::Runtime> {
    let give_way = || {
        if let Err(error) = setpriority_process(None, NICE) {
            eprintln!("the clients that move files have the priority of the others: {error}");
        }
    };
    runtime::Builder::new_multi_thread().enable_all().on_thread_start(give_way).build()
}

impl Pair {
    async fn keep_moving(&mut self, source: &Path, moved: &mut Moved) -> anyhow::Result<()> {
        loop {
            let started = Instant::now();
            self.sender.send_file(self.chat, Outgoing::open(source)?)?.sent().await?;
            let up = started.elapsed();
            let file = loop {
                let event = self.events.next().await.context("the client ended")?;
                if let Event::Message(message) = event
                    && let Content::File(file) = message.content
                {
                    break file;
                }
            };
            let started = Instant::now();
            self.receiver.download(&file, &mut tokio::io::sink(), |_| {}).await?;
            *moved = Moved {
                bytes: moved.bytes + FILE_BYTES,
                up: moved.up + up,
                down: moved.down + started.elapsed(),
            };
        }
    }
}

/// Adds what was measured beside files to what was measured without them.
pub(super) fn add(report: &mut Report, beside: &Report, moved: &Moved) {
    for key in ["lost", "duplicated", "out_of_order"] {
        report.set(key, report.number(key) + beside.number(key));
    }
    for key in ["sent_ms", "delivered_ms"] {
        report.set(&format!("beside_files_{key}"), beside.value(key));
    }
    let p99 = |report: &Report| report.value("delivered_ms")["p99"].as_f64().unwrap_or(0.0);
    report.set("beside_files_p99_ratio", rounded(p99(beside) / p99(report)));
    report.set("beside_files_bytes", moved.bytes);
    report.set("beside_files_upload_bytes_per_s", per_second(moved.bytes, moved.up));
    report.set("beside_files_download_bytes_per_s", per_second(moved.bytes, moved.down));
}
