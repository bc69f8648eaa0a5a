//! Uploads and downloads: each thing that can go wrong has its own answer, and bytes that came are
//! kept.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use anser_proto::{Code, ConversationId, DeviceId, FileId, SessionId, wire};
use anser_store::{Batch, Outcome, Record};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, header},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectStore as _, ObjectStoreExt as _, memory::InMemory};
use prost::Message as _;
use serde_json::Value;

use super::{Answer, World, world::Person};
use crate::{clock, retention};

const SIZE: usize = 700_000;

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

/// Alice and Bob, who are friends, and Eve, who is nobody's.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    eve: Person,
    chat: String,
}

impl Scene {
    async fn new() -> Self {
        Self::on(World::new()).await
    }

    async fn on(world: World) -> Self {
        let (alice, bob) = (world.person("alice").await, world.person("bob").await);
        let eve = world.person("eve").await;
        let chat = world.befriend(&alice, &bob).await;
        Self { world, alice, bob, eve, chat }
    }

    async fn ask(
        &self,
        what: &str,
        who: &Person,
        headers: &[(&str, String)],
        body: Body,
    ) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", who.token));
        request = request.header("tus-resumable", "1.0.0");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = self.world.send(request.body(body).unwrap()).await;
        assert_eq!(answer.headers["content-disposition"], "attachment", "{what}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("sandbox;"), "{what}");
        answer
    }

    async fn create(&self, who: &Person, size: usize) -> Answer {
        let what = format!("POST /v1/files?conversation={}", self.chat);
        self.ask(&what, who, &[("upload-length", size.to_string())], Body::empty()).await
    }

    /// The path of a new upload of Alice's.
    async fn upload(&self, size: usize) -> String {
        let made = self.create(&self.alice, size).await;
        assert_eq!((made.status, &made.headers["upload-offset"]), (201, &"0".parse().unwrap()));
        made.headers["location"].to_str().unwrap().to_owned()
    }

    async fn add(&self, path: &str, offset: usize, body: impl Into<Body>) -> Answer {
        let headers = [
            ("content-type", "application/offset+octet-stream".to_owned()),
            ("upload-offset", offset.to_string()),
        ];
        self.ask(&format!("PATCH {path}"), &self.alice, &headers, body.into()).await
    }

    async fn head(&self, path: &str, who: &Person) -> Answer {
        self.ask(&format!("HEAD {path}"), who, &[], Body::empty()).await
    }

    async fn offset(&self, path: &str) -> usize {
        let head = self.head(path, &self.alice).await;
        assert_eq!(head.status, 200);
        head.headers["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    async fn get(&self, path: &str, who: &Person, range: Option<&str>) -> Answer {
        let range: Vec<_> = range.map(|range| ("range", range.to_owned())).into_iter().collect();
        self.ask(&format!("GET {path}"), who, &range, Body::empty()).await
    }

    /// A whole file of Alice's.
    async fn whole(&self, size: usize) -> String {
        let path = self.upload(size).await;
        self.add(&path, 0, bytes(size)).await.is_empty();
        path
    }

    /// Sends a message of Alice's that names the file.
    async fn name(&self, path: &str) {
        refer(&self.world, &self.alice, &self.chat, path).await;
    }

    async fn delete(&self, path: &str, who: &Person) -> Answer {
        self.ask(&format!("DELETE {path}"), who, &[], Body::empty()).await
    }

    fn stored(&self, path: &str) -> std::path::PathBuf {
        let id = id(path);
        let folder = self.world.dir.path().join("files").join(format!("{:02x}", id.0 & 0xff));
        folder.join(id.to_string())
    }
}

fn id(path: &str) -> FileId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

/// Commits a message that names a file.
pub(super) async fn refer(world: &World, who: &Person, chat: &str, path: &str) {
    let conversation: ConversationId = chat.parse().unwrap();
    let files = vec![id(path).0];
    let send = wire::Send { conversation: conversation.0, key_version: 1, files };
    let (kind, body) = (Some(wire::command::Kind::Send(send)), Bytes::from_static(b"sealed"));
    let record = Record::Command {
        user: who.id,
        device: DeviceId(who.device.0),
        session: SessionId(0),
        client_seq: 1,
        command: wire::Command { kind, body }.encode_to_vec().into(),
        once: None,
        trace: None,
    };
    let batch = Batch { records: vec![record], now_ms: clock::now_ms() };
    let committed = world.store.commit(batch).await.unwrap();
    assert_eq!(committed.outcomes, [Outcome::Applied]);
    assert_eq!(committed.entries.len(), 2, "a message, not a rejection");
}

/// A body that breaks after these bytes, as a connection does.
fn broken(bytes: Vec<u8>) -> Body {
    let pieces = [Ok(Bytes::from(bytes)), Err(std::io::Error::other("the connection broke"))];
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_goes_in_ranges() {
    let scene = Scene::new().await;
    let path = scene.upload(SIZE).await;
    let all = bytes(SIZE);
    let mut offset = 0;
    for size in [1, 65_535, 300_000, 0, SIZE - 365_536] {
        let answer = scene.add(&path, offset, all[offset..offset + size].to_vec()).await;
        answer.is_empty();
        offset += size;
        assert_eq!(answer.headers["upload-offset"], offset.to_string().as_str());
        assert_eq!(scene.offset(&path).await, offset);
    }
    assert_eq!(std::fs::read(scene.stored(&path)).unwrap(), all, "a plain file");
    let got = scene.get(&path, &scene.alice, None).await;
    assert_eq!((got.status, got.body.len()), (200, SIZE));
    assert!(got.body == all);
    assert_eq!(got.headers["content-type"], "application/octet-stream");
    assert_eq!(got.headers["content-length"], SIZE.to_string().as_str());
    for (asked, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=262143-262145", 262_143..262_146),
        ("bytes=300000-", 300_000..SIZE),
        ("bytes=-5", SIZE - 5..SIZE),
    ] {
        let got = scene.get(&path, &scene.alice, Some(asked)).await;
        assert_eq!(got.status, 206, "{asked}");
        assert!(got.body == all[range.clone()], "{asked}");
        let told = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
        assert_eq!(got.headers["content-range"], told.as_str());
    }
    let wrong = scene.get(&path, &scene.alice, Some(&format!("bytes={SIZE}-"))).await;
    assert!(wrong.problem(Code::RangeInvalid).contains(&SIZE.to_string()));
}

/// Whatever byte a connection breaks at, what came is there, and the rest follows it.
#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let scene = Scene::new().await;
    let all = bytes(SIZE);
    for cut in [0, 1, 65_536, 262_143, 262_144, 262_145, 524_288, SIZE - 1, SIZE] {
        let path = scene.upload(SIZE).await;
        let answer = scene.add(&path, 0, broken(all[..cut].to_vec())).await;
        if cut < SIZE {
            answer.problem(Code::Malformed);
        }
        assert_eq!(scene.offset(&path).await, cut);
        scene.add(&path, cut, all[cut..].to_vec()).await.is_empty();
        assert!(scene.get(&path, &scene.alice, None).await.body == all, "{cut}");
        scene.delete(&path, &scene.alice).await.is_empty();
    }
}

/// The server may be killed between the last sync and telling the store.
#[tokio::test]
async fn a_whole_upload_that_was_not_told_is_completed_by_the_next_question() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    scene.add(&path, 0, bytes(999)).await.is_empty();
    std::fs::write(scene.stored(&path), bytes(1000)).unwrap();
    scene.get(&path, &scene.alice, None).await.problem(Code::FileIncomplete);
    assert_eq!(scene.offset(&path).await, 1000);
    assert_eq!(scene.get(&path, &scene.alice, None).await.status, 200);
    scene.name(&path).await;
}

#[tokio::test]
async fn a_length_that_lies_is_told_and_no_byte_too_many_is_kept() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    scene.add(&path, 0, bytes(1001)).await.problem(Code::PayloadTooLarge);
    let headers = [
        ("content-type", "application/offset+octet-stream".to_owned()),
        ("upload-offset", "0".to_owned()),
        ("content-length", "1001".to_owned()),
    ];
    let said = scene.ask(&format!("PATCH {path}"), &scene.alice, &headers, Body::empty()).await;
    said.problem(Code::PayloadTooLarge);
    assert_eq!(scene.offset(&path).await, 0);
    let pieces = stream::iter([600, 401]).map(|size| std::io::Result::Ok(Bytes::from(bytes(size))));
    scene.add(&path, 0, Body::from_stream(pieces)).await.problem(Code::PayloadTooLarge);
    assert_eq!(scene.offset(&path).await, 600, "what is within the length is kept");
    for wrong in [0, 599, 601, 1000, 1001] {
        scene.add(&path, wrong, bytes(1)).await.problem(Code::OffsetConflict);
    }
    assert!(scene.add(&path, 7, bytes(1)).await.problem(Code::OffsetConflict).contains("600"));
    assert_eq!(scene.offset(&path).await, 600);
}

#[tokio::test]
async fn what_is_too_much_is_told_before_the_upload() {
    let scene = Scene::new().await;
    let limits = scene.world.get("/v1/server", "").await.json()["limits"].clone();
    assert_eq!(limits["file_bytes_max"], 1_000_000);
    assert_eq!(limits["user_file_bytes_max"], 2_000_000);
    let options = Request::options("/v1/files").body(Body::empty()).unwrap();
    let told = scene.world.send(options).await;
    told.is_empty();
    assert_eq!(told.headers["tus-max-size"], "1000000");
    assert_eq!(told.headers["tus-version"], "1.0.0");
    assert_eq!(told.headers["tus-extension"], "creation,creation-with-upload,termination");
    let detail = scene.create(&scene.alice, 1_000_001).await.problem(Code::FileTooLarge);
    assert!(detail.contains("1000000"), "{detail}");
    let first = scene.upload(1_000_000).await;
    scene.upload(1_000_000).await;
    scene.create(&scene.alice, 1).await.problem(Code::QuotaExceeded);
    scene.create(&scene.bob, 1).await.headers["location"].to_str().unwrap();
    scene.delete(&first, &scene.alice).await.is_empty();
    scene.upload(1).await;
    scene.create(&scene.eve, 1).await.problem(Code::NotMember);
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_came_is_kept() {
    let scene = Scene::new().await;
    let path = scene.upload(SIZE).await;
    scene.world.room.store(1000 + SIZE as u64 - 1, Relaxed);
    scene.create(&scene.alice, SIZE).await.problem(Code::DiskFull);
    let room = scene.world.room.clone();
    room.store(1000 + 300_000, Relaxed);
    let pieces = stream::iter([262_144, SIZE - 262_144]).map(move |size| {
        if size != 262_144 {
            room.store(1000, Relaxed);
        }
        std::io::Result::Ok(Bytes::from(bytes(SIZE)[SIZE - size..].to_vec()))
    });
    scene.add(&path, 0, Body::from_stream(pieces)).await.problem(Code::DiskFull);
    assert_eq!(scene.offset(&path).await, 262_144);
    scene.world.room.store(u64::MAX, Relaxed);
    scene.add(&path, 262_144, bytes(SIZE - 262_144)).await.is_empty();
}

#[tokio::test]
async fn a_file_is_the_members_once_a_message_names_it() {
    let scene = Scene::new().await;
    let path = scene.whole(1000).await;
    for (method, who) in
        [("GET", &scene.bob), ("HEAD", &scene.bob), ("PATCH", &scene.bob), ("GET", &scene.eve)]
    {
        let ask = async |path: &str| {
            let headers = [("upload-offset", "0".to_owned())];
            scene.ask(&format!("{method} {path}"), who, &headers, Body::empty()).await
        };
        let (theirs, nobodys) = (ask(&path).await, ask("/v1/files/77").await);
        assert_eq!((theirs.status, nobodys.status), (404, 404), "{method}");
    }
    scene.name(&path).await;
    assert!(scene.get(&path, &scene.bob, None).await.body == bytes(1000));
    scene.get(&path, &scene.eve, None).await.problem(Code::NotFound);
    scene.delete(&path, &scene.bob).await.problem(Code::NotFound);
    scene.delete(&path, &scene.alice).await.problem(Code::Forbidden);
    let headers = [
        ("content-type", "application/offset+octet-stream".to_owned()),
        ("upload-offset", "1000".to_owned()),
    ];
    let what = format!("PATCH {path}");
    scene.ask(&what, &scene.bob, &headers, Body::empty()).await.problem(Code::Forbidden);
}

#[tokio::test]
async fn a_revoked_device_neither_adds_nor_fetches() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    scene.add(&path, 0, bytes(500)).await.is_empty();
    let phone = scene.world.device(scene.alice.id, "phone").await;
    let revoke = format!("DELETE /v1/me/sessions/{}", scene.alice.device);
    scene.world.ask(&revoke, &phone.token, Value::Null).await.is_empty();
    scene.add(&path, 500, bytes(500)).await.problem(Code::Unauthenticated);
    scene.get(&path, &scene.alice, None).await.problem(Code::Unauthenticated);
    assert_eq!(scene.head(&path, &scene.alice).await.status, 401);
    assert_eq!(scene.head(&path, &phone).await.headers["upload-offset"], "500");
}

/// A backup was restored without the folder of files, or the disk lost one.
#[tokio::test]
async fn a_file_whose_bytes_are_missing_is_gone() {
    let scene = Scene::new().await;
    let path = scene.whole(1000).await;
    scene.name(&path).await;
    std::fs::write(scene.stored(&path), bytes(999)).unwrap();
    scene.get(&path, &scene.bob, None).await.problem(Code::FileGone);
    std::fs::remove_file(scene.stored(&path)).unwrap();
    scene.get(&path, &scene.bob, None).await.problem(Code::FileGone);
    assert_eq!(scene.head(&path, &scene.alice).await.status, 410);
}

#[tokio::test]
async fn one_request_writes_at_a_time() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    let writing = scene.world.files.writing(id(&path)).await.unwrap().expect("nobody writes");
    scene.add(&path, 0, bytes(10)).await.problem(Code::UploadBusy);
    assert_eq!(scene.offset(&path).await, 0, "asking is free");
    drop(writing);
    scene.add(&path, 0, bytes(10)).await.is_empty();
}

#[tokio::test]
async fn a_file_that_is_given_up_while_somebody_writes_is_removed_when_they_are_done() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    scene.add(&path, 0, bytes(10)).await.is_empty();
    let writing = scene.world.files.writing(id(&path)).await.unwrap().expect("nobody writes");
    let mut given_up = std::pin::pin!(scene.delete(&path, &scene.alice));
    let others = async {
        // It ends at once, and its bytes go when they may, however much else happens.
        while scene.head(&path, &scene.alice).await.status == 200 {}
        for _ in 0..50 {
            assert_eq!(scene.head(&path, &scene.alice).await.status, 404);
        }
    };
    tokio::select! {
        biased;
        _ = &mut given_up => panic!("somebody writes"),
        () = others => {}
    }
    assert!(scene.stored(&path).exists());
    drop(writing);
    let given_up = given_up.await;
    given_up.is_empty();
    assert!(!scene.stored(&path).exists());
}

#[tokio::test]
async fn metadata_is_neither_stored_nor_told() {
    let scene = Scene::new().await;
    let secret = "c2VjcmV0LW5hbWUucG5n";
    let headers = [
        ("upload-length", "4".to_owned()),
        ("upload-metadata", format!("filename {secret}")),
        ("content-type", "application/offset+octet-stream".to_owned()),
    ];
    let what = format!("POST /v1/files?conversation={}", scene.chat);
    let made = scene.ask(&what, &scene.alice, &headers, Body::from("abcd")).await;
    assert_eq!((made.status, &made.headers["upload-offset"]), (201, &"4".parse().unwrap()));
    let path = made.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(scene.get(&path, &scene.alice, None).await.body, b"abcd");
    assert!(scene.head(&path, &scene.alice).await.headers.get("upload-metadata").is_none());
    scene.world.store.close().await.unwrap();
    let mut folders = vec![scene.world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let text = std::fs::read(&entry).unwrap();
                let found = text.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{}", entry.display());
            }
        }
    }
}

#[tokio::test]
async fn tus_requests_are_read_strictly() {
    let scene = Scene::new().await;
    let path = scene.upload(1000).await;
    let request = |method: &str, path: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {}", scene.alice.token));
        let map = headers.iter().map(|(name, value)| {
            ((*name).parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        request.headers_mut().unwrap().extend(HeaderMap::from_iter(map));
        request.body(Body::empty()).unwrap()
    };
    for version in [&[][..], &[("tus-resumable", "0.2.2")]] {
        let refused = scene.world.send(request("HEAD", &path, version)).await;
        assert_eq!(
            (refused.status, &refused.headers["tus-version"]),
            (412, &"1.0.0".parse().unwrap())
        );
    }
    const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
    let new = format!("/v1/files?conversation={}", scene.chat);
    for wrong in [
        &[TUS][..],
        &[TUS, ("upload-length", "-1")],
        &[TUS, ("upload-length", "+1")],
        &[TUS, ("upload-length", "1e3")],
        &[TUS, ("upload-length", "9007199254740992")],
        &[TUS, ("upload-length", "99999999999999999999")],
        &[TUS, ("upload-defer-length", "1")],
    ] {
        let refused = scene.world.send(request("POST", &new, wrong)).await;
        refused.problem(Code::InvalidRequest);
    }
    let good = [TUS, ("upload-length", "1")];
    for address in ["/v1/files", "/v1/files?conversation=x", "/v1/files?conversation=1&token=2"] {
        scene.world.send(request("POST", address, &good)).await.problem(Code::InvalidRequest);
    }
    let json = [TUS, ("upload-offset", "0"), ("content-type", "application/json")];
    scene.world.send(request("PATCH", &path, &json)).await.problem(Code::UnsupportedMedia);
    let no_offset = [TUS, ("content-type", "application/offset+octet-stream")];
    scene.world.send(request("PATCH", &path, &no_offset)).await.problem(Code::InvalidRequest);
    for no_id in ["/v1/files/0", "/v1/files/..%2Fdb", "/v1/files/x", "/v1/files/9007199254740992"] {
        scene.world.send(request("GET", no_id, &[])).await.problem(Code::InvalidRequest);
    }
}

#[tokio::test]
async fn what_nobody_names_is_removed_and_what_is_named_stays() {
    let scene = Scene::new().await;
    let (named, whole, partial) =
        (scene.whole(1000).await, scene.whole(1000).await, scene.upload(1000).await);
    scene.add(&partial, 0, bytes(10)).await.is_empty();
    scene.name(&named).await;
    let collect = async |hours: u64| {
        let now_ms = clock::now_ms() + hours * 3_600_000;
        retention::collect(&*scene.world.store, &scene.world.files, now_ms).await;
    };
    let there = || [&named, &whole, &partial].map(|path| scene.stored(path).exists());
    collect(23).await;
    assert_eq!(there(), [true, true, true]);
    collect(25).await;
    assert_eq!(there(), [true, true, false]);
    assert_eq!(scene.head(&partial, &scene.alice).await.status, 404);
    collect(7 * 24 - 1).await;
    assert_eq!(there(), [true, true, false]);
    let writing = scene.world.files.writing(id(&whole)).await.unwrap().expect("nobody writes");
    collect(7 * 24 + 1).await;
    assert_eq!(there(), [true, true, false], "not while somebody writes");
    drop(writing);
    collect(7 * 24 + 1).await;
    collect(100 * 365 * 24).await;
    assert_eq!(there(), [true, false, false]);
    assert!(scene.get(&named, &scene.bob, None).await.body == bytes(1000));
}

/// The same answers when files are in a store of objects.
#[tokio::test]
async fn files_in_a_store_of_objects_are_told_the_same() {
    let objects = Arc::new(InMemory::new());
    let scene = Scene::on(World::with_objects(objects.clone())).await;
    let all = bytes(SIZE);
    let path = scene.upload(SIZE).await;
    scene.add(&path, 0, broken(all[..300_000].to_vec())).await.problem(Code::Malformed);
    assert_eq!(scene.offset(&path).await, 300_000);
    scene.add(&path, 5, all[5..].to_vec()).await.problem(Code::OffsetConflict);
    scene.add(&path, 300_000, all[300_000..].to_vec()).await.is_empty();
    scene.name(&path).await;
    let got = scene.get(&path, &scene.bob, Some("bytes=299990-300009")).await;
    assert_eq!(got.status, 206);
    assert!(got.body == all[299_990..300_010]);
    let lost = format!("files/{}/{:016}", id(&path), 300_000);
    objects.delete(&lost.into()).await.unwrap();
    scene.get(&path, &scene.bob, None).await.problem(Code::FileGone);
    assert_eq!(scene.head(&path, &scene.alice).await.status, 410);

    let whole = scene.whole(1000).await;
    let now_ms = clock::now_ms() + 8 * 24 * 3_600_000;
    retention::collect(&*scene.world.store, &scene.world.files, now_ms).await;
    assert_eq!(scene.head(&whole, &scene.alice).await.status, 404);
    let left: Vec<_> = objects.list(None).try_collect().await.unwrap();
    assert_eq!(left.len(), 1, "what a message names stays: {left:?}");
    let given_up = scene.whole(1000).await;
    scene.delete(&given_up, &scene.alice).await.is_empty();
    assert_eq!(objects.list(None).count().await, 1);
}
