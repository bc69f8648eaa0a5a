//! The server API.

use anser_proto::{
    Code, ConversationId, DeviceId, UserId,
    seal::{Key, Place},
    wire,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    Ring, World,
    world::{Person, SERVER_KEY},
};
use crate::api::validate::SERVER_DEVICE;

/// Opens the newest message as `who` would: with the key of GET /v1/relations.
async fn last_text(world: &World, who: &Person) -> String {
    let snapshot = world.get("/v1/snapshot", &who.token).await.json();
    let message = &snapshot["conversations"][0]["last_message"];
    let id = |key: &str| message[key].as_str().unwrap().parse::<UserId>().unwrap().0;
    let version = message["key_version"].as_u64().unwrap();
    let keys = snapshot["relations"][0]["keys"].as_array().unwrap().iter();
    let mut keys = keys.filter(|key| key["version"] == version);
    let key = BASE64_STANDARD.decode(keys.next().unwrap()["key"].as_str().unwrap()).unwrap();
    let place = Place {
        conversation: ConversationId(id("conversation")),
        sender: UserId(id("sender")),
        device: DeviceId(id("device")),
        client_seq: message["client_seq"].as_u64().unwrap(),
        key_version: u32::try_from(version).unwrap(),
    };
    let sealed = BASE64_STANDARD.decode(message["body"].as_str().unwrap()).unwrap();
    let opened = Key::new(key.try_into().unwrap()).open(&place, &sealed).unwrap();
    match wire::Content::decode(&opened[..]).unwrap().kind {
        Some(wire::content::Kind::Text(text)) => text.text,
        other => panic!("{other:?}"),
    }
}

async fn head(world: &World, who: &Person) -> Value {
    world.get("/v1/conversations", &who.token).await.json()["conversations"][0]["head"].clone()
}

#[tokio::test]
async fn users_sessions_and_relations_are_made_and_removed() {
    let world = World::new();
    let body = json!({ "name": "alice", "display_name": "Alice" });
    let made = world.ask("POST /v1/server/users", SERVER_KEY, body.clone()).await;
    let id = made.json()["id"].clone();
    let user = json!({ "id": id, "name": "alice", "display_name": "Alice" });
    made.is(201, &user);
    let again = world.ask("POST /v1/server/users", SERVER_KEY, body).await;
    again.problem(Code::NameTaken);
    let capital = world.ask("POST /v1/server/users", SERVER_KEY, json!({ "name": "Bob" })).await;
    capital.problem(Code::InvalidRequest);

    let sessions = format!("POST /v1/server/users/{}/sessions", id.as_str().unwrap());
    let body = json!({ "device_name": "web" });
    let session = world.ask(&sessions, SERVER_KEY, body.clone()).await;
    let given = session.json();
    session.is(201, &json!({ "user": user, "device": given["device"], "token": given["token"] }));
    let token = given["token"].as_str().unwrap();
    world.get("/v1/me", token).await.is(200, &user);
    let absent = world.ask("POST /v1/server/users/77/sessions", SERVER_KEY, body).await;
    absent.problem(Code::NotFound);
    let reserved = world.ask(&sessions, SERVER_KEY, json!({ "device_name": SERVER_DEVICE })).await;
    reserved.problem(Code::InvalidRequest);
}

#[tokio::test]
async fn relations_are_made_and_removed_without_a_request_and_twice_is_once() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let body = json!({ "users": [alice.id, bob.id] });
    let relate = async |method: &str, body: &Value| {
        world.ask(&format!("{method} /v1/server/relations"), SERVER_KEY, body.clone()).await
    };
    let made = relate("PUT", &body).await;
    let listed = world.get("/v1/relations", &bob.token).await.json();
    assert_eq!(listed["relations"][0]["state"], "friends");
    made.is(200, &json!({ "conversation": listed["relations"][0]["id"] }));
    assert_eq!(world.rings().len(), 2);
    let turned = json!({ "users": [bob.id, alice.id] });
    assert_eq!(relate("PUT", &turned).await.json(), made.json());
    assert!(world.rings().is_empty());

    relate("DELETE", &body).await.is_empty();
    assert_eq!(world.rings().len(), 2);
    relate("DELETE", &body).await.is_empty();
    assert!(world.rings().is_empty());
    let path = format!("POST /v1/relations/{}/block", alice.id);
    world.ask(&path, &bob.token, Value::Null).await;
    relate("PUT", &body).await.problem(Code::RelationState);

    let oneself = json!({ "users": [alice.id, alice.id] });
    relate("PUT", &oneself).await.problem(Code::InvalidRequest);
    let unknown = json!({ "users": [alice.id, "77"] });
    relate("PUT", &unknown).await.problem(Code::NotFound);
    relate("DELETE", &unknown).await.problem(Code::NotFound);
    let three = json!({ "users": [alice.id, bob.id, "77"] });
    relate("PUT", &three).await.problem(Code::Malformed);
}

#[tokio::test]
async fn a_system_user_sends_sealed_text_to_strangers_and_becomes_their_friend() {
    let world = World::new();
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    let sent = world.tell(shop, alice.id, "Your parcel is here.", "order-1").await;
    let conversation = sent.json()["conversation"].clone();
    sent.is(200, &json!({ "conversation": conversation, "repeated": false }));
    let rings = world.rings();
    // Both learn of the relation, then of the message.
    assert!(rings.contains(&Ring::Entry(alice.id, 1)) && rings.contains(&Ring::Entry(alice.id, 2)));
    assert!(rings.contains(&Ring::Entry(shop, 2)), "{rings:?}");
    assert_eq!(last_text(&world, &alice).await, "Your parcel is here.");
    let devices = world.store.devices(shop).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!((&devices[0].name[..], devices[0].outbox_position), (SERVER_DEVICE, 1));
}

#[tokio::test]
async fn the_newest_version_of_the_key_seals() {
    let world = World::new();
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    world.tell(shop, alice.id, "sealed with version 1", "1").await;
    let body = json!({ "users": [alice.id, shop] });
    world.ask("DELETE /v1/server/relations", SERVER_KEY, body).await.is_empty();
    world.tell(shop, alice.id, "sealed with version 2", "2").await;
    assert_eq!(last_text(&world, &alice).await, "sealed with version 2");
    let relations = world.get("/v1/relations", &alice.token).await.json();
    assert_eq!(relations["relations"][0]["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_sends_once_and_is_each_users_own() {
    let world = World::new();
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    assert_eq!(world.tell(shop, alice.id, "one", "key").await.json()["repeated"], false);
    world.rings();
    for _ in 0..3 {
        let repeat = world.tell(shop, alice.id, "one", "key").await;
        assert_eq!(repeat.json()["repeated"], true);
    }
    assert!(world.rings().is_empty());
    assert_eq!(head(&world, &alice).await, 1);
    assert_eq!(world.tell(shop, alice.id, "two", "other").await.json()["repeated"], false);
    assert_eq!(last_text(&world, &alice).await, "two");
    let bank = world.system("bank").await;
    let other = world.tell(bank, alice.id, "three", "key").await;
    assert_eq!(other.json()["repeated"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_all_sent_once() {
    let world = std::sync::Arc::new(World::new());
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..400 {
        let (world, to) = (std::sync::Arc::clone(&world), alice.id);
        // Each key twice.
        tasks.spawn(async move {
            let key = (n % 200).to_string();
            world.tell(shop, to, &key, &key).await.json()["repeated"] == true
        });
    }
    let repeated = tasks.join_all().await.into_iter().filter(|repeated| *repeated).count();
    assert_eq!(repeated, 200);
    assert_eq!(head(&world, &alice).await, 200);
}

#[tokio::test]
async fn a_lost_server_device_is_replaced() {
    let world = World::new();
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    world.tell(shop, alice.id, "one", "1").await;
    let which = anser_store::Devices::All;
    assert_eq!(world.store.revoke_devices(shop, which).await.unwrap().len(), 1);
    assert_eq!(world.tell(shop, alice.id, "two", "2").await.status, 200);
    assert_eq!(last_text(&world, &alice).await, "two");
}

#[tokio::test]
async fn what_can_not_be_sent_is_refused() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let shop = world.system("shop").await;
    world.tell(alice.id, bob.id, "hi", "1").await.problem(Code::Forbidden);
    world.tell(UserId(77), bob.id, "hi", "1").await.problem(Code::NotFound);
    world.tell(shop, UserId(77), "hi", "1").await.problem(Code::NotFound);
    world.tell(shop, alice.id, "", "1").await.problem(Code::BodyEmpty);
    world.tell(shop, alice.id, &"x".repeat(1000), "1").await.problem(Code::BodyTooLarge);
    for key in ["", &"k".repeat(65)] {
        world.tell(shop, alice.id, "hi", key).await.problem(Code::InvalidRequest);
    }
    world.ask(&format!("POST /v1/relations/{shop}/block"), &bob.token, Value::Null).await;
    world.tell(shop, bob.id, "hi", "1").await.problem(Code::RelationState);
    assert_eq!(world.tell(shop, alice.id, &"x".repeat(980), "1").await.status, 200);
}

#[tokio::test]
async fn without_a_server_key_the_server_api_is_off() {
    let world = World::new();
    for token in ["", "anss_wrong"] {
        let refused = world.ask("POST /v1/server/users", token, json!({ "name": "bob" })).await;
        refused.problem(Code::Unauthenticated);
    }
    let off = World::without_server_key();
    let refused = off.ask("POST /v1/server/users", SERVER_KEY, json!({ "name": "bob" })).await;
    refused.problem(Code::Forbidden);
}
