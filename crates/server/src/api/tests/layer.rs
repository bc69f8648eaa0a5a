//! What surrounds every request: time limit, panics, and a log that keeps secrets.

use std::{fmt, sync::Arc, time::Duration};

use anser_proto::Code;
use axum::{
    Router,
    body::Body,
    http::{Request, header},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde_json::json;
use tower::ServiceExt as _;
use tracing::{Event, Metadata, Subscriber, field, span};

use super::{Answer, World, world::SERVER_KEY};
use crate::api::{Api, extract::Json, layer};

async fn ask(router: Router, request: Request<Body>) -> Answer {
    Answer::read(router.oneshot(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered_also_while_its_body_comes() {
    let router = Router::new()
        .route("/slow", get(std::future::pending::<()>))
        .route("/body", post(async |_: Json<serde_json::Value>| ()));
    let router = layer::wrap(router, Duration::from_secs(30));
    let begun = tokio::time::Instant::now();
    let slow = Request::get("/slow").body(Body::empty()).unwrap();
    ask(router.clone(), slow).await.problem(Code::TimedOut);
    let drip = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let body = Request::post("/body").header(header::CONTENT_TYPE, "application/json");
    let body = body.body(Body::from_stream(drip)).unwrap();
    ask(router, body).await.problem(Code::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 60, "thirty for each");
}

async fn fails() -> &'static str {
    panic!("the secret of the house")
}

#[tokio::test]
async fn a_panic_is_one_failed_request_and_is_not_told_to_the_caller() {
    let router = Router::new().route("/", get(fails));
    let router = layer::wrap(router, Duration::from_secs(30));
    for _ in 0..2 {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = ask(router.clone(), request).await;
        answer.problem(Code::Internal);
        assert!(!String::from_utf8(answer.body).unwrap().contains("secret"));
    }
}

/// Keeps the text of everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl field::Visit for Log {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.0.lock().push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn no_secret_and_no_text_is_logged_at_any_level() {
    let log = Log::default();
    // For the whole process: a subscriber of one thread loses to the others' cached interest. So
    // this also sees what the tests beside it log.
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let world = World::new();
    let body = json!({ "name": "alice", "password": "correct horse" });
    world.ask("POST /v1/users", "", body.clone()).await;
    let mut login = body.clone();
    login["device_name"] = json!("my laptop");
    let token = world.ask("POST /v1/sessions", "", login.clone()).await.json();
    let token = token["token"].as_str().unwrap();
    login["password"] = json!("wrong horse");
    world.ask("POST /v1/sessions", "", login).await.problem(Code::WrongPassword);
    let found = world.get("/v1/users?name=alice", token).await.json();
    let shop = world.system("shop").await;
    let to = found["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.tell(shop, to, "for alice only", "key-1").await.status, 200);
    world.get("/v1/relations", token).await;
    world.ask("POST /v1/users", "", json!({ "password": 5 })).await.problem(Code::InvalidRequest);

    let text = log.0.lock().clone();
    assert!(text.contains("route=\"/v1/users\" status=201"), "{text}");
    for secret in ["horse", token, SERVER_KEY, "for alice only", "laptop", "name=alice", "key-1"] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
}

#[tokio::test]
async fn the_role_listens_on_a_free_port_serves_and_stops() {
    let world = World::new();
    let config = crate::config::Api {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Default::default()
    };
    let api = Api::bind(&config, world.admin_deps().api).await.unwrap();
    let address = api.local_addr();
    let taken = crate::config::Api { listen: address, ..config };
    let second = Api::bind(&taken, world.admin_deps().api).await.err().unwrap();
    assert!(second.to_string().contains(&address.to_string()), "{second}");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(api.run(async {
        let _ = stopped.await;
    }));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /v1/server HTTP/1.1\r\nHost: h\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let mut start = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    // The connection is idle and kept alive; that does not hold the stop up.
    stop.send(()).unwrap();
    running.await.unwrap();
}
