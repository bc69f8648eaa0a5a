//! Tokens that are none, and tokens that must not outlive their session.

use std::time::Instant;

use anser_proto::{Code, Frame, frame};
use bytes::BytesMut;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Scene,
    wire::{binary, exchange, messages, status, tell, upgrade},
};
use crate::{
    connections::AT_ONCE,
    support::{
        raw::{Raw, hello},
        server::{Account, Server},
        site::Site,
    },
};

/// What a client could send as a token and is none, near to one of the server's own.
fn malformed(real: &str) -> Vec<String> {
    let (prefix, hex) = real.split_once('_').expect("a prefix");
    vec![
        String::new(),
        " ".into(),
        "ansd_".into(),
        "null".into(),
        format!("{real}0"),
        real[..real.len() - 1].into(),
        real.to_uppercase(),
        hex.into(),
        format!("anss_{hex}"),
        format!("{prefix}_{}", "0".repeat(hex.len())),
        format!("{real}\0"),
        format!("\0{real}"),
        format!("{real}, {real}"),
        format!("Bearer {real}"),
        real.replace('a', "\u{430}") + "\u{430}",
        "=/+AAAA!!".into(),
        "a".repeat(8 * 1024),
    ]
}

#[tokio::test]
async fn malformed_tokens_are_refused_in_a_hello() {
    let scene = Scene::start().await;
    let mut tokens = malformed(&scene.alice.token);
    // As long as a frame allows, and with space around: the frame's text is taken as it is.
    tokens.push("a".repeat(60 * 1024));
    tokens.push(format!(" {} ", scene.alice.token));
    for token in tokens {
        let thief = Account { token, ..scene.alice.clone() };
        let mut stranger = Raw::connect(&scene.server).await;
        stranger.send(hello(&scene.server, &thief, 0, 0).await).await;
        assert_eq!(stranger.closed().await, Code::Unauthenticated, "{:?}", thief.token);
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn malformed_tokens_are_refused_by_rest() {
    let scene = Scene::start().await;
    let real = &scene.alice.token;
    let ask = async |headers: Vec<u8>| {
        let head = b"GET /v1/me HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
        let request = [&head[..], &headers, b"\r\n\r\n"].concat();
        status(&exchange(scene.server.api, &request).await)
    };
    let header = |value: &str| format!("Authorization: {value}").into_bytes();
    assert_eq!(ask(header(&format!("Bearer {real}"))).await, 200, "the real one is taken");
    for token in malformed(real) {
        let told = ask(header(&format!("Bearer {token}"))).await;
        // 400: no HTTP header can hold it.
        let right = if token.contains('\0') { 400 } else { 401 };
        assert_eq!(told, right, "{token:?}");
    }
    for scheme in ["Basic ", "Token ", "", "Bearer", "Bearer:", "Bearer\u{a0}"] {
        assert_eq!(ask(header(&format!("{scheme}{real}"))).await, 401, "{scheme:?}");
    }
    let twice = [header(&format!("Bearer {real}")), b"\r\n".to_vec(), header("Bearer x")].concat();
    assert_eq!(ask(twice).await, 401, "with two of them it is not clear which one counts");
    assert_eq!(ask(format!("Cookie: token={real}").into_bytes()).await, 401);
    let invalid = [b"Authorization: Bearer \xff\xfe".to_vec(), real.clone().into_bytes()].concat();
    assert_eq!(ask(invalid).await, 401);
    scene.others_notice_nothing(1).await;
}

/// The ways in which a session ends. Each is run by another device than the one that it ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Logout,
    Revoked,
    PasswordChanged,
    PasswordSet,
    Disabled,
    Removed,
}

const PASSWORD: &str = "correct horse";

#[tokio::test]
async fn a_token_outlives_no_end_of_its_session() {
    use End::{Disabled, Logout, PasswordChanged, PasswordSet, Removed, Revoked};
    let mut server = Server::start().await;
    for end in [Logout, Revoked, PasswordChanged, PasswordSet, Disabled, Removed] {
        for websocket in [false, true] {
            let name = format!("{end:?}-{websocket}").to_lowercase();
            let [account] = server.accounts([&name]).await;
            let password = json!({ "password": PASSWORD });
            server.operate("PUT", &format!("/admin/users/{name}/password"), password).await;
            let (stolen, own) = (server.device(&account).await, server.device(&account).await);
            ends(&server, end, (&stolen, &own), websocket).await;
        }
    }
    server.stop().await;
}

async fn ends(server: &Server, end: End, (stolen, own): (&Account, &Account), websocket: bool) {
    assert_eq!(me(server, stolen).await, StatusCode::OK);
    let mut socket = Raw::connect(server).await;
    let hello = hello(server, stolen, 0, 0).await;
    if websocket {
        upgrade(&mut socket.stream).await;
        let mut bytes = BytesMut::new();
        frame::encode(&hello, &mut bytes);
        socket.send_bytes(&binary(&bytes)).await;
        socket.stream.readable().await.expect("an answer to the Hello");
    } else {
        socket.send(hello.clone()).await;
        socket.welcome().await;
    }
    finish(server, end, (stolen, own)).await;
    let ended = Instant::now();
    let code = if websocket { closed(&mut socket).await } else { socket.closed().await };
    assert_eq!(code, Code::Unauthenticated, "{end:?}");
    assert!(ended.elapsed() < AT_ONCE, "{end:?}: open for {:?}", ended.elapsed());

    if matches!(end, End::Disabled) {
        let path = format!("/admin/users/{}/enable", stolen.name);
        server.operate("POST", &path, json!({})).await;
    }
    assert_eq!(me(server, stolen).await, StatusCode::UNAUTHORIZED, "{end:?}");
    let mut again = Raw::connect(server).await;
    again.send(hello).await;
    assert_eq!(again.closed().await, Code::Unauthenticated, "{end:?}");
}

/// The code with which the server closes a WebSocket.
async fn closed(socket: &mut Raw) -> Code {
    let heard = tell(&mut socket.stream, &[]).await;
    let mut frames = BytesMut::from(&messages(&heard)[..]);
    while let Some(frame) = frame::decode(&mut frames, frame::FRAME_BYTES_MAX).expect("a frame") {
        if let Frame::Close(close) = frame {
            return Code::from_number(close.code).expect("a known code");
        }
    }
    panic!("no Close came");
}

/// Ends the session of `stolen`, which the server's answer says is done.
async fn finish(server: &Site, end: End, (stolen, own): (&Account, &Account)) {
    let name = &own.name;
    let ask = async |method: Method, path: &str, token: &str, body: Value| {
        let url = format!("http://{}{path}", server.api);
        let request = reqwest::Client::new().request(method, url).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{end:?}");
    };
    match end {
        End::Logout => {
            ask(Method::DELETE, "/v1/sessions/current", &stolen.token, Value::Null).await;
        }
        End::Revoked => {
            let path = format!("/v1/me/sessions/{}", stolen.device);
            ask(Method::DELETE, &path, &own.token, Value::Null).await;
        }
        End::PasswordChanged => {
            let body = json!({ "old": PASSWORD, "new": "battery staple" });
            ask(Method::PUT, "/v1/me/password", &own.token, body).await;
        }
        End::PasswordSet => {
            let body = json!({ "password": "battery staple" });
            server.operate("PUT", &format!("/admin/users/{name}/password"), body).await;
        }
        End::Disabled => {
            server.operate("POST", &format!("/admin/users/{name}/disable"), json!({})).await;
        }
        End::Removed => {
            server.operate("DELETE", &format!("/admin/users/{name}"), json!({})).await;
        }
    }
}

async fn me(server: &Site, account: &Account) -> StatusCode {
    let url = format!("http://{}/v1/me", server.api);
    let asked = reqwest::Client::new().get(url).bearer_auth(&account.token).send().await;
    asked.expect("an answer").status()
}
