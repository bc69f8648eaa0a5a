//! Promise 1 under kill -9: a child process writes under load and is killed, again and again; each
//! time everything that it was told is there, without holes, and writing goes on. The rounds write
//! more than a journal holds, so the last ones find a journal that was rotated.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anser_proto::wire::{self, entry::Kind};
use anser_proto::{ConversationId, DeviceId, UserId};
use prost::Message as _;

use super::{Folder, options};
use crate::contract::{Person, World, decode};
use crate::embedded::Embedded;
use crate::{Batch, HistoryRange, Outcome, Record, Store};

const PAIRS: usize = 4;
const ROUNDS: usize = 5;
/// Acked batches before the kill: about 20 MiB of journal, so memtables rotate and flush meanwhile,
/// and in the fourth round the journal (64 MiB) does.
const ACKS_PER_ROUND: usize = 100;
const BATCH: u64 = 8;
const BODY_BYTES: usize = 8000;
/// The longest wait for an ack. A store that halts its writes for ever gives none.
const ACK_WITHIN: Duration = Duration::from_secs(60);
const FOLDER: &str = "ANSER_STORE_KILL_TEST";

/// A sender and where they send.
#[derive(Clone, Copy)]
struct Sender {
    person: Person,
    conversation: ConversationId,
    peer: UserId,
}

#[tokio::test]
async fn p1_kill_9_under_load_loses_nothing_that_was_acked() {
    let folder = Folder::new();
    let world = World::open(&folder).await;
    for _ in 0..PAIRS {
        world.friends().await;
    }
    let senders = senders(&*world.store).await;
    world.store.close().await.unwrap();

    let mut acked = vec![0; senders.len()];
    for round in 0..ROUNDS {
        kill_after_acks(folder.0.path(), &mut acked);
        let world = World::open(&folder).await;
        for (sender, acked) in senders.iter().zip(&acked) {
            let whole = check(&world, *sender, *acked).await;
            // The next number is the one after what is there.
            let next = sender.person.send(whole + 1, sender.conversation, "between the rounds");
            assert_eq!(world.one(next).await, Outcome::Applied, "round {round}");
        }
        world.store.close().await.unwrap();
    }
    let last = last_journal(folder.0.path());
    assert!(last > 0, "the journal was rotated");
}

/// Not a test of its own: what the child process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent test calls its child")]
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store: Arc<dyn Store> = Arc::new(Embedded::open(options(Path::new(&folder))).unwrap());
    let mut writers = Vec::new();
    for (index, sender) in senders(&*store).await.into_iter().enumerate() {
        let devices = store.devices(sender.person.user).await.unwrap();
        let position = devices[0].outbox_position;
        let store = Arc::clone(&store);
        writers.push(tokio::spawn(write(store, sender, index, position)));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Sends batches for ever and tells each one that was acked.
async fn write(store: Arc<dyn Store>, sender: Sender, index: usize, mut position: u64) {
    loop {
        let numbers = position + 1..=position + BATCH;
        let records = numbers.map(|n| message(sender, n)).collect();
        let committed = store.commit(Batch { records, now_ms: 1 }).await.unwrap();
        assert!(committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
        position += BATCH;
        let mut out = std::io::stdout().lock();
        writeln!(out, "acked {index} {position}").and_then(|()| out.flush()).unwrap();
    }
}

/// A body that does not shrink when it is compressed, as sealed ones do not.
fn message(sender: Sender, client_seq: u64) -> Record {
    let mut random = client_seq << 8 | sender.person.device.0 << 32 | 1;
    let bytes = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    });
    let body = bytes.flatten().take(BODY_BYTES).collect::<Vec<_>>().into();
    let send = wire::Send { conversation: sender.conversation.0, key_version: 1, ..<_>::default() };
    let kind = Some(wire::command::Kind::Send(send));
    sender.person.command(client_seq, wire::Command { kind, body }.encode_to_vec())
}

/// The number of the newest journal.
fn last_journal(folder: &Path) -> u64 {
    let number = |file: std::fs::DirEntry| file.path().file_stem()?.to_str()?.parse().ok();
    let files = std::fs::read_dir(folder.join("db")).unwrap().map(|file| file.unwrap());
    let journals = files.filter(|file| file.path().extension().is_some_and(|end| end == "jnl"));
    journals.filter_map(number).max().unwrap()
}

/// Runs a child until it acked enough, kills it, and notes all that it was able to say.
fn kill_after_acks(folder: &Path, acked: &mut [u64]) {
    let name = "embedded::tests::kill::child_writes_until_it_is_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = sync_channel(16);
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let mut acks = 0;
    loop {
        let line = match told.recv_timeout(ACK_WITHIN) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!("no ack within {ACK_WITHIN:?} after {acks} acks");
            }
        };
        // The harness prints the test's name in front of the first line.
        let Some(at) = line.find("acked ") else { continue };
        let mut words = line[at..].split(' ').skip(1);
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (index, position) = (number() as usize, number());
        acked[index] = acked[index].max(position);
        acks += 1;
        if acks == ACKS_PER_ROUND {
            child.kill().unwrap();
        }
    }
    assert!(acks >= ACKS_PER_ROUND, "the child ended by itself after {acks} acks");
    child.wait().unwrap();
}

/// All that was acked is there once and in order; gives the number of the last command.
async fn check(world: &World, sender: Sender, acked: u64) -> u64 {
    let (position, _) = world.positions(sender.person).await;
    assert!(position >= acked, "acked {acked}, but only {position} is there");
    for user in [sender.person.user, sender.peer] {
        let mut sent = 0;
        for kind in world.kinds(user, 0).await {
            let Kind::Message(message) = kind else { continue };
            if message.device == sender.person.device.0 {
                sent += 1;
                assert_eq!(message.client_seq, sent, "each once, and in order");
            }
        }
        assert_eq!(sent, position, "the position is that of the rows");
    }
    let range = HistoryRange::After(0);
    let history = world.store.history(sender.peer, sender.conversation, range, 100_000).await;
    for (conv_seq, message) in (1..).zip(history.unwrap().unwrap().messages) {
        let Some(Kind::Message(message)) = decode(&message).kind else { panic!("a message") };
        assert_eq!(message.conv_seq, conv_seq);
    }
    position
}

/// Both sides of every pair, in an order that parent and child agree on.
async fn senders(store: &dyn Store) -> Vec<Sender> {
    let mut senders = Vec::new();
    for user in store.users(None, 100).await.unwrap() {
        let devices = store.devices(user.id).await.unwrap();
        let device: DeviceId = devices[0].id;
        let relation = &store.relations(user.id).await.unwrap()[0];
        let person = Person { user: user.id, device };
        senders.push(Sender { person, conversation: relation.id, peer: relation.peer.id });
    }
    senders
}
