//! Registration, profile, password and look-up.

use anser_proto::Code;
use serde_json::{Value, json};

use super::{Ring, World, world::SERVER_KEY};
use crate::config::Registration;

fn register(name: &str) -> Value {
    json!({ "name": name, "password": "correct horse", "display_name": "Alice L." })
}

#[tokio::test]
async fn register_answers_the_account_and_a_name_is_taken_once() {
    let world = World::new();
    let made = world.ask("POST /v1/users", "", register("alice")).await;
    let id = made.json()["id"].clone();
    made.is(201, &json!({ "id": id, "name": "alice", "display_name": "Alice L." }));
    let again = world.ask("POST /v1/users", "", register("alice")).await;
    again.problem(Code::NameTaken);
    let plain = json!({ "name": "bob", "password": "correct horse" });
    let plain = world.ask("POST /v1/users", "", plain).await;
    assert_eq!(plain.json()["display_name"], "bob");
}

#[tokio::test]
async fn names_and_passwords_outside_the_rules_are_refused_with_a_sentence() {
    let world = World::new();
    let long = "a".repeat(33);
    let cases = [
        (json!({ "name": "al" }), "3 to 32"),
        (json!({ "name": long }), "3 to 32"),
        (json!({ "name": "Alice" }), "lower-case"),
        (json!({ "name": "al ice" }), "a-z 0-9"),
        (json!({ "name": "älice" }), "a-z 0-9"),
        (json!({ "name": ".alice" }), "start with"),
        (json!({ "password": "1234567" }), "8 to 256"),
        (json!({ "password": "x".repeat(257) }), "8 to 256"),
        (json!({ "display_name": "" }), "1 to 64"),
        (json!({ "display_name": "   " }), "1 to 64"),
        (json!({ "display_name": "x".repeat(65) }), "1 to 64"),
        (json!({ "display_name": "a\nb" }), "line breaks"),
    ];
    for (change, sentence) in cases {
        let mut body = register("alice");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let detail = world.ask("POST /v1/users", "", body).await.problem(Code::InvalidRequest);
        assert!(detail.contains(sentence), "{change}: {detail}");
    }
    assert_eq!(world.app.passwords.hashes(), 0, "a refused registration costs no hash");
    let widest = json!({ "name": "a".repeat(32), "password": "ü".repeat(256) });
    assert_eq!(world.ask("POST /v1/users", "", widest).await.status, 201);
}

#[tokio::test]
async fn registration_can_be_closed_or_by_invitation() {
    let closed = World::with(|config| config.registration = Registration::Closed);
    let refused = closed.ask("POST /v1/users", "", register("alice")).await;
    refused.problem(Code::RegistrationClosed);

    let world = World::with(|config| config.registration = Registration::Invite);
    world.ask("POST /v1/users", "", register("alice")).await.problem(Code::InviteInvalid);
    let invite = world.operate("POST /admin/invites", Value::Null).await;
    let invited = |name: &str, code: &Value| {
        let mut body = json!({ "name": name, "password": "correct horse" });
        body["invite"] = code.clone();
        body
    };
    let wrong = world.ask("POST /v1/users", "", invited("alice", &json!("ansi_00"))).await;
    wrong.problem(Code::InviteInvalid);
    let code = &invite.json()["code"];
    assert_eq!(world.ask("POST /v1/users", "", invited("alice", code)).await.status, 201);
    world.ask("POST /v1/users", "", invited("bob", code)).await.problem(Code::InviteInvalid);
}

#[tokio::test]
async fn the_own_profile_is_shown_and_changed() {
    let world = World::new();
    let alice = world.person("alice").await;
    let profile = |shown: &str| json!({ "id": alice.id, "name": "alice", "display_name": shown });
    world.get("/v1/me", &alice.token).await.is(200, &profile("alice"));
    let change = json!({ "display_name": "Alice" });
    world.ask("PATCH /v1/me", &alice.token, change).await.is(200, &profile("Alice"));
    world.get("/v1/me", &alice.token).await.is(200, &profile("Alice"));
    let empty = json!({ "display_name": "" });
    world.ask("PATCH /v1/me", &alice.token, empty).await.problem(Code::InvalidRequest);
}

#[tokio::test]
async fn a_password_change_ends_the_other_sessions_and_closes_their_connections() {
    let world = World::new();
    world.ask("POST /v1/users", "", register("alice")).await;
    let login =
        |password: &str| json!({ "name": "alice", "password": password, "device_name": "laptop" });
    let mine = world.ask("POST /v1/sessions", "", login("correct horse")).await.json();
    let other = world.ask("POST /v1/sessions", "", login("correct horse")).await.json();
    let bob = world.person("bob").await;
    world.rings();
    let token = mine["token"].as_str().unwrap();
    let change = |old: &str| json!({ "old": old, "new": "battery staple" });

    let wrong = world.ask("PUT /v1/me/password", token, change("wrong horse")).await;
    wrong.problem(Code::WrongPassword);
    assert!(world.rings().is_empty());
    let short = json!({ "old": "correct horse", "new": "short" });
    world.ask("PUT /v1/me/password", token, short).await.problem(Code::InvalidRequest);

    world.ask("PUT /v1/me/password", token, change("correct horse")).await.is_empty();
    let device = other["device"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.rings(), [Ring::Closed(device, Code::Unauthenticated)]);
    let ended = other["token"].as_str().unwrap();
    world.get("/v1/me", ended).await.problem(Code::Unauthenticated);
    assert_eq!(world.get("/v1/me", token).await.status, 200, "the session that asks stays");
    assert_eq!(world.get("/v1/me", &bob.token).await.status, 200, "others stay");
    let old = world.ask("POST /v1/sessions", "", login("correct horse")).await;
    old.problem(Code::WrongPassword);
    let new = world.ask("POST /v1/sessions", "", login("battery staple")).await;
    assert_eq!(new.status, 201);
}

#[tokio::test]
async fn guessing_the_old_password_is_limited() {
    let world = World::new();
    let alice = world.person("alice").await;
    let guess = json!({ "old": "correct horse", "new": "battery staple" });
    for _ in 0..3 {
        let answer = world.ask("PUT /v1/me/password", &alice.token, guess.clone()).await;
        answer.problem(Code::WrongPassword);
    }
    let answer = world.ask("PUT /v1/me/password", &alice.token, guess).await;
    answer.problem(Code::RateLimited);
}

#[tokio::test]
async fn look_ups_are_exact_and_answer_alike_for_unknown_disabled_and_removed() {
    let world = World::new();
    let alice = world.person("alice").await;
    let bob = world.person("bobby").await;
    let disabled = world.person("disabled").await;
    let removed = world.person("removed").await;
    assert_eq!(world.operate("POST /admin/users/disabled/disable", Value::Null).await.status, 204);
    assert_eq!(world.operate("DELETE /admin/users/removed", Value::Null).await.status, 204);

    let shown = json!({ "id": bob.id, "name": "bobby", "display_name": "bobby" });
    world.get("/v1/users?name=bobby", &alice.token).await.is(200, &shown);
    world.get(&format!("/v1/users/{}", bob.id), &alice.token).await.is(200, &shown);

    let absent = [
        "/v1/users?name=nobody".into(),
        "/v1/users?name=Bobby".into(),
        "/v1/users?name=bob".into(),
        "/v1/users?name=disabled".into(),
        "/v1/users?name=removed".into(),
        "/v1/users/77".into(),
        format!("/v1/users/{}", disabled.id),
        format!("/v1/users/{}", removed.id),
    ];
    let mut details = Vec::new();
    for path in absent {
        details.push(world.get(&path, &alice.token).await.problem(Code::NotFound));
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");

    let missing = world.get("/v1/users", &alice.token).await.problem(Code::InvalidRequest);
    assert!(missing.contains("name"), "{missing}");
    // The server API looks up alike.
    let found = world.get("/v1/server/users?name=bobby", SERVER_KEY).await;
    found.is(200, &shown);
    let gone = world.get("/v1/server/users?name=removed", SERVER_KEY).await;
    gone.problem(Code::NotFound);
}
