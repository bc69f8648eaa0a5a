//! `anser bench connect`: what an idle, authenticated connection costs the server.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anser_proto::{Frame, frame, wire};
use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use clap::Args;
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::{
    Transport, machine,
    report::{Report, per_second},
    server::OwnServer,
};

/// Sockets of one load process, below the usual limit of 20,000 open files.
const CONNECTIONS_PER_PROCESS: usize = 15_000;
/// Handshakes at the same time, below the default limit of unauthenticated ones per address.
const CONCURRENT_HANDSHAKES: usize = 40;
/// Most time for one connection to be set up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of `anser bench connect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    pub(crate) connections: usize,
    /// How they connect
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub(crate) transport: Transport,
    /// Folder on a real disk for the data; the current one when left out
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// Options of the hidden load process.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    /// Where to connect
    #[arg(long)]
    pub(crate) connector: SocketAddr,
    /// How
    #[arg(long, value_enum)]
    pub(crate) transport: Transport,
    /// The store's epoch, for the Hello of a new device
    #[arg(long)]
    pub(crate) epoch: String,
}

/// Measures and reports.
///
/// # Errors
/// The server or a connection failed.
pub(super) async fn run(options: &Options) -> anyhow::Result<Report> {
    let server = OwnServer::start(options.dir.as_deref()).await?;
    let devices = server.make_devices(options.connections).await?;
    let before = machine::rss_bytes(server.pid());
    let started = Instant::now();
    let mut loads = Vec::new();
    for tokens in devices.chunks(CONNECTIONS_PER_PROCESS) {
        let tokens = tokens.iter().map(|device| format!("{}\n", device.token)).collect::<String>();
        loads.push(start_load(&server, options.transport, &tokens).await?);
    }
    for load in &mut loads {
        wait_until_ready(load).await?;
    }
    let took = started.elapsed();
    let after = machine::rss_bytes(server.pid());
    for mut load in loads {
        drop(load.stdin.take());
        ensure!(load.wait().await?.success(), "a load process failed");
    }
    let filesystem = server.stop().await?;

    let count = options.connections as u64;
    let mut report = Report::default();
    report.set("connections", count);
    report.set("connects_per_s", per_second(count, took));
    report.set("server_rss_bytes_before", before);
    report.set("server_rss_bytes", after);
    report.set("rss_bytes_per_connection", after.saturating_sub(before) / count.max(1));
    report.set("data_filesystem", filesystem);
    Ok(report)
}

async fn start_load(
    server: &OwnServer,
    transport: Transport,
    tokens: &str,
) -> anyhow::Result<Child> {
    let mut load = Command::new(std::env::current_exe()?)
        .args(["bench", "connect-load", "--connector", &server.connector().to_string()])
        .args(["--transport", transport.name(), "--epoch", server.epoch()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting a load process")?;
    let stdin = load.stdin.as_mut().context("the load process has a standard input")?;
    stdin.write_all(format!("{tokens}\n").as_bytes()).await?;
    Ok(load)
}

async fn wait_until_ready(load: &mut Child) -> anyhow::Result<()> {
    let stdout = load.stdout.as_mut().context("the load process has a standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    ensure!(line == "ready\n", "a load process ended early");
    Ok(())
}

/// The load process: a token per line on standard input up to an empty line; holds the connections
/// until standard input ends.
///
/// # Errors
/// A connection failed.
pub(super) async fn run_load(options: &LoadOptions) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut tokens = Vec::new();
    while let Some(token) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        tokens.push(token);
    }
    let connections: Vec<Socket> = stream::iter(tokens)
        .map(|token| async {
            let opened = open(options, token);
            tokio::time::timeout(HANDSHAKE_TIMEOUT, opened).await?
        })
        .buffer_unordered(CONCURRENT_HANDSHAKES)
        .try_collect()
        .await?;
    println!("ready");
    while lines.next_line().await?.is_some() {}
    drop(connections);
    Ok(())
}

enum Socket {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// Connects, says Hello, and has one heartbeat answered.
async fn open(options: &LoadOptions, token: String) -> anyhow::Result<Socket> {
    let connector = options.connector;
    let mut socket = match options.transport {
        Transport::Tcp => Socket::Tcp(TcpStream::connect(connector).await?),
        Transport::Ws => {
            let url = format!("ws://{connector}{}", anser_server::connector::WEBSOCKET_PATH);
            Socket::WebSocket(Box::new(tokio_tungstenite::connect_async(url).await?.0))
        }
    };
    let epoch = options.epoch.clone();
    socket.send(&Frame::Hello(wire::Hello { version: 1, token, epoch, ..<_>::default() })).await?;
    let mut buffer = BytesMut::new();
    let mut pinged = false;
    loop {
        match socket.next(&mut buffer).await? {
            Frame::CaughtUp(_) if !pinged => {
                pinged = true;
                socket.send(&Frame::Ping(wire::Ping { nonce: 1 })).await?;
            }
            Frame::Pong(_) => return Ok(socket),
            Frame::Welcome(_) => {}
            other => bail!("the server answered {other:?}"),
        }
    }
}

impl Socket {
    async fn send(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let mut bytes = BytesMut::new();
        frame::encode(frame, &mut bytes);
        match self {
            Self::Tcp(stream) => stream.write_all(&bytes).await?,
            Self::WebSocket(socket) => socket.send(Message::Binary(bytes.freeze())).await?,
        }
        Ok(())
    }

    async fn next(&mut self, buffer: &mut BytesMut) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = frame::decode(buffer, frame::FRAME_BYTES_MAX)? {
                return Ok(frame);
            }
            match self {
                Self::Tcp(stream) => {
                    ensure!(stream.read_buf(buffer).await? > 0, "the server closed a connection");
                }
                Self::WebSocket(socket) => {
                    let message =
                        socket.next().await.context("the server closed a connection")??;
                    buffer.extend_from_slice(&message.into_data());
                }
            }
        }
    }
}
