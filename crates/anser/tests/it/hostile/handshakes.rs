//! Openings of a connection that are too large, never end, or are something else.

use std::{net::SocketAddr, time::Duration};

use super::{
    Scene,
    wire::{HANDSHAKE, exchange, status, tell, upgraded},
};

/// What the largest header may take, on any port, is far below this.
const GIANT: usize = 512 * 1024;

/// Heads of requests that no limit should let through.
fn giants(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    let line = format!("GET {path} HTTP/1.1\r\nHost: h\r\n");
    let with = |headers: String| format!("{line}{headers}\r\n").into_bytes();
    let many = |count| (0..count).map(|n| format!("X-{n}: v\r\n")).collect::<String>();
    vec![
        ("a request line without end", format!("GET /{}", "a".repeat(GIANT)).into_bytes()),
        ("a method without end", "G".repeat(GIANT).into_bytes()),
        ("a giant header", with(format!("X: {}\r\n", "a".repeat(GIANT)))),
        ("a header name without end", with("X".repeat(GIANT))),
        ("a thousand headers", with(many(1_000))),
        ("headers without end", with(many(50_000))),
        ("empty lines without end", b"\r\n".repeat(GIANT / 2)),
    ]
}

async fn refuses_giants(to: SocketAddr, path: &str) {
    for (what, head) in giants(path) {
        let answer = exchange(to, &head).await;
        let refused = matches!(status(&answer), 0 | 400 | 404 | 414 | 431);
        assert!(refused && answer.len() < 4096, "{what}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn giant_requests_are_refused() {
    let scene = Scene::start().await;
    refuses_giants(scene.server.api, "/v1/me").await;
    refuses_giants(scene.server.ops, "/livez").await;
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn giant_handshakes_are_refused() {
    // Longer than a test waits: what closes is the limit and not the timer.
    let hour = Duration::from_secs(3600);
    let scene = Scene::start_with(|config| config.connector.hello_timeout = hour).await;
    // What begins with an empty line is taken for a frame, whose length is too large.
    refuses_giants(scene.server.connector, "/v1/connect").await;
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn handshakes_that_are_none_are_refused() {
    let scene = Scene::start().await;
    let replaced = |from: &str, to: &str| {
        assert!(HANDSHAKE.contains(from), "{from}");
        HANDSHAKE.replacen(from, to, 1)
    };
    let cases = [
        replaced("GET", "GRAB"),
        replaced("HTTP/1.1", "HTTP/1.0"),
        replaced("HTTP/1.1", "HTTP/9.9"),
        replaced("/v1/connect", "/v1/connec"),
        replaced("/v1/connect", "/v1/connect/../connect"),
        replaced("Upgrade: websocket\r\n", ""),
        replaced("Connection: Upgrade\r\n", ""),
        replaced("Version: 13", "Version: 8"),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Kex"),
        replaced("Host: h", "Host: \0"),
        replaced("Host: h", "No colon"),
    ];
    for case in cases {
        let answer = exchange(scene.server.connector, case.as_bytes()).await;
        assert_ne!(status(&answer), 101, "{case}");
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_handshake_that_stops_half_way_and_one_without_a_hello_time_out() {
    let soon = Duration::from_millis(50);
    let scene = Scene::start_with(|config| config.connector.hello_timeout = soon).await;
    let half = &HANDSHAKE.as_bytes()[..HANDSHAKE.len() - 2];
    assert_eq!(exchange(scene.server.connector, half).await, b"");
    let mut silent = upgraded(scene.server.connector).await;
    let heard = tell(&mut silent, &[]).await;
    assert!(!heard.is_empty(), "it is told why");
}
