//! What an operator is told.

use super::network::Network;
use super::{Options, Place, check, publish, soon, start, until};
use crate::queue::rabbitmq::{Error, Fits, broker, declare};

#[tokio::test]
async fn other_arguments_are_told_and_a_deleted_queue_is_made_right() {
    let Some(place) = Place::new(1) else { return };
    broker::connect(&place.0).await.unwrap().close().await;
    let other = Options { max_length: 7, ..place.options(1) };
    let Err(error) = broker::connect(&other).await else { panic!("it took other arguments") };
    let name = declare::queue_name(&place.0, 0);
    assert!(matches!(&error, Error::Arguments { queue, .. } if *queue == name), "{error}");
    assert!(error.to_string().contains("x-max-length"), "{error}");
    let report = check(&other).await.unwrap();
    assert_eq!(report.partitions[0].fits, Fits::No(error.to_string()));
    let (_queue, publisher) = start(other.clone());
    assert!(!publisher.is_up());
    place.delete(name).await;
    until(|| async { publisher.is_up() }).await;
    assert_eq!(check(&other).await.unwrap().partitions[0].fits, Fits::Yes);
}

#[tokio::test]
async fn another_number_of_partitions_is_told() {
    let Some(place) = Place::new(2) else { return };
    broker::connect(&place.0).await.unwrap().close().await;
    let other = Options { partitions: 3, ..place.options(1) };
    let Err(error) = broker::connect(&other).await else { panic!("it took another number") };
    assert!(matches!(error, Error::Partitions { here: 3, .. }), "{error}");
    assert_eq!(check(&other).await.unwrap().agrees, Fits::No(error.to_string()));
}

#[tokio::test]
async fn a_check_tells_what_is_there_and_makes_nothing() {
    let Some(place) = Place::new(2) else { return };
    let report = check(&place.0).await.unwrap();
    assert_eq!(report.agrees, Fits::Missing);
    assert!(report.partitions.iter().all(|queue| queue.fits == Fits::Missing));
    let version = report.version.expect("RabbitMQ tells its version");
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
    let (queue, publisher) = place.publisher();
    publish(&queue, 1, [1]).await;
    queue.close();
    soon(publisher.finished()).await;
    let report = check(&place.0).await.unwrap();
    assert_eq!((report.agrees, report.blocked), (Fits::Yes, None));
    let told: Vec<_> = report.partitions.iter().map(|one| (one.messages, one.consumers)).collect();
    assert_eq!(told, [(0, 0), (1, 0)]);
    let consumer = place.consumer(2);
    let both = |(first, second): (u32, u32)| first == 1 && second == 1;
    until(|| async {
        let partitions = check(&place.0).await.unwrap().partitions;
        both((partitions[0].consumers, partitions[1].consumers))
    })
    .await;
    soon(consumer.finished()).await;
}

#[tokio::test]
async fn a_queue_that_is_not_served_is_told() {
    let Some(place) = Place::new(2) else { return };
    broker::connect(&place.0).await.unwrap().close().await;
    let network = Network::new(&place.0).await;
    network.set_broken(Some(declare::queue_name(&place.0, 1)));
    let report = check(&network.through(place.options(1))).await.unwrap();
    let fits: Vec<_> = report.partitions.into_iter().map(|one| one.fits).collect();
    assert_eq!(fits, [Fits::Yes, Fits::Broken]);
}

#[test]
fn urls_that_would_be_taken_for_something_else_are_refused() {
    for url in
        ["amqps://rabbit", "amqp://[::1]:5672", "amqp://user@[::1]", "http://rabbit", "rabbit"]
    {
        let Err(error) = broker::uri(url) else { panic!("{url} was taken") };
        assert!(matches!(error, Error::Url(_)), "{error}");
    }
    assert_eq!(broker::uri("amqp://rabbit/").unwrap().vhost, "/");
    assert_eq!(broker::uri("amqp://rabbit/anser").unwrap().vhost, "anser");
}
