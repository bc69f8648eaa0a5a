//! The calls about files: tus 1.0.0 for what goes out, ranges for what comes in.

use std::{io, time::Duration};

use anser_proto::{Code, ConversationId, FileId};
use bytes::Bytes;
use futures_util::Stream;
use reqwest::{Body, Method, RequestBuilder, Response, header};

use super::{Authorized, Rest};
use crate::error::{Error, ErrorKind, Result};

/// A request of an upload as a whole: it ends by itself long before, and silence is bounded by who
/// feeds it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3600);
/// A download as a whole: silence is bounded by who reads it.
const FILE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Authorized {
    /// Begins an upload of `size` sealed bytes.
    pub(crate) async fn create_file(&self, to: ConversationId, size: u64) -> Result<FileId> {
        let request = self.tus(Method::POST, &format!("/files?conversation={to}"));
        let answer = self.rest.answer(request.header("Upload-Length", size)).await?;
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let id = location.and_then(|path| path.rsplit('/').next()?.parse().ok());
        id.ok_or_else(|| Error::new(ErrorKind::Protocol, "the server does not name the upload"))
    }

    /// How many sealed bytes the server has on disk.
    pub(crate) async fn file_offset(&self, id: FileId) -> Result<u64> {
        let request = self.tus(Method::HEAD, &format!("/files/{id}"));
        offset(&self.rest.answer(request).await?)
    }

    /// Adds sealed bytes at an offset, as many as `body` gives. Gives how many the server has on
    /// disk then.
    pub(crate) async fn append_file(
        &self,
        id: FileId,
        at: u64,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<u64> {
        let request = self
            .tus(Method::PATCH, &format!("/files/{id}"))
            .header("Upload-Offset", at)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .timeout(APPEND_TIMEOUT);
        offset(&self.rest.answer(request.body(Body::wrap_stream(body))).await?)
    }

    /// Gives an upload up.
    pub(crate) async fn delete_file(&self, id: FileId) -> Result<()> {
        let request = self.tus(Method::DELETE, &format!("/files/{id}"));
        self.rest.answer(request).await.map(drop)
    }

    /// The sealed bytes of a file from an offset on.
    pub(crate) async fn fetch_file(&self, id: FileId, from: u64) -> Result<Response> {
        let mut request = self.request(Method::GET, &format!("/files/{id}")).timeout(FILE_TIMEOUT);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let answer = self.rest.answer(request).await?;
        let wanted = if from > 0 { 206 } else { 200 };
        if answer.status() != wanted {
            return Err(Error::new(ErrorKind::Protocol, "the server does not go on where asked"));
        }
        Ok(answer)
    }

    fn tus(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("Tus-Resumable", "1.0.0")
    }
}

impl Rest {
    /// An answer that is a success.
    async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.body(answer).await?;
        // An answer to HEAD has no body that could name the code.
        if body.is_empty() {
            let code = match status.as_u16() {
                401 => Some(Code::Unauthenticated),
                404 => Some(Code::NotFound),
                410 => Some(Code::FileGone),
                500..600 => Some(Code::Unavailable),
                _ => None,
            };
            if let Some(code) = code {
                return Err(Error::new(ErrorKind::Refused(code), code.sentence()));
            }
        }
        Err(super::refused(status, &body))
    }
}

fn offset(answer: &Response) -> Result<u64> {
    let value = answer.headers().get("Upload-Offset").and_then(|value| value.to_str().ok());
    let offset = value.and_then(|value| value.parse().ok());
    offset.ok_or_else(|| Error::new(ErrorKind::Protocol, "the server does not tell the offset"))
}
