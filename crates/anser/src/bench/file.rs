//! `anser bench file`: one file from a client to the server and back, against what plain HTTP does
//! on the same machine, disk and run: one PUT, streamed into a file and synced.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anser_client::proto::rest::admin::CreatedUser;
use anser_client::{Client, Content, Event, FileStorage, Outgoing, Session, proto::rest::LoggedIn};
use anyhow::{Context as _, ensure};
use axum::{Router, body::Body, extract::State, routing::put};
use clap::Args;
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    machine,
    report::{Report, per_second, rounded},
    server::OwnServer,
};

/// Bytes of one write of the plain server, and of one read of the plain client: as the API has it.
const BUFFER_BYTES: usize = 256 * 1024;
/// Rounds of everything; the figures are the middle ones. A disk varies by two within a minute.
const ROUNDS: usize = 3;

/// Options of `anser bench file`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Length of the file
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// Folder in which the data of the run is, on the disk to measure [default: the current one]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What a round took.
struct Took {
    upload: Duration,
    download: Duration,
    plain: Duration,
}

/// Measures.
///
/// # Errors
/// Something failed, or the file that came back is not the one that went out.
pub(super) async fn run(options: &Options) -> anyhow::Result<Report> {
    let server = OwnServer::start(options.dir.as_deref()).await?;
    let folder = server.clients_dir()?;
    let source = folder.join("source");
    make_source(&source, options.bytes)?;
    let people = server.make_devices(2).await?;
    let chat = server.befriend(&[[people[0].user.id, people[1].user.id]]).await?[0];
    let pids = [server.pid(), std::process::id()];
    let before = pids.map(machine::rss_bytes);
    let (sender, _events) = client(&server, &people[0], &folder.join("sender")).await?;
    let (receiver, mut events) = client(&server, &people[1], &folder.join("receiver")).await?;

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let plain = plain_put(&source, &folder.join("plain")).await?;
        let started = Instant::now();
        sender.send_file(chat, Outgoing::open(&source)?)?.sent().await?;
        let upload = started.elapsed();
        let file = loop {
            let event = events.next().await.context("the client ended")?;
            if let Event::Message(message) = event {
                let Content::File(file) = message.content else { anyhow::bail!("no file came") };
                break file;
            }
        };
        let saved = folder.join(format!("saved-{round}"));
        let started = Instant::now();
        // Ends with a check of every chunk and of the whole.
        receiver.save(&file, &saved, |_| {}).await?;
        let download = started.elapsed();
        ensure!(std::fs::metadata(&saved)?.len() == options.bytes, "another length came back");
        std::fs::remove_file(&saved)?;
        rounds.push(Took { upload, download, plain });
    }
    let after = pids.map(machine::peak_rss_bytes);
    sender.shutdown().await;
    receiver.shutdown().await;
    let filesystem = server.stop().await?;

    let middle = |pick: fn(&Took) -> Duration| {
        let mut all: Vec<_> = rounds.iter().map(pick).collect();
        all.sort();
        per_second(options.bytes, all[ROUNDS / 2])
    };
    let (upload, plain) = (middle(|took| took.upload), middle(|took| took.plain));
    let mut report = Report::default();
    report.set("bytes", options.bytes);
    report.set("rounds", ROUNDS);
    report.set("upload_bytes_per_s", upload);
    report.set("download_bytes_per_s", middle(|took| took.download));
    report.set("plain_http_bytes_per_s", plain);
    report.set("share_of_plain_http", rounded(upload / plain));
    let growth = |at: usize| after[at].saturating_sub(before[at]);
    let peak = serde_json::json!({ "server": growth(0), "client": growth(1) });
    report.set("peak_rss_bytes", peak);
    report.set("filesystem", filesystem);
    Ok(report)
}

/// A device of a user, with its storage on disk as a person's is.
pub(super) async fn client(
    server: &OwnServer,
    user: &CreatedUser,
    storage: &Path,
) -> anyhow::Result<(Client, anser_client::Events)> {
    let session = Session::new(LoggedIn {
        user: user.user.clone(),
        device: user.device,
        token: user.token.clone(),
    });
    let builder = Client::builder(server.api()).storage(FileStorage::open(storage)?);
    let (client, events) = builder.open(session).await?;
    client.online().await?;
    Ok((client, events))
}

/// Bytes that do not compress, should a file system try.
pub(super) fn make_source(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    let mut left = bytes;
    let mut buffer = vec![0; BUFFER_BYTES];
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        File::open("/dev/urandom")?.read_exact(&mut buffer[..now])?;
        file.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    file.sync_all()?;
    Ok(())
}

/// One PUT of the source over this machine's loopback, streamed into a file and synced.
async fn plain_put(source: &Path, target: &Path) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", put(take)).with_state(Arc::new(target.to_owned()));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let started = Instant::now();
    let answer = give(address, source).await?;
    let took = started.elapsed();
    server.abort();
    ensure!(answer.starts_with("HTTP/1.1 200"), "the plain server refused: {answer}");
    std::fs::remove_file(target)?;
    Ok(took)
}

async fn give(address: SocketAddr, source: &Path) -> anyhow::Result<String> {
    let mut file = tokio::fs::File::open(source).await?;
    let length = file.metadata().await?.len();
    let mut socket = TcpStream::connect(address).await?;
    let head = format!(
        "PUT / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        socket.write_all(&buffer[..count]).await?;
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The plain server: what comes goes into a file, and is on disk when it answers.
async fn take(State(target): State<Arc<PathBuf>>, body: Body) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = tokio::fs::File::create(&*target).await.map_err(text)?;
    file.set_max_buf_size(BUFFER_BYTES);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.map_err(|error| error.to_string())?).await.map_err(text)?;
    }
    file.flush().await.map_err(text)?;
    file.sync_data().await.map_err(text)
}
