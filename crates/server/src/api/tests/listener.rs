//! The accept loop against slow and many clients. Time is virtual: it moves only when all wait.

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

use crate::api::listen::{Limits, Peer, serve};

const LIMITS: Limits = Limits {
    connections_max: 1,
    header_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(20),
    drain_timeout: Duration::from_secs(5),
};
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Virtual; longer than all limits.
const PATIENCE: Duration = Duration::from_secs(3600);

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/small", get(async |Peer(peer): Peer| peer.unwrap().to_string()))
        .route("/large", get(async || vec![0_u8; 64 * 1024 * 1024]))
        .route("/never", get(std::future::pending::<()>));
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(async move {
        let peer = |address: &std::net::SocketAddr| Peer(Some(address.ip()));
        let stopped = async {
            let _ = stopped.await;
        };
        serve(listener, router, LIMITS, peer, stopped).await;
    });
    Server { address, stop, running }
}

async fn answer(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer").unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_its_header_slowly_is_dropped_and_others_follow() {
    let server = start().await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /small HTTP/1.1\r\nHost").await.unwrap();
    let answer = answer(server.address).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
    let waited = begun.elapsed();
    assert!(waited >= LIMITS.header_timeout, "one connection at a time: {waited:?}");
    assert!(waited < LIMITS.header_timeout * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_at_all_is_dropped() {
    let server = start().await;
    let begun = Instant::now();
    let _silent = TcpStream::connect(server.address).await.unwrap();
    assert!(answer(server.address).await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < LIMITS.header_timeout * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let server = start().await;
    let begun = Instant::now();
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert!(answer(server.address).await.starts_with("HTTP/1.1 200"));
    let waited = begun.elapsed();
    assert!(waited >= LIMITS.write_timeout && waited < LIMITS.write_timeout * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_stop_waits_for_requests_but_not_for_ever() {
    let server = start().await;
    let mut stuck = TcpStream::connect(server.address).await.unwrap();
    stuck.write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    // The other connection waits behind it; the stop frees both.
    tokio::task::yield_now().await;
    let begun = Instant::now();
    server.stop.send(()).unwrap();
    server.running.await.unwrap();
    assert!(begun.elapsed() <= LIMITS.drain_timeout, "{:?}", begun.elapsed());
    let mut rest = Vec::new();
    assert!(matches!(stuck.read_to_end(&mut rest).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(server.address).await.is_err());
}
