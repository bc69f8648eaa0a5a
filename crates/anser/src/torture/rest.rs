//! The way from one client to the server's REST interface: passes requests on, and notes what the
//! client is told of messages and conversations.

use std::{io, net::SocketAddr, sync::Arc};

use anser_client::proto::rest::{Messages, Snapshot};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::AbortHandle};

use super::{history::What, random::Choice, storage::Mirror, words};

/// Larger than any request of the SDK.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// A client's way to REST. Dropping it ends it.
pub(super) struct RestLink {
    /// What the client takes for the server.
    pub(super) url: String,
    task: AbortHandle,
}

struct Passage {
    /// Servers, such as `http://127.0.0.1:7401`.
    servers: Mutex<Choice<String>>,
    http: reqwest::Client,
    mirror: Mirror,
}

impl RestLink {
    /// A way for the client of `mirror`; each request goes to one of the servers.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn new(servers: Choice<String>, mirror: Mirror) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address: SocketAddr = listener.local_addr()?;
        // No connections are kept: those to a server that died would fail once more.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        let passage = Passage { servers: Mutex::new(servers), http, mirror };
        let router = Router::new().fallback(pass).with_state(Arc::new(passage));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url: format!("http://{address}"), task: task.abort_handle() })
    }
}

impl Drop for RestLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(passage): State<Arc<Passage>>, request: Request) -> Response {
    passage.pass(request).await.unwrap_or_else(|_| broken())
}

impl Passage {
    async fn pass(&self, request: Request) -> anyhow::Result<Response> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let body = to_bytes(body, REQUEST_BYTES_MAX).await?;
        let url = format!("{}{path}", self.servers.lock().next());
        let mut onward = self.http.request(head.method, url);
        for name in ["authorization", "content-type"] {
            if let Some(value) = head.headers.get(name) {
                onward = onward.header(name, value);
            }
        }
        let answer = onward.body(body).send().await?;
        let (status, kind) = (answer.status(), answer.headers().get("content-type").cloned());
        let body = answer.bytes().await?;
        self.note(head.uri.path(), status, &body);
        let mut response = Response::builder().status(status);
        if let Some(kind) = kind {
            response = response.header("content-type", kind);
        }
        Ok(response.body(Body::from(body))?)
    }

    fn note(&self, path: &str, status: StatusCode, body: &Bytes) {
        let client = self.mirror.client();
        if status == StatusCode::UNAUTHORIZED && !path.ends_with("/sessions") {
            return self.mirror.recorder().note(What::Unauthenticated { client });
        }
        let Some((user, _)) = self.mirror.identity().filter(|_| status.is_success()) else {
            return;
        };
        if path.ends_with("/snapshot") {
            let Ok(snapshot) = serde_json::from_slice::<Snapshot>(body) else { return };
            let (epoch, head) = (snapshot.epoch.clone(), snapshot.head);
            let state = words::state(&snapshot);
            self.mirror.recorder().note(What::Snapshot { client, user, epoch, head, state });
        } else if let Some(conversation) = conversation_of(path) {
            let Ok(page) = serde_json::from_slice::<Messages>(body) else { return };
            let messages = page.messages.iter().map(words::sealed).collect();
            self.mirror.recorder().note(What::Page { client, user, conversation, messages });
        }
    }
}

/// `/v1/conversations/{id}/messages`
fn conversation_of(path: &str) -> Option<u64> {
    path.strip_prefix("/v1/conversations/")?.strip_suffix("/messages")?.parse().ok()
}

/// The connection breaks in the middle of an answer, as it does when the server dies.
fn broken() -> Response {
    let error = Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset));
    Response::new(Body::from_stream(futures_util::stream::iter([error])))
}
