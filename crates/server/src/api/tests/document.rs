//! The OpenAPI document, the docs page, and what the document's routes do without a right to them.

use anser_proto::Code;
use serde_json::{Value, json};

use super::{World, world::SERVER_KEY};

const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

/// (METHOD, path, operation) of the whole document.
pub(super) async fn operations(world: &World) -> Vec<(String, String, Value)> {
    let document = world.get("/v1/openapi.json", "").await.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                found.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    found
}

/// The path with some id or verb in place of each parameter.
pub(super) fn example(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{verb}" => "accept",
        part if part.starts_with('{') => "77",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn all_routes_are_in_the_document() {
    let world = World::new();
    let found = operations(&world).await;
    let mut found: Vec<_> =
        found.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    found.sort_unstable();
    let mut expected = [
        "POST /v1/users",
        "GET /v1/users",
        "GET /v1/users/{id}",
        "GET /v1/me",
        "PATCH /v1/me",
        "PUT /v1/me/password",
        "GET /v1/me/sessions",
        "DELETE /v1/me/sessions/{device}",
        "POST /v1/sessions",
        "DELETE /v1/sessions/current",
        "GET /v1/server",
        "GET /v1/connectors",
        "GET /v1/relations",
        "POST /v1/relations",
        "POST /v1/relations/{user}/{verb}",
        "GET /v1/conversations",
        "GET /v1/conversations/{id}/messages",
        "GET /v1/snapshot",
        "POST /v1/files",
        "GET /v1/files/{id}",
        "PATCH /v1/files/{id}",
        "DELETE /v1/files/{id}",
        "POST /v1/server/users",
        "GET /v1/server/users",
        "POST /v1/server/users/{user}/sessions",
        "PUT /v1/server/relations",
        "DELETE /v1/server/relations",
        "POST /v1/server/messages",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_its_references_resolve() {
    let world = World::new();
    let document = world.get("/v1/openapi.json", "").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["title"], "Anser");
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
    let text = document.to_string();
    for reference in text.split(r##""$ref":"#"##).skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let mut ids = std::collections::HashSet::new();
    for (method, path, operation) in operations(&world).await {
        let what = format!("{method} {path}");
        for status in ["4XX", "5XX"] {
            let problem = &operation["responses"][status]["content"]["application/problem+json"];
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            assert_eq!(problem["schema"], schema, "{what}");
        }
        assert!(operation["security"].is_array(), "{what} says which key it needs, or none");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{what}: {id} twice");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(named, path.matches('{').count(), "{what}");
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{what}");
    }
    let register = &document["components"]["schemas"]["Register"];
    assert_eq!(register["required"], json!(["name", "password"]));
    assert_eq!(register["additionalProperties"], false);
}

/// What a generator of requests reads: a body that keeps to it is not refused for its shape.
#[tokio::test]
async fn the_document_tells_the_limits_of_names_passwords_and_pages() {
    let world = World::new();
    let document = world.get("/v1/openapi.json", "").await.json();
    let field = |body: &str, field: &str| {
        document["components"]["schemas"][body]["properties"][field].clone()
    };
    for body in ["Register", "ServerCreateUser"] {
        assert_eq!(field(body, "name")["pattern"], "^[a-z0-9][a-z0-9._-]{2,31}$");
        assert_eq!(field(body, "display_name")["type"], json!(["string", "null"]));
    }
    for (body, password) in [("Register", "password"), ("ChangePassword", "new")] {
        let password = field(body, password);
        assert_eq!((&password["minLength"], &password["maxLength"]), (&json!(8), &json!(256)));
    }
    for (body, name) in [("Register", "display_name"), ("Login", "device_name")] {
        let shown = field(body, name);
        assert_eq!((&shown["minLength"], &shown["maxLength"]), (&json!(1), &json!(64)));
        assert!(shown["pattern"].is_string() && shown["description"].is_string());
    }
    let users = field("ServerRelation", "users");
    assert_eq!((&users["minItems"], &users["maxItems"]), (&json!(2), &json!(2)));

    let messages = &document["paths"]["/v1/conversations/{id}/messages"]["get"]["parameters"];
    let limit = messages.as_array().unwrap().iter().find(|one| one["name"] == "limit").unwrap();
    let page_max = world.get("/v1/server", "").await.json()["limits"]["page_max"].clone();
    assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&json!(1), &page_max));
}

#[tokio::test]
async fn every_route_refuses_who_may_not() {
    let world = World::new();
    let alice = world.person("alice").await;
    let mut public = Vec::new();
    for (method, path, operation) in operations(&world).await {
        let what = format!("{method} {}", example(&path));
        let body = if operation["requestBody"].is_null() { Value::Null } else { json!({}) };
        let scheme = operation["security"][0].as_object().and_then(|all| all.keys().next());
        let other = match scheme.map(String::as_str) {
            Some("device_token") => SERVER_KEY,
            Some("server_key") => &alice.token,
            None => {
                public.push(format!("{method} {path}"));
                continue;
            }
            other => panic!("{what}: {other:?}"),
        };
        for token in ["", "wrong", other] {
            let answer = world.ask(&what, token, body.clone()).await;
            answer.problem(Code::Unauthenticated);
        }
    }
    public.sort_unstable();
    assert_eq!(public, ["GET /v1/server", "POST /v1/sessions", "POST /v1/users"]);
}

#[tokio::test]
async fn only_the_authorization_header_authenticates() {
    let world = World::new();
    let alice = world.person("alice").await;
    let in_url = world.get(&format!("/v1/users?name=alice&token={}", alice.token), "").await;
    assert_ne!(in_url.status, 200);
    let basic = axum::http::Request::get("/v1/me")
        .header("authorization", format!("Basic {}", alice.token))
        .body(axum::body::Body::empty());
    world.send(basic.unwrap()).await.problem(Code::Unauthenticated);
}

#[tokio::test]
async fn the_docs_page_needs_no_other_host() {
    let world = World::new();
    let redirect = world.get("/docs", "").await;
    assert_eq!(redirect.headers["location"], "/docs/");
    let page = world.get("/docs/", "").await;
    assert_eq!(page.status, 200);
    let page = String::from_utf8(page.body).unwrap();
    let mut assets = 0;
    for part in page.split(['"', '\'']).filter(|part| part.contains("./")) {
        let path = part.trim_start_matches("./").trim_start_matches('/');
        assert_eq!(world.get(&format!("/docs/{path}"), "").await.status, 200, "{path}");
        assets += 1;
    }
    assert!(assets >= 3, "{page}");
    for path in ["", "swagger-initializer.js", "index.css"] {
        let file = world.get(&format!("/docs/{path}"), "").await;
        let text = String::from_utf8(file.body).unwrap();
        for external in ["http://", "https://", "\"//", "'//", "url(//"] {
            assert!(!text.contains(external), "{path}: {external}");
        }
    }
    let setup = world.get("/docs/swagger-initializer.js", "").await;
    let setup = String::from_utf8(setup.body).unwrap();
    assert!(
        setup.contains("/v1/openapi.json") && setup.contains(r#""validatorUrl": "none""#),
        "{setup}"
    );
}

/// `METHOD /path` of every curl call in a page.
fn calls(page: &str) -> Vec<String> {
    let calls = page.split("\ncurl ").skip(1).map(|call| {
        let call = call.split("```").next().unwrap();
        let (method, rest) = match call.strip_prefix("-X ") {
            Some(rest) => rest.split_once(' ').unwrap(),
            None => ("GET", call),
        };
        let path = rest.split("$ANSER").nth(1).unwrap();
        let path = path.split([' ', '"', '?']).next().unwrap();
        format!("{method} {path}")
    });
    calls.collect()
}

#[tokio::test]
async fn the_page_about_embedding_shows_every_call_of_the_server_api_and_no_other() {
    let page = include_str!("../../../../../docs/embed.md");
    let mut shown = calls(page);
    shown.sort_unstable();
    shown.dedup();
    let world = World::new();
    let operations = operations(&world).await.into_iter();
    let server = operations.filter(|(_, _, op)| op["security"][0]["server_key"].is_array());
    let id = "6651432605374635";
    let mut expected: Vec<_> = server
        .map(|(method, path, _)| format!("{method} {}", path.replace("{user}", id)))
        .collect();
    expected.sort_unstable();
    assert_eq!(shown, expected);

    for body in page.split("-d '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
        let body: Value = serde_json::from_str(body).unwrap();
        assert!(body.is_object(), "{body}");
    }
    for answer in page.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()) {
        serde_json::from_str::<Value>(answer).unwrap();
    }
}
