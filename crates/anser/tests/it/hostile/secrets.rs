//! Planted secrets, searched for where they must not be: in logs at their finest level, in the
//! files of the data folder and of a backup, in the server's memory.
//!
//! In memory only texts of clients can be asked for: the server never has them. It does have its
//! keys, and for a moment each token and password that a client shows; freed memory is not wiped.
//! That is why it refuses core dumps (`dumps.rs`).

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anser_proto::rest::{LoggedIn, Relations, admin};
use anser_server::secrets;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::wire::exchange;
use crate::support::{
    people::Person,
    process::Process,
    raw::{Raw, hello},
    site::{Account, Site},
};

/// A secret in all forms in which it could be found.
struct Canary {
    name: &'static str,
    texts: Vec<String>,
    bytes: Vec<u8>,
}

impl Canary {
    fn text(name: &'static str, text: &str) -> Self {
        let texts = vec![text.into(), hex(text.as_bytes()), BASE64_STANDARD.encode(text)];
        Self { name, texts, bytes: text.into() }
    }

    /// A prefix and hex digits, as all our tokens are.
    fn token(name: &'static str, token: &str) -> Self {
        let digits = token.rsplit('_').next().expect("a last part");
        let bytes = (0..digits.len() / 2)
            .map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).expect("hex digits"));
        Self { name, texts: vec![digits.into()], bytes: bytes.collect() }
    }

    fn key(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, texts: vec![hex(&bytes), BASE64_STANDARD.encode(&bytes)], bytes }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        let text = String::from_utf8_lossy(haystack);
        let mut starts = haystack.iter().enumerate().filter(|(_, byte)| **byte == self.bytes[0]);
        self.texts.iter().any(|form| text.contains(form))
            || starts.any(|(at, _)| haystack[at..].starts_with(&self.bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PASSWORD: &str = "canary-password";
const NEW_PASSWORD: &str = "canary-new-password";
const GUESS: &str = "canary-guess";
const TEXT: &str = "canary-text";
const PRODUCT_TEXT: &str = "canary-product-text";

/// Lives a day in which every secret is used, rightly and wrongly, and gives them.
async fn use_secrets(server: &Process) -> Vec<Canary> {
    let data_dir = server.data_dir();
    let read = |path| fs::read_to_string(path).expect("a secret's file").trim().to_owned();
    let server_key = read(secrets::server_api_key_file(&data_dir));
    let master_key = read(secrets::master_key_file(&data_dir));
    let invite: admin::Invite = server.post("/admin/invites", &Value::Null).await;
    let register = json!({ "name": "alice", "password": PASSWORD, "invite": invite.code });
    ask(server, (Method::POST, "/v1/users"), "", register).await;
    let login = json!({ "name": "alice", "password": PASSWORD, "device_name": "laptop" });
    let told = ask(server, (Method::POST, "/v1/sessions"), "", login).await;
    let told: LoggedIn = serde_json::from_value(told).expect("a session");
    let alice = Account {
        name: "alice".into(),
        user: told.user.id,
        device: told.device,
        token: told.token,
    };
    let [bob] = server.accounts(["bob"]).await;
    let chat = server.befriend(&alice, &bob).await;
    let relations = ask(server, (Method::GET, "/v1/relations"), &alice.token, Value::Null).await;
    let relations: Relations = serde_json::from_value(relations).expect("relations");
    let key = BASE64_STANDARD.decode(&relations.relations[0].keys[0].key).expect("a key");

    let sender = Person::online(server, &alice).await;
    let mut receiver = Person::online(server, &bob).await;
    sender.client.send(chat, TEXT).expect("a place in the outbox").delivered().await;
    assert_eq!(receiver.text().await, TEXT);
    let shop = json!({ "name": "shop", "system": true });
    let shop = ask(server, (Method::POST, "/v1/server/users"), &server_key, shop).await;
    let message = json!({
        "from": shop["id"], "to": bob.user, "text": PRODUCT_TEXT, "idempotency_key": "1",
    });
    ask(server, (Method::POST, "/v1/server/messages"), &server_key, message).await;
    assert_eq!(receiver.text().await, PRODUCT_TEXT);
    let change = json!({ "old": PASSWORD, "new": NEW_PASSWORD });
    ask(server, (Method::PUT, "/v1/me/password"), &alice.token, change).await;
    misuse(server, &alice, &server_key).await;
    vec![
        Canary::token("a session's token", &alice.token),
        Canary::token("the server key", &server_key),
        Canary::token("the master key", &master_key),
        Canary::token("an invitation code", &invite.code),
        Canary::key("a relation's key", key),
        Canary::text("a password", PASSWORD),
        Canary::text("a new password", NEW_PASSWORD),
        Canary::text("a wrong password", GUESS),
        Canary::text("a message", TEXT),
        Canary::text("a product's message", PRODUCT_TEXT),
    ]
}

/// Shows secrets where they do not belong: what is refused is what gets logged.
async fn misuse(server: &Site, alice: &Account, server_key: &str) {
    let url = |path: &str| format!("http://{}{path}", server.api);
    let login = json!({ "name": "alice", "password": GUESS, "device_name": "laptop" });
    let json = "application/json";
    let cut = format!(r#"{{"name":"alice","password":"{GUESS}""#);
    let token = &alice.token;
    let asks = [
        Client::new().post(url("/v1/sessions")).json(&login),
        Client::new().post(url("/v1/sessions")).header("content-type", json).body(cut),
        Client::new().post(url("/v1/users")).json(&json!({ GUESS: 1, "password": [GUESS] })),
        Client::new().get(url(&format!("/v1/users?token={token}"))),
        Client::new().get(url(&format!("/v1/{token}/{server_key}"))),
        Client::new().get(url("/v1/server/users?name=alice")).bearer_auth(token),
        Client::new().get(url("/v1/me")).bearer_auth(server_key),
    ];
    for ask in asks {
        let answer = ask.send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{}", answer.status());
    }
    let handshake =
        format!("GET /v1/connect?token={token} HTTP/1.1\r\nAuthorization: {token}\r\n\r\n");
    exchange(server.connector, handshake.as_bytes()).await;
    let mut stranger = Raw::connect(server).await;
    let mixed = Account { token: server_key.into(), ..alice.clone() };
    stranger.send(hello(server, &mixed, 0, 0).await).await;
    stranger.closed().await;
    // As the first bytes of a connection they are a frame's length.
    exchange(server.connector, token.as_bytes()).await;
    let (mut known, _) = Raw::resume(server, alice, 1, 1).await;
    known.send_bytes(&[&[0, 0, 0, 70][..], token.as_bytes(), &[0]].concat()).await;
    known.closed().await;
}

async fn ask(server: &Site, what: (Method, &str), token: &str, body: Value) -> Value {
    let request = Client::new().request(what.0, format!("http://{}{}", server.api, what.1));
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    let request = if body.is_null() { request } else { request.json(&body) };
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}: {}", what.1, answer.status());
    if answer.status() == StatusCode::NO_CONTENT {
        return Value::Null;
    }
    answer.json().await.expect("JSON")
}

fn assert_free(place: &str, content: &[u8], canaries: &[Canary]) {
    for canary in canaries {
        assert!(!canary.is_in(content), "{} is in {place}", canary.name);
    }
}

/// A server that logs all that it ever would.
async fn talkative(json: &str) -> (Process, std::path::PathBuf) {
    let mut server = Process::start(&[]).await;
    assert!(server.terminate().await.success());
    let log = server.log_to("server.log");
    let variables = [
        ("ANSER_LOG__LEVEL", "trace"),
        ("ANSER_LOG__JSON", json),
        ("ANSER_API__REGISTRATION", "invite"),
        // So that its memory can be read by a user who is not root.
        ("ANSER_NODE__CORE_DUMPS", "true"),
    ];
    for (name, value) in variables {
        server.configure(name, value);
    }
    server.start_again().await;
    (server, log)
}

async fn logs_are_free_of_secrets(json: &str) {
    let (mut server, log) = talkative(json).await;
    let canaries = use_secrets(&server).await;
    assert!(server.terminate().await.success());
    let log = fs::read(&log).expect("a log");
    let text = String::from_utf8_lossy(&log);
    for written in ["/v1/sessions", "a device came online", "a connection ended"] {
        assert!(text.contains(written), "the log tells of {written}: {text}");
    }
    assert_eq!(json == "true", text.starts_with('{'));
    assert_free("the log", &log, &canaries);
}

#[tokio::test]
async fn secrets_are_in_no_log_line_of_text() {
    logs_are_free_of_secrets("false").await;
}

#[tokio::test]
async fn secrets_are_in_no_log_line_of_json() {
    logs_are_free_of_secrets("true").await;
}

#[tokio::test]
async fn secrets_are_in_no_file_but_their_own() {
    let (mut server, _) = talkative("false").await;
    let canaries = use_secrets(&server).await;
    let backup = server.backup().await;
    let data_dir = server.data_dir();
    let own = data_dir.join("secrets");
    // While it runs, and what is left when it has written everything.
    for _ in 0..2 {
        let mut names = 0;
        for folder in [&data_dir, &backup] {
            for (path, content) in files(folder, &own) {
                names += usize::from(Canary::text("a name", "laptop").is_in(&content));
                assert_free(&path, &content, &canaries);
            }
        }
        assert!(names >= 2, "what is no secret is found in the database and the backup");
        if server.is_running() {
            assert!(server.terminate().await.success());
        }
    }
    let server_key = &canaries[1];
    assert!(files(&own, Path::new("")).iter().any(|(_, content)| server_key.is_in(content)));
}

/// All files below a folder, without one of its folders. Journals are allocated ahead: zeros.
fn files(folder: &Path, without: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path != without {
            found.extend(files(&path, without));
        } else if path.is_file() {
            let mut content = fs::read(&path).expect("a file");
            let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            content.truncate(end);
            found.push((path.display().to_string(), content));
        }
    }
    found
}

/// As a core dump would have it: the server never saw what clients sealed.
#[tokio::test]
async fn texts_of_clients_are_in_no_memory_of_the_server() {
    let (server, _) = talkative("false").await;
    let canaries = use_secrets(&server).await;
    let pid = server.pid().as_raw_nonzero();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a map");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory can be read");
    let text = canaries.iter().find(|one| one.name == "a message").expect("planted");
    // The server wraps with it as long as it lives; of its own API key it keeps only a hash.
    let master_key = canaries.iter().find(|one| one.name == "the master key").expect("planted");
    let mut key_found = false;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').expect("a range");
        let (to, _) = rest.split_once(' ').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (address(from), address(to));
        let mut content = vec![0; usize::try_from(to - from).expect("it fits")];
        // A thread's stack may just have gone.
        let read = memory.read_at(&mut content, from).unwrap_or(0);
        content.truncate(read);
        assert!(!text.is_in(&content), "a client's text is in the server's memory: {line}");
        key_found |= master_key.is_in(&content);
    }
    assert!(key_found, "what the server has is found");
}
