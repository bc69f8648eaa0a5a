//! Stored rows as damage, a hand in the database or another version leave them. Reading goes on
//! behind them, or stops and says where: it neither turns in a circle nor leaves out in silence.

use std::path::Path;

use anser_proto::{Code, ConversationId, Frame, Seq, frame, wire as frames};
use anser_server::node;
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use prost::Message as _;
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{
    layout,
    process::Process,
    raw::{Raw, hello, push, send},
    server::{Account, Server},
    site::Site,
};

/// The database of a server that is not running.
struct Rows {
    db: Database,
    inbox: Keyspace,
    message: Keyspace,
    small: Keyspace,
}

impl Rows {
    fn open(data_dir: &Path) -> Self {
        let folder = node::database(data_dir).join("db");
        let db = Database::builder(folder).open().expect("a database");
        let keyspace = |name| {
            let options = KeyspaceCreateOptions::default;
            db.keyspace(name, options).expect("a keyspace")
        };
        let [inbox, message, small] = ["im_inbox", "im_message", "im_small"].map(keyspace);
        Self { db, inbox, message, small }
    }

    fn close(self) {
        self.db.persist(PersistMode::SyncAll).expect("synced");
    }
}

fn key(log: u64, seq: Seq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&log.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// A field 99 of length 1, which no version has.
const UNKNOWN_KIND: &[u8] = &[0x9a, 0x06, 0x01, 0x00];
const GARBAGE: &[u8] = &[0xff; 20];
/// Alice's messages to Bob. His inbox has one entry more in front: that they are friends.
const MESSAGES: Seq = 6;

/// Two friends, one of whom sent messages.
async fn friends(site: &Site) -> (Account, Account, ConversationId) {
    let (alice, bob, chat) = site.friends().await;
    let mut sender = Raw::online(site, &alice).await;
    for number in 1..=MESSAGES {
        sender.send(push(number, send(chat, b"stored"))).await;
    }
    sender.acked(MESSAGES).await;
    (alice, bob, chat)
}

/// The bodies of entries 1 ..= `last` as they are pushed, in frames of the size that was told.
async fn pushed(raw: &mut Raw, last: Seq) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    while (bodies.len() as Seq) < last {
        if let Frame::Push(push) = raw.next().await {
            assert_eq!(push.seq, bodies.len() as Seq + 1, "in order and without a hole");
            bodies.push(push.body);
        }
    }
    bodies
}

#[tokio::test]
async fn inbox_rows_that_do_not_decode_are_pushed_in_their_places() {
    if layout::is_elsewhere("inbox_rows_that_do_not_decode_are_pushed_in_their_places") {
        return;
    }
    let mut server = Server::start().await;
    let (_, bob, _) = friends(&server).await;
    let before = pushed(&mut Raw::online(&server, &bob).await, MESSAGES + 1).await;
    server.stop().await;
    let planted = [(3, UNKNOWN_KIND), (4, GARBAGE), (6, &[][..])];
    let rows = Rows::open(server.data_dir());
    for (seq, row) in planted {
        rows.inbox.insert(key(bob.user.0, seq), row).expect("planted");
    }
    rows.close();
    server.start_again().await;
    let after = pushed(&mut Raw::online(&server, &bob).await, MESSAGES + 1).await;
    for (seq, (before, after)) in (1..).zip(before.iter().zip(&after)) {
        let planted = planted.iter().find(|(place, _)| *place == seq);
        assert_eq!(&after[..], planted.map_or(&before[..], |(_, row)| row), "entry {seq}");
    }
    server.stop().await;
}

/// Pushed whole it would end every connection of this user at the same place, for ever.
#[tokio::test]
async fn inbox_rows_larger_than_a_frame_do_not_hide_what_is_behind_them() {
    if layout::is_elsewhere("inbox_rows_larger_than_a_frame_do_not_hide_what_is_behind_them") {
        return;
    }
    let mut server = Server::start().await;
    let (alice, bob, chat) = friends(&server).await;
    server.stop().await;
    let message = frames::Message { conversation: chat.0, conv_seq: 2, ..<_>::default() };
    let kind = Some(frames::entry::Kind::Message(message));
    let head = frames::Entry { kind, body: Bytes::new() };
    let large = frames::Entry { body: vec![7; 200 * 1024].into(), ..head.clone() };
    // Above the window of bytes too, and without a body that could be left out.
    let giant = vec![0xff; 2 * 1024 * 1024];
    // The rest of a frame may take 32 bytes.
    let fits = vec![0xff; frame::FRAME_BYTES_MAX - 32];
    let too_long = vec![0xff; fits.len() + 1];
    let rows = Rows::open(server.data_dir());
    let planted = [(3, &large.encode_to_vec()), (5, &giant), (6, &fits), (7, &too_long)];
    for (seq, row) in planted {
        rows.inbox.insert(key(bob.user.0, seq), row).expect("planted");
    }
    rows.close();
    server.start_again().await;
    // Its reader takes no larger frame than the Welcome told.
    let mut reader = Raw::online(&server, &bob).await;
    let bodies = pushed(&mut reader, MESSAGES + 1).await;
    assert_eq!(bodies[2], head.encode_to_vec(), "the message is told, its body is in the history");
    assert_eq!(bodies[4..], [Bytes::new(), fits.into(), Bytes::new()]);
    reader.ack(MESSAGES + 1).await;
    let (mut sender, _) = Raw::resume(&server, &alice, 1, MESSAGES).await;
    sender.send(push(MESSAGES + 1, send(chat, b"and on"))).await;
    assert_eq!(reader.entries(MESSAGES + 2, MESSAGES + 2).await[0].body, "and on");
    server.stop().await;
}

/// A server whose log is read.
async fn logging() -> (Process, impl Fn() -> String) {
    let mut server = Process::start(&[]).await;
    assert!(server.terminate().await.success());
    let log = server.log_to("server.log");
    server.configure("ANSER_LOG__LEVEL", "warn");
    server.start_again().await;
    (server, move || std::fs::read_to_string(&log).expect("a log"))
}

#[tokio::test]
async fn a_hole_in_an_inbox_is_told_and_not_skipped() {
    let (mut server, log) = logging().await;
    let (alice, bob, chat) = friends(&server).await;
    // Came later, so it starts behind all that.
    let bobs_other = server.device(&bob).await;
    assert!(server.terminate().await.success());
    let rows = Rows::open(&server.data_dir());
    rows.inbox.remove(key(bob.user.0, 4)).expect("removed");
    rows.close();
    server.start_again().await;
    for position in [0, 2, 3] {
        let mut reader = Raw::connect(&server).await;
        reader.send(hello(&server, &bob, position, 0).await).await;
        let code = loop {
            match reader.next().await {
                Frame::Close(close) => break close.code,
                Frame::Push(push) => assert!(push.seq < 4, "{} hides the hole", push.seq),
                Frame::CaughtUp(_) => panic!("it is not caught up"),
                _ => {}
            }
        };
        assert_eq!(Code::from_number(code), Some(Code::Internal), "from {position}");
    }
    let told = format!("inbox {}: entry 4 is missing, 5 follows", bob.user);
    assert!(log().contains(&told), "the operator is told where: {}", log());
    // What lies behind is there for a device that is past the hole, and for the history.
    let (mut past, _) = Raw::resume(&server, &bobs_other, 4, 0).await;
    past.entries(5, MESSAGES + 1).await;
    let (status, page) = get(&server, &bob, &format!("{chat}/messages?after=0")).await;
    assert_eq!((status, numbers(&page).len() as Seq), (StatusCode::OK, MESSAGES));
    Raw::resume(&server, &alice, 1, MESSAGES).await;
}

async fn get(site: &Site, account: &Account, path: &str) -> (StatusCode, Value) {
    let path =
        if path.starts_with('/') { path.into() } else { format!("/v1/conversations/{path}") };
    let url = format!("http://{}{path}", site.api);
    let asked = reqwest::Client::new().get(url).bearer_auth(&account.token).send().await;
    let answer = asked.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

fn numbers(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages").iter();
    messages.map(|message| message["conv_seq"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn a_damaged_message_fails_its_page_and_no_other() {
    let (mut server, log) = logging().await;
    let (_, bob, chat) = friends(&server).await;
    let receipt = frames::entry::Kind::Receipt(frames::Receipt::default());
    let receipt = frames::Entry { kind: Some(receipt), body: Bytes::new() }.encode_to_vec();
    let cases = [
        (Some(GARBAGE.to_vec()), "message 3 does not decode"),
        (Some(receipt), "message 3 does not decode"),
        (Some(Vec::new()), "message 3 does not decode"),
        (None, "message 3 is missing"),
        // Message 5 in its place.
        (Some(row(&mut server, chat, 5).await), "message 3 is the row of another message"),
    ];
    for (planted, told) in cases {
        assert!(server.terminate().await.success());
        let rows = Rows::open(&server.data_dir());
        match &planted {
            Some(row) => rows.message.insert(key(chat.0, 3), row).expect("planted"),
            None => rows.message.remove(key(chat.0, 3)).expect("removed"),
        }
        rows.close();
        server.start_again().await;
        let page =
            async |query: &str| get(&server, &bob, &format!("{chat}/messages?{query}")).await;
        let whole = [
            ("after=0&limit=2", vec![1, 2]),
            ("before=3", vec![1, 2]),
            ("after=3", vec![4, 5, 6]),
            ("limit=3", vec![4, 5, 6]),
        ];
        for (query, expected) in whole {
            let (status, page) = page(query).await;
            assert_eq!((status, numbers(&page)), (StatusCode::OK, expected), "{query}");
        }
        for query in ["", "after=2&limit=1", "after=2&limit=3", "before=4&limit=1", "around=3"] {
            let (status, problem) = page(query).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{told}, {query}: {problem}");
            assert_eq!(problem["code"], "internal");
        }
        let told = format!("conversation {chat}: {told}");
        assert!(log().contains(&told), "{told} is not in {}", log());
    }
}

/// A row of a conversation, read while the server is down.
async fn row(server: &mut Process, chat: ConversationId, conv_seq: Seq) -> Vec<u8> {
    assert!(server.terminate().await.success());
    let rows = Rows::open(&server.data_dir());
    let row = rows.message.get(key(chat.0, conv_seq)).expect("read").expect("a row").to_vec();
    drop(rows);
    server.start_again().await;
    row
}

#[tokio::test]
async fn a_list_does_not_leave_out_what_it_can_not_show() {
    let (mut server, log) = logging().await;
    let (_, bob, chat) = friends(&server).await;
    let last = row(&mut server, chat, MESSAGES).await;
    let small = |table: u8| [&[table][..], &chat.0.to_be_bytes()].concat();
    let lists = ["/v1/relations", "/v1/conversations", "/v1/snapshot"];
    let cases = [
        (None, [200, 500, 500], "message 6 does not decode"),
        (Some(b'r'), [500, 200, 500], "relation"),
        (Some(b'c'), [200, 500, 500], "conversation"),
    ];
    for (table, statuses, told) in cases {
        assert!(server.terminate().await.success());
        let rows = Rows::open(&server.data_dir());
        let mut taken = None;
        match table {
            None => rows.message.insert(key(chat.0, MESSAGES), GARBAGE).expect("planted"),
            Some(table) => {
                taken = rows.small.get(small(table)).expect("read");
                assert!(taken.is_some(), "there is a row to be lost");
                rows.small.remove(small(table)).expect("removed");
            }
        }
        rows.close();
        server.start_again().await;
        for (list, expected) in lists.iter().zip(statuses) {
            let (status, answer) = get(&server, &bob, list).await;
            assert_eq!(status.as_u16(), expected, "{told}, {list}: {answer}");
        }
        let named =
            log().lines().any(|line| line.contains(told) && line.contains(&chat.to_string()));
        assert!(named, "{told} of {chat} is not in {}", log());

        assert!(server.terminate().await.success());
        let rows = Rows::open(&server.data_dir());
        rows.message.insert(key(chat.0, MESSAGES), &last[..]).expect("put back");
        if let (Some(table), Some(row)) = (table, taken) {
            rows.small.insert(small(table), row).expect("put back");
        }
        rows.close();
        server.start_again().await;
    }
    for list in lists {
        assert_eq!(get(&server, &bob, list).await.0, StatusCode::OK, "{list}");
    }
}
