//! The tail of the journal: what a power cut leaves of the last batch, and what it can not leave.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anser_proto::wire::{self, Entry, command};
use anser_proto::{ConversationId, Seq};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use prost::Message as _;

use super::Folder;
use crate::contract::{Person, World};
use crate::embedded::{Embedded, OpenError, tail};
use crate::{Outcome, Record};

const PAGE_BYTES: usize = 4096;
/// Long enough for several pages a row, and for fjall to try to compress it.
const BODY_BYTES: usize = 12_000;
const SENT: Seq = 4;
/// How long a journal is that was not opened again since it was begun.
const NEW_BYTES: u64 = 64 << 20;

/// A closed store, whose last batch is the message `SENT` with a long body.
struct Scene {
    folder: Folder,
    alice: Person,
    bob: Person,
    conversation: ConversationId,
    /// Bob's inbox before the last batch.
    inbox: Vec<(Seq, Entry)>,
    journal: PathBuf,
    /// What was written to the journal.
    bytes: Vec<u8>,
    /// Where batches end in it: before each message, and after the last.
    ends: Vec<usize>,
}

impl Scene {
    /// `body` is the last message's.
    async fn new(body: Vec<u8>) -> Self {
        let folder = Folder::new();
        let world = World::open(&folder).await;
        let (alice, bob, conversation) = world.friends().await;
        let journal = folder.0.path().join("db/0.jnl");
        let (mut ends, mut inbox) = (vec![written(&journal).len()], Vec::new());
        for n in 1..=SENT {
            inbox = world.inbox(bob.user, 0).await;
            let body = if n == SENT { body.clone() } else { format!("message {n}").into() };
            assert_eq!(world.one(message(alice, conversation, n, body)).await, Outcome::Applied);
            ends.push(written(&journal).len());
        }
        world.store.close().await.unwrap();
        let bytes = written(&journal);
        assert_eq!(ends.last(), Some(&bytes.len()), "closing writes nothing");
        Self { folder, alice, bob, conversation, inbox, journal, bytes, ends }
    }

    fn db(&self) -> PathBuf {
        self.folder.0.path().join("db")
    }

    /// Where the message `n` is in the journal.
    fn batch(&self, n: Seq) -> Range<usize> {
        self.ends[n as usize - 1]..self.ends[n as usize]
    }

    /// What a cut leaves.
    fn whole(&self) -> &[u8] {
        &self.bytes[..self.batch(SENT).start]
    }

    /// The journal with zeros in it.
    fn with_zeros(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[range].fill(0);
        bytes
    }

    /// Each page of the last batch. What an earlier batch has in the first one was synced.
    fn pages(&self) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.batch(SENT);
        let page =
            move |page: usize| start.max(page * PAGE_BYTES)..end.min((page + 1) * PAGE_BYTES);
        (start / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(page)
    }

    /// Makes the journal's file anew.
    fn put(&self, bytes: &[u8], file_bytes: u64) {
        fs::write(&self.journal, bytes).unwrap();
        File::options().write(true).open(&self.journal).unwrap().set_len(file_bytes).unwrap();
    }

    /// All but the last batch is there, and it can be sent again.
    async fn opens_and_goes_on(&self, case: &str) {
        let mut world = World::open(&self.folder).await;
        assert_eq!(world.inbox(self.bob.user, 0).await, self.inbox, "{case}");
        let again = |n| message(self.alice, self.conversation, n, random_body());
        assert_eq!(world.one(again(SENT)).await, Outcome::Applied, "{case}");
        world.reopen(&self.folder).await;
        assert_eq!(world.one(again(SENT + 1)).await, Outcome::Applied, "{case}");
        let inbox = world.inbox(self.bob.user, 0).await;
        assert_eq!(inbox.len(), self.inbox.len() + 2, "{case}");
        assert_eq!(inbox[..self.inbox.len()], self.inbox, "{case}");
        world.store.close().await.unwrap();
    }

    /// Opening is refused with the journal's name, and leaves it as it is.
    fn is_refused(&self, bytes: &[u8], case: &str) {
        self.put(bytes, self.bytes.len() as u64);
        let before = fs::read(&self.journal).unwrap();
        let refused = Embedded::open(self.folder.options()).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Broken { .. }), "{case}");
        assert!(refused.to_string().contains("the journal 0.jnl is damaged"), "{refused}");
        assert!(fs::read(&self.journal).unwrap() == before, "{case}");
    }

    /// Nothing but the last batch is cut off.
    fn is_cut(&self, bytes: &[u8], file_bytes: u64, case: &str) {
        self.put(bytes, file_bytes);
        tail::cut(&self.db()).unwrap();
        assert!(fs::read(&self.journal).unwrap() == self.whole(), "{case}");
    }
}

#[tokio::test]
async fn a_page_that_was_not_written_costs_the_last_batch_only() {
    let scene = Scene::new(random_body()).await;
    assert!(scene.pages().count() > 3);
    for zeros in scene.pages() {
        for file_bytes in [scene.bytes.len() as u64, NEW_BYTES] {
            scene.put(&scene.with_zeros(zeros.clone()), file_bytes);
            scene.opens_and_goes_on(&format!("{zeros:?} of {file_bytes}")).await;
        }
    }
}

#[tokio::test]
async fn a_last_batch_that_ends_early_is_cut_off() {
    let scene = Scene::new(random_body()).await;
    let Range { start, end } = scene.batch(SENT);
    for at in (start + 1..end).step_by(101).chain(end - 20..end) {
        let bytes = &scene.bytes[..at];
        scene.is_cut(bytes, at as u64, &format!("a file of {at} bytes"));
        if at % 10 == 0 {
            scene.is_cut(bytes, NEW_BYTES, &format!("zeros from {at} on"));
        }
        let missing = scene.with_zeros(start..at);
        scene.is_cut(&missing, end as u64, &format!("zeros up to {at}"));
    }
    let mut bytes = scene.bytes.clone();
    bytes[end - 1] ^= 1;
    scene.is_cut(&bytes, end as u64, "another trailer");
    for at in [start + 1, start + 13, start + 5000, end - 1] {
        scene.put(&scene.bytes[..at], at as u64);
        scene.opens_and_goes_on(&format!("a file of {at} bytes")).await;
    }
}

#[tokio::test]
async fn a_journal_that_was_cut_can_be_cut_again() {
    let scene = Scene::new(random_body()).await;
    let mut world = World::open(&scene.folder).await;
    let mut sent = SENT;
    for zeros in scene.pages().collect::<Vec<_>>() {
        let before = (world.inbox(scene.bob.user, 0).await, written(&scene.journal).len());
        let next = |n| message(scene.alice, scene.conversation, n, random_body());
        assert_eq!(world.one(next(sent + 1)).await, Outcome::Applied);
        world.store.close().await.unwrap();
        let mut bytes = fs::read(&scene.journal).unwrap();
        let torn = before.1 + zeros.len() / 2;
        bytes[torn..(torn + PAGE_BYTES)].fill(0);
        fs::write(&scene.journal, bytes).unwrap();
        world.store = crate::contract::Factory::open(&scene.folder).await;
        assert_eq!(world.inbox(scene.bob.user, 0).await, before.0, "{zeros:?}");
        assert_eq!(fs::read(&scene.journal).unwrap().len(), before.1);
        assert_eq!(world.one(next(sent + 1)).await, Outcome::Applied, "the same once more");
        world.reopen(&scene.folder).await;
        sent += 1;
    }
    assert_eq!(world.positions(scene.alice).await.0, sent);
}

#[tokio::test]
async fn damage_in_front_of_a_whole_batch_is_refused() {
    let scene = Scene::new(random_body()).await;
    for n in 1..SENT {
        let Range { start, end } = scene.batch(n);
        for zeros in [start..end, start..start + 1, end - 9..end, start..start + 60] {
            scene.is_refused(&scene.with_zeros(zeros.clone()), &format!("{zeros:?}"));
        }
        let mut flipped = scene.bytes.clone();
        let text = format!("message {n}");
        let body = flipped[start..end].windows(text.len()).position(|part| part == text.as_bytes());
        flipped[start + body.unwrap()] ^= 1;
        scene.is_refused(&flipped, "a body in which a bit flipped");
        // The broken one was synced, or there would be no other.
        let Range { start, end } = scene.batch(SENT);
        flipped[end - PAGE_BYTES..].fill(0);
        scene.is_refused(&flipped, "and a batch behind it that is torn");
        scene.is_refused(&flipped[..start + 5], "and a start behind it");
    }
}

#[tokio::test]
async fn an_older_journal_was_synced_whole() {
    let scene = Scene::new(random_body()).await;
    // What a rotation leaves: a new journal, which is zeros.
    let next = File::create_new(scene.db().join("1.jnl")).unwrap();
    next.set_len(NEW_BYTES).unwrap();
    for zeros in scene.pages() {
        scene.is_refused(&scene.with_zeros(zeros.clone()), &format!("{zeros:?}"));
    }
    scene.put(&scene.bytes, scene.bytes.len() as u64);
    let world = World::open(&scene.folder).await;
    assert_eq!(world.inbox(scene.bob.user, 0).await.len(), scene.inbox.len() + 1);
    world.store.close().await.unwrap();
}

#[tokio::test]
async fn what_only_looks_like_a_later_batch_is_cut_off() {
    // Whoever sends a body can make it look like a batch: this is one as it was written.
    let other = Scene::new(b"on its own".to_vec()).await;
    let mut body = other.bytes[other.batch(SENT)].to_vec();
    // Its number is not in the checksum.
    body[5..13].fill(0x7f);
    body.extend([0xee; 200]);
    let scene = Scene::new(body.clone()).await;
    let stored = scene.bytes.windows(body.len()).filter(|part| *part == body);
    assert!(stored.count() > 0, "not compressed");
    let Range { start, end } = scene.batch(SENT);
    // Random numbers have such a byte here and there, but no row of them.
    let body_ends = |at: &usize| scene.bytes[*at - 100..*at].iter().all(|byte| *byte == 0xee);
    let in_a_body = (start + 100..=end).rev().find(body_ends).unwrap();
    let case = "a frame that is whole, and a body with a batch in it";
    scene.is_cut(&scene.with_zeros(in_a_body - 100..in_a_body), scene.bytes.len() as u64, case);

    // A file system that shows old blocks may show a batch that was written long ago.
    let mut bytes = scene.with_zeros(start..end);
    let old = &scene.bytes[scene.batch(1)];
    bytes[end - old.len()..].copy_from_slice(old);
    scene.is_cut(&bytes, scene.bytes.len() as u64, "an old batch");
}

#[tokio::test]
async fn an_intact_journal_is_not_touched() {
    let scene = Scene::new(random_body()).await;
    is_left_alone(&scene.db(), &scene.journal);
    scene.put(&scene.bytes, NEW_BYTES);
    is_left_alone(&scene.db(), &scene.journal);
    scene.put(&[], 0);
    is_left_alone(&scene.db(), &scene.journal);
    scene.put(&[], NEW_BYTES);
    is_left_alone(&scene.db(), &scene.journal);
}

#[tokio::test]
async fn a_journal_of_another_format_is_not_touched() {
    let scene = Scene::new(random_body()).await;
    scene.put(&scene.with_zeros(scene.batch(1)), scene.bytes.len() as u64);
    fs::write(scene.db().join("version"), b"FJL\x04").unwrap();
    is_left_alone(&scene.db(), &scene.journal);
    let refused = Embedded::open(scene.folder.options()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("InvalidVersion"), "{refused}");
}

/// Red when a new version of fjall writes what `tail.rs` does not know.
#[test]
fn all_that_the_engine_writes_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::builder(folder.path()).worker_threads(1).open().unwrap();
    let rows = db.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    rows.insert("one", "by itself").unwrap();
    let mut batch = db.batch();
    batch.insert(&rows, "empty", "");
    batch.insert(&rows, "compressed", vec![7; 100_000]);
    batch.insert(&rows, "does not shrink", random_body());
    batch.remove(&rows, "one");
    batch.remove_weak(&rows, "empty");
    batch.commit().unwrap();
    rows.clear().unwrap();
    rows.remove("last").unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
    let journal = folder.path().join("0.jnl");
    assert!(written(&journal).len() > BODY_BYTES);
    drop((rows, db));
    is_left_alone(folder.path(), &journal);
}

/// Neither the bytes nor the time of the journal change.
fn is_left_alone(db: &Path, journal: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    File::options().write(true).open(journal).unwrap().set_modified(long_ago).unwrap();
    let before = fs::read(journal).unwrap();
    tail::cut(db).unwrap();
    assert!(fs::read(journal).unwrap() == before);
    assert_eq!(journal.metadata().unwrap().modified().unwrap(), long_ago);
}

fn message(sender: Person, to: ConversationId, client_seq: Seq, body: Vec<u8>) -> Record {
    let kind = Some(command::Kind::Send(wire::Send {
        conversation: to.0,
        key_version: 1,
        ..<_>::default()
    }));
    sender.command(client_seq, wire::Command { kind, body: body.into() }.encode_to_vec())
}

/// As little can be made of it as of a sealed one.
fn random_body() -> Vec<u8> {
    let mut body = vec![0; BODY_BYTES];
    getrandom::fill(&mut body).unwrap();
    body
}

/// The journal without the zeros at its end.
fn written(journal: &Path) -> Vec<u8> {
    let mut bytes = fs::read(journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    bytes
}
