//! Login, logout, the list of sessions and revoking.

use std::pin::pin;

use anser_proto::{Code, DeviceId};
use anser_store::{Devices, UserChange, UserKey};
use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use super::{Answer, Ring, World};
use crate::api::listen::Peer;

fn login(name: &str, password: &str) -> Value {
    json!({ "name": name, "password": password, "device_name": "laptop" })
}

async fn from(world: &World, address: &str, body: Value) -> Answer {
    let request = Request::post("/v1/sessions")
        .header(header::CONTENT_TYPE, "application/json")
        .extension(Peer(Some(address.parse().unwrap())));
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn with_password(world: &World, name: &str) {
    let body = json!({ "name": name, "password": "correct horse" });
    assert_eq!(world.operate("POST /admin/users", body).await.status, 201);
}

#[tokio::test]
async fn login_mints_a_device_and_logout_ends_it() {
    let world = World::new();
    with_password(&world, "alice").await;
    let answer = world.ask("POST /v1/sessions", "", login("alice", "correct horse")).await;
    let body = answer.json();
    let (user, device, token) = (&body["user"], &body["device"], &body["token"]);
    let profile = json!({ "id": user["id"], "name": "alice", "display_name": "alice" });
    answer.is(201, &json!({ "user": profile, "device": device, "token": token }));
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let token = token.as_str().unwrap();
    assert!(token.len() == 69 && token.starts_with("ansd_"), "{token}");

    world.ask("DELETE /v1/sessions/current", token, Value::Null).await.is_empty();
    let device: DeviceId = device.as_str().unwrap().parse().unwrap();
    assert_eq!(world.rings(), [Ring::Closed(device, Code::Unauthenticated)]);
    let after = world.ask("DELETE /v1/sessions/current", token, Value::Null).await;
    after.problem(Code::Unauthenticated);
    assert_eq!(after.headers[header::WWW_AUTHENTICATE], "Bearer");
}

#[tokio::test]
async fn every_refused_login_answers_alike_and_costs_exactly_one_hash() {
    let world = World::with(|config| config.logins_per_minute = 100);
    for name in ["alice", "disabled", "removed"] {
        with_password(&world, name).await;
    }
    world.person("no-password").await;
    world.operate("POST /admin/users/disabled/disable", Value::Null).await;
    world.operate("DELETE /admin/users/removed", Value::Null).await;
    let cases = [
        ("alice", "wrong horse"),
        ("nobody", "correct horse"),
        ("disabled", "correct horse"),
        ("removed", "correct horse"),
        ("no-password", "correct horse"),
        ("Not A Name", "correct horse"),
        ("alice", ""),
    ];
    let mut details = Vec::new();
    for (name, password) in cases {
        let before = world.app.passwords.hashes();
        let answer = world.ask("POST /v1/sessions", "", login(name, password)).await;
        details.push(answer.problem(Code::WrongPassword));
        assert_eq!(world.app.passwords.hashes() - before, 1, "{name}");
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    let before = world.app.passwords.hashes();
    let right = world.ask("POST /v1/sessions", "", login("alice", "correct horse")).await;
    assert_eq!(right.status, 201);
    assert_eq!(world.app.passwords.hashes() - before, 1);
}

#[tokio::test]
async fn a_login_that_crosses_a_password_change_does_not_outlive_it() {
    let world = World::new();
    with_password(&world, "alice").await;
    let alice = world.store.user(UserKey::Name("alice".into())).await.unwrap().unwrap();
    let before = world.app.passwords.hashes();
    let mut login = pin!(world.ask("POST /v1/sessions", "", login("alice", "correct horse")));
    // The old password's hash is on its way, and nothing after it happens before the next poll.
    while world.app.passwords.hashes() == before {
        assert!(futures_util::poll!(&mut login).is_pending());
        tokio::task::yield_now().await;
    }
    let change = UserChange {
        password_hash: Some(world.app.passwords.hash("battery staple".into()).await.unwrap()),
        end_sessions: Some(Devices::All),
        ..UserChange::default()
    };
    world.store.update_user(alice.id, change).await.unwrap();
    login.await.problem(Code::WrongPassword);
    assert_eq!(world.store.devices(alice.id).await.unwrap(), []);
}

#[tokio::test]
async fn failed_logins_are_limited_per_user_from_all_addresses() {
    let world = World::new();
    with_password(&world, "alice").await;
    for n in 1..=3 {
        let answer = from(&world, &format!("192.0.2.{n}"), login("alice", "wrong horse")).await;
        answer.problem(Code::WrongPassword);
    }
    let before = world.app.passwords.hashes();
    let answer = from(&world, "192.0.2.4", login("alice", "correct horse")).await;
    answer.problem(Code::RateLimited);
    let wait: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(world.app.passwords.hashes(), before, "a limited attempt costs no hash");
}

#[tokio::test]
async fn failed_logins_are_limited_per_address_over_all_users() {
    let world = World::new();
    with_password(&world, "alice").await;
    for name in ["one", "two", "three"] {
        let answer = from(&world, "192.0.2.1", login(name, "wrong horse")).await;
        answer.problem(Code::WrongPassword);
    }
    let limited = from(&world, "192.0.2.1", login("alice", "correct horse")).await;
    limited.problem(Code::RateLimited);
    let elsewhere = from(&world, "192.0.2.2", login("alice", "correct horse")).await;
    assert_eq!(elsewhere.status, 201, "another address is not limited");
}

#[tokio::test]
async fn successful_logins_are_not_limited() {
    let world = World::new();
    with_password(&world, "alice").await;
    for _ in 0..5 {
        let answer = from(&world, "192.0.2.1", login("alice", "correct horse")).await;
        assert_eq!(answer.status, 201);
    }
}

#[tokio::test]
async fn an_account_has_a_largest_number_of_devices() {
    let world = World::with(|config| config.devices_per_user = 2);
    with_password(&world, "alice").await;
    for _ in 0..2 {
        let answer = world.ask("POST /v1/sessions", "", login("alice", "correct horse")).await;
        assert_eq!(answer.status, 201);
    }
    let third = world.ask("POST /v1/sessions", "", login("alice", "correct horse")).await;
    third.problem(Code::TooMany);
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_at_once() {
    let world = World::new();
    let alice = world.person("alice").await;
    let phone = world.device(alice.id, "phone").await;
    let bob = world.person("bob").await;
    let mut answer = world.get("/v1/me/sessions", &phone.token).await.json();
    let sessions = answer["sessions"].as_array_mut().unwrap();
    // Both may have been made within the same millisecond.
    sessions.sort_by_key(|session| session["device_name"].to_string());
    let session = |n: usize, device: DeviceId, name: &str, current: bool| {
        let (created, seen) = (&sessions[n]["created_at_ms"], &sessions[n]["seen_at_ms"]);
        assert!(created.is_u64() && seen.is_u64());
        json!({
            "device": device, "device_name": name, "created_at_ms": created, "seen_at_ms": seen,
            "current": current,
        })
    };
    let laptop = session(0, alice.device, "laptop", false);
    let expected = [laptop, session(1, phone.device, "phone", true)];
    assert_eq!(answer, json!({ "sessions": expected }));
    world.rings();

    let revoke = |device: DeviceId| format!("DELETE /v1/me/sessions/{device}");
    let foreign = world.ask(&revoke(alice.device), &bob.token, Value::Null).await;
    let unknown = world.ask(&revoke(DeviceId(77)), &bob.token, Value::Null).await;
    assert_eq!(foreign.problem(Code::NotFound), unknown.problem(Code::NotFound));
    assert_eq!(world.get("/v1/me", &alice.token).await.status, 200);
    assert!(world.rings().is_empty());

    world.ask(&revoke(alice.device), &phone.token, Value::Null).await.is_empty();
    assert_eq!(world.rings(), [Ring::Closed(alice.device, Code::Unauthenticated)]);
    world.get("/v1/me", &alice.token).await.problem(Code::Unauthenticated);
    let again = world.ask(&revoke(alice.device), &phone.token, Value::Null).await;
    again.problem(Code::NotFound);
}

#[tokio::test]
async fn device_names_have_rules_and_one_is_reserved() {
    let world = World::new();
    with_password(&world, "alice").await;
    for name in ["", "server-api", "a\tb"] {
        let mut body = login("alice", "correct horse");
        body["device_name"] = json!(name);
        let answer = world.ask("POST /v1/sessions", "", body).await;
        assert!(answer.problem(Code::InvalidRequest).starts_with("device_name"));
    }
}
