//! Conversations, history and snapshot. Messages are sent by a system user.

use anser_proto::{Code, UserId};
use serde_json::{Value, json};

use super::{World, world::Person};

/// Alice with seven messages of the shop; gives the conversation's id too.
async fn shop() -> (World, Person, UserId, String) {
    let world = World::new();
    let (alice, shop) = (world.person("alice").await, world.system("shop").await);
    let mut conversation = String::new();
    for n in 1..=7 {
        let sent = world.tell(shop, alice.id, &format!("message {n}"), &n.to_string()).await;
        conversation = sent.json()["conversation"].as_str().unwrap().into();
    }
    (world, alice, shop, conversation)
}

fn numbers(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|message| message["conv_seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn history_pages_from_each_place() {
    let (world, alice, _, id) = shop().await;
    let cases = [
        ("", vec![3, 4, 5, 6, 7], true, false),
        ("?limit=2", vec![6, 7], true, false),
        ("?before=3", vec![1, 2], false, true),
        ("?before=6&limit=2", vec![4, 5], true, true),
        ("?after=0&limit=2", vec![1, 2], false, true),
        ("?after=5", vec![6, 7], true, false),
        ("?around=4&limit=3", vec![3, 4, 5], true, true),
        ("?after=7", vec![], true, false),
        ("?after=99", vec![], true, false),
        ("?before=1", vec![], false, true),
        ("?before=0", vec![], false, true),
        ("?before=99&limit=1", vec![7], true, false),
        ("?around=1&limit=3", vec![1, 2, 3], false, true),
        ("?around=7&limit=1", vec![7], true, false),
    ];
    for (query, expected, before, after) in cases {
        let path = format!("/v1/conversations/{id}/messages{query}");
        let page = world.get(&path, &alice.token).await.json();
        assert_eq!(numbers(&page), expected, "{query}");
        let more = (&page["more_before"], &page["more_after"]);
        assert_eq!(more, (&json!(before), &json!(after)), "{query}");
    }
}

#[tokio::test]
async fn limits_are_refused_and_never_cut_and_places_exclude_each_other() {
    let (world, alice, _, id) = shop().await;
    let ask = async |query: &str| {
        let path = format!("/v1/conversations/{id}/messages?{query}");
        world.get(&path, &alice.token).await.problem(Code::InvalidRequest)
    };
    for query in ["limit=6", "limit=0", "limit=999999999999"] {
        assert!(ask(query).await.contains("1 to 5 at once"), "{query}");
    }
    for query in ["before=3&after=1", "around=2&before=3", "before=1&after=1&around=1"] {
        assert!(ask(query).await.contains("only one of"), "{query}");
    }
    assert!(ask("before=9007199254740992").await.contains("below 2^53"));
    for query in ["before=-1", "before=x", "limit=-1", "limit=", "bfore=1", "limit=1&limit=2"] {
        let detail = ask(query).await;
        assert!(detail.starts_with("The query string is not valid"), "{query}: {detail}");
    }
    assert!(ask("before=x").await.contains("before"), "the parameter is named");
    assert!(ask("bfore=1").await.contains("did you mean `before`?"));
}

#[tokio::test]
async fn a_conversation_of_others_is_as_absent_as_one_that_does_not_exist() {
    let (world, _, _, id) = shop().await;
    let bob = world.person("bob").await;
    let messages = |id: &str| format!("/v1/conversations/{id}/messages");
    let foreign = world.get(&messages(&id), &bob.token).await.problem(Code::NotFound);
    let unknown = world.get(&messages("77"), &bob.token).await.problem(Code::NotFound);
    assert_eq!(foreign, unknown);
    let none = world.get("/v1/conversations", &bob.token).await;
    none.is(200, &json!({ "conversations": [] }));
}

#[tokio::test]
async fn conversations_and_snapshot_have_these_shapes() {
    let (world, alice, shop, id) = shop().await;
    let user = |id: UserId, name: &str| json!({ "id": id, "name": name, "display_name": name });
    let page = world.get(&format!("/v1/conversations/{id}/messages?limit=1"), &alice.token).await;
    let page = page.json();
    let last = &page["messages"][0];
    let given = |key: &str| last[key].clone();
    let expected = json!({
        "conversation": id, "conv_seq": 7, "sender": shop, "device": given("device"),
        "client_seq": 7, "key_version": 1, "body": given("body"),
        "created_at_ms": given("created_at_ms"),
    });
    assert_eq!(*last, expected);
    assert!(given("created_at_ms").is_u64() && given("device").is_string());

    let answer = world.get("/v1/conversations", &alice.token).await;
    let body = answer.json();
    let mut members = body["conversations"][0]["members"].as_array().unwrap().clone();
    members.sort_by_key(|member| member["user"]["name"].to_string());
    let expected = [
        json!({ "user": user(alice.id, "alice"), "delivered": 0, "read": 0 }),
        json!({ "user": user(shop, "shop"), "delivered": 0, "read": 0 }),
    ];
    assert_eq!(members, expected);
    let conversation = json!({
        "id": id, "kind": "direct", "open": true, "head": 7, "unread": 7,
        "members": body["conversations"][0]["members"], "last_message": last,
    });
    answer.is(200, &json!({ "conversations": [conversation] }));

    let relations = world.get("/v1/relations", &alice.token).await.json();
    let snapshot = world.get("/v1/snapshot", &alice.token).await;
    let epoch = world.store.meta().await.unwrap().epoch;
    // Seven messages and becoming friends.
    snapshot.is(
        200,
        &json!({ "epoch": epoch, "head": 8, "relations": relations["relations"],
            "conversations": [conversation] }),
    );
}
