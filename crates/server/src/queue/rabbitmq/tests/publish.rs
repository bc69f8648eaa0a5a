//! The connector's end.

use super::network::{Mode, Network};
use super::{Place, Position, check, publish, soon, start, until};

#[tokio::test]
async fn what_is_published_is_taken_in_order_and_settled() {
    let Some(place) = Place::new(1) else { return };
    let (queue, publisher) = place.publisher();
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    let (_, mut position) = tokio::join!(publish(&queue, 1, 1..=1000), async {
        let mut position = Position::default();
        position.work_off(&partition, 1000).await;
        position
    });
    // Nothing of it comes again.
    publish(&queue, 1, [1001]).await;
    let taken = soon(partition.take()).await.unwrap();
    assert_eq!(super::seqs(&taken), [1001]);
    position.commit(&taken);
    partition.settle(taken.receipt);
    queue.close();
    soon(publisher.finished()).await;
    soon(consumer.finished()).await;
    assert_eq!(place.messages(0).await, 0);
}

#[tokio::test]
async fn a_publisher_that_loses_its_connection_repeats_first_what_was_not_confirmed() {
    let Some(place) = Place::new(1) else { return };
    let network = Network::new(&place.0).await;
    let (queue, publisher) = start(network.through(place.options(1)));
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    let mut position = Position::default();
    for cut in 1..=10 {
        // It has the message, and its confirm is lost.
        network.set(Mode::Mute);
        let (until_here, half) = (cut * 20, cut * 20 - 10);
        publish(&queue, 1, until_here - 19..=half).await;
        // The first is on its way now, the second waits for its confirm.
        place.messages(0).await;
        publish(&queue, 1, half + 1..=until_here).await;
        network.cut();
        network.set(Mode::Pass);
        position.work_off(&partition, until_here).await;
    }
    assert!(publisher.is_up());
}

#[tokio::test]
async fn a_message_without_an_answer_is_sent_again() {
    let Some(place) = Place::new(1) else { return };
    let network = Network::new(&place.0).await;
    let (queue, publisher) = start(network.through(place.options(1)));
    until(|| async { publisher.is_up() }).await;
    network.set(Mode::Unconfirmed);
    publish(&queue, 1, [1]).await;
    until(|| async { place.messages(0).await == 1 }).await;
    // The connection stands, and all later answers come.
    network.set(Mode::Pass);
    publish(&queue, 1, 2..=10).await;
    let consumer = place.consumer(2);
    Position::default().work_off(&consumer.partitions()[0], 10).await;
}

#[tokio::test]
async fn a_publisher_waits_for_a_rabbitmq_that_is_away_or_stalls() {
    let Some(place) = Place::new(1) else { return };
    let network = Network::new(&place.0).await;
    network.set(Mode::Refuse);
    let (queue, publisher) = start(network.through(place.options(1)));
    publish(&queue, 1, 1..=10).await;
    assert!(!publisher.is_up());
    network.set(Mode::Pass);
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    let mut position = Position::default();
    position.work_off(&partition, 10).await;
    assert!(publisher.is_up());
    network.set(Mode::Stall);
    publish(&queue, 1, 11..=20).await;
    until(|| async { !publisher.is_up() }).await;
    // The stalled connection never gets its bytes through.
    network.cut();
    network.set(Mode::Pass);
    position.work_off(&partition, 20).await;
}

#[tokio::test]
async fn a_full_queue_holds_back_and_goes_on_in_order() {
    let Some(mut place) = Place::new(1) else { return };
    place.0.max_length = 3;
    let (queue, publisher) = place.publisher();
    // More than the lane and the queue hold.
    let all = 8000;
    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move { publish(&queue, 1, 1..=all).await }
    });
    until(|| async { publisher.is_up() && place.messages(0).await >= 3 }).await;
    for _ in 0..20 {
        let messages = place.messages(0).await;
        assert!(messages <= 6, "{messages} messages in a queue of 3");
    }
    assert!(!publishing.is_finished());
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    Position::default().work_off(&partition, all).await;
    publishing.await.unwrap();
}

#[tokio::test]
async fn a_blocked_connection_publishes_nothing_until_it_is_unblocked() {
    let Some(place) = Place::new(1) else { return };
    let network = Network::new(&place.0).await;
    let (queue, publisher) = start(network.through(place.options(1)));
    until(|| async { publisher.is_up() }).await;
    network.set_blocked(true);
    until(|| async { !publisher.is_up() }).await;
    publish(&queue, 1, 1..=10).await;
    for _ in 0..20 {
        assert_eq!(place.messages(0).await, 0);
    }
    network.set_blocked(false);
    let consumer = place.consumer(2);
    Position::default().work_off(&consumer.partitions()[0], 10).await;
    assert!(publisher.is_up());
}

#[tokio::test]
async fn a_closed_queue_is_emptied_before_the_publisher_ends() {
    let Some(place) = Place::new(8) else { return };
    let (queue, publisher) = place.publisher();
    for user in 0..8 {
        publish(&queue, user, 1..=100).await;
    }
    queue.close();
    soon(publisher.finished()).await;
    let consumer = place.consumer(2);
    for partition in consumer.partitions() {
        Position::default().work_off(&partition, 100).await;
    }
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_made_again() {
    let Some(place) = Place::new(1) else { return };
    let (queue, publisher) = place.publisher();
    let consumer = place.consumer(2);
    let partition = consumer.partitions().remove(0);
    publish(&queue, 1, 1..=10).await;
    let mut position = Position::default();
    position.work_off(&partition, 10).await;
    place.delete(super::declare::queue_name(&place.0, 0)).await;
    publish(&queue, 1, 11..=20).await;
    position.work_off(&partition, 20).await;
    assert!(publisher.is_up() && check(&place.0).await.is_ok());
}
