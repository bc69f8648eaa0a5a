//! The transfer's end.

use std::sync::Arc;
use std::time::Instant;

use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};

use super::network::{Mode, Network};
use super::{
    Consumer, Options, Place, Position, alone, command, publish, seqs, soon, start, until,
};
use crate::queue::rabbitmq::{codec::Message, declare::queue_name};

#[tokio::test]
async fn what_was_not_settled_comes_again_after_a_cut() {
    let Some(place) = Place::new(1) else { return };
    let (queue, _publisher) = place.publisher();
    let network = Network::new(&place.0).await;
    let consumer = Consumer::start(network.through(place.options(2)), alone());
    let partition = consumer.partitions().remove(0);
    publish(&queue, 1, [1]).await;
    let first = soon(partition.take()).await.unwrap();
    network.cut();
    let second = soon(partition.take()).await.unwrap();
    assert_eq!((seqs(&first), seqs(&second)), (vec![1], vec![1]));
    assert_ne!(first.receipt, second.receipt);
    // A receipt of the lost connection says nothing.
    partition.settle(first.receipt);
    assert_eq!(consumer.inboxes()[0].settled_now(), None, "before anybody else looks");
    network.cut();
    let third = soon(partition.take()).await.unwrap();
    assert_eq!(seqs(&third), [1]);
    partition.settle(third.receipt);
    publish(&queue, 1, [2]).await;
    assert_eq!(seqs(&soon(partition.take()).await.unwrap()), [2]);
}

#[tokio::test]
async fn a_consumer_that_was_paused_repeats_what_another_one_took_over() {
    let Some(place) = Place::new(1) else { return };
    let (queue, _publisher) = place.publisher();
    let network = Network::new(&place.0).await;
    let paused = Consumer::start(network.through(place.options(2)), alone());
    let partition = paused.partitions().remove(0);
    publish(&queue, 1, [1]).await;
    let taken = soon(partition.take()).await.unwrap();
    let other = place.consumer(3);
    let others = other.partitions().remove(0);
    // Longer than the heartbeat.
    network.set(Mode::Stall);
    let again = soon(others.take()).await.unwrap();
    assert_eq!(seqs(&again), seqs(&taken));
    // The paused one goes on where it was: its settle is of no use, and does no harm.
    network.cut();
    network.set(Mode::Pass);
    partition.settle(taken.receipt);
    others.settle(again.receipt);
    until(|| async { paused.is_up() }).await;
    publish(&queue, 1, 2..=10).await;
    let mut position = Position(1);
    position.work_off(&others, 10).await;
    // It stands in line again.
    drop((other, others));
    publish(&queue, 1, 11..=20).await;
    position.work_off(&partition, 20).await;
}

#[tokio::test]
async fn a_queue_that_ends_the_connection_leaves_the_others_their_time() {
    let Some(place) = Place::new(3) else { return };
    let (queue, _publisher) = place.publisher();
    let network = Network::new(&place.0).await;
    network.set_broken(Some(queue_name(&place.0, 1)));
    let consumer = Consumer::start(network.through(place.options(2)), alone());
    let partitions = consumer.partitions();
    publish(&queue, 1, [1]).await;
    // By then it waits for seconds.
    until(|| async { network.refused() >= 5 }).await;
    let refused = network.refused();
    let mut positions = [Position::default(), Position::default()];
    for seq in 1..=20 {
        for (user, position) in [0, 2].into_iter().zip(&mut positions) {
            publish(&queue, user as u64, [seq]).await;
            position.work_off(&partitions[user], seq).await;
        }
    }
    assert!(network.refused() <= refused + 1, "{} after {refused}", network.refused());
    network.set_broken(None);
    Position::default().work_off(&partitions[1], 1).await;
}

#[tokio::test]
async fn what_was_taken_is_settled_after_a_close_and_the_rest_goes_to_another() {
    let Some(place) = Place::new(1) else { return };
    let (queue, _publisher) = place.publisher();
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    publish(&queue, 1, [1]).await;
    let taken = soon(partition.take()).await.unwrap();
    publish(&queue, 1, 2..=50).await;
    consumer.close();
    assert!(soon(partition.take()).await.is_none());
    partition.settle(taken.receipt);
    soon(consumer.finished()).await;
    let next = place.consumer(3);
    let partition = next.partitions().remove(0);
    let mut position = Position(1);
    let taken = soon(partition.take()).await.unwrap();
    assert_eq!(seqs(&taken)[0], 2, "1 was settled");
    position.commit(&taken);
    partition.settle(taken.receipt);
    position.work_off(&partition, 50).await;
}

#[tokio::test]
async fn a_consumer_that_ends_gives_unsettled_records_back() {
    let Some(place) = Place::new(1) else { return };
    let (queue, _publisher) = place.publisher();
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    publish(&queue, 1, [1]).await;
    soon(partition.take()).await.unwrap();
    // Its store did not take them.
    soon(consumer.finished()).await;
    let next = place.consumer(3);
    Position::default().work_off(&next.partitions()[0], 1).await;
}

#[tokio::test]
async fn several_messages_are_taken_at_once_up_to_a_batch() {
    let Some(place) = Place::new(1) else { return };
    let message = |seqs: std::ops::RangeInclusive<u64>| Message {
        epoch: "history".to_owned(),
        connector: place.0.here,
        published: Instant::now(),
        records: seqs.map(|seq| command(1, seq)).collect(),
    };
    let messages = [message(1..=100), message(101..=200), message(201..=300)];
    put(&place, messages.map(|message| message.encode().to_vec())).await;
    let consumer = place.consumer(2);
    let inbox = Arc::clone(&consumer.inboxes()[0]);
    until(|| async { inbox.waits() == 3 }).await;
    let partition = consumer.partitions().remove(0);
    let taken = soon(partition.take()).await.unwrap();
    assert_eq!(seqs(&taken), (1..=200).collect::<Vec<_>>());
    assert_eq!(taken.from, [(place.0.here, 100), (place.0.here, 100)]);
    partition.settle(taken.receipt);
    assert_eq!(seqs(&soon(partition.take()).await.unwrap()).len(), 100);
}

#[tokio::test]
async fn records_of_another_epoch_and_garbage_are_dropped() {
    let Some(place) = Place::new(1) else { return };
    let other = Options { epoch: "before".to_owned(), ..place.options(1) };
    let (queue, publisher) = start(other);
    publish(&queue, 1, 1..=10).await;
    queue.close();
    soon(publisher.finished()).await;
    put(&place, [b"garbage".to_vec(), vec![0x08, 2], Vec::new()]).await;
    let (queue, publisher) = place.publisher();
    publish(&queue, 1, [1]).await;
    queue.close();
    soon(publisher.finished()).await;
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    let taken = soon(partition.take()).await.unwrap();
    assert_eq!((seqs(&taken), taken.from[0].1), (vec![1], 1));
    partition.settle(taken.receipt);
    // Not only by the ack of what is behind it.
    put(&place, [b"garbage".to_vec()]).await;
    let (queue, publisher) = place.publisher();
    publish(&queue, 1, [2]).await;
    assert_eq!(seqs(&soon(partition.take()).await.unwrap()), [2]);
    queue.close();
    soon(publisher.finished()).await;
    soon(consumer.finished()).await;
    assert_eq!(place.messages(0).await, 1, "the record that was not settled");
}

/// Publishes bytes past the publisher.
async fn put(place: &Place, messages: impl IntoIterator<Item = Vec<u8>>) {
    let connected = super::super::broker::connect(&place.0).await.unwrap();
    let channel = connected.connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for message in messages {
        let (queue, options) = (queue_name(&place.0, 0), BasicPublishOptions::default());
        let properties = BasicProperties::default();
        let confirm = channel.basic_publish("".into(), queue.into(), options, &message, properties);
        assert!(confirm.await.unwrap().await.unwrap().is_ack());
    }
    connected.close().await;
}
