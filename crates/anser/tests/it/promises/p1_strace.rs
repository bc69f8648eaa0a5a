//! Sent means safe, as the kernel sees it: the system calls of a server under strace.

use std::{collections::HashMap, path::PathBuf};

use crate::support::{
    left_out,
    people::{Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    raw::{Raw, push, send},
    view::View,
};

/// A server under strace, and the file that tells what it did.
struct Traced {
    server: Process,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Traced {
    async fn start(calls: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("strace.log");
        let trace = format!("trace={calls}");
        let path = log.to_str().expect("a temporary path is text");
        let words =
            ["strace", "-f", "-yy", "-s", "0", "-e", &trace, "-e", "signal=none", "-o", path];
        let program: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let server = Process::start_under(&program, &WITHOUT_RATE_LIMIT).await;
        Self { server, log, _folder: folder }
    }

    /// What was logged; strace has written all of it once the server was waited for.
    fn lines(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        log.lines().map(str::to_owned).collect()
    }
}

/// A sync that came back without an error.
fn is_synced(line: &str) -> bool {
    let call = ["fsync(", "fdatasync(", "fsync resumed>", "fdatasync resumed>"];
    call.iter().any(|call| line.contains(call)) && line.trim_end().ends_with("= 0")
}

#[tokio::test]
async fn p1_syncs_are_at_least_as_many_as_commits() {
    if !left_out::has("strace", "p1_syncs_are_at_least_as_many_as_commits") {
        return;
    }
    let mut traced = Traced::start("fsync,fdatasync").await;
    let (alice, bob, chat) = traced.server.friends().await;
    let before = traced.lines().len();
    let sender = Person::online(&traced.server, &alice).await;
    let mut receiver = View::of(Person::online(&traced.server, &bob).await);
    for round in 0..10 {
        sender.send_all(chat, &numbered(&format!("round {round}"), 20));
        receiver.messages((round + 1) * 20).await;
    }
    let commits = traced.server.status().await.store.commits;
    assert!(commits >= 10, "the messages came in several commits");
    // Killed, so that the syncs of an orderly stop do not count.
    traced.server.kill().await;
    let syncs = traced.lines()[before..].iter().filter(|line| is_synced(line)).count();
    assert!(syncs as u64 >= commits, "{syncs} syncs for {commits} commits");
}

/// One command after the other, so that each ack has a commit of its own. Whatever the database had
/// written to its journal when a frame left was synced then.
#[tokio::test]
async fn p1_nothing_is_told_before_its_sync() {
    if !left_out::has("strace", "p1_nothing_is_told_before_its_sync") {
        return;
    }
    let mut traced = Traced::start("write,writev,pwrite64,sendto,fsync,fdatasync").await;
    let (alice, _, chat) = traced.server.friends().await;
    let mut sender = Raw::online(&traced.server, &alice).await;
    for number in 1..=20 {
        sender.send(push(number, send(chat, b"one by one"))).await;
        sender.acked(number).await;
    }
    traced.server.kill().await;
    let (mut unsynced, mut syncing, mut told) = (false, HashMap::new(), 0);
    let connector = format!("TCP:[127.0.0.1:{}->", traced.server.connector.port());
    for line in traced.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default().to_owned();
        let is_write =
            line.contains("write(") || line.contains("writev(") || line.contains("pwrite64(");
        if is_write && line.contains(".jnl>") {
            unsynced = true;
            syncing.clear();
        } else if line.contains("sync(") && line.contains("unfinished") {
            syncing.insert(thread, ());
        } else if is_synced(&line) {
            // A sync that began before the last write does not count for it.
            let whole = !line.contains("resumed>");
            if whole || syncing.remove(&thread).is_some() {
                unsynced = false;
            }
        } else if line.contains("sendto(") && line.contains(&connector) {
            assert!(!unsynced, "a frame left before the sync of what it tells: {line}");
            told += 1;
        }
    }
    assert!(told > 20, "every ack was seen to leave, and the Welcome: {told}");
}
