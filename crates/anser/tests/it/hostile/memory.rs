//! Who is not authenticated leaves nothing behind, however often they come.

use std::{ops::Range, sync::Arc};

use anser_proto::{Frame, frame, wire as frames};
use bytes::BytesMut;
use rustix::process::Pid;
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use super::wire::{HANDSHAKE, binary, connect_from, tell, upgrade};
use crate::support::process::Process;

/// Connections between two measurements.
const BLOCK: usize = 1_500;
/// Before the first measurement: caches, thread stacks and the allocator's arenas fill once.
const WARM_UP_BLOCKS: usize = 4;
/// 67 of them make 10^5 connections.
const BLOCKS: usize = 8;
/// A heap that settles late, or a runtime that grows a table, looks like a leak for a while; a leak
/// does so however often one looks.
const LOOKS_MAX: usize = 4;
/// Most growth. A leak of 64 bytes per connection is twice this.
const BYTES_PER_CONNECTION_MAX: f64 = 32.0;
const CLIENTS: usize = 16;
/// The ways to knock at a port, see [`knock`].
const CONNECTOR: Range<usize> = 0..6;
const REST: Range<usize> = 6..9;

#[tokio::test]
async fn unauthenticated_connections_leave_no_memory_behind() {
    let server = Arc::new(Process::start(&[]).await);
    for kinds in [CONNECTOR, REST] {
        for _ in 0..WARM_UP_BLOCKS {
            block(&server, &kinds).await;
        }
        let mut looks = Vec::new();
        let grows = loop {
            let grows = growth(&server, &kinds).await;
            looks.push(grows);
            if grows < BYTES_PER_CONNECTION_MAX || looks.len() == LOOKS_MAX {
                break grows;
            }
        };
        assert!(grows < BYTES_PER_CONNECTION_MAX, "{kinds:?}: bytes per connection {looks:?}");
    }
    let refused = server.metric("anser_connections_refused_total").await;
    assert_eq!(refused, 0, "all were let in: it is they who are measured");
}

/// Bytes that a connection leaves behind, over [`BLOCKS`] of them.
async fn growth(server: &Arc<Process>, kinds: &Range<usize>) -> f64 {
    let mut sizes = vec![resident_bytes(server.pid())];
    for _ in 0..BLOCKS {
        block(server, kinds).await;
        sizes.push(resident_bytes(server.pid()));
    }
    slope(&sizes) / BLOCK as f64
}

/// Many connections, each of another kind than the one before.
async fn block(server: &Arc<Process>, kinds: &Range<usize>) {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (server, kinds) = (server.clone(), kinds.clone());
        clients.spawn(async move {
            // Few at a time from each address: the limit is 50.
            let address = u8::try_from(2 + client).expect("few clients");
            let knocks = (client..BLOCK).step_by(CLIENTS);
            for (_, kind) in knocks.zip(kinds.cycle()) {
                knock(&server, address, kind).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    // Samples that wait to be counted are memory, too.
    server.metric("anser_connections").await;
}

/// Comes, says what is no Hello, and goes.
async fn knock(server: &Process, address: u8, kind: usize) {
    let to = if CONNECTOR.contains(&kind) { server.connector } else { server.api };
    let mut stream = connect_from(address, to).await;
    // Ports of closed connections would run out otherwise.
    stream.set_zero_linger().expect("a socket's option");
    match kind {
        0 => drop(tell(&mut stream, &[0, 0, 0, 3, 0xff, 0xff, 0xff]).await),
        1 => stream.write_all(&[0, 0, 1, 0, 10, 20, 30]).await.expect("half a frame"),
        2 => drop(tell(&mut stream, &foreign_hello()).await),
        3 => stream.write_all(&HANDSHAKE.as_bytes()[..60]).await.expect("half a handshake"),
        4 => {
            upgrade(&mut stream).await;
            drop(tell(&mut stream, &binary(&[0, 0, 0, 3, 0xff, 0xff, 0xff])).await);
        }
        5 => drop(tell(&mut stream, b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n").await),
        6 => stream.write_all(b"GET /v1/me HTTP/1.1\r\nHost").await.expect("half a request"),
        7 => drop(tell(&mut stream, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await),
        8 => {
            let request = b"GET /v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            drop(tell(&mut stream, request).await);
        }
        other => unreachable!("{other} is no way to knock"),
    }
}

fn foreign_hello() -> BytesMut {
    let hello = frames::Hello { version: 1, token: "ansd_0".into(), ..<_>::default() };
    let mut bytes = BytesMut::new();
    frame::encode(&Frame::Hello(hello), &mut bytes);
    bytes
}

fn resident_bytes(pid: Pid) -> f64 {
    let path = format!("/proc/{}/statm", pid.as_raw_nonzero());
    let statm = std::fs::read_to_string(path).expect("the kernel tells sizes");
    let pages = statm.split(' ').nth(1).expect("a second number");
    pages.parse::<f64>().expect("a number") * rustix::param::page_size() as f64
}

/// Growth per block: the middle one of the slopes between any two measurements (Theil and Sen), so
/// that one that jumps does not decide.
fn slope(sizes: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (from, first) in sizes.iter().enumerate() {
        for (to, second) in sizes.iter().enumerate().skip(from + 1) {
            slopes.push((second - first) / (to - from) as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes[slopes.len() / 2]
}
