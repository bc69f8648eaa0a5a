//! The way from one client to the server's REST interface: passes requests on, and notes what the
//! client is told of messages and conversations.

use std::{io, net::SocketAddr, sync::Arc};

use anser_client::proto::rest::{Messages, Snapshot};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::Response,
};
use futures_util::stream::try_unfold;
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::AbortHandle};

use super::{history::What, random::Choice, storage::Mirror, words};

/// Larger than any request of the SDK: parts of files have up to 4 MiB.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Headers that say something of one connection only, or of how a body is passed on it.
const OF_ONE_HOP: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

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
    let is_file = is_file(request.uri().path());
    passage.pass(request).await.unwrap_or_else(|_| if is_file { away() } else { broken() })
}

impl Passage {
    async fn pass(&self, request: Request) -> anyhow::Result<Response> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let body = to_bytes(body, REQUEST_BYTES_MAX).await?;
        let url = format!("{}{path}", self.servers.lock().next());
        let mut onward = self.http.request(head.method, url);
        for (name, value) in head.headers.iter().filter(|(name, _)| !OF_ONE_HOP.contains(name)) {
            onward = onward.header(name, value);
        }
        let answer = onward.body(body).send().await?;
        let mut response = Response::builder().status(answer.status());
        let headers = answer.headers().iter();
        for (name, value) in headers.filter(|(name, _)| !OF_ONE_HOP.contains(name)) {
            response = response.header(name, value);
        }
        if is_file(head.uri.path()) && answer.status().is_success() {
            // Piece by piece: an answer that breaks is to break in the middle.
            let pieces = try_unfold(answer, |mut answer| async move {
                Ok::<_, reqwest::Error>(answer.chunk().await?.map(|piece| (piece, answer)))
            });
            return Ok(response.body(Body::from_stream(pieces))?);
        }
        let status = answer.status();
        let body = answer.bytes().await?;
        self.note(head.uri.path(), status, &body);
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

fn is_file(path: &str) -> bool {
    path.starts_with("/v1/files")
}

/// What a proxy says when the server behind it is away. Answers about files are in their headers:
/// one that breaks after them would be an answer.
fn away() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// The connection breaks in the middle of an answer, as it does when the server dies.
fn broken() -> Response {
    let error = Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset));
    Response::new(Body::from_stream(futures_util::stream::iter([error])))
}
