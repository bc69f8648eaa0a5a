//! Bodies, queries and paths made to confuse a parser: said twice, nested without end, no text.

use anser_proto::Code;
use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use super::{
    Answer, World,
    document::{example, operations},
    world::SERVER_KEY,
};

/// A route that takes a body: what, its token, and fields that are right.
struct Taker {
    what: String,
    token: String,
    fields: Vec<(String, Value)>,
    admin: bool,
}

impl Taker {
    async fn send(&self, world: &World, body: impl Into<Body>) -> Answer {
        let (method, path) = self.what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let request = request.body(body.into()).unwrap();
        if self.admin { world.send_operator(request).await } else { world.send(request).await }
    }

    /// The right fields, and some text behind them.
    fn body(&self, behind: &str) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}{behind}}}", fields.collect::<Vec<_>>().join(","))
    }
}

/// Every route of the document that takes a body, and those of the admin interface.
async fn takers(world: &World) -> Vec<Taker> {
    let token = world.person("alice").await.token;
    let document = world.get("/v1/openapi.json", "").await.json();
    let mut takers = Vec::new();
    for (method, path, operation) in operations(world).await {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let Some(schema) = schema.as_str() else {
            if path.starts_with("/v1/files") {
                continue;
            }
            assert!(operation["requestBody"].is_null(), "{method} {path}: a body without a name");
            continue;
        };
        let schema = document.pointer(schema.trim_start_matches('#')).unwrap();
        let fields = schema["properties"].as_object().unwrap().iter();
        let fields = fields.map(|(name, schema)| (name.clone(), some_value(&document, schema)));
        let token = match operation["security"][0].as_object().and_then(|all| all.keys().next()) {
            None => String::new(),
            Some(scheme) if scheme == "server_key" => SERVER_KEY.into(),
            Some(_) => token.clone(),
        };
        let what = format!("{method} {}", example(&path));
        takers.push(Taker { what, token, fields: fields.collect(), admin: false });
    }
    assert!(takers.len() >= 10, "the document tells of bodies");
    let admin = [
        (
            "POST /admin/users",
            json!({ "name": "bob", "password": "12345678",
            "display_name": "Bob", "system": false }),
        ),
        ("PUT /admin/users/alice/password", json!({ "password": "12345678" })),
        ("POST /admin/users/alice/sessions", json!({ "device_name": "laptop" })),
        ("POST /admin/relations", json!({ "users": ["alice", "bob"] })),
        ("POST /admin/backup", json!({ "path": "relative" })),
        ("POST /admin/users/batch", json!({ "names": [] })),
        ("POST /admin/relations/batch", json!({ "pairs": [] })),
    ];
    takers.extend(admin.map(|(what, body)| Taker {
        what: what.into(),
        token: String::new(),
        fields: body.as_object().unwrap().clone().into_iter().collect(),
        admin: true,
    }));
    takers
}

fn some_value(document: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return some_value(document, document.pointer(name.trim_start_matches('#')).unwrap());
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    match kinds[0].as_str().unwrap() {
        "string" => json!("77"),
        "boolean" => json!(false),
        "array" => json!(["77", "78"]),
        other => panic!("a value of type {other} for {schema}"),
    }
}

/// Two readers, such as a proxy and the server, could otherwise take different ones.
#[tokio::test]
async fn a_field_said_twice_is_refused_in_every_body() {
    let world = World::new();
    for taker in takers(&world).await {
        for (name, value) in &taker.fields {
            // The same name in other letters of JSON is the same name.
            let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
            for again in [name, &escaped] {
                let body = taker.body(&format!(",\"{again}\":{value}"));
                let detail = taker.send(&world, body).await.problem(Code::InvalidRequest);
                let what = format!("duplicate field `{name}`");
                assert!(detail.contains(&what), "{}: {detail}", taker.what);
            }
        }
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_in_every_body() {
    let world = World::new();
    for taker in takers(&world).await {
        let depth = if taker.admin { 100_000 } else { 30_000 };
        let first = &taker.fields[0].0;
        let bodies = [
            "[".repeat(depth),
            "{\"a\":".repeat(depth / 3),
            format!("{{\"{first}\":{}", "[".repeat(depth)),
            format!("{{\"{first}\":{}", "{\"a\":".repeat(depth / 3)),
            format!("{{\"{first}\":{}{}}}", "[".repeat(depth), "]".repeat(depth)),
            taker.body(&format!(",\"unknown\":{}", "[".repeat(depth))),
        ];
        for body in bodies {
            let start: String = body.chars().take(40).collect();
            let answer = taker.send(&world, body).await;
            assert_eq!(answer.status, 400, "{}: {start}: {answer:?}", taker.what);
            assert!(answer.body.len() < 1024, "the answer does not repeat what was sent");
        }
    }
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_refused_in_every_body() {
    let world = World::new();
    for taker in takers(&world).await {
        for (name, _) in &taker.fields {
            for invalid in [&b"\xff\xfe"[..], b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x82"] {
                let start = format!("{{\"{name}\":\"a");
                let body = [start.as_bytes(), invalid, b"\"}"].concat();
                let answer = taker.send(&world, body).await;
                assert_eq!(answer.status, 400, "{}: {name}: {answer:?}", taker.what);
            }
            for escape in [r"\ud800", r"\udc00\ud800", r"\u12", r"\x41"] {
                let body = format!("{{\"{name}\":\"a{escape}\"}}");
                let answer = taker.send(&world, body).await;
                assert_eq!(answer.status, 400, "{}: {name}: {answer:?}", taker.what);
            }
        }
    }
}

#[tokio::test]
async fn queries_and_paths_that_are_no_text_find_nothing() {
    let world = World::new();
    let alice = world.person("alice").await;
    for bytes in ["%ff%fe", "%00", "alice%00", "%c0%af", "%ed%a0%80", "%", "%zz", "..%2fme"] {
        let found = world.get(&format!("/v1/users?name={bytes}"), &alice.token).await;
        found.problem(Code::NotFound);
        for path in ["/v1/users/", "/v1/conversations/"] {
            let behind = if path.ends_with("ns/") { "/messages" } else { "" };
            let answer = world.get(&format!("{path}{bytes}{behind}"), &alice.token).await;
            answer.problem(Code::InvalidRequest);
        }
        let verb = format!("POST /v1/relations/77/{bytes}");
        let answer = world.ask(&verb, &alice.token, Value::Null).await;
        answer.problem(Code::InvalidRequest);
        let admin = world.operate(&format!("DELETE /admin/users/{bytes}"), Value::Null).await;
        assert!(matches!(admin.status, 400 | 404), "{bytes}: {admin:?}");
    }
    let twice = world.get("/v1/users?name=alice&name=bob", &alice.token).await;
    assert!(twice.problem(Code::InvalidRequest).contains("duplicate field"));
}
