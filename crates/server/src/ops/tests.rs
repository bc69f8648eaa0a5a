//! Health and metrics over a real store.

use std::sync::Arc;

use anser_store::{
    Store,
    embedded::{Embedded, Options},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use tower::ServiceExt as _;

use super::{Deps, Ready, router};
use crate::metrics;

struct World {
    router: Router,
    ready: Ready,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(Options {
        path: dir.path().into(),
        memory_bytes: 32 * 1024 * 1024,
        disk_floor_bytes: 0,
        body_bytes_max: 1024,
        free_space: None,
    });
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let ready = Ready::default();
    let metrics = metrics::install().unwrap();
    let deps = Deps { store: Arc::clone(&store), ready: ready.clone(), metrics };
    World { router: router(deps), ready, store, _dir: dir }
}

impl World {
    async fn get(&self, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn ready_means_started_not_stopping_and_a_store_that_answers() {
    let world = world();
    assert_eq!(world.get("/livez").await.0, 200);
    assert_eq!(world.get("/readyz").await.0, 503, "starting");
    world.ready.set(true);
    assert_eq!(world.get("/readyz").await.0, 200);
    world.ready.set(false);
    assert_eq!(world.get("/readyz").await.0, 503, "stopping");
    world.ready.set(true);
    world.store.close().await.unwrap();
    assert_eq!(world.get("/readyz").await.0, 503, "the store is closed");
    assert_eq!(world.get("/livez").await.0, 200, "the process lives");
}

#[tokio::test]
async fn metrics_have_help_type_and_buckets_and_follow_the_conventions() {
    let world = world();
    ::metrics::counter!(metrics::COMMANDS_TOTAL, "outcome" => "applied").increment(2);
    ::metrics::histogram!(metrics::ACCEPT_TO_SOCKET_SECONDS).record(0.002);
    ::metrics::histogram!(metrics::COMMIT_BATCH_RECORDS).record(40.0);
    let (status, text) = world.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# HELP anser_commands_total Commands decided, by outcome",
        "# TYPE anser_commands_total counter",
        "# TYPE anser_accept_to_socket_seconds histogram",
        r#"anser_accept_to_socket_seconds_bucket{le="0.001"} 0"#,
        r#"anser_accept_to_socket_seconds_bucket{le="0.0025"} 1"#,
        r#"anser_commit_batch_records_bucket{le="64"} 1"#,
        "# TYPE anser_store_disk_free_bytes gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line.trim_start_matches("# TYPE ").split_once(' ').unwrap();
        assert!(name.starts_with("anser_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_template() {
    let metrics = metrics::install().unwrap();
    let route = Router::new().route("/things/{id}", axum::routing::get(async || "thing"));
    let router = crate::api::layer::wrap(route, std::time::Duration::from_secs(1));
    for path in ["/things/1", "/things/2", "/nothing/at/all"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }
    let text = metrics.render();
    let line = r#"anser_api_requests_total{method="GET",route="/things/{id}",status="200"} 2"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(!text.contains("/nothing/at/all"), "unknown paths must not become label values");
}
