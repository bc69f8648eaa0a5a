//! Several servers on one database: what one of them commits, the sessions of the others learn by
//! the sweep.

use anser_proto::Code;
use anser_server::config::ServiceUrl;

use crate::support::{
    database::Database,
    people::Person,
    raw::{Raw, push, send},
    server::Server,
};

async fn two(database: &Database) -> (Server, Server) {
    let url = database.url();
    let one = Server::start_with(|config| config.store.url = Some(ServiceUrl::new(url))).await;
    let other = one.start_beside().await;
    (one, other)
}

#[tokio::test]
async fn people_on_different_servers_chat() {
    let Some(database) = Database::new("people_on_different_servers_chat") else { return };
    let (mut one, mut other) = two(&database).await;
    let (alice, bob, chat) = one.friends().await;
    let mut alice = Person::online(&one, &alice).await;
    let mut bob = Person::online(&other, &bob).await;
    for round in 0..3 {
        let (to, from) = (format!("there {round}"), format!("back {round}"));
        alice.client.send(chat, to.clone()).expect("a place in the outbox");
        assert_eq!(bob.text().await, to);
        bob.client.send(chat, from.clone()).expect("a place in the outbox");
        assert_eq!(alice.texts(2).await, [to, from], "her own, and his");
        assert_eq!(bob.text().await, format!("back {round}"), "his own");
    }
    alice.receipt((1, 0)).await;
    one.stop().await;
    other.stop().await;
}

/// One folder for both: what one took, the other gives, goes on with, and does not write to at the
/// same time.
#[tokio::test]
async fn any_server_takes_and_gives_any_file() {
    let Some(database) = Database::new("any_server_takes_and_gives_any_file") else { return };
    let (mut one, mut other) = two(&database).await;
    let (alice, bob, chat) = one.friends().await;
    let http = reqwest::Client::new();
    let request = |server: &Server, method: reqwest::Method, path: &str| {
        let request = http.request(method, format!("http://{}{path}", server.api));
        request.bearer_auth(&alice.token).header("tus-resumable", "1.0.0")
    };
    let path = format!("/v1/files?conversation={chat}");
    let made = request(&one, reqwest::Method::POST, &path).header("upload-length", 1_000_000);
    let made = made.send().await.expect("an answer");
    let path = made.headers()["location"].to_str().expect("a path").to_owned();
    let add = |server: &Server, offset: usize, body: reqwest::Body| {
        request(server, reqwest::Method::PATCH, &path)
            .header("upload-offset", offset)
            .header("content-type", "application/offset+octet-stream")
            .body(body)
            .send()
    };
    // A request that is under way at one of them, until it is let go.
    let (piece, pieces) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let slow =
        reqwest::Body::wrap_stream(futures_util::stream::unfold(pieces, async |mut pieces| {
            Some((pieces.recv().await?, pieces))
        }));
    let under_way = tokio::spawn(add(&one, 0, slow));
    piece.send(Ok(vec![7; 600_000])).await.expect("it is read");
    let head = async || {
        let head = request(&other, reqwest::Method::HEAD, &path).send().await.expect("an answer");
        head.headers()["upload-offset"].to_str().expect("a number").to_owned()
    };
    while head().await == "0" {}
    let busy = add(&other, 0, vec![9; 1000].into()).await.expect("an answer");
    assert_eq!(busy.status(), Code::UploadBusy.status());
    drop(piece);
    let answer = under_way.await.expect("no panic").expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["upload-offset"].as_bytes()),
        (204, &b"600000"[..])
    );
    assert_eq!(head().await, "600000");
    let late = add(&other, 0, vec![9; 1000].into()).await.expect("an answer");
    assert_eq!(late.status(), Code::OffsetConflict.status());
    let rest = add(&other, 600_000, vec![8; 400_000].into()).await.expect("an answer");
    assert_eq!(rest.status(), 204);
    let got = request(&one, reqwest::Method::GET, &path).send().await.expect("an answer");
    assert!(got.bytes().await.expect("bytes") == [vec![7; 600_000], vec![8; 400_000]].concat());

    let mut sender = Person::online(&one, &alice).await;
    let mut reader = Person::online(&other, &bob).await;
    let source = one.folder().join("source");
    std::fs::write(&source, vec![5; 300_000]).expect("a file");
    let file = anser_client::Outgoing::open(&source).expect("a file");
    sender.client.send_file(chat, file).expect("a place").sent().await.expect("sent");
    let file = reader.next(|event| match event {
        anser_client::Event::Message(message) => match &message.content {
            anser_client::Content::File(file) => Some(file.clone()),
            _ => None,
        },
        _ => None,
    });
    let (file, mut bytes) = (file.await, Vec::new());
    reader.client.download(&file, &mut bytes, |_| {}).await.expect("downloaded");
    assert!(bytes == vec![5; 300_000]);
    sender.receipt((1, 0)).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_device_is_connected_to_one_server_and_ends_on_all() {
    let test = "a_device_is_connected_to_one_server_and_ends_on_all";
    let Some(database) = Database::new(test) else { return };
    let (mut one, mut other) = two(&database).await;
    let (alice, bob, chat) = one.friends().await;
    let mut older = Raw::online(&one, &alice).await;
    let (mut newest, _) = Raw::resume(&other, &alice, 1, 0).await;
    assert_eq!(older.closed().await, Code::Replaced);
    newest.send(push(1, send(chat, b"still here"))).await;
    newest.acked(1).await;

    let (mut revoked, _) = Raw::resume(&other, &bob, 1, 0).await;
    let owner = Person::online(&one, &one.device(&bob).await).await;
    owner.client.rest().revoke(bob.device).await.expect("revoked");
    assert_eq!(revoked.closed().await, Code::Unauthenticated);
    one.stop().await;
    other.stop().await;
}
