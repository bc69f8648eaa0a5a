//! The admin socket of a running server, as the commands use it.

use std::path::{Path, PathBuf};

use anser_client::proto::rest::Problem;
use anser_server::node;
use anyhow::{Context as _, anyhow};
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    failure::{Failure, Result},
    global::Global,
};

/// A client of the admin socket.
#[derive(Clone)]
pub(crate) struct Admin {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Admin {
    /// The socket of the data folder that these options name.
    pub(crate) fn of(global: &Global) -> Result<Self> {
        Self::at(&node::admin_socket(&global.loader()?.finish_unserved().node.data_dir))
    }

    /// The socket at a path.
    pub(crate) fn at(socket: &Path) -> Result<Self> {
        let http = reqwest::Client::builder().unix_socket(socket).build();
        let http = http.context("the HTTP client does not start")?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.call(self.request(Method::POST, path).json(body)).await
    }

    /// A request without an answer's body.
    pub(crate) async fn done(&self, method: Method, path: &str) -> Result {
        self.send(self.request(method, path)).await.map(|_| ())
    }

    pub(crate) async fn put(&self, path: &str, body: &impl Serialize) -> Result {
        self.send(self.request(Method::PUT, path).json(body)).await.map(|_| ())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://localhost/admin{path}"))
    }

    async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let body = self.send(request).await?;
        Ok(serde_json::from_slice(&body).context("the server's answer is not understood")?)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>> {
        let unreachable = |_| {
            Failure::unavailable(anyhow!(
                "no server answers on {}; start it with `anser serve`, or name its --data-dir",
                self.socket.display()
            ))
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        let text = problem.map_or_else(|| status.to_string(), |problem| problem.detail);
        let error = anyhow!(text);
        Err(match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Failure::not_allowed(error),
            StatusCode::SERVICE_UNAVAILABLE => Failure::unavailable(error),
            _ => error.into(),
        })
    }
}
