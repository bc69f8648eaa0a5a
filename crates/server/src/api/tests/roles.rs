//! Every route for every role that is not entitled: what belongs to others is as absent as what
//! does not exist. The routes come from the served document, so a new one without a rule here
//! fails.

use anser_proto::{Code, UserId};
use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use serde_json::{Value, json};

use super::{
    Answer, World,
    document::{example, operations},
    files,
    world::{Person, SERVER_KEY},
};
use crate::api::layer::REQUEST_ID;

/// What a route is about, and so what it may tell to whom.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// For everybody, about nobody.
    Public,
    /// About the caller alone, and those whom they know.
    Own,
    /// Names a thing that belongs to somebody: for others it does not exist.
    Thing,
    /// Names a user, to look them up or to ask them. Users are no secret to other users; what they
    /// have with third ones is.
    User,
    /// For the product's own server.
    Product,
}

const RULES: &[(&str, Rule)] = &[
    ("POST /v1/users", Rule::Public),
    ("POST /v1/sessions", Rule::Public),
    ("GET /v1/server", Rule::Public),
    ("GET /v1/me", Rule::Own),
    ("PATCH /v1/me", Rule::Own),
    ("PUT /v1/me/password", Rule::Own),
    ("GET /v1/me/sessions", Rule::Own),
    ("DELETE /v1/sessions/current", Rule::Own),
    ("GET /v1/connectors", Rule::Own),
    ("GET /v1/relations", Rule::Own),
    ("GET /v1/conversations", Rule::Own),
    ("GET /v1/snapshot", Rule::Own),
    ("POST /v1/files", Rule::Own),
    ("GET /v1/files/{id}", Rule::Thing),
    ("PATCH /v1/files/{id}", Rule::Thing),
    ("DELETE /v1/files/{id}", Rule::Thing),
    ("DELETE /v1/me/sessions/{device}", Rule::Thing),
    ("GET /v1/conversations/{id}/messages", Rule::Thing),
    ("GET /v1/users", Rule::User),
    ("GET /v1/users/{id}", Rule::User),
    ("POST /v1/relations", Rule::User),
    ("POST /v1/relations/{user}/{verb}", Rule::User),
    ("POST /v1/server/users", Rule::Product),
    ("GET /v1/server/users", Rule::Product),
    ("POST /v1/server/users/{user}/sessions", Rule::Product),
    ("PUT /v1/server/relations", Rule::Product),
    ("DELETE /v1/server/relations", Rule::Product),
    ("POST /v1/server/messages", Rule::Product),
];

/// (METHOD path, whether it takes a body, rule) of all routes.
async fn routes(world: &World) -> Vec<(String, bool, Rule)> {
    let operations = operations(world).await.into_iter();
    let routes = operations.map(|(method, path, operation)| {
        let what = format!("{method} {path}");
        let rule = RULES.iter().find(|(route, _)| *route == what);
        let (_, rule) = rule.unwrap_or_else(|| panic!("{what}: who may do what with it?"));
        (what, !operation["requestBody"].is_null(), *rule)
    });
    let routes: Vec<_> = routes.collect();
    assert_eq!(routes.len(), RULES.len(), "rules of routes that are gone");
    routes
}

/// Alice, whose things the others are after.
struct Scene {
    world: World,
    alice: Person,
    /// Of hers, and of no concern to the others: ids, keys, messages, names of devices.
    secrets: Vec<String>,
    /// Her conversation with a friend.
    conversation: String,
    /// A file that she sent there.
    file: String,
    /// Was her friend, until she ended it.
    removed: Person,
    /// Was her friend, until she blocked them.
    blocked: Person,
    stranger: Person,
    /// A device of hers that she logged out.
    revoked: Person,
    /// Somebody whom nobody has to do with.
    hermit: UserId,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let alice = world.person("alice").await;
        let phone = world.device(alice.id, "alices-telephone").await;
        let revoked = world.device(alice.id, "lost").await;
        let revoke = format!("DELETE /v1/me/sessions/{}", revoked.device);
        world.ask(&revoke, &alice.token, Value::Null).await.is_empty();
        let friend = speaker(&world, &alice, "friend").await;
        let removed = speaker(&world, &alice, "removed").await;
        let blocked = speaker(&world, &alice, "blocked").await;
        for (other, verb) in [(&removed, "remove"), (&blocked, "block")] {
            let act = format!("POST /v1/relations/{}/{verb}", other.id);
            assert_eq!(world.ask(&act, &alice.token, Value::Null).await.status, 200);
        }
        let relations = world.get("/v1/relations", &friend.token).await.json();
        let relation = &relations["relations"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let conversation = text(&relation["id"]);
        let history = format!("/v1/conversations/{conversation}/messages");
        let history = world.get(&history, &alice.token).await.json();
        let file = sent_file(&world, &alice, &conversation).await;
        let secrets = vec![
            file.clone(),
            conversation.clone(),
            text(&relation["keys"][0]["key"]),
            text(&history["messages"][0]["body"]),
            friend.id.to_string(),
            alice.device.to_string(),
            phone.device.to_string(),
            "alices-telephone".into(),
        ];
        let stranger = world.person("stranger").await;
        let hermit = world.person("hermit").await.id;
        Self {
            world,
            alice,
            secrets,
            conversation,
            file,
            removed,
            blocked,
            stranger,
            revoked,
            hermit,
        }
    }

    fn others(&self) -> [&Person; 3] {
        [&self.stranger, &self.removed, &self.blocked]
    }

    /// What Alice sees of her own.
    async fn all_of_alice(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in ["/v1/me", "/v1/me/sessions", "/v1/relations", "/v1/snapshot"] {
            all.push(self.world.get(path, &self.alice.token).await.json());
        }
        all
    }
}

/// A user who became Alice's friend by a message, with a device that reads.
async fn speaker(world: &World, alice: &Person, name: &str) -> Person {
    let id = world.system(name).await;
    let told = world.tell(id, alice.id, &format!("from {name}"), "1").await;
    assert_eq!(told.status, 200, "{told:?}");
    world.device(id, "laptop").await
}

/// A file that Alice sent, by its id.
async fn sent_file(world: &World, alice: &Person, chat: &str) -> String {
    let request = Request::post(format!("/v1/files?conversation={chat}"))
        .header("authorization", format!("Bearer {}", alice.token))
        .header("tus-resumable", "1.0.0")
        .header("upload-length", "0");
    let made = world.send(request.body(Body::empty()).unwrap()).await;
    let path = made.headers["location"].to_str().unwrap().to_owned();
    files::refer(world, alice, chat, &path).await;
    path.trim_start_matches("/v1/files/").to_owned()
}

/// All of an answer that may not differ.
fn same(answer: &Answer) -> (u16, HeaderMap, Value) {
    let mut headers = answer.headers.clone();
    headers.remove(REQUEST_ID);
    let mut body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (answer.status, headers, body)
}

fn body(takes: bool) -> Value {
    if takes { json!({}) } else { Value::Null }
}

#[tokio::test]
async fn who_is_not_authenticated_for_a_route_is_told_nothing_but_that() {
    let scene = Scene::new().await;
    let world = &scene.world;
    for (what, takes, rule) in routes(world).await {
        let call = example(&what);
        let other = match rule {
            Rule::Public => continue,
            Rule::Product => scene.alice.token.as_str(),
            Rule::Own | Rule::Thing | Rule::User => SERVER_KEY,
        };
        // What a token that never was is told, a revoked one and one of the wrong kind are told.
        let never = world.ask(&call, "ansd_00", body(takes)).await;
        never.problem(Code::Unauthenticated);
        for token in [other, scene.revoked.token.as_str()] {
            let answer = world.ask(&call, token, body(takes)).await;
            assert_eq!(same(&answer), same(&never), "{what}");
        }
        world.ask(&call, "", body(takes)).await.problem(Code::Unauthenticated);
    }
}

#[tokio::test]
async fn things_of_others_are_as_absent_as_what_does_not_exist() {
    let scene = Scene::new().await;
    let before = scene.all_of_alice().await;
    let mut asked = 0;
    for (what, takes, rule) in routes(&scene.world).await {
        if rule != Rule::Thing {
            continue;
        }
        let (start, rest) = what.split_once('{').unwrap();
        let (name, end) = rest.split_once('}').unwrap();
        let alices = match name {
            "device" => scene.alice.device.to_string(),
            "id" if start.ends_with("/files/") => scene.file.clone(),
            "id" => scene.conversation.clone(),
            other => panic!("{what}: which {other} does Alice have?"),
        };
        for person in scene.others() {
            let ask = async |id: &str| {
                let call = format!("{start}{id}{end}");
                scene.world.ask(&call, &person.token, body(takes)).await
            };
            let absent = ask("77").await;
            absent.problem(Code::NotFound);
            assert_eq!(same(&ask(&alices).await), same(&absent), "{what}");
            asked += 1;
        }
    }
    assert_eq!(asked, 15);
    assert_eq!(scene.all_of_alice().await, before, "nothing of hers changed");
}

#[tokio::test]
async fn no_answer_about_oneself_or_a_user_holds_anything_of_others() {
    let scene = Scene::new().await;
    for (what, takes, rule) in routes(&scene.world).await {
        let alice = scene.alice.id.to_string();
        let calls = match (rule, what.as_str()) {
            (Rule::Own, "DELETE /v1/sessions/current") => continue,
            (Rule::Own, _) => vec![what.clone()],
            (Rule::User, "GET /v1/users") => vec!["GET /v1/users?name=alice".into()],
            (Rule::User, "GET /v1/users/{id}") => vec![format!("GET /v1/users/{alice}")],
            (Rule::User, "POST /v1/relations") => vec![what.clone()],
            (Rule::User, _) => {
                let verbs = ["accept", "decline", "remove", "unblock"];
                verbs.map(|verb| format!("POST /v1/relations/{alice}/{verb}")).to_vec()
            }
            _ => continue,
        };
        let body = match what.as_str() {
            "POST /v1/relations" => json!({ "user": alice }),
            "PATCH /v1/me" => json!({ "display_name": "me" }),
            _ => body(takes),
        };
        for call in calls {
            for person in scene.others() {
                let answer = scene.world.ask(&call, &person.token, body.clone()).await;
                let text = String::from_utf8(answer.body).unwrap();
                let told = scene.secrets.iter().find(|secret| text.contains(*secret));
                assert_eq!(told, None, "{call}: {text}");
            }
        }
    }
    let own = scene.world.get("/v1/snapshot", &scene.alice.token).await;
    let own = String::from_utf8(own.body).unwrap();
    assert!(own.contains(&scene.secrets[2]), "what is searched for is found where it belongs");
}

/// What a user has with others does not show in how they can be asked.
#[tokio::test]
async fn a_stranger_meets_a_user_with_friends_as_one_without() {
    let scene = Scene::new().await;
    let before = scene.all_of_alice().await;
    for verb in ["accept", "decline", "remove", "unblock"] {
        let act = async |user: UserId| {
            let call = format!("POST /v1/relations/{user}/{verb}");
            scene.world.ask(&call, &scene.stranger.token, Value::Null).await
        };
        assert_eq!(same(&act(scene.alice.id).await), same(&act(scene.hermit).await), "{verb}");
    }
    assert_eq!(scene.all_of_alice().await, before, "nothing of hers changed");
}

/// All that a former friend can ask, and be told, with what is their own left out.
async fn seen(scene: &Scene, person: &Person) -> Vec<(String, String)> {
    let world = &scene.world;
    let relations = world.get("/v1/relations", &person.token).await.json();
    let relation = &relations["relations"][0];
    let own = [
        (relation["id"].as_str().unwrap().to_owned(), "RELATION"),
        (relation["keys"][0]["key"].as_str().unwrap().to_owned(), "KEY"),
        (person.id.to_string(), "OWN"),
    ];
    let history = format!("/v1/conversations/{}/messages", own[0].0);
    let act = |verb| format!("POST /v1/relations/{}/{verb}", scene.alice.id);
    let calls = [
        ("GET /v1/relations".into(), Value::Null),
        ("GET /v1/conversations".into(), Value::Null),
        (format!("GET {history}"), Value::Null),
        (format!("GET /v1/users/{}", scene.alice.id), Value::Null),
        (act("accept"), Value::Null),
        (act("decline"), Value::Null),
        (act("remove"), Value::Null),
        (act("unblock"), Value::Null),
        ("POST /v1/relations".into(), json!({ "user": scene.alice.id })),
        ("POST /v1/relations".into(), json!({ "user": scene.alice.id })),
        ("GET /v1/relations".into(), Value::Null),
        (act("accept"), Value::Null),
        (act("decline"), Value::Null),
        ("GET /v1/relations".into(), Value::Null),
        ("GET /v1/conversations".into(), Value::Null),
    ];
    let mut seen = Vec::new();
    for (call, body) in calls {
        let (status, _, told) = same(&world.ask(&call, &person.token, body).await);
        // Named before lists are sorted: ids are random, and so would be the order.
        let mut text = told.to_string();
        for (mine, name) in &own {
            text = text.replace(mine, name);
        }
        let mut told = serde_json::from_str(&text).unwrap_or(Value::String(text));
        anonymous(&mut told);
        seen.push((call.replace(&own[0].0, "RELATION"), format!("{status} {told}")));
    }
    seen
}

/// Takes out what differs between any two people: names, devices, times, sealed bodies.
fn anonymous(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(anonymous);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            let own = ["name", "display_name", "device", "created_at_ms", "body"];
            for (name, value) in fields {
                if own.contains(&name.as_str()) {
                    *value = Value::Null;
                } else {
                    anonymous(value);
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn who_is_blocked_can_not_tell_it_from_being_removed() {
    let scene = Scene::new().await;
    let (removed, blocked) =
        (seen(&scene, &scene.removed).await, seen(&scene, &scene.blocked).await);
    for (removed, blocked) in removed.iter().zip(&blocked) {
        assert_eq!(removed, blocked);
    }
    assert!(removed[0].1.contains("KEY"), "old messages stay readable");
    assert!(removed[10].1.contains("requested"), "{}", removed[10].1);
}

#[tokio::test]
async fn the_two_interfaces_do_not_have_each_other_s_routes() {
    let scene = Scene::new().await;
    let admin = [
        "GET /admin/status",
        "GET /admin/users",
        "POST /admin/users",
        "POST /admin/users/batch",
        "DELETE /admin/users/alice",
        "PUT /admin/users/alice/password",
        "POST /admin/users/alice/sessions",
        "POST /admin/invites",
        "POST /admin/backup",
    ];
    for call in admin {
        for token in ["", SERVER_KEY, scene.alice.token.as_str()] {
            scene.world.ask(call, token, Value::Null).await.problem(Code::NotFound);
        }
    }
    // Whoever opens the admin socket is the operator, not a user: it shows no relation, key,
    // history or device of anybody.
    for (what, takes, _) in routes(&scene.world).await {
        scene.world.operate(&example(&what), body(takes)).await.problem(Code::NotFound);
    }
}
