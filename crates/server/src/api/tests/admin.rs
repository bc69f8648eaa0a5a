//! The admin interface: each route, and the socket itself.

use std::os::unix::fs::PermissionsExt as _;

use anser_proto::{Code, DeviceId, UserId};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{Ring, World};
use crate::api::admin::{Admin, BindError};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn users_are_made_and_listed_page_by_page() {
    let world = World::new();
    let body = json!({ "name": "alice", "password": "correct horse", "display_name": "Alice" });
    let made = world.operate("POST /admin/users", body).await;
    let given = made.json();
    let expected = json!({
        "id": given["id"], "name": "alice", "display_name": "Alice", "state": "active",
        "system": false, "has_password": true, "created_at_ms": given["created_at_ms"],
    });
    made.is(201, &expected);
    let shop = world.operate("POST /admin/users", json!({ "name": "shop", "system": true })).await;
    assert_eq!(shop.json()["system"], true);
    assert_eq!(shop.json()["has_password"], false);
    let short = json!({ "name": "bob", "password": "short" });
    world.operate("POST /admin/users", short).await.problem(Code::InvalidRequest);
    let taken = world.operate("POST /admin/users", json!({ "name": "alice" })).await;
    taken.problem(Code::NameTaken);

    world.person("carol").await;
    let mut seen = Vec::new();
    let mut path = "GET /admin/users?limit=1".to_owned();
    loop {
        let page = world.operate(&path, Value::Null).await.json();
        let users = page["users"].as_array().unwrap();
        assert_eq!(users.len(), 1);
        seen.push(users[0]["name"].as_str().unwrap().to_owned());
        if page["more"] == false {
            break;
        }
        path = format!("GET /admin/users?limit=1&after={}", users[0]["id"].as_str().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["alice", "carol", "shop"]);
    let many = world.operate("GET /admin/users?limit=1001", Value::Null).await;
    many.problem(Code::InvalidRequest);
}

#[tokio::test]
async fn passwords_are_set_and_end_all_sessions() {
    let world = World::new();
    let alice = world.person("alice").await;
    world.rings();
    let body = json!({ "password": "correct horse" });
    world.operate("PUT /admin/users/alice/password", body.clone()).await.is_empty();
    assert_eq!(world.rings(), [Ring::Closed(alice.device, Code::Unauthenticated)]);
    let login = json!({ "name": "alice", "password": "correct horse", "device_name": "web" });
    assert_eq!(world.ask("POST /v1/sessions", "", login).await.status, 201);
    let absent = world.operate("PUT /admin/users/nobody/password", body).await;
    absent.problem(Code::NotFound);
}

#[tokio::test]
async fn users_are_disabled_enabled_and_removed() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.befriend(&alice, &bob).await;
    world.rings();
    world.operate("POST /admin/users/alice/disable", Value::Null).await.is_empty();
    assert_eq!(world.rings(), [Ring::Closed(alice.device, Code::Unauthenticated)]);
    world.get("/v1/me", &alice.token).await.problem(Code::Unauthenticated);
    let session = json!({ "device_name": "web" });
    let refused = world.operate("POST /admin/users/alice/sessions", session.clone()).await;
    refused.problem(Code::NotFound);

    world.operate("POST /admin/users/alice/enable", Value::Null).await.is_empty();
    let made = world.operate("POST /admin/users/alice/sessions", session).await;
    assert_eq!(made.status, 201);
    let (token, device): (String, DeviceId) =
        (id(&made.json()["token"]), id(&made.json()["device"]));
    assert_eq!(world.get("/v1/me", &token).await.status, 200);

    world.operate("DELETE /admin/users/alice", Value::Null).await.is_empty();
    let rings = world.rings();
    assert!(rings.contains(&Ring::Closed(device, Code::Unauthenticated)), "{rings:?}");
    assert!(rings.iter().any(|ring| matches!(ring, Ring::Entry(user, _) if *user == bob.id)));
    for what in ["DELETE /admin/users/alice", "POST /admin/users/alice/enable"] {
        world.operate(what, Value::Null).await.problem(Code::NotFound);
    }
    let reserved = world.operate("POST /admin/users", json!({ "name": "alice" })).await;
    reserved.problem(Code::NameTaken);
}

#[tokio::test]
async fn two_users_are_made_friends_by_name_or_id() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let by_name =
        world.operate("POST /admin/relations", json!({ "users": ["alice", "bob"] })).await;
    let relations = world.get("/v1/relations", &bob.token).await.json();
    by_name.is(200, &json!({ "conversation": relations["relations"][0]["id"] }));
    let ids = json!({ "users": [bob.id.to_string(), alice.id.to_string()] });
    assert_eq!(world.operate("POST /admin/relations", ids).await.json(), by_name.json());
    let absent = world.operate("POST /admin/relations", json!({ "users": ["alice", "x"] })).await;
    absent.problem(Code::NotFound);
}

#[tokio::test]
async fn status_and_backup() {
    let world = World::new();
    let status = world.operate("GET /admin/status", Value::Null).await;
    let body = status.json();
    let meta = world.store.meta().await.unwrap();
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "epoch": meta.epoch, "schema": meta.schema,
        "uptime_s": body["uptime_s"], "connections": 17, "data_dir": "/data",
        "store": body["store"],
    });
    status.is(200, &expected);
    for key in ["commits", "syncs", "messages", "disk_free_bytes", "disk_used_bytes"] {
        assert!(body["store"][key].is_u64(), "{key}");
    }
    let relative = world.operate("POST /admin/backup", json!({ "path": "backup" })).await;
    assert!(relative.problem(Code::InvalidRequest).contains("absolute"));
    let path = json!({ "path": world.dir.path().join("backup") });
    let backup = world.operate("POST /admin/backup", path.clone()).await;
    let report = backup.json();
    backup.is(200, &json!({ "rows": report["rows"], "bytes": report["bytes"] }));
    assert!(world.dir.path().join("backup/manifest").exists());
    let again = world.operate("POST /admin/backup", path).await.problem(Code::InvalidRequest);
    assert!(again.contains("not empty"), "the operator is told why: {again}");
}

#[tokio::test]
async fn batches_make_users_and_relations_that_work() {
    let world = World::new();
    let names: Vec<_> = (0..300).map(|n| format!("load-{n}")).collect();
    let made = world.operate("POST /admin/users/batch", json!({ "names": names })).await;
    let users = made.json()["users"].as_array().unwrap().clone();
    assert_eq!(users.len(), names.len());
    for (user, name) in users.iter().zip(&names) {
        assert_eq!(user["user"]["name"], **name, "in the order of the names");
        assert!(user["device"].is_string());
    }
    assert_eq!(world.app.passwords.hashes(), 0);
    let of = |n: usize| id::<UserId>(&users[n]["user"]["id"]);
    let pairs: Vec<_> = (0..150).map(|n| [of(2 * n), of(2 * n + 1)]).collect();
    let related = world.operate("POST /admin/relations/batch", json!({ "pairs": pairs })).await;
    let conversations = related.json()["conversations"].as_array().unwrap().clone();
    assert_eq!(conversations.len(), pairs.len());
    let token = users[299]["token"].as_str().unwrap();
    let relations = world.get("/v1/relations", token).await.json();
    assert_eq!(relations["relations"][0]["id"], conversations[149]);
    assert_eq!(relations["relations"][0]["state"], "friends");

    let taken = world.operate("POST /admin/users/batch", json!({ "names": ["load-1"] })).await;
    taken.problem(Code::NameTaken);
    let many: Vec<_> = (0..10_001).map(|n| format!("load-{n}")).collect();
    let many = world.operate("POST /admin/users/batch", json!({ "names": many })).await;
    assert!(many.problem(Code::InvalidRequest).contains("10000"));
}

#[tokio::test]
async fn the_socket_is_private_replaces_a_dead_one_and_refuses_a_second_server() {
    let world = World::new();
    let path = world.dir.path().join("admin.sock");
    // What a killed server leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let admin = Admin::bind(&path, world.admin_deps()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 3, "store, files and socket");
    assert!(matches!(Admin::bind(&path, world.admin_deps()), Err(BindError::InUse(_))));

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(admin.run(async {
        let _ = stopped.await;
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = b"GET /admin/status HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(Admin::bind(&path, world.admin_deps()), Err(BindError::Listen { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file", "never replaced");
}
