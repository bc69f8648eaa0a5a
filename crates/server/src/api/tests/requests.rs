//! What is refused before a handler runs: bodies, queries, paths, methods, sizes.

use anser_proto::Code;
use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use super::{Answer, World};
use crate::api::layer::REQUEST_ID;

async fn post(world: &World, content_type: &str, body: impl Into<Body>) -> Answer {
    let mut request = Request::post("/v1/users");
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn bodies_that_are_not_the_expected_json_are_refused_with_the_reason() {
    let world = World::new();
    let json = "application/json";
    let cases = [
        ("{", Code::Malformed, "not JSON"),
        ("", Code::Malformed, "not JSON"),
        (r#"{"name":"abc","password":"12345678"} x"#, Code::Malformed, "not JSON"),
        (r#" ["alice", "12345678"]"#, Code::InvalidRequest, "send an object"),
        ("{}", Code::InvalidRequest, "missing field `name`"),
        (r#"{"name":"abc","name":"abd"}"#, Code::InvalidRequest, "duplicate field `name`"),
        (r#"{"nmae":"abc"}"#, Code::InvalidRequest, "did you mean `name`?"),
        (r#"{"colour":"red"}"#, Code::InvalidRequest, "unknown field `colour`, expected one of"),
        (r#"{"name":7}"#, Code::InvalidRequest, "expected a string"),
    ];
    for (body, code, sentence) in cases {
        let detail = post(&world, json, body).await.problem(code);
        assert!(detail.contains(sentence), "{body}: {detail}");
    }
    for content_type in ["", "text/plain", "application/jsonx", "application/xml"] {
        post(&world, content_type, "{}").await.problem(Code::UnsupportedMedia);
    }
    post(&world, "Application/JSON; charset=utf-8", "{}").await.problem(Code::InvalidRequest);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let world = World::with(|config| config.request_bytes_max = 100);
    let json = "application/json";
    post(&world, json, " ".repeat(101)).await.problem(Code::PayloadTooLarge);
    post(&world, json, " ".repeat(100)).await.problem(Code::Malformed);
    // Without a length told in advance.
    let chunks = futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>([b' '; 10])));
    let chunks = futures_util::StreamExt::map(chunks, |chunk| chunk.map(|c| c.to_vec()));
    post(&world, json, Body::from_stream(chunks)).await.problem(Code::PayloadTooLarge);
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let world = World::new();
    world.get("/v1/nothing", "").await.problem(Code::NotFound);
    world.get("/", "").await.problem(Code::NotFound);
    let answer = world.ask("PUT /v1/users", "", json!({})).await;
    answer.problem(Code::MethodNotAllowed);
    let mut allow: Vec<_> = answer.headers[header::ALLOW].to_str().unwrap().split(',').collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "POST"]);
    let admin = world.operate("GET /admin/nothing", Value::Null).await;
    admin.problem(Code::NotFound);
}

#[tokio::test]
async fn query_parameters_that_would_be_ignored_are_refused() {
    let world = World::new();
    let alice = world.person("alice").await;
    let detail = world.get("/v1/relations?limit=5", &alice.token).await;
    detail.problem(Code::InvalidRequest);
    let detail = world.get("/v1/users?nam=x", &alice.token).await.problem(Code::InvalidRequest);
    assert!(detail.contains("unknown field `nam`"), "{detail}");
    assert_eq!(world.get("/v1/relations?", &alice.token).await.status, 200);
}

#[tokio::test]
async fn ids_have_one_spelling() {
    let world = World::new();
    let alice = world.person("alice").await;
    for id in ["0", "007", "-1", "+1", "1.0", "abc", "9007199254740992", "99999999999999999999"] {
        let path = world.get(&format!("/v1/users/{id}"), &alice.token).await;
        let detail = path.problem(Code::InvalidRequest);
        assert!(detail.contains("an id is a decimal number from 1 to"), "{id}: {detail}");
        let body = json!({ "user": id });
        let body = world.ask("POST /v1/relations", &alice.token, body).await;
        let detail = body.problem(Code::InvalidRequest);
        assert!(detail.contains("an id is a decimal number from 1 to"), "{id}: {detail}");
    }
    let number = world.ask("POST /v1/relations", &alice.token, json!({ "user": 5 })).await;
    number.problem(Code::InvalidRequest);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let world = World::new();
    let mut ids = Vec::new();
    for path in ["/v1/server", "/v1/server", "/v1/nothing", "/v1/me"] {
        let answer = world.get(path, "").await;
        ids.push(answer.headers[REQUEST_ID].to_str().unwrap().to_owned());
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn only_named_origins_may_call_from_a_browser() {
    let preflight = |origin: &str| {
        Request::options("/v1/me")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
            .body(Body::empty())
            .unwrap()
    };
    let world = World::with(|config| config.cors_origins = vec!["https://shop.example".into()]);
    let named = world.send(preflight("https://shop.example")).await;
    let allowed =
        |answer: &Answer| answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    assert_eq!(allowed(&named).unwrap(), "https://shop.example");
    assert!(
        named.headers[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PATCH")
    );
    assert_eq!(allowed(&world.send(preflight("https://evil.example")).await), None);
    let closed = World::new().send(preflight("https://shop.example")).await;
    assert_eq!(allowed(&closed), None);
}

#[test]
fn an_origin_is_scheme_and_host() {
    let check = |text: &str| crate::api::layer::cors(&[text.to_owned()]).is_ok();
    assert!(check("https://shop.example") && check("http://localhost:3000"));
    for wrong in ["*", "shop.example", "https://shop.example/", "https://shop.example/x", "", "a b"]
    {
        assert!(!check(wrong), "{wrong}");
    }
}

#[tokio::test]
async fn server_info_and_connectors() {
    let world = World::new();
    let info = json!({
        "product": "anser", "version": env!("CARGO_PKG_VERSION"), "registration": "open",
        "limits": { "frame_bytes_max": 4096, "body_bytes_max": 1024, "page_max": 5, "file_bytes_max": 1_000_000, "user_file_bytes_max": 2_000_000 },
    });
    world.get("/v1/server", "").await.is(200, &info);
    let alice = world.person("alice").await;
    let connector = json!({ "tcp": "h:1", "ws": "ws://h:1/v1/connect" });
    let answer = world.get("/v1/connectors", &alice.token).await;
    answer.is(200, &json!({ "connectors": [connector] }));
}
