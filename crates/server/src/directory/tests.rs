//! They need Redis; see `presence/redis/tests.rs`.

use anser_proto::NodeId;

use super::*;
use crate::{
    link::network::{Weather, until},
    presence::redis::tests::Place,
};

fn node(id: NodeId, name: &str, roles: &[Role]) -> Node {
    Node {
        id,
        name: name.to_owned(),
        roles: roles.to_vec(),
        link: Some("127.0.0.1:1".to_owned()),
        tcp: None,
        ws: None,
        connections: 0,
        version: "1".to_owned(),
        started_at_ms: 1,
        state: State::Serving,
    }
}

async fn join(redis: Arc<Redis>, name: &str) -> Directory {
    let me = node(redis.here(), name, &[Role::Transfer, Role::Connector]);
    Directory::start(redis, move || me.clone())
}

fn names(directory: &Directory) -> Vec<String> {
    let nodes = directory.nodes();
    let mut names: Vec<_> = nodes.borrow().iter().map(|node| node.name.clone()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn nodes_see_each_other_come_and_go() {
    let Some(place) = Place::new() else { return };
    let one = join(place.node().await, "one").await;
    assert_eq!(names(&one), ["one"], "itself it knows at once");
    let two = join(place.node().await, "two").await;
    until("both see both", async || names(&one) == ["one", "two"] && names(&two) == ["one", "two"])
        .await;
    let mut both = vec![one.redis.here(), two.redis.here()];
    both.sort();
    assert_eq!(*one.transfers().borrow(), both);
    assert!(!one.is_stale());
    two.leave().await;
    assert_eq!(live(&one.redis).await.unwrap().len(), 1, "it said goodbye");
    until("it left", async || names(&one) == ["one"]).await;
    assert_eq!(*one.transfers().borrow(), [one.redis.here()]);
}

#[tokio::test]
async fn a_node_that_died_ends_by_itself() {
    let Some(place) = Place::new() else { return };
    let one = join(place.node().await, "one").await;
    let two = join(place.node().await, "two").await;
    until("it came", async || names(&one) == ["one", "two"]).await;
    drop(two);
    until("it ended", async || names(&one) == ["one"]).await;
}

#[tokio::test]
async fn an_announcement_that_ended_is_not_listed_and_then_forgotten() {
    let Some(place) = Place::new() else { return };
    let here = place.node().await;
    let node = node(NodeId::random(), "dead", &[Role::Transfer]);
    let field = node.id.0;
    let json = serde_json::to_vec(&Announcement { until_ms: 1, node }).unwrap();
    let key = here.connection().key(format_args!("nodes"));
    let mut connection = place.connect().await;
    let put = &mut redis::cmd("HSET");
    put.arg(&key).arg(field).arg(json).query_async::<()>(&mut connection).await.unwrap();
    assert_eq!(live(&here).await, Ok(Vec::new()));
    let one = join(here, "one").await;
    until("it is forgotten", async || {
        let mut connection = place.connect().await;
        let known = &mut redis::cmd("HEXISTS");
        !known.arg(&key).arg(field).query_async::<bool>(&mut connection).await.unwrap()
    })
    .await;
    assert_eq!(names(&one), ["one"]);
}

#[tokio::test]
async fn the_list_stays_while_redis_is_away_or_forgot() {
    let Some(place) = Place::new() else { return };
    let (network, url) = place.network().await;
    let redis = Redis::start(&url, &place.name, NodeId::random()).unwrap();
    let one = join(redis, "one").await;
    let two = join(place.node().await, "two").await;
    until("it came", async || names(&one) == ["one", "two"]).await;
    let mut changes = one.nodes();
    changes.mark_unchanged();
    network.becomes(Weather::Cut);
    until("it is noticed", async || one.is_stale()).await;
    place.forget().await;
    network.becomes(Weather::Fine);
    until("it answers", async || !one.is_stale()).await;
    place.forget().await;
    until("all is there again", async || {
        let key = one.redis.connection().key(format_args!("nodes"));
        let mut connection = place.connect().await;
        let count = redis::cmd("HLEN").arg(key).query_async::<usize>(&mut connection).await;
        count.unwrap() == 2
    })
    .await;
    assert!(!changes.has_changed().unwrap(), "no moment without the other: {:?}", names(&one));
    drop(two);
}

#[tokio::test]
async fn a_node_can_be_asked_to_drain() {
    let Some(place) = Place::new() else { return };
    let one = join(place.node().await, "one").await;
    let two = join(place.node().await, "two").await;
    until("it came", async || names(&one) == ["one", "two"]).await;
    let nodes = live(&one.redis).await.unwrap();
    assert_eq!(nodes.len(), 2, "as somebody else sees them");
    let named: Vec<_> = nodes.iter().filter(|node| node.name == "two").collect();
    drain(&one.redis, &named).await.unwrap();
    two.asked_to_drain().cancelled().await;
    assert!(!one.asked_to_drain().is_cancelled());
    place.forget().await;
}

#[test]
fn clients_are_sent_to_the_least_loaded_connector() {
    let mut nodes: Vec<Node> =
        (1..=5).map(|id| node(NodeId(id), "any", &[Role::Connector])).collect();
    nodes[0].connections = 7;
    nodes[1].state = State::Draining;
    nodes[2].roles = vec![Role::Api];
    nodes[3].connections = 3;
    let best: Vec<_> = least_loaded(&nodes).iter().map(|node| node.id.0).collect();
    assert_eq!(best, [5, 4, 1]);
}

#[test]
fn a_transfer_that_drains_gets_no_partitions() {
    let mut nodes: Vec<Node> =
        (1..=3).map(|id| node(NodeId(id), "any", &[Role::Transfer])).collect();
    nodes[1].state = State::Draining;
    nodes[2].roles = vec![Role::Connector];
    assert_eq!(transfers_of(&nodes), [NodeId(1)]);
}

#[test]
fn a_later_version_is_understood() {
    let json = r#"{"id":"5","name":"n","roles":["connector","kitchen"],"version":"9",
        "started_at_ms":1,"state":"serving","new":[1]}"#;
    let node: Node = serde_json::from_str(json).unwrap();
    assert_eq!(node.roles, [Role::Connector, Role::Other]);
}
