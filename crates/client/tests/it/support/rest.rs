//! A REST side with set answers, over the least of HTTP/1.1.

use std::{collections::HashMap, sync::Arc};

use anser_proto::{Code, rest::Problem};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answers by method and path; a path with its query goes before the path alone.
pub(crate) struct FakeRest {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, (u16, String)>,
    asked: Vec<(String, String)>,
}

impl FakeRest {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let answering = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, answering.clone()));
            }
        });
        Self { url, state }
    }

    /// From now on `request` is answered by this.
    pub(crate) fn set(&self, request: &str, body: &impl Serialize) {
        let body = serde_json::to_string(body).expect("JSON");
        self.state.lock().answers.insert(request.to_owned(), (200, body));
    }

    /// From now on `request` is refused.
    pub(crate) fn refuse(&self, request: &str, code: Code) {
        let problem = Problem {
            code: code.name().to_owned(),
            title: code.sentence().to_owned(),
            status: code.status(),
            detail: code.sentence().to_owned(),
            retryable: code.retryable(),
            request_id: "1".to_owned(),
        };
        let body = serde_json::to_string(&problem).expect("JSON");
        self.state.lock().answers.insert(request.to_owned(), (code.status(), body));
    }

    /// The tokens that came with `request`, in order.
    pub(crate) fn asked(&self, request: &str) -> Vec<String> {
        let state = self.state.lock();
        let of_request = state.asked.iter().filter(|(asked, _)| asked == request);
        of_request.map(|(_, token)| token.clone()).collect()
    }

    /// Whether the last request of one kind came before the last of another.
    pub(crate) fn is_before(&self, first: &str, then: &str) -> bool {
        let state = self.state.lock();
        let last = |kind: &str| state.asked.iter().rposition(|(asked, _)| asked.starts_with(kind));
        last(first).is_some() && last(first) < last(then)
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let request = head.split(" HTTP").next().unwrap_or_default().to_owned();
    let (status, body) = {
        let mut state = state.lock();
        let token = header("authorization").unwrap_or_default();
        state.asked.push((request.clone(), token.trim_start_matches("Bearer ").to_owned()));
        let path = request.split('?').next().unwrap_or_default();
        let known = state.answers.get(&request).or_else(|| state.answers.get(path));
        known.cloned().unwrap_or_else(|| panic!("the test set no answer for {request}"))
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}
