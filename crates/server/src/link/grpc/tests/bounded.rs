//! What waits for a slow connector is bounded, and the others do not wait for it.

use super::*;
use crate::link::grpc::{
    buffer::{Buffer, COUNT_MAX, ENTRY_BYTES_MAX},
    metrics::CallerMetrics,
};

fn buffer() -> Buffer {
    Buffer::new(CallerMetrics::new())
}

/// Things of each kind, one more than may wait.
const MANY: u64 = COUNT_MAX as u64 + 1;

#[tokio::test]
async fn of_too_many_bytes_the_numbers_stay() {
    let buffer = buffer();
    let size = ENTRY_BYTES_MAX / 4;
    for seq in 1..=4 {
        buffer.deliver(vec![sized(seq % 2, seq, size)], None);
    }
    assert_eq!(buffer.take().await.entries.len(), 4, "just not too much");
    for seq in 1..=5 {
        buffer.deliver(vec![sized(seq % 2, seq, size)], Some(Instant::now()));
    }
    buffer.deliver(vec![entry(1, 6)], None);
    let mut rings = buffer.take().await;
    rings.heads.sort();
    assert_eq!(rings.heads, [(UserId(0), 4), (UserId(1), 5)]);
    assert_eq!(rings.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6]);
    assert!(rings.accepted.is_none(), "it was of those that are gone");
    assert!(!rings.lost);
}

#[tokio::test]
async fn of_too_many_entries_the_numbers_stay() {
    let buffer = buffer();
    for seq in 1..=MANY {
        buffer.deliver(vec![entry(1, seq)], None);
    }
    let rings = buffer.take().await;
    assert_eq!((rings.entries.len(), rings.heads), (0, vec![(UserId(1), MANY)]));
}

#[tokio::test]
async fn of_too_many_things_only_that_there_were_some() {
    let fill: [fn(&Buffer, u64); 4] = [
        |buffer, one| buffer.ack(DeviceId(one), 1),
        |buffer, one| buffer.refused((DeviceId(one), SessionId(1)), Code::Conflict),
        |buffer, one| buffer.close(&[DeviceId(one)], Code::Unauthenticated),
        |buffer, one| buffer.grew([(UserId(one), 1)].into_iter()),
    ];
    for fill in fill {
        let buffer = buffer();
        (1..MANY).for_each(|one| fill(&buffer, one));
        let rings = buffer.take().await;
        assert_eq!((rings.count() as u64, rings.lost), (MANY - 1, false));
        (1..=MANY).for_each(|one| fill(&buffer, one));
        let rings = buffer.take().await;
        assert_eq!((rings.count(), rings.lost), (0, true));
    }
}

#[tokio::test]
async fn a_stalled_connector_stalls_nobody_and_hears_that_it_missed_something() {
    let (slow, other) = (Connector::new().await, Connector::new().await);
    let network = Network::to(slow.address.clone()).await;
    let behind = slow.node_behind(&network.address().to_string());
    let caller = Caller::new(vec![behind, other.node()]);
    slow.looks().await;
    network.becomes(Weather::Silent);
    // More than all windows and buffers hold.
    let size = 64 * 1024;
    let last = 8 * ENTRY_BYTES_MAX as u64 / size;
    for seq in 1..=last {
        caller.link.deliver(vec![sized(1, seq, size as usize)], None);
        let all = async || {
            let told = other.bell.told();
            told.iter().any(|told| match told {
                Told::Entries(entries) => entries.contains(&(UserId(1), seq)),
                Told::Head(_, head) => *head >= seq,
                _ => false,
            })
        };
        until("the other one is told", all).await;
    }
    network.becomes(Weather::Fine);
    let told = async || {
        let told = slow.bell.told();
        told.iter().any(|told| match told {
            Told::Entries(entries) => entries.contains(&(UserId(1), last)),
            Told::Head(_, head) => *head == last,
            _ => false,
        })
    };
    until("it hears of the last", told).await;
    assert!(slow.bell.entries().len() < last as usize, "not all were kept for it");
}

#[tokio::test]
async fn of_several_numbers_the_highest_stays() {
    let buffer = buffer();
    for seq in [3, 5, 4] {
        buffer.grew([(UserId(1), seq)].into_iter());
        buffer.ack(DeviceId(2), seq);
    }
    let rings = buffer.take().await;
    assert_eq!((rings.heads, rings.acks), (vec![(UserId(1), 5)], vec![(DeviceId(2), 5)]));
}
