//! A lane under many threads, and its ends.

use std::{sync::Arc, time::Duration};

use anser_proto::{DeviceId, Seq, SessionId, UserId};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::*;

/// Longer than any wake-up takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

fn command(publisher: u64, client_seq: Seq, bytes: usize) -> Record {
    let (user, device) = (UserId(publisher), DeviceId(publisher));
    Record::Command {
        user,
        device,
        session: SessionId(0),
        client_seq,
        command: vec![0; bytes].into(),
        once: None,
        trace: None,
    }
}

fn ack() -> Record {
    let (user, device) = (UserId(1), DeviceId(1));
    Record::Ack { user, device, position: 1, store_position: true, delivered: Vec::new() }
}

fn numbered(publisher: u64, numbers: std::ops::Range<Seq>) -> Vec<Record> {
    numbers.map(|number| command(publisher, number, 1)).collect()
}

/// Publishes `total` records in shares that depend on the seed; some are more than fit at once.
async fn publish_all(queue: Arc<Lane>, publisher: u64, total: Seq) {
    let (mut next, mut random) = (0, publisher.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    while next < total {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let most = if random % 16 == 0 { 6000 } else { 100 };
        let end = (next + 1 + (random >> 8) % most).min(total);
        let mut records = numbered(publisher, next..end);
        queue.publish(&mut records, Instant::now()).await.unwrap();
        assert!(records.is_empty(), "drained");
        next = end;
        if random % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_publishers_each_record_is_taken_once_and_in_order() {
    const PUBLISHERS: u64 = 3;
    const EACH: Seq = 20_000;
    for seed in 0..4 {
        let queue = Arc::new(Lane::default());
        let publishers = (0..PUBLISHERS)
            .map(|one| tokio::spawn(publish_all(queue.clone(), seed * PUBLISHERS + one, EACH)));
        let publishers: Vec<_> = publishers.collect();
        let closes = queue.clone();
        let closer = tokio::spawn(async move {
            for publisher in publishers {
                publisher.await.unwrap();
            }
            closes.close();
        });
        let mut next = [0; PUBLISHERS as usize];
        // A wake-up that is lost leaves records in the queue, or the closed queue untold.
        while let Some(taken) = timeout(PATIENCE, queue.take()).await.expect("woken") {
            assert!(taken.records.len() <= BATCH_RECORDS_MAX);
            assert!(queue.waiting.lock().records.len() <= RECORDS_MAX, "the bound");
            for record in taken.records {
                let Record::Command { user, client_seq, .. } = record else { panic!("a command") };
                let next = &mut next[usize::try_from(user.0 % PUBLISHERS).unwrap()];
                assert_eq!(client_seq, *next, "of publisher {user}");
                *next += 1;
            }
        }
        closer.await.unwrap();
        assert_eq!(next, [EACH; PUBLISHERS as usize], "seed {seed}");
        assert_eq!(queue.waiting.lock().records.len(), 0);
    }
}

#[tokio::test]
async fn a_publish_that_is_given_up_hands_nothing_over() {
    let (queue, now) = (Lane::default(), Instant::now());
    queue.publish(&mut numbered(1, 0..RECORDS_MAX as Seq), now).await.unwrap();
    let mut more = numbered(2, 0..1);
    assert!(queue.publish(&mut more, now).now_or_never().is_none(), "it waits");
    assert_eq!(more.len(), 1, "a session that ends while it waits has published nothing");

    queue.take().await.unwrap();
    // All the room is there again: it is neither lost nor given out twice.
    let mut fits = numbered(3, 0..BATCH_RECORDS_MAX as Seq);
    queue.publish(&mut fits, now).now_or_never().expect("fits").unwrap();
    assert!(queue.publish(&mut more, now).now_or_never().is_none(), "full");
    assert_eq!(queue.waiting.lock().records.len(), RECORDS_MAX);
}

#[tokio::test]
async fn close_refuses_who_waits_and_gives_out_what_is_there() {
    let (queue, now) = (Lane::default(), Instant::now());
    queue.publish(&mut numbered(1, 0..RECORDS_MAX as Seq), now).await.unwrap();
    let mut more = numbered(2, 0..3);
    let waits = async {
        assert!(queue.publish(&mut more, now).await.is_err());
        assert_eq!(more.len(), 3, "nothing was handed over");
    };
    let both = async { tokio::join!(biased; waits, async { queue.close() }) };
    timeout(PATIENCE, both).await.expect("woken by the end");
    assert!(queue.publish(&mut more, now).await.is_err());
    let mut taken = 0;
    while let Some(batch) = queue.take().now_or_never().expect("it is there") {
        taken += batch.records.len();
    }
    assert_eq!(taken, RECORDS_MAX);

    let queue = Lane::default();
    let both = async { tokio::join!(biased; queue.take(), async { queue.close() }) };
    let (taken, ()) = timeout(PATIENCE, both).await.expect("a transfer that waits is told, too");
    assert!(taken.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_handed_over_before_a_close_is_taken() {
    for round in 0..200 {
        let queue = Arc::new(Lane::default());
        let publishers: [_; 3] = std::array::from_fn(|one| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut handed_over = 0;
                while queue.publish(&mut numbered(one as u64, 0..3), Instant::now()).await.is_ok() {
                    handed_over += 3;
                }
                handed_over
            })
        });
        let mut taken = 0;
        while let Some(batch) = timeout(PATIENCE, queue.take()).await.expect("woken") {
            taken += batch.records.len();
            if taken > round * 10 {
                queue.close();
            }
        }
        let mut handed_over = 0;
        for publisher in publishers {
            handed_over += publisher.await.unwrap();
        }
        assert_eq!(taken, handed_over, "round {round}");
    }
}

#[tokio::test]
async fn a_batch_ends_at_its_bytes_but_one_command_always_goes() {
    let (queue, now) = (Lane::default(), Instant::now());
    let half = BATCH_BYTES_MAX / 2;
    let sizes = [half, half, 1, 2 * BATCH_BYTES_MAX, 1];
    let mut records: Vec<_> = sizes.iter().map(|size| command(1, 1, *size)).collect();
    queue.publish(&mut records, now).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..4 {
        let batch = queue.take().now_or_never().expect("there is more").expect("not closed");
        counts.push(batch.records.len());
    }
    assert_eq!(counts, [2, 1, 1, 1]);
    assert!(queue.take().now_or_never().is_none(), "and no more");
}

#[tokio::test]
async fn acks_alone_wait_for_a_command_or_until_patience_ends() {
    // The lane reads the real clock, so no test waits for this.
    let patience = PATIENCE * 100;
    let lane = Lane::default();
    lane.publish(&mut vec![ack()], Instant::now()).await.unwrap();
    assert!(lane.take_unhurried(patience).now_or_never().is_none(), "it waits");
    lane.publish(&mut numbered(2, 1..2), Instant::now()).await.unwrap();
    let both = lane.take_unhurried(patience).now_or_never().flatten().expect("a command is there");
    assert_eq!(both.records.len(), 2);

    let long_ago = Instant::now().checked_sub(patience).expect("the clock is older");
    lane.publish(&mut vec![ack()], long_ago).await.unwrap();
    let late = lane.take_unhurried(patience).now_or_never().flatten();
    assert_eq!(late.expect("it has waited").records.len(), 1);

    let mut many: Vec<_> = std::iter::repeat_with(ack).take(BATCH_RECORDS_MAX).collect();
    lane.publish(&mut many, Instant::now()).await.unwrap();
    let full = lane.take_unhurried(patience).now_or_never().flatten();
    assert_eq!(full.expect("a batch is full").records.len(), BATCH_RECORDS_MAX);

    lane.publish(&mut vec![ack()], Instant::now()).await.unwrap();
    lane.close();
    let rest = lane.take_unhurried(patience).now_or_never().flatten();
    assert_eq!(rest.expect("nothing else comes").records.len(), 1);
    assert!(lane.take_unhurried(patience).await.is_none());
}

#[tokio::test]
async fn an_ack_that_waits_is_taken_when_patience_ends_or_a_command_comes() {
    let lane = Arc::new(Lane::default());
    lane.publish(&mut vec![ack()], Instant::now()).await.unwrap();
    let short = Duration::from_millis(1);
    let taken = timeout(PATIENCE, lane.take_unhurried(short)).await.expect("patience ends");
    assert_eq!(taken.expect("an ack").records.len(), 1);

    lane.publish(&mut vec![ack()], Instant::now()).await.unwrap();
    let taker = lane.clone();
    let taker = tokio::spawn(async move { taker.take_unhurried(PATIENCE * 100).await });
    tokio::task::yield_now().await;
    lane.publish(&mut numbered(2, 1..2), Instant::now()).await.unwrap();
    let taken = timeout(PATIENCE, taker).await.expect("a command wakes it").unwrap();
    assert_eq!(taken.expect("both").records.len(), 2);
}
