//! How batches are grouped, and what the cache still holds, changes nothing: the same batches leave
//! the same outcomes, entries and rows. The writer is driven by hand, so that a seed decides which
//! batches wait together.

use std::path::Path;

use anser_proto::{ConversationId, Seq, SessionId};
use tokio::sync::oneshot;

use super::Folder;
use super::hand::Hand;
use crate::contract::{Person, World, send_bytes};
use crate::embedded::backup;
use crate::embedded::writer::CommitJob;
use crate::{Batch, Committed, Outcome, Record};

/// More than a cache holds in one of the ways to run them.
const PEOPLE: usize = 6;
const BATCHES: u64 = 60;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }
}

/// People who are all friends, and how much each of them sent.
struct Senders {
    people: Vec<Person>,
    /// With the places of both in `people`.
    conversations: Vec<([usize; 2], ConversationId)>,
    sent: Vec<Seq>,
}

impl Senders {
    async fn new(folder: &Folder) -> Self {
        let world = World::open(folder).await;
        let (mut people, mut conversations) = (Vec::new(), Vec::new());
        for at in 0..PEOPLE {
            people.push(world.person().await);
            for friend in 0..at {
                let id = world.befriend(people[at].user, people[friend].user).await;
                conversations.push(([at, friend], id));
            }
        }
        world.store.close().await.unwrap();
        Self { people, conversations, sent: vec![0; PEOPLE] }
    }

    /// One of a person's own conversations, now and then one of others.
    fn conversation(&self, at: usize, pick: usize) -> ConversationId {
        let all = &self.conversations;
        let own: Vec<_> = all.iter().filter(|(two, _)| two.contains(&at)).collect();
        if pick % 8 == 7 { all[pick % all.len()].1 } else { own[pick % own.len()].1 }
    }

    /// Each number of a device has one command, so a repeat needs no memory.
    fn command(&self, at: usize, client_seq: Seq) -> Record {
        let conversation = self.conversation(at, usize::try_from(client_seq).unwrap() * 5 + at);
        let person = self.people[at];
        match client_seq % 5 {
            0 => person.read(client_seq, conversation, client_seq / 5),
            _ => person.send(client_seq, conversation, &format!("number {client_seq}")),
        }
    }

    fn record(&mut self, dice: &mut Dice) -> Record {
        let at = dice.index(PEOPLE);
        let person = self.people[at];
        let conversation = self.conversation(at, dice.index(100));
        match dice.below(20) {
            0..12 => {
                self.sent[at] += 1;
                self.command(at, self.sent[at])
            }
            12 => self.command(at, self.sent[at].saturating_sub(dice.below(3))),
            13 => self.command(at, self.sent[at] + 2 + dice.below(2)),
            14 => person.send(self.sent[at], conversation, "a conflict"),
            15 => Record::Command {
                user: person.user,
                device: person.device,
                session: SessionId(0),
                client_seq: self.sent[at] + 9,
                command: send_bytes(conversation, 1, "once"),
                once: Some(Box::new([1 + u8::try_from(dice.below(3)).unwrap(); 32])),
                trace: None,
            },
            _ => person.ack(dice.below(60), &[(conversation, dice.below(20))]),
        }
    }

    fn batches(&mut self, dice: &mut Dice) -> Vec<Batch> {
        let batch = |n| {
            let records = (0..1 + dice.below(8)).map(|_| self.record(dice)).collect();
            Batch { records, now_ms: 2_000_000 + n }
        };
        (0..BATCHES).map(batch).collect()
    }
}

/// What a run leaves: what each batch was told, and the checksums of all tables.
#[derive(PartialEq, Debug)]
struct Left {
    told: Vec<String>,
    applied: usize,
    rows: String,
}

/// Runs the batches on a copy of `from`, so many at a time.
fn run(from: &Path, batches: &[Batch], cache_bytes: u64, mut group: impl FnMut() -> usize) -> Left {
    let mut hand = Hand::copy_of(from, cache_bytes);
    let mut writer = hand.writer.take().unwrap();
    let (mut told, mut applied, mut left) = (Vec::new(), 0, batches);
    while !left.is_empty() {
        let (now, later) = left.split_at(group().clamp(1, left.len()));
        left = later;
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        for batch in now {
            let (answer, answered) = oneshot::channel();
            jobs.push(CommitJob { batch: batch.clone(), answer });
            answers.push(answered);
        }
        writer.commits(jobs);
        for mut answer in answers {
            let Committed { outcomes, entries, .. } = answer.try_recv().unwrap().unwrap();
            applied += outcomes.iter().filter(|one| **one == Outcome::Applied).count();
            told.push(format!("{outcomes:?} {entries:?}"));
        }
    }
    drop(writer);
    let backup = hand.path().join("backup");
    backup::write(&hand.engine, &backup).unwrap();
    let rows = std::fs::read_to_string(backup.join("manifest")).unwrap();
    Left { told, applied, rows }
}

#[tokio::test]
async fn groups_and_memory_change_nothing() {
    let folder = Folder::new();
    let mut senders = Senders::new(&folder).await;
    for seed in 0..6 {
        let mut dice = Dice(seed);
        senders.sent.fill(0);
        let batches = senders.batches(&mut dice);
        let one_by_one = run(folder.0.path(), &batches, 1 << 20, || 1);
        assert!(one_by_one.applied > 100, "seed {seed} does little");
        // Nothing in memory; rows come and go; everything in memory.
        for cache_bytes in [0, 2_000, 1 << 20] {
            let again = run(folder.0.path(), &batches, cache_bytes, || 1 + dice.index(6));
            assert_eq!(again, one_by_one, "seed {seed}, {cache_bytes} bytes of cache");
        }
    }
}
