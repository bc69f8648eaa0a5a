//! Files between two friends, by the SDK: whole whatever is cut or killed, and each trouble told.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anser_client::{
    Builder, Client, Content, ErrorKind, Event, File, MemoryStorage, Outgoing, SendState,
    UploadState,
};
use anser_proto::{Code, ConversationId};

use crate::support::{
    people::{Person, builder, session, storage},
    process::Process,
    proxy::Proxy,
    server::{Account, Server},
    site::Site,
};

pub(crate) fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8 ^ (at >> 16) as u8).collect()
}

/// A file to send, in the server's folder.
pub(crate) fn local(site: &Site, name: &str, size: usize) -> PathBuf {
    let path = site.folder().join(name);
    std::fs::write(&path, bytes(size)).expect("a file");
    path
}

/// A client whose REST calls go through a proxy, and its connection does not.
pub(crate) fn through(address: SocketAddr, site: &Site) -> Builder {
    let fast = std::time::Duration::from_millis(5);
    Client::builder(format!("http://{address}"))
        .connector(site.connector.to_string())
        .backoff(fast, fast * 20)
}

pub(crate) async fn file(person: &mut Person) -> File {
    person
        .next(|event| match event {
            Event::Message(message) => match &message.content {
                Content::File(file) => Some(file.clone()),
                other => panic!("no file: {other:?}"),
            },
            _ => None,
        })
        .await
}

pub(crate) fn send(
    person: &Person,
    chat: ConversationId,
    path: &Path,
) -> anser_client::UploadHandle {
    let outgoing = Outgoing::open(path).expect("a file that can be read");
    person.client.send_file(chat, outgoing).expect("a place among the uploads")
}

/// The only file of a server: where its bytes are.
fn stored(data: &Path) -> PathBuf {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let files: Vec<_> = list(&data.join("files")).iter().flat_map(|folder| list(folder)).collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    file.clone()
}

/// Waits until the server has some of an upload, and not all.
async fn under_way(upload: &anser_client::UploadHandle) {
    let mut state = upload.state();
    let begun = |state: &UploadState| match state {
        UploadState::Uploading { sent, size } => *sent > 0 && sent < size,
        other => panic!("too late: {other:?}"),
    };
    let begun = tokio::time::timeout(crate::support::people::PATIENCE, state.wait_for(begun));
    begun.await.expect("bytes go out in time").expect("the upload is there");
}

/// Both ways are cut, at bytes that a seed chooses, in headers and in bodies.
#[tokio::test]
async fn a_file_arrives_whole_over_a_line_that_breaks_again_and_again() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut reader = Person::online(&server, &bob).await;
    let (mut cuts, sizes) = ([0, 0], [0, 65_536, 700_000, 700_001, 700_002, 1_500_000, 3_000_000]);
    for (seed, size) in (1..).zip(sizes) {
        let line = Proxy::start(server.api, seed * 7_919_019, 12, 150_000).await;
        let phone = session(&server.device(&alice).await);
        let sender = Person::of(through(line.address, &server), phone);
        let sender = sender.await;
        let path = local(&server, &format!("{size}.bin"), size);
        let sent = send(&sender, chat, &path).sent().await.expect("sent").sent().await;
        assert!(matches!(sent, SendState::Sent | SendState::Delivered), "{sent:?}");
        let file = file(&mut reader).await;
        assert_eq!((file.size, &*file.name), (size as u64, &*format!("{size}.bin")));

        let back = Proxy::start(server.api, seed * 104_729_031, 12, 150_000).await;
        let phone = session(&server.device(&bob).await);
        let fetcher = Person::of(through(back.address, &server), phone).await;
        let saved = server.folder().join(format!("{size}.saved"));
        let mut told = 0;
        fetcher.client.save(&file, &saved, |written| told = written).await.expect("saved");
        assert!(std::fs::read(&saved).expect("a file") == bytes(size), "{size} bytes");
        assert!(told == size as u64 || size == 0, "{told}");
        let again =
            fetcher.client.save(&file, &saved, |_| {}).await.expect_err("nothing is replaced");
        assert_eq!(again.kind(), ErrorKind::File);
        cuts = [cuts[0] + line.cuts(), cuts[1] + back.cuts()];
        fetcher.client.shutdown().await;
        sender.client.shutdown().await;
    }
    assert!(cuts[0] > 5 && cuts[1] > 1, "the lines broke: {cuts:?}");
}

#[tokio::test]
async fn a_server_that_is_killed_goes_on_with_uploads_and_downloads() {
    let mut server = Process::start(&[]).await;
    let (alice, bob, chat) = server.friends().await;
    let size = 40_000_000;
    let path = local(&server, "archive", size);
    let sender = Person::of(builder(&server), session(&alice)).await;
    let mut reader = Person::of(builder(&server), session(&bob)).await;
    let upload = send(&sender, chat, &path);
    for _ in 0..3 {
        under_way(&upload).await;
        server.kill().await;
        server.start_again().await;
    }
    upload.sent().await.expect("sent");
    let file = file(&mut reader).await;
    let saved = server.folder().join("saved");
    let (part, mut seen) = tokio::sync::watch::channel(0);
    let save = reader.client.save(&file, &saved, |written| {
        part.send_replace(written);
    });
    let kill = async {
        seen.wait_for(|written| *written > 0).await.expect("bytes come");
        server.kill().await;
        server.start_again().await;
    };
    let (done, ()) = tokio::join!(save, kill);
    if done.is_err() {
        // It was away for longer than one call waits; the next one goes on.
        assert!(std::fs::metadata(server.folder().join("saved.anser-part")).unwrap().len() > 0);
        reader.client.save(&file, &saved, |_| {}).await.expect("saved");
    }
    assert!(std::fs::read(&saved).expect("a file") == bytes(size));
}

#[tokio::test]
async fn a_client_that_is_started_again_goes_on_with_its_upload() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let size = 40_000_000;
    let path = local(&server, "archive", size);
    let sender = Person::of(builder(&server).storage(storage(&server, "alice")), session(&alice));
    let sender = sender.await;
    let upload = send(&sender, chat, &path);
    under_way(&upload).await;
    sender.client.shutdown().await;
    assert!(upload.queued().await.is_err(), "nobody waits for a client that ended");
    let begun = std::fs::metadata(stored(server.data_dir())).expect("a file").len();
    assert!(begun > 0 && begun < size as u64, "{begun}");
    let mut reader = Person::online(&server, &bob).await;
    let sender = Person::of(builder(&server).storage(storage(&server, "alice")), session(&alice));
    let sender = sender.await;
    let file = file(&mut reader).await;
    assert_eq!(
        stored(server.data_dir()).file_name().unwrap().to_str(),
        Some(&*file.id.to_string())
    );
    let mut got = Vec::new();
    reader.client.download(&file, &mut got, |_| {}).await.expect("downloaded");
    assert!(got == bytes(size));
    assert!(sender.client.uploads().is_empty());
}

/// The upload was collected before its message came: the server says so, and gets it again.
#[tokio::test]
async fn what_the_server_lost_is_uploaded_again() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let path = local(&server, "note", 1000);
    let nowhere = builder(&server).connector("127.0.0.1:1").storage(storage(&server, "alice"));
    let sender = Person::of(nowhere, session(&alice)).await;
    send(&sender, chat, &path).queued().await.expect("uploaded");
    let id = stored(server.data_dir()).file_name().unwrap().to_str().unwrap().to_owned();
    give_up(&server, &alice, &id).await;
    sender.client.shutdown().await;
    let mut reader = Person::online(&server, &bob).await;
    let again = builder(&server).storage(storage(&server, "alice"));
    let mut sender = Person::of(again, session(&alice)).await;
    let code = sender.next(|event| match event {
        Event::Rejected { code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(code.await, Some(Code::FileGone));
    let file = file(&mut reader).await;
    assert_ne!(file.id.to_string(), id);
    let mut got = Vec::new();
    reader.client.download(&file, &mut got, |_| {}).await.expect("downloaded");
    assert_eq!(got, bytes(1000));
}

async fn give_up(site: &Site, account: &Account, id: &str) {
    let request = reqwest::Client::new().delete(format!("http://{}/v1/files/{id}", site.api));
    let request = request.bearer_auth(&account.token).header("Tus-Resumable", "1.0.0");
    assert_eq!(request.send().await.expect("an answer").status(), 204);
}

#[tokio::test]
async fn what_was_changed_on_the_server_is_found_and_never_given_out() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let path = local(&server, "three chunks", 150_000);
    let sender = Person::online(&server, &alice).await;
    let mut reader = Person::online(&server, &bob).await;
    send(&sender, chat, &path).sent().await.expect("sent");
    let file = file(&mut reader).await;
    let stored = stored(server.data_dir());
    let whole = std::fs::read(&stored).expect("the sealed file");
    assert!(!whole.windows(64).any(|part| part == &bytes(64)[..]), "the server has no plain bytes");
    let saved = server.folder().join("saved");
    let mut broken = whole.clone();
    broken[70_000] ^= 1;
    std::fs::write(&stored, &broken).expect("broken");
    let error = reader.client.save(&file, &saved, |_| {}).await.expect_err("a broken chunk");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let mut got = Vec::new();
    let error = reader.client.download(&file, &mut got, |_| {}).await.expect_err("the same");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(got == bytes(150_000)[..65_536], "only what opened");
    assert!(!saved.exists(), "it is not whole");
    std::fs::remove_file(&stored).expect("missing");
    let error = reader.client.save(&file, &saved, |_| {}).await.expect_err("missing");
    assert_eq!(error.code(), Some(Code::FileGone));
    std::fs::write(&stored, &whole).expect("mended");
    reader.client.save(&file, &saved, |_| {}).await.expect("the rest of it");
    assert!(std::fs::read(&saved).expect("a file") == bytes(150_000));
}

/// A beginning of another file must not be taken for this one's.
#[tokio::test]
async fn a_part_that_is_not_of_this_file_is_found_and_removed() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let path = local(&server, "a", 150_000);
    let sender = Person::online(&server, &alice).await;
    let mut reader = Person::online(&server, &bob).await;
    send(&sender, chat, &path).sent().await.expect("sent");
    let file = file(&mut reader).await;
    let saved = server.folder().join("saved");
    std::fs::write(server.folder().join("saved.anser-part"), vec![7; 100_000]).expect("a part");
    let error = reader.client.save(&file, &saved, |_| {}).await.expect_err("another's beginning");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(!saved.exists());
    reader.client.save(&file, &saved, |_| {}).await.expect("from the start");
    assert!(std::fs::read(&saved).expect("a file") == bytes(150_000));
}

#[tokio::test]
async fn what_can_not_be_sent_is_told_and_what_is_given_up_is_removed() {
    let change = |config: &mut anser_server::config::Config| config.files.bytes_max = 50_000_000;
    let server = Server::start_with(change).await;
    let (alice, _, chat) = server.friends().await;
    let mut sender =
        Person::of(builder(&server).storage(MemoryStorage::default()), session(&alice)).await;
    let large = local(&server, "large", 50_000_001);
    let error = send(&sender, chat, &large).sent().await.expect_err("too large");
    assert_eq!(error.code(), Some(Code::FileTooLarge));
    let told = sender.next(|event| match event {
        Event::FileFailed { name, code, .. } => Some((name.clone(), *code)),
        _ => None,
    });
    assert_eq!(told.await, ("large".to_owned(), Some(Code::FileTooLarge)));

    let changed = local(&server, "changed", 100_000);
    let outgoing = Outgoing::open(&changed).expect("a file");
    std::fs::write(&changed, bytes(100_001)).expect("changed");
    let upload = sender.client.send_file(chat, outgoing).expect("a place");
    assert_eq!(upload.sent().await.expect_err("another file").kind(), ErrorKind::File);
    assert!(Outgoing::open(server.folder()).is_err() && Outgoing::open("/none").is_err());

    let long = local(&server, "long", 40_000_000);
    let upload = send(&sender, chat, &long);
    under_way(&upload).await;
    upload.cancel();
    assert!(matches!(upload.queued().await, Err(error) if error.kind() == ErrorKind::Closed));
    let last = local(&server, "last", 10);
    send(&sender, chat, &last).sent().await.expect("those behind it go on");
    let stored = stored(server.data_dir());
    assert_eq!(std::fs::metadata(stored).expect("a file").len(), 38, "the given up one is gone");
}
