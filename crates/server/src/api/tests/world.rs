//! A store in a temporary folder, the routers over it, and a doorbell that remembers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId, rest};
use anser_store::{
    NewEntry, Store,
    embedded::{Embedded, FreeSpace, Options},
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, header},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    api::{self, App, Deps, Limits, admin, layer::REQUEST_ID, listen::Peer},
    config,
    files::{Disk, Files},
    link,
    proxy::TrustedProxies,
    secrets::MasterKey,
    token,
};

pub(super) const SERVER_KEY: &str = "anss_test";

pub(super) struct World {
    pub(super) app: App,
    pub(super) router: Router,
    pub(super) admin: Router,
    pub(super) store: Arc<dyn Store>,
    pub(super) dir: tempfile::TempDir,
    pub(super) files: Files,
    /// Free bytes of the disk that files are on.
    pub(super) room: Arc<AtomicU64>,
    bell: Arc<Bell>,
    deps: admin::Deps,
}

/// A user with one device.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) device: DeviceId,
    pub(super) token: String,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What the doorbell was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    Entry(UserId, Seq),
    Closed(DeviceId, Code),
}

#[derive(Default)]
struct Bell(Mutex<Vec<Ring>>);

impl link::Doorbell for Bell {
    fn deliver(&self, entries: Vec<NewEntry>, _: Option<Instant>) {
        self.0.lock().extend(entries.iter().map(|entry| Ring::Entry(entry.user, entry.seq)));
    }
    fn grew(&self, _: &[(UserId, Seq)]) {}
    fn ack(&self, _: DeviceId, _: Seq) {}
    fn refused(&self, _: (DeviceId, SessionId), _: Code) {}
    fn close(&self, devices: &[DeviceId], code: Code) {
        self.0.lock().extend(devices.iter().map(|device| Ring::Closed(*device, code)));
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut config::Api)) -> Self {
        Self::build(change, Some(SERVER_KEY))
    }

    pub(super) fn without_server_key() -> Self {
        Self::build(|_| {}, None)
    }

    /// Files are in a store of objects.
    pub(super) fn with_objects(objects: Arc<dyn object_store::ObjectStore>) -> Self {
        Self::build_on(|_| {}, Some(SERVER_KEY), Some(objects))
    }

    fn build(change: impl FnOnce(&mut config::Api), server_key: Option<&str>) -> Self {
        Self::build_on(change, server_key, None)
    }

    fn build_on(
        change: impl FnOnce(&mut config::Api),
        server_key: Option<&str>,
        objects: Option<Arc<dyn object_store::ObjectStore>>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(Options {
            path: dir.path().join("store"),
            memory_bytes: 32 * 1024 * 1024,
            disk_floor_bytes: 0,
            body_bytes_max: 1024,
            free_space: None,
        });
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let probe = Arc::clone(&room);
        let free_space: FreeSpace = Arc::new(move || probe.load(Relaxed));
        let limits =
            config::Files { bytes_max: 1_000_000, user_bytes_max: 2_000_000, ..Default::default() };
        let files = match objects {
            Some(objects) => Files::in_objects(objects, limits),
            None => {
                let folder = dir.path().join("files");
                let disk = Disk { free_space, floor_bytes: 1000, syncs: Arc::new(|| 0) };
                Files::in_folder(&folder, limits, disk).unwrap()
            }
        };
        let bell = Arc::new(Bell::default());
        let mut config = config::Api { page_max: 5, logins_per_minute: 3, ..Default::default() };
        change(&mut config);
        let deps = Deps {
            store: Arc::clone(&store),
            link: link::Handle::local(Arc::clone(&bell) as Arc<dyn link::Doorbell>),
            keys: MasterKey::new([7; 32]),
            server_key_hash: server_key.map(token::hash),
            connectors: Arc::new(|| {
                let (tcp, ws) = ("h:1".into(), "ws://h:1/v1/connect".into());
                vec![rest::Connector { tcp, ws }]
            }),
            proxies: TrustedProxies::default(),
            limits: Limits { frame_bytes_max: 4096, body_bytes_max: 1024 },
            files: files.clone(),
        };
        let app = api::app(&config, deps.clone()).unwrap();
        let deps = admin::Deps {
            api: deps,
            config: config.clone(),
            data_dir: "/data".into(),
            connections: Some(Arc::new(|| 17)),
        };
        Self {
            router: api::wrap(&config, Arc::clone(&app)).unwrap(),
            admin: admin::router(deps.clone()).unwrap(),
            deps,
            app,
            store,
            files,
            room,
            bell,
            dir,
        }
    }

    pub(super) fn admin_deps(&self) -> admin::Deps {
        self.deps.clone()
    }

    /// A request with a JSON body, or without one for `null`.
    pub(super) async fn ask(&self, what: &str, token: &str, body: Value) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if path.starts_with("/v1/files") {
            request = request.header("tus-resumable", "1.0.0");
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(&format!("GET {path}"), token, Value::Null).await
    }

    /// A request to the admin interface.
    pub(super) async fn operate(&self, what: &str, body: Value) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        let mut content = Body::empty();
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
            content = Body::from(body.to_string());
        }
        self.send_operator(request.body(content).unwrap()).await
    }

    /// Any request to the admin interface.
    pub(super) async fn send_operator(&self, request: Request<Body>) -> Answer {
        Answer::read(self.admin.clone().oneshot(request).await.unwrap()).await
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Answer {
        let peer = Peer(Some("192.0.2.7".parse().unwrap()));
        if request.extensions().get::<Peer>().is_none() {
            request.extensions_mut().insert(peer);
        }
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// A user with one device, made without password hashing.
    pub(super) async fn person(&self, name: &str) -> Person {
        let answer = self.ask("POST /v1/server/users", SERVER_KEY, json!({ "name": name })).await;
        let id: UserId = answer.json()["id"].as_str().unwrap().parse().unwrap();
        self.device(id, "laptop").await
    }

    /// One more device of a user.
    pub(super) async fn device(&self, id: UserId, name: &str) -> Person {
        let path = format!("POST /v1/server/users/{id}/sessions");
        let made = self.ask(&path, SERVER_KEY, json!({ "device_name": name })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        Person {
            id,
            device: made["device"].as_str().unwrap().parse().unwrap(),
            token: made["token"].as_str().unwrap().into(),
        }
    }

    /// Makes two users friends and gives their conversation's id.
    pub(super) async fn befriend(&self, one: &Person, other: &Person) -> String {
        let body = json!({ "users": [one.id, other.id] });
        let answer = self.ask("PUT /v1/server/relations", SERVER_KEY, body).await;
        answer.json()["conversation"].as_str().unwrap().to_owned()
    }

    /// A system user.
    pub(super) async fn system(&self, name: &str) -> UserId {
        let body = json!({ "name": name, "system": true });
        let answer = self.ask("POST /v1/server/users", SERVER_KEY, body).await;
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Sends a text as a system user.
    pub(super) async fn tell(&self, from: UserId, to: UserId, text: &str, key: &str) -> Answer {
        let body = json!({ "from": from, "to": to, "text": text, "idempotency_key": key });
        self.ask("POST /v1/server/messages", SERVER_KEY, body).await
    }

    /// What the doorbell was told since the last call.
    pub(super) fn rings(&self) -> Vec<Ring> {
        std::mem::take(&mut self.bell.0.lock())
    }
}

impl Answer {
    pub(super) async fn read(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Asserts that this is a well-formed problem of this code; gives its detail.
    #[track_caller]
    pub(super) fn problem(&self, code: Code) -> String {
        let body = self.json();
        assert_eq!(body["code"], code.name(), "{body}");
        assert_eq!(self.status, code.status());
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let id = self.headers[REQUEST_ID].to_str().unwrap();
        let detail = body["detail"].as_str().unwrap().to_owned();
        assert_eq!(
            body,
            json!({
                "code": code.name(), "title": code.sentence(), "status": code.status(),
                "detail": detail, "retryable": code.retryable(), "request_id": id,
            })
        );
        assert!(!detail.is_empty() && id.len() == 16);
        detail
    }

    /// Asserts the status and the whole body.
    #[track_caller]
    pub(super) fn is(&self, status: u16, body: &Value) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(&self.json(), body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
    }

    /// Asserts an answer without content.
    #[track_caller]
    pub(super) fn is_empty(&self) {
        assert_eq!(self.status, 204, "{}", String::from_utf8_lossy(&self.body));
        assert!(self.body.is_empty());
    }
}
