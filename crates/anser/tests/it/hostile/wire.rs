//! Bytes on a socket, as no library would send them.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// No answer of a healthy server takes this long; only a failing test waits so.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects from one of the loopback addresses, which limits count apart.
pub(super) async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, last], 0).into()).expect("a loopback address");
    socket.connect(to).await.expect("a connection")
}

/// Writes, and reads all that comes before the server closes.
pub(super) async fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    tell(&mut stream, bytes).await
}

/// Writes to a connection, and reads all that comes before the server closes.
pub(super) async fn tell(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let mut heard = Vec::new();
    let write = async {
        // It may have closed before the end: what it says is judged.
        let _ = write.write_all(bytes).await;
    };
    // After a reset what came before it counts.
    let both = async { tokio::join!(write, read.read_to_end(&mut heard)) };
    let ((), _) = timeout(PATIENCE, both).await.expect("the server closes");
    heard
}

/// The status of an HTTP answer; 0 when there was none.
pub(super) fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map_or(0, |status| status.parse().expect("three digits"))
}

/// The head of a WebSocket handshake that is right.
pub(super) const HANDSHAKE: &str = "GET /v1/connect HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A connection after a WebSocket handshake.
pub(super) async fn upgraded(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    upgrade(&mut stream).await;
    stream
}

/// Makes a connection a WebSocket.
pub(super) async fn upgrade(stream: &mut TcpStream) {
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let read = timeout(PATIENCE, stream.read_exact(&mut byte)).await;
        read.expect("an answer in time").expect("an answer");
        answer.push(byte[0]);
    }
    assert_eq!(status(&answer), 101, "{}", String::from_utf8_lossy(&answer));
}

/// A masked WebSocket frame (the mask is 0) whose header tells `told` bytes.
pub(super) fn websocket(first: u8, told: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend_from_slice(&told.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// One final binary message.
pub(super) fn binary(payload: &[u8]) -> Vec<u8> {
    websocket(0x82, payload.len() as u64, payload)
}

/// What the binary messages of a server hold, which are not masked and shorter than 64 KiB.
pub(super) fn messages(mut heard: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let [first, short, rest @ ..] = heard {
        let (length, rest) = match (*short, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (127.., _) => panic!("a long message"),
            (short, rest) => (usize::from(short), rest),
        };
        let (payload, rest) = rest.split_at(length);
        if *first == 0x82 {
            all.extend_from_slice(payload);
        }
        heard = rest;
    }
    all
}
