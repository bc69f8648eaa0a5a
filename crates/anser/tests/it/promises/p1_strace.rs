//! Sent means safe, as the kernel sees it: the syncs of a server under strace.

use std::path::PathBuf;

use crate::support::{
    left_out,
    people::{Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    raw::{Raw, push, send},
    view::View,
};

/// Where strace tells what the server does. A line is there before the server goes on.
struct Log {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Log {
    /// Stops the server, so that nothing is left to be synced, and starts it again under strace.
    async fn start(server: &mut Process) -> Self {
        assert!(server.terminate().await.success());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("strace.log");
        let file = path.to_str().expect("a temporary path is text");
        let words = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-e", "signal=none"];
        let words = words.into_iter().chain(["-o", file]).map(str::to_owned);
        server.start_again_under(&words.collect::<Vec<_>>()).await;
        Self { path, _folder: folder }
    }

    /// Syncs that came back without an error.
    fn syncs(&self) -> u64 {
        let log = std::fs::read_to_string(&self.path).expect("a log");
        let sync = |line: &&str| line.contains("sync") && line.trim_end().ends_with("= 0");
        log.lines().filter(sync).count() as u64
    }
}

#[tokio::test]
async fn p1_syncs_are_at_least_as_many_as_commits() {
    if !left_out::has("strace", "p1_syncs_are_at_least_as_many_as_commits") {
        return;
    }
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, bob, chat) = server.friends().await;
    let log = Log::start(&mut server).await;
    let before = log.syncs();
    let sender = Person::online(&server, &alice).await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    for round in 0..10 {
        sender.send_all(chat, &numbered(&format!("round {round}"), 20));
        receiver.messages((round + 1) * 20).await;
    }
    let commits = server.status().await.store.commits;
    let syncs = log.syncs() - before;
    assert!(commits >= 10, "the messages came in several commits");
    assert!(syncs >= commits, "{syncs} syncs for {commits} commits");
}

/// One command after the other, so that each needs a commit and a sync of its own.
#[tokio::test]
async fn p1_nothing_is_told_before_its_sync() {
    if !left_out::has("strace", "p1_nothing_is_told_before_its_sync") {
        return;
    }
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, _, chat) = server.friends().await;
    let log = Log::start(&mut server).await;
    let before = log.syncs();
    let mut sender = Raw::online(&server, &alice).await;
    for number in 1..=20 {
        sender.send(push(number, send(chat, b"one by one"))).await;
        sender.acked(number).await;
        let syncs = log.syncs() - before;
        assert!(syncs >= number, "{number} commands were acked after {syncs} syncs");
    }
}
