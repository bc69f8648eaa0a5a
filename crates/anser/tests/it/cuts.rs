//! Files over a line that is cut at one byte after another, and under clients that are killed.

use std::{path::Path, process::Stdio, time::Duration};

use anser_client::SendState;
use tokio::process::{Child, Command};

use crate::{
    files::{bytes, file, local, send, through},
    support::{
        cli,
        people::{PATIENCE, Person, session},
        proxy::{Break, Line, Way},
        server::Server,
        site::Site,
    },
};

/// Sealed, two chunks: both directions of a transfer are some 70,000 bytes with their headers.
const SIZE: usize = 70_000;
/// A prime, so that cuts fall on all kinds of places: in headers, in chunks, at their ends.
const STEP: usize = 1_709;
/// The server's answers to an upload have so many bytes, about; they are headers.
const ANSWERS: usize = 1_500;
const ANSWER_STEP: usize = 97;

fn is_sent(state: SendState) -> bool {
    matches!(state, SendState::Sent | SendState::Delivered)
}

#[tokio::test]
async fn an_upload_goes_on_wherever_it_is_cut() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let line = Line::start(server.api).await;
    let sender = Person::of(through(line.address, &server), session(&alice)).await;
    let mut reader = Person::online(&server, &bob).await;
    let path = local(&server, "cut.bin", SIZE);
    let up = (0..SIZE + 2_000).step_by(STEP).map(|at| (Way::Up, at));
    let down = (0..ANSWERS).step_by(ANSWER_STEP).map(|at| (Way::Down, at));
    let mut broken = 0;
    for (way, at) in up.chain(down) {
        let before = line.breaks();
        line.set(way, at, Break::Cut);
        let sent = send(&sender, chat, &path).sent().await.expect("sent").sent().await;
        assert!(is_sent(sent), "{way:?} {at}: {sent:?}");
        let file = file(&mut reader).await;
        let mut got = Vec::new();
        reader.client.download(&file, &mut got, |_| {}).await.expect("downloaded");
        assert!(got == bytes(SIZE), "{way:?} {at}");
        broken += line.breaks() - before;
    }
    let ways = (SIZE + 2_000).div_ceil(STEP) + ANSWERS.div_ceil(ANSWER_STEP);
    assert!(broken + 15 > ways, "most of {ways} cuts were on the way: {broken}");
}

#[tokio::test]
async fn a_download_goes_on_wherever_it_is_cut() {
    let server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let line = Line::start(server.api).await;
    let sender = Person::online(&server, &alice).await;
    let mut reader = Person::of(through(line.address, &server), session(&bob)).await;
    let path = local(&server, "cut.bin", SIZE);
    send(&sender, chat, &path).sent().await.expect("sent");
    let file = file(&mut reader).await;
    let down = (0..SIZE + 400).step_by(STEP).map(|at| (Way::Down, at));
    let up = (0..300).step_by(ANSWER_STEP).map(|at| (Way::Up, at));
    let (mut broken, mut ways) = (0, 0);
    for (way, at) in down.chain(up) {
        let before = line.breaks();
        line.set(way, at, Break::Cut);
        let saved = server.folder().join(format!("{way:?}-{at}"));
        reader.client.save(&file, &saved, |_| {}).await.expect("saved");
        assert!(std::fs::read(&saved).expect("a file") == bytes(SIZE), "{way:?} {at}");
        (broken, ways) = (broken + line.breaks() - before, ways + 1);
    }
    assert!(broken + 3 > ways, "most of {ways} cuts were on the way: {broken}");
}

fn anser(line: &Line, site: &Site, command: &str, user: &str) -> Command {
    let mut anser = cli::anser(line.address, site, command, user);
    anser.stdout(Stdio::null());
    anser
}

async fn succeeds(mut command: Command) {
    let status = command.status().await.expect("it runs");
    assert_eq!(status.code(), Some(0), "{command:?}");
}

/// kill -9.
async fn kill(mut child: Child) {
    child.kill().await.expect("it ends");
}

/// A process that sends and one that saves, each killed in the middle of a file and started again.
#[tokio::test]
async fn clients_that_are_killed_go_on_with_their_file() {
    let server = Server::start().await;
    let line = Line::start(server.api).await;
    let mut accounts = Vec::new();
    for user in ["alice", "bob"] {
        let mut first = anser(&line, &server, "tail", user);
        first.arg("--until-caught-up");
        succeeds(first).await;
        accounts.push(cli::log_in(&server, user).await);
    }
    server.befriend(&accounts[0], &accounts[1]).await;
    let size = 3_000_000;
    let path = local(&server, "archive", size);
    for at in [100_000, 1_000_000] {
        line.set(Way::Up, at, Break::Hold);
        let mut sends = anser(&line, &server, "send", "alice");
        let sends = sends.args(["--to", "bob", "--file"]).arg(&path).spawn().expect("it starts");
        line.broken().await;
        kill(sends).await;
    }
    // Any command of hers goes on with both, and sends a line behind them.
    let mut bob = Person::online(&server, &accounts[1]).await;
    let mut again = anser(&line, &server, "tail", "alice").spawn().expect("it starts");
    for _ in 0..2 {
        let file = file(&mut bob).await;
        assert_eq!((file.size, &*file.name), (size as u64, "archive"));
    }
    again.kill().await.expect("it ends");

    let inbox = server.folder().join("inbox");
    let saves = || {
        let mut saves = anser(&line, &server, "tail", "bob");
        saves.args(["--since-start", "--until-caught-up", "--save"]).arg(&inbox);
        saves
    };
    for at in [200_000, 1_500_000] {
        line.set(Way::Down, at, Break::Hold);
        let running = saves().spawn().expect("it starts");
        line.broken().await;
        written(&inbox, at).await;
        kill(running).await;
        assert!(!inbox.join("alice-1-archive").exists(), "it is not whole");
    }
    let (begun, before) = (begun(&inbox), line.passed(Way::Down));
    succeeds(saves()).await;
    let fetched = (line.passed(Way::Down) - before) as u64;
    let lacking = 2 * size as u64 - begun;
    assert!(fetched < lacking + 200_000, "{fetched} bytes for the {lacking} that were lacking");
    for number in [1, 2] {
        let saved = std::fs::read(inbox.join(format!("alice-{number}-archive")));
        assert!(saved.expect("saved") == bytes(size), "message {number}");
    }
    assert_eq!(std::fs::read_dir(&inbox).expect("a folder").count(), 2, "nothing half is left");
}

/// Waits until most of so many bytes more are written: those on their way take a moment.
async fn written(inbox: &Path, bytes: usize) {
    let mut every = tokio::time::interval(Duration::from_millis(20));
    let written = async {
        while begun(inbox) < bytes as u64 * 3 / 4 {
            every.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("what came is written");
}

/// Bytes of the file that is not whole.
fn begun(inbox: &Path) -> u64 {
    std::fs::metadata(inbox.join("alice-1-archive.anser-part")).map_or(0, |part| part.len())
}
