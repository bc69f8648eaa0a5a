//! Lengths that lie, nesting without end, text that is no text: told in a frame, a WebSocket
//! header, a request.

use std::time::Duration;

use anser_proto::Code;
use anser_server::config::Config;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    Scene,
    wire::{binary, exchange, status, tell, upgraded, websocket},
};
use crate::support::raw::{Raw, push, send};

/// Longer than a test waits: what closes is the limit and not a timer.
fn without_timers(config: &mut Config) {
    config.connector.hello_timeout = Duration::from_secs(3600);
}

fn framed(payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(payload.len()).expect("a short frame"));
    frame.put_slice(payload);
    frame
}

/// A field of a length that is told, with what really follows.
fn field(number: u8, told: &[u8], content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], told, content].concat()
}

/// Groups within groups of a field that nobody knows, which a reader has to skip.
fn nested_groups(depth: usize) -> Vec<u8> {
    const OPEN: [u8; 2] = [0xa3, 0x01];
    const CLOSE: [u8; 2] = [0xa4, 0x01];
    [OPEN.repeat(depth), CLOSE.repeat(depth)].concat()
}

/// Payloads of frames whose inner lengths and numbers are no such things.
fn lies() -> Vec<Vec<u8>> {
    const PUSH: u8 = 4;
    const U64_MAX: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    vec![
        field(PUSH, &[0x7f], &[0x08, 0x01]),
        field(PUSH, &U64_MAX, &[]),
        field(PUSH, &[0xff; 11], &[]),
        field(PUSH, &[0x04], &[0x08, 0x01, 0x12, 0x7f]),
        // The body of the push ends within its number.
        field(PUSH, &[0x02], &[0x08, 0xff]),
        // Another wire type than the field's, a field 0, a group that is never closed.
        vec![PUSH << 3, 0x01],
        vec![0x00],
        vec![0xa3, 0x01],
        nested_groups(10_000),
    ]
}

#[tokio::test]
async fn lengths_that_lie_and_deep_nesting_in_a_frame_close() {
    let scene = Scene::start().await;
    for lie in lies() {
        let mut alice = scene.alice_online().await;
        alice.send_bytes(&framed(&lie)).await;
        assert_eq!(alice.closed().await, Code::Malformed, "{:x?}", &lie[..lie.len().min(8)]);
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_prefix_of_4_gib_closes_before_anything_is_read_or_reserved() {
    let scene = Scene::start_with(without_timers).await;
    let mut alice = scene.alice_online().await;
    alice.send_bytes(&[0xff; 4]).await;
    assert_eq!(alice.closed().await, Code::FrameTooLarge);
    let mut stranger = Raw::connect(&scene.server).await;
    stranger.send_bytes(&[0xff; 4]).await;
    assert_eq!(stranger.closed().await, Code::FrameTooLarge);
    scene.others_notice_nothing(1).await;
}

/// The frame is right, the command in it is not: it takes no number and no place.
#[tokio::test]
async fn a_command_that_does_not_decode_closes_and_is_not_applied() {
    let scene = Scene::start().await;
    let open = field(1, &[0x7f], &[]);
    let body = field(15, &[0xff, 0xff, 0xff, 0xff, 0x0f], b"short");
    for command in [open, body, nested_groups(10_000)] {
        let mut alice = scene.alice_online().await;
        alice.send(push(1, Bytes::from(command))).await;
        assert_eq!(alice.closed().await, Code::Malformed);
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn frames_without_content_are_skipped() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send_bytes(&[0; 4 * 10_000]).await;
    alice.send(push(1, send(scene.friends, b"behind ten thousand of them"))).await;
    alice.acked(1).await;
    scene.others_notice_nothing(2).await;
}

#[tokio::test]
async fn a_hello_with_text_that_is_no_utf_8_closes() {
    let scene = Scene::start().await;
    for (number, text) in [(2, &[0xff, 0xfe][..]), (2, &[0xed, 0xa0, 0x80]), (3, &[0xc0, 0xaf])] {
        let told = u8::try_from(text.len()).expect("a short text");
        let text = field(number, &[told], text);
        let length = u8::try_from(text.len()).expect("a short Hello");
        let mut stranger = Raw::connect(&scene.server).await;
        stranger.send_bytes(&framed(&field(1, &[length], &text))).await;
        assert_eq!(stranger.closed().await, Code::Malformed);
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn websocket_headers_that_lie_close() {
    const LAST: u8 = 0x80;
    const TEXT: u8 = 0x01;
    const BINARY: u8 = 0x02;
    let scene = Scene::start_with(without_timers).await;
    let unmasked = vec![LAST | BINARY, 1, 0];
    let fragments = [
        websocket(BINARY, 600 * 1024, &[0; 600 * 1024]),
        websocket(0, 600 * 1024, &[0; 600 * 1024]),
    ];
    let cases = [
        ("2^62 bytes", websocket(LAST | BINARY, 1 << 62, &[])),
        ("2^64 bytes", websocket(LAST | BINARY, u64::MAX, &[])),
        ("above a message", websocket(LAST | BINARY, 1024 * 1024 + 1, &[])),
        ("fragments above a message", fragments.concat()),
        ("a long ping", websocket(LAST | 0x09, 126, &[0; 126])),
        ("no message to continue", websocket(LAST, 1, &[0])),
        ("an unknown kind", websocket(LAST | 0x03, 1, &[0])),
        ("reserved bits", websocket(LAST | 0x70 | BINARY, 1, &[0])),
        ("no mask", unmasked),
        ("text", websocket(LAST | TEXT, 1, b"x")),
        ("no text", websocket(LAST | TEXT, 1, &[0xff])),
        ("a frame of 4 GiB", binary(&[0xff; 4])),
    ];
    for (what, bytes) in cases {
        let mut stranger = upgraded(scene.server.connector).await;
        let heard = tell(&mut stranger, &bytes).await;
        assert!(heard.len() < 128, "{what}: {} bytes came back", heard.len());
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn requests_whose_lengths_lie_are_refused() {
    let scene = Scene::start().await;
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
                Connection: close\r\n";
    let cases = [
        "Content-Length: -1\r\n\r\n{}",
        "Content-Length: 1e1\r\n\r\n{}",
        "Content-Length: 18446744073709551616\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        "Content-Length: 2, 3\r\n\r\n{} ",
        "Transfer-Encoding: gzip\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}no end of a chunk",
    ];
    for case in cases {
        let answer = exchange(scene.server.api, format!("{head}{case}").as_bytes()).await;
        assert_eq!(status(&answer), 400, "{case:?}: {}", String::from_utf8_lossy(&answer));
    }
    // More than the limit is not waited for, however much was told.
    let body = " ".repeat(64 * 1024 + 1);
    let request = format!("{head}Content-Length: 9223372036854775807\r\n\r\n{body}");
    assert_eq!(status(&exchange(scene.server.api, request.as_bytes()).await), 413);
    scene.others_notice_nothing(1).await;
}
