//! Relations over REST: each verb, its doorbells, its keys, its refusals.

use anser_proto::{Code, UserId};
use serde_json::{Value, json};

use super::{Answer, Ring, World, world::Person};

async fn act(world: &World, who: &Person, peer: UserId, verb: &str) -> Answer {
    let path = format!("POST /v1/relations/{peer}/{verb}");
    world.ask(&path, &who.token, Value::Null).await
}

async fn request(world: &World, who: &Person, peer: UserId) -> Answer {
    world.ask("POST /v1/relations", &who.token, json!({ "user": peer })).await
}

async fn pair() -> (World, Person, Person) {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.rings();
    (world, alice, bob)
}

/// The users whose inboxes got an entry.
fn told(world: &World) -> Vec<UserId> {
    let rings = world.rings().into_iter();
    let mut users: Vec<UserId> = rings
        .map(|ring| match ring {
            Ring::Entry(user, _) => user,
            closed @ Ring::Closed(..) => panic!("{closed:?}"),
        })
        .collect();
    users.sort_unstable();
    users
}

fn both(one: &Person, other: &Person) -> Vec<UserId> {
    let mut users = vec![one.id, other.id];
    users.sort_unstable();
    users
}

#[tokio::test]
async fn request_and_accept_make_friends_who_share_one_key() {
    let (world, alice, bob) = pair().await;
    let asked = request(&world, &alice, bob.id).await;
    let id = asked.json()["id"].clone();
    let peer = json!({ "id": bob.id, "name": "bob", "display_name": "bob" });
    asked.is(200, &json!({ "id": id, "peer": peer, "state": "requested", "keys": [] }));
    assert_eq!(told(&world), both(&alice, &bob));
    let incoming = world.get("/v1/relations", &bob.token).await.json();
    assert_eq!(incoming["relations"][0]["state"], "incoming");

    let accepted = act(&world, &bob, alice.id, "accept").await.json();
    assert_eq!(accepted["state"], "friends");
    assert_eq!(accepted["peer"]["name"], "alice");
    assert_eq!(told(&world), both(&alice, &bob));
    let key = accepted["keys"][0]["key"].as_str().unwrap();
    assert_eq!(key.len(), 44, "32 bytes in base64");
    let expected = json!({ "id": id, "peer": peer, "state": "friends",
        "keys": [{ "version": 1, "key": key }] });
    let listed = world.get("/v1/relations", &alice.token).await;
    listed.is(200, &json!({ "relations": [expected] }));
}

#[tokio::test]
async fn a_crossing_request_accepts() {
    let (world, alice, bob) = pair().await;
    request(&world, &alice, bob.id).await;
    assert_eq!(request(&world, &bob, alice.id).await.json()["state"], "friends");
}

#[tokio::test]
async fn decline_remove_block_and_unblock() {
    let (world, alice, bob) = pair().await;
    request(&world, &alice, bob.id).await;
    assert_eq!(act(&world, &bob, alice.id, "decline").await.json()["state"], "none");
    request(&world, &alice, bob.id).await;
    act(&world, &bob, alice.id, "accept").await;
    told(&world);
    assert_eq!(act(&world, &alice, bob.id, "remove").await.json()["state"], "none");
    assert_eq!(told(&world), both(&alice, &bob));

    request(&world, &alice, bob.id).await;
    let again = act(&world, &bob, alice.id, "accept").await.json();
    let keys = again["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "friends again: a new version, the old one stays");
    assert_ne!(keys[0]["key"], keys[1]["key"]);
    assert_eq!(keys[1]["version"], 2);

    assert_eq!(act(&world, &bob, alice.id, "block").await.json()["state"], "blocked");
    told(&world);
    let asked = request(&world, &alice, bob.id).await;
    assert_eq!(asked.json()["state"], "requested", "who is blocked is not told so");
    assert!(!told(&world).contains(&bob.id), "who blocks is not told of requests");
    assert_eq!(act(&world, &bob, alice.id, "unblock").await.json()["state"], "incoming");
}

#[tokio::test]
async fn what_can_not_be_is_refused_and_tells_nobody() {
    let (world, alice, bob) = pair().await;
    let strangers = act(&world, &alice, bob.id, "accept").await;
    strangers.problem(Code::RelationState);
    act(&world, &alice, bob.id, "remove").await.problem(Code::RelationState);
    act(&world, &alice, UserId(77), "accept").await.problem(Code::NotFound);
    request(&world, &alice, UserId(77)).await.problem(Code::NotFound);
    request(&world, &alice, alice.id).await.problem(Code::InvalidRequest);
    let verb = act(&world, &alice, bob.id, "acept").await.problem(Code::InvalidRequest);
    assert!(verb.contains("expected one of"), "{verb}");
    assert!(told(&world).is_empty());
    // The own request can not be accepted by oneself.
    request(&world, &alice, bob.id).await;
    act(&world, &alice, bob.id, "accept").await.problem(Code::RelationState);
}

#[tokio::test]
async fn an_account_has_a_largest_number_of_relations() {
    let world = World::with(|config| config.relations_per_user = 1);
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let carol = world.person("carol").await;
    assert_eq!(request(&world, &alice, bob.id).await.status, 200);
    request(&world, &alice, carol.id).await.problem(Code::TooMany);
}

#[tokio::test]
async fn relations_and_keys_of_others_are_not_shown() {
    let (world, alice, bob) = pair().await;
    let carol = world.person("carol").await;
    world.befriend(&alice, &bob).await;
    let none = world.get("/v1/relations", &carol.token).await;
    none.is(200, &json!({ "relations": [] }));
}
