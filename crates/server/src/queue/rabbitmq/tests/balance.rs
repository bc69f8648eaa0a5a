//! Several transfers.

use std::sync::Arc;

use anser_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Consumer, Place, Position, publish, seqs, until};
use crate::queue::{Queue, rabbitmq::balance::preferred};

const PARTITIONS: usize = 8;

/// One store for all transfers, and who committed last in each partition.
#[derive(Default)]
struct Store([Mutex<(Position, u64)>; PARTITIONS]);

impl Store {
    fn last(&self) -> Vec<NodeId> {
        self.0.iter().map(|partition| NodeId(partition.lock().1)).collect()
    }

    fn positions(&self) -> Vec<u64> {
        self.0.iter().map(|partition| partition.lock().0.0).collect()
    }
}

/// Works all partitions off until the consumer is closed.
fn transfer(consumer: &Consumer, here: u64, store: &Arc<Store>) {
    for (index, partition) in consumer.partitions().into_iter().enumerate() {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            while let Some(taken) = partition.take().await {
                let mut kept = store.0[index].lock();
                assert!(!seqs(&taken).is_empty());
                kept.0.commit(&taken);
                kept.1 = here;
                drop(kept);
                partition.settle(taken.receipt);
            }
        });
    }
}

/// Publishes to all partitions, and asks, until it is so.
async fn flow(queue: &Queue, store: &Store, seq: &mut u64, is_so: impl Fn(&Store) -> bool) {
    let flowing = async {
        while !is_so(store) {
            *seq += 1;
            for partition in 0..PARTITIONS as u64 {
                publish(queue, partition, [*seq]).await;
            }
            let all = [*seq; PARTITIONS];
            until(|| async { store.positions() == all }).await;
        }
    };
    super::soon(flowing).await;
}

#[tokio::test]
async fn partitions_go_to_the_transfers_that_they_prefer_in_order() {
    let Some(place) = Place::new(PARTITIONS) else { return };
    let (queue, _publisher) = place.publisher();
    let (live, peers) = watch::channel(vec![NodeId(2)]);
    let (store, mut seq) = (Arc::new(Store::default()), 0);
    let first = Consumer::start(place.options(2), peers.clone());
    transfer(&first, 2, &store);
    flow(&queue, &store, &mut seq, |store| store.last() == [NodeId(2); PARTITIONS]).await;
    // A second one starts, and is seen.
    let second = Consumer::start(place.options(3), peers.clone());
    transfer(&second, 3, &store);
    live.send_replace(vec![NodeId(2), NodeId(3)]);
    let shared = preferred(PARTITIONS, &[NodeId(2), NodeId(3)]);
    assert_eq!(shared.iter().filter(|node| **node == NodeId(2)).count(), PARTITIONS / 2);
    flow(&queue, &store, &mut seq, |store| store.last() == shared).await;
    // It stops, and is still listed: nobody waits for it.
    let (queued, last) = (queue.clone(), seq);
    let more = tokio::spawn(async move {
        for seq in last + 1..=last + 100 {
            for partition in 0..PARTITIONS as u64 {
                publish(&queued, partition, [seq]).await;
            }
        }
    });
    super::soon(second.finished()).await;
    more.await.unwrap();
    seq += 100;
    let all = [seq; PARTITIONS];
    until(|| async { store.positions() == all }).await;
    flow(&queue, &store, &mut seq, |store| store.last() == [NodeId(2); PARTITIONS]).await;
    // One that just vanishes leaves no partition behind either.
    let third = Consumer::start(place.options(3), peers);
    transfer(&third, 3, &store);
    live.send_replace(vec![NodeId(2), NodeId(3)]);
    flow(&queue, &store, &mut seq, |store| store.last() == shared).await;
    drop(third);
    flow(&queue, &store, &mut seq, |store| store.last() == [NodeId(2); PARTITIONS]).await;
}
