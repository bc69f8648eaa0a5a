//! What waits for the writer: in which order it is done, how much at once, and what a close leaves.

use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{Code, ConversationId, DeviceId};
use tokio::sync::{mpsc, oneshot};

use super::Folder;
use super::hand::Hand;
use crate::contract::{Person, World};
use crate::embedded::engine::Engine;
use crate::embedded::tx::Tx;
use crate::embedded::writer::{Answer, CommitJob, Job, VerbJob};
use crate::embedded::{devices, engine, keys};
use crate::{Batch, Committed, Devices, Outcome, Record, Result};

/// Jobs that wait, and a world to do them to.
struct Waiting {
    hand: Hand,
    alice: Person,
    conversation: ConversationId,
    jobs: Vec<Job>,
}

/// What the writer did: (commits, syncs) that it counted, and whether it was told to close.
#[derive(PartialEq, Debug)]
struct Done {
    commits: u64,
    syncs: u64,
    closed: bool,
}

impl Waiting {
    async fn new() -> Self {
        let folder = Folder::new();
        let world = World::open(&folder).await;
        let (alice, _, conversation) = world.friends().await;
        world.store.close().await.unwrap();
        let hand = Hand::copy_of(folder.0.path(), 1 << 20);
        Self { hand, alice, conversation, jobs: Vec::new() }
    }

    fn commit(&mut self, records: Vec<Record>) -> oneshot::Receiver<Result<Committed>> {
        let (answer, answered) = oneshot::channel();
        let batch = Batch { records, now_ms: 2_000_000 };
        self.jobs.push(Job::Commit(CommitJob { batch, answer }));
        answered
    }

    /// Messages of Alice.
    fn sends(&mut self, numbers: std::ops::Range<u64>) -> oneshot::Receiver<Result<Committed>> {
        let (alice, conversation) = (self.alice, self.conversation);
        self.commit(numbers.map(|n| alice.send(n, conversation, "honk")).collect())
    }

    fn verb(
        &mut self,
        verb: impl FnOnce(&mut Tx<'_>) -> Result<()> + Send + 'static,
    ) -> oneshot::Receiver<Result<()>> {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |tx: &mut Tx<'_>| {
            let result = verb(tx);
            let whole = result.is_ok();
            let answer: Answer =
                Box::new(move |failed| drop(answer.send(failed.map_or(result, Err))));
            (whole, answer)
        });
        self.jobs.push(Job::Verb(VerbJob { run, below_floor: false }));
        answered
    }

    fn close(&mut self) {
        let (closed, _) = oneshot::channel();
        self.jobs.push(Job::Close(closed));
    }

    /// Lets the writer work on all that waits, until it is closed or nothing is left.
    fn done(&mut self) -> Done {
        let (sender, receiver) = mpsc::channel(2000);
        self.jobs.drain(..).for_each(|job| sender.try_send(job).map_err(drop).unwrap());
        drop(sender);
        let Hand { writer, shared, .. } = &mut self.hand;
        let writer = writer.take().unwrap();
        // The writer waits for its jobs as a thread, not as a task.
        let closed = std::thread::spawn(move || writer.run(receiver).is_some()).join().unwrap();
        let counters = &shared.counters;
        Done {
            commits: counters.commits.load(Relaxed),
            syncs: counters.syncs.load(Relaxed),
            closed,
        }
    }
}

fn outcomes(mut answered: oneshot::Receiver<Result<Committed>>) -> Vec<Outcome> {
    answered.try_recv().expect("answered").expect("committed").outcomes
}

fn seen_at_ms(engine: &Engine, device: DeviceId) -> u64 {
    engine::device(&engine.view(), device).unwrap().unwrap().seen_at_ms
}

#[tokio::test]
async fn jobs_take_effect_in_the_order_in_which_they_came() {
    let mut waiting = Waiting::new().await;
    let alice = waiting.alice;
    let before = waiting.sends(1..3);
    let mut revoked = waiting
        .verb(move |tx| devices::revoke(tx, alice.user, Devices::One(alice.device)).map(drop));
    let after = waiting.sends(3..4);
    let done = waiting.done();
    assert_eq!(done, Done { commits: 1, syncs: 2, closed: false });
    assert_eq!(outcomes(before), [Outcome::Applied; 2]);
    revoked.try_recv().unwrap().unwrap();
    assert_eq!(outcomes(after), [Outcome::Refused(Code::Unauthenticated)], "revoked before");
}

#[tokio::test]
async fn a_group_has_a_bound() {
    // Sizes of batches that wait together, and in how many commits they are done.
    let cases = [
        (&[100, 100][..], 1),
        (&[200, 56, 1], 2),
        (&[200, 100, 1], 2),
        (&[300, 300], 2),
        (&[1, 255, 255, 1, 1], 3),
    ];
    for (sizes, commits) in cases {
        let mut waiting = Waiting::new().await;
        let (mut next, mut answers) = (1, Vec::new());
        for size in sizes {
            answers.push(waiting.sends(next..next + size));
            next += size;
        }
        let done = waiting.done();
        assert_eq!(done, Done { commits, syncs: commits, closed: false }, "{sizes:?}");
        for (answer, size) in answers.into_iter().zip(sizes) {
            assert_eq!(outcomes(answer).len() as u64, *size);
        }
    }
    for (verbs, syncs) in [(256, 1), (257, 2)] {
        let mut waiting = Waiting::new().await;
        let put = |number: u32| {
            move |tx: &mut Tx<'_>| {
                tx.put_bytes(&keys::bytes(keys::META, &number.to_be_bytes()), b"a row");
                Ok(())
            }
        };
        let answers: Vec<_> = (0..verbs).map(|number| waiting.verb(put(number))).collect();
        assert_eq!(waiting.done(), Done { commits: 0, syncs, closed: false }, "{verbs} verbs");
        answers.into_iter().for_each(|mut answer| answer.try_recv().unwrap().unwrap());
    }
}

#[tokio::test]
async fn what_came_before_a_close_is_done_and_nothing_after_it() {
    let mut waiting = Waiting::new().await;
    let before = waiting.sends(1..2);
    waiting.close();
    let mut after = waiting.sends(2..3);
    assert_eq!(waiting.done(), Done { commits: 1, syncs: 1, closed: true });
    assert_eq!(outcomes(before), [Outcome::Applied]);
    assert!(after.try_recv().is_err(), "its caller is told that the store is closed");

    let mut waiting = Waiting::new().await;
    let mut before = waiting.verb(|_| Ok(()));
    waiting.close();
    assert!(waiting.done().closed);
    before.try_recv().unwrap().unwrap();
}

#[tokio::test]
async fn seen_at_rides_along_or_is_written_at_the_end_and_never_goes_back() {
    for rides in [true, false] {
        let mut waiting = Waiting::new().await;
        let device = waiting.alice.device;
        for (now_ms, expected) in [(3_000_000, 3_000_000), (5, 3_000_000)] {
            waiting.jobs.push(Job::Seen(device, now_ms));
            if rides {
                // Somebody else's, and nothing by itself.
                drop(waiting.commit(Vec::new()));
            }
            waiting.done();
            waiting.hand = Hand::copy_of(waiting.hand.path(), 0);
            assert_eq!(seen_at_ms(&waiting.hand.engine, device), expected, "rides: {rides}");
        }
    }
}
